//! The clients: they write and read a few keys, time out, reconnect to other nodes and retry under the same
//! (session, seq). Their calls and results form the history that is checked at the end of a run.
//!
//! [`Workload::poll`] and the events of its connection drive a client; its actions are returned as a list of
//! [`ClientAction`]s. It is a minimal client that keeps the rules of sessions: `lowest` is the smallest seq whose
//! response it awaits, a write that may have been proposed never gets a new seq, and only a write that was certainly
//! not applied ends as *not applied*.

mod histories;
mod keys;
mod txns;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use gometa_proto::{
    Setting,
    v1::{self, Consistency, ErrorKind, Outcome, Request, Response, WriteContext, request, response},
};

use self::keys::key_name;
use crate::{
    checkers::{Check, Violation, ensure},
    history::{Action, Answer, Operation},
    random::{Random, Stream},
    settings::{MILLISECOND, SECOND, WorkloadSettings},
};

/// An action of a client.
#[derive(Clone, PartialEq, Debug)]
pub enum ClientAction {
    /// Connect to a node.
    Connect(usize),
    /// Close the connection.
    Disconnect,
    /// Send a request.
    Request(Box<Request>),
    /// Cancel the request with this id.
    Cancel(u64),
    /// Send a keepalive of this session.
    Contact(u64),
}

