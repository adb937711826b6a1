//! Small files: text with a checksum at the end, readable, and protected against accidental edits. They are replaced
//! atomically.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{
    DiskError,
    directory::{PRIVATE_FILE, UNFINISHED, sync_directory},
    records,
};

/// The value in the line of a text that begins with a label.
pub(super) fn field<'a>(body: &'a str, label: &str) -> Option<&'a str> {
    body.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(' '))
}

/// The text of a small file, without its checksum.
pub(super) fn read_sealed(dir: &Path, name: &str) -> Result<String, DiskError> {
    let path = dir.join(name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DiskError::damaged(dir, format!("{name} is missing")));
        }
        Err(error) => return Err(DiskError::file("read", &path)(error)),
    };
    let whole = String::from_utf8(bytes).ok().and_then(|text| {
        let body = &text[..text.rfind("checksum ")?];
        (seal(body) == text).then(|| body.to_owned())
    });
    whole.ok_or_else(|| DiskError::damaged(dir, format!("the checksum of {name} is wrong")))
}

/// Replaces a small file.
pub(super) fn write_sealed(dir: &Path, name: &str, body: &str) -> Result<(), DiskError> {
    write_whole(dir, name, seal(body).as_bytes())
}

fn seal(body: &str) -> String {
    let mut text = body.to_owned();
    let sum = records::checksum(body.as_bytes());
    // Writing to a String cannot fail.
    let _ = writeln!(text, "checksum {sum:08x}");
    text
}

/// Replaces a file atomically: a crash leaves the old one or the new one, and after the return the new one.
pub(super) fn write_whole(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let path = dir.join(name);
    let beside = dir.join(format!("{name}{UNFINISHED}"));
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(PRIVATE_FILE).open(&beside);
    let mut file = file.map_err(DiskError::file("create", &beside))?;
    file.write_all(bytes).map_err(DiskError::file("write", &beside))?;
    file.sync_all().map_err(DiskError::file("sync", &beside))?;
    fs::rename(&beside, &path).map_err(DiskError::file("rename to", &path))?;
    sync_directory(dir)
}
