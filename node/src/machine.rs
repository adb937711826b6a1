//! The node: its state, its step, and the dispatch of events and of the protocol core's effects.

use std::collections::VecDeque;

use gometa_proto::{
    ErrorKind, Operation,
    v1::{self, Error},
};
use gometa_store::{Corrupt, Store, Table};
use gometa_zab::{self as zab, Configuration, EnsembleId, LogEntry, NodeId, Role, Ticks, Voter, Zab, Zxid};

use crate::{
    ahead::Ahead,
    barrier::Barriers,
    clocks::Clocks,
    compaction::Compaction,
    config::Config,
    effect::Effect,
    event::Event,
    fetches::Fetches,
    forward::Forwarding,
    horizon::Horizon,
    installation::{Installing, configuration_of},
    members::MemberRequests,
    openers::Openers,
    pending::Pending,
    ranges::Ranges,
    reads::Reads,
    requests::Requests,
    status::Sources,
    work::Work,
};

mod apply;
mod fetch;
mod leader;
mod members;
mod ranges;
mod reads;
mod requests;
mod sessions;
mod space;
mod storage;

/// A batch that is not written to the table yet.
struct Outstanding {
    /// Its memory.
    bytes: usize,
    /// When it was issued.
    issued: Ticks,
    /// The last counter that is applied in it.
    applied: u64,
}

/// A node: the protocol, the store, and the requests that wait for them.
pub struct Node<T: Table> {
    config: Config,
    zab: Zab,
    store: Store<T>,
    now: Ticks,
    /// Events for the protocol core, in the current step.
    inbox: Vec<zab::Event>,
    effects: Vec<Effect>,
    requests: Requests,
    barriers: Barriers,
    reads: Reads,
    fetches: Fetches,
    ranges: Ranges,
    horizon: Horizon,
    /// The number of requests abandoned since `barriers`, `reads`, `fetches` and `ranges` last forgot such.
    abandoned: usize,
    forwarding: Forwarding,
    members: MemberRequests,
    clocks: Clocks,
    openers: Openers,
    /// The version of the configuration whose members clients were told.
    members_announced: Zxid,
    /// The highest counter that may be applied.
    released: u64,
    /// The entries above the last applied one.
    ahead: Ahead,
    /// What the current step has applied and looked up for it.
    work: Work,
    /// Since when the next entry waits for a record.
    apply_waits: Option<Ticks>,
    /// The read of the ranges of the next entry that is under way.
    next_ranges: Option<u64>,
    /// What the protocol core was last told with [`zab::Event::StateStalled`].
    state_stalled: bool,
    /// Entries read back from the log, in order, that are not in `ahead`.
    read_back: VecDeque<LogEntry>,
    /// The number of the read in flight.
    reading: Option<u64>,
    /// The time of the last batch.
    last_batch: Ticks,
    /// The number of batches taken from the store.
    batches_taken: u64,
    /// The batches that are not written to the table yet, oldest first.
    batches: VecDeque<Outstanding>,
    /// The last counter that is applied in the table.
    table_applied: u64,
    /// The sum of the bytes of `batches`.
    unstored: usize,
    compaction: Compaction,
    /// The figures of storage, for status reports.
    storage: v1::StorageStatus,
    installing: Option<Installing>,
    role: Role,
    /// The feature level of the last configuration that is applied; `None` while the genesis is in force.
    recorded_level: Option<u32>,
    /// When the last established leader was lost; `None` while there is one.
    leaderless: Option<Ticks>,
    /// Whether the requests that waited for a leader have been failed.
    waiters_failed: bool,
    /// Whether this node has been synchronised once since its start, so that it may answer local reads.
    synchronised: bool,
    stopped: bool,
}

impl<T: Table> Node<T> {
    /// A node with the contents of its storage, and its first effects. The configuration in `recovered` is ignored: the
    /// table records it.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the table's records of sessions or of the configuration are damaged.
    pub fn new(
        config: Config,
        recovered: zab::Recovered,
        table: T,
        now: Ticks,
    ) -> Result<(Node<T>, Vec<Effect>), Corrupt> {
        let store = Store::open(table)?;
        assert_eq!(store.applied(), recovered.applied, "log and table are recovered together");
        let configuration = configuration_of(&store)?;
        let recorded_level = configuration.as_ref().map(Configuration::level);
        let recovered = zab::Recovered { configuration, ..recovered };
        let zab_applied = store.applied();
        let zab = Zab::new(config.zab.clone(), recovered, now);
        let mut node = Node {
            released: zab.released(),
            compaction: Compaction::new(store.applied(), zab.base().counter),
            storage: v1::StorageStatus::default(),
            installing: None,
            config,
            zab,
            store,
            now,
            inbox: Vec::new(),
            effects: Vec::new(),
            requests: Requests::default(),
            barriers: Barriers::default(),
            reads: Reads::default(),
            fetches: Fetches::default(),
            ranges: Ranges::default(),
            horizon: Horizon::default(),
            abandoned: 0,
            forwarding: Forwarding::default(),
            members: MemberRequests::default(),
            clocks: Clocks::new(now),
            openers: Openers::default(),
            members_announced: Zxid::ZERO,
            ahead: Ahead::default(),
            work: Work::default(),
            apply_waits: None,
            next_ranges: None,
            state_stalled: false,
            read_back: VecDeque::new(),
            reading: None,
            last_batch: now,
            batches_taken: 0,
            batches: VecDeque::new(),
            table_applied: zab_applied,
            unstored: 0,
            role: Role::Forming,
            recorded_level,
            leaderless: Some(now),
            waiters_failed: false,
            synchronised: false,
            stopped: false,
        };
        node.announce_view();
        let effects = node.step(now, [Event::Zab(zab::Event::Tick)]);
        Ok((node, effects))
    }

