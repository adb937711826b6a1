//! Ranges: their checks, and which keys they contain.

use bytes::Bytes;

use crate::{
    ErrorKind,
    limits::{DELIMITER_MAX, KEY_MAX},
    v1::{self, DeleteRange, Error, Range, RangeState},
};

/// The keys of a range: from the lowest one to below the end, `None` for no end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The lowest key.
    pub start: Bytes,
    /// Above the highest key.
    pub end: Option<Bytes>,
}

impl Bounds {
    /// The keys between start and end, which is empty for none, that begin with the prefix.
    fn new(start: &Bytes, end: &Bytes, prefix: &Bytes) -> Bounds {
        let end = Some(end.clone()).filter(|end| !end.is_empty());
        let prefix_end = end_of_prefix(prefix);
        let end = match (end, prefix_end) {
            (Some(end), Some(prefix_end)) => Some(end.min(prefix_end)),
            (end, prefix_end) => end.or(prefix_end),
        };
        Bounds { start: start.clone().max(prefix.clone()), end }
    }

    /// One key.
    #[must_use]
    pub fn of_key(key: &Bytes) -> Bounds {
        Bounds { start: key.clone(), end: Some([key, &[0][..]].concat().into()) }
    }

    /// The smallest bounds with all keys of these and of the others.
    pub(crate) fn cover(self, others: Bounds) -> Bounds {
        let end = self.end.zip(others.end).map(|(one, other)| one.max(other));
        Bounds { start: self.start.min(others.start), end }
    }

    /// Whether a key is among them.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_ref().is_none_or(|end| key < &end[..])
    }

    /// Whether no key can be among them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// Whether some key can be among these and the others.
    #[must_use]
    pub fn overlap(&self, others: &Bounds) -> bool {
        let below = |start: &Bytes, end: &Option<Bytes>| end.as_ref().is_none_or(|end| start < end);
        let start = (&self.start).max(&others.start);
        below(start, &self.end) && below(start, &others.end)
    }
}

impl Range {
    /// Its keys.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds::new(&self.start, &self.end, &self.prefix)
    }
}

impl RangeState {
    /// The keys of its range.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds::new(&self.start, &self.end, &self.prefix)
    }
}

impl DeleteRange {
    /// The keys that it deletes.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds::new(&self.start, &self.end, &self.prefix)
    }
}

/// The lowest key above all that begin with a prefix; `None` if there is none.
#[must_use]
pub fn end_of_prefix(prefix: &[u8]) -> Option<Bytes> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end.into())
}

pub(crate) fn check_consistency(consistency: i32) -> Result<(), Error> {
    v1::Consistency::try_from(consistency).map(drop).map_err(|_| {
        let message = format!("consistency {consistency} is not known");
        Error::not_applied(ErrorKind::Unsupported, message)
    })
}

pub(crate) fn check_range(range: &Range) -> Result<(), Error> {
    check_consistency(range.consistency)?;
    check_size("delimiter", &range.delimiter, DELIMITER_MAX)?;
    check_bounds(&range.start, &range.end, &range.prefix)
}

pub(crate) fn check_range_state(state: &RangeState) -> Result<(), Error> {
    check_bounds(&state.start, &state.end, &state.prefix)
}

pub(crate) fn check_delete_range(range: &DeleteRange) -> Result<(), Error> {
    if range.start.is_empty() && range.end.is_empty() && range.prefix.is_empty() {
        return Err(invalid(
            "a range to delete has a start, an end or a prefix; all keys begin at the start 00",
        ));
    }
    check_bounds(&range.start, &range.end, &range.prefix)
}

fn check_bounds(start: &Bytes, end: &Bytes, prefix: &Bytes) -> Result<(), Error> {
    check_size("start", start, KEY_MAX + 1)?;
    check_size("end", end, KEY_MAX + 1)?;
    check_size("prefix", prefix, KEY_MAX)?;
    if !end.is_empty() && start > end {
        return Err(invalid("the range's start is above its end"));
    }
    Ok(())
}

fn check_size(what: &str, bytes: &Bytes, max: usize) -> Result<(), Error> {
    let size = bytes.len();
    if size > max {
        let message = format!("a {what} of {size} bytes exceeds the limit of {max} bytes");
        return Err(Error::not_applied(ErrorKind::TooLarge, message));
    }
    Ok(())
}

pub(crate) fn invalid(message: &str) -> Error {
    Error::not_applied(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(start: &'static str, end: &'static str, prefix: &'static [u8]) -> Bounds {
        Bounds::new(&start.into(), &end.into(), &prefix.into())
    }

    #[test]
    fn start_end_and_prefix_narrow_a_range() {
        let all = bounds("", "", b"");
        assert!(all.contains(b"\0") && all.contains(&[0xff; 9]));
        let some = bounds("b1", "b9", b"b");
        assert!(some.contains(b"b1") && !some.contains(b"b9") && !some.contains(b"b"));
        let prefix = bounds("a", "c", b"b");
        assert_eq!((prefix.start, prefix.end), ("b".into(), Some("c".into())));
        assert_eq!(bounds("", "", &[0xff, 0xff]).end, None);
    }

    #[test]
    fn ranges_overlap_if_a_key_can_be_in_both() {
        let all = bounds("", "", b"");
        for (one, other, expected) in [
            (bounds("a", "c", b""), bounds("b", "d", b""), true),
            (bounds("a", "b", b""), bounds("b", "d", b""), false),
            (bounds("a", "", b""), bounds("b", "", b""), true),
            (bounds("", "", b"a"), bounds("", "", b"ab"), true),
            (bounds("", "", b"a"), bounds("", "", b"b"), false),
            (bounds("c", "d", b"a"), all.clone(), false),
            (all.clone(), all, true),
        ] {
            assert_eq!((one.overlap(&other), other.overlap(&one)), (expected, expected), "{one:?} {other:?}");
        }
    }
}
