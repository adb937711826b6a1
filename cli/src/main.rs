//! `gometa`, the command: reads and writes the keys of an ensemble, and shows how its nodes are.
//!
//! A thin face over `gometa-client`: it reads arguments ([`args`]), makes one call or a few ([`commands`]), many from
//! lines that are typed ([`shell`]) or as a load ([`mod@bench`]), and prints what came of it, for people or as JSON
//! ([`output`]). Results go to standard output, errors to standard error; the exit status says which kind of error it
//! was, so that scripts need not read the text.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod commands;
mod latency;
mod output;
mod shell;
mod usage;
mod words;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, Parser};
use tokio::runtime::Builder;

use crate::{
    args::{Args, Command},
    commands::Setting,
    output::Failure,
};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage::answer(error),
    };
    let format = args.output;
    let mut out = io::stdout().lock();
    let result = run(&args, &mut out).and_then(|status| Ok((out.flush()?, status).1));
    match result {
        Ok(status) => ExitCode::from(status),
        // Whoever reads has seen enough.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if this fails too.
            let _ = output::report(&failure, format, &mut io::stderr());
            ExitCode::from(failure.exit_status())
        }
    }
}

/// The exit status, where that is not a failure's own.
fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    match &args.command {
        Command::Completion(completion) => {
            let mut script = Vec::new();
            clap_complete::generate(completion.shell, &mut Args::command(), "gometa", &mut script);
            out.write_all(&script)?;
            Ok(0)
        }
        Command::Call(call) => {
            let setting = Setting::new(args)?;
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(commands::run(&setting, call, out))?;
            Ok(0)
        }
        Command::Shell(options) => {
            let setting = Setting::new(args)?;
            // A thread beside the one that waits for lines keeps the connection and the session alive.
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            shell::run(&setting, options, &runtime, out)
        }
        Command::Bench(options) => {
            let setting = Setting::new(args)?;
            let runtime = Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(bench::run(&setting, options, out))
        }
    }
}
