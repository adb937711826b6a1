//! The waiting requests of this node's clients, from their arrival to their answers.
//!
//! A client's request is a *ticket*. Tickets for the same write, identified by session and seq, share
//! one *submission*: the command on its way to the leader. A submission is *exposed* when one of its attempts
//! may have been proposed; from then on the outcome of the write is unknown, no longer not applied.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use gometa_proto::{Outcome, v1};
use gometa_store::Query;
use gometa_zab::Ticks;

use crate::event::ClientId;

/// The number of a waiting request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Ticket(u64);

/// The identity of a write.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum WriteKey {
    /// A session's write.
    Write { session: u64, seq: u64 },
    /// The opening of a session.
    Open { nonce: Bytes },
    /// The end of a session.
    End { session: u64 },
}

/// What a request waits for.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    Write(WriteKey),
    /// A linearizable read: a barrier, then the apply.
    Read(v1::Get),
    /// A local read: the apply of its minimum revision.
    LocalRead(v1::Get),
    /// A page, or a transaction that is a read: a barrier, the apply, and the table.
    Query(Box<Query>),
    /// The same without a barrier: the apply of this revision, and the table. Also the results of an executed transaction.
    LocalQuery(Box<Query>, u64),
    /// A request about the members, see `members`.
    Members,
}

impl Want {
    /// The revision that must be applied before a local read.
    pub(crate) fn min_revision(&self) -> u64 {
        match self {
            Want::LocalRead(get) => get.min_revision,
            Want::LocalQuery(query, min_revision) => query.revision().max(*min_revision),
            Want::Write(_) | Want::Read(_) | Want::Query(_) | Want::Members => 0,
        }
    }
}

/// A waiting request.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) client: ClientId,
    pub(crate) id: u64,
    pub(crate) deadline: Ticks,
    pub(crate) want: Want,
}

/// The state of a submission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    /// Waits for a leader.
    Held,
    /// Proposed to this node's core.
    Proposed,
    /// Sent to the leader.
    Forwarded,
}

/// One attempt to have a write proposed. Answers to an earlier attempt do not apply to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Attempt {
    pub(crate) key: WriteKey,
    number: u64,
}

#[derive(Debug)]
pub(crate) struct Submission {
    payload: Bytes,
    pub(crate) tickets: Vec<Ticket>,
    pub(crate) at: At,
    /// The number of the last attempt; 0 before the first.
    attempt: u64,
    /// Whether an earlier attempt may have been proposed.
    pub(crate) exposed: bool,
}

impl Submission {
    /// The outcome to return if the request ends now.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.exposed || self.at != At::Held { Outcome::Unknown } else { Outcome::NotApplied }
    }

    /// The command.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Ends the current attempt, if there is one; another may follow.
    pub(crate) fn hold(&mut self) {
        self.exposed |= planted!(self.at != At::Held, forgets_earlier_attempts => false);
        self.at = At::Held;
    }
}

/// All waiting requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    next: u64,
    waiting: HashMap<Ticket, Waiting>,
    by_client: BTreeMap<(ClientId, u64), Ticket>,
    by_deadline: BTreeSet<(Ticks, Ticket)>,
    submissions: HashMap<WriteKey, Submission>,
    /// The held submissions, in order. After a submission's deadline its key stays here, so a key may be here twice, or
    /// without a held submission.
    held: Vec<WriteKey>,
    attempts: u64,
}

impl Requests {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a request; `None` if the client has one with this id already.
    pub(crate) fn add(&mut self, waiting: Waiting) -> Option<Ticket> {
        let key = (waiting.client, waiting.id);
        if self.by_client.contains_key(&key) {
            return None;
        }
        self.next += 1;
        let ticket = Ticket(self.next);
        self.by_client.insert(key, ticket);
        self.by_deadline.insert((waiting.deadline, ticket));
        self.waiting.insert(ticket, waiting);
        Some(ticket)
    }

    /// Adds a write: a new submission, or another ticket of an existing one.
    pub(crate) fn submit(&mut self, key: WriteKey, ticket: Ticket, payload: impl FnOnce() -> Bytes) {
        match self.submissions.get_mut(&key) {
            Some(submission) => {
                probe!("write.requested-twice");
                submission.tickets.push(ticket);
            }
            None => {
                let submission = Submission {
                    payload: payload(),
                    tickets: vec![ticket],
                    at: At::Held,
                    attempt: 0,
                    exposed: false,
                };
                self.submissions.insert(key.clone(), submission);
                self.held.push(key);
            }
        }
    }

    pub(crate) fn get(&self, ticket: Ticket) -> Option<&Waiting> {
        self.waiting.get(&ticket)
    }

