//! The table of one node: what its files contain, and the batches that only memory has.
//!
//! Batches are written in order, and are readable from then on. A flush makes all readable ones durable. The database also
//! flushes on its own, unreported, so a crash leaves the last flush and a prefix of the batches behind it.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use bytes::Bytes;
use gometa_store::{Batch, Checkpoint, Found, Lookup, MemoryTable, Query, Space, Table};

use crate::random::Random;

/// The table as the node reads it.
#[derive(Clone, Default, Debug)]
pub struct TableView {
    records: Rc<RefCell<MemoryTable>>,
    cold: Rc<Cold>,
}

/// Which lookups do not find their record in memory: any.
#[derive(Default, Debug)]
struct Cold {
    /// Their share, per million.
    share: u32,
    /// Changes with each lookup.
    state: Cell<u64>,
}

impl TableView {
    /// A view of a table with all of it in memory.
    pub fn of(table: MemoryTable) -> TableView {
        TableView { records: Rc::new(RefCell::new(table)), cold: Rc::default() }
    }

    /// A view of a table of which a share of the lookups, per million, finds nothing in memory.
    pub(super) fn cold(table: MemoryTable, share: u32, seed: u64) -> TableView {
        TableView { cold: Rc::new(Cold { share, state: Cell::new(seed) }), ..TableView::of(table) }
    }

    /// Writes a batch.
    pub fn write(&self, batch: &Batch) {
        self.records.borrow_mut().write(batch);
    }

    /// Reads a key's record, from memory or not.
    pub fn read(&self, key: &[u8]) -> Option<Bytes> {
        self.records.borrow().get(Space::Data, key)
    }

    /// Carries out a query; or returns the horizon, if a revision below it is to be read.
    pub fn query(&self, query: &Query) -> Result<Found, u64> {
        self.records.borrow().read(query)
    }

    /// About how many bytes the history takes.
    pub fn history_bytes(&self) -> u64 {
        let (superseded, changes) = self.records.borrow().history_len();
        (superseded + changes) as u64 * 50
    }

    /// A copy that shares nothing with this one.
    pub(super) fn fork(&self) -> TableView {
        TableView::of(self.records())
    }

    /// All records.
    pub(super) fn records(&self) -> MemoryTable {
        self.records.borrow().clone()
    }
}

impl Cold {
    /// Whether the next lookup finds nothing. By SplitMix64.
    fn next(&self) -> bool {
        self.state.set(self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut mixed = self.state.get();
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % 1_000_000 < u64::from(self.share)
    }
}

impl Table for TableView {
    fn checkpoint(&self) -> Checkpoint {
        self.records.borrow().checkpoint()
    }

    fn lookup(&self, space: Space, key: &[u8]) -> Lookup {
        if self.cold.next() {
            return Lookup::NotInMemory;
        }
        self.records.borrow().lookup(space, key)
    }

    fn scan(&self, space: Space, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.records.borrow().scan(space, visit);
    }

    fn scan_changes(&self, visit: &mut dyn FnMut(u64, &[u8])) {
        self.records.borrow().scan_changes(visit);
    }
}

/// The batches of one node, on their way into its files.
#[derive(Clone, Default, Debug)]
pub(super) struct Batches {
    /// What a crash leaves.
    pub(super) flushed: MemoryTable,
    /// Readable, and not flushed.
    stored: VecDeque<Batch>,
    /// Submitted, and not readable.
    queued: VecDeque<(u64, Batch)>,
    /// The number of queued batches that are being written; 0 while idle.
    busy: usize,
}

impl Batches {
    pub(super) fn push(&mut self, number: u64, batch: Batch) {
        self.queued.push_back((number, batch));
    }

    /// The checkpoint of the last batch that was submitted.
    pub(super) fn submitted(&self) -> Option<Checkpoint> {
        self.queued.back().map(|(_, batch)| batch.checkpoint)
    }

    /// Starts to write what is queued, or a part of it, if idle and if there is anything.
    pub(super) fn start(&mut self, part: bool, random: &mut Random) -> bool {
        if self.busy > 0 || self.queued.is_empty() {
            return false;
        }
        self.busy = if part { 1 + random.index(self.queued.len()) } else { self.queued.len() };
        true
    }

    /// What is being written is readable; the number of the last batch.
    pub(super) fn finish(&mut self, view: &TableView) -> Option<u64> {
        let mut last = None;
        for (number, batch) in self.queued.drain(..std::mem::take(&mut self.busy)) {
            view.write(&batch);
            self.stored.push_back(batch);
            last = Some(number);
        }
        last
    }

    /// Makes the first readable batches durable.
    pub(super) fn flush(&mut self, count: usize) {
        for batch in self.stored.drain(..count) {
            self.flushed.write(&batch);
        }
    }

    /// Another table takes the place of this one.
    pub(super) fn replace(&mut self, table: MemoryTable) {
        self.flushed = table;
        self.stored.clear();
    }

    /// Drops what is not readable yet.
    pub(super) fn drop_queued(&mut self) {
        self.queued.clear();
        self.busy = 0;
    }

    /// The number of batches that a flush would make durable.
    pub(super) fn unflushed(&self) -> usize {
        self.stored.len()
    }

    /// The process ends: a flush of the database's own may have been the last.
    pub(super) fn crash(&mut self, kept: usize) {
        self.flush(kept);
        self.forget();
    }

    pub(super) fn forget(&mut self) {
        self.stored.clear();
        self.queued.clear();
        self.busy = 0;
    }
}
