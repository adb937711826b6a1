//! The event loop: a whole ensemble, its clients, network and disks in one thread, from one seed.
//!
//! Everything that will happen waits in a heap ordered by (virtual time, sequence). A node is woken with all that
//! has arrived for it since its last step, takes it in with one [`Node::step`](gometa_node::Node::step), and its
//! effects are checked by the oracle and carried out, in order. Faults are events like any others.
//!
//! Besides whole runs ([`Ensemble::run`]), the same object serves scenarios of a test: every fault is a
//! method, and [`Ensemble::run_until`] lets time pass between them.

mod changes;
mod clients;
mod depositions;
mod effects;
mod faults;
mod handovers;
mod integrity;
mod recoveries;
mod snapshots;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use bytes::{Bytes, BytesMut};
use gometa_node::{Event, Node};
use gometa_proto::{
    frame,
    v1::{StorageStatus, request},
};
use gometa_store::{Store, Table as _};
use gometa_zab::{Addresses, Incarnation, Message, Voter};

use crate::{
    actions::{Action, Deposition, Scheduled},
    checkers::{Check, Oracles, Violation, node_id, node_index},
    client_links::ClientLinks,
    counts::Counts,
    disk::Disk,
    history::{self, Verdict},
    network::{Arrival, Network},
    process::Process,
    random::{Random, Stream},
    recoveries::Recoveries,
    settings::{MILLISECOND, SECOND, Settings},
    trace::{Sink, Trace},
    transfers::Made,
    workload::Workload,
};

/// How long after the last fault everything must work again, in microseconds.
pub const LIVENESS_TIME: u64 = 30 * SECOND;
/// The same if a disk stays slow: with half a second for each sync, and few entries in flight, a node that is a thousand entries
/// behind needs half a minute to catch up.
const SLOW_LIVENESS_TIME: u64 = 60 * SECOND;
/// How long an ensemble without a quorum is watched after the last fault, in microseconds: longer than any request
/// may wait for its answer.
const QUIET_TIME: u64 = 8 * SECOND;
/// Between two checks whether everything works, in microseconds.
const LIVENESS_CHECK_EVERY: u64 = 50 * MILLISECOND;
/// Steps of the search for a legal order, for each key.
const HISTORY_BUDGET: u64 = 2_000_000;
/// What a request without a deadline gets, in milliseconds.
pub(crate) const DEADLINE_DEFAULT_MS: u32 = 5_000;

/// An ensemble.
pub struct Ensemble {
    pub(crate) now: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    pub(crate) settings: Settings,
    /// Disks and processes.
    pub(crate) machine: Random,
    pub(crate) network: Network,
    pub(crate) processes: Vec<Process>,
    pub(crate) links: ClientLinks,
    pub(crate) workload: Workload,
    pub(crate) oracle: Oracles,
    pub(crate) trace: Trace,
    pub(crate) counts: Counts,
    /// Every snapshot that was made.
    snapshots: Vec<Made>,
    /// Every node has sealed the genesis.
    pub(crate) formed: bool,
    /// The voters that the genesis does not record are counted as lost.
    absent_noticed: bool,
    pub(crate) deposition: Option<Deposition>,
    recoveries: Recoveries,
    /// The time of the transfer after the faults, while no leader is established since.
    pub(crate) final_transfer: Option<u64>,
    pub(crate) final_transfer_done: bool,
    pub(crate) faults_ended: bool,
    faults_ended_at: u64,
    /// When the faults ended, or a node last went into quarantine for one, if that was later: it needs time to come back.
    recovers_since: u64,
    settled: bool,
    voters: Vec<Voter>,
    /// The requests about the members that are not answered, by id.
    pub(crate) asked: BTreeMap<u64, request::Operation>,
}

