//! Syncs that fail, are slow or are dropped, reads that hang, and wall clocks that jump: a small library, compiled
//! here and preloaded into the server.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::images::run;

/// The library's source files.
const SOURCES: [(&str, &str); 4] = [
    ("note.h", include_str!("../../shim/note.h")),
    ("sync.c", include_str!("../../shim/sync.c")),
    ("read.c", include_str!("../../shim/read.c")),
    ("clock.c", include_str!("../../shim/clock.c")),
];
const SYNC_VARIABLE: &str = "GOMETA_SYNC_FAULT";
const READ_VARIABLE: &str = "GOMETA_READ_FAULT";
const CLOCK_VARIABLE: &str = "GOMETA_CLOCK_FAULT";
/// The offset of the number of reads in a clock's file, behind the clock's error.
const READS_OFFSET: u64 = 8;

/// The compiled library, and its switches for each node.
pub struct Preload {
    library: PathBuf,
    directory: PathBuf,
}

impl Preload {
    /// Compiles the library into an existing directory, for `nodes` nodes.
    ///
    /// # Errors
    /// If there is no C compiler.
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

    /// Makes a command preload the library.
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

    /// Makes every sync of a node fail.
    ///
    /// # Errors
    /// If the switch cannot be written or read.
    pub fn fail_syncs(&self, node: usize) -> io::Result<()> {
        self.set(node, "fail")
    }

    /// Delays every sync of a node.
    ///
    /// # Errors
    /// If the switch cannot be written or read.
    pub fn slow_syncs(&self, node: usize, milliseconds: u64) -> io::Result<()> {
        self.set(node, &format!("slow {milliseconds}"))
    }

    /// Makes every sync of a node succeed without an effect.
    ///
    /// # Errors
    /// If the switch cannot be written or read.
    pub fn lie(&self, node: usize) -> io::Result<()> {
        self.set(node, "lie")
    }

    /// The same for the write-ahead log and the mark of its length, and for no other file.
    ///
    /// # Errors
    /// If the switch cannot be written or read.
    pub fn lie_about_the_log(&self, node: usize) -> io::Result<()> {
        self.set(node, "lie-log")
    }

    /// Makes every read of a file by the driver's thread hang.
    ///
    /// # Errors
    /// If the switch cannot be written or read.
    pub fn hang_reads(&self, node: usize) -> io::Result<()> {
        fs::write(self.read_switch(node), "")
    }

    /// Returns the number of reads that hang or have hung.
    pub fn hung_reads(&self, node: usize) -> u64 {
        fs::metadata(self.read_switch(node).with_extension("hits")).map_or(0, |metadata| metadata.len())
    }

    /// Releases hanging reads.
    ///
    /// # Errors
    /// If the switch cannot be written or read.
    pub fn heal_reads(&self, node: usize) -> io::Result<()> {
        fs::remove_file(self.read_switch(node))
    }

    fn set(&self, node: usize, text: &str) -> io::Result<()> {
        // Renamed into place, so that a server never reads a part.
        let (switch, arriving) = (self.switch(node), self.directory.join("arriving"));
        fs::write(&arriving, text)?;
        fs::rename(arriving, switch)
    }

    /// Ends the faults of syncs, and returns how many syncs were affected.
    pub fn heal_syncs(&self, node: usize) -> u64 {
        drop(fs::remove_file(self.switch(node)));
        let hits = self.switch(node).with_extension("hits");
        let count = fs::metadata(&hits).map_or(0, |metadata| metadata.len());
        drop(fs::remove_file(hits));
        count
    }

    /// Sets the error of a node's wall clock, which a restart keeps.
    ///
    /// # Errors
    /// If the switch cannot be written or read.
    pub fn jump(&self, node: usize, nanoseconds: i64) -> io::Result<()> {
        fs::OpenOptions::new().write(true).open(self.clock(node))?.write_all_at(&nanoseconds.to_ne_bytes(), 0)
    }

    /// Returns how often the node has read a wrong wall clock.
    ///
    /// # Errors
    /// If the switch cannot be written or read.
    pub fn wrong_reads(&self, node: usize) -> io::Result<u64> {
        let mut bytes = [0; 8];
        fs::File::open(self.clock(node))?.read_exact_at(&mut bytes, READS_OFFSET)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}
