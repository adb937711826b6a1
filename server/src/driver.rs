//! The driver: the thread that owns the node.
//!
//! It takes all queued events, steps the node once with them, and carries out the effects in order: writes go to the
//! disk's threads, votes to a non-blocking socket, messages and answers to outboxes. It waits for the inbox only, so the
//! disk and slow sockets delay no heartbeat and no vote. While the node has more answers to produce, which it does in
//! bounded steps, the driver does not wait at all.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gometa_codec::vote::{self, Whereabouts};
use gometa_node::{ClientId, Effect, Event, Node};
use gometa_proto::v1;
use gometa_zab::{
    Configuration, DiskSpace, Hello, LinkId, Message, NodeId, Notice, Role, Ticks, Token,
    TransferRejection::{NoTarget, NotLeader},
    Vote, Write,
};
use tokio::runtime::Handle;
use tracing::{debug, info, warn};

use crate::{
    client::registry::Clients,
    disk::{
        Flushed, LogReader, LogWriter, QueryReader, Received, RecordReader, RocksTable, Scrubber, Snapshots,
        SpaceWatch, StateWriter,
    },
    inbox::{Inbox, Item, Taken},
    net::outbox::{Outbox, Put},
    observe::{
        counters::Counters,
        events::{EventLog, NodeNames},
        integrity, members,
        pending::PendingLog,
        ready::Ready,
        steps::Steps,
    },
    peer::{
        address_book::AddressBook,
        dial_errors::DialErrors,
        joining::Joining,
        link::{CLOSE_TIMEOUT, PeerPort},
        search::{self, LeaderSearch},
        vote_socket::VoteSender,
    },
    process::shutdown::{Reason, Shutdown},
    snapshot::{SnapshotReceiver, SnapshotSender, Ticket},
};

mod snapshots;

/// The time between two ticks.
const TICK: Duration = Duration::from_millis(10);

/// The longest time for handing over before the node stops.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the driver uses to carry out effects.
pub(crate) struct Environment {
    pub(crate) inbox: Arc<Inbox>,
    /// Its results are put into the inbox.
    pub(crate) log: LogWriter,
    /// Its results are put into the inbox.
    pub(crate) state: StateWriter,
    /// Its results are put into the inbox.
    pub(crate) log_reader: LogReader,
    /// Its results are put into the inbox.
    pub(crate) record_reader: RecordReader,
    pub(crate) query_reader: QueryReader,
    pub(crate) snapshots: Snapshots,
    pub(crate) sender: SnapshotSender,
    pub(crate) receiver: SnapshotReceiver,
    /// Put the level of the disk space, and damage that they find, into the inbox.
    pub(crate) _watches: (SpaceWatch, Scrubber),
    pub(crate) votes: VoteSender,
    pub(crate) book: AddressBook,
    pub(crate) peers: Arc<PeerPort>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) shutdown: Arc<Shutdown>,
    pub(crate) ready: Ready,
    pub(crate) runtime: Handle,
    /// The errors of connecting to peers, for the log.
    pub(crate) dial_errors: Arc<DialErrors>,
    /// The hello of this process to its peers.
    pub(crate) hello: Hello,
    /// What is known while there is no leader.
    pub(crate) search: LeaderSearch,
    pub(crate) events: EventLog,
    /// The ensemble to join, until this node is a member.
    pub(crate) joining: Option<Joining>,
    /// The instant of tick 0.
    pub(crate) start: Instant,
}

pub(crate) struct Driver {
    node: Node<RocksTable>,
    environment: Environment,
    links: HashMap<LinkId, Arc<Outbox<Message>>>,
    /// Events caused by carrying out effects.
    pending: Vec<Event>,
    /// Links with queued messages.
    flush: Vec<Arc<Outbox<Message>>>,
    answers: Vec<(ClientId, v1::Response)>,
    /// A snapshot that is received on this link, and is not live yet.
    received: Option<(LinkId, Box<Received>)>,
    /// The write that makes it live.
    installation: Option<Token>,
    /// The members, as last logged; `None` until the ensemble is known.
    members: Option<Configuration>,
    /// The feature level, as last logged; `None` until the ensemble is known.
    level: Option<u32>,
    /// The node's current role.
    role: Role,
    steps: Steps,
    pending_log: PendingLog,
    /// The time at which the node stops at the latest, once it is to stop in order.
    leaving: Option<Instant>,
    /// To be set when this node, which joins, is a member.
    joined: Option<Arc<AtomicBool>>,
    stopped: bool,
}

