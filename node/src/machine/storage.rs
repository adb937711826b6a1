//! Compaction of the log, and the installation of snapshots.

use bytes::Bytes;
use gometa_proto::{
    Outcome,
    v1::{self, response::Result as Answer},
};
use gometa_store::{Checkpoint, Store, Table, WriteLookup};
use gometa_zab::{Token, Zxid};

use super::{Node, requests::forgotten};
use crate::{
    compaction::Compaction,
    installation::{Installing, configuration_of},
    requests::WriteKey,
};

impl<T: Table> Node<T> {
    // ---- Compaction

    /// Tells the protocol core how far the log may be compacted.
    pub(super) fn compact(&mut self) {
        let bounds = (self.config.log_kept, self.config.log_held_max);
        let flushed =
            planted!(self.compaction.durable(), compacts_above_flushed_state => self.store.applied());
        self.inbox.extend(self.compaction.advance(flushed, self.zab.last().counter, bounds));
    }

    // ---- Snapshots

    /// The position of a snapshot of this node's table, from the checkpoint that the snapshot itself contains. `None` if
    /// the log does not continue it: a newer snapshot is needed.
    pub fn snapshot_zxid(&self, checkpoint: &Checkpoint) -> Option<Zxid> {
        let applied = planted!(checkpoint.applied, labels_snapshot_by_memory => self.store.applied());
        self.zab.zxid_at(applied)
    }

    /// A snapshot is to be installed. Nothing is applied meanwhile, since its changes would be of the old table.
    pub(super) fn begin_installation(&mut self, token: Token, at: Zxid) {
        self.installing = Some(Installing { token, at, exchanged: false });
        self.truncate_ahead(self.store.applied());
        // Their answer is of the old table.
        self.next_ranges = planted!(None, keeps_ranges_of_replaced_table => self.next_ranges);
    }

    /// Whether entries are applied to a table that a snapshot replaces.
    pub(super) fn is_installing(&self) -> bool {
        planted!(self.installing.is_some(), applies_while_installing => false)
    }

    /// Storage has completed all writes through this token.
    pub(super) fn persisted(&mut self, token: Token) {
        if self.installing.as_ref().is_some_and(|installing| installing.token <= token) {
            let exchanged = self.installing.take().is_some_and(|installing| installing.exchanged);
            assert!(exchanged, "the table is exchanged before the installation is reported");
        }
    }

    /// Exchanges the store for that of the snapshot that [`Write::Install`](gometa_zab::Write::Install) makes live, before
    /// [`Persisted`](gometa_zab::Event::Persisted) is delivered for that write. The effects come with the next step.
    ///
    /// The batches of the old table are dropped: the caller must not write them after it has begun the installation, and
    /// need not report them. Requests whose outcome the snapshot contains are answered; the others wait for the leader.
    ///
    /// # Panics
    ///
    /// If no snapshot is being installed, or the table is not that of the snapshot.
    pub fn install(&mut self, store: Store<T>) {
        let installing = self.installing.as_mut().expect("a snapshot is being installed");
        assert_eq!(store.applied(), installing.at.counter, "the table is that of the snapshot");
        installing.exchanged = true;
        let configuration =
            configuration_of(&store).expect("the snapshot's configuration was decoded before");
        self.recorded_level = configuration.map(|configuration| configuration.level());
        self.store = store;
        self.released = self.store.applied();
        self.read_back.clear();
        self.reading = None;
        self.apply_waits = None;
        self.table_applied = self.store.applied();
        self.look_for_records_again();
        self.query_again();
        self.batches.clear();
        self.unstored = 0;
        self.compaction = Compaction::new(self.released, self.released);
        let store = &self.store;
        self.clocks.retain(|session| store.session_timeout(session).is_some());
        self.openers.replace(
            |nonce| store.session_by_nonce(nonce),
            |session| store.session_timeout(session).is_some(),
        );
        for key in self.requests.submissions() {
            self.look_up_again(&key);
        }
    }

    /// Answers the requests for a command whose outcome is recorded. An entry that the snapshot contains is not applied
    /// here any more.
    fn look_up_again(&mut self, key: &WriteKey) {
        match key {
            WriteKey::Write { session, seq } => match self.store.lookup_write(*session, *seq) {
                WriteLookup::Recorded(outcome) => {
                    probe!("install.answers-write");
                    self.settle_write(key, &outcome, None, Outcome::Unknown);
                }
                WriteLookup::Forgotten => {
                    probe!("install.write-forgotten");
                    for ticket in self.requests.settle(key) {
                        self.respond_to(ticket, Answer::Error(forgotten()));
                    }
                }
                WriteLookup::NoSession | WriteLookup::New => {}
            },
            WriteKey::Open { nonce } => self.answer_opened(nonce),
            WriteKey::End { session } => {
                if *session <= self.store.applied() && self.store.session_timeout(*session).is_none() {
                    probe!("install.answers-end");
                    self.session_ended(*session, false);
                }
            }
        }
    }

    fn answer_opened(&mut self, nonce: &Bytes) {
        let Some(session) = self.store.session_by_nonce(nonce) else { return };
        probe!("install.answers-open");
        let timeout_ms = self.store.session_timeout(session).unwrap_or_default();
        for ticket in self.requests.settle(&WriteKey::Open { nonce: nonce.clone() }) {
            self.respond_to(ticket, Answer::SessionOpened(v1::SessionOpened { session, timeout_ms }));
        }
        self.session_opened(nonce, session);
    }
}
