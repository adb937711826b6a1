//! The clients: they write and read a few keys, lose patience, reconnect elsewhere and ask again under the same
//! (session, seq); what they called and were answered is the history that is judged in the end.
//!
//! A client is driven by [`Workload::poll`] and by what happens to its connection; what it wants done it puts
//! into a list of [`Ask`]s. It is the shortest client that keeps the rules of sessions: `lowest` is the smallest
//! seq whose answer it still awaits, a write that may have been proposed is never given a new seq, and only a
//! write that was certainly not applied is given up as *not applied*.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use gometa_proto::v1::{
    self, Consistency, ErrorKind, Outcome, Request, Response, WriteContext, request, response,
};

use crate::{
    checkers::{Check, Violation, ensure},
    history::{Action, Answer, Operation},
    random::{Random, Stream},
    settings::{MILLISECOND, SECOND, WorkloadSettings},
};

/// What a client wants done.
#[derive(Clone, PartialEq, Debug)]
pub enum Ask {
    /// Connect to a node.
    Connect(usize),
    /// Leave the connection.
    Disconnect,
    /// Send a request.
    Request(Box<Request>),
    /// Give up a request.
    Cancel(u64),
    /// Show a sign of life of a session.
    Contact(u64),
}

/// What happened, in numbers.
#[derive(Clone, Copy, Default, Debug)]
pub struct WorkloadCounts {
    /// Writes acknowledged.
    pub writes: u64,
    /// Writes acknowledged after more than one attempt.
    pub retried: u64,
    /// Linearizable reads answered: each passed a barrier.
    pub barriers: u64,
    /// Local reads answered.
    pub local_reads: u64,
    /// Writes whose outcome stays unknown.
    pub unknown: u64,
    /// Writes that certainly did not happen.
    pub not_applied: u64,
    /// Sessions opened.
    pub sessions: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    None,
    Connecting,
    Open,
}

/// What is wanted of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    Write(Action),
    Read,
    LocalRead { min_revision: u64 },
}

/// An operation in flight.
#[derive(Clone, Debug)]
struct Flight {
    key: usize,
    wish: Wish,
    /// Writes: of which session, under which number; 0 until the first attempt.
    session: u64,
    seq: u64,
    /// The request that carries the present attempt; None between attempts.
    request: Option<u64>,
    attempts: u32,
    /// An earlier attempt may have had an effect, or may yet.
    doubt: bool,
    timeout_at: u64,
    retry_at: u64,
    give_up_at: u64,
    called: u64,
}

/// One client.
#[derive(Debug)]
struct Client {
    link: Link,
    node: usize,
    reconnect_at: u64,
    /// When it goes to try another node; `u64::MAX` for not at all.
    leave_at: u64,
    session: Option<u64>,
    nonce: Bytes,
    /// The request that opens the session, and when the client loses patience with it.
    opening: Option<(u64, u64)>,
    next_seq: u64,
    next_request: u64,
    /// By a number of the client's own, in the order of their calls.
    flights: BTreeMap<u64, Flight>,
    next_flight: u64,
    in_flight_max: usize,
    next_at: u64,
    contact_at: u64,
    silent_until: u64,
    /// The highest revision it has seen.
    seen: u64,
    /// The last revision it saw of each key.
    known: Vec<u64>,
    /// Only these, then no more: the liveness phase's own client.
    script: Option<VecDeque<Wish>>,
    /// Scripted operations that came to a good end.
    scripted: usize,
}

/// All clients.
#[derive(Debug)]
pub struct Workload {
    settings: WorkloadSettings,
    random: Random,
    nodes: usize,
    clients: Vec<Client>,
    /// No new operations; those in flight go on.
    draining: bool,
    /// For each key, what was asked and answered.
    histories: Vec<Vec<Operation>>,
    next_value: u64,
    /// What happened so far.
    pub counts: WorkloadCounts,
}

/// The name of a key.
fn key_name(key: usize) -> Bytes {
    Bytes::from(format!("key-{key}"))
}

