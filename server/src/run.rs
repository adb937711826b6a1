//! The process: from the command line to the exit status.
//!
//! Every failure ends up here as one line, which is the last one on standard error; the exit status is 0 only when
//! the process was asked to stop, or to print something.
//!
//! The main thread waits for the reason to end, whatever the others wait for: nodes are started by a thread of their
//! own, because reading a long log takes time.

use std::{
    env,
    io::{self, Read, Write},
    mem,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use crate::{
    config::{self, ServerConfig},
    memory::{Allowance, MIB},
    net::listen,
    process::{
        allocator,
        arguments::{self, Args, Exit, WatchStdin},
        console, fd_limit, logging, output,
        shutdown::{Ending, Reason},
        signals,
        supervisor::Supervisor,
        threads,
    },
    server::Server,
};

/// How long an orderly end may take.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an end for failure waits for those who still write.
const FAIL_TIMEOUT: Duration = Duration::from_millis(300);
/// Where `-dev` keeps its nodes' data, in the working directory.
const DEV_DIR: &str = "gometa-dev";
/// Exit status for a failure.
const FAILURE: u8 = 1;
/// Exit status for a command line that makes no sense.
const USAGE: u8 = 2;

/// Runs the program.
pub fn run() -> ExitCode {
    logging::set_format(arguments::log_format(env::args_os()));
    let args = match arguments::parse(env::args_os()) {
        Ok(args) => args,
        Err(Exit::Print(text)) => match print(&text) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(line) => return refuse(&line, FAILURE),
        },
        Err(Exit::Refuse(line)) => return refuse(&line, USAGE),
    };
    logging::set_format(args.log_format);
    if let (Some(path), true) = (&args.config, args.client) {
        let done = console::run(path, &args.source("config"), args.unknown_keys(), &args.warnings);
        return done.unwrap_or_else(|error| refuse(&format!("{error:#}"), FAILURE));
    }
    let done = serve(&args);
    if let Err(line) = &done {
        logging::last_line(line);
    }
    output::finish();
    // A thread that read damage never returns, and one that waits for the disk may be late. The usual end would take
    // from under them what RocksDB keeps for the whole process, and what it locks then kills it in place of the status.
    signal_hook::low_level::exit(i32::from(done.is_err()))
}

/// Writes the last line of a process that has not started anything, and gives its exit status.
fn refuse(line: &str, status: u8) -> ExitCode {
    logging::last_line(line);
    output::finish();
    ExitCode::from(status)
}

fn serve(args: &Args) -> Result<(), String> {
    logging::abort_on_panic();
    logging::start(&args.log_level, &args.source("log-level"))?;
    args.warnings.iter().for_each(|warning| warn!("{warning}"));
    let mut configs = configurations(args)?;
    match &configs[..] {
        [config] => logging::set_process(&config.announced.message.text),
        several => logging::set_process(&format!("-dev={}", several.len())),
    }
    if args.check {
        return configs.iter().try_for_each(check);
    }
    allocator::pin_sizes();
    let ending = Arc::new(Ending::default());
    signals::watch(&ending)?;
    watch_stdin(args.watch_stdin, &ending);
    fd_limit::fit(&mut configs)?;
    let servers = Arc::new(Mutex::new(Vec::new()));
    let supervisor = Arc::new(Supervisor::of_environment(configs.len()));
    start(configs, &servers, &ending, &supervisor)?;
    let ended = ending.wait();
    supervisor.stopping();
    logging::set_thread_node(ended.node);
    let patience = match &ended.reason {
        Reason::Asked(by) => {
            info!("is asked to end: {by}");
            END_TIMEOUT
        }
        Reason::Failed(_) => FAIL_TIMEOUT,
    };
    // A node that is still being started has promised nothing in this process, and ends with it.
    let servers = mem::take(&mut *servers.lock().unwrap_or_else(PoisonError::into_inner));
    servers.iter().for_each(Server::stop);
    let until = Instant::now() + patience;
    let late = servers.into_iter().map(|server| server.wait(until)).filter(|ended| !ended).count();
    match ended.reason {
        Reason::Asked(by) => {
            if late > 0 {
                // Everything acknowledged is synced; what is not written yet was promised to nobody.
                warn!("did not wait any longer for the disk");
            }
            // The nodes' threads are done, and say no more.
            info!("ended: {by}");
            Ok(())
        }
        Reason::Failed(line) => Err(line),
    }
}

