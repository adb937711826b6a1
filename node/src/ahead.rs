//! The log entries that are applied next, decoded, with their records held in memory or on the way there.
//!
//! Reading a record begins when its entry is appended, so that it is there when the entry is committed. Entries are
//! decoded once. They and their records are bounded in number and bytes; the entry that is next always has room.

use std::collections::VecDeque;

use bytes::Bytes;
use gometa_proto::limits::TXN_VALUES_MAX;
use gometa_store::Decoded;

/// The most entries read ahead.
const ENTRIES_MAX: usize = 4_096;

/// The bytes of payloads at which reading ahead waits; the last one may exceed it.
const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// The bytes of held records at which reading ahead waits. Reads under way may exceed it, up to [`HELD_BYTES_MAX`].
const HELD_BYTES_FULL: usize = 4 << 20;

/// The bytes of held records at which an answer is dropped, unless the next entry waits for it.
pub(crate) const HELD_BYTES_MAX: usize = 8 << 20;

/// The bytes of held records at which an answer is dropped in any case. The next entry is a transaction then, and what it has
/// to do with is known to be too much.
pub(crate) const HELD_BYTES_LIMIT: usize = HELD_BYTES_MAX + TXN_VALUES_MAX + (4 << 20);

/// What an entry contains.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are commands")]
pub(crate) enum Content {
    /// A command of the store, which holds its keys.
    Command(Decoded),
    /// A configuration of the ensemble.
    Configuration(Bytes),
}

/// An entry that will be applied.
#[derive(Debug)]
pub(crate) struct Upcoming {
    pub(crate) counter: u64,
    pub(crate) content: Content,
    /// The size of the payload, and of what is decoded beside it.
    pub(crate) bytes: usize,
}

impl Upcoming {
    /// The keys that the store holds for it. One may occur more than once, and is held as often.
    pub(crate) fn keys(&self) -> &[Bytes] {
        match &self.content {
            Content::Command(command) => command.keys(),
            Content::Configuration(_) => &[],
        }
    }

    /// The number of keys that applying it touches.
    pub(crate) fn touched(&self) -> usize {
        match &self.content {
            Content::Command(command) => command.touched(),
            Content::Configuration(_) => 0,
        }
    }
}

/// The entries from the next one on, without a gap.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    entries: VecDeque<Upcoming>,
    /// The sum of the sizes of the payloads.
    bytes: usize,
}

impl Ahead {
    pub(crate) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Whether another entry may be read ahead, with so many bytes of records held.
    pub(crate) fn has_room(&self, held_bytes: usize) -> bool {
        self.entries.is_empty()
            || (self.entries.len() < ENTRIES_MAX
                && self.bytes < PAYLOAD_BYTES_MAX
                && held_bytes < HELD_BYTES_FULL)
    }

    pub(crate) fn push(&mut self, entry: Upcoming) {
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
    }

    /// The entry that is applied next.
    pub(crate) fn next(&self) -> Option<&Upcoming> {
        self.entries.front()
    }

    /// The same, to add what was read for it.
    pub(crate) fn next_mut(&mut self) -> Option<&mut Upcoming> {
        self.entries.front_mut()
    }

    /// Removes the entry that was applied.
    pub(crate) fn pop(&mut self) -> Option<Upcoming> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes;
        Some(entry)
    }

    /// Removes and returns one of the entries above this counter, which are truncated.
    pub(crate) fn pop_above(&mut self, counter: u64) -> Option<Upcoming> {
        self.entries.back().filter(|entry| entry.counter > counter)?;
        let entry = self.entries.pop_back()?;
        self.bytes -= entry.bytes;
        Some(entry)
    }
}