impl Workload {
    /// The clients of a run; the last one is idle until [`Workload::drain`].
    pub fn new(seed: u64, nodes: usize, settings: WorkloadSettings) -> Workload {
        let mut random = Random::new(seed, Stream::Workload);
        let clients = (0..=settings.clients)
            .map(|index| Client {
                link: Link::None,
                node: random.index(nodes),
                reconnect_at: 0,
                leave_at: u64::MAX,
                session: None,
                nonce: Bytes::copy_from_slice(&random.wide().to_be_bytes()),
                opening: None,
                next_seq: 1,
                next_request: 1,
                flights: BTreeMap::new(),
                next_flight: 0,
                in_flight_max: 1 + random.index(settings.in_flight_max),
                next_at: 0,
                contact_at: 0,
                silent_until: 0,
                seen: 0,
                known: vec![0; settings.keys],
                script: (index == settings.clients).then(VecDeque::new),
                scripted: 0,
            })
            .collect();
        Workload {
            random,
            nodes,
            clients,
            draining: false,
            histories: vec![Vec::new(); settings.keys],
            next_value: 1,
            counts: WorkloadCounts::default(),
            settings,
        }
    }

    /// The stream of random numbers, for the delays between clients and nodes.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// How many clients there are, the liveness phase's own included.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// The liveness phase: what is in flight comes to an end, and one write and one read are made.
    pub fn drain(&mut self) {
        self.draining = true;
        let value = self.value();
        let wishes = [Wish::Write(Action::Set { value }), Wish::Read];
        if let Some(last) = self.clients.last_mut() {
            last.script = Some(wishes.into());
        }
        for client in &mut self.clients {
            client.silent_until = 0;
            for flight in client.flights.values_mut() {
                flight.give_up_at = u64::MAX;
            }
        }
    }

    /// No answer will come any more: the outcomes of operations in flight stay unknown.
    pub fn give_up(&mut self, now: u64) {
        for client in 0..self.clients.len() {
            for flight in std::mem::take(&mut self.clients[client].flights).into_values() {
                if flight.attempts > 0 {
                    self.conclude(now, &flight, Answer::Unknown);
                }
            }
        }
    }

    /// What is still in flight in the liveness phase; None if nothing is.
    pub fn unfinished(&self) -> Option<String> {
        for (index, client) in self.clients.iter().enumerate() {
            if let Some(flight) = client.flights.values().next() {
                return Some(format!("client {index} at n{}: {flight:?}", client.node));
            }
            if client.script.is_some() && client.scripted < 2 {
                return Some(format!("client {index} at n{} has made {} of 2", client.node, client.scripted));
            }
        }
        None
    }

    /// For each key, what was asked and answered. Operations in flight are not in it.
    pub fn histories(&self) -> &[Vec<Operation>] {
        &self.histories
    }

    fn value(&mut self) -> u64 {
        self.next_value += 1;
        self.next_value
    }

    /// A moment has passed; says when to come again.
    pub fn poll(&mut self, index: usize, now: u64, out: &mut Vec<Ask>) -> u64 {
        let next = now + self.random.between(4, 20) * MILLISECOND;
        self.call(index, now);
        let client = &mut self.clients[index];
        let idle = client.flights.is_empty() && (self.draining || client.script.is_some());
        if idle {
            return next;
        }
        if client.link == Link::None && now >= client.reconnect_at {
            client.node = self.random.index(self.nodes);
            client.link = Link::Connecting;
            client.reconnect_at = now + SECOND;
            out.push(Ask::Connect(client.node));
        } else if client.link == Link::Connecting && now >= client.reconnect_at {
            out.push(Ask::Disconnect);
            self.unlink(index, now);
        }
        if self.lose_patience(index, now, out) {
            out.push(Ask::Disconnect);
            self.unlink(index, now);
        }
        if self.clients[index].link == Link::Open {
            self.send(index, now, out);
        }
        next
    }

    /// Starts a new operation, if it is time for one.
    fn call(&mut self, index: usize, now: u64) {
        let client = &mut self.clients[index];
        let random = &mut self.random;
        if client.flights.len() >= client.in_flight_max || now < client.next_at {
            return;
        }
        let scripted = client.script.is_some();
        let key = random.index(self.settings.keys);
        let wish = match &mut client.script {
            Some(script) => match script.pop_front() {
                Some(wish) => wish,
                None => return,
            },
            None if self.draining => return,
            None => {
                client.next_at = now + random.jittered(self.settings.think);
                self.next_value += 1;
                let value = self.next_value;
                // Mostly the revision it knows, sometimes one that cannot be right.
                let expected =
                    if random.one_in(8) { random.below(client.seen + 2) } else { client.known[key] };
                match random.below(100) {
                    0..30 => Wish::Write(Action::Set { value }),
                    30..55 => Wish::Write(Action::Cas { expected, value }),
                    55..65 => Wish::Write(Action::Add { value }),
                    65..70 => Wish::Write(Action::Delete { expected: None }),
                    70..75 => Wish::Write(Action::Delete { expected: Some(expected) }),
                    75..90 => Wish::Read,
                    _ => Wish::LocalRead { min_revision: if random.one_in(3) { 0 } else { client.seen } },
                }
            }
        };
        let give_up = !scripted && random.chance(self.settings.cancel);
        let flight = Flight {
            key,
            wish,
            session: 0,
            seq: 0,
            request: None,
            attempts: 0,
            doubt: false,
            timeout_at: 0,
            retry_at: 0,
            give_up_at: if give_up { now + random.below(2 * SECOND) } else { u64::MAX },
            called: now,
        };
        client.flights.insert(client.next_flight, flight);
        client.next_flight += 1;
    }

