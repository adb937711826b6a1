//! Runs the process, from the command line to the exit status.
//!
//! Every failure is returned here as one line, which becomes the last one on standard error. The exit status is 0 only
//! after a requested shutdown, or if the program only prints something.
//!
//! The main thread waits for the shutdown. Another thread starts the nodes, because verifying a long log takes time.

use std::{
    env,
    io::{self, Read, Write},
    mem,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{info, warn};

use crate::{
    config::{self, ServerConfig},
    inspect,
    memory::{MIB, memory_max},
    net::listen,
    peer::link,
    process::{
        allocator,
        arguments::{self, Args, Bootstrap, Exit, WatchStdin},
        console, execute, fd_limit, log_format, logging, output,
        shutdown::{Reason, Shutdown},
        signals,
        supervisor::Supervisor,
        threads, watcher,
    },
    recover, restore,
    server::Server,
};

/// The time for a requested shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for the other nodes to stop after a failure.
const FAILURE_TIMEOUT: Duration = Duration::from_millis(300);
/// The directory of the data of `-dev`, in the working directory.
const DEV_DIR: &str = "gometa-dev";
/// The exit status after a failure.
const FAILURE: u8 = 1;
/// The exit status for an invalid command line.
const USAGE: u8 = 2;

/// Runs the program.
pub fn run() -> ExitCode {
    log_format::set_format(arguments::log_format(env::args_os()));
    let args = match arguments::parse(env::args_os()) {
        Ok(args) => args,
        Err(Exit::Print(text)) => match print(&text) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(line) => return refuse(&line, FAILURE),
        },
        Err(Exit::Refuse(line)) => return refuse(&line, USAGE),
    };
    log_format::set_format(args.log_format);
    if let (Some(path), true) = (&args.config, args.client) {
        let done = console::run(path, &args.source("config"), args.unknown_keys(), &args.warnings);
        return done.unwrap_or_else(|error| refuse(&format!("{error:#}"), FAILURE));
    }
    let done = match (&args.inspect, &args.recover, &args.restore) {
        (Some(dir), ..) => inspect::run(dir, &args),
        (None, None, Some(_)) if args.config.is_none() => Err(format!(
            "{} needs -config=FILE: the restored ensemble records the addresses of this node; nothing was changed",
            args.source("restore")
        )),
        (None, None, Some(file)) => configurations(&args).and_then(|configs| {
            configs.iter().try_for_each(|config| restore::run(config, file, &args.source("restore")))
        }),
        (None, Some(consent), _) => configurations(&args).and_then(|configs| {
            let asked = recover::Asked {
                consent,
                source: &args.source("recover"),
                configured: args.config.is_some(),
            };
            configs.iter().try_for_each(|config| recover::run(config, &asked))
        }),
        (None, None, None) => serve(&args).and_then(|end| match end {
            End::Requested => Ok(()),
            End::Again => {
                output::finish();
                let error = execute::again(&[]);
                Err(format!("cannot execute the program again: {error}; start the node again"))
            }
        }),
    };
    if let Err(line) = &done {
        logging::last_line(line);
    }
    output::finish();
    // Without destructors of statics: other threads may still use RocksDB's, which would then crash the process and
    // change its status. A thread that read damaged data never returns, and one may still wait for the disk.
    signal_hook::low_level::exit(i32::from(done.is_err()))
}

/// Writes the last line of a process that has started nothing, and returns its exit status.
fn refuse(line: &str, status: u8) -> ExitCode {
    logging::last_line(line);
    output::finish();
    ExitCode::from(status)
}

/// How the nodes of the process have ended, if not by a failure.
enum End {
    Requested,
    /// The program is to be executed again.
    Again,
}

