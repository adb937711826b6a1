//! The connected clients, as the client port and the driver share them.
//!
//! The port adds a client when it has said hello; the driver finds it here to answer it. What a client is
//! told of role and leader lies here too, so that a `Welcome` and the first `View` behind it never contradict.
//!
//! What all of them hold is bounded here, and who has to give way is decided here:
//!
//! - Answers that are not read: when they exceed their bound together, connections are closed, those first that have
//!   kept most bytes waiting for longest. Whoever reads has few bytes waiting, and not for long.
//! - Requests that wait: see [`Shares`].
//! - Connections: when there are too many, the one goes that has said nothing for longest, not the newest.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use gometa_node::{ClientId, Event, is_large};
use gometa_proto::{ErrorKind, frame, limits, v1};
use gometa_zab::{EnsembleId, NodeId};
use prost::Message;
use tokio::net::TcpStream;
use tracing::debug;

use crate::{
    client::admission::{Share, Shares},
    inbox::{Inbox, Item},
    memory::Allowance,
    net::outbox::{Bounds, Outbox, Outgoing, Put},
    observe::counters::Counters,
};

/// Answers waiting on one connection.
const ANSWERS_MAX: usize = 2 * limits::REQUESTS_MAX;
/// Bytes of answers waiting on one connection. The node gives no more than about 2 MiB of large ones to a client
/// that does not read them, and small ones to as many requests as may be in flight are less than 6 MiB: only a
/// client that goes on asking without reading gets so far.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// A client whose oldest answer has waited for this long does not read.
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// Room for more requests than this is not kept for a client without any.
const REQUESTS_KEPT_MAX: usize = 16;

impl Outgoing for v1::ServerFrame {
    fn size(&self) -> usize {
        frame::PREFIX + self.encoded_len()
    }

    fn encode(&self, buffer: &mut BytesMut) {
        if let Err(error) = frame::encode(self, limits::CLIENT_FRAME_MAX, buffer) {
            // Only a value close to the limit, read from a damaged table, could be as large as this.
            let Some(v1::server_frame::Body::Response(response)) = &self.body else { return };
            let refusal = refuse(response.id, v1::Error::unknown(ErrorKind::TooLarge, error.to_string()));
            let _ = frame::encode(&refusal, limits::CLIENT_FRAME_MAX, buffer);
        }
    }
}

/// An answer that says no.
pub(crate) fn refuse(id: u64, error: v1::Error) -> v1::ServerFrame {
    let result = Some(v1::response::Result::Error(error));
    let response = v1::Response { id, revision: 0, result };
    v1::ServerFrame { body: Some(v1::server_frame::Body::Response(response)) }
}

/// One connected client.
pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) outbox: Outbox<v1::ServerFrame>,
    waiting: Mutex<Waiting>,
    shares: Arc<Shares>,
    /// When something last arrived, in rounds of the caretaker.
    heard: AtomicU64,
    counters: Arc<Counters>,
}

/// The requests passed on and not yet answered.
#[derive(Default)]
struct Waiting {
    /// What each of them costs.
    costs: HashMap<u64, usize>,
    share: Share,
    /// The client is gone.
    closed: bool,
}

/// Whether a request may be passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// It may.
    Admitted,
    /// Too many of this client are waiting.
    Full,
    /// Too many of all clients are waiting.
    Crowded,
}

impl Client {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a request whose key and value have `size` bytes. Its id is new.
    pub(crate) fn admit(&self, request: u64, size: usize) -> Admission {
        let mut waiting = self.waiting();
        if waiting.costs.len() >= limits::REQUESTS_MAX {
            return Admission::Full;
        }
        match self.shares.take(&mut waiting.share, size) {
            Some(cost) => {
                waiting.costs.insert(request, cost);
                Admission::Admitted
            }
            None => Admission::Crowded,
        }
    }

    /// Whether the request was still waiting; it is no more.
    pub(crate) fn end(&self, request: u64) -> bool {
        let mut waiting = self.waiting();
        let Some(cost) = waiting.costs.remove(&request) else { return false };
        if !waiting.closed {
            self.shares.give_back(&mut waiting.share, cost);
        }
        if waiting.costs.is_empty() && waiting.costs.capacity() > REQUESTS_KEPT_MAX {
            waiting.costs = HashMap::new();
        }
        true
    }

    /// Nobody waits any more.
    fn end_all(&self) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        waiting.costs = HashMap::new();
        self.shares.give_back_all(&mut waiting.share);
    }

    /// Puts a frame into the outbox; a client that does not read is given up. Says whether to flush.
    pub(crate) fn put(&self, frame: v1::ServerFrame) -> bool {
        match self.outbox.put(frame) {
            Put::First => true,
            Put::Behind | Put::Closed => false,
            Put::Full => {
                let count = Counters::count(&self.counters.clients_slow);
                debug!("client {} does not read its answers: closed ({count} so far)", self.id.0);
                self.outbox.abort();
                false
            }
        }
    }

    /// Notes a sign of life.
    pub(crate) fn hear(&self, round: u64) {
        self.heard.store(round, Ordering::Relaxed);
    }

    /// Rounds without a sign of life.
    pub(crate) fn silent_for(&self, round: u64) -> u64 {
        round.saturating_sub(self.heard.load(Ordering::Relaxed))
    }
}