    /// Ends waits that have lasted too long; returns whether the connection is to be left.
    fn lose_patience(&mut self, index: usize, now: u64, out: &mut Vec<Ask>) -> bool {
        let client = &mut self.clients[index];
        let mut leave = client.link == Link::Open && now >= client.leave_at;
        if let Some((request, timeout_at)) = client.opening
            && now >= timeout_at
        {
            client.opening = None;
            out.push(Ask::Cancel(request));
            leave = true;
        }
        let mut given_up = Vec::new();
        for (&number, flight) in &mut client.flights {
            if now >= flight.give_up_at {
                given_up.push(number);
            } else if flight.request.is_some() && now >= flight.timeout_at {
                let request = flight.request.take();
                flight.doubt = true;
                if self.random.one_in(2) {
                    out.extend(request.map(Ask::Cancel));
                }
                flight.retry_at = now;
                leave |= !self.random.one_in(4);
            }
        }
        for number in given_up {
            let Some(flight) = self.clients[index].flights.remove(&number) else { continue };
            out.extend(flight.request.map(Ask::Cancel));
            if flight.attempts > 0 {
                self.conclude(now, &flight, Answer::Unknown);
            }
        }
        leave
    }

    /// Sends what is due on the open connection.
    fn send(&mut self, index: usize, now: u64, out: &mut Vec<Ask>) {
        let draining = self.draining;
        let client = &mut self.clients[index];
        let random = &mut self.random;
        if let Some(session) = client.session
            && now >= client.contact_at
        {
            client.contact_at = now + random.between(300, 1_000) * MILLISECOND;
            if !draining && random.one_in(40) {
                client.silent_until = now + random.below(8 * SECOND);
                client.next_at = client.next_at.max(client.silent_until);
            }
            if now >= client.silent_until {
                out.push(Ask::Contact(session));
            }
        }
        if let Some(session) = client.session
            && !draining
            && random.one_in(300)
        {
            // It is done with this session, and does not wait for the answer; its next write opens another one.
            for _ in 0..random.between(1, 2) {
                let id = client.next_request;
                client.next_request += 1;
                let operation = Some(request::Operation::EndSession(v1::EndSession { session }));
                out.push(Ask::Request(Box::new(Request { id, deadline_ms: 0, write: None, operation })));
            }
            client.session = None;
            client.nonce = Bytes::copy_from_slice(&random.wide().to_be_bytes());
        }
        let writes = client.flights.values().any(|flight| matches!(flight.wish, Wish::Write(_)));
        if writes && client.session.is_none() && client.opening.is_none() {
            let id = client.next_request;
            client.next_request += 1;
            client.opening = Some((id, now + random.between(300, 2_000) * MILLISECOND));
            let open = v1::OpenSession { nonce: client.nonce.clone() };
            let operation = Some(request::Operation::OpenSession(open));
            out.push(Ask::Request(Box::new(Request { id, deadline_ms: 0, write: None, operation })));
        }
        // The numbers of writes are given before any is sent, so that `lowest` covers all of them.
        for flight in client.flights.values_mut() {
            let unnumbered = matches!(flight.wish, Wish::Write(_)) && flight.seq == 0;
            if unnumbered && let Some(session) = client.session {
                flight.session = session;
                flight.seq = client.next_seq;
                client.next_seq += 1;
            }
        }
        let numbered = client.flights.values().filter(|flight| flight.seq > 0);
        let awaited: Vec<_> = numbered.map(|flight| (flight.session, flight.seq)).collect();
        for flight in client.flights.values_mut() {
            let is_write = matches!(flight.wish, Wish::Write(_));
            if flight.request.is_some() || now < flight.retry_at || (is_write && flight.seq == 0) {
                continue;
            }
            let of_session = awaited.iter().filter(|(session, _)| *session == flight.session);
            let lowest = of_session.map(|(_, seq)| *seq).min().unwrap_or(flight.seq);
            let write = is_write.then_some(WriteContext { session: flight.session, seq: flight.seq, lowest });
            let id = client.next_request;
            client.next_request += 1;
            flight.request = Some(id);
            flight.attempts += 1;
            flight.timeout_at = now + random.between(200, 2_500) * MILLISECOND;
            let deadline_ms = match self.settings.attempt_max_ms {
                0 if random.one_in(4) => random.between(20, 1_000) as u32,
                0 => 0,
                // The last attempts are to succeed, however slow the network is.
                _ if draining => 0,
                max => random.between(10, u64::from(max)) as u32,
            };
            let operation = Some(operation(flight.key, flight.wish));
            out.push(Ask::Request(Box::new(Request { id, deadline_ms, write, operation })));
        }
    }

