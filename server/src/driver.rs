//! The driver: one thread, sole owner of the node, which it only feeds and obeys.
//!
//! It takes whatever has arrived, steps the node once over all of it, and carries out the effects in order:
//! writes go to the disk's threads, votes to a non-blocking socket, messages and answers to outboxes. It waits
//! for nothing but the inbox, so heartbeats and votes pass neither behind the disk nor behind a slow socket; and
//! not even for that while the node has more to answer, which it does a bounded piece at a time.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use gometa_node::{ClientId, Effect, Event, Node, Write};
use gometa_proto::v1;
use gometa_store::Table;
use gometa_zab::{Hello, LinkId, Message, NodeId, Notice, Role, Ticks, Token};
use tokio::runtime::Handle;
use tracing::{debug, warn};

use crate::{
    client::registry::Clients,
    inbox::{Inbox, Item, Taken},
    net::outbox::{Outbox, Put},
    observe::{counters::Counters, events, ready::Ready},
    peer::{
        address_book::AddressBook,
        link::{FAREWELL, PeerPort},
        search::{DialErrors, Search},
        vote_socket::VoteSender,
    },
    process::shutdown::{Ending, Reason},
};

/// Between two ticks.
const TICK: Duration = Duration::from_millis(10);

/// Where writes and reads of the log go. Neither waits.
pub(crate) trait Storage: Send {
    /// Takes a write; its token is put into the inbox when it is done.
    fn write(&self, token: Token, write: Write);
    /// Asks for log entries; they are put into the inbox.
    fn read(&self, id: u64, from: u64, to: u64, bytes_max: usize);
}

/// What the driver works with.
pub(crate) struct Surroundings {
    pub(crate) me: NodeId,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) storage: Box<dyn Storage>,
    pub(crate) votes: VoteSender,
    pub(crate) book: AddressBook,
    pub(crate) peers: Arc<PeerPort>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) ending: Arc<Ending>,
    pub(crate) ready: Ready,
    pub(crate) runtime: Handle,
    /// What came of dialling the peers.
    pub(crate) dial_errors: Arc<DialErrors>,
    /// As this process says hello to its peers.
    pub(crate) hello: Hello,
    /// What is known while there is no leader.
    pub(crate) search: Search,
    /// The instant of tick 0.
    pub(crate) start: Instant,
}

/// The driver.
pub(crate) struct Driver<T: Table> {
    node: Node<T>,
    around: Surroundings,
    links: HashMap<LinkId, Arc<Outbox<Message>>>,
    /// Events that carrying out effects has led to.
    pending: Vec<Event>,
    /// Links that have something to flush.
    flush: Vec<Arc<Outbox<Message>>>,
    answers: Vec<(ClientId, v1::Response)>,
    /// The last role that the node took.
    role: Role,
    refusals: events::Refusals,
    stopped: bool,
}

impl<T: Table> Driver<T> {
    /// A driver of a node, and the first effects carried out.
    pub(crate) fn new(node: Node<T>, first: Vec<Effect>, around: Surroundings) -> Driver<T> {
        let mut driver = Driver {
            node,
            around,
            links: HashMap::new(),
            pending: Vec::new(),
            flush: Vec::new(),
            answers: Vec::new(),
            role: Role::Forming,
            refusals: events::Refusals::default(),
            stopped: false,
        };
        driver.carry_out(first);
        driver
    }

    /// Drives the node until it or the process stops.
    pub(crate) fn run(mut self) {
        let mut taken = Taken::default();
        let mut events = Vec::new();
        let mut next_tick = Instant::now();
        while !self.stopped {
            let busy = !self.pending.is_empty() || self.node.has_more();
            let until = if busy { Instant::now() } else { next_tick };
            self.around.inbox.take(&mut taken, until);
            if taken.stopping {
                break;
            }
            events.append(&mut self.pending);
            if let Some(token) = taken.persisted.take() {
                events.push(Event::Zab(gometa_zab::Event::Persisted(token)));
            }
            for item in taken.peers.drain(..) {
                self.take_in(item, &mut events);
            }
            events.append(&mut taken.clients);
            // After a pause, what came meanwhile counts before the time that has passed.
            let now = Instant::now();
            if now >= next_tick {
                events.push(Event::Zab(gometa_zab::Event::Tick));
                next_tick = now + TICK;
                if self.around.search.is_due(&self.role, now) {
                    self.report_search(now);
                }
            }
            if !events.is_empty() || self.node.has_more() {
                let ticks = Ticks(now.duration_since(self.around.start).as_micros() as u64);
                let effects = self.node.step(ticks, events.drain(..));
                self.carry_out(effects);
            }
        }
        self.around.inbox.stop();
        self.around.clients.close_all();
        for (_, outbox) in self.links.drain() {
            outbox.close();
        }
    }

