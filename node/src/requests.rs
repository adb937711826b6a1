//! Who waits for what: every request of this node's clients from its arrival to its answer.
//!
//! A client's request is a *ticket*. Tickets that ask for the same write, known by its session and seq, share
//! one *submission*: the command on its way to the leader. A submission is *exposed* when one of its attempts
//! may have been proposed; from then on it cannot be said that the write was not applied, only that it is
//! unknown.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use gometa_proto::{Outcome, v1};
use gometa_zab::{Ticks, mutant, probe};

use crate::event::ClientId;

/// One request of one client, while it waits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Ticket(u64);

/// What makes two writes the same.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum WriteKey {
    /// A session's write.
    Write { session: u64, seq: u64 },
    /// The opening of a session.
    Open { nonce: Bytes },
    /// The end of a session.
    End { session: u64 },
}

/// What a ticket waits for.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    Write(WriteKey),
    /// A linearizable read: first the barrier, then the apply.
    Read(v1::Get),
    /// A local read that this node has not applied far enough for.
    LocalRead(v1::Get),
}

#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) client: ClientId,
    pub(crate) id: u64,
    pub(crate) deadline: Ticks,
    pub(crate) want: Want,
}

/// Where a submission is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    /// Here, until there is a leader.
    Held,
    /// Given to this node's own leadership.
    Proposed,
    /// Sent to the leader.
    Forwarded,
}

#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) payload: Bytes,
    pub(crate) tickets: Vec<Ticket>,
    pub(crate) at: At,
    /// An earlier attempt may have been proposed.
    pub(crate) exposed: bool,
}

impl Submission {
    /// What may be said of the write while its outcome is not known.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.exposed || self.at != At::Held { Outcome::Unknown } else { Outcome::NotApplied }
    }

    /// The attempt under way, if any, is given up; another may follow.
    pub(crate) fn hold(&mut self) {
        self.exposed |= self.at != At::Held && !mutant!(M37);
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
    /// Submissions in the order in which they came, to be sent on in that order.
    held: Vec<WriteKey>,
}

impl Requests {
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a request; `None` if the client already waits for one of this id.
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

    /// Adds a write: a new submission, or another ticket for one that is under way.
    pub(crate) fn submit(&mut self, key: WriteKey, ticket: Ticket, payload: impl FnOnce() -> Bytes) {
        match self.submissions.get_mut(&key) {
            Some(submission) => {
                probe!("write.asked-for-twice");
                submission.tickets.push(ticket);
            }
            None => {
                let submission =
                    Submission { payload: payload(), tickets: vec![ticket], at: At::Held, exposed: false };
                self.submissions.insert(key.clone(), submission);
                self.held.push(key);
            }
        }
    }

    pub(crate) fn get(&self, ticket: Ticket) -> Option<&Waiting> {
        self.waiting.get(&ticket)
    }

    /// Takes a request out, to be answered or forgotten. Its submission goes with its last ticket.
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

    /// Requests whose deadline has come.
    pub(crate) fn expired(&self, now: Ticks) -> Vec<Ticket> {
        self.by_deadline.iter().take_while(|(at, _)| *at <= now).map(|(_, ticket)| *ticket).collect()
    }

    pub(crate) fn submission(&self, key: &WriteKey) -> Option<&Submission> {
        self.submissions.get(key)
    }

    pub(crate) fn submission_mut(&mut self, key: &WriteKey) -> Option<&mut Submission> {
        self.submissions.get_mut(key)
    }

    /// Takes a submission out whose outcome is known.
    pub(crate) fn settle(&mut self, key: &WriteKey) -> Vec<Ticket> {
        self.submissions.remove(key).map(|submission| submission.tickets).unwrap_or_default()
    }

    /// The held submissions, in order; the caller sends them on.
    pub(crate) fn take_held(&mut self) -> Vec<WriteKey> {
        let mut held = std::mem::take(&mut self.held);
        held.retain(|key| self.submissions.get(key).is_some_and(|submission| submission.at == At::Held));
        held
    }

    /// Holds one submission again, behind the others.
    pub(crate) fn hold(&mut self, key: &WriteKey) {
        if let Some(submission) = self.submissions.get_mut(key) {
            submission.hold();
            self.held.push(key.clone());
        }
    }

    /// The leadership is over: whatever is under way will be sent again, oldest request first.
    pub(crate) fn hold_all(&mut self) {
        let mut keys: Vec<(Option<Ticket>, WriteKey)> = self
            .submissions
            .iter_mut()
            .map(|(key, submission)| {
                probe!("write.outlives-a-leader", submission.at != At::Held);
                submission.hold();
                (submission.tickets.iter().min().copied(), key.clone())
            })
            .collect();
        keys.sort();
        self.held = keys.into_iter().map(|(_, key)| key).collect();
    }

    /// Every waiting request, oldest first.
    pub(crate) fn all(&self) -> Vec<Ticket> {
        let mut all: Vec<Ticket> = self.waiting.keys().copied().collect();
        all.sort();
        all
    }
}
