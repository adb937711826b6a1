//! The connected clients, shared by the client port and the driver.
//!
//! The port adds a client when it connects; the driver looks it up to answer it. The node's view (role and leader) is
//! kept here as well, so that a `Welcome` and the first `View` after it agree.
//!
//! Overload is handled here:
//!
//! - Unread answers: when all together exceed their bound, connections are closed in the order of bytes × age of what
//!   they have not read. A client that reads has few unread bytes, and not for long.
//! - Waiting requests: see [`RequestBudget`].
//! - Connections: when there are too many, the one that was idle for longest is closed, not the newest.

use std::{
    cmp,
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use gometa_node::{ClientId, Event, is_large};
use gometa_proto::{ErrorKind, frame, limits, v1};
use gometa_zab::{EnsembleId, NodeId};
use parking_lot::Mutex;
use prost::Message;
use tracing::{debug, info};

use crate::{
    client::admission::{RequestBudget, Usage},
    inbox::{Inbox, Item},
    memory::ClientLimits,
    net::{
        outbox::{Bounds, Outbox, Outgoing, Put},
        transport::Stream,
    },
    observe::counters::Counters,
};

/// The number of answers queued on one connection.
const ANSWERS_MAX: usize = 2 * limits::REQUESTS_MAX;
/// Bytes of answers queued on one connection. The node sends at most about 2 MiB of large ones to a client that does
/// not read them, and small ones to all requests in flight are less than 6 MiB: only a client that keeps sending
/// requests without reading exceeds this.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// A client whose oldest answer is older than this does not read.
const UNREAD_AGE_MAX: Duration = Duration::from_secs(30);
/// The largest capacity that a client without requests keeps, in requests.
const REQUESTS_KEPT_MAX: usize = 16;

impl Outgoing for v1::ServerFrame {
    fn size(&self) -> usize {
        frame::PREFIX + self.encoded_len()
    }

    fn encode(&self, buffer: &mut BytesMut) {
        if let Err(error) = frame::encode(self, limits::CLIENT_FRAME_MAX, buffer) {
            // Only a value close to the limit, read from a damaged table, could be as large as this.
            let Some(v1::server_frame::Body::Response(response)) = &self.body else { return };
            let error = v1::Error::unknown(ErrorKind::TooLarge, error.to_string());
            let _ = frame::encode(&error_response(response.id, error), limits::CLIENT_FRAME_MAX, buffer);
        }
    }
}

/// A response that carries an error.
pub(crate) fn error_response(id: u64, error: v1::Error) -> v1::ServerFrame {
    let result = Some(v1::response::Result::Error(error));
    let response = v1::Response { id, revision: 0, result };
    v1::ServerFrame { body: Some(v1::server_frame::Body::Response(response)) }
}

/// One connected client.
pub(crate) struct Client {
    pub(crate) id: ClientId,
    /// `None` if it has disconnected already.
    address: Option<SocketAddr>,
    pub(crate) outbox: Outbox<v1::ServerFrame>,
    requests: Mutex<Requests>,
    budget: Arc<RequestBudget>,
    /// The keepalive tick at which bytes last arrived.
    last_active: AtomicU64,
    counters: Arc<Counters>,
}

/// The requests that were passed to the node and not answered yet.
#[derive(Default)]
struct Requests {
    /// The cost of each, by request id.
    costs: HashMap<u64, usize>,
    usage: Usage,
    /// The connection is closed, and its usage released.
    closed: bool,
}

/// Whether a request may be passed to the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// It may.
    Admitted,
    /// The client has too many requests waiting.
    ConnectionFull,
    /// All clients together have too many requests waiting.
    NodeFull,
}

impl Client {
    /// Admits a request whose key and value have `size` bytes. Its id must be new.
    pub(crate) fn admit(&self, request: u64, size: usize) -> Admission {
        let mut requests = self.requests.lock();
        if requests.costs.len() >= limits::REQUESTS_MAX {
            return Admission::ConnectionFull;
        }
        match self.budget.acquire(&mut requests.usage, size) {
            Some(cost) => {
                requests.costs.insert(request, cost);
                Admission::Admitted
            }
            None => Admission::NodeFull,
        }
    }

