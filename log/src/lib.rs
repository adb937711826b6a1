//! The node's log: append-only segments in one directory, written with one sync for each batch.
//!
//! Everything that a node acknowledges is here: log entries, hard state, founding record. What `apply` produces is
//! elsewhere, and may at any time be behind the log; base of the log ≤ durable state ≤ end of the log.
//!
//! - [`Log`] writes: stage, then [`commit`](Log::commit). One thread.
//! - [`Reader`] reads entries on any thread, while the log is written.
//! - [`Maintenance`] makes spare segments and deletes old ones, on another thread.
//! - [`Log::open`] verifies everything and tells a write that was cut off from damage.
//!
//! The logic is pure over [`Directory`] and [`File`]. [`OsDirectory`] implements them with files,
//! [`Medium`](medium::Medium) in memory, with the losses of a real disk: tests, simulator and fuzzers use it.
//!
//! # Files
//!
//! | name | content |
//! |---|---|
//! | 16 hex digits | a segment: header and batches (`layout.rs`) |
//! | `SYNCED` | the mark of the last batch that is known to be synced (`mark.rs`) |
//! | `spare`, `making`, `next` | the next segment (`maintenance.rs`) |
//!
//! Segments have consecutive numbers. A segment is complete before it has its number: header and first batch are written
//! and synced, then the file is renamed and the directory synced.
//!
//! # Rules
//!
//! 1. A *batch* is what one sync made durable. It has the next number, and the checksum of the batch before it. Batch n + 1
//!    is written when batch n is synced; so at most one can be incomplete.
//! 2. Nothing is overwritten. A truncation begins a new segment, whose header names the entry that is the end again. Headers
//!    are read in order: one that names an entry below the end cuts the log there. One that names an entry below the base
//!    (a deletion was undone in part) empties it, and that is the base.
//! 3. A header says where the segment before it ends, and repeats hard state and founding record. What is behind that place
//!    is ignored; what is missing before it is damage.
//! 4. In the newest segment the first place without the next batch ends the log. It is damage if a later batch of this
//!    segment stands behind it, if it is the first batch of a segment that was begun with one, or if the mark has reached its
//!    number. Otherwise a write was cut off that was never reported.
//! 5. Opening begins a new segment, whose first batch repeats the last one found, and whose header names the end before that
//!    one. After a failed sync the page cache holds bytes that no later sync writes: syncing again proves nothing, writing
//!    again does. The node sends nothing before.
//! 6. A segment is deleted when the header of the next one names a counter that is not above the base, oldest first. Live is
//!    the longest run of consecutive numbers that ends with the highest; what is below a gap is left over, if the log reaches
//!    down to the durable state without it.
//! 7. Damage in segments that are not needed is repaired by deleting them and those before them. Other damage is reported:
//!    the node must not vote with this log. An error of the file system is no damage.
//! 8. After an error the log refuses everything; no write or sync is tried again.
//!
//! # Not here
//!
//! Threads, time, the decision what may be deleted, quarantine, the rules of the protocol about what is in the log (hard
//! state and entries are checked for what they are, not against each other).
#![forbid(unsafe_code)]
#![deny(clippy::too_many_lines)]

mod buffer;
mod ends;
mod error;
mod file;
mod index;
mod inspect;
mod layout;
mod log;
mod maintenance;
mod mark;
pub mod medium;
mod open;
mod os;
mod reader;
mod salvage;
mod scan;
mod walk;

pub use crate::{
    error::{Damage, OpenError, ReadError, WriteError},
    file::{ALIGNMENT, BLOCK_MIN, Directory, File, Usage},
    inspect::Inspection,
    log::{Log, Options, Start, Status},
    maintenance::Maintenance,
    open::Recovered,
    os::{OsDirectory, OsFile},
    reader::Reader,
    salvage::founding,
    walk::SegmentSummary,
};