/// Starts the nodes, one after the other; one that cannot be started ends the process.
fn start(
    configs: Vec<ServerConfig>,
    servers: &Arc<Mutex<Vec<Server>>>,
    ending: &Arc<Ending>,
    supervisor: &Arc<Supervisor>,
) -> Result<(), String> {
    let (servers, ending, supervisor) = (servers.clone(), ending.clone(), supervisor.clone());
    let starting = move || {
        for config in &configs {
            match Server::start(config, &ending, &supervisor) {
                Ok(server) => servers.lock().unwrap_or_else(PoisonError::into_inner).push(server),
                Err(line) => return ending.end(Reason::Failed(line)),
            }
        }
    };
    threads::spawn("gometa-start", starting)
        .map(drop)
        .map_err(|error| format!("cannot start threads: {error}; look at the limits of this process"))
}

/// Prints what was understood, or what is wrong.
fn check(config: &ServerConfig) -> Result<(), String> {
    listen::resolve_all(config)?;
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    let memory = Allowance::of(config).memory_max() / MIB;
    print(&format!("{config}memory            below {memory} MiB, whatever arrives"))
}

/// The nodes to run, with absolute paths.
fn configurations(args: &Args) -> Result<Vec<ServerConfig>, String> {
    let mut configs = match (&args.config, args.dev) {
        (_, Some(count)) => dev(args, count),
        (Some(path), None) => {
            let loaded = config::load_server(path, &args.source("config"), args.unknown_keys());
            vec![loaded.map_err(|error| error.to_string())?]
        }
        (None, None) => {
            let dir = PathBuf::from(config::DATA_DIR_DEFAULT);
            vec![ServerConfig::on_this_machine("the default configuration", 0, 1, dir)]
        }
    };
    for config in &mut configs {
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

/// The nodes of `-dev`. Two ensembles on different ports have different directories, so that they may run together.
fn dev(args: &Args, count: u16) -> Vec<ServerConfig> {
    let (mut source, mut base) = (format!("{}={count}", args.source("dev")), PathBuf::from(DEV_DIR));
    if args.dev_port != config::PORT_BASE {
        source += &format!(" {}={}", args.source("dev-port"), args.dev_port);
        base = PathBuf::from(format!("{DEV_DIR}-{}", args.dev_port));
    }
    let base = args.data_dir.clone().unwrap_or(base);
    // Whether it can be made or not is the data directories' affair, and said there.
    drop(std::fs::create_dir_all(&base));
    let node = |index: u16| {
        let dir = base.join(format!("node-{}", index + 1));
        ServerConfig::on_ports(&source, args.dev_port, index, count, dir)
    };
    (0..count).map(node).collect()
}

/// Writes what was asked for to standard output. A reader that has gone is no failure.
fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Ends the process with standard input, or at a newline there.
fn watch_stdin(when: WatchStdin, ending: &Arc<Ending>) {
    let watch = match when {
        WatchStdin::True => true,
        WatchStdin::False => false,
        WatchStdin::Auto => rustix::fs::fstat(io::stdin())
            .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_fifo()),
    };
    if !watch {
        return;
    }
    let ending = ending.clone();
    let watching = move || {
        let mut input = io::stdin().lock();
        let mut bytes = [0; 256];
        loop {
            match input.read(&mut bytes) {
                Ok(0) => break ending.end(Reason::Asked("end of standard input".to_owned())),
                Ok(count) if bytes[..count].contains(&b'\n') => {
                    break ending.end(Reason::Asked("newline on standard input".to_owned()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break ending.end(Reason::Asked(format!("standard input: {error}"))),
            }
        }
    };
    if let Err(error) = threads::spawn("gometa-stdin", watching) {
        warn!("cannot watch standard input: {error}");
    }
}
