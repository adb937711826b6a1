//! The process: from the command line to the exit status.
//!
//! Whatever goes wrong ends up here as one line, which is the last one on standard error; the exit status is 0
//! only when the process was asked to stop, or to say something.

use std::{
    env,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};
use tracing::{info, warn};

use crate::{
    allocator,
    args::{self, Args, Exit, WatchStdin},
    config::{self, ServerConfig},
    console, descriptors,
    ending::{Ending, Reason},
    listen, logging,
    memory::{Allowance, MIB},
    server::Server,
};

/// Threads that serve sockets. The driver and the disk have their own; on a machine with two cores, more would
/// only take turns with them.
const WORKERS: usize = 2;
/// Threads that look up names.
const LOOKUPS_MAX: usize = 8;
/// How long an orderly end may take.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an end for failure waits for those who still write.
const FAIL_TIMEOUT: Duration = Duration::from_millis(300);
/// Where `-dev` keeps its nodes' data, in the working directory.
const DEV_DIR: &str = "gometa-dev";
/// Exit status for a command line that makes no sense.
const USAGE: u8 = 2;

/// Runs the program.
pub fn run() -> ExitCode {
    let args = match args::parse(env::args_os()) {
        Ok(args) => args,
        Err(Exit::Print(text)) => {
            say(&text);
            return ExitCode::SUCCESS;
        }
        Err(Exit::Refuse(line)) => {
            logging::last_line(&line);
            return ExitCode::from(USAGE);
        }
    };
    if let (Some(path), true) = (&args.config, args.client) {
        return console::run(path, args.unknown_keys(), &args.warnings).unwrap_or_else(|error| {
            logging::last_line(&format!("{error:#}"));
            ExitCode::FAILURE
        });
    }
    let done = serve(&args);
    if let Err(line) = &done {
        logging::last_line(line);
    }
    // A thread that read damage never returns, and one that waits for the disk may be late. The usual end would take
    // from under them what RocksDB keeps for the whole process, and what it locks then kills it in place of the status.
    signal_hook::low_level::exit(i32::from(done.is_err()))
}

fn serve(args: &Args) -> Result<(), String> {
    logging::start(args.log_format, &args.log_level)?;
    args.warnings.iter().for_each(|warning| warn!("{warning}"));
    let mut configs = configurations(args)?;
    if args.check {
        return configs.iter().try_for_each(check);
    }
    allocator::pin_sizes();
    descriptors::fit(&mut configs)?;
    logging::abort_on_panic();
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(LOOKUPS_MAX)
        .thread_name("gometa-io")
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start threads: {error}; look at the limits of this process"))?;
    let ending = Arc::new(Ending::default());
    watch_signals(&runtime, &ending)?;
    let mut servers = Vec::new();
    for config in &configs {
        servers.push(Server::start(config, &runtime, &ending, configs.len() > 1)?);
    }
    watch_stdin(args.watch_stdin, &ending);
    let reason = ending.wait();
    let patience = match &reason {
        Reason::Asked(by) => {
            info!("is asked to end: {by}");
            END_TIMEOUT
        }
        Reason::Failed(_) => FAIL_TIMEOUT,
    };
    servers.iter().for_each(Server::stop);
    let until = Instant::now() + patience;
    let late = servers.iter().filter(|server| !server.wait(until)).count();
    runtime.shutdown_background();
    match reason {
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

/// Prints what was understood, or what is wrong.
fn check(config: &ServerConfig) -> Result<(), String> {
    listen::resolve_all(config)?;
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    let memory = Allowance::of(config).memory_max() / MIB;
    say(&format!("{config}memory            below {memory} MiB, whatever arrives"));
    Ok(())
}

fn configurations(args: &Args) -> Result<Vec<ServerConfig>, String> {
    if let Some(count) = args.dev {
        let base = config::absolute(args.data_dir.as_deref().unwrap_or(Path::new(DEV_DIR)));
        let node = |index: u16| {
            let dir = base.join(format!("node-{}", index + 1));
            ServerConfig::on_this_machine(&format!("-dev={count}"), index, count, dir)
        };
        return Ok((0..count).map(node).collect());
    }
    let mut config = match &args.config {
        Some(path) => config::load_server(path, args.unknown_keys()).map_err(|error| error.to_string())?,
        None => {
            let dir = PathBuf::from(config::DATA_DIR_DEFAULT);
            ServerConfig::on_this_machine("the default configuration", 0, 1, dir)
        }
    };
    // Absolute, because messages name it, to people who may not know the working directory.
    config.data_dir = config::absolute(args.data_dir.as_ref().unwrap_or(&config.data_dir));
    Ok(vec![config])
}

/// Writes to standard output. Nobody there to read it is no failure.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()));
}

fn watch_signals(runtime: &Runtime, ending: &Arc<Ending>) -> Result<(), String> {
    let _guard = runtime.enter();
    for (kind, name) in [(SignalKind::terminate(), "SIGTERM"), (SignalKind::interrupt(), "SIGINT")] {
        let mut signals = signal(kind).map_err(|error| format!("cannot listen for {name}: {error}"))?;
        let ending = ending.clone();
        runtime.spawn(async move {
            if signals.recv().await.is_some() {
                ending.end(Reason::Asked(name.to_owned()));
            }
        });
    }
    Ok(())
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
    if let Err(error) = thread::Builder::new().name("gometa-stdin".to_owned()).spawn(watching) {
        warn!("cannot watch standard input: {error}");
    }
}
