//! The node: events in, effects out; protocol, store and waiting requests joined.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use gometa_proto::{
    ErrorKind, Outcome,
    limits::PAYLOAD_MAX,
    v1::{
        self, Command, Consistency, Error, Request, Response, command, command_outcome, node_message::Body,
        request::Operation, response::Result as Answer,
    },
};
use gometa_store::{Applied, Corrupt, Origin, Recall, Store, Table, encode_command};
use gometa_zab::{self as zab, Kind, LinkId, LogEntry, Rejection, Role, Ticks, Token, Zab};

use crate::{
    announced::Announced,
    barrier::{Asker, Barriers},
    clocks::Clocks,
    config::Config,
    effect::{Effect, Write},
    event::{ClientId, Event},
    forward::{self, Forwarding, Proposer},
    openers::Openers,
    reads::{self, Reads},
    requests::{At, Attempt, Requests, Ticket, Waiting, Want, WriteKey},
    status,
};

mod sessions;

/// Entries applied in one step at most; the rest follows when the table has taken these.
const APPLY_MAX: usize = 8_192;

/// Bytes of log entries read back for applying at once.
const READ_BYTES_MAX: usize = 1 << 20;

/// Requests that were given up and of which something is still kept, until it is looked for.
const TRACES_MAX: usize = 1_024;

/// The longest deadline a request may ask for: an hour.
const DEADLINE_MAX_MS: u32 = 3_600_000;

/// One node: the protocol, the store, and everyone who waits for them.
pub struct Node<T: Table> {
    pub(crate) config: Config,
    pub(crate) zab: Zab,
    pub(crate) store: Store<T>,
    now: Ticks,
    /// For the protocol core, in the step under way.
    inbox: Vec<zab::Event>,
    effects: Vec<Effect>,
    requests: Requests,
    barriers: Barriers,
    reads: Reads,
    /// Requests given up by their clients since `barriers` and `reads` last forgot such.
    traces: usize,
    forwarding: Forwarding,
    clocks: Clocks,
    openers: Openers,
    pub(crate) announced: Announced,
    /// Everything through this counter may be applied.
    released: u64,
    /// Entries read back from storage, in order, and the read under way.
    read_back: VecDeque<LogEntry>,
    reading: Option<u64>,
    /// Batches that the table has not taken yet, and what each holds in memory, in bytes.
    batches: VecDeque<(Token, usize)>,
    /// The sum of these bytes.
    unstored: usize,
    pub(crate) role: Role,
    /// Since when there has been no established leader.
    leaderless: Option<Ticks>,
    /// For so long that those who waited for one have been turned away.
    turned_away: bool,
    /// This node has been up to date once since its start: it may answer local reads.
    synchronised: bool,
    stopped: bool,
}

impl<T: Table> Node<T> {
    /// A node at its start, with what its storage held, and the first things to do.
    ///
    /// # Errors
    ///
    /// If the table's records are damaged.
    pub fn new(
        config: Config,
        recovered: zab::Recovered,
        table: T,
        now: Ticks,
    ) -> Result<(Node<T>, Vec<Effect>), Corrupt> {
        let store = Store::open(table)?;
        assert_eq!(store.applied(), recovered.applied, "log and table are recovered together");
        let zab = Zab::new(config.zab.clone(), recovered, now);
        let mut node = Node {
            released: store.applied(),
            config,
            zab,
            store,
            now,
            inbox: Vec::new(),
            effects: Vec::new(),
            requests: Requests::default(),
            barriers: Barriers::default(),
            reads: Reads::default(),
            traces: 0,
            forwarding: Forwarding::default(),
            clocks: Clocks::new(now),
            openers: Openers::default(),
            announced: Announced::default(),
            read_back: VecDeque::new(),
            reading: None,
            batches: VecDeque::new(),
            unstored: 0,
            role: Role::Forming,
            leaderless: Some(now),
            turned_away: false,
            synchronised: false,
            stopped: false,
        };
        node.show();
        let effects = node.step(now, [Event::Zab(zab::Event::Tick)]);
        Ok((node, effects))
    }

