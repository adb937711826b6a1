//! Clients' requests, from their arrival to their answers.

use gometa_proto::{
    ErrorKind, Outcome,
    limits::{TXN_CHANGED_KEYS_MAX, TXN_DELETED_BYTES_MAX, TXN_VALUES_MAX},
    v1::{
        self, Command, Consistency, Error, Request, Response, command, command_outcome, request::Operation,
        response::Result as Answer,
    },
};
use gometa_store::{Query, Table, WriteLookup, encode_command};
use gometa_zab::{Role, Ticks, Zxid};

use super::Node;
use crate::{
    effect::{BackupRequest, Effect},
    event::ClientId,
    requests::{Ticket, Waiting, Want, WriteKey},
    status,
};

/// The number of abandoned requests after which `barriers`, `reads`, `fetches` and `ranges` forget them.
const ABANDONED_MAX: usize = 1_024;

/// The longest deadline of a request: an hour. Longer ones are cut.
const DEADLINE_MAX_MS: u32 = 3_600_000;

impl<T: Table> Node<T> {
    pub(super) fn request(&mut self, client: ClientId, request: Request) {
        let id = request.id;
        let deadline_ms = match request.deadline_ms {
            0 => self.config.deadline_default_ms,
            deadline_ms => deadline_ms.min(DEADLINE_MAX_MS),
        };
        let deadline = self.now.plus(u64::from(deadline_ms) * 1_000);
        if let Err(error) = request.check() {
            return self.respond(client, id, Answer::Error(error));
        }
        if let Some(operation) = &request.operation
            && let Some(error) = self.above_level(operation.kind())
        {
            return self.respond(client, id, Answer::Error(error));
        }
        match request.operation {
            Some(ref operation) if operation.is_write() => self.write(client, deadline, request),
            Some(Operation::Get(get)) => self.get(client, id, deadline, get),
            Some(Operation::Range(range)) => self.range(client, id, deadline, range),
            Some(Operation::GetHistory(get)) => self.history(client, id, deadline, get),
            Some(Operation::Txn(txn)) => self.read_txn(client, id, deadline, txn),
            Some(Operation::Status(_)) => {
                let status = self.sources().status(&self.store);
                self.respond(client, id, Answer::Status(status));
            }
            Some(Operation::ListSettings(_)) => {
                let settings = status::settings(&self.store);
                self.respond(client, id, Answer::Settings(v1::Settings { settings }));
            }
            Some(Operation::ListMembers(_)) if self.zab.ensemble().is_none() => {
                let error = self.no_leader(Outcome::NotApplied);
                self.respond(client, id, Answer::Error(error));
            }
            Some(Operation::ListMembers(_)) => {
                let membership = self.membership();
                self.respond(client, id, Answer::Membership(membership));
            }
            Some(
                operation @ (Operation::AddLearner(_)
                | Operation::PromoteMember(_)
                | Operation::RemoveMember(_)
                | Operation::ReplaceMember(_)
                | Operation::CancelPromotion(_)
                | Operation::FinalizeUpgrade(_)
                | Operation::TransferLeadership(_)
                | Operation::SafeToStop(_)),
            ) => {
                if let Some(ticket) = self.wait(client, id, deadline, Want::Members) {
                    self.members.ask(ticket, operation);
                }
            }
            Some(Operation::BeginBackup(begin)) => self.begin_backup(client, id, begin.min_revision),
            Some(Operation::ReadBackup(v1::ReadBackup { id: backup, offset, length })) => {
                let request = BackupRequest::Read { backup, offset, length: length as usize };
                self.effects.push(Effect::Backup { client, id, request });
            }
            Some(Operation::OpenSession(open)) => self.open_session(client, id, deadline, open),
            Some(Operation::EndSession(end)) => self.end_session(client, id, deadline, end.session),
            Some(_) | None => {
                let error = Error::not_applied(ErrorKind::Unsupported, "this node has no such operation");
                self.respond(client, id, Answer::Error(error));
            }
        }
    }

    /// What is applied is committed, so that a node without a leader can be backed up, too.
    fn begin_backup(&mut self, client: ClientId, id: u64, min_revision: u64) {
        let applied = self.store.applied();
        if self.zab.ensemble().is_none() {
            let error = self.no_leader(Outcome::NotApplied);
            return self.respond(client, id, Answer::Error(error));
        }
        if applied < min_revision {
            let message = format!("this node has applied revision {applied}, and not {min_revision} yet");
            let error = Error::not_applied(ErrorKind::Unavailable, message).with_retry_after_ms(100);
            return self.respond(client, id, Answer::Error(error));
        }
        if applied == 0 {
            let error = Error::not_applied(ErrorKind::Unavailable, "this node has applied nothing yet");
            return self.respond(client, id, Answer::Error(error.with_retry_after_ms(100)));
        }
        // The checkpoint has what is given to the table before.
        self.store_batch();
        let request = BackupRequest::Begin { min_revision: applied };
        self.effects.push(Effect::Backup { client, id, request });
    }