impl Driver {
    /// Creates a driver and carries out the node's first effects.
    pub(crate) fn new(node: Node<RocksTable>, first: Vec<Effect>, environment: Environment) -> Driver {
        let mut driver = Driver {
            members: None,
            level: None,
            node,
            environment,
            links: HashMap::new(),
            pending: Vec::new(),
            flush: Vec::new(),
            answers: Vec::new(),
            received: None,
            installation: None,
            role: Role::Forming,
            steps: Steps::default(),
            pending_log: PendingLog::default(),
            leaving: None,
            joined: None,
            stopped: false,
        };
        driver.update_members();
        driver.carry_out(first);
        driver.join();
        driver
    }

    /// Begins to ask the ensemble that this node is to join. A member finds its leader, unless it was removed and does not
    /// know it.
    fn join(&mut self) {
        if let Some(joining) = self.environment.joining.take() {
            self.joined = Some(joining.joined.clone());
            let (inbox, member) = (self.environment.inbox.clone(), self.node.is_member());
            self.environment.runtime.spawn(joining.run(inbox, member));
        }
    }

    /// Ends the asking when this node is a member and has a leader.
    fn check_joined(&mut self) {
        let serves = matches!(
            self.role,
            Role::Leading { established: Some(_) } | Role::Following { established: Some(_), .. }
        );
        if serves
            && self.node.is_member()
            && let Some(joined) = self.joined.take()
        {
            joined.store(true, Ordering::Relaxed);
        }
    }

    /// Takes over and logs a change of the members.
    fn update_members(&mut self) {
        let level = self.node.ensemble().map(|_| self.node.level());
        let before = std::mem::replace(&mut self.level, level);
        if let (Some(before), Some(level)) = (before, level)
            && before < level
        {
            info!(level, revision = self.node.configuration().version().counter, "feature level raised");
        }
        let configuration = self.node.configuration();
        let is_new = self.members.as_ref().is_none_or(|members| members.version() != configuration.version());
        let Some(ensemble) = self.node.ensemble().filter(|_| is_new) else { return };
        let book = &mut self.environment.book;
        book.record(&configuration.members());
        if let Some(before) = &self.members {
            members::log_change(before, configuration, |node| book.name(node));
        }
        let me = self.environment.hello.node;
        let others = configuration.voters().iter().any(|voter| voter.node != me);
        let snapshots = self.environment.snapshots.clone();
        snapshots.set_other_voters(ensemble.id, others);
        // It waits for the disk.
        self.environment.runtime.spawn_blocking(move || snapshots.record_voters());
        self.members = Some(configuration.clone());
    }

