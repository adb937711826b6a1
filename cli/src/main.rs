//! `gometa`, the command: reads and writes the keys of an ensemble, and shows how its nodes are.
//!
//! A thin face over `gometa-client`: it reads arguments ([`args`]), makes one call or a few ([`commands`]) and
//! prints what came of it, for people or as JSON ([`output`]). Results go to standard output, errors to
//! standard error; the exit status says which kind of error it was, so that scripts need not read the text.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod output;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

use crate::{
    args::Args,
    output::{Failure, Format},
};

fn main() -> ExitCode {
    // Prints help and usage errors itself; exit status 2 for the latter.
    let args = Args::parse();
    let format = args.output;
    let mut out = io::stdout().lock();
    let result = run(args, &mut out).and_then(|()| Ok(out.flush()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if this fails too.
            let _ = report(&failure, format, &mut io::stderr());
            ExitCode::from(failure.exit_status())
        }
    }
}

fn run(args: Args, out: &mut dyn Write) -> Result<(), Failure> {
    let client = args.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(commands::run(&client, &args, out))
}

fn report(failure: &Failure, format: Format, err: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => writeln!(err, "{}", failure.to_json()),
        Format::Table => {
            writeln!(err, "gometa: {failure}")?;
            match failure.advice() {
                Some(advice) => writeln!(err, "  {advice}"),
                None => Ok(()),
            }
        }
    }
}
