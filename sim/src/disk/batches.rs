//! The table of one node: what its files contain, and the batches that only memory has.
//!
//! Batches are written in order, and are readable from then on. A flush makes all readable ones durable. The database also
//! flushes on its own, unreported, so a crash leaves the last flush and a prefix of the batches behind it.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use bytes::Bytes;
use gometa_store::{Batch, Checkpoint, MemoryTable, Space, Table};

use crate::random::Random;

/// The table as the node reads it.
#[derive(Clone, Default, Debug)]
pub struct TableView(Rc<RefCell<MemoryTable>>);

impl TableView {
    /// A view of a table.
    pub fn of(table: MemoryTable) -> TableView {
        TableView(Rc::new(RefCell::new(table)))
    }

    /// Writes a batch.
    pub fn write(&self, batch: &Batch) {
        self.0.borrow_mut().write(batch);
    }

    /// A copy that shares nothing with this one.
    pub(super) fn fork(&self) -> TableView {
        TableView::of(self.0.borrow().clone())
    }
}

impl Table for TableView {
    fn checkpoint(&self) -> Checkpoint {
        self.0.borrow().checkpoint()
    }

    fn get(&self, space: Space, key: &[u8]) -> Option<Bytes> {
        self.0.borrow().get(space, key)
    }

    fn scan(&self, space: Space, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.0.borrow().scan(space, visit);
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