    /// Drives the node until it or the process stops.
    pub(crate) fn run(mut self) {
        let mut taken = Taken::default();
        let mut events = Vec::new();
        let mut next_tick = Instant::now();
        while !self.stopped {
            let busy = !self.pending.is_empty() || self.node.has_more();
            let until = if busy { Instant::now() } else { next_tick };
            self.environment.inbox.take(&mut taken, until);
            if taken.stopping {
                break;
            }
            let now = Instant::now();
            events.append(&mut self.pending);
            if let Some(token) = taken.persisted.take() {
                if self.installation.is_some_and(|installation| installation <= token) {
                    self.exchange_state();
                }
                events.push(Event::Zab(gometa_zab::Event::Persisted(token)));
            }
            if let Some(number) = taken.stored.take() {
                events.push(Event::Stored { number });
            }
            if let Some(Flushed { counter, kept_above, held_above }) = taken.flushed.take() {
                events.extend([Event::Flushed { counter }, Event::LogBounds { kept_above, held_above }]);
            }
            for (id, key, record) in taken.fetched.drain(..) {
                match events.last_mut() {
                    Some(Event::Fetched { id: last, records }) if *last == id => records.push((key, record)),
                    _ => events.push(Event::Fetched { id, records: vec![(key, record)] }),
                }
            }
            for item in taken.peers.drain(..) {
                self.accept(item, &mut events);
            }
            events.append(&mut taken.clients);
            // After a pause, the events that arrived meanwhile come before the tick.
            if now >= next_tick {
                events.push(Event::Zab(gometa_zab::Event::Tick));
                next_tick = now + TICK;
                if self.environment.search.is_due(&self.role, now) {
                    self.log_search(now);
                }
            }
            if !events.is_empty() || self.node.has_more() {
                let ticks = Ticks(now.duration_since(self.environment.start).as_micros() as u64);
                let effects = self.node.step(ticks, events.drain(..));
                self.carry_out(effects);
                self.update_members();
                self.check_joined();
            }
            self.steps.done(now, Instant::now());
            self.stopped |= self.has_left(now);
        }
        self.environment.inbox.stop();
        self.environment.clients.close_all();
        for (_, outbox) in self.links.drain() {
            outbox.close();
        }
    }

    /// Whether a node that is to stop has no leadership to hand over, or another node has taken over.
    fn has_left(&self, now: Instant) -> bool {
        let follows = matches!(self.role, Role::Following { established: Some(_), .. });
        self.leaving.is_some_and(|until| follows || now >= until)
    }

