//! Who waits for what: every request of this node's clients from its arrival to its answer.
//!
//! A client's request is a *ticket*. Tickets that ask for the same write, known by its session and seq, share
//! one *submission*: the command on its way to the leader. A submission is *exposed* when one of its attempts
//! may have been proposed; from then on it cannot be said that the write was not applied, only that it is
//! unknown.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use gometa_proto::{Outcome, v1};
use gometa_zab::Ticks;

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

/// One attempt to have a write proposed: what is said of an earlier one does not concern it.
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
    /// Submissions in the order in which they came, to be sent on in that order. A key may stand here twice, and
    /// without a submission that is held: when the first one's deadline has passed, and there is another one since.
    held: Vec<WriteKey>,
    attempts: u64,
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

    /// Takes a submission out whose outcome is known.
    pub(crate) fn settle(&mut self, key: &WriteKey) -> Vec<Ticket> {
        self.submissions.remove(key).map(|submission| submission.tickets).unwrap_or_default()
    }

    /// The held submissions, in order and each once; the caller sends them there, as these attempts.
    pub(crate) fn send_held(&mut self, to: At) -> Vec<(Attempt, Bytes)> {
        let mut sent = Vec::new();
        for key in std::mem::take(&mut self.held) {
            let Some(submission) = self.submissions.get_mut(&key) else { continue };
            if submission.at != At::Held {
                probe!("write.held-twice");
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

    /// An attempt was certainly not proposed: its submission, unless there has been another attempt since.
    pub(crate) fn refused(&mut self, attempt: &Attempt) -> Option<&Submission> {
        let submission = self.submissions.get_mut(&attempt.key)?;
        if submission.attempt != attempt.number || submission.at == At::Held {
            probe!("write.refusal-of-an-earlier-attempt");
            return None;
        }
        submission.at = At::Held;
        Some(submission)
    }

    /// Sends a refused submission again, behind the others.
    pub(crate) fn hold(&mut self, key: WriteKey) {
        self.held.push(key);
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

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: WriteKey = WriteKey::Write { session: 1, seq: 1 };

    fn asked(requests: &mut Requests, id: u64) -> Ticket {
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
            let ticket = asked(&mut requests, id);
            if id < 3 {
                requests.remove(ticket);
            }
        }
        assert_eq!(sent(&mut requests).len(), 1);
        assert_eq!(sent(&mut requests).len(), 0);
    }

    #[test]
    fn the_refusal_of_one_attempt_says_nothing_of_the_next() {
        let mut requests = Requests::default();
        let first = asked(&mut requests, 1);
        let attempt = sent(&mut requests).remove(0);
        requests.remove(first);
        asked(&mut requests, 2);
        assert!(requests.refused(&attempt).is_none(), "the second is held");
        let second = sent(&mut requests).remove(0);
        assert!(requests.refused(&attempt).is_none(), "the second is under way");
        assert_eq!(requests.submission(&KEY).unwrap().outcome(), Outcome::Unknown);
        assert_eq!(requests.refused(&second).unwrap().outcome(), Outcome::NotApplied);
        requests.hold(KEY);
        assert_eq!(sent(&mut requests).len(), 1);
    }
}