/// Counts of the results.
#[derive(Clone, Copy, Default, Debug)]
pub struct WorkloadCounts {
    /// Writes acknowledged.
    pub writes: u64,
    /// Writes acknowledged after more than one attempt.
    pub retried: u64,
    /// Linearizable reads with a response; each has passed a barrier.
    pub barriers: u64,
    /// Local reads with a response.
    pub local_reads: u64,
    /// Pages with a response.
    pub pages: u64,
    /// Pages of the versions of a key with a response.
    pub histories: u64,
    /// Transactions with a response.
    pub txns: u64,
    /// Writes with an unknown outcome.
    pub unknown: u64,
    /// Writes that were certainly not applied.
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

/// An operation on a key.
#[derive(Clone, PartialEq, Debug)]
enum Call {
    Write(Action),
    Read,
    LocalRead { min_revision: u64 },
    Page(Box<v1::Range>),
    History(v1::GetHistory),
    Txn(Box<v1::Txn>, Option<v1::Guard>),
    Setting(v1::SetSetting),
}

impl Call {
    /// Whether it is numbered in a session.
    fn is_write(&self) -> bool {
        match self {
            Call::Write(_) | Call::Setting(_) => true,
            Call::Txn(txn, _) => txn.writes(),
            Call::Read | Call::LocalRead { .. } | Call::Page(_) | Call::History(_) => false,
        }
    }
}

/// An operation in flight.
#[derive(Clone, Debug)]
struct InFlight {
    key: usize,
    call: Call,
    /// The session and seq of a write; 0 until the first attempt.
    session: u64,
    seq: u64,
    /// The request of the current attempt; `None` between attempts.
    request: Option<u64>,
    attempts: u32,
    /// Whether an earlier attempt may have had an effect, or may still have one.
    uncertain: bool,
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
    /// The time at which the client moves to another node; `u64::MAX` for never.
    leave_at: u64,
    session: Option<u64>,
    nonce: Bytes,
    /// The request that opens the session, and its timeout.
    opening: Option<(u64, u64)>,
    next_seq: u64,
    next_request: u64,
    /// The operations in flight, numbered in the order of their calls.
    flights: BTreeMap<u64, InFlight>,
    next_flight: u64,
    in_flight_max: usize,
    next_at: u64,
    contact_at: u64,
    silent_until: u64,
    /// The history of the ensemble that the client knows.
    history: Option<u64>,
    /// The highest revision received.
    seen: u64,
    /// The last revision received for each key.
    known: Vec<u64>,
    /// The same for the keys that transactions write.
    known_txn: txns::Known,
    /// The next page of a scan that has begun.
    next_page: Option<Box<v1::Range>>,
    /// The next page of the versions of a key.
    next_versions: Option<v1::GetHistory>,
    /// The only operations of this client, which belongs to the liveness phase; `None` for other clients.
    script: Option<VecDeque<Call>>,
    /// The number of scripted operations that have succeeded.
    scripted: usize,
}

/// All clients.
#[derive(Debug)]
pub struct Workload {
    settings: WorkloadSettings,
    random: Random,
    nodes: usize,
    clients: Vec<Client>,
    /// Whether no new operations are started.
    draining: bool,
    /// The operations on each key, by the history of the ensemble.
    histories: BTreeMap<u64, Vec<Vec<Operation>>>,
    next_value: u64,
    /// Counts of the results so far.
    pub counts: WorkloadCounts,
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
                history: None,
                seen: 0,
                known: vec![0; settings.keys],
                known_txn: txns::Known::default(),
                next_page: None,
                next_versions: None,
                script: (index == settings.clients).then(VecDeque::new),
                scripted: 0,
            })
            .collect();
        Workload {
            random,
            nodes,
            clients,
            draining: false,
            histories: BTreeMap::new(),
            next_value: 1,
            counts: WorkloadCounts::default(),
            settings,
        }
    }

    /// The random number generator, for the delays between clients and nodes.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The number of clients, including the one of the liveness phase.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Starts the liveness phase: operations in flight must end, and one write and one read are executed.
    pub fn drain(&mut self) {
        self.draining = true;
        let value = self.value();
        let calls = [Call::Write(Action::Set { value }), Call::Read];
        if let Some(last) = self.clients.last_mut() {
            last.script = Some(calls.into());
        }
        for client in &mut self.clients {
            client.silent_until = 0;
            for flight in client.flights.values_mut() {
                flight.give_up_at = u64::MAX;
            }
        }
    }

    /// Ends all operations in flight with an unknown outcome.
    pub fn give_up(&mut self, now: u64) {
        for client in 0..self.clients.len() {
            for flight in std::mem::take(&mut self.clients[client].flights).into_values() {
                if flight.attempts > 0 {
                    self.record(client, now, &flight, Answer::Unknown);
                }
            }
        }
    }

    /// A description of an unfinished operation of the liveness phase; `None` if there is none.
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

    fn value(&mut self) -> u64 {
        self.next_value += 1;
        self.next_value
    }

    /// Advances a client and returns the time of the next call.
    pub fn poll(&mut self, index: usize, now: u64, out: &mut Vec<ClientAction>) -> u64 {
        let next = now + self.random.between(4, 20) * MILLISECOND;
        self.start_operation(index, now);
        let client = &mut self.clients[index];
        let idle = client.flights.is_empty() && (self.draining || client.script.is_some());
        if idle {
            return next;
        }
        if client.link == Link::None && now >= client.reconnect_at {
            client.node = self.random.index(self.nodes);
            client.link = Link::Connecting;
            client.reconnect_at = now + SECOND;
            out.push(ClientAction::Connect(client.node));
        } else if client.link == Link::Connecting && now >= client.reconnect_at {
            out.push(ClientAction::Disconnect);
            self.unlink(index, now);
        }
        if self.check_timeouts(index, now, out) {
            out.push(ClientAction::Disconnect);
            self.unlink(index, now);
        }
        if self.clients[index].link == Link::Open {
            self.send(index, now, out);
        }
        next
    }

    /// Starts a new operation, if it is time for one.
    fn start_operation(&mut self, index: usize, now: u64) {
        let client = &mut self.clients[index];
        let random = &mut self.random;
        if client.flights.len() >= client.in_flight_max || now < client.next_at {
            return;
        }
        let scripted = client.script.is_some();
        let key = random.index(self.settings.keys);
        let call = match &mut client.script {
            Some(script) => match script.pop_front() {
                Some(call) => call,
                None => return,
            },
            None if self.draining => return,
            None => {
                client.next_at = now + random.jittered(self.settings.think);
                self.next_value += 1;
                let value = self.next_value;
                // Mostly the known revision, sometimes a random one.
                let expected =
                    if random.one_in(8) { random.below(client.seen + 2) } else { client.known[key] };
                match random.below(100) {
                    0..30 => Call::Write(Action::Set { value }),
                    30..55 => Call::Write(Action::Cas { expected, value }),
                    55..65 => Call::Write(Action::Add { value }),
                    65..70 => Call::Write(Action::Delete { expected: None }),
                    70..75 => Call::Write(Action::Delete { expected: Some(expected) }),
                    75..82 => Call::Read,
                    82..87 => {
                        let (keys, seen) = (self.settings.keys, client.seen);
                        let txn = txns::transaction(random, keys, &client.known_txn, seen, value);
                        let guarded = txn.writes() && random.one_in(3);
                        let guard = guarded.then(|| txns::guard(random, &client.known_txn, seen));
                        Call::Txn(Box::new(txn), guard)
                    }
                    87 => Call::Setting(setting(random)),
                    93 => Call::History(match client.next_versions.take().filter(|_| !random.one_in(8)) {
                        Some(mut next) => {
                            next.consistency = random.index(2) as i32;
                            next
                        }
                        None => keys::first_versions(random, key, client.seen),
                    }),
                    88..93 => Call::Page(match client.next_page.take().filter(|_| !random.one_in(8)) {
                        Some(mut next) => {
                            next.consistency = random.index(2) as i32;
                            next
                        }
                        None => Box::new(first_page(random, self.settings.keys, client.seen)),
                    }),
                    _ => Call::LocalRead { min_revision: if random.one_in(3) { 0 } else { client.seen } },
                }
            }
        };
        let give_up = !scripted && random.chance(self.settings.cancel);
        let flight = InFlight {
            key,
            call,
            session: 0,
            seq: 0,
            request: None,
            attempts: 0,
            uncertain: false,
            timeout_at: 0,
            retry_at: 0,
            give_up_at: if give_up { now + random.below(2 * SECOND) } else { u64::MAX },
            called: now,
        };
        client.flights.insert(client.next_flight, flight);
        client.next_flight += 1;
    }

    /// Ends attempts and operations that have timed out. Returns whether to close the connection.
    fn check_timeouts(&mut self, index: usize, now: u64, out: &mut Vec<ClientAction>) -> bool {
        let client = &mut self.clients[index];
        let mut leave = client.link == Link::Open && now >= client.leave_at;
        if let Some((request, timeout_at)) = client.opening
            && now >= timeout_at
        {
            client.opening = None;
            out.push(ClientAction::Cancel(request));
            leave = true;
        }
        let mut given_up = Vec::new();
        for (&number, flight) in &mut client.flights {
            if now >= flight.give_up_at {
                given_up.push(number);
            } else if flight.request.is_some() && now >= flight.timeout_at {
                let request = flight.request.take();
                flight.uncertain = true;
                if self.random.one_in(2) {
                    out.extend(request.map(ClientAction::Cancel));
                }
                flight.retry_at = now;
                leave |= !self.random.one_in(4);
            }
        }
        for number in given_up {
            let Some(flight) = self.clients[index].flights.remove(&number) else { continue };
            out.extend(flight.request.map(ClientAction::Cancel));
            if flight.attempts > 0 {
                self.record(index, now, &flight, Answer::Unknown);
            }
        }
        leave
    }

    /// Sends due requests on the open connection.
    fn send(&mut self, index: usize, now: u64, out: &mut Vec<ClientAction>) {
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
                out.push(ClientAction::Contact(session));
            }
        }
        if let Some(session) = client.session
            && !draining
            && random.one_in(300)
        {
            // Ends the session without waiting for the response; the next write opens another one.
            for _ in 0..random.between(1, 2) {
                let id = client.next_request;
                client.next_request += 1;
                let operation = Some(request::Operation::EndSession(v1::EndSession { session }));
                let request = Request { id, operation, ..Request::default() };
                out.push(ClientAction::Request(Box::new(request)));
            }
            client.session = None;
            client.nonce = Bytes::copy_from_slice(&random.wide().to_be_bytes());
        }
        let writes = client.flights.values().any(|flight| flight.call.is_write());
        if writes && client.session.is_none() && client.opening.is_none() {
            let id = client.next_request;
            client.next_request += 1;
            client.opening = Some((id, now + random.between(300, 2_000) * MILLISECOND));
            let open = v1::OpenSession { nonce: client.nonce.clone() };
            let operation = Some(request::Operation::OpenSession(open));
            let request = Request { id, operation, ..Request::default() };
            out.push(ClientAction::Request(Box::new(request)));
        }
        // All writes get their seq before one is sent, so that `lowest` covers all of them.
        for flight in client.flights.values_mut() {
            let unnumbered = flight.call.is_write() && flight.seq == 0;
            if unnumbered && let Some(session) = client.session {
                flight.session = session;
                flight.seq = client.next_seq;
                client.next_seq += 1;
            }
        }
        let numbered = client.flights.values().filter(|flight| flight.seq > 0);
        let awaited: Vec<_> = numbered.map(|flight| (flight.session, flight.seq)).collect();
        for flight in client.flights.values_mut() {
            let is_write = flight.call.is_write();
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
                // The last attempts must succeed even on a slow network.
                _ if draining => 0,
                max => random.between(10, u64::from(max)) as u32,
            };
            let operation = Some(operation(flight.key, &flight.call));
            let guard = match &flight.call {
                Call::Txn(_, guard) => guard.clone(),
                _ => None,
            };
            out.push(ClientAction::Request(Box::new(Request { id, deadline_ms, write, guard, operation })));
        }
    }

    /// The requested connection is open.
    pub fn connected(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.link == Link::Connecting {
            client.link = Link::Open;
        }
    }

    /// The connection was closed, or could not be opened.
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
                flight.uncertain = true;
                flight.retry_at = now + self.random.below(50 * MILLISECOND);
            }
        }
    }

    /// Handles a response.
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
                    // The node refuses at present: the next attempt is made on another node, after a short wait.
                    let until = now + self.random.between(20, 150) * MILLISECOND;
                    client.leave_at = client.leave_at.min(until);
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
                match &flight.call {
                    Call::Write(_) | Call::Setting(_) => {
                        self.counts.writes += 1;
                        self.counts.retried += u64::from(flight.attempts > 1);
                    }
                    Call::Read => self.counts.barriers += 1,
                    Call::LocalRead { .. } => self.counts.local_reads += 1,
                    Call::Page(_) => self.counts.pages += 1,
                    Call::History(_) => self.counts.histories += 1,
                    Call::Txn(..) => self.counts.txns += 1,
                }
                let client = &mut self.clients[index];
                match (&flight.call, result) {
                    (Call::Txn(txn, _), response::Result::Txn(answer)) => {
                        client.known_txn.learn(txn, answer);
                        return Ok(());
                    }
                    (Call::Txn(_, Some(guard)), response::Result::Error(error)) => {
                        client.known_txn.learn_created(guard, error.actual_revision);
                        return Ok(());
                    }
                    (Call::Setting(_), _) => return Ok(()),
                    _ => {}
                }
                if let (Call::Page(range), response::Result::Page(page)) = (&flight.call, result) {
                    client.next_page = next_page(range, page);
                    return Ok(());
                }
                if let (Call::History(get), response::Result::KeyHistory(page)) = (&flight.call, result) {
                    client.next_versions = keys::next_versions(get, page);
                    return Ok(());
                }
                match answer {
                    Answer::Written { revision } | Answer::Found { revision, .. } => {
                        client.known[flight.key] = revision;
                        client.seen = client.seen.max(revision);
                    }
                    Answer::Conflict { actual } => client.known[flight.key] = actual,
                    Answer::Deleted { .. } | Answer::Missing => client.known[flight.key] = 0,
                    Answer::Unknown => {}
                }
                self.record(index, now, &flight, answer);
            }
            Settled::Expired { not_applied } => {
                let Some(mut flight) = client.flights.remove(&number) else { return Ok(()) };
                flight.uncertain |= !not_applied;
                if client.session == Some(flight.session) {
                    client.session = None;
                    client.nonce = Bytes::copy_from_slice(&self.random.wide().to_be_bytes());
                }
                let scripted = client.script.is_some();
                if !flight.uncertain {
                    // No attempt has had an effect: the write may move to a new session.
                    self.counts.not_applied += 1;
                    let again = InFlight { session: 0, seq: 0, request: None, attempts: 0, ..flight };
                    self.clients[index].flights.insert(number, again);
                    return Ok(());
                }
                self.record(index, now, &flight, Answer::Unknown);
                if scripted {
                    // The scripted write must succeed: another one, with another value, follows.
                    let call = Call::Write(Action::Set { value: self.value() });
                    if let Some(script) = &mut self.clients[index].script {
                        script.push_back(call);
                    }
                }
            }
            Settled::Again { not_applied } => {
                let scripted = client.script.is_some();
                let Some(flight) = client.flights.get_mut(&number) else { return Ok(()) };
                flight.request = None;
                flight.uncertain |= !not_applied;
                flight.retry_at = now + self.random.between(5, 120) * MILLISECOND;
                let over = !flight.uncertain && !scripted && self.random.one_in(3);
                if over {
                    client.flights.remove(&number);
                    self.counts.not_applied += 1;
                }
                if self.random.one_in(3) {
                    // Another node may succeed.
                    self.clients[index].leave_at = now;
                }
            }
        }
        Ok(())
    }
}

