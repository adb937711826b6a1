//! `gometa`, the command: reads and writes the keys of an ensemble, and shows how its nodes are.
//!
//! A thin face over `gometa-client`: it reads arguments ([`args`]), makes one call or a few ([`commands`]), many from
//! lines that are typed ([`shell`]) or as a load ([`mod@bench`]), and prints what came of it, for people or as JSON
//! ([`output`]). Results go to standard output, errors to standard error; the exit status says which kind of error it
//! was, so that scripts need not read the text.
#![forbid(unsafe_code)]

mod advice;
mod args;
mod bench;
mod commands;
mod input;
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
    output::{Failure, Format},
};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage::answer(error),
    };
    let (format, source) = (args.output, args.source().to_string());
    let mut out = io::stdout().lock();
    let result = run(&args, &mut out).and_then(|status| Ok((out.flush()?, status).1));
    end(result, format, &source)
}

/// The exit status of a result; a failure is reported on standard error.
fn end(result: Result<u8, Failure>, format: Format, source: &str) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // If standard error cannot be written to either, the exit status is all that is left.
            let _ = output::report(&failure, format, source, &mut io::stderr());
            ExitCode::from(failure.exit_status())
        }
    }
}

/// The exit status, where that is not a failure's own. Whatever becomes of a command, the session of its client is ended.
fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let threads = |error| Failure::Io { what: "cannot start threads", error };
    match &args.command {
        Command::Completion(completion) => {
            let mut script = Vec::new();
            clap_complete::generate(completion.shell, &mut Args::command(), "gometa", &mut script);
            out.write_all(&script)?;
            Ok(0)
        }
        Command::Version => {
            write!(out, "{}", Args::command().render_version())?;
            Ok(0)
        }
        Command::Call(call) => {
            let setting = Setting::new(args)?;
            let runtime = Builder::new_current_thread().enable_all().build().map_err(threads)?;
            let done = runtime.block_on(commands::run(&setting, call, out));
            runtime.block_on(setting.client.close());
            done
        }
        Command::Shell(options) => {
            let setting = Setting::new(args)?;
            // A thread beside the one that waits for lines keeps the connection and the session alive.
            let runtime =
                Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(threads)?;
            let done = shell::run(&setting, options, &runtime, out);
            runtime.block_on(setting.client.close());
            done
        }
        Command::Bench(options) => {
            let setting = Setting::new(args)?;
            let runtime = Builder::new_multi_thread().enable_all().build().map_err(threads)?;
            let done = runtime.block_on(bench::run(&setting, options, out));
            runtime.block_on(setting.client.close());
            done
        }
    }
}
