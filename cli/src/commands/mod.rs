//! The commands: a module for each.

mod add;
mod backup;
mod bench;
mod cas;
mod completion;
mod delete;
mod export;
mod get;
mod health;
mod history;
mod import;
mod member;
mod members;
mod progress;
mod recover;
mod scan;
mod set;
mod settings;
mod shell;
mod status;
mod storage;
mod txn;
mod upgrade;

use std::io::Write;

use clap::Subcommand;

#[cfg(test)]
pub(crate) use self::shell::ShellLine;
pub(crate) use self::{
    backup::{BACKUP_HELP, BackupCommand, RESTORE_HELP, Restore},
    bench::Bench,
    completion::{COMPLETION_HELP, Completion},
    recover::RecoverCommand,
    shell::{SHELL_HELP, Shell},
};
use crate::{context::Context, output::Failure};

/// A command of the command line and of the shell.
#[derive(Subcommand, Debug)]
pub(crate) enum Call {
    /// Print the value of a key, and a newline
    Get(get::Get),
    /// Print the keys that begin with a prefix, with their values, in order
    Scan(scan::Scan),
    /// List one level of keys, as of a directory
    Ls(scan::List),
    /// Count the keys that begin with a prefix
    Count(scan::Count),
    /// List the versions of a key that the ensemble keeps, newest first, deletions included
    History(history::History),
    /// Create or replace a key
    #[command(visible_alias = "put")]
    Set(set::Set),
    /// Create a key that does not exist
    Add(add::Add),
    /// Replace a key if it has a given revision
    Cas(cas::Cas),
    /// Remove a key, or all with a prefix; it is no error if there is none
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    /// Execute several operations as one, from a script or JSON; exit status 4 if a comparison does not hold
    #[command(after_help = txn::SYNTAX_HELP)]
    Txn(txn::Txn),
    /// Write keys and values, all at one revision, as lines of JSON, to a file or standard output
    #[command(after_help = export::FORMAT_HELP)]
    Export(export::Export),
    /// Set the keys of a file that `export` has written, or etcdctl
    #[command(after_help = import::FORMAT_HELP)]
    Import(import::Import),
    /// List, print and change the settings of the ensemble, which hold on all nodes
    Settings(settings::Settings),
    /// Show the state of every node; exit status 5 without a leader or a quorum
    Status,
    /// Test whether the ensemble, or one node, serves reads: exit status 0 or 5
    Health(health::Health),
    /// List the members and the leader, as one node knows them
    Members,
    /// List, promote and remove members; test whether nodes can be stopped
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// Hand the leadership over
    #[command(subcommand)]
    Leader(member::LeaderCommand),
    /// Show which feature levels the members support; raise that of the ensemble after an upgrade
    #[command(subcommand)]
    Upgrade(upgrade::UpgradeCommand),
}

impl Call {
    /// Executes the command. Returns the exit status.
    pub(crate) async fn run(&self, context: &Context, out: &mut dyn Write) -> Result<u8, Failure> {
        match self {
            Call::Get(get) => get.run(context, out).await,
            Call::Scan(scan) => scan.run(context, out).await,
            Call::Ls(list) => list.run(context, out).await,
            Call::Count(count) => count.run(context, out).await,
            Call::History(history) => history.run(context, out).await,
            Call::Set(set) => set.run(context, out).await,
            Call::Add(add) => add.run(context, out).await,
            Call::Cas(cas) => cas.run(context, out).await,
            Call::Delete(delete) => delete.run(context, out).await,
            Call::Txn(txn) => txn.run(context, out).await,
            Call::Export(export) => export.run(context, out).await,
            Call::Import(import) => import.run(context, out).await,
            Call::Settings(settings) => settings.run(context, out).await,
            Call::Status => status::run(context, out).await,
            Call::Health(health) => health.run(context, out).await,
            Call::Members => members::run(context, out).await,
            Call::Member(member) => member.run(context, out).await,
            Call::Leader(leader) => leader.run(context, out).await,
            Call::Upgrade(upgrade) => upgrade.run(context, out).await,
        }
    }
}
