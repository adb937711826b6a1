//! Executing the program again in the same process: same process id, same arguments.

use std::{env, io, os::unix::process::CommandExt, process::Command};

/// Executes the program again, with additional variables in its environment. Everything else of this process ends: its
/// files are closed, its threads do not go on. Returns only on failure.
pub(crate) fn again(variables: &[(&str, &str)]) -> io::Error {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).envs(variables.iter().copied()).exec()
}
