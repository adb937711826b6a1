//! Standard input: where there is none, reading it is an error and not an empty input.

use std::io::{self, ErrorKind};

use rustix::fs::{OFlags, fcntl_getfl, fstat, stat};

/// The lock on standard input.
///
/// # Errors
/// [`ErrorKind::NotConnected`] if standard input was closed when the process started. The standard library opens the null
/// device for reading and writing in its place, by which it is recognised; a shell's `< /dev/null` is opened for reading
/// only, and is an empty input.
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

/// `text` without the byte order mark that some editors put before UTF-8.
pub(crate) fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}