    /// Makes an event of an item, unless it is stale or for the driver alone.
    fn take_in(&mut self, item: Item, events: &mut Vec<Event>) {
        match item {
            Item::LinkUp { link, outbox, event } => {
                self.links.insert(link, outbox);
                events.push(event);
            }
            Item::Resolved { peer, election } => self.around.book.set_election(peer, election),
            Item::Event(Event::Zab(gometa_zab::Event::Message { link, message })) => {
                if self.links.contains_key(&link) {
                    if let Message::Hello(hello) = &message {
                        self.around.book.add(hello.node, &hello.addresses);
                    }
                    events.push(Event::Zab(gometa_zab::Event::Message { link, message }));
                }
            }
            Item::Event(Event::Zab(gometa_zab::Event::Closed { link })) => {
                if self.links.remove(&link).is_some() {
                    events.push(Event::Zab(gometa_zab::Event::Closed { link }));
                }
            }
            Item::Event(Event::Zab(gometa_zab::Event::Datagram(vote))) => {
                self.around.search.hear(vote.sender, Instant::now());
                events.push(Event::Zab(gometa_zab::Event::Datagram(vote)));
            }
            // One that another answer has overtaken is followed by another report.
            Item::Event(Event::Sent { client }) => {
                if self.around.clients.report_holds(client) {
                    events.push(Event::Sent { client });
                }
            }
            Item::Event(event) => events.push(event),
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Write { token, write } => {
                    if let Write::Zab(gometa_zab::Write::Founding(founding)) = &write {
                        self.around.book.add_voters(&founding.genesis.voters);
                    }
                    self.around.storage.write(token, write);
                }
                Effect::Read { id, from, to, bytes_max } => self.around.storage.read(id, from, to, bytes_max),
                Effect::Datagram { to, vote } => {
                    if let Some(address) = self.around.book.election(to) {
                        self.around.votes.send(address, &vote);
                    }
                }
                Effect::Connect { peer } => self.connect(peer),
                Effect::Send { link, message } => self.send(link, message),
                Effect::Close { link } => self.close(link),
                Effect::Respond { client, response } => self.answers.push((client, response)),
                Effect::View(view) => self.around.clients.set_view(view),
                Effect::Role(role) => {
                    events::role(&role, &self.around.book);
                    self.around.search.role_changed(&self.role, &role);
                    self.role = role;
                }
                Effect::Notice(notice) => {
                    if let Notice::Formed { ensemble, .. } = &notice {
                        self.around.clients.set_ensemble(*ensemble);
                    }
                    let Surroundings { me, hello, book, search, .. } = &mut self.around;
                    search.notice(&notice, book);
                    events::notice(&notice, *me, &hello.addresses, book, &mut self.refusals);
                }
                Effect::SessionsShort { live, openers } => events::sessions_short(live, &openers),
                Effect::Stop(reason) => {
                    self.around.ending.end(Reason::Failed(reason));
                    self.stopped = true;
                    break;
                }
            }
        }
        self.flush.drain(..).for_each(|outbox| outbox.flush());
        if !self.answers.is_empty() {
            for client in self.around.clients.answer(self.answers.drain(..)) {
                client.outbox.flush();
            }
        }
        self.around.ready.tell(&self.role, self.around.clients.role());
    }

    /// Logs why there is no leader.
    fn report_search(&self, now: Instant) {
        let Surroundings { book, dial_errors, hello, search, runtime, .. } = &self.around;
        if self.role == Role::Forming {
            search.report_forming(book, dial_errors, now);
        } else {
            let (ensemble, voters) = (self.node.ensemble(), self.node.voters());
            runtime.spawn(search.report_looking(hello, ensemble, voters, book, now));
        }
    }

    fn connect(&mut self, peer: NodeId) {
        match self.around.book.message(peer) {
            Some(address) => {
                self.around.runtime.spawn(self.around.peers.clone().dial(peer, address.to_owned()));
            }
            None => {
                debug!("nobody has told where node {peer} is");
                self.pending.push(Event::Zab(gometa_zab::Event::ConnectFailed { peer }));
            }
        }
    }

    fn send(&mut self, link: LinkId, message: Message) {
        let Some(outbox) = self.links.get(&link) else { return };
        match outbox.put(message) {
            Put::First => self.flush.push(outbox.clone()),
            Put::Behind | Put::Closed => {}
            Put::Full => {
                let count = Counters::count(&self.around.counters.links_slow);
                warn!("a peer reads too slowly on {link}: closed ({count} so far)");
                outbox.abort();
                self.links.remove(&link);
                self.pending.push(Event::Zab(gometa_zab::Event::Closed { link }));
            }
        }
    }

    fn close(&mut self, link: LinkId) {
        let Some(outbox) = self.links.remove(&link) else { return };
        outbox.close();
        // Whoever does not read what was sent is not waited for for ever.
        let outbox = Arc::downgrade(&outbox);
        self.around.runtime.spawn(async move {
            tokio::time::sleep(FAREWELL).await;
            if let Some(outbox) = outbox.upgrade() {
                outbox.abort();
            }
        });
    }
}