    /// The connection that was asked for stands.
    pub fn connected(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.link == Link::Connecting {
            client.link = Link::Open;
        }
    }

    /// The connection is gone, or could not be made.
    pub fn lost(&mut self, index: usize, now: u64) {
        self.unlink(index, now);
    }

    fn unlink(&mut self, index: usize, now: u64) {
        let client = &mut self.clients[index];
        client.link = Link::None;
        client.leave_at = u64::MAX;
        client.opening = None;
        client.reconnect_at = now + self.random.below(100 * MILLISECOND);
        for flight in client.flights.values_mut() {
            if flight.request.take().is_some() {
                flight.doubt = true;
                flight.retry_at = now + self.random.below(50 * MILLISECOND);
            }
        }
    }

    /// An answer has come.
    pub fn answered(&mut self, index: usize, now: u64, response: &Response) -> Check {
        let client = &mut self.clients[index];
        client.seen = client.seen.max(response.revision);
        let Some(result) = &response.result else { return Ok(()) };
        if client.opening.is_some_and(|(request, _)| request == response.id) {
            client.opening = None;
            match result {
                response::Result::SessionOpened(opened) => {
                    client.session = Some(opened.session);
                    client.next_seq = 1;
                    self.counts.sessions += 1;
                }
                _ => {
                    // The node cannot, now: the next attempt is made elsewhere, a little later.
                    let until = now + self.random.between(20, 150) * MILLISECOND;
                    client.leave_at = until;
                }
            }
            return Ok(());
        }
        let found = client.flights.iter().find(|(_, flight)| flight.request == Some(response.id));
        let Some((&number, _)) = found else { return Ok(()) };
        match settled(response.id, result, &client.flights[&number])? {
            Settled::Answer(answer) => {
                let Some(flight) = client.flights.remove(&number) else { return Ok(()) };
                client.scripted += usize::from(client.script.is_some());
                client.leave_at = u64::MAX;
                match flight.wish {
                    Wish::Write(_) => {
                        self.counts.writes += 1;
                        self.counts.retried += u64::from(flight.attempts > 1);
                    }
                    Wish::Read => self.counts.barriers += 1,
                    Wish::LocalRead { .. } => self.counts.local_reads += 1,
                }
                let client = &mut self.clients[index];
                match answer {
                    Answer::Written { revision } | Answer::Found { revision, .. } => {
                        client.known[flight.key] = revision;
                        client.seen = client.seen.max(revision);
                    }
                    Answer::Conflict { actual } => client.known[flight.key] = actual,
                    Answer::Deleted { .. } | Answer::Missing => client.known[flight.key] = 0,
                    Answer::Unknown => {}
                }
                self.conclude(now, &flight, answer);
            }
            Settled::Expired => {
                let Some(flight) = client.flights.remove(&number) else { return Ok(()) };
                if client.session == Some(flight.session) {
                    client.session = None;
                    client.nonce = Bytes::copy_from_slice(&self.random.wide().to_be_bytes());
                }
                let scripted = client.script.is_some();
                if !flight.doubt {
                    // No attempt has had an effect: it may move to a new session.
                    self.counts.not_applied += 1;
                    let again = Flight { session: 0, seq: 0, request: None, attempts: 0, ..flight };
                    self.clients[index].flights.insert(number, again);
                    return Ok(());
                }
                self.conclude(now, &flight, Answer::Unknown);
                if scripted {
                    // One must come to a good end; it is another write, with another value.
                    let wish = Wish::Write(Action::Set { value: self.value() });
                    if let Some(script) = &mut self.clients[index].script {
                        script.push_back(wish);
                    }
                }
            }
            Settled::Again { not_applied } => {
                let scripted = client.script.is_some();
                let Some(flight) = client.flights.get_mut(&number) else { return Ok(()) };
                flight.request = None;
                flight.doubt |= !not_applied;
                flight.retry_at = now + self.random.between(5, 120) * MILLISECOND;
                let over = !flight.doubt && !scripted && self.random.one_in(3);
                if over {
                    client.flights.remove(&number);
                    self.counts.not_applied += 1;
                }
                if self.random.one_in(3) {
                    // Perhaps another node knows better.
                    self.clients[index].leave_at = now;
                }
            }
        }
        Ok(())
    }