/// The meaning of a response for its operation.
enum Settled {
    /// The operation is complete.
    Answer(Answer),
    /// The session has expired.
    Expired {
        /// Whether this attempt has certainly had no effect.
        not_applied: bool,
    },
    /// Retry.
    Again {
        /// Whether this attempt has certainly had no effect.
        not_applied: bool,
    },
}

fn settled(id: u64, result: &response::Result, flight: &InFlight) -> Result<Settled, Violation> {
    let is = |kind: ErrorKind, error: &v1::Error| error.kind == kind as u32;
    let answer = match result {
        response::Result::Written(written) => Answer::Written { revision: written.revision },
        response::Result::Deleted(deleted) => Answer::Deleted { revision: deleted.revision },
        response::Result::Entry(entry) => {
            let value = <[u8; 8]>::try_from(&entry.value[..]).map_or(0, u64::from_be_bytes);
            Answer::Found { value, revision: entry.mod_revision }
        }
        response::Result::Page(_) if matches!(flight.call, Call::Page(_)) => Answer::Missing,
        response::Result::KeyHistory(_) if matches!(flight.call, Call::History(_)) => Answer::Missing,
        response::Result::Txn(_) if matches!(flight.call, Call::Txn(..)) => Answer::Missing,
        response::Result::Error(error)
            if matches!(flight.call, Call::Page(_))
                && (is(ErrorKind::Compacted, error) || is(ErrorKind::InvalidArgument, error)) =>
        {
            Answer::Missing
        }
        response::Result::Error(error) if is(ErrorKind::NotFound, error) => Answer::Missing,
        response::Result::Error(error)
            if is(ErrorKind::AlreadyExists, error)
                || is(ErrorKind::CasMismatch, error)
                || is(ErrorKind::GuardFailed, error) =>
        {
            Answer::Conflict { actual: error.actual_revision }
        }
        response::Result::Error(error) if is(ErrorKind::SessionExpired, error) => {
            return Ok(Settled::Expired { not_applied: error.outcome == Outcome::NotApplied as i32 });
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

/// A change of a setting: all history is old, or its age is that of the run.
fn setting(random: &mut Random) -> v1::SetSetting {
    let name = Setting::HistoryAgeMinutes.name().to_owned();
    v1::SetSetting { name, value: random.one_in(2).then_some(0) }
}

/// The first page of a scan.
fn first_page(random: &mut Random, keys: usize, seen: u64) -> v1::Range {
    let mut bound = |one_in| match random.one_in(one_in) {
        true => key_name(random.index(keys + 1)),
        false => Bytes::new(),
    };
    let (start, end, prefix) = (bound(3), bound(4), bound(5));
    let (start, end) = if !end.is_empty() && start > end { (end, start) } else { (start, end) };
    let prefix = if random.one_in(3) { Bytes::from_static(b"key") } else { prefix };
    v1::Range {
        start,
        end,
        prefix,
        // Mostly what was seen, so that it is neither dropped nor in the future.
        at_revision: match random.index(8) {
            0 => random.below(seen + 3),
            1..4 => seen.saturating_sub(random.below(8)),
            _ => 0,
        },
        limit: random.pick(&[0, 1, 1, 2, 3]),
        reverse: random.one_in(3),
        keys_only: random.one_in(4),
        count_only: random.one_in(8),
        delimiter: if random.one_in(4) { Bytes::from_static(b"-") } else { Bytes::new() },
        consistency: random.index(2) as i32,
        min_revision: if random.one_in(2) { seen } else { 0 },
    }
}

/// The page behind another one; `None` if that is the last one.
fn next_page(range: &v1::Range, page: &v1::Page) -> Option<Box<v1::Range>> {
    let mut next = range.clone();
    next.at_revision = page.revision;
    let bound = if range.reverse { &mut next.end } else { &mut next.start };
    *bound = page.next.clone();
    (!page.next.is_empty()).then(|| Box::new(next))
}

/// The operation of a request.
fn operation(key: usize, call: &Call) -> request::Operation {
    let key = key_name(key);
    let bytes = |value: u64| Bytes::copy_from_slice(&value.to_be_bytes());
    match call.clone() {
        Call::Page(range) => request::Operation::Range(*range),
        Call::History(get) => request::Operation::GetHistory(get),
        Call::Txn(txn, _) => request::Operation::Txn(*txn),
        Call::Setting(set) => request::Operation::SetSetting(set),
        Call::Write(Action::Set { value }) => request::Operation::Set(v1::Set { key, value: bytes(value) }),
        Call::Write(Action::Add { value }) => request::Operation::Add(v1::Add { key, value: bytes(value) }),
        Call::Write(Action::Cas { expected, value }) => {
            request::Operation::Cas(v1::Cas { key, revision: expected, value: bytes(value) })
        }
        Call::Write(Action::Delete { expected }) => {
            request::Operation::Delete(v1::Delete { key, revision: expected })
        }
        Call::Read | Call::Write(Action::Get) => {
            let consistency = Consistency::Linearizable as i32;
            request::Operation::Get(v1::Get { key, consistency, min_revision: 0 })
        }
        Call::LocalRead { min_revision } => {
            let consistency = Consistency::Local as i32;
            request::Operation::Get(v1::Get { key, consistency, min_revision })
        }
    }
}
