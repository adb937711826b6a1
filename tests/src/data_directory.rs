//! Data directories of stopped nodes: inspecting, copying and damaging them.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use crate::program::program;

/// An offset in a table file of the state that belongs to its first block of data, which is not read when the file is
/// opened.
pub const DATA_BLOCK: u64 = 8;

/// The offset in a segment of the log of the unit at which batches begin, four bytes, big endian.
const BLOCK: u64 = 20;

/// Returns all files below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("the directory can be read") {
        let path = entry.expect("the directory can be read").path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Returns the table files of the state.
pub fn tables(directory: &Path) -> Vec<PathBuf> {
    let is_table = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "sst");
    files(directory).into_iter().filter(is_table).collect()
}

/// Returns the table files of the state that contain these bytes.
pub fn tables_with(directory: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut tables = tables(directory);
    tables.retain(|table| {
        fs::read(table).expect("the table can be read").windows(bytes.len()).any(|window| window == bytes)
    });
    tables
}

/// Copies a directory with everything below it.
pub fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).expect("it is below the directory"));
        fs::create_dir_all(target.parent().expect("a file is in a directory"))
            .expect("directories can be made");
        fs::copy(&path, target).expect("files can be copied");
    }
}

/// Flips the bits of one byte.
pub fn flip(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("the file can be opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("the file is long enough");
    file.write_all_at(&[!byte[0]], offset).expect("the file can be written");
}

/// Runs `gometa-server -inspect` with further flags.
pub fn inspect(directory: &Path, flags: &[&str]) -> Output {
    let inspect = format!("-inspect={}", directory.display());
    let output = Command::new(program("gometa-server")).arg(inspect).args(flags).output();
    output.expect("the server can be run")
}

/// The report of `gometa-server -inspect` about a directory, as JSON.
pub fn report(directory: &Path, flags: &[&str]) -> Value {
    let output = inspect(directory, &[&["-inspect-format=json"], flags].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A segment of the log.
pub struct Segment {
    /// The file, relative to the data directory.
    pub name: PathBuf,
    path: PathBuf,
    /// The bytes through the last batch.
    pub used: u64,
}

impl Segment {
    /// The segments of a directory, in order.
    pub fn all(directory: &Path) -> Vec<Segment> {
        let report = report(directory, &[]);
        let log = &report["log"];
        let segment = |segment: &Value| {
            let name = Path::new(log["directory"].as_str().unwrap_or_default())
                .join(segment["name"].as_str().unwrap_or_default());
            let used = segment["used_bytes"].as_u64().unwrap_or_default();
            Segment { path: directory.join(&name), name, used }
        };
        log["segments"].as_array().into_iter().flatten().map(segment).collect()
    }

    /// The last segment of a directory.
    pub fn last(directory: &Path) -> Segment {
        Segment::all(directory).pop().expect("a log has a segment")
    }

    /// The same segment of a copy of the directory.
    pub fn of(&self, directory: &Path) -> Segment {
        Segment { name: self.name.clone(), path: directory.join(&self.name), used: self.used }
    }

    /// Overwrites bytes.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        let file = fs::OpenOptions::new().write(true).open(&self.path).expect("the segment can be opened");
        file.write_all_at(bytes, offset).expect("the segment can be written");
    }

    /// Flips bits of the last batch, which must be shorter than a block. The rest of its block is padding.
    pub fn damage_last_batch(&self) {
        let file = fs::File::open(&self.path).expect("the segment can be opened");
        let mut block = [0; 4];
        file.read_exact_at(&mut block, BLOCK).expect("the segment has a header");
        flip(&self.path, self.used - u64::from(u32::from_be_bytes(block)));
    }
}