    /// Handles events, in order, and returns the effects, in order.
    ///
    /// Work may be left: see [`Node::has_more`].
    pub fn step(&mut self, now: Ticks, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        self.now = self.now.max(now);
        self.clocks.step(self.now);
        self.barriers.step(self.now);
        self.work = Work::default();
        for event in events {
            self.handle_event(event);
        }
        self.expire();
        self.check_sessions();
        self.raise_horizon();
        self.compact();
        self.check_table();
        // The core gets a step without events too, for its clock, and another one for events that follow from it.
        loop {
            let role = self.role;
            self.send_pending();
            let inbox = std::mem::take(&mut self.inbox);
            for effect in self.zab.step(self.now, inbox) {
                self.handle_effect(effect);
            }
            self.update_members();
            self.lead_member_requests();
            self.apply();
            self.read_ahead();
            if self.inbox.is_empty() && self.role == role {
                break;
            }
        }
        self.answer_reads();
        self.begin_ranges();
        self.begin_fetches();
        std::mem::take(&mut self.effects)
    }

    /// Whether ready reads or entries to apply are left, beyond the bound of one step: the caller steps again at once, with
    /// the events that have arrived meanwhile.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.reads.has_more() || self.work.is_full()
    }

    /// The feature level of the ensemble, as this node has applied it: commands are made for it, and do what they do at it.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.recorded_level.unwrap_or_else(|| self.zab.founding_level())
    }

    /// The error of an operation that needs a higher feature level than the ensemble has.
    fn above_level(&self, operation: Operation) -> Option<Error> {
        let (needed, level) = (operation.level(), self.level());
        if needed <= level {
            return None;
        }
        if self.zab.configuration().level() >= needed || !self.synchronised {
            let message = format!("this node has not applied yet that the feature level is {needed}");
            return Some(Error::not_applied(ErrorKind::Unavailable, message).with_retry_after_ms(20));
        }
        let message = format!(
            "this request needs feature level {needed}, the ensemble runs at {level}: see `gometa upgrade status`"
        );
        Some(Error::not_applied(ErrorKind::Unsupported, message))
    }

    /// Sets the figures of storage that the status of this node reports. Base and end of the log are its own.
    pub fn set_storage(&mut self, storage: v1::StorageStatus) {
        self.storage = storage;
    }

    /// The ensemble, once this node has joined it.
    pub fn ensemble(&self) -> Option<EnsembleId> {
        self.zab.ensemble()
    }

    /// The id of this node.
    pub fn id(&self) -> NodeId {
        self.config.zab.node
    }

    /// Whether this node is a member of the ensemble, as far as it knows.
    pub fn is_member(&self) -> bool {
        self.zab.ensemble().is_some() && self.zab.configuration().contains(self.config.zab.node)
    }

    /// The configuration in force; before the ensemble is formed, the configured voters.
    pub fn configuration(&self) -> &Configuration {
        self.zab.configuration()
    }

    /// The change of the members that is not made yet, if there is one.
    pub fn pending_change(&self) -> Option<Pending> {
        self.sources().pending_change()
    }

    /// The write latency of a node's storage, as far as this node knows: see [`Zab::write_latency_of`].
    pub fn write_latency_of(&self, node: NodeId) -> u64 {
        self.zab.write_latency_of(node)
    }

    /// The ensemble's voters as recorded; before it is formed, the configured ones.
    pub fn voters(&self) -> &[Voter] {
        self.zab.configuration().voters()
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Stored { number } => {
                assert!(number <= self.batches_taken, "the table contains only what was written to it");
                while self.batches_taken - (self.batches.len() as u64) < number {
                    let batch = self.batches.pop_front().expect("a batch is outstanding");
                    self.unstored -= batch.bytes;
                    self.table_applied = batch.applied;
                    self.store.batch_written();
                }
                planted!(stored_counts_as_persisted => {
                    self.inbox.push(zab::Event::Persisted(self.zab.last_token()));
                });
            }
            Event::Flushed { counter } => self.compaction.flushed(counter),
            Event::LogBounds { kept_above, held_above } => self.compaction.bounded(kept_above, held_above),
            Event::Zab(zab::Event::Persisted(token)) => {
                self.persisted(token);
                self.inbox.push(zab::Event::Persisted(token));
            }
            Event::Fetched { id, records } => self.fetched(id, records),
            Event::Queried { id, result } => self.queried(id, result),
            Event::Zab(zab::Event::LogRead { id, entries }) if self.reading == Some(id) => {
                self.reading = None;
                self.read_back.extend(entries);
            }
            Event::Zab(event) => self.inbox.push(event),
            Event::Request { client, request } => self.request(client, request),
            Event::ClientNamed { client, name } => self.openers.name(client, name),
            Event::Cancel { client, id } => {
                if let Some(ticket) = self.requests.of_client(client, id) {
                    probe!("request.cancelled");
                    self.abandon(ticket);
                    self.abandoned += 1;
                }
            }
            Event::Contact { session } => self.contact(session),
            Event::Sent { client } => {
                self.reads.sent(client);
                self.ranges.give_turn(client);
            }
            Event::ClientGone { client } => {
                for ticket in self.requests.all_of_client(client) {
                    probe!("request.client-gone");
                    self.abandon(ticket);
                    self.abandoned += 1;
                }
                self.reads.gone(client);
                self.openers.gone(client);
            }
        }
    }

    fn handle_effect(&mut self, effect: zab::Effect) {
        match effect {
            zab::Effect::Write { token, write } => {
                if let zab::Write::Truncate(to) = &write {
                    self.truncate_ahead(to.counter);
                }
                if let zab::Write::Install(at) = &write {
                    self.begin_installation(token, *at);
                }
                self.effects.push(Effect::Write { token, write, released: self.released });
            }
            zab::Effect::Read { id, from, to, bytes_max } => {
                self.effects.push(Effect::Read { id, from, to, bytes_max });
            }
            zab::Effect::Datagram { to, vote } => self.effects.push(Effect::Datagram { to, vote }),
            zab::Effect::Connect { peer } => self.effects.push(Effect::Connect { peer }),
            zab::Effect::Send { link, message } => self.effects.push(Effect::Send { link, message }),
            zab::Effect::Close { link } => self.effects.push(Effect::Close { link }),
            zab::Effect::SendSnapshot { link } => self.effects.push(Effect::SendSnapshot { link }),
            zab::Effect::DiscardSnapshot => self.effects.push(Effect::DiscardSnapshot),
            zab::Effect::Commit { counter } => self.released = counter,
            zab::Effect::Proposed { id, .. } => {
                self.forwarding.decided(id);
            }
            zab::Effect::Rejected { id, why } => self.rejected(id, why),
            zab::Effect::BarrierPassed { id, commit } => self.end_barrier(id, Some(commit)),
            zab::Effect::BarrierFailed { id } => self.end_barrier(id, None),
            zab::Effect::Relayed { link, payload } => self.relayed(link, payload),
            zab::Effect::Role(role) => self.become_role(role),
            zab::Effect::ChangeDecided { id, result } => self.change_decided(id, result),
            zab::Effect::Notice(notice) => {
                self.transfer_notice(&notice);
                self.effects.push(Effect::Notice(notice));
            }
            zab::Effect::Quarantine(fault) => {
                self.stopped = true;
                self.effects.push(Effect::Quarantine(fault));
            }
            zab::Effect::Stop(reason) => self.stop(reason),
        }
    }

    fn stop(&mut self, reason: String) {
        if !self.stopped {
            self.stopped = true;
            self.effects.push(Effect::Stop(reason));
        }
    }

    fn become_role(&mut self, role: Role) {
        let before = std::mem::replace(&mut self.role, role);
        let established = |role| match role {
            Role::Leading { established } | Role::Following { established, .. } => established,
            Role::Forming | Role::Looking => None,
        };
        if established(before).is_some() {
            self.requests.hold_all();
            self.barriers.restart_forwarded();
            self.forwarding.forget();
            self.members.leader_lost();
            self.clocks.stop();
        }
        match role {
            Role::Leading { established: Some(_) } => {
                self.clocks.start(self.store.session_timeouts());
            }
            Role::Following { .. } | Role::Leading { .. } | Role::Forming | Role::Looking => {}
        }
        if established(role).is_some() {
            self.leaderless = None;
            self.waiters_failed = false;
            self.synchronised = true;
        } else {
            self.leaderless.get_or_insert(self.now);
        }
        // A node that serves shows how far it has applied.
        self.store_batch();
        self.effects.push(Effect::Role(role));
        self.announce_view();
    }

    fn announce_view(&mut self) {
        let view = self.sources().view();
        self.effects.push(Effect::View(view));
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            config: &self.config,
            zab: &self.zab,
            role: self.role,
            storage: &self.storage,
            level: self.level(),
        }
    }

    /// Tells clients of changed members.
    fn update_members(&mut self) {
        let version = self.zab.configuration().version();
        if std::mem::replace(&mut self.members_announced, version) != version {
            self.announce_view();
        }
    }
}