    /// Turns an item into an event, unless it is stale or for the driver only.
    fn accept(&mut self, item: Item, events: &mut Vec<Event>) {
        match item {
            Item::LinkUp { link, outbox, event } => {
                self.links.insert(link, outbox);
                events.push(event);
            }
            Item::Leave => {
                self.leaving = Some(Instant::now() + LEAVE_TIMEOUT);
                events.push(Event::Zab(gometa_zab::Event::TransferLeadership { to: None }));
            }
            Item::MembersHeard(members) => {
                self.environment.book.add_voters(&members);
                let nodes = members.iter().map(|member| member.node).collect();
                events.push(Event::Zab(gometa_zab::Event::Hints(nodes)));
            }
            Item::Resolved { peer, name, election } => {
                self.environment.book.set_election(peer, &name, election);
            }
            Item::Storage(storage) => {
                self.node.set_storage(storage);
                self.pending_log.check(self.node.pending_change().as_ref(), Instant::now());
            }
            Item::DiskSpace(space) => self.disk_space(space, events),
            Item::SnapshotMade { link, id, checkpoint } => self.begin_transfer(link, id, &checkpoint, events),
            Item::BackupMade { ticket, id, checkpoint } => self.label_backup(ticket, id, &checkpoint),
            Item::SnapshotReady { link, received } => {
                let (zxid, configuration) = (received.zxid, received.configuration.clone());
                self.received = Some((link, received));
                if self.links.contains_key(&link) {
                    events.push(Event::Zab(gometa_zab::Event::SnapshotReceived {
                        link,
                        zxid,
                        configuration,
                    }));
                } else {
                    self.discard_received();
                }
            }
            Item::Event(Event::Zab(gometa_zab::Event::Message {
                link,
                message: Message::Snapshot(frame),
            })) => {
                self.snapshot_frame(link, frame);
            }
            Item::Event(Event::Zab(gometa_zab::Event::Message { link, message })) => {
                if self.links.contains_key(&link) {
                    if let Message::Hello(hello) = &message {
                        self.environment.book.add(hello.node, &hello.addresses);
                    }
                    events.push(Event::Zab(gometa_zab::Event::Message { link, message }));
                }
            }
            Item::Event(Event::Zab(gometa_zab::Event::Closed { link })) => {
                if self.remove_link(link).is_some() {
                    events.push(Event::Zab(gometa_zab::Event::Closed { link }));
                }
            }
            Item::Vote { vote, whereabouts, from } => {
                let Environment { search, book, .. } = &mut self.environment;
                search.vote_received(vote.sender, Instant::now());
                let (theirs, ours) = (vote.ensemble, self.node.ensemble());
                // Also of a node that was left behind with an earlier history, to which an answer is sent.
                if theirs.is_some() && theirs.map(|theirs| theirs.id) == ours.map(|ours| ours.id) {
                    book.told(vote.sender, &whereabouts.sender, Some(from));
                    if theirs == ours && vote.candidate.node != vote.sender {
                        book.told(vote.candidate.node, &whereabouts.candidate, None);
                    }
                }
                events.push(Event::Zab(gometa_zab::Event::Datagram(vote)));
            }
            // Stale if another large answer was queued since; another notification follows.
            Item::Event(Event::Sent { client }) => {
                if self.environment.clients.acknowledge_sent(client) {
                    events.push(Event::Sent { client });
                }
            }
            Item::Event(event) => events.push(event),
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Write { token, write, released } => {
                    if let Write::Founding(founding) = &write {
                        self.environment.book.record(&founding.genesis.voters);
                    }
                    if let Write::Install(_) = &write {
                        self.installation = Some(token);
                    }
                    self.environment.log.submit(token, write, released);
                }
                Effect::Store { number, batch } => self.environment.state.submit(number, batch),
                Effect::Fetch { id, purpose, keys } => {
                    self.environment.record_reader.submit(id, purpose, keys);
                }
                Effect::Query { id, query } => self.environment.query_reader.submit(id, query),
                Effect::Read { id, from, to, bytes_max } => {
                    self.environment.log_reader.submit(id, from, to, bytes_max)
                }
                Effect::SendSnapshot { link } => {
                    self.environment.sender.begin(link, self.environment.state.checkpoints());
                }
                Effect::Backup { client, id, request } => {
                    let ticket = Ticket { client, id, request };
                    self.environment.sender.backup(ticket, self.environment.state.checkpoints());
                }
                Effect::DiscardSnapshot => {
                    self.discard_received();
                }
                Effect::Datagram { to, vote } => self.send_vote(to, &vote),
                Effect::Connect { peer } => self.connect(peer),
                Effect::Send { link, message } => self.send(link, message),
                Effect::Close { link } => self.close(link),
                Effect::Respond { client, response } => self.answers.push((client, response)),
                Effect::View(view) => self.environment.clients.set_view(view),
                Effect::Role(role) => {
                    self.environment.events.role(&role, &self.environment.book);
                    self.environment.search.role_changed(&self.role, &role);
                    self.role = role;
                }
                Effect::Notice(notice) => self.notice(notice),
                Effect::SessionsShort { live, openers } => {
                    self.environment.events.sessions_short(live, &openers)
                }
                Effect::Quarantine(fault) => {
                    let what = integrity::describe(fault);
                    let reason = match self.environment.snapshots.quarantine(&what) {
                        Ok(()) => Reason::Again(what),
                        Err(line) => Reason::Failed(line),
                    };
                    self.environment.shutdown.request(reason);
                    self.stopped = true;
                    break;
                }
                Effect::Stop(reason) => {
                    self.environment.shutdown.request(Reason::Failed(reason));
                    self.stopped = true;
                    break;
                }
            }
        }
        // Not when its link closes: the node may decide on it in the same step, before it learns of that.
        if let Some((link, _)) = &self.received
            && self.installation.is_none()
            && !self.links.contains_key(link)
        {
            self.discard_received();
        }
        self.flush.drain(..).for_each(|outbox| outbox.flush());
        if !self.answers.is_empty() {
            for client in self.environment.clients.answer(self.answers.drain(..)) {
                client.outbox.flush();
            }
        }
        if self.environment.ready.update(&self.role, self.environment.clients.role()) {
            self.environment.snapshots.remove_kept();
        }
    }

    /// Sends a vote to all addresses of a node, and tells where this node and its candidate are.
    fn send_vote(&self, to: NodeId, vote: &Vote) {
        let Environment { book, votes, hello, .. } = &self.environment;
        let candidate = vote.candidate.node;
        let whereabouts = Whereabouts {
            sender: hello.addresses.message.clone(),
            candidate: match candidate == vote.sender {
                true => String::new(),
                false => book.whereabouts(candidate).unwrap_or_default().to_owned(),
            },
        };
        let datagram = vote::encode_with(vote, whereabouts);
        for address in book.elections(to) {
            votes.send(address, &datagram);
        }
    }

    fn notice(&mut self, notice: Notice) {
        if let Notice::Formed { ensemble, .. } = &notice {
            self.environment.clients.set_ensemble(*ensemble);
        }
        if let Notice::UpToDate { .. } | Notice::Established { .. } = &notice {
            self.environment.receiver.up_to_date();
        }
        if let Notice::TransferTakenBack { .. } | Notice::TransferRejected { why: NotLeader | NoTarget, .. } =
            &notice
        {
            self.leaving = self.leaving.map(|_| Instant::now());
        }
        let Environment { events, book, search, .. } = &mut self.environment;
        search.notice(&notice, book);
        match notice {
            Notice::Formed { ensemble, .. } if !self.node.is_member() => {
                info!(ensemble = format!("{:032x}", ensemble.id), "ensemble known, joining it");
            }
            Notice::WaitingFor(_) if self.joined.is_some() => {}
            notice => events.notice(&notice, book),
        }
    }

    /// Forgets a link.
    fn remove_link(&mut self, link: LinkId) -> Option<Arc<Outbox<Message>>> {
        let outbox = self.links.remove(&link)?;
        self.environment.sender.closed(link);
        Some(outbox)
    }

    /// The disk space of this node has changed, or is still short.
    fn disk_space(&mut self, space: DiskSpace, events: &mut Vec<Event>) {
        events.push(Event::Zab(gometa_zab::Event::DiskSpace(space)));
        if space > DiskSpace::Ample {
            self.environment.state.reclaim();
        }
        if space == DiskSpace::Critical {
            self.environment.sender.discard();
            self.environment.receiver.discard();
        }
    }

    /// Logs why there is no leader.
    fn log_search(&self, now: Instant) {
        let Environment { book, dial_errors, hello, search, runtime, .. } = &self.environment;
        if self.node.ensemble().is_some() && !self.node.is_member() {
            search::log_no_member(self.node.configuration());
        } else if self.role == Role::Forming {
            search.log_forming(book, dial_errors, now);
        } else {
            let (ensemble, voters) = (self.node.ensemble(), self.node.voters());
            let version = self.node.configuration().version();
            let level = ensemble.map(|_| self.node.level());
            let hello = Hello { ensemble, configuration: version, level, ..hello.clone() };
            runtime.spawn(search.log_looking(&hello, voters, book, now));
        }
    }

    fn connect(&mut self, peer: NodeId) {
        match self.environment.book.dial(peer) {
            Some(address) => {
                self.environment.runtime.spawn(self.environment.peers.clone().dial(peer, address.to_owned()));
            }
            None => {
                debug!(%peer, "peer address unknown");
                self.pending.push(Event::Zab(gometa_zab::Event::ConnectFailed { peer }));
            }
        }
    }

    fn send(&mut self, link: LinkId, message: Message) {
        let Some(outbox) = self.links.get(&link) else { return };
        match outbox.put(message) {
            Put::First => self.flush.push(outbox.clone()),
            Put::Queued | Put::Closed => {}
            Put::Full => {
                let total = Counters::count(&self.environment.counters.links_slow);
                warn!(%link, total, "peer reads too slowly, link closed");
                outbox.abort();
                self.remove_link(link);
                self.pending.push(Event::Zab(gometa_zab::Event::Closed { link }));
            }
        }
    }

    fn close(&mut self, link: LinkId) {
        let Some(outbox) = self.remove_link(link) else { return };
        outbox.close();
        // A peer that does not read is closed after the timeout.
        let outbox = Arc::downgrade(&outbox);
        self.environment.runtime.spawn(async move {
            tokio::time::sleep(CLOSE_TIMEOUT).await;
            if let Some(outbox) = outbox.upgrade() {
                outbox.abort();
            }
        });
    }
}
