//! Disks for faults: one loop-mounted ext4 image per node, which can be filled and lose power. Needs root.
//!
//! A power cut is ext4's own shutdown (`FS_IOC_SHUTDOWN` without a flush of the log): from that moment nothing
//! reaches the image any more. After the next mount, synced data is there, and other data is
//! not; [`Images::repair`] proves both with files of its own.
//!
//! All images are in one directory whose name contains the process id, so that leftovers of killed runs can be
//! recognised: [`report_leftovers`].

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process::{self, Command},
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;

use crate::print_line;

/// The start of the directory names of all runs.
const PREFIX: &str = "gometa-chaos-";
/// The environment variable with the run's process id, set for every server that it starts.
pub(super) const RUN_VARIABLE: &str = "GOMETA_CHAOS_RUN";
/// The file that marks the directory of a failed run, which is not removed.
const KEPT: &str = "KEPT";
/// The size of each image. The files are sparse.
const IMAGE_BYTES: u64 = 1 << 30;
/// The size of the filler's first piece, which is halved until the disk is full.
const FILL_MAX: u64 = 256 << 20;
const FILL_MIN: u64 = 1 << 10;
/// The content of the files that prove a power cut.
const CANARY_BYTES: usize = 4 << 10;

/// Writes a file that is not synced, then cuts the power: on all mount points that are given, at one moment.
/// 0x8004587d is `FS_IOC_SHUTDOWN`, 2 means that the log is not flushed.
const CUT: &str = r#"
import fcntl, os, struct, sys
places = [os.open(place, os.O_RDONLY) for place in sys.argv[1:]]
for place in sys.argv[1:]:
    with open(place + "/unsynced", "wb") as file:
        file.write(b"x" * 4096)
for place in places:
    fcntl.ioctl(place, 0x8004587d, struct.pack("I", 2))
"#;

/// The mounted images of one ensemble. Dropping them unmounts and removes them, unless the run has failed.
pub(super) struct Images {
    directory: TempDir,
    nodes: usize,
}

impl Images {
    /// Creates and mounts an image for each node.
    pub(super) fn mount(nodes: usize) -> Result<Images, String> {
        let name = format!("{PREFIX}{}-", process::id());
        let directory = tempfile::Builder::new().prefix(&name).tempdir();
        let images = Images { directory: directory.map_err(|error| error.to_string())?, nodes };
        for node in 0..nodes {
            let (image, place) = (images.image(node), images.place(node));
            let made = fs::create_dir(&place)
                .and_then(|()| fs::File::create(&image))
                .and_then(|file| file.set_len(IMAGE_BYTES));
            made.map_err(|error| format!("{}: {error}", image.display()))?;
            // No blocks are reserved for root, and the tables are zeros already.
            let lazy = "lazy_itable_init=1,lazy_journal_init=1";
            run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-E", lazy]).arg(&image))?;
            images.attach(node)?;
            let data = images.data(node);
            fs::create_dir(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        }
        Ok(images)
    }

    /// Returns a node's data directory.
    pub(super) fn data(&self, node: usize) -> PathBuf {
        self.place(node).join("gometa-data")
    }

    fn image(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("disk-{}.ext4", node + 1))
    }