impl Ensemble {
    /// The ensemble of a run, about to start; lines of its trace go to the sink.
    pub fn new(settings: Settings, sink: Option<Sink>) -> Ensemble {
        let Settings { seed, nodes: founders, spares, .. } = settings;
        let nodes = founders + spares;
        let mut machine = Random::new(seed, Stream::Machine);
        let voters = (0..founders).map(|node| voter(node, &addresses(node, 0))).collect();
        let processes = (0..nodes)
            .map(|node| Process::new(Disk::new(Incarnation(machine.wide()), settings.disk_of(node))))
            .collect();
        let mut ensemble = Ensemble {
            now: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            machine,
            network: Network::new(seed, nodes, settings.network.clone()),
            processes,
            links: ClientLinks::default(),
            workload: Workload::new(seed, nodes, settings.workload.clone()),
            oracle: Oracles::new(nodes, founders),
            trace: Trace::new(sink),
            counts: Counts::default(),
            snapshots: Vec::new(),
            formed: false,
            absent_noticed: false,
            deposition: None,
            recoveries: Recoveries::new(seed, settings.process.recoveries),
            final_transfer: None,
            final_transfer_done: false,
            faults_ended: false,
            faults_ended_at: 0,
            recovers_since: 0,
            settled: false,
            voters,
            asked: BTreeMap::new(),
            settings,
        };
        let late = ensemble.late_starters();
        for node in 0..nodes {
            let latest = if late.contains(&node) { 8 * SECOND } else { 200 * MILLISECOND };
            let at = ensemble.machine.below(latest);
            ensemble.schedule(at, Action::Start { node });
        }
        ensemble
    }

    /// The founders that start late: a minority, if an ensemble may be founded without them.
    fn late_starters(&mut self) -> Vec<usize> {
        if !self.settings.founds_with_quorum {
            return Vec::new();
        }
        let mut founders: Vec<usize> = (0..self.settings.nodes).collect();
        self.machine.shuffle(&mut founders);
        founders.truncate(self.machine.between(0, (self.settings.nodes as u64 - 1) / 2) as usize);
        founders
    }

    /// Lets clients come and faults happen, as the settings say.
    pub fn start_run(&mut self) {
        for client in 0..self.workload.clients() {
            let at = self.now + self.workload.random().below(100 * MILLISECOND);
            self.schedule(at, Action::Poll { client });
        }
        self.schedule_faults();
        let end = self.now + self.settings.fault_time;
        self.schedule(end, Action::EndFaults);
    }

    /// A whole run: faults, then the liveness phase, then the judgement of the histories.
    ///
    /// # Errors
    /// The first violation.
    pub fn run(&mut self) -> Check {
        self.start_run();
        while !self.settled {
            self.step()?;
        }
        self.check_histories()
    }

    /// The hash of everything that happened.
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Virtual time in microseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// What happened so far, in numbers.
    pub fn counts(&self) -> Counts {
        let workload = self.workload.counts;
        let mut faults = self.counts.faults;
        let network = self.network.counts;
        faults.add(&network);
        Counts {
            established: self.oracle.established() as u64,
            barriers: workload.barriers,
            local_reads: workload.local_reads,
            pages: workload.pages,
            histories: workload.histories,
            txns: workload.txns,
            writes: workload.writes,
            retried: workload.retried,
            suppressed: self.oracle.suppressed(),
            unknown: workload.unknown,
            broken_links: network.resets + network.stalled_links,
            faulty_datagrams: network.lost_datagrams
                + network.blocked_datagrams
                + network.duplicated_datagrams
                + network.replayed_datagrams
                + network.damaged_datagrams
                + network.random_datagrams,
            committed: self.oracle.committed(),
            time: self.now,
            faults,
            ..self.counts
        }
    }

    /// The network, for scenarios of a test.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// A node's machine, for scenarios of a test.
    pub fn process(&self, node: usize) -> &Process {
        &self.processes[node]
    }

    /// Delivers arbitrary bytes to a node's election port; returns whether they decoded as a vote.
    pub fn inject_datagram(&mut self, node: usize, bytes: &[u8]) -> bool {
        let vote = gometa_codec::vote::decode(bytes);
        let passed = vote.is_ok() && self.processes[node].is_up();
        if let Ok(vote) = vote
            && passed
        {
            self.deliver(node, Event::Zab(gometa_zab::Event::Datagram(vote)));
        }
        passed
    }

