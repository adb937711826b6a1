//! 16. **No acknowledged loss**: a write is acknowledged only if it is in the committed log, which every later
//!     leader's initial history holds (10).
//! 19. **Exactly once**: a write happens at most once, and each retry gets the same answer.
//!
//! And what clients may conclude from answers: a reply follows from the log; what was acknowledged or shown before
//! a request arrived comes before it (real-time order); a read shows the log's state at the revision it names;
//! nothing is read from a node that has not been up to date once since its start;
//! *not applied*, said of each of a write's attempts, means never; SessionExpired is not said of a live session; each
//! request is answered once, and in time.

use std::collections::{BTreeMap, BTreeSet};

use gometa_proto::v1::{
    CommandOutcome, Consistency, ErrorKind, Failure, Outcome as ErrorOutcome, Request, Response, TxnOutcome,
    command_outcome::Result as Outcome, request::Operation, response::Result as Answer,
};

use super::{Check, Violation, ensure, model::Model, pages, txns, versions};

const REPLY: &str = "18 a reply follows from the log";
const REAL_TIME: &str = "18 real-time order";
const ONCE: &str = "19 exactly once";
const READ: &str = "section 6.2, no read before a node is up to date";
const ACKED: &str = "16 no acknowledged loss";

/// A request that a node has received.
struct Asked {
    at: u64,
    node: usize,
    /// The highest revision that any answer had shown when it arrived.
    shown: u64,
    request: Request,
}

/// What is known of one write's attempts.
#[derive(Default)]
struct Attempts {
    count: u32,
    /// The highest revision that any answer had shown when the first attempt arrived.
    shown: u64,
    /// How many of them were answered with *not applied*.
    denied: u32,
    answer: Option<CommandOutcome>,
}

impl Attempts {
    /// Whether it follows from the answers that the write never happens.
    fn are_denied(&self) -> bool {
        self.count > 0 && self.denied == self.count
    }
}

/// A request without an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unanswered {
    /// The node that received it.
    pub node: usize,
    /// The request and its time.
    pub detail: String,
}

/// Every request and every answer.
#[derive(Default)]
pub(super) struct Replies {
    open: BTreeMap<(u64, u64), Asked>,
    /// Requests that the client cancelled; an answer may still be on its way out.
    given_up: BTreeSet<(u64, u64)>,
    writes: BTreeMap<(u64, u64), Attempts>,
    shown: u64,
}

impl Replies {
    /// Nobody has asked yet; every read that is not local shows at least this revision.
    pub(super) fn shown(revision: u64) -> Replies {
        Replies { shown: revision, ..Replies::default() }
    }

    pub(super) fn asked(&mut self, now: u64, node: usize, client: u64, request: &Request) {
        if let Some(context) = &request.write {
            let shown = self.shown;
            let write = self.writes.entry((context.session, context.seq));
            let attempts = write.or_insert_with(|| Attempts { shown, ..Attempts::default() });
            attempts.count += 1;
        }
        let asked = Asked { at: now, node, shown: self.shown, request: request.clone() };
        self.open.insert((client, request.id), asked);
    }

    pub(super) fn unasked(&mut self, client: u64, request: Option<u64>) {
        match request {
            Some(request) => {
                if self.open.remove(&(client, request)).is_some() {
                    self.given_up.insert((client, request));
                }
            }
            None => {
                let (from, to) = ((client, 0), (client, u64::MAX));
                let gone: Vec<_> = self.open.range(from..=to).map(|(request, _)| *request).collect();
                for request in gone {
                    self.open.remove(&request);
                    self.given_up.insert(request);
                }
            }
        }
    }

    /// A write is committed and happens.
    pub(super) fn executed(&mut self, session: u64, seq: u64) -> Check {
        let denied = self.writes.get(&(session, seq)).is_some_and(Attempts::are_denied);
        ensure!(
            !denied,
            ONCE,
            "write {seq} of session {session} happens, but each of its attempts was *not applied*"
        );
        Ok(())
    }