    /// Takes in what happened, in order, and says what to do about all of it, in order.
    ///
    /// Not all reads that could be answered are: see [`Node::has_more`].
    pub fn step(&mut self, now: Ticks, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
        self.now = self.now.max(now);
        self.clocks.step(self.now);
        self.barriers.step(self.now);
        for event in events {
            self.take(event);
        }
        self.expire();
        self.look_at_sessions();
        // The core always gets its step, for the clock; then another for whatever follows from it.
        loop {
            let role = self.role;
            self.send_on();
            let inbox = std::mem::take(&mut self.inbox);
            for effect in self.zab.step(self.now, inbox) {
                self.carry_out(effect);
            }
            self.look_at_members();
            self.apply();
            if self.inbox.is_empty() && self.role == role {
                break;
            }
        }
        self.answer_reads();
        std::mem::take(&mut self.effects)
    }

    /// Whether there are reads that the last step could have answered, had it not answered enough: the caller
    /// takes in what has arrived meanwhile, if anything, and steps again at once.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.reads.has_more()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Zab(zab::Event::Persisted(token)) => {
                while let Some(&(batch, bytes)) = self.batches.front()
                    && batch <= token
                {
                    self.batches.pop_front();
                    self.unstored -= bytes;
                    self.store.batch_written();
                }
                self.inbox.push(zab::Event::Persisted(token));
            }
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
                    self.give_up(ticket);
                    self.traces += 1;
                }
            }
            Event::Contact { session } => self.contact(session),
            Event::Sent { client } => self.reads.sent(client),
            Event::ClientGone { client } => {
                for ticket in self.requests.all_of_client(client) {
                    probe!("request.client-gone");
                    self.give_up(ticket);
                    self.traces += 1;
                }
                self.reads.gone(client);
                self.openers.gone(client);
            }
        }
    }

    // ---- Requests

    fn request(&mut self, client: ClientId, request: Request) {
        let id = request.id;
        let deadline_ms = match request.deadline_ms {
            0 => self.config.deadline_default_ms,
            deadline_ms => deadline_ms.min(DEADLINE_MAX_MS),
        };
        let deadline = self.now.plus(u64::from(deadline_ms) * 1_000);
        if let Err(error) = request.check() {
            return self.respond(client, id, Answer::Error(error));
        }
        match request.operation {
            Some(ref operation) if operation.is_write() => self.write(client, deadline, request),
            Some(Operation::Get(get)) => self.get(client, id, deadline, get),
            Some(Operation::Status(_)) => {
                let status = status::node(self);
                self.respond(client, id, Answer::Status(status));
            }
            Some(Operation::OpenSession(open)) => self.open_session(client, id, deadline, open),
            Some(Operation::EndSession(end)) => self.end_session(client, id, deadline, end.session),
            Some(_) | None => {
                let error = Error::not_applied(ErrorKind::Unsupported, "this node has no such operation");
                self.respond(client, id, Answer::Error(error));
            }
        }
    }

    fn write(&mut self, client: ClientId, deadline: Ticks, request: Request) {
        let (id, context) = (request.id, request.write.unwrap_or_default());
        self.contact(context.session);
        // Applied already: the answer is known. A session that is not known here may be known to the
        // leader; that is for the log to say.
        match self.store.recall(context.session, context.seq) {
            Recall::Recorded(outcome) => {
                probe!("write.answered-from-memory");
                return self.answer(client, id, &outcome, Outcome::Unknown);
            }
            Recall::Forgotten => return self.respond(client, id, Answer::Error(forgotten())),
            Recall::NoSession | Recall::New => {}
        }
        let key = WriteKey::Write { session: context.session, seq: context.seq };
        let command = command::Body::Write(Request { id: 0, deadline_ms: 0, ..request });
        self.submit(client, id, deadline, key, command);
    }

    fn get(&mut self, client: ClientId, id: u64, deadline: Ticks, get: v1::Get) {
        let local = get.consistency() == Consistency::Local;
        let want = if local { Want::LocalRead(get) } else { Want::Read(get) };
        let Some(ticket) = self.wait(client, id, deadline, want) else { return };
        if local { self.read_local(ticket) } else { self.barriers.join(ticket) }
    }

    /// Submits a command for a request; false if the request was refused and answered.
    fn submit(
        &mut self,
        client: ClientId,
        id: u64,
        deadline: Ticks,
        key: WriteKey,
        command: command::Body,
    ) -> bool {
        let Some(ticket) = self.wait(client, id, deadline, Want::Write(key.clone())) else { return false };
        self.requests.submit(key, ticket, || encode_command(&Command { body: Some(command) }));
        true
    }

    fn wait(&mut self, client: ClientId, id: u64, deadline: Ticks, want: Want) -> Option<Ticket> {
        let error = if self.requests.len() >= self.config.requests_max {
            probe!("request.too-many");
            let message = "this node has too many requests waiting";
            Error::not_applied(ErrorKind::ResourceExhausted, message).with_retry_after_ms(100)
        } else if self.unavailable() && self.needs_leader(&want) {
            probe!("request.no-leader-for-long");
            self.no_leader(Outcome::NotApplied)
        } else if let Some(ticket) = self.requests.add(Waiting { client, id, deadline, want }) {
            return Some(ticket);
        } else {
            Error::not_applied(ErrorKind::InvalidArgument, format!("request {id} is in flight already"))
        };
        self.respond(client, id, Answer::Error(error));
        None
    }

    /// Whether there has been no leader for so long that clients had better go elsewhere.
    fn unavailable(&self) -> bool {
        self.leaderless.is_some_and(|since| self.now.since(since) > self.config.zab.timeouts.election)
    }

    /// What a node has once been given it can read without anyone's help.
    fn needs_leader(&self, want: &Want) -> bool {
        !(self.synchronised && matches!(want, Want::LocalRead(_)))
    }

    fn no_leader(&self, outcome: Outcome) -> Error {
        let message = match self.role {
            Role::Forming => "the ensemble is not formed yet",
            Role::Following { established: None, .. } => {
                "this node is catching up with its leader, and does not serve yet"
            }
            Role::Leading { established: None } if self.zab.serves_from().is_some() => {
                "this node leads, and applies its log before it serves"
            }
            Role::Looking | Role::Following { .. } | Role::Leading { .. } => {
                "this node has no leader, or the leader no quorum"
            }
        };
        let retry_after_ms = u32::try_from(self.config.zab.timeouts.heartbeat / 1_000).unwrap_or(u32::MAX);
        Error::new(ErrorKind::Unavailable, message, outcome).with_retry_after_ms(retry_after_ms)
    }

    fn respond(&mut self, client: ClientId, id: u64, answer: Answer) {
        let answer = match answer {
            Answer::Error(error) => Answer::Error(error.with_leader(status::leader_address(self))),
            answer => answer,
        };
        let response = Response { id, revision: self.store.applied(), result: Some(answer) };
        self.effects.push(Effect::Respond { client, response });
    }

    fn respond_to(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(waiting) = self.requests.remove(ticket) {
            self.respond(waiting.client, waiting.id, answer);
        }
    }

    /// Takes out a request whose answer is not known, or never will be.
    fn give_up(&mut self, ticket: Ticket) -> Option<Waiting> {
        let not_applied = self.outcome_of(ticket) == Outcome::NotApplied;
        let waiting = self.requests.remove(ticket)?;
        if let Want::Write(WriteKey::Open { nonce }) = &waiting.want
            && not_applied
        {
            self.openers.withdraw(waiting.client, nonce);
        }
        Some(waiting)
    }

    /// Answers a request with an error other than a command's outcome.
    fn fail(&mut self, ticket: Ticket, error: Error) {
        if let Some(waiting) = self.give_up(ticket) {
            self.respond(waiting.client, waiting.id, Answer::Error(error));
        }
    }

    /// Answers with the outcome of a command. A failure says so for this attempt: `otherwise` is what may be
    /// said of the write itself where the session table cannot tell.
    fn answer(&mut self, client: ClientId, id: u64, outcome: &v1::CommandOutcome, otherwise: Outcome) {
        let answer = match outcome.result {
            Some(command_outcome::Result::SessionOpened(opened)) => Answer::SessionOpened(opened),
            Some(command_outcome::Result::Written(written)) => Answer::Written(written),
            Some(command_outcome::Result::Deleted(deleted)) => Answer::Deleted(deleted),
            Some(command_outcome::Result::Failure(failure)) => Answer::Error(failed(failure, otherwise)),
            None => Answer::Error(Error::unknown(ErrorKind::Internal, "the command has no outcome")),
        };
        self.respond(client, id, answer);
    }

    /// Ends requests whose deadline has come, and, without a leader, all that need one.
    fn expire(&mut self) {
        let expired = self.requests.expired(self.now);
        self.traces += expired.len();
        for ticket in expired {
            let outcome = self.outcome_of(ticket);
            probe!("deadline.of-what-was-not-proposed", outcome == Outcome::NotApplied);
            probe!("deadline.of-what-may-happen", outcome == Outcome::Unknown);
            let error = Error::new(ErrorKind::DeadlineExceeded, "the deadline has passed", outcome);
            self.fail(ticket, error);
        }
        // From then on whoever needs a leader is refused at once.
        if self.unavailable() && !self.turned_away {
            self.turned_away = true;
            for ticket in self.requests.all() {
                if self.requests.get(ticket).is_some_and(|waiting| self.needs_leader(&waiting.want)) {
                    probe!("request.turned-away");
                    let error = self.no_leader(self.outcome_of(ticket));
                    self.fail(ticket, error);
                    self.traces += 1;
                }
            }
        }
        if self.traces > TRACES_MAX {
            self.traces = 0;
            let requests = &self.requests;
            self.barriers.retain(|ticket| requests.get(ticket).is_some());
            self.reads.retain(|ticket| requests.get(ticket).is_some());
        }
    }

    fn outcome_of(&self, ticket: Ticket) -> Outcome {
        match self.requests.get(ticket).map(|waiting| &waiting.want) {
            Some(Want::Write(key)) => {
                self.requests.submission(key).map_or(Outcome::Unknown, |submission| submission.outcome())
            }
            Some(Want::Read(_) | Want::LocalRead(_)) | None => Outcome::NotApplied,
        }
    }

    // ---- Towards the leader

    /// Passes on what waits for a leader, if there is one.
    fn send_on(&mut self) {
        match self.role {
            Role::Leading { established: Some(_) } => {
                for (attempt, payload) in self.requests.send_held(At::Proposed) {
                    let id = self.forwarding.propose(Proposer::Own(attempt));
                    self.inbox.push(zab::Event::Propose { id, payload });
                }
                if let Some(id) = self.barriers.ask_own() {
                    self.inbox.push(zab::Event::Barrier { id });
                }
            }
            Role::Following { established: Some(_), .. } => {
                let commands = self.requests.send_held(At::Forwarded);
                for message in self.forwarding.forward(commands) {
                    self.inbox.push(zab::Event::RelayToLeader(message));
                }
                if let Some(id) = self.barriers.forward() {
                    let question = Body::BarrierRequest(v1::BarrierRequest { id });
                    self.inbox.push(zab::Event::RelayToLeader(forward::encode(question)));
                }
            }
            Role::Forming | Role::Looking | Role::Following { .. } | Role::Leading { .. } => {}
        }
    }

    fn relayed(&mut self, link: LinkId, payload: Bytes) {
        let Some(body) = forward::decode(payload) else { return };
        match body {
            Body::Forward(forwarded) => {
                for (position, payload) in forwarded.commands.into_iter().enumerate() {
                    let position = u32::try_from(position).unwrap_or(u32::MAX);
                    if payload.len() > PAYLOAD_MAX {
                        // No node of ours sends it, and none could log it.
                        let kind = ErrorKind::TooLarge;
                        let payload = forward::rejection(forwarded.id, vec![position], kind);
                        self.inbox.push(zab::Event::RelayTo { link, payload });
                        continue;
                    }
                    let proposer = Proposer::Follower { link, forward: forwarded.id, position };
                    let id = self.forwarding.propose(proposer);
                    self.inbox.push(zab::Event::Propose { id, payload });
                }
            }
            Body::ForwardRejected(rejected) => {
                for attempt in self.forwarding.rejected(&rejected) {
                    self.refused(&attempt, ErrorKind::from_number(rejected.kind));
                }
            }
            Body::BarrierRequest(request) => match self.barriers.ask_for(link, request.id) {
                Some(id) => self.inbox.push(zab::Event::Barrier { id }),
                None => {
                    let reply = v1::BarrierReply { id: request.id, passed: false, commit: 0 };
                    let payload = forward::encode(Body::BarrierReply(reply));
                    self.inbox.push(zab::Event::RelayTo { link, payload });
                }
            },
            Body::BarrierReply(reply) => {
                let commit = reply.passed.then_some(reply.commit);
                self.barriers.forward_answered(reply.id, commit);
            }
            Body::Announcements(announcements) => {
                if self.announced.learn_from_leader(announcements, &self.zab) {
                    self.show();
                }
            }
            Body::Contacts(contacts) => {
                for session in contacts.sessions {
                    self.contact(session);
                }
            }
        }
    }

    /// An attempt was not proposed. Without a leader it waits for the next one; else it fails.
    fn refused(&mut self, attempt: &Attempt, kind: ErrorKind) {
        let Some(submission) = self.requests.refused(attempt) else { return };
        if kind == ErrorKind::NotLeader {
            self.requests.hold(attempt.key.clone());
            return;
        }
        probe!("write.refused-for-good");
        let outcome = submission.outcome();
        for ticket in submission.tickets.clone() {
            let error = match kind {
                ErrorKind::ResourceExhausted => {
                    Error::new(kind, "too many writes are in flight", outcome).with_retry_after_ms(20)
                }
                other => Error::new(other, "the leader refuses the write", outcome),
            };
            self.fail(ticket, error);
        }
    }

    fn answer_barrier(&mut self, id: u64, commit: Option<u64>) {
        match (self.barriers.answered(id), commit) {
            (Some(Asker::Own(tickets)), Some(commit)) => self.barriers.confirm(commit, tickets),
            (Some(Asker::Own(tickets)), None) => {
                probe!("read.asks-again");
                self.barriers.rejoin(tickets);
            }
            (Some(Asker::Follower { link, id }), commit) => {
                probe!("read.follower-told-to-ask-again", commit.is_none());
                let reply =
                    v1::BarrierReply { id, passed: commit.is_some(), commit: commit.unwrap_or_default() };
                let payload = forward::encode(Body::BarrierReply(reply));
                self.inbox.push(zab::Event::RelayTo { link, payload });
            }
            (None, _) => {}
        }
    }

    // ---- Effects of the core

    fn carry_out(&mut self, effect: zab::Effect) {
        match effect {
            zab::Effect::Write { token, write } => {
                self.effects.push(Effect::Write { token, write: Write::Zab(write) });
            }
            zab::Effect::Read { id, from, to, bytes_max } => {
                self.effects.push(Effect::Read { id, from, to, bytes_max });
            }
            zab::Effect::Datagram { to, vote } => self.effects.push(Effect::Datagram { to, vote }),
            zab::Effect::Connect { peer } => self.effects.push(Effect::Connect { peer }),
            zab::Effect::Send { link, message } => self.effects.push(Effect::Send { link, message }),
            zab::Effect::Close { link } => self.effects.push(Effect::Close { link }),
            zab::Effect::Commit { counter } => self.released = counter,
            zab::Effect::Proposed { id, .. } => {
                self.forwarding.decided(id);
            }
            zab::Effect::Rejected { id, why } => {
                let kind = match why {
                    Rejection::NotLeader => ErrorKind::NotLeader,
                    Rejection::Full => ErrorKind::ResourceExhausted,
                };
                match self.forwarding.decided(id) {
                    Some(Proposer::Own(attempt)) => self.refused(&attempt, kind),
                    Some(Proposer::Follower { link, forward, position }) => {
                        probe!("forward.refused");
                        let payload = forward::rejection(forward, vec![position], kind);
                        self.inbox.push(zab::Event::RelayTo { link, payload });
                    }
                    Some(Proposer::Clock) => probe!("session.end-refused"),
                    None => {}
                }
            }
            zab::Effect::BarrierPassed { id, commit } => self.answer_barrier(id, Some(commit)),
            zab::Effect::BarrierFailed { id } => self.answer_barrier(id, None),
            zab::Effect::Relayed { link, payload } => self.relayed(link, payload),
            zab::Effect::Role(role) => self.become_role(role),
            zab::Effect::Notice(notice) => self.effects.push(Effect::Notice(notice)),
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
            self.barriers.hold_forwarded();
            self.forwarding.forget();
            self.clocks.rest();
        }
        match role {
            Role::Leading { established: Some(_) } => {
                self.clocks.lead(self.store.session_timeouts());
            }
            Role::Following { .. } | Role::Leading { .. } | Role::Forming | Role::Looking => {}
        }
        if established(role).is_some() {
            self.leaderless = None;
            self.turned_away = false;
            self.synchronised = true;
        } else {
            self.leaderless.get_or_insert(self.now);
        }
        self.effects.push(Effect::Role(role));
        self.show();
    }

    fn show(&mut self) {
        let view = status::view(self);
        self.effects.push(Effect::View(view));
    }

    /// Learns where the members are now, and passes it on.
    fn look_at_members(&mut self) {
        if self.announced.look(&self.zab) {
            self.show();
        }
        let unsent = self.announced.unsent(&self.zab).into_iter();
        self.inbox.extend(unsent.map(|(link, payload)| zab::Event::RelayTo { link, payload }));
    }

    // ---- Applying

    fn apply(&mut self) {
        let before = self.store.applied();
        for _ in 0..APPLY_MAX {
            let counter = self.store.applied() + 1;
            if counter > self.released || self.stopped {
                break;
            }
            if self.unstored + self.store.pending_bytes() >= self.config.unstored_bytes_max {
                probe!("apply.waits-for-the-table");
                break;
            }
            while self.read_back.front().is_some_and(|entry| entry.zxid.counter < counter) {
                self.read_back.pop_front();
            }
            let entry = match self.read_back.front() {
                Some(entry) if entry.zxid.counter == counter => entry.clone(),
                _ => match self.zab.recent(counter) {
                    Some(entry) => entry.clone(),
                    None => {
                        probe!("apply.from-the-log");
                        self.read_log(counter);
                        break;
                    }
                },
            };
            match entry.kind {
                Kind::Command => {
                    let applied = self.store.apply(counter, &entry.payload);
                    self.settle(&applied);
                }
                Kind::Membership | Kind::Unknown(_) => self.store.skip(counter),
            }
        }
        if self.store.applied() > before {
            let bytes = self.store.pending_bytes();
            if let Some(batch) = self.store.take_batch() {
                let token = self.zab.allocate_token();
                self.batches.push_back((token, bytes));
                self.unstored += bytes;
                self.effects.push(Effect::Write { token, write: Write::Apply(batch) });
            }
            self.inbox.push(zab::Event::Applied { counter: self.store.applied() });
        }
    }

    fn read_log(&mut self, from: u64) {
        if self.reading.is_none() {
            let id = self.zab.allocate_read();
            self.reading = Some(id);
            let effect = Effect::Read { id, from, to: self.released, bytes_max: READ_BYTES_MAX };
            self.effects.push(effect);
        }
    }

    /// A command has its outcome: whoever waits for it is answered.
    fn settle(&mut self, applied: &Applied) {
        let key = match &applied.origin {
            Origin::Write { session, seq } => WriteKey::Write { session: *session, seq: *seq },
            Origin::CreateSession { nonce } => {
                if let Some(command_outcome::Result::SessionOpened(opened)) = applied.outcome.result {
                    self.session_opened(nonce, opened.session);
                }
                WriteKey::Open { nonce: Bytes::copy_from_slice(nonce) }
            }
            Origin::EndSessions { sessions } => {
                for (session, existed) in sessions {
                    self.session_ended(*session, *existed);
                }
                return;
            }
            Origin::None => return,
        };
        let Some(submission) = self.requests.submission(&key) else { return };
        // What the log says of one attempt is final unless an earlier one may be in the log as well.
        probe!("write.settled-by-an-earlier-attempt", submission.exposed && submission.at == At::Held);
        let otherwise = if submission.exposed { Outcome::Unknown } else { Outcome::NotApplied };
        for ticket in self.requests.settle(&key) {
            if let Some(waiting) = self.requests.remove(ticket) {
                self.answer(waiting.client, waiting.id, &applied.outcome, otherwise);
            }
        }
    }

    // ---- Reads

    fn read_local(&mut self, ticket: Ticket) {
        let Some(Waiting { want: Want::LocalRead(get), client, .. }) = self.requests.get(ticket) else {
            return;
        };
        let up_to_date = planted!(self.synchronised, local_read_before_synchronised => true);
        let applied = self.store.applied() >= get.min_revision;
        if up_to_date && planted!(applied, local_read_ignores_min_revision => true) {
            self.reads.push(*client, ticket);
        } else {
            probe!("read.local-before-the-first-synchronisation", !self.synchronised);
            probe!("read.local-ahead-of-this-node", self.synchronised);
            // Before the first synchronisation there is nothing to read; its end comes with an apply or a role.
            self.barriers.confirm(get.min_revision, vec![ticket]);
        }
    }

    /// Answers reads that wait for no more than what is applied: as many as the step allows.
    fn answer_reads(&mut self) {
        if self.synchronised {
            for ticket in self.barriers.ready(self.store.applied()) {
                if let Some(waiting) = self.requests.get(ticket) {
                    self.reads.push(waiting.client, ticket);
                }
            }
        }
        self.reads.begin_step();
        while let Some((client, ticket)) = self.reads.next() {
            let bytes = self.read(ticket);
            self.reads.answered(client, bytes);
        }
    }

    /// Answers a read; the size of what it found, in bytes.
    fn read(&mut self, ticket: Ticket) -> usize {
        let Some(waiting) = self.requests.get(ticket) else { return 0 };
        let (Want::Read(get) | Want::LocalRead(get)) = &waiting.want else { return 0 };
        let (answer, bytes) = match self.store.get(&get.key) {
            Some(entry) => {
                let bytes = reads::size(&entry);
                (Answer::Entry(entry), bytes)
            }
            None => (Answer::Error(Error::not_applied(ErrorKind::NotFound, "there is no such key")), 0),
        };
        self.respond_to(ticket, answer);
        bytes
    }

    /// What other nodes' states are, for whoever asks: see [`status::node`].
    pub(crate) fn peers_acked(&self) -> BTreeMap<zab::NodeId, zab::FollowerStatus> {
        self.zab.followers().into_iter().map(|follower| (follower.node, follower)).collect()
    }
}

