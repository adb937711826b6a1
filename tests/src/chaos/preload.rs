//! Syncs that fail, are slow or are dropped, reads of tables that are slow or hang, drivers that hang, and wall clocks that
//! jump: a small library, compiled here and preloaded into the server.

use std::{
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::images::run;
use crate::{ensemble::Ensemble, program::program};

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
/// The offset of the driver's switch in that file.
const DRIVER_OFFSET: u64 = 16;

/// The compiled library, and its switches for each node.
pub struct Preload {
    library: PathBuf,
    directory: PathBuf,
}

impl Preload {
    /// Compiles the library into an existing directory, for `nodes` nodes.
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
            let clock = preload.file("clock", node);
            fs::write(&clock, [0; 32]).map_err(|error| format!("{}: {error}", clock.display()))?;
        }
        Ok(preload)
    }

    /// Starts nodes with the library, and waits until all are ready.
    pub async fn start(nodes: usize) -> (Ensemble, Preload) {
        let mut ensemble = Ensemble::prepare(nodes);
        let preload = Preload::compile(ensemble.scratch(), nodes).unwrap_or_else(|error| panic!("{error}"));
        for node in ensemble.all() {
            ensemble.spawn_with(node, preload.server(node));
        }
        ensemble.all_ready().await;
        (ensemble, preload)
    }

    /// Makes a command preload the library.
    pub fn apply(&self, node: usize, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library);
        command.env(SYNC_VARIABLE, self.file("sync", node)).env(CLOCK_VARIABLE, self.file("clock", node));
        command.env(READ_VARIABLE, self.file("read", node));
    }

    /// Returns a command that starts the server of a node with the library.
    pub fn server(&self, node: usize) -> Command {
        let mut command = Command::new(program("gometa-server"));
        self.apply(node, &mut command);
        command
    }

    fn file(&self, kind: &str, node: usize) -> PathBuf {
        self.directory.join(format!("{kind}-{}", node + 1))
    }

    /// Delays every sync of a node.
    pub fn slow_syncs(&self, node: usize, milliseconds: u64) -> io::Result<()> {
        self.break_syncs(node, &format!("slow {milliseconds}"))
    }

    /// Makes every sync of a node `fail`, or `lie`: succeed without an effect. With `lie-log`, only those of the
    /// write-ahead log and of the mark of its length.
    pub fn break_syncs(&self, node: usize, how: &str) -> io::Result<()> {
        self.switch(&self.file("sync", node), how)
    }

    /// Writes the file of a fault. It is renamed into place, so that a server never reads a part.
    fn switch(&self, switch: &Path, how: &str) -> io::Result<()> {
        let arriving = self.directory.join("arriving");
        fs::write(&arriving, how)?;
        fs::rename(arriving, switch)
    }

    /// Delays every read of a table file of a node.
    pub fn slow_reads(&self, node: usize, milliseconds: u64) -> io::Result<()> {
        self.switch(&self.file("read", node), &format!("slow {milliseconds}"))
    }

    /// Makes one read of a table file hang, by a thread whose name begins with `thread`.
    pub fn hang_read(&self, node: usize, thread: &str) -> io::Result<()> {
        self.switch(&self.file("read", node), &format!("hang {thread}"))
    }

    /// Returns the number of reads that were slow, or hang, or have hung.
    pub fn affected_reads(&self, node: usize) -> u64 {
        fs::metadata(self.file("read", node).with_extension("hits")).map_or(0, |metadata| metadata.len())
    }

    /// Ends the faults of reads.
    pub fn heal_reads(&self, node: usize) -> io::Result<()> {
        fs::remove_file(self.file("read", node))
    }

    /// Makes the driver of a node hang, or go on.
    pub fn hang_driver(&self, node: usize, hangs: bool) -> io::Result<()> {
        let clock = fs::OpenOptions::new().write(true).open(self.file("clock", node))?;
        clock.write_all_at(&u64::from(hangs).to_ne_bytes(), DRIVER_OFFSET)
    }

    /// Ends the faults of syncs, and returns how many syncs were affected.
    pub fn heal_syncs(&self, node: usize) -> u64 {
        drop(fs::remove_file(self.file("sync", node)));
        let hits = self.file("sync", node).with_extension("hits");
        let count = fs::metadata(&hits).map_or(0, |metadata| metadata.len());
        drop(fs::remove_file(hits));
        count
    }

    /// Sets the error of a node's wall clock, which a restart keeps.
    pub fn jump(&self, node: usize, nanoseconds: i64) -> io::Result<()> {
        fs::OpenOptions::new()
            .write(true)
            .open(self.file("clock", node))?
            .write_all_at(&nanoseconds.to_ne_bytes(), 0)
    }

    /// Returns how often the node has read a wrong wall clock.
    pub fn wrong_reads(&self, node: usize) -> io::Result<u64> {
        let mut bytes = [0; 8];
        fs::File::open(self.file("clock", node))?.read_exact_at(&mut bytes, READS_OFFSET)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}