    /// Removes a request; returns whether it was waiting.
    pub(crate) fn complete(&self, request: u64) -> bool {
        let mut requests = self.requests.lock();
        let Some(cost) = requests.costs.remove(&request) else { return false };
        if !requests.closed {
            self.budget.release(&mut requests.usage, cost);
        }
        if requests.costs.is_empty() && requests.costs.capacity() > REQUESTS_KEPT_MAX {
            requests.costs = HashMap::new();
        }
        true
    }

    /// Removes all requests, for a connection that is closed.
    fn complete_all(&self) {
        let mut requests = self.requests.lock();
        requests.closed = true;
        requests.costs = HashMap::new();
        self.budget.release_all(&mut requests.usage);
    }

    /// Queues a frame; a client that does not read is closed. Returns whether to flush.
    pub(crate) fn put(&self, frame: v1::ServerFrame) -> bool {
        match self.outbox.put(frame) {
            Put::First => true,
            Put::Queued | Put::Closed => false,
            Put::Full => {
                self.close_slow();
                false
            }
        }
    }

    /// Logs that the members have changed for this client: with the node, which is in every node's log of the change, this says
    /// who asked.
    fn log_change(&self, response: &v1::Response) {
        if let Some(v1::response::Result::MembersChanged(v1::MembersChanged { membership, changed: true })) =
            &response.result
        {
            let version = membership.as_ref().and_then(|membership| membership.version).unwrap_or_default();
            let client = self.address.map(tracing::field::display);
            info!(client, revision = version.counter, "members changed for a client");
        }
    }

    fn close_slow(&self) {
        let total = Counters::count(&self.counters.clients_slow);
        debug!(client = self.id.0, total, "client reads too slowly, connection closed");
        self.outbox.abort();
    }

    /// Notes that bytes have arrived.
    pub(crate) fn set_active(&self, tick: u64) {
        self.last_active.store(tick, Ordering::Relaxed);
    }

    /// The number of keepalive ticks without bytes.
    pub(crate) fn idle_ticks(&self, tick: u64) -> u64 {
        tick.saturating_sub(self.last_active.load(Ordering::Relaxed))
    }
}

/// All connected clients.
pub(crate) struct Clients {
    node: NodeId,
    session_timeout_ms: u32,
    state: Mutex<State>,
    /// Bytes of answers queued on all connections, and their bound.
    answer_bytes: Arc<AtomicUsize>,
    answer_bytes_max: usize,
    requests: Arc<RequestBudget>,
    counters: Arc<Counters>,
    /// The number of keepalive ticks.
    tick: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Connections whose `Hello` was not received yet; the oldest is the first.
    unauthenticated: BTreeMap<ClientId, Arc<Client>>,
    connected: HashMap<ClientId, Arc<Client>>,
    /// Connections that receive no more answers, but an error or what is queued.
    closing: HashMap<ClientId, Arc<Client>>,
    /// The last tick at which all clients were found to answer pings.
    all_responsive: Option<u64>,
    view: v1::View,
    ensemble: Option<v1::EnsembleRef>,
}

impl State {
    fn all(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.connected.values().chain(self.closing.values()).chain(self.unauthenticated.values())
    }
}

impl Clients {
    pub(crate) fn new(
        node: NodeId,
        session_timeout_ms: u32,
        limits: ClientLimits,
        counters: Arc<Counters>,
    ) -> Clients {
        Clients {
            node,
            session_timeout_ms,
            state: Mutex::default(),
            answer_bytes: Arc::default(),
            answer_bytes_max: limits.answers(),
            requests: Arc::new(RequestBudget::new(limits.requests())),
            counters,
            tick: AtomicU64::new(0),
        }
    }