/// All connected clients.
pub(crate) struct Clients {
    node: NodeId,
    session_timeout_ms: u32,
    state: Mutex<State>,
    /// Bytes of answers waiting on all connections, and their bound.
    answers: Arc<AtomicUsize>,
    answers_max: usize,
    requests: Arc<Shares>,
    counters: Arc<Counters>,
    /// The caretaker's round.
    round: AtomicU64,
}

#[derive(Default)]
struct State {
    /// They have not said hello yet; the oldest is the first.
    strangers: BTreeMap<ClientId, Arc<Client>>,
    connected: HashMap<ClientId, Arc<Client>>,
    /// They are answered no more, and told why.
    parting: HashMap<ClientId, Arc<Client>>,
    /// The last round of the caretaker in which everybody was found to answer pings.
    all_well: Option<u64>,
    view: v1::View,
    ensemble: Option<v1::EnsembleRef>,
}

impl Clients {
    pub(crate) fn new(
        node: NodeId,
        session_timeout_ms: u32,
        allowance: Allowance,
        counters: Arc<Counters>,
    ) -> Clients {
        Clients {
            node,
            session_timeout_ms,
            state: Mutex::default(),
            answers: Arc::default(),
            answers_max: allowance.answers(),
            requests: Arc::new(Shares::new(allowance.requests())),
            counters,
            round: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client that has not said hello yet. That its large answers are out is reported to the inbox, by one
    /// event at a time.
    pub(crate) fn make(&self, stream: TcpStream, inbox: &Arc<Inbox>) -> Arc<Client> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let bounds = Bounds {
            count_max: ANSWERS_MAX,
            bytes_max: ANSWER_BYTES_MAX,
            together: self.answers.clone(),
            // Who gives way is for `relieve` to say, and it is not whoever comes last.
            together_max: usize::MAX,
        };
        let id = ClientId(NEXT.fetch_add(1, Ordering::Relaxed));
        let inbox = inbox.clone();
        let report = move || inbox.put_answer(Item::Event(Event::Sent { client: id }));
        Arc::new(Client {
            id,
            outbox: Outbox::new(stream, bounds).reporting(report),
            waiting: Mutex::default(),
            shares: self.requests.clone(),
            heard: AtomicU64::new(self.round()),
            counters: self.counters.clone(),
        })
    }

    /// The same, known from now on, until it leaves.
    pub(crate) fn enter(&self, stream: TcpStream, inbox: &Arc<Inbox>) -> Arc<Client> {
        let client = self.make(stream, inbox);
        self.lock().strangers.insert(client.id, client.clone());
        client
    }

    /// Answers a hello, and from now on tells the client of changes. Refuses one that knows another ensemble.
    pub(crate) fn welcome(
        &self,
        client: &Arc<Client>,
        known: Option<&v1::EnsembleRef>,
    ) -> Result<(), v1::Error> {
        let mut state = self.lock();
        if let (Some(known), Some(ours)) = (known, &state.ensemble)
            && known != ours
        {
            return Err(v1::Error::not_applied(
                ErrorKind::InvalidArgument,
                "this node belongs to another ensemble than the one the client knows",
            ));
        }
        let welcome = v1::Welcome {
            protocol: limits::PROTOCOL_VERSION,
            ensemble: state.ensemble.clone(),
            node: self.node.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            limits: Some(limits::advertised(self.session_timeout_ms)),
            view: Some(state.view.clone()),
        };
        client.put(v1::ServerFrame { body: Some(v1::server_frame::Body::Welcome(welcome)) });
        state.strangers.remove(&client.id);
        state.connected.insert(client.id, client.clone());
        drop(state);
        client.outbox.flush();
        Ok(())
    }

    /// From now on a client is answered no more; what waits for it may still go out.
    pub(crate) fn part(&self, client: &Arc<Client>) {
        let mut state = self.lock();
        state.strangers.remove(&client.id);
        state.connected.remove(&client.id);
        state.parting.insert(client.id, client.clone());
        drop(state);
        client.end_all();
    }

    /// A client is gone.
    pub(crate) fn leave(&self, client: ClientId) {
        let mut state = self.lock();
        state.strangers.remove(&client);
        state.parting.remove(&client);
    }

    /// Makes room for another connection: closes the one that has been silent for longest without a hello, or one
    /// that has said hello and does not answer a ping. Says whether there was one.
    pub(crate) fn make_room(&self, ping_after: u64) -> bool {
        let mut state = self.lock();
        if let Some((_, stranger)) = state.strangers.pop_first() {
            drop(state);
            stranger.outbox.abort();
            return true;
        }
        let round = self.round();
        if state.all_well == Some(round) {
            return false;
        }
        let dumb = |client: &&Arc<Client>| client.silent_for(round) > ping_after;
        let dumb =
            state.connected.values().filter(dumb).max_by_key(|client| client.silent_for(round)).cloned();
        let Some(dumb) = dumb else {
            state.all_well = Some(round);
            return false;
        };
        state.connected.remove(&dumb.id);
        drop(state);
        dumb.outbox.abort();
        true
    }

    /// Closes connections if the answers that wait on all of them exceed their bound.
    pub(crate) fn relieve(&self) {
        if self.answers.load(Ordering::Relaxed) > self.answers_max {
            self.relieve_among(&self.lock());
        }
    }

    /// The longer a client has kept answers waiting, and the more, the sooner it goes. A quarter of the bound is made
    /// free at once, so that this is not done for every answer.
    fn relieve_among(&self, state: &State) {
        let everybody =
            state.connected.values().chain(state.parting.values()).chain(state.strangers.values());
        let mut behind: Vec<(u128, &Arc<Client>)> = everybody
            .filter_map(|client| {
                client.outbox.behind().map(|(bytes, age)| (bytes as u128 * age.as_millis(), client))
            })
            .collect();
        behind.sort_unstable_by_key(|(burden, _)| std::cmp::Reverse(*burden));
        for (_, client) in behind {
            if self.answers.load(Ordering::Relaxed) <= self.answers_max / 4 * 3 {
                break;
            }
            let count = Counters::count(&self.counters.clients_slow);
            debug!("client {} reads too slowly, and memory is short: closed ({count} so far)", client.id.0);
            client.outbox.abort();
        }
    }

    /// Which ensemble this node belongs to, from now on.
    pub(crate) fn set_ensemble(&self, ensemble: EnsembleId) {
        let id = bytes::Bytes::copy_from_slice(&ensemble.id.to_be_bytes());
        self.lock().ensemble = Some(v1::EnsembleRef { id, history: ensemble.history });
    }

    /// Tells everybody, now and later.
    pub(crate) fn set_view(&self, view: v1::View) {
        let mut state = self.lock();
        state.view = view.clone();
        let everybody: Vec<Arc<Client>> = state.connected.values().cloned().collect();
        for client in &everybody {
            client.put(v1::ServerFrame { body: Some(v1::server_frame::Body::View(view.clone())) });
        }
        drop(state);
        everybody.iter().for_each(|client| client.outbox.flush());
    }

    /// What everybody is told at present.
    pub(crate) fn role(&self) -> v1::Role {
        self.lock().view.role()
    }

    /// Puts answers into their clients' outboxes; the caller flushes those returned.
    pub(crate) fn answer(&self, answers: impl Iterator<Item = (ClientId, v1::Response)>) -> Vec<Arc<Client>> {
        let mut touched = Vec::new();
        let state = self.lock();
        for (id, response) in answers {
            let Some(client) = state.connected.get(&id) else { continue };
            let large = is_large(&response);
            // One that was cancelled in the meantime is not answered.
            let mut flush = client.end(response.id)
                && client.put(v1::ServerFrame { body: Some(v1::server_frame::Body::Response(response)) });
            if large {
                // Also for one that was cancelled: the node does not know.
                client.outbox.report();
                flush = true;
            }
            if flush {
                touched.push(client.clone());
            }
            if self.answers.load(Ordering::Relaxed) > self.answers_max {
                // What has only just been put may be out at once.
                touched.drain(..).for_each(|client| client.outbox.flush());
                if self.answers.load(Ordering::Relaxed) > self.answers_max {
                    self.relieve_among(&state);
                }
            }
        }
        touched
    }

    /// A report has arrived that a client's large answers are out: whether it holds for all of them.
    pub(crate) fn report_holds(&self, client: ClientId) -> bool {
        self.lock().connected.get(&client).is_some_and(|client| client.outbox.report_holds())
    }

    /// The caretaker's round.
    pub(crate) fn round(&self) -> u64 {
        self.round.load(Ordering::Relaxed)
    }

    /// One round of the caretaker: pings who is silent, gives up who stays silent. Both in rounds.
    pub(crate) fn care(&self, ping_after: u64, close_after: u64) {
        let round = self.round.fetch_add(1, Ordering::Relaxed) + 1;
        let everybody: Vec<Arc<Client>> = self.lock().connected.values().cloned().collect();
        for client in everybody {
            let silence = client.silent_for(round);
            if silence >= close_after {
                debug!("client {} is silent: closed", client.id.0);
                client.outbox.abort();
            } else if client.outbox.behind().is_some_and(|(_, age)| age >= UNREAD_MAX) {
                let count = Counters::count(&self.counters.clients_slow);
                debug!("client {} does not read its answers: closed ({count} so far)", client.id.0);
                client.outbox.abort();
            } else if silence >= ping_after {
                let ping = v1::Ping { nonce: round, session: 0 };
                client.put(v1::ServerFrame { body: Some(v1::server_frame::Body::Ping(ping)) });
                client.outbox.flush();
            }
        }
    }

    /// Closes every connection once what waits is out.
    pub(crate) fn close_all(&self) {
        let everybody: Vec<Arc<Client>> = self.lock().connected.values().cloned().collect();
        everybody.iter().for_each(|client| client.outbox.close());
    }
}
