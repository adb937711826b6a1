//! The connected clients, as the client port and the driver share them.
//!
//! The port adds a client when it has said hello; the driver finds it here to answer it. What a client is
//! told of role and leader lies here too, so that a `Welcome` and the first `View` behind it never contradict.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::BytesMut;
use gometa_node::{ClientId, Event, is_large};
use gometa_proto::{ErrorKind, frame, limits, v1};
use gometa_zab::{EnsembleId, NodeId};
use prost::Message;
use tokio::net::TcpStream;
use tracing::debug;

use crate::{
    counters::Counters,
    inbox::{Inbox, Item},
    outbox::{Bounds, Outbox, Outgoing, Put},
};

/// Answers waiting on one connection.
const ANSWERS_MAX: usize = 2 * limits::REQUESTS_MAX;
/// Bytes of answers waiting on one connection. The node gives no more than about 2 MiB of large ones to a client
/// that does not read them, and small ones to as many requests as may be in flight are less than 6 MiB: only a
/// client that goes on asking without reading gets so far.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Bytes of answers waiting on all connections.
const TOGETHER_MAX: usize = 256 << 20;

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
    /// The requests passed on and not yet answered.
    waiting: Mutex<HashSet<u64>>,
    /// When something last arrived, in rounds of the caretaker.
    heard: AtomicU64,
    counters: Arc<Counters>,
}

/// Whether a request may be passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// It may.
    Admitted,
    /// Another one with its id is waiting.
    Doubled,
    /// Too many are waiting.
    Full,
}

impl Client {
    fn waiting(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn admit(&self, request: u64) -> Admission {
        let mut waiting = self.waiting();
        if waiting.contains(&request) {
            return Admission::Doubled;
        }
        if waiting.len() >= limits::REQUESTS_MAX {
            return Admission::Full;
        }
        waiting.insert(request);
        Admission::Admitted
    }

    /// Whether the request was still waiting.
    pub(crate) fn cancel(&self, request: u64) -> bool {
        self.waiting().remove(&request)
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
    together: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    /// The caretaker's round.
    round: AtomicU64,
}

#[derive(Default)]
struct State {
    connected: HashMap<ClientId, Arc<Client>>,
    view: v1::View,
    ensemble: Option<v1::EnsembleRef>,
}

impl Clients {
    pub(crate) fn new(node: NodeId, session_timeout_ms: u32, counters: Arc<Counters>) -> Clients {
        Clients {
            node,
            session_timeout_ms,
            state: Mutex::default(),
            together: Arc::default(),
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
            together: self.together.clone(),
            together_max: TOGETHER_MAX,
        };
        let id = ClientId(NEXT.fetch_add(1, Ordering::Relaxed));
        let inbox = inbox.clone();
        let report = move || inbox.put_answer(Item::Event(Event::Sent { client: id }));
        Arc::new(Client {
            id,
            outbox: Outbox::new(stream, bounds).reporting(report),
            waiting: Mutex::default(),
            heard: AtomicU64::new(self.round()),
            counters: self.counters.clone(),
        })
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
                ErrorKind::Forked,
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
        state.connected.insert(client.id, client.clone());
        drop(state);
        client.outbox.flush();
        Ok(())
    }

    pub(crate) fn remove(&self, client: ClientId) {
        self.lock().connected.remove(&client);
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
            let mut flush = client.waiting().remove(&response.id)
                && client.put(v1::ServerFrame { body: Some(v1::server_frame::Body::Response(response)) });
            if large {
                // Also for one that was cancelled: the node does not know.
                client.outbox.report();
                flush = true;
            }
            if flush {
                touched.push(client.clone());
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