    pub(crate) fn voters(&self) -> &[Voter] {
        &self.voters
    }

    pub(crate) fn schedule(&mut self, at: u64, action: Action) {
        self.sequence += 1;
        self.queue.push(Reverse(Scheduled { at: at.max(self.now), sequence: self.sequence, action }));
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// The first violation.
    pub fn run_until(&mut self, until: u64) -> Check {
        while self.queue.peek().is_some_and(|Reverse(scheduled)| scheduled.at <= until) {
            self.step()?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// The next thing happens.
    ///
    /// # Errors
    /// A violation.
    pub fn step(&mut self) -> Check {
        self.collect();
        let Some(Reverse(Scheduled { at, sequence, action })) = self.queue.pop() else {
            self.settled = true;
            return Ok(());
        };
        self.now = at;
        self.counts.events += 1;
        self.trace.mix(at);
        self.trace.mix(sequence);
        self.perform(action)?;
        self.collect();
        Ok(())
    }

    /// Schedules what the network and the client links have sent.
    fn collect(&mut self) {
        let mut out = std::mem::take(&mut self.network.out);
        for (at, transit) in out.drain(..) {
            self.schedule(at, Action::Network(transit));
        }
        self.network.out = out;
        let mut out = std::mem::take(&mut self.links.out);
        for (at, transit) in out.drain(..) {
            self.schedule(at, Action::Client(transit));
        }
        self.links.out = out;
    }

    fn perform(&mut self, action: Action) -> Check {
        match action {
            Action::Network(transit) => match self.network.perform(self.now, transit) {
                Some(arrival) => self.arrives(arrival),
                None => Ok(()),
            },
            Action::Client(transit) => self.client_transit(transit),
            Action::Poll { client } => self.poll(client),
            Action::Wake { node, life } => self.wake(node, life),
            Action::Tick { node, life } => self.tick(node, life),
            Action::DiskDone { node, life, group, fails } => self.disk_done(node, life, group, fails),
            Action::TableDone { node, life, fails } => self.table_done(node, life, fails),
            Action::Fetched { node, life, id, seen } => {
                self.fetched(node, life, id, seen);
                Ok(())
            }
            Action::Queried { node, life, id, query, seen } => {
                if self.processes[node].life == life && self.processes[node].is_up() {
                    self.trace.mix(id);
                    let table = &self.processes[node].disk.table;
                    let result = seen.unwrap_or_else(|| table.query(&query));
                    self.deliver(node, Event::Queried { id, result });
                }
                Ok(())
            }
            Action::ReadDone { node, life, id, entries } => {
                if self.processes[node].life == life && self.processes[node].is_up() {
                    self.deliver(node, Event::Zab(gometa_zab::Event::LogRead { id, entries }));
                }
                Ok(())
            }
            Action::Checkpoint { node, life, link } => self.checkpoint(node, life, link),
            Action::Verified { node, life, id, link } => self.verified(node, life, id, link),
            Action::Start { node } => self.start(node),
            Action::Resume { node, life } => {
                if self.processes[node].life == life && self.processes[node].is_up() {
                    self.trace.line(self.now, Some(node), || "goes on".to_owned());
                    let process = &mut self.processes[node];
                    if std::mem::take(&mut process.paused_until) > 0 {
                        let paused = self.now - process.paused_since;
                        self.counts.faults.long_pauses += u64::from(paused >= 10 * SECOND);
                    }
                    self.deliver(node, Event::Zab(gometa_zab::Event::Tick));
                }
                Ok(())
            }
            Action::PowerCut { node } => self.power_cut(node),
            Action::Replace { node } => self.replace(node),
            Action::Space => {
                self.change_space();
                Ok(())
            }
            Action::Fill => {
                self.fill();
                Ok(())
            }
            Action::Free { node } => {
                self.free(node);
                Ok(())
            }
            Action::Damage => self.damage(),
            Action::Alter => {
                self.alter();
                Ok(())
            }
            Action::Scrub { node } => {
                self.scrub(node);
                Ok(())
            }
            Action::Partition => {
                self.partition();
                Ok(())
            }
            Action::Cut { pairs } => {
                self.cut(&pairs);
                Ok(())
            }
            Action::Heal { pairs } => {
                for (from, to) in pairs {
                    self.network.unblock(self.now, from, to);
                }
                Ok(())
            }
            Action::Crash => self.random_crash(),
            Action::EarlyCrash => self.early_crash(),
            Action::Pause => {
                self.random_pause();
                Ok(())
            }
            Action::Change => {
                self.change_members();
                Ok(())
            }
            Action::Transfer => {
                self.transfer();
                Ok(())
            }
            Action::CrashTarget { node } => self.crash_target(node),
            Action::Recovery { number, step } => self.recover_from_loss(number, step),
            Action::Depose => {
                self.depose();
                Ok(())
            }
            Action::Deposing => self.deposing(),
            Action::EndFaults => self.end_faults(),
            Action::CheckLiveness => self.check_liveness(),
        }
    }

    /// Hands an event to a node; it wakes soon, unless it is paused.
    pub(crate) fn deliver(&mut self, node: usize, event: Event) {
        let process = &mut self.processes[node];
        process.inbox.push(event);
        if process.waking || process.paused_until > self.now {
            return;
        }
        process.waking = true;
        let life = process.life;
        // A busy thread takes in several things at once.
        let delay = if self.machine.one_in(4) { self.machine.below(300) } else { self.machine.below(20) };
        self.schedule(self.now + delay, Action::Wake { node, life });
    }

    fn arrives(&mut self, arrival: Arrival) -> Check {
        match arrival {
            Arrival::Datagram { host, bytes, genuine } => self.datagram(host, &bytes, genuine),
            Arrival::Accepted { host, link } => {
                self.deliver(host, Event::Zab(gometa_zab::Event::Accepted { link }));
                Ok(())
            }
            Arrival::Connected { host, peer, link } => {
                let peer = node_id(peer);
                self.deliver(host, Event::Zab(gometa_zab::Event::Connected { peer, link }));
                Ok(())
            }
            Arrival::ConnectFailed { host, peer } => {
                let peer = node_id(peer);
                self.deliver(host, Event::Zab(gometa_zab::Event::ConnectFailed { peer }));
                Ok(())
            }
            Arrival::Frame { host, link, bytes } => self.frame(host, link, bytes),
            Arrival::Closed { host, link } => {
                self.trace.line(self.now, Some(host), || format!("{link}: closed by the other side"));
                self.deliver(host, Event::Zab(gometa_zab::Event::Closed { link }));
                Ok(())
            }
        }
    }

    fn datagram(&mut self, node: usize, bytes: &Bytes, genuine: bool) -> Check {
        self.trace.mix_bytes(bytes);
        match gometa_codec::vote::decode(bytes) {
            Ok(vote) if genuine => {
                self.deliver(node, Event::Zab(gometa_zab::Event::Datagram(vote)));
                Ok(())
            }
            Err(_) if !genuine => Ok(()),
            Ok(vote) => violation("codec: damaged datagrams are dropped", format!("decoded as {vote:?}")),
            Err(error) => violation("codec: what is sent arrives", format!("a vote is refused: {error}")),
        }
    }

    fn frame(&mut self, node: usize, link: gometa_zab::LinkId, bytes: Bytes) -> Check {
        self.trace.mix_bytes(&bytes);
        let mut stream = BytesMut::from(bytes);
        let frame = match frame::decode_frame(&mut stream, gometa_codec::limits::PEER_FRAME_MAX) {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                // The rest will never come: the connection has been reset.
                self.counts.faults.cut_messages += 1;
                return Ok(());
            }
            Err(error) => return violation("codec: what is sent arrives", format!("no frame: {error}")),
        };
        match gometa_codec::message::decode(frame) {
            Ok(Message::Snapshot(part)) => self.part_arrives(node, link, &part),
            Ok(message) => {
                self.deliver(node, Event::Zab(gometa_zab::Event::Message { link, message }));
                Ok(())
            }
            Err(error) => violation("codec: what is sent arrives", format!("a message is refused: {error}")),
        }
    }

    fn tick(&mut self, node: usize, life: u64) -> Check {
        let process = &self.processes[node];
        if process.life != life || !process.is_up() {
            return Ok(());
        }
        let paused = process.paused_until > self.now;
        let interval = (self.settings.heartbeat_ms * MILLISECOND / 2).min(10 * MILLISECOND);
        self.schedule(self.now + interval, Action::Tick { node, life });
        if paused {
            return Ok(());
        }
        self.processes[node].inbox.push(Event::Zab(gometa_zab::Event::Tick));
        self.take_in(node)
    }

    fn wake(&mut self, node: usize, life: u64) -> Check {
        let process = &mut self.processes[node];
        if process.life != life || !process.is_up() {
            return Ok(());
        }
        process.waking = false;
        if process.paused_until > self.now {
            return Ok(());
        }
        self.take_in(node)
    }

    /// One step of a node.
    fn take_in(&mut self, node: usize) -> Check {
        let process = &mut self.processes[node];
        let now = process.clock.at(self.now);
        let mut events = std::mem::take(&mut process.inbox);
        // Sometimes not all at once, and not in one order: what comes from clients and what comes from peers, disk
        // and clock come by different ways. After a pause often, for then it matters.
        let whole = events.len() < 2;
        let chosen = self.machine.below(if events.len() > 8 { 6 } else { 24 });
        let is_client = |event: &mut Event| !matches!(event, Event::Zab(_));
        match chosen {
            0 if !whole => process.inbox = events.split_off(1 + self.machine.index(events.len() - 1)),
            1 if !whole => process.inbox = events.extract_if(.., |event| !is_client(event)).collect(),
            2 if !whole => process.inbox = events.extract_if(.., is_client).collect(),
            _ => {}
        }
        let installed = process.installed.filter(|token| reports(&events, *token));
        if installed.is_some() {
            process.installed = None;
            self.exchange_table(node)?;
        }
        let process = &mut self.processes[node];
        let Some(state) = &mut process.node else { return Ok(()) };
        let idle = events.is_empty() && !state.has_more();
        if !idle {
            self.oracle.of(node).steps(node, now, &events);
        }
        let history_bytes = process.disk.table.history_bytes();
        state.set_storage(StorageStatus { history_bytes, ..StorageStatus::default() });
        let effects = if idle { Vec::new() } else { state.step(now, events) };
        let again = state.has_more() || !process.inbox.is_empty();
        if again && !process.waking {
            process.waking = true;
            let life = process.life;
            let at = self.now + self.machine.below(300);
            self.schedule(at, Action::Wake { node, life });
        }
        self.execute(node, effects)
    }

    /// A snapshot has taken the place of a node's state, which its node is about to learn.
    fn exchange_table(&mut self, node: usize) -> Check {
        let process = &mut self.processes[node];
        let Some(state) = &mut process.node else { return Ok(()) };
        self.oracle.at(node).installs(node, &process.disk.table)?;
        self.counts.faults.snapshots_installed += 1;
        match Store::open(process.disk.table.clone()) {
            Ok(store) => {
                state.install(store);
                Ok(())
            }
            Err(corrupt) => violation("a node must not stop", format!("n{node} cannot go on: {corrupt}")),
        }
    }

    /// The faults end: everything that can be is made well, and must come to rest.
    fn end_faults(&mut self) -> Check {
        if self.faults_ended {
            return Ok(());
        }
        self.faults_ended = true;
        self.faults_ended_at = self.now;
        self.recovers_since = self.now;
        self.trace.line(self.now, None, || "all faults end".to_owned());
        self.network.end_faults();
        self.network.heal(self.now);
        self.workload.drain();
        for node in 0..self.processes.len() {
            let process = &mut self.processes[node];
            process.disk.end_faults();
            process.crashes_after = None;
            self.set_space(node, gometa_zab::DiskSpace::Ample);
            let process = &mut self.processes[node];
            // A sync that stalls comes to its end.
            let (life, group) = (process.life, process.disk.group);
            self.schedule(self.now + MILLISECOND, Action::DiskDone { node, life, group, fails: false });
            // So does a write to the table.
            self.schedule(self.now + MILLISECOND, Action::TableDone { node, life, fails: false });
            self.hint(node);
            if !self.processes[node].is_up() {
                self.schedule(self.now, Action::Start { node });
            } else if self.processes[node].paused_until > self.now {
                let life = self.processes[node].life;
                self.schedule(self.now, Action::Resume { node, life });
            }
        }
        self.schedule_scrubs();
        self.schedule(self.now + LIVENESS_CHECK_EVERY, Action::CheckLiveness);
        Ok(())
    }

    /// 21. **Eventual**: some time after the last fault, a write and a linearizable read succeed, every client's
    ///     writes are resolved, and all nodes hold the same; but for those that have stopped for good, as a minority
    ///     may: their disks have broken what they promised, or their machines never come back.
    ///
    ///     Without a quorum nothing is asked but that every request is answered in time, if only with an error.
    fn check_liveness(&mut self) -> Check {
        if self.is_recovering() {
            self.recovers_since = self.now;
            self.schedule(self.now + LIVENESS_CHECK_EVERY, Action::CheckLiveness);
            return Ok(());
        }
        if self.oracle.recoveries() == 0
            && self.has_no_quorum()
            && self.now >= self.faults_ended_at + QUIET_TIME
        {
            if let Some(unanswered) = self.oracle.unanswered(self.now, DEADLINE_DEFAULT_MS) {
                let detail = format!("n{} owes an answer: {}", unanswered.node, unanswered.detail);
                return violation("21 eventual", detail);
            }
            self.workload.give_up(self.now);
            self.counts.faults.stopped_ensembles += 1;
            self.settled = true;
            return Ok(());
        }
        self.check_final_transfer(false)?;
        match self.unsettled() {
            None if self.final_transfer.is_some() || self.begin_final_transfer() => {
                self.schedule(self.now + LIVENESS_CHECK_EVERY, Action::CheckLiveness);
                Ok(())
            }
            None => {
                self.settled = true;
                Ok(())
            }
            Some(why) if self.now >= self.recovers_since + self.liveness_time() => {
                violation("21 eventual", why)
            }
            Some(_) => {
                self.schedule(self.now + LIVENESS_CHECK_EVERY, Action::CheckLiveness);
                Ok(())
            }
        }
    }

    fn liveness_time(&self) -> u64 {
        if self.has_slow_disk() { SLOW_LIVENESS_TIME } else { LIVENESS_TIME }
    }

    fn has_no_quorum(&self) -> bool {
        let voters = self.processes.iter().enumerate();
        let left = voters.filter(|(node, process)| !process.stopped && self.oracle.is_counted(*node));
        left.count() < self.oracle.quorum() || self.is_beyond_repair() || self.waits_for_the_lost()
    }

    /// Whether a live node has logged a configuration of which no majority is left: a change was proposed before the leader
    /// knew that another voter had lost its directory. An ensemble serves if it has a majority of the latest committed
    /// configuration and of every later one that a live node has logged.
    fn waits_for_the_lost(&self) -> bool {
        let is_left = |voter: &Voter| {
            let process = &self.processes[node_index(voter.node)];
            !process.stopped && voter.is(voter.node, process.disk.incarnation)
        };
        let live = self.processes.iter().filter(|process| !process.stopped);
        let mut logged = live.filter_map(|process| process.node.as_ref()).map(Node::configuration);
        let committed = self.oracle.committed_configuration();
        logged.any(|configuration| configuration.version() > committed && !configuration.has_quorum(is_left))
    }

    fn unsettled(&self) -> Option<String> {
        if let Some(node) = self.joining() {
            return Some(format!("n{node} has not joined the ensemble that was founded anew"));
        }
        if let Some(unfinished) = self.workload.unfinished() {
            return Some(unfinished);
        }
        if let Some(unanswered) = self.oracle.unanswered(self.now, DEADLINE_DEFAULT_MS) {
            return Some(format!("n{} owes an answer: {}", unanswered.node, unanswered.detail));
        }
        let committed = self.oracle.committed();
        let members = self.processes.iter().enumerate().filter(|(node, _)| self.oracle.is_member(*node));
        for (node, process) in members.filter(|(_, process)| !process.stopped) {
            if let Some(astray) = self.leads_astray(process) {
                return Some(format!("n{node} {astray}"));
            }
            let applied = process.disk.table.checkpoint().applied;
            if !process.is_up() || applied != committed {
                return Some(format!(
                    "n{node} has applied {applied} of {committed}, up: {}",
                    process.is_up()
                ));
            }
            if self.leads_with_slow_disk(node) {
                return Some(format!("n{node} leads, its disk is slow and those of a quorum are not"));
            }
            if self.is_wrong(node) {
                return Some(format!("n{node} has an altered record"));
            }
            if !self.oracle.is_counted(node) && !self.oracle.stays_learner(node) {
                return Some(format!("n{node} has no vote"));
            }
        }
        let due = self.oracle.due_replacement(|node| !self.processes[node].stopped);
        due.map(|(old, new)| format!("n{new} has not taken the place of n{old}"))
    }

    /// Whether a process names a member to its clients where that one is not any more.
    fn leads_astray(&self, process: &Process) -> Option<String> {
        let others = self.processes.iter().enumerate();
        others.filter(|(other, there)| !there.stopped && self.oracle.is_counted(*other)).find_map(
            |(other, there)| {
                let named = process.view.members.iter().find(|member| member.node == node_id(other).0);
                let named = named.map(|member| member.request_address.as_str());
                let wanted = &there.addresses.request;
                (named != Some(wanted.as_str()))
                    .then(|| format!("names {named:?} for n{other}, which is at {wanted}"))
            },
        )
    }

    fn check_histories(&mut self) -> Check {
        let whole = !self.has_no_quorum();
        for (node, process) in
            self.processes.iter().enumerate().filter(|(_, process)| whole && !process.stopped)
        {
            if !self.oracle.is_member(node) {
                continue;
            }
            self.oracle.at(node).compare_tables(node, &process.disk)?;
        }
        for (id, of_keys) in self.workload.histories() {
            for (key, operations) in of_keys.iter().enumerate() {
                let first = self.recoveries.record_at_first(*id, key);
                match history::check_from(first, operations, HISTORY_BUDGET) {
                    Verdict::Linearizable => self.counts.verified += 1,
                    Verdict::Unverified => self.counts.unverified += 1,
                    Verdict::Illegal => {
                        let count = operations.len();
                        let detail =
                            format!("key {key}: no legal order of its {count} operations: {operations:?}");
                        return violation("18 linearizability", detail);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether events say that everything through a token is durable.
fn reports(events: &[Event], token: gometa_zab::Token) -> bool {
    events
        .iter()
        .any(|event| matches!(event, Event::Zab(gometa_zab::Event::Persisted(done)) if *done >= token))
}

/// A violation.
pub(crate) fn violation(invariant: &'static str, detail: String) -> Check {
    Err(Violation { invariant, detail })
}

/// A voter as a configuration file lists it.
pub(crate) fn voter(node: usize, addresses: &Addresses) -> Voter {
    Voter { node: node_id(node), incarnation: None, addresses: addresses.clone() }
}

/// Where a node claims to be reached. Every few starts its clients must look for it elsewhere.
pub(crate) fn addresses(node: usize, life: u64) -> Addresses {
    let address = |port: u64| format!("n{node}:{port}");
    Addresses { election: address(5001), message: address(5002), request: address(5003 + life / 2) }
}
