//! `gometa`, the command line client: reads and writes the keys of an ensemble, and shows the state of its nodes.
//!
//! A thin layer over `gometa-client`: [`args`] and [`options`] parse the command line, [`commands`] has a module for each
//! command, [`output`] prints results to standard output and errors to standard error. [`txn`] reads
//! the text of transactions, [`records`] the files that are imported, [`recovery`] reports of data directories. The exit status tells the kind of an error, so that
//! scripts need not parse the text.
#![forbid(unsafe_code)]

mod advice;
mod args;
mod base64;
mod commands;
mod context;
mod guard;
mod input;
mod options;
mod output;
mod pair;
mod records;
mod recovery;
mod txn;
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
    context::Context,
    output::Failure,
};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage::answer(error, &Args::command()),
    };
    let (format, source) = (args.options.output, args.options.source().to_string());
    let mut out = io::stdout().lock();
    let result = run(&args, &mut out).and_then(|status| Ok((out.flush()?, status).1));
    output::exit(result, format, &source)
}

/// Executes the command line. Returns the exit status, unless it is that of a failure. The client is closed in any case,
/// which ends its session.
fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut runtime = match &args.command {
        Command::Completion(completion) => return completion.run(Args::command(), out),
        Command::Version => {
            write!(out, "{}", Args::command().render_version())?;
            return Ok(0);
        }
        Command::Recover(recover) => return recover.run(args.options.output, out),
        Command::Restore(restore) => return restore.run(&args.options),
        Command::Backup(backup) => match backup.offline() {
            Some(offline) => return offline.run(args.options.output, out),
            None => Builder::new_current_thread(),
        },
        Command::Call(_) => Builder::new_current_thread(),
        Command::Shell(_) | Command::Bench(_) => Builder::new_multi_thread(),
    };
    if let Command::Shell(_) = &args.command {
        // Keeps the connection and the session alive while the main thread waits for lines.
        runtime.worker_threads(1);
    }
    let context = Context::new(&args.options)?;
    let runtime =
        runtime.enable_all().build().map_err(|error| Failure::Io { what: "cannot start threads", error })?;
    let result = match &args.command {
        Command::Completion(_) | Command::Version | Command::Recover(_) | Command::Restore(_) => Ok(0),
        Command::Backup(backup) => runtime.block_on(backup.run(&context, out)),
        Command::Call(call) => runtime.block_on(call.run(&context, out)),
        Command::Shell(shell) => shell.run(&context, &runtime, out),
        Command::Bench(bench) => runtime.block_on(bench.run(&context, out)),
    };
    runtime.block_on(context.client.close());
    result
}