    /// An operation is over, as far as its client will ever know.
    fn conclude(&mut self, now: u64, flight: &Flight, answer: Answer) {
        let action = match flight.wish {
            Wish::Write(action) => action,
            Wish::Read => Action::Get,
            Wish::LocalRead { .. } => return,
        };
        if answer == Answer::Unknown {
            if action == Action::Get {
                return;
            }
            self.counts.unknown += 1;
        }
        let operation = Operation { called: flight.called, answered: now, action, answer };
        self.histories[flight.key].push(operation);
    }
}

/// What an answer means to a client.
enum Settled {
    /// The operation is over.
    Answer(Answer),
    /// The session is gone.
    Expired,
    /// Ask again.
    Again {
        /// This attempt has certainly had no effect.
        not_applied: bool,
    },
}

fn settled(id: u64, result: &response::Result, flight: &Flight) -> Result<Settled, Violation> {
    let is = |kind: ErrorKind, error: &v1::Error| error.kind == kind as u32;
    let answer = match result {
        response::Result::Written(written) => Answer::Written { revision: written.revision },
        response::Result::Deleted(deleted) => Answer::Deleted { revision: deleted.revision },
        response::Result::Entry(entry) => {
            let value = <[u8; 8]>::try_from(&entry.value[..]).map_or(0, u64::from_be_bytes);
            Answer::Found { value, revision: entry.mod_revision }
        }
        response::Result::Error(error) if is(ErrorKind::NotFound, error) => Answer::Missing,
        response::Result::Error(error)
            if is(ErrorKind::AlreadyExists, error) || is(ErrorKind::CasMismatch, error) =>
        {
            Answer::Conflict { actual: error.actual_revision }
        }
        response::Result::Error(error) if is(ErrorKind::SessionExpired, error) => {
            return Ok(Settled::Expired);
        }
        response::Result::Error(error) => {
            ensure!(
                !is(ErrorKind::Forgotten, error),
                "19 exactly once",
                "request {id} is answered with Forgotten, but its answer was awaited: {flight:?}"
            );
            let legal = [
                ErrorKind::DeadlineExceeded,
                ErrorKind::Unavailable,
                ErrorKind::NotLeader,
                ErrorKind::ResourceExhausted,
                ErrorKind::Cancelled,
                ErrorKind::ConnectionLost,
            ];
            ensure!(
                legal.iter().any(|kind| is(*kind, error)),
                "18 a reply follows from the log",
                "a well-formed request is answered with {error:?}: {flight:?}"
            );
            return Ok(Settled::Again { not_applied: error.outcome == Outcome::NotApplied as i32 });
        }
        other => {
            ensure!(false, "18 a reply follows from the log", "{flight:?} is answered with {other:?}");
            Answer::Unknown
        }
    };
    Ok(Settled::Answer(answer))
}

/// The request's operation.
fn operation(key: usize, wish: Wish) -> request::Operation {
    let key = key_name(key);
    let bytes = |value: u64| Bytes::copy_from_slice(&value.to_be_bytes());
    match wish {
        Wish::Write(Action::Set { value }) => request::Operation::Set(v1::Set { key, value: bytes(value) }),
        Wish::Write(Action::Add { value }) => request::Operation::Add(v1::Add { key, value: bytes(value) }),
        Wish::Write(Action::Cas { expected, value }) => {
            request::Operation::Cas(v1::Cas { key, revision: expected, value: bytes(value) })
        }
        Wish::Write(Action::Delete { expected }) => {
            request::Operation::Delete(v1::Delete { key, revision: expected })
        }
        Wish::Read | Wish::Write(Action::Get) => {
            let consistency = Consistency::Linearizable as i32;
            request::Operation::Get(v1::Get { key, consistency, min_revision: 0 })
        }
        Wish::LocalRead { min_revision } => {
            let consistency = Consistency::Local as i32;
            request::Operation::Get(v1::Get { key, consistency, min_revision })
        }
    }
}
