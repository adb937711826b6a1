//! Syncs that fail, are slow or lie, reads that hang, and wall clocks that jump: a small library between the server and the system,
//! compiled here.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::images::run;

/// What the library is made of.
const SOURCES: [(&str, &str); 4] = [
    ("note.h", include_str!("../../shim/note.h")),
    ("sync.c", include_str!("../../shim/sync.c")),
    ("read.c", include_str!("../../shim/read.c")),
    ("clock.c", include_str!("../../shim/clock.c")),
];
const SYNC_VARIABLE: &str = "GOMETA_SYNC_FAULT";
const READ_VARIABLE: &str = "GOMETA_READ_FAULT";
const CLOCK_VARIABLE: &str = "GOMETA_CLOCK_FAULT";
/// Where the number of reads stands in a clock's file, behind by how much it is wrong.
const READS_OFFSET: u64 = 8;

/// The compiled library, and switches for each node.
pub struct Preload {
    library: PathBuf,
    directory: PathBuf,
}

impl Preload {
    /// Compiles the library into a directory that exists, for so many nodes.
    ///
    /// # Errors
    /// In one line, where there is no C compiler.
    pub fn compile(directory: &Path, nodes: usize) -> Result<Preload, String> {
        let library = directory.join("faults.so");
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library);
        for (name, text) in SOURCES {
            let source = directory.join(name);
            fs::write(&source, text).map_err(|error| format!("{}: {error}", source.display()))?;
            if name.ends_with(".c") {
                command.arg(source);
            }
        }
        run(command.arg("-ldl"))?;
        let preload = Preload { library, directory: directory.to_owned() };
        for node in 0..nodes {
            let clock = preload.clock(node);
            fs::write(&clock, [0; 16]).map_err(|error| format!("{}: {error}", clock.display()))?;
        }
        Ok(preload)
    }

    /// Puts the library into a server that is about to start.
    pub fn apply(&self, node: usize, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library);
        command.env(SYNC_VARIABLE, self.switch(node)).env(CLOCK_VARIABLE, self.clock(node));
        command.env(READ_VARIABLE, self.read_switch(node));
    }

    fn switch(&self, node: usize) -> PathBuf {
        self.directory.join(format!("sync-{}", node + 1))
    }

    fn read_switch(&self, node: usize) -> PathBuf {
        self.directory.join(format!("read-{}", node + 1))
    }

    fn clock(&self, node: usize) -> PathBuf {
        self.directory.join(format!("clock-{}", node + 1))
    }

    /// From now on every sync of the node fails.
    ///
    /// # Errors
    /// Of the file system.
    pub fn fail_syncs(&self, node: usize) -> io::Result<()> {
        self.set(node, "fail")
    }

    /// From now on every sync of the node waits first.
    ///
    /// # Errors
    /// Of the file system.
    pub fn slow_syncs(&self, node: usize, milliseconds: u64) -> io::Result<()> {
        self.set(node, &format!("slow {milliseconds}"))
    }

    /// From now on no sync of the node does anything, and all of them say that they have.
    ///
    /// # Errors
    /// Of the file system.
    pub fn lie(&self, node: usize) -> io::Result<()> {
        self.set(node, "lie")
    }

    /// The same for the write-ahead log and for the mark that would tell of it, and for no other file.
    ///
    /// # Errors
    /// Of the file system.
    pub fn lie_about_the_log(&self, node: usize) -> io::Result<()> {
        self.set(node, "lie-log")
    }

    /// From now on every read of a file by the thread that drives the node hangs.
    ///
    /// # Errors
    /// Of the file system.
    pub fn hang_reads(&self, node: usize) -> io::Result<()> {
        fs::write(self.read_switch(node), "")
    }

    /// The number of reads that hang, or have hung.
    pub fn hung_reads(&self, node: usize) -> u64 {
        fs::metadata(self.read_switch(node).with_extension("hits")).map_or(0, |metadata| metadata.len())
    }

    /// Lets hanging reads go on.
    ///
    /// # Errors
    /// Of the file system.
    pub fn heal_reads(&self, node: usize) -> io::Result<()> {
        fs::remove_file(self.read_switch(node))
    }

    fn set(&self, node: usize, text: &str) -> io::Result<()> {
        // By a rename: a server never reads half of it.
        let (switch, arriving) = (self.switch(node), self.directory.join("arriving"));
        fs::write(&arriving, text)?;
        fs::rename(arriving, switch)
    }

    /// Syncs are the system's again; gives how many were interfered with.
    pub fn heal_syncs(&self, node: usize) -> u64 {
        drop(fs::remove_file(self.switch(node)));
        let hits = self.switch(node).with_extension("hits");
        let count = fs::metadata(&hits).map_or(0, |metadata| metadata.len());
        drop(fs::remove_file(hits));
        count
    }

    /// From now on the node's wall clock is wrong by so much, also after a restart; 0 makes it right.
    ///
    /// # Errors
    /// Of the file system.
    pub fn jump(&self, node: usize, nanoseconds: i64) -> io::Result<()> {
        fs::OpenOptions::new().write(true).open(self.clock(node))?.write_all_at(&nanoseconds.to_ne_bytes(), 0)
    }

    /// How often the node has read a wall clock that was wrong, in all.
    ///
    /// # Errors
    /// Of the file system.
    pub fn wrong_reads(&self, node: usize) -> io::Result<u64> {
        let mut bytes = [0; 8];
        fs::File::open(self.clock(node))?.read_exact_at(&mut bytes, READS_OFFSET)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}