fn forgotten() -> Error {
    Error::unknown(
        ErrorKind::Forgotten,
        "the write is below its session's floor: its answer was given before",
    )
}

/// A recorded failure in words.
fn failed(failure: v1::Failure, otherwise: Outcome) -> Error {
    let kind = ErrorKind::from_number(failure.kind);
    let actual = failure.actual_revision;
    let message = match kind {
        ErrorKind::AlreadyExists => format!("the key exists at revision {actual}"),
        ErrorKind::CasMismatch if actual == 0 => "the key does not exist".to_owned(),
        ErrorKind::CasMismatch => format!("the key is at revision {actual}"),
        ErrorKind::SessionExpired => "the session has ended, or never was".to_owned(),
        ErrorKind::Forgotten => return forgotten(),
        ErrorKind::ResourceExhausted => "there are too many sessions".to_owned(),
        other => other.text().to_owned(),
    };
    // A session that has ended cannot tell whether an earlier attempt took effect; all other failures are
    // recorded outcomes, and final.
    probe!(
        "session.end-hides-an-outcome",
        kind == ErrorKind::SessionExpired && otherwise == Outcome::Unknown
    );
    let outcome = if kind == ErrorKind::SessionExpired { otherwise } else { Outcome::NotApplied };
    Error::new(kind, message, outcome).with_actual_revision(actual)
}