    /// Submits a command for a request; false if the request was refused and answered.
    pub(super) fn submit(
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

    fn write(&mut self, client: ClientId, deadline: Ticks, request: Request) {
        let (id, context) = (request.id, request.write.unwrap_or_default());
        self.contact(context.session);
        // A retry of an applied write has its answer. A session that is unknown here may have been opened by entries
        // that this node has not applied.
        match self.store.lookup_write(context.session, context.seq) {
            WriteLookup::Recorded(outcome) => {
                probe!("write.answered-from-session");
                let operation = request.operation.as_ref();
                return self.answer_recorded(client, id, deadline, operation, &outcome, Outcome::Unknown);
            }
            WriteLookup::Forgotten => return self.respond(client, id, Answer::Error(forgotten())),
            WriteLookup::NoSession | WriteLookup::New => {}
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

    pub(super) fn wait(&mut self, client: ClientId, id: u64, deadline: Ticks, want: Want) -> Option<Ticket> {
        let error = if self.requests.len() >= self.config.requests_max {
            probe!("request.limit-reached");
            let message = "this node has too many requests waiting";
            Error::not_applied(ErrorKind::ResourceExhausted, message).with_retry_after_ms(100)
        } else if self.unavailable() && self.needs_leader(&want) {
            probe!("request.rejected-without-leader");
            self.no_leader(Outcome::NotApplied)
        } else if let Some(ticket) = self.requests.add(Waiting { client, id, deadline, want }) {
            return Some(ticket);
        } else {
            Error::not_applied(ErrorKind::InvalidArgument, format!("request {id} is in flight already"))
        };
        self.respond(client, id, Answer::Error(error));
        None
    }

    /// Whether requests fail: there has been no leader for so long, or none is expected because this node was removed.
    fn unavailable(&self) -> bool {
        let configuration = self.zab.configuration();
        let removed = configuration.version() != Zxid::ZERO && !configuration.contains(self.config.zab.node);
        self.leaderless
            .is_some_and(|since| removed || self.now.since(since) > self.config.zab.timeouts.election)
    }

    /// Whether a request needs a leader: all but local reads of what a node that was synchronised has applied.
    fn needs_leader(&self, want: &Want) -> bool {
        let is_local = matches!(want, Want::LocalRead(_) | Want::LocalQuery(..));
        !(self.synchronised && is_local && want.min_revision() <= self.store.applied())
    }

    pub(super) fn no_leader(&self, outcome: Outcome) -> Error {
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

    pub(super) fn respond(&mut self, client: ClientId, id: u64, answer: Answer) {
        let answer = match answer {
            Answer::Error(error) => Answer::Error(error.with_leader(self.sources().leader_address())),
            answer => answer,
        };
        let response = Response { id, revision: self.store.applied(), result: Some(answer) };
        self.effects.push(Effect::Respond { client, response });
    }

    pub(super) fn respond_to(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(waiting) = self.requests.remove(ticket) {
            self.respond(waiting.client, waiting.id, answer);
        }
    }

    /// Removes a request without a known result.
    pub(super) fn abandon(&mut self, ticket: Ticket) -> Option<Waiting> {
        let not_applied = self.outcome_of(ticket) == Outcome::NotApplied;
        let waiting = self.requests.remove(ticket)?;
        if let Want::Write(WriteKey::Open { nonce }) = &waiting.want
            && not_applied
        {
            self.openers.withdraw(waiting.client, nonce);
        }
        Some(waiting)
    }

    /// Answers a request with an error that is not the outcome of its command.
    pub(super) fn fail(&mut self, ticket: Ticket, error: Error) {
        if let Some(waiting) = self.abandon(ticket) {
            self.respond(waiting.client, waiting.id, Answer::Error(error));
        }
    }

    /// Answers a write whose outcome is recorded. The results of a transaction are read.
    pub(super) fn answer_recorded(
        &mut self,
        client: ClientId,
        id: u64,
        deadline: Ticks,
        operation: Option<&Operation>,
        outcome: &v1::CommandOutcome,
        otherwise: Outcome,
    ) {
        match (outcome.result, operation) {
            (Some(command_outcome::Result::Txn(executed)), Some(Operation::Txn(txn))) => {
                self.read_results(client, id, deadline, txn.clone(), executed);
            }
            _ => self.answer(client, id, outcome, otherwise),
        }
    }

    /// Answers with the outcome of a command. `otherwise` is the outcome of the write where the session table does not
    /// know it.
    pub(super) fn answer(
        &mut self,
        client: ClientId,
        id: u64,
        outcome: &v1::CommandOutcome,
        otherwise: Outcome,
    ) {
        let answer = match outcome.result {
            Some(command_outcome::Result::SessionOpened(opened)) => Answer::SessionOpened(opened),
            Some(command_outcome::Result::Written(written)) => Answer::Written(written),
            Some(command_outcome::Result::Deleted(deleted)) => Answer::Deleted(deleted),
            Some(command_outcome::Result::Failure(failure)) => Answer::Error(failed(failure, otherwise)),
            Some(command_outcome::Result::Txn(v1::TxnOutcome { revision, .. })) => {
                let message = format!(
                    "another request of this session and seq was a transaction, at revision {revision}"
                );
                Answer::Error(Error::not_applied(ErrorKind::InvalidArgument, message))
            }
            None => Answer::Error(Error::unknown(ErrorKind::Internal, "the command has no outcome")),
        };
        self.respond(client, id, answer);
    }

    /// Fails requests whose deadline has passed, and, after some time without a leader, all that need one.
    pub(super) fn expire(&mut self) {
        let expired = self.requests.expired(self.now);
        self.abandoned += expired.len();
        for ticket in expired {
            let outcome = self.outcome_of(ticket);
            probe!("deadline.before-proposal", outcome == Outcome::NotApplied);
            probe!("deadline.outcome-unknown", outcome == Outcome::Unknown);
            let error = Error::new(ErrorKind::DeadlineExceeded, "the deadline has passed", outcome);
            self.fail(ticket, error);
        }
        // Later requests fail at once.
        if self.unavailable() && !self.waiters_failed {
            self.waiters_failed = true;
            for ticket in self.requests.all() {
                if self.requests.get(ticket).is_some_and(|waiting| self.needs_leader(&waiting.want)) {
                    probe!("request.failed-without-leader");
                    let error = self.no_leader(self.outcome_of(ticket));
                    self.fail(ticket, error);
                    self.abandoned += 1;
                }
            }
        }
        if self.abandoned > ABANDONED_MAX {
            self.abandoned = 0;
            let requests = &self.requests;
            self.barriers.retain(|ticket| requests.get(ticket).is_some());
            self.reads.retain(|ticket| requests.get(ticket).is_some());
            self.fetches.retain(|ticket| requests.get(ticket).is_some());
            self.ranges.retain(|ticket| requests.get(ticket).is_some());
        }
    }

    pub(super) fn outcome_of(&self, ticket: Ticket) -> Outcome {
        match self.requests.get(ticket).map(|waiting| &waiting.want) {
            Some(Want::Write(key)) => {
                self.requests.submission(key).map_or(Outcome::Unknown, |submission| submission.outcome())
            }
            Some(Want::Members) if self.members.may_apply(ticket) => Outcome::Unknown,
            // It was executed.
            Some(Want::LocalQuery(query, _)) if matches!(**query, Query::Results(..)) => Outcome::Unknown,
            Some(_) | None => Outcome::NotApplied,
        }
    }
}

pub(super) fn forgotten() -> Error {
    Error::unknown(
        ErrorKind::Forgotten,
        "the write is below its session's floor: its answer was given before",
    )
}

/// The error of a recorded failure.
fn failed(failure: v1::Failure, otherwise: Outcome) -> Error {
    let kind = ErrorKind::from_number(failure.kind);
    let actual = failure.actual_revision;
    let message = match kind {
        ErrorKind::AlreadyExists => format!("the key exists at revision {actual}"),
        ErrorKind::CasMismatch if actual == 0 => "the key does not exist".to_owned(),
        ErrorKind::CasMismatch => format!("the key is at revision {actual}"),
        ErrorKind::GuardFailed if actual == 0 => "the key of the guard does not exist".to_owned(),
        ErrorKind::GuardFailed => format!("the key of the guard was created at revision {actual}"),
        ErrorKind::SessionExpired => "the session has ended, or never was".to_owned(),
        ErrorKind::Forgotten => return forgotten(),
        ErrorKind::ResourceExhausted => "there are too many sessions".to_owned(),
        ErrorKind::TooLarge => {
            format!(
                "the transaction compares or changes too much: the keys that it compares or may write have at most \
                 {TXN_VALUES_MAX} bytes of values together, and likewise the ranges that it compares, and those that it may \
                 delete; a branch changes at most {TXN_CHANGED_KEYS_MAX} keys, and deletes ranges with at most \
                 {TXN_DELETED_BYTES_MAX} bytes of keys"
            )
        }
        other => other.text().to_owned(),
    };
    // A session that has ended no longer knows whether an earlier attempt took effect. All other failures are
    // recorded outcomes.
    probe!("session.end-loses-outcome", kind == ErrorKind::SessionExpired && otherwise == Outcome::Unknown);
    let outcome = if kind == ErrorKind::SessionExpired { otherwise } else { Outcome::NotApplied };
    Error::new(kind, message, outcome).with_actual_revision(actual)
}