    pub(super) fn unanswered(&self, now: u64, deadline_default_ms: u32) -> Option<Unanswered> {
        let late = self.open.values().find(|asked| {
            let deadline = match asked.request.deadline_ms {
                0 => deadline_default_ms,
                deadline => deadline,
            };
            now > asked.at + u64::from(deadline) * 1_000 + 3_000_000
        })?;
        let detail = format!("{:?}, since {} µs", late.request, late.at);
        Some(Unanswered { node: late.node, detail })
    }

    pub(super) fn answers(
        &mut self,
        model: &Model,
        node: usize,
        up_to_date: bool,
        applied: u64,
        client: u64,
        response: &Response,
    ) -> Check {
        let place = (client, response.id);
        let Some(asked) = self.open.remove(&place) else {
            ensure!(
                self.given_up.remove(&place),
                REPLY,
                "n{node} answers request {} of client {client}, which awaits no answer: {response:?}",
                response.id
            );
            return Ok(());
        };
        ensure!(
            response.revision <= applied,
            REPLY,
            "n{node} can have applied {applied} and claims {}: {response:?}",
            response.revision
        );
        let Some(answer) = &response.result else {
            ensure!(false, REPLY, "n{node} says nothing in answer to {:?}", asked.request);
            return Ok(());
        };
        let mut shown = response.revision;
        match &asked.request.operation {
            Some(Operation::Get(get)) => {
                ensure!(
                    up_to_date
                        || matches!(answer, Answer::Error(error) if error.kind != ErrorKind::NotFound as u32),
                    READ,
                    "n{node} has not been up to date since its start, and answers {get:?} with {answer:?}"
                );
                read(model, &asked, get, response, answer)?;
            }
            Some(Operation::Range(range)) => {
                ensure!(
                    up_to_date || matches!(answer, Answer::Error(_)),
                    READ,
                    "n{node} has not been up to date since its start, and answers {range:?} with {answer:?}"
                );
                pages::judge(model, node, asked.shown, range, response, answer)?;
            }
            Some(Operation::GetHistory(get)) => {
                ensure!(
                    up_to_date || matches!(answer, Answer::Error(_)),
                    READ,
                    "n{node} has not been up to date since its start, and answers {get:?} with {answer:?}"
                );
                versions::judge(model, node, asked.shown, get, response, answer)?;
            }
            Some(operation @ Operation::Txn(txn)) if !operation.is_write() => {
                ensure!(
                    up_to_date || matches!(answer, Answer::Error(_)),
                    READ,
                    "n{node} has not been up to date since its start, and answers {txn:?} with {answer:?}"
                );
                txns::judge_read(model, node, asked.shown, txn, response, answer)?;
            }
            Some(Operation::OpenSession(open)) => {
                if let Answer::SessionOpened(opened) = answer {
                    ensure!(
                        model.has_opened(&open.nonce, opened.session),
                        ACKED,
                        "n{node} says that session {} is open, the log does not",
                        opened.session
                    );
                }
            }
            Some(Operation::EndSession(end)) => {
                if let Answer::SessionEnded(_) = answer {
                    ensure!(
                        !model.sessions.contains_key(&end.session),
                        ACKED,
                        "n{node} says that session {} has ended, which is live in the log",
                        end.session
                    );
                }
            }
            Some(Operation::Status(_)) | None => {}
            Some(_) => {
                let counter = self.written(model, node, applied, &asked, answer)?;
                shown = shown.max(counter);
            }
        }
        self.shown = self.shown.max(shown);
        Ok(())
    }