fn serve(args: &Args) -> Result<End, String> {
    logging::abort_on_panic();
    logging::start(&args.log_level, &args.source("log-level"))?;
    args.warnings.iter().for_each(|warning| warn!(warning, "command line warning"));
    let mut configs = configurations(args)?;
    match &configs[..] {
        [config] => log_format::set_process(&config.announced.message.text),
        several => log_format::set_process(&format!("-dev={}", several.len())),
    }
    if args.check {
        return configs.iter().try_for_each(check).map(|()| End::Requested);
    }
    allocator::pin_sizes();
    #[cfg(gometa_instrumented)]
    crate::process::planted::activate();
    let shutdown = Arc::new(Shutdown::default());
    signals::watch(&shutdown)?;
    match &configs[..] {
        [config] if args.watcher => watcher::start(config, &shutdown),
        _ => watch_stdin(args.watch_stdin, &shutdown),
    }
    let watcher = configs.first().filter(|_| args.watcher).cloned();
    fd_limit::apply(&mut configs, link::LINKS_MAX + link::UNAUTHENTICATED_MAX)?;
    let servers = Arc::new(Mutex::new(Vec::new()));
    let supervisor = Arc::new(Supervisor::from_environment(configs.len()));
    start(configs, &servers, &shutdown, &supervisor)?;
    let request = shutdown.wait();
    supervisor.stopping();
    threads::set_node(request.node);
    let timeout = match &request.reason {
        Reason::Requested(reason) => {
            info!(reason, "shutting down");
            SHUTDOWN_TIMEOUT
        }
        Reason::Again(reason) => {
            warn!(reason, "starting again");
            SHUTDOWN_TIMEOUT
        }
        Reason::Failed(_) => FAILURE_TIMEOUT,
    };
    if let (Reason::Requested(_), Some(config)) = (&request.reason, &watcher) {
        watcher::leave(config);
    }
    // A node that is still being started has acknowledged nothing, and ends with the process.
    let servers = mem::take(&mut *servers.lock());
    match (&request.reason, &servers[..]) {
        (Reason::Requested(_), [server]) => server.leave(),
        // All nodes of an ensemble end at once: there is nothing to hand over.
        _ => servers.iter().for_each(Server::stop),
    }
    let until = Instant::now() + timeout;
    let late = servers.into_iter().map(|server| server.wait(until)).filter(|stopped| !stopped).count();
    match request.reason {
        Reason::Requested(reason) => {
            if late > 0 {
                // Acknowledged writes are synced; the others may be lost.
                warn!("shutdown timed out, the disk is still writing");
            }
            // The last line: the nodes' threads have ended.
            info!(reason, "stopped");
            Ok(End::Requested)
        }
        Reason::Again(_) => Ok(End::Again),
        Reason::Failed(line) => Err(line),
    }
}

/// Starts the nodes, one after the other. A failure ends the process.
fn start(
    configs: Vec<ServerConfig>,
    servers: &Arc<Mutex<Vec<Server>>>,
    shutdown: &Arc<Shutdown>,
    supervisor: &Arc<Supervisor>,
) -> Result<(), String> {
    let (servers, shutdown, supervisor) = (servers.clone(), shutdown.clone(), supervisor.clone());
    let starting = move || {
        for config in &configs {
            match Server::start(config, &shutdown, &supervisor) {
                Ok(server) => servers.lock().push(server),
                Err(line) => return shutdown.request(Reason::Failed(line)),
            }
        }
    };
    threads::spawn("gometa-start", starting)
        .map(drop)
        .map_err(|error| format!("cannot start threads: {error}; look at the limits of this process"))
}

/// Prints the configuration, or returns its error.
fn check(config: &ServerConfig) -> Result<(), String> {
    listen::resolve_all(config)?;
    config.warnings.iter().for_each(|warning| warn!(warning, "configuration warning"));
    let memory = memory_max(config) / MIB;
    print(&format!("{config}memory            below {memory} MiB"))
}