    /// A client that is not registered. Its outbox puts [`Event::Sent`] into the inbox when large answers are sent, one
    /// event at a time.
    pub(crate) fn unregistered(&self, stream: Stream, inbox: &Arc<Inbox>) -> Arc<Client> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let bounds = Bounds {
            count_max: ANSWERS_MAX,
            bytes_max: ANSWER_BYTES_MAX,
            total: self.answer_bytes.clone(),
            // `shed_load` bounds the total, by closing the slowest clients rather than the latest.
            total_max: usize::MAX,
        };
        let id = ClientId(NEXT.fetch_add(1, Ordering::Relaxed));
        let inbox = inbox.clone();
        let on_sent = move || inbox.put_answer(Item::Event(Event::Sent { client: id }));
        Arc::new(Client {
            id,
            address: stream.peer_address().ok(),
            outbox: Outbox::new(stream, bounds).with_on_sent(on_sent),
            requests: Mutex::default(),
            budget: self.requests.clone(),
            last_active: AtomicU64::new(self.tick()),
            counters: self.counters.clone(),
        })
    }

    /// Registers a new connection, until [`Clients::remove`].
    pub(crate) fn register(&self, stream: Stream, inbox: &Arc<Inbox>) -> Arc<Client> {
        let client = self.unregistered(stream, inbox);
        self.state.lock().unauthenticated.insert(client.id, client.clone());
        client
    }

    /// Answers a `Hello`; from now on the client receives answers and changes of the view.
    ///
    /// # Errors
    /// The client names another ensemble.
    pub(crate) fn welcome(
        &self,
        client: &Arc<Client>,
        known: Option<&v1::EnsembleRef>,
    ) -> Result<(), v1::Error> {
        let mut state = self.state.lock();
        if let (Some(known), Some(ours)) = (known, &state.ensemble) {
            check_ensemble(known, ours)?;
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
        state.unauthenticated.remove(&client.id);
        state.connected.insert(client.id, client.clone());
        drop(state);
        client.outbox.flush();
        Ok(())
    }

    /// Stops answering a client; what is queued is still sent.
    pub(crate) fn begin_close(&self, client: &Arc<Client>) {
        let mut state = self.state.lock();
        state.unauthenticated.remove(&client.id);
        state.connected.remove(&client.id);
        state.closing.insert(client.id, client.clone());
        drop(state);
        client.complete_all();
    }

    /// Removes a closed connection.
    pub(crate) fn remove(&self, client: ClientId) {
        let mut state = self.state.lock();
        state.unauthenticated.remove(&client);
        state.closing.remove(&client);
    }

    /// Closes one connection in favour of a new one: the oldest without a `Hello`, else the one that has not answered
    /// pings for longest. Returns whether there was one.
    pub(crate) fn evict_one(&self, ping_after: u64) -> bool {
        let mut state = self.state.lock();
        if let Some((_, oldest)) = state.unauthenticated.pop_first() {
            drop(state);
            oldest.outbox.abort();
            return true;
        }
        let tick = self.tick();
        if state.all_responsive == Some(tick) {
            return false;
        }
        let unresponsive = state
            .connected
            .values()
            .filter(|client| client.idle_ticks(tick) > ping_after)
            .max_by_key(|client| client.idle_ticks(tick))
            .cloned();
        let Some(unresponsive) = unresponsive else {
            state.all_responsive = Some(tick);
            return false;
        };
        state.connected.remove(&unresponsive.id);
        drop(state);
        unresponsive.outbox.abort();
        true
    }

    /// Closes the slowest connections if the answers queued on all connections exceed their bound.
    pub(crate) fn shed_load(&self) {
        if self.exceeds_answer_bound() {
            self.shed_load_among(&self.state.lock());
        }
    }

    fn exceeds_answer_bound(&self) -> bool {
        self.answer_bytes.load(Ordering::Relaxed) > self.answer_bytes_max
    }

    /// Frees a quarter of the bound at once, so that this does not run for every answer.
    fn shed_load_among(&self, state: &State) {
        let mut backlogs: Vec<(u128, &Arc<Client>)> = state
            .all()
            .filter_map(|client| {
                client.outbox.backlog().map(|(bytes, age)| (bytes as u128 * age.as_millis(), client))
            })
            .collect();
        backlogs.sort_unstable_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        for (_, client) in backlogs {
            if self.answer_bytes.load(Ordering::Relaxed) <= self.answer_bytes_max / 4 * 3 {
                break;
            }
            client.close_slow();
        }
    }

    /// Sets the ensemble that this node belongs to. Clients that were welcomed without one are closed, so that all learn which
    /// history they are in.
    pub(crate) fn set_ensemble(&self, ensemble: EnsembleId) {
        let id = bytes::Bytes::copy_from_slice(&ensemble.id.to_be_bytes());
        let ensemble = v1::EnsembleRef { id, history: ensemble.history };
        if self.state.lock().ensemble.replace(ensemble).is_none() {
            self.close_all();
        }
    }

    /// Sets the view and sends it to all connected clients.
    pub(crate) fn set_view(&self, view: v1::View) {
        let mut state = self.state.lock();
        state.view = view.clone();
        let connected: Vec<Arc<Client>> = state.connected.values().cloned().collect();
        for client in &connected {
            client.put(v1::ServerFrame { body: Some(v1::server_frame::Body::View(view.clone())) });
        }
        drop(state);
        connected.iter().for_each(|client| client.outbox.flush());
    }

    /// The role in the view.
    pub(crate) fn role(&self) -> v1::Role {
        self.state.lock().view.role()
    }

    /// Queues answers; the caller flushes the returned clients.
    pub(crate) fn answer(&self, answers: impl Iterator<Item = (ClientId, v1::Response)>) -> Vec<Arc<Client>> {
        let mut to_flush = Vec::new();
        let state = self.state.lock();
        for (id, response) in answers {
            let Some(client) = state.connected.get(&id) else { continue };
            client.log_change(&response);
            let large = is_large(&response);
            // A cancelled request is not answered.
            let mut flush = client.complete(response.id)
                && client.put(v1::ServerFrame { body: Some(v1::server_frame::Body::Response(response)) });
            if large {
                // After a cancellation, too: the node waits for the notification.
                client.outbox.notify_when_sent();
                flush = true;
            }
            if flush {
                to_flush.push(client.clone());
            }
            if self.exceeds_answer_bound() {
                // The sockets may accept at once what was just queued.
                to_flush.drain(..).for_each(|client| client.outbox.flush());
                if self.exceeds_answer_bound() {
                    self.shed_load_among(&state);
                }
            }
        }
        to_flush
    }

    /// Acknowledges [`Event::Sent`]. Returns whether all large answers of the client are sent: false if it is gone, or if
    /// another one was queued since.
    pub(crate) fn acknowledge_sent(&self, client: ClientId) -> bool {
        self.state.lock().connected.get(&client).is_some_and(|client| client.outbox.acknowledge_sent())
    }

    /// The number of keepalive ticks.
    pub(crate) fn tick(&self) -> u64 {
        self.tick.load(Ordering::Relaxed)
    }

    /// One keepalive tick: pings clients that were idle for `ping_after` ticks, closes those idle for `close_after` and
    /// those that do not read.
    pub(crate) fn keepalive_tick(&self, ping_after: u64, close_after: u64) {
        let tick = self.tick.fetch_add(1, Ordering::Relaxed) + 1;
        let connected: Vec<Arc<Client>> = self.state.lock().connected.values().cloned().collect();
        for client in connected {
            let idle = client.idle_ticks(tick);
            if idle >= close_after {
                debug!(client = client.id.0, "keepalive timeout, connection closed");
                client.outbox.abort();
            } else if client.outbox.backlog().is_some_and(|(_, age)| age >= UNREAD_AGE_MAX) {
                client.close_slow();
            } else if idle >= ping_after {
                let ping = v1::Ping { nonce: tick, session: 0 };
                client.put(v1::ServerFrame { body: Some(v1::server_frame::Body::Ping(ping)) });
                client.outbox.flush();
            }
        }
    }

    /// Closes all connections after what is queued is sent.
    pub(crate) fn close_all(&self) {
        let connected: Vec<Arc<Client>> = self.state.lock().connected.values().cloned().collect();
        connected.iter().for_each(|client| client.outbox.close());
    }
}

/// Whether a client that knows an ensemble belongs here.
fn check_ensemble(known: &v1::EnsembleRef, ours: &v1::EnsembleRef) -> Result<(), v1::Error> {
    let refuse = |kind, message| Err(v1::Error::not_applied(kind, message));
    if known.id != ours.id {
        let message = "this node belongs to another ensemble than the one the client knows";
        return refuse(ErrorKind::InvalidArgument, message);
    }
    match known.history.cmp(&ours.history) {
        cmp::Ordering::Equal => Ok(()),
        cmp::Ordering::Less => refuse(
            ErrorKind::HistoryChanged,
            "the ensemble was founded anew: its sessions and revisions are not those that the client knows",
        ),
        cmp::Ordering::Greater => refuse(
            ErrorKind::Unavailable,
            "this node was left behind: it has an earlier history of the ensemble than the client knows",
        ),
    }
}
