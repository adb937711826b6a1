//! The command line.

use clap::{Parser, Subcommand};

use crate::{
    commands::{BackupCommand, Bench, Call, Completion, RecoverCommand, Restore, Shell},
    options::Options,
};

const AFTER_HELP: &str = "\
Keys and values are bytes. A value of \"-\" is read from standard input, including newlines; write \"--\" before a
value that begins with a hyphen. One peer is enough: the other nodes are found through it.

Peers are taken from --peers, else --config, else GOMETA_PEERS, else
127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003.

Exit status:
  0  success
  1  other error
  2  invalid usage, configuration or argument
  3  get: the key does not exist
  4  add, import --only-new: the key exists; cas, delete --revision: the key has another revision;
     txn: a comparison does not hold, `otherwise` was executed;
     --guard: its key does not exist, or was created at another revision;
     recover compare: nothing can be recovered, or nothing needs to be
  5  no connection to any node, or no answer, within the time limit; a write was not applied;
     status: no leader, or no quorum that is up to date; health: unhealthy
  6  unknown whether a write was applied: read the key before repeating the write
130  interrupted";

/// Read and write the metadata of a gometa ensemble.
#[derive(Parser, Debug)]
#[command(name = "gometa", version, after_help = AFTER_HELP, max_term_width = 110)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) options: Options,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    #[command(flatten)]
    Call(Call),
    /// Run commands interactively, with editing and history, or from standard input
    #[command(after_help = crate::commands::SHELL_HELP)]
    Shell(Shell),
    /// Measure throughput and latency under a short load
    Bench(Bench),
    /// Write a backup, of the whole state at one revision, to a file; check one, show what one contains
    #[command(after_help = crate::commands::BACKUP_HELP)]
    Backup(BackupCommand),
    /// Found a new ensemble from a backup, in an empty data directory on this machine
    #[command(after_help = crate::commands::RESTORE_HELP)]
    Restore(Restore),
    /// Prepare the recovery of an ensemble that has lost a majority of its voters, without a connection
    #[command(subcommand)]
    Recover(RecoverCommand),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    #[command(after_help = crate::commands::COMPLETION_HELP)]
    Completion(Completion),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;
    use crate::output::Format;

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_may_stand_before_and_after_the_command() {
        let args =
            Args::parse_from(["gometa", "--peers", "a:1", "get", "k", "-o", "json", "--timeout", "1s"]);
        assert_eq!((args.options.output, args.options.timeout), (Format::Json, Duration::from_secs(1)));
        assert_eq!(args.options.addresses().unwrap(), ["a:1"]);
        assert!(Args::try_parse_from(["gometa", "--peers", "a:1", "--config", "f", "status"]).is_err());
        assert!(Args::try_parse_from(["gometa", "get", "k", "--min-revision", "3"]).is_err());
    }
}