/// The nodes to run, with absolute paths.
fn configurations(args: &Args) -> Result<Vec<ServerConfig>, String> {
    let mut configs = match (&args.config, args.dev) {
        (_, Some(count)) => dev(args, count),
        (Some(path), None) => {
            let loaded =
                config::load_server(path, &args.source("config"), args.unknown_keys(), !args.join.is_empty());
            vec![loaded.map_err(|error| error.to_string())?]
        }
        (None, None) => {
            let dir = PathBuf::from(config::DATA_DIR_DEFAULT);
            vec![ServerConfig::on_this_machine("the default configuration", 0, 1, dir)]
        }
    };
    for config in &mut configs {
        joining(config, args)?;
        if let Some(dir) = &args.data_dir {
            config.data_dir_source = args.source("data-dir");
            if args.dev.is_none() {
                config.data_dir.clone_from(dir);
            }
        }
        config.data_dir = config::absolute(&config.data_dir);
    }
    Ok(configs)
}

/// Takes over the flags about the ensemble that a node joins or forms.
fn joining(config: &mut ServerConfig, args: &Args) -> Result<(), String> {
    if !args.join.is_empty() {
        config.join.clone_from(&args.join);
        config.join_source = args.source("join");
    }
    if args.watcher {
        watcher::configure(config, &args.source("watcher"))?;
    }
    if config.join.is_empty() && args.voter {
        let voter = args.source("voter");
        return Err(format!(
            "{voter} needs -join=HOST:PORT or Join in the configuration: the members to join"
        ));
    }
    let own = config.announced.request.canonical();
    let is_own =
        |text: &&String| config::Address::parse(text).is_ok_and(|address| address.canonical() == own);
    if let Some(address) = config.join.iter().find(is_own) {
        return Err(format!(
            "{} names {address}, the RequestAddr of this node itself: name a member of the ensemble to join",
            config.join_source
        ));
    }
    config.joins_as_voter = args.voter;
    config.never_founds = args.bootstrap == Bootstrap::Never;
    config.founds_with_quorum = args.bootstrap == Bootstrap::Quorum;
    Ok(())
}

/// The nodes of `-dev`. Ensembles on different ports have different directories, so that they can run at once.
fn dev(args: &Args, count: u16) -> Vec<ServerConfig> {
    let (mut source, mut base) = (format!("{}={count}", args.source("dev")), PathBuf::from(DEV_DIR));
    if args.dev_port != config::PORT_BASE {
        source += &format!(" {}={}", args.source("dev-port"), args.dev_port);
        base = PathBuf::from(format!("{DEV_DIR}-{}", args.dev_port));
    }
    let base = args.data_dir.clone().unwrap_or(base);
    // A failure is reported when the data directories are opened.
    drop(std::fs::create_dir_all(&base));
    let node = |index: u16| {
        let dir = base.join(format!("node-{}", index + 1));
        ServerConfig::on_ports(&source, args.dev_port, index, count, dir)
    };
    (0..count).map(node).collect()
}

/// Writes a requested text to standard output. A closed pipe is not a failure.
fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Shuts the process down at the end of standard input, or at a newline there.
fn watch_stdin(when: WatchStdin, shutdown: &Arc<Shutdown>) {
    let watch = match when {
        WatchStdin::True => true,
        WatchStdin::False => false,
        WatchStdin::Auto => rustix::fs::fstat(io::stdin())
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo()),
    };
    if !watch {
        return;
    }
    let shutdown = shutdown.clone();
    let watching = move || {
        let mut input = io::stdin().lock();
        let mut bytes = [0; 256];
        loop {
            match input.read(&mut bytes) {
                Ok(0) => break shutdown.request(Reason::Requested("end of standard input".to_owned())),
                Ok(count) if bytes[..count].contains(&b'\n') => {
                    break shutdown.request(Reason::Requested("newline on standard input".to_owned()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break shutdown.request(Reason::Requested(format!("standard input: {error}"))),
            }
        }
    };
    if let Err(error) = threads::spawn("gometa-stdin", watching) {
        warn!(%error, "standard input not watched");
    }
}