    fn place(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("disk-{}", node + 1))
    }

    fn attach(&self, node: usize) -> Result<(), String> {
        // Unmounting detaches the loop device.
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image(node)).arg(self.place(node)))
    }

    /// Fills a node's disk to the last block. The node must be paused: the space that its files have reserved beyond their
    /// ends is released, so that its next write fails.
    pub(super) fn fill(&self, node: usize) -> Result<(), String> {
        for (path, length) in files(&self.data(node)).map_err(|error| format!("reserved blocks: {error}"))? {
            let opened = fs::OpenOptions::new().write(true).open(path);
            let shortened = opened.and_then(|file| file.set_len(length));
            shortened.map_err(|error| format!("reserved blocks: {error}"))?;
        }
        let filler = self.place(node).join("filler");
        let file = fs::File::create(&filler).map_err(|error| format!("{}: {error}", filler.display()))?;
        let (mut end, mut piece) = (0, FILL_MAX);
        while piece >= FILL_MIN {
            if fallocate(&file, FallocateFlags::empty(), end, piece).is_ok() {
                end += piece;
            } else {
                // A part of it may have been allocated.
                end = end.max(file.metadata().map_err(|error| error.to_string())?.len());
                piece /= 2;
            }
        }
        Ok(())
    }

    /// Removes the filler.
    pub(super) fn free(&self, node: usize) -> Result<(), String> {
        let filler = self.place(node).join("filler");
        fs::remove_file(&filler).map_err(|error| format!("{}: {error}", filler.display()))
    }

    /// Cuts the power of these nodes' disks at one moment. The caller then kills the processes.
    pub(super) fn cut_power(&self, nodes: &[usize]) -> Result<(), String> {
        let places: Vec<PathBuf> = nodes.iter().map(|node| self.place(*node)).collect();
        for place in &places {
            let canary = place.join("synced");
            let written = fs::write(&canary, [b'x'; CANARY_BYTES])
                .and_then(|()| fs::File::open(&canary))
                .and_then(|file| file.sync_all());
            written.map_err(|error| format!("{}: {error}", canary.display()))?;
        }
        run(Command::new("python3").args(["-S", "-c", CUT]).args(&places))
    }

    /// Checks and mounts a node's disk after a power cut. The node must not be running.
    ///
    /// # Errors
    /// If the disk cannot be mounted, or the cut lost synced data or kept unsynced data.
    pub(super) fn repair(&self, node: usize) -> Result<(), String> {
        let place = self.place(node);
        run(Command::new("umount").arg(&place))?;
        run(Command::new("fsck.ext4").arg("-p").arg(self.image(node)))?;
        self.attach(node)?;
        let whole = vec![b'x'; CANARY_BYTES];
        let (synced, unsynced) = (fs::read(place.join("synced")), fs::read(place.join("unsynced")));
        for name in ["synced", "unsynced"] {
            match fs::remove_file(place.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(format!("{name}: {error}")),
                _ => {}
            }
        }
        if synced.ok().as_ref() != Some(&whole) {
            return Err("the power cut lost what was synced".to_owned());
        }
        if unsynced.ok().as_ref() == Some(&whole) {
            return Err("the power cut lost nothing: what was not synced is there".to_owned());
        }
        Ok(())
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        for node in 0..self.nodes {
            drop(run(Command::new("umount").arg(self.place(node))));
        }
        if std::thread::panicking() {
            drop(fs::write(self.directory.path().join(KEPT), ""));
            self.directory.disable_cleanup(true);
            crate::say(&format!("disk images are kept in {}", self.directory.path().display()));
        }
    }
}

/// Returns all files below a directory, with their lengths.
pub(super) fn files(directory: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            found.append(&mut files(&entry.path())?);
        } else if metadata.is_file() {
            found.push((entry.path(), metadata.len()));
        }
    }
    // In a fixed order, so that a seed repeats a choice.
    found.sort();
    Ok(found)
}

/// Removes the leftovers of killed runs, and prints a line if there were any.
pub(super) fn report_leftovers() {
    let (processes, mounts, directories) = clear_leftovers();
    if processes + mounts + directories > 0 {
        print_line(&format!(
            "left over from a killed run: {processes} processes, {mounts} mounts, {directories} directories"
        ));
    }
}

/// Kills servers, unmounts disks and removes directories of killed runs, and returns how many of each.
fn clear_leftovers() -> (usize, usize, usize) {
    let (mut processes, mut mounts, mut directories) = (0, 0, 0);
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let mark = format!("{RUN_VARIABLE}=");
        let run = environment
            .split(|byte| *byte == 0)
            .find_map(|variable| std::str::from_utf8(variable).ok()?.strip_prefix(&mark)?.parse().ok());
        if run.is_some_and(|run| !runs(run))
            && let Some(process) = Pid::from_raw(id)
            && kill_process(process, Signal::KILL).is_ok()
        {
            processes += 1;
        }
    }
    let scratch = std::env::temp_dir();
    let scratch = scratch.canonicalize().unwrap_or(scratch);
    for mounted in fs::read_to_string("/proc/mounts").unwrap_or_default().lines() {
        let Some(place) = mounted.split(' ').nth(1).map(Path::new) else { continue };
        let ours = place.strip_prefix(&scratch).ok().and_then(|inside| inside.iter().next()?.to_str());
        if ours.is_some_and(is_leftover) && run(Command::new("umount").arg(place)).is_ok() {
            mounts += 1;
        }
    }
    for entry in fs::read_dir(&scratch).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(is_leftover)
            && !entry.path().join(KEPT).exists()
            && fs::remove_dir_all(entry.path()).is_ok()
        {
            directories += 1;
        }
    }
    (processes, mounts, directories)
}

/// Whether a directory is that of a run that has ended.
fn is_leftover(name: &str) -> bool {
    let run = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
    run.is_some_and(|run| !runs(run))
}

/// Whether a process of this id is a run.
fn runs(id: u32) -> bool {
    let command = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    command.trim() == "gometa-chaos" || id == process::id()
}

/// Runs a command to its end; an error is one line.
pub(super) fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().display().to_string();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    // The status of fsck is 1 after a repair.
    if output.status.success() || (name == "fsck.ext4" && output.status.code() == Some(1)) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}", said.lines().last().unwrap_or("failed without a word")))
}