    /// Removes a request, to be answered or forgotten, and with the last ticket its submission.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Waiting> {
        let waiting = self.waiting.remove(&ticket)?;
        self.by_client.remove(&(waiting.client, waiting.id));
        self.by_deadline.remove(&(waiting.deadline, ticket));
        if let Want::Write(key) = &waiting.want
            && let Some(submission) = self.submissions.get_mut(key)
        {
            submission.tickets.retain(|other| *other != ticket);
            if submission.tickets.is_empty() {
                self.submissions.remove(key);
            }
        }
        Some(waiting)
    }

    pub(crate) fn of_client(&self, client: ClientId, id: u64) -> Option<Ticket> {
        self.by_client.get(&(client, id)).copied()
    }

    pub(crate) fn all_of_client(&self, client: ClientId) -> Vec<Ticket> {
        self.by_client.range((client, 0)..=(client, u64::MAX)).map(|(_, ticket)| *ticket).collect()
    }

    /// The requests whose deadline has passed.
    pub(crate) fn expired(&self, now: Ticks) -> Vec<Ticket> {
        self.by_deadline.iter().take_while(|(at, _)| *at <= now).map(|(_, ticket)| *ticket).collect()
    }

    pub(crate) fn submission(&self, key: &WriteKey) -> Option<&Submission> {
        self.submissions.get(key)
    }

    /// Removes a submission whose outcome is known and returns its tickets.
    pub(crate) fn settle(&mut self, key: &WriteKey) -> Vec<Ticket> {
        self.submissions.remove(key).map(|submission| submission.tickets).unwrap_or_default()
    }

    /// Marks the held submissions as proposed or forwarded and returns them as attempts, in order and each once.
    pub(crate) fn send_held(&mut self, to: At) -> Vec<(Attempt, Bytes)> {
        let mut sent = Vec::new();
        for key in std::mem::take(&mut self.held) {
            let Some(submission) = self.submissions.get_mut(&key) else { continue };
            if submission.at != At::Held {
                probe!("write.queued-twice");
                planted!(continue, proposes_held_write_twice => {});
            }
            self.attempts += 1;
            submission.attempt = self.attempts;
            submission.at = to;
            probe!("write.proposed-again", submission.exposed && to == At::Proposed);
            probe!("write.forwarded-again", submission.exposed && to == At::Forwarded);
            sent.push((Attempt { key, number: self.attempts }, submission.payload.clone()));
        }
        sent
    }

    /// Holds the submission of an attempt that was certainly not proposed, and returns it; `None` if there has been
    /// another attempt since.
    pub(crate) fn refused(&mut self, attempt: &Attempt) -> Option<&Submission> {
        let submission = self.submissions.get_mut(&attempt.key)?;
        if submission.attempt != attempt.number || submission.at == At::Held {
            probe!("write.stale-rejection");
            return None;
        }
        submission.at = At::Held;
        Some(submission)
    }

    /// Queues a held submission again, behind the others.
    pub(crate) fn hold(&mut self, key: WriteKey) {
        self.held.push(key);
    }

    /// Holds all submissions because the leadership is over; they will be sent again, oldest request first.
    pub(crate) fn hold_all(&mut self) {
        let mut keys: Vec<(Option<Ticket>, WriteKey)> = self
            .submissions
            .iter_mut()
            .map(|(key, submission)| {
                probe!("write.requeued", submission.at != At::Held);
                submission.hold();
                (submission.tickets.iter().min().copied(), key.clone())
            })
            .collect();
        keys.sort();
        self.held = keys.into_iter().map(|(_, key)| key).collect();
    }

    /// The keys of all submissions, in the order of their oldest requests.
    pub(crate) fn submissions(&self) -> Vec<WriteKey> {
        let mut keys: Vec<(Option<Ticket>, WriteKey)> = self
            .submissions
            .iter()
            .map(|(key, submission)| (submission.tickets.iter().min().copied(), key.clone()))
            .collect();
        keys.sort();
        keys.into_iter().map(|(_, key)| key).collect()
    }

    /// All waiting requests, oldest first.
    pub(crate) fn all(&self) -> Vec<Ticket> {
        let mut all: Vec<Ticket> = self.waiting.keys().copied().collect();
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: WriteKey = WriteKey::Write { session: 1, seq: 1 };

    fn submit(requests: &mut Requests, id: u64) -> Ticket {
        let client = ClientId(1);
        let waiting = Waiting { client, id, deadline: Ticks(id), want: Want::Write(KEY) };
        let ticket = requests.add(waiting).unwrap();
        requests.submit(KEY, ticket, || Bytes::from_static(b"command"));
        ticket
    }

    fn sent(requests: &mut Requests) -> Vec<Attempt> {
        requests.send_held(At::Forwarded).into_iter().map(|(attempt, _)| attempt).collect()
    }

    #[test]
    fn a_write_that_is_held_again_after_its_deadline_is_sent_once() {
        let mut requests = Requests::default();
        for id in 1..=3 {
            let ticket = submit(&mut requests, id);
            if id < 3 {
                requests.remove(ticket);
            }
        }
        assert_eq!(sent(&mut requests).len(), 1);
        assert_eq!(sent(&mut requests).len(), 0);
    }

    #[test]
    fn the_refusal_of_one_attempt_does_not_end_the_next() {
        let mut requests = Requests::default();
        let first = submit(&mut requests, 1);
        let attempt = sent(&mut requests).remove(0);
        requests.remove(first);
        submit(&mut requests, 2);
        assert!(requests.refused(&attempt).is_none(), "the second is held");
        let second = sent(&mut requests).remove(0);
        assert!(requests.refused(&attempt).is_none(), "the second is under way");
        assert_eq!(requests.submission(&KEY).unwrap().outcome(), Outcome::Unknown);
        assert_eq!(requests.refused(&second).unwrap().outcome(), Outcome::NotApplied);
        requests.hold(KEY);
        assert_eq!(sent(&mut requests).len(), 1);
    }
}
