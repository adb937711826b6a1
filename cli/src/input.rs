//! Standard input. A closed one is an error, not an empty input.

use std::io::{self, ErrorKind, Read};

use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};

/// The number of bytes read from standard input or a file: more than any node's limit, so that errors name the node's
/// limit.
const INPUT_MAX: u64 = 16 << 20;

/// Reads all of an input.
///
/// # Errors
/// [`ErrorKind::FileTooLarge`] if it exceeds 16 MiB.
pub(crate) fn read_all(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(INPUT_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > INPUT_MAX {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it exceeds {INPUT_MAX} bytes")));
    }
    Ok(bytes)
}

/// Locks standard input.
///
/// # Errors
/// [`ErrorKind::NotConnected`] if standard input was closed when the process started. The standard library replaces it by
/// the null device, opened for reading and writing; a shell's `< /dev/null` is opened for reading only, and is an empty
/// input.
pub(crate) fn lock() -> io::Result<io::StdinLock<'static>> {
    let input = io::stdin();
    let is_substitute = || -> rustix::io::Result<bool> {
        let writable = fcntl_getfl(&input)?.contains(OFlags::RDWR);
        Ok(writable && fstat(&input)?.st_rdev == stat("/dev/null")?.st_rdev)
    };
    if is_substitute().unwrap_or(false) {
        return Err(io::Error::new(ErrorKind::NotConnected, "it is closed"));
    }
    Ok(input.lock())
}

/// Removes the byte order mark that some editors write before UTF-8 text.
pub(crate) fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}
