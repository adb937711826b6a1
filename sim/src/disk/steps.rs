//! A disk for searches through every state: what it does, one step at a time, without chance.

use std::hash::{Hash, Hasher};

use gometa_node::Write;
use gometa_store::Table;
use gometa_zab::Token;

use super::{Disk, Pending, TableView};

impl Disk {
    /// The first write that needs a sync is synced, alone but for what stands before it; its token, if there is one.
    pub fn sync_one(&mut self) -> Option<Token> {
        let count = 1 + self.wal.range(self.synced..).position(Pending::needs_sync)?;
        let through = self.synced + count;
        self.lower_mark(self.synced, through);
        for pending in self.wal.range(self.synced..through) {
            if let Write::Zab(write) = &pending.write {
                self.durable.write(write);
            }
        }
        self.synced = through;
        self.done = self.done.saturating_sub(count);
        self.mark_through_synced();
        Some(self.wal[through - 1].token)
    }

    /// Writes of any kind that a crash may lose.
    pub fn losable(&self) -> usize {
        self.wal.len() - self.synced
    }

    /// The process ends: so many writes that it did not see synced are there at the next start; the rest is gone.
    pub fn crash_keeping(&mut self, kept: usize) {
        let through = self.synced + kept;
        self.lower_mark(self.synced, through);
        self.wal.truncate(through);
        self.rest();
        self.table = TableView::default();
    }

    /// A copy that shares nothing with this one.
    pub fn fork(&self) -> Disk {
        Disk {
            settings: self.settings.clone(),
            durable: self.durable.clone(),
            issued: self.issued.clone(),
            issued_log: self.issued_log.clone(),
            table: TableView::of(self.table.0.borrow().clone()),
            files: self.files.clone(),
            wal: self.wal.clone(),
            ..*self
        }
    }

    /// Hashes what this disk holds and what is in flight to it. Of the tables only how far they have applied, for the
    /// rest follows from the log; tokens are left out, for their order is that of the writes, and so is the mark, which
    /// follows from what is synced while nothing is damaged.
    pub fn fingerprint(&self, hasher: &mut impl Hasher) {
        (self.incarnation, self.boots, self.done, self.busy).hash(hasher);
        let applied = self.wal.range(..self.synced).rev().find_map(|pending| match &pending.write {
            Write::Apply(batch) => Some(batch.checkpoint.applied),
            Write::Zab(_) => None,
        });
        let applied = applied.unwrap_or_else(|| self.files.table.checkpoint().applied);
        (&self.durable, applied, self.applied()).hash(hasher);
        self.losable().hash(hasher);
        for pending in self.wal.range(self.synced..) {
            match &pending.write {
                Write::Zab(write) => write.hash(hasher),
                Write::Apply(batch) => batch.checkpoint.applied.hash(hasher),
            }
        }
    }
}
