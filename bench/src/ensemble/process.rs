//! One process of an ensemble.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

/// The last lines of a log that an error shows.
const LOG_LINES: usize = 15;
/// The beginnings of environment variables that would configure the processes beside their command lines.
const VARIABLES: [&str; 5] = ["GO", "ETCD_", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"];

/// A running process. It is killed when it is dropped.
pub(super) struct Node {
    process: Child,
    /// For clients.
    pub(super) address: String,
    log: PathBuf,
}

/// A process that is to be started.
pub(super) struct Plan {
    pub(super) command: Command,
    /// For clients.
    pub(super) address: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        // Fails if the process has ended. Its data is of no use any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Plan {
    /// The command line.
    pub(super) fn described(&self) -> String {
        let words = [self.command.get_program()].into_iter().chain(self.command.get_args());
        words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// Starts the process in a group of its own, so that Ctrl-C in a terminal reaches this program only.
    pub(super) fn start(mut self, directory: &Path) -> io::Result<Node> {
        let log = directory.join("log");
        let output = File::create(&log)?;
        for (name, _) in std::env::vars_os() {
            if VARIABLES.iter().any(|start| name.as_encoded_bytes().starts_with(start.as_bytes())) {
                self.command.env_remove(name);
            }
        }
        self.command.current_dir(directory).stdin(Stdio::null());
        self.command.stdout(output.try_clone()?).stderr(output).process_group(0);
        let program = self.command.get_program().to_string_lossy().into_owned();
        let process = self.command.spawn();
        let process = process.map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        Ok(Node { process, address: self.address, log })
    }
}

impl Node {
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The exit status, if the process has ended.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    pub(super) fn last_log_lines(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_node_has_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("sleep");
        command.arg("1000");
        let plan = Plan { command, address: String::new() };
        assert_eq!(plan.described(), "sleep 1000");
        let node = plan.start(directory.path()).expect("started");
        let pid = node.pid();
        assert!(Path::new(&format!("/proc/{pid}")).exists());
        drop(node);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_missing_program_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let plan = Plan { command: Command::new("no-such-program"), address: String::new() };
        let error = plan.start(directory.path()).err().expect("an error");
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
