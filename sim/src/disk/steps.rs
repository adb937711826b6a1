//! A disk for searches through every state, without files: what it does, one step at a time, without chance.

use std::hash::{Hash, Hasher};

use gometa_store::{Batch, Table};
use gometa_zab::{Token, Zxid};

use super::{Content, Disk, TableView};

impl Disk {
    /// The first write that is not synced is synced, alone; its token, if there is one.
    pub fn sync_one(&mut self) -> Option<Token> {
        self.pending.front()?;
        let (token, installed) = self.report(None);
        if installed.is_some() {
            self.batches.replace(self.table.records());
        }
        Some(token)
    }

    /// A batch is durable at once.
    pub fn store_at_once(&mut self, batch: &Batch) {
        self.batches.flushed.write(batch);
        self.table.write(batch);
    }

    /// Writes that a crash may lose.
    pub fn losable(&self) -> usize {
        self.pending.len()
    }

    /// The process ends: so many writes that it did not see synced are there at the next start; the rest is gone.
    pub fn crash_keeping(&mut self, kept: usize) {
        if let Some(files) = &mut self.files {
            files.write(self.pending.range(..kept), false).expect("no fault is to happen");
            files.end();
        }
        self.pending.truncate(kept);
        self.exchange_table();
        self.found = kept;
        self.rest_of_process();
        self.table = TableView::default();
    }

    /// The base of the log that the next start would find, if nothing were lost.
    fn base_found(&self) -> Zxid {
        self.pending.iter().fold(self.base, |base, pending| match &pending.content {
            Content::Compacted(to) => base.max(*to),
            Content::Installed(snapshot) => snapshot.at,
            Content::None => base,
        })
    }

    /// A copy that shares nothing with this one.
    ///
    /// # Panics
    /// If it has files.
    pub fn fork(&self) -> Disk {
        assert!(self.files.is_none(), "files cannot be copied");
        Disk {
            settings: self.settings.clone(),
            durable: self.durable.clone(),
            issued: self.issued.clone(),
            received: self.received.clone(),
            table: self.table.fork(),
            batches: self.batches.clone(),
            files: None,
            pending: self.pending.clone(),
            ..*self
        }
    }

    /// Hashes what this disk holds and what is in flight to it. Of the table only how far it is applied, for the rest
    /// follows from the log; tokens are left out, for their order is that of the writes.
    pub fn fingerprint(&self, hasher: &mut impl Hasher) {
        (self.incarnation, self.boots, self.busy, self.base_found()).hash(hasher);
        self.received.keys().for_each(|at| at.hash(hasher));
        (&self.durable, self.batches.flushed.checkpoint().applied, self.applied()).hash(hasher);
        self.losable().hash(hasher);
        for pending in &self.pending {
            pending.write.hash(hasher);
        }
    }
}