    /// A write is answered; says at which entry it happened, 0 if the answer does not say that it did.
    fn written(
        &mut self,
        model: &Model,
        node: usize,
        applied: u64,
        asked: &Asked,
        answer: &Answer,
    ) -> Result<u64, Violation> {
        let Some(context) = &asked.request.write else { return Ok(0) };
        let (session, seq) = (context.session, context.seq);
        let Some(attempts) = self.writes.get_mut(&(session, seq)) else { return Ok(0) };
        let outcome = match answer {
            Answer::Written(written) => Outcome::Written(*written),
            Answer::Deleted(deleted) => Outcome::Deleted(*deleted),
            Answer::Txn(txn) => Outcome::Txn(TxnOutcome { revision: txn.revision, succeeded: txn.succeeded }),
            Answer::Error(error) if is_outcome(error.kind) => {
                Outcome::Failure(Failure { kind: error.kind, actual_revision: error.actual_revision })
            }
            Answer::Error(error) => {
                if error.kind == ErrorKind::SessionExpired as u32 {
                    ensure!(
                        !model.sessions.contains_key(&session),
                        ONCE,
                        "n{node}, having applied {applied}, says that session {session} has expired, which is live"
                    );
                }
                if error.outcome == ErrorOutcome::NotApplied as i32 {
                    attempts.denied += 1;
                    let done = model.done(session, seq);
                    ensure!(
                        done.is_none() || !attempts.are_denied(),
                        ONCE,
                        "n{node} says *not applied* to each attempt of write {seq} of session {session}: {done:?}"
                    );
                }
                return Ok(0);
            }
            other => {
                ensure!(false, REPLY, "n{node} answers {:?} with {other:?}", asked.request);
                return Ok(0);
            }
        };
        let outcome = CommandOutcome { result: Some(outcome) };
        let Some((counter, done)) = model.done(session, seq) else {
            ensure!(
                false,
                ACKED,
                "n{node} answers write {seq} of session {session} with {outcome:?}, it is not in the committed log"
            );
            return Ok(0);
        };
        ensure!(
            *done == outcome,
            REPLY,
            "n{node} answers write {seq} of session {session} with {outcome:?}, it came to {done:?}"
        );
        ensure!(
            *counter <= applied,
            REPLY,
            "n{node} can have applied {applied} and answers write {seq} of session {session}, which stands at {counter}"
        );
        ensure!(
            *counter > attempts.shown,
            REAL_TIME,
            "write {seq} of session {session} stands at {counter}, but {} was shown before it arrived",
            attempts.shown
        );
        if let (Answer::Txn(answer), Some(Operation::Txn(txn))) = (answer, &asked.request.operation) {
            txns::judge_executed(model, node, txn, answer)?;
        }
        let first = *attempts.answer.get_or_insert(outcome);
        ensure!(
            first == outcome,
            ONCE,
            "write {seq} of session {session} is answered with {outcome:?}, before with {first:?}"
        );
        Ok(*counter)
    }
}

/// Whether an error of this kind is the replicated outcome of a write.
fn is_outcome(kind: u32) -> bool {
    [ErrorKind::AlreadyExists, ErrorKind::CasMismatch, ErrorKind::GuardFailed]
        .map(|kind| kind as u32)
        .contains(&kind)
}

fn read(
    model: &Model,
    asked: &Asked,
    get: &gometa_proto::v1::Get,
    response: &Response,
    answer: &Answer,
) -> Check {
    let node = asked.node;
    let revision = response.revision;
    let found = match answer {
        Answer::Entry(entry) => Some(entry),
        Answer::Error(error) if error.kind == ErrorKind::NotFound as u32 => None,
        Answer::Error(_) => return Ok(()),
        other => {
            ensure!(false, REPLY, "n{node} answers {get:?} with {other:?}");
            return Ok(());
        }
    };
    let oldest = if get.consistency == Consistency::Local as i32 { get.min_revision } else { asked.shown };
    ensure!(
        revision >= oldest,
        REAL_TIME,
        "n{node} answers {get:?} as of {revision}, but {oldest} was shown or demanded before"
    );
    let record = model.key_at(&get.key, revision);
    let same = match (found, record) {
        (None, None) => true,
        (Some(entry), Some(record)) => {
            entry.key == get.key
                && entry.value == record.value
                && entry.version == record.version
                && entry.create_revision == record.create_revision
                && entry.mod_revision == record.mod_revision
        }
        _ => false,
    };
    ensure!(same, REPLY, "n{node} answers {get:?} as of {revision} with {found:?}, it was {record:?}");
    Ok(())
}
