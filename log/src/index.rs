//! Where entries lie in the segments: four bytes each, in memory.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicU64},
};

use gometa_marks::planted;

/// A segment's file. Readers hold it while they read; it is overwritten only when it has no other holder.
#[derive(Debug)]
pub(crate) struct Handle<F> {
    pub(crate) number: u64,
    pub(crate) file: F,
    /// The size of the file, for status reports.
    pub(crate) size: AtomicU64,
}

impl<F> Handle<F> {
    pub(crate) fn new(number: u64, file: F, size: u64) -> Arc<Handle<F>> {
        Arc::new(Handle { number, file, size: AtomicU64::new(size) })
    }
}

/// A segment as readers see it: only durable entries that are not truncated.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) handle: Arc<Handle<F>>,
    /// The counter of the end of the log that its header names.
    pub(crate) named: u64,
    /// The counter of the first entry, if there is one. Ascends from segment to segment.
    pub(crate) first: u64,
    /// The offset of each entry's record.
    pub(crate) offsets: Vec<u32>,
    /// An offset at or behind the end of the last entry's record, and not behind the next one's beginning.
    pub(crate) end: u32,
}

/// All segments.
#[derive(Debug)]
pub(crate) struct Index<F> {
    /// Entries through this counter are not readable any more.
    pub(crate) base: u64,
    pub(crate) segments: VecDeque<Segment<F>>,
}

/// Contiguous entries in one segment, to be read at once.
#[derive(Debug)]
pub(crate) struct Part<F> {
    pub(crate) handle: Arc<Handle<F>>,
    pub(crate) first: u64,
    pub(crate) offsets: Vec<u32>,
    pub(crate) end: u32,
}

impl<F> Segment<F> {
    pub(crate) fn new(handle: Arc<Handle<F>>, named: u64) -> Segment<F> {
        Segment { handle, named, first: named + 1, offsets: Vec::new(), end: 0 }
    }

    fn truncate(&mut self, counter: u64) {
        let keep = (counter + 1).saturating_sub(self.first);
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        if let Some(removed) = self.offsets.get(keep) {
            self.end = *removed;
            self.offsets.truncate(keep);
        }
        self.first = self.first.min(counter + 1);
    }
}

impl<F> Index<F> {
    pub(crate) fn new(base: u64) -> Index<F> {
        Index { base, segments: VecDeque::new() }
    }

    /// Adds the entries of a batch to the last segment.
    pub(crate) fn append(&mut self, offsets: impl Iterator<Item = u32>, end: u32) {
        let last = self.segments.back_mut().expect("a log has a segment");
        let before = last.offsets.len();
        last.offsets.extend(offsets);
        if last.offsets.len() > before {
            last.end = end;
        }
    }

    /// Removes the entries above this counter.
    pub(crate) fn truncate(&mut self, counter: u64) {
        // Earlier segments end below the first entry of a later one.
        for segment in self.segments.iter_mut().rev() {
            let reached = segment.first <= counter;
            segment.truncate(counter);
            if reached {
                return;
            }
        }
    }

    /// Removes the entries above this counter from the last segment; returns where they were, counted from
    /// `origin`, the beginning of their batch.
    pub(crate) fn remove_above(&mut self, counter: u64, origin: u32) -> Vec<u32> {
        let last = self.segments.back_mut().expect("a log has a segment");
        let keep = usize::try_from((counter + 1).saturating_sub(last.first)).unwrap_or(usize::MAX);
        let removed = last.offsets.get(keep..).unwrap_or_default().iter().map(|at| at - origin).collect();
        last.truncate(counter);
        last.end = last.end.min(origin);
        removed
    }

    /// Raises the base, and removes the segments that are not needed any more, oldest first.
    pub(crate) fn compact(&mut self, base: u64) -> Vec<Segment<F>> {
        self.base = base;
        let mut removed = Vec::new();
        // The header of the next segment names the end of the one before, or less.
        let named = |next: &Segment<F>| planted!(next.named <= base, deletes_segments_above_base => next.named <= base + 3);
        while self.segments.get(1).is_some_and(named) {
            removed.extend(self.segments.pop_front());
        }
        removed
    }

    /// The counter above which the entries take at most this many bytes.
    pub(crate) fn counter_above(&self, bytes: u64) -> u64 {
        let mut left = bytes;
        let mut above =
            self.segments.back().map_or(self.base, |last| last.first + last.offsets.len() as u64 - 1);
        for segment in self.segments.iter().rev() {
            let Some(first) = segment.offsets.first() else { continue };
            let used = u64::from(segment.end - first);
            if used > left {
                let from = u64::from(segment.end) - left;
                let gone = segment.offsets.partition_point(|offset| u64::from(*offset) < from);
                above = above.min(segment.first + gone as u64 - 1);
                break;
            }
            left -= used;
            above = above.min(segment.first - 1);
        }
        above.max(self.base)
    }

    /// The next entries from this counter, at most through `to`, in at most about `bytes_max` bytes of one file, but at
    /// least one. `None` if there is no such entry.
    pub(crate) fn part(&self, from: u64, to: u64, bytes_max: usize) -> Option<Part<F>> {
        if from <= self.base || from > to {
            return None;
        }
        let at = self.segments.partition_point(|segment| segment.first <= from).checked_sub(1)?;
        let segment = &self.segments[at];
        let start = usize::try_from(from - segment.first).ok()?;
        let begin = *segment.offsets.get(start)?;
        let wanted = usize::try_from(to - from).map_or(usize::MAX, |more| more.saturating_add(1));
        let bound = u32::try_from(bytes_max).unwrap_or(u32::MAX).saturating_add(begin);
        // Each entry ends at the offset of the next one, the last at `end`.
        let rest = &segment.offsets[start..];
        let fitting = rest[1..].partition_point(|end| *end <= bound);
        let fitting = fitting + usize::from(fitting + 1 == rest.len() && segment.end <= bound);
        let stop = start + fitting.max(1).min(wanted);
        let end = segment.offsets.get(stop).copied().unwrap_or(segment.end);
        let offsets = segment.offsets[start..stop].to_vec();
        Some(Part { handle: segment.handle.clone(), first: from, offsets, end })
    }
}
