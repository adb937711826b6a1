//! Ranges: their checks, and which keys they contain.

use crate::{
    ErrorKind,
    limits::{DELIMITER_MAX, KEY_MAX},
    v1::{self, Error, Range},
};

impl Range {
    /// Whether it contains a key.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..]
            && (self.end.is_empty() || key < &self.end[..])
            && key.starts_with(&self.prefix)
    }
}

pub(crate) fn check_consistency(consistency: i32) -> Result<(), Error> {
    v1::Consistency::try_from(consistency).map(drop).map_err(|_| {
        let message = format!("consistency {consistency} is not known");
        Error::not_applied(ErrorKind::Unsupported, message)
    })
}

pub(crate) fn check_range(range: &v1::Range) -> Result<(), Error> {
    check_consistency(range.consistency)?;
    let v1::Range { start, end, prefix, delimiter, .. } = range;
    for (what, bytes, max) in [
        ("start", start, KEY_MAX + 1),
        ("end", end, KEY_MAX + 1),
        ("prefix", prefix, KEY_MAX),
        ("delimiter", delimiter, DELIMITER_MAX),
    ] {
        let size = bytes.len();
        if size > max {
            let message = format!("a {what} of {size} bytes exceeds the limit of {max} bytes");
            return Err(Error::not_applied(ErrorKind::TooLarge, message));
        }
    }
    if !end.is_empty() && start > end {
        return Err(invalid("the range's start is above its end"));
    }
    Ok(())
}

pub(crate) fn invalid(message: &str) -> Error {
    Error::not_applied(ErrorKind::InvalidArgument, message)
}
