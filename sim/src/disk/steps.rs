//! A disk for searches through every state: what it does, one step at a time, without chance.

use std::hash::{Hash, Hasher};

use gometa_store::{Batch, Table};
use gometa_zab::{Token, Zxid};

use super::{Content, Disk, Pending, TableView};

impl Disk {
    /// The first write that is not synced is synced, alone; its token, if there is one.
    pub fn sync_one(&mut self) -> Option<Token> {
        let at = self.synced;
        let token = self.wal.get(at)?.token;
        self.lower_mark(at, at + 1);
        let Pending { write, content, .. } = &self.wal[at];
        self.durable.write(write, content);
        if let Content::Installed(snapshot) = content {
            self.batches.replace(snapshot.table.clone());
            self.table = TableView::of(snapshot.table.clone());
        }
        self.synced = at + 1;
        self.mark_through_synced();
        Some(token)
    }

    /// A batch is durable at once.
    pub fn store_at_once(&mut self, batch: &Batch) {
        self.batches.flushed.write(batch);
        self.table.write(batch);
    }

    /// Writes that a crash may lose.
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

    /// The base of the log that the next start would find, if nothing were lost.
    fn files_base(&self) -> Zxid {
        self.wal.iter().fold(self.files.base, |base, pending| match &pending.content {
            Content::Compacted(to, _) => base.max(*to),
            Content::Installed(snapshot) => snapshot.at,
            Content::None => base,
        })
    }

    /// A copy that shares nothing with this one.
    pub fn fork(&self) -> Disk {
        Disk {
            settings: self.settings.clone(),
            durable: self.durable.clone(),
            issued: self.issued.clone(),
            issued_log: self.issued_log.clone(),
            received: self.received.clone(),
            table: self.table.fork(),
            batches: self.batches.clone(),
            files: self.files.clone(),
            wal: self.wal.clone(),
            ..*self
        }
    }

    /// Hashes what this disk holds and what is in flight to it. Of the table only how far it is applied, for the rest
    /// follows from the log; tokens are left out, for their order is that of the writes, and so is the mark, which
    /// follows from what is synced while nothing is damaged.
    pub fn fingerprint(&self, hasher: &mut impl Hasher) {
        (self.incarnation, self.boots, self.busy, self.files_base()).hash(hasher);
        self.received.keys().for_each(|at| at.hash(hasher));
        (&self.durable, self.batches.flushed.checkpoint().applied, self.applied()).hash(hasher);
        self.losable().hash(hasher);
        for pending in self.wal.range(self.synced..) {
            pending.write.hash(hasher);
        }
    }
}
