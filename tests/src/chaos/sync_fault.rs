//! Syncs that fail or are slow: a small library between the server and the system, compiled here.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::images::run;

const SOURCE: &str = include_str!("../../shim/sync.c");
const VARIABLE: &str = "GOMETA_SYNC_FAULT";

/// The compiled library, and a switch for each node.
pub(super) struct SyncFaults {
    library: PathBuf,
    directory: PathBuf,
}

impl SyncFaults {
    /// Compiles the library into a directory that exists.
    ///
    /// # Errors
    /// In one line, where there is no C compiler.
    pub(super) fn compile(directory: &Path) -> Result<SyncFaults, String> {
        let (source, library) = (directory.join("sync.c"), directory.join("sync.so"));
        fs::write(&source, SOURCE).map_err(|error| format!("{}: {error}", source.display()))?;
        let flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"];
        run(Command::new("cc").args(flags).arg(&library).arg(&source).arg("-ldl"))?;
        Ok(SyncFaults { library, directory: directory.to_owned() })
    }

    /// Puts the library into a server that is about to start.
    pub(super) fn apply(&self, node: usize, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env(VARIABLE, self.switch(node));
    }

    fn switch(&self, node: usize) -> PathBuf {
        self.directory.join(format!("sync-{}", node + 1))
    }

    /// From now on every sync of the node fails.
    ///
    /// # Errors
    /// Of the file system.
    pub(super) fn fail(&self, node: usize) -> io::Result<()> {
        self.set(node, "fail")
    }

    /// From now on every sync of the node waits first.
    ///
    /// # Errors
    /// Of the file system.
    pub(super) fn slow(&self, node: usize, milliseconds: u64) -> io::Result<()> {
        self.set(node, &format!("slow {milliseconds}"))
    }

    /// From now on no sync of the node does anything, and all of them say that they have.
    ///
    /// # Errors
    /// Of the file system.
    pub(super) fn lie(&self, node: usize) -> io::Result<()> {
        self.set(node, "lie")
    }

    fn set(&self, node: usize, text: &str) -> io::Result<()> {
        // By a rename: a server never reads half of it.
        let (switch, arriving) = (self.switch(node), self.directory.join("arriving"));
        fs::write(&arriving, text)?;
        fs::rename(arriving, switch)
    }

    /// Syncs are the system's again; gives how many were interfered with.
    pub(super) fn heal(&self, node: usize) -> u64 {
        drop(fs::remove_file(self.switch(node)));
        let hits = self.switch(node).with_extension("hits");
        let count = fs::metadata(&hits).map_or(0, |metadata| metadata.len());
        drop(fs::remove_file(hits));
        count
    }
}
