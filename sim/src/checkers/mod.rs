//! The invariants of the protocol, checked after everything a node does: one file for each family.
//!
//! The oracle sees what the nodes cannot: every disk's durable image, every message as it is sent, every entry
//! that was ever proposed. It is fed the effects of each step, in order, before they are carried out, and every
//! change of a durable image. What it holds is never shown to the nodes.
//!
//! | file | invariants (zab's numbers in `docs/protocol.md`) |
//! |---|---|
//! | `log` | 1 integrity, 2 identity, 5 local primary order, 11 log matching, 12 log contiguity |
//! | `leaders` | 7 primary integrity, 8 leader uniqueness, 9 initial-history prefix |
//! | `commits` | 3 agreement, 4 and 6 order, 10 leader completeness, 15 commit monotone |
//! | `epochs` | 13 epochs |
//! | `durability` | 14 durable before sent |
//! | `state` | 17 state equality |
//! | `model` | what a store ought to do, written down a second time, naively |
//! | `replies` | 16 no acknowledged loss, 19 exactly once, real-time order, what reads may say |
//! | `sessions` | no session ends before its time |
//!
//! 18, linearizability as clients see it, is in `history`; 21, that all this comes to an end, in `ensemble`.

mod commits;
mod durability;
mod epochs;
mod leaders;
mod log;
mod model;
mod replies;
mod sessions;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;

use gometa_proto::v1::{Request, Response};
use gometa_zab::{EnsembleId, Epoch, Founding, LogEntry, Message, NodeId, Role, Vote, Write, Zxid};

pub use self::replies::Unanswered;
use self::{
    commits::Commits, epochs::Epochs, leaders::Leaders, log::Registry, replies::Replies, sessions::Sessions,
    state::State,
};
use crate::disk::{Disk, Image};

/// A promise of the protocol is broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// How.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// What a check comes to.
pub type Check = Result<(), Violation>;

/// Returns a violation of an invariant unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $invariant:expr, $($detail:tt)+) => {
        if !$holds {
            return Err($crate::checkers::Violation { invariant: $invariant, detail: format!($($detail)+) });
        }
    };
}
pub(crate) use ensure;

/// The id of the node with this index; never zero.
pub fn node_id(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

/// Everything known about a run so far.
pub struct Oracle {
    /// Counted in quorums: a voter whose disk is the one that it was formed with.
    counted: Vec<bool>,
    /// Has been up to date once since its process started.
    up_to_date: Vec<bool>,
    /// The one sealed genesis.
    ensemble: Option<EnsembleId>,
    registry: Registry,
    leaders: Leaders,
    commits: Commits,
    epochs: Epochs,
    state: State,
    replies: Replies,
    sessions: Sessions,
}

impl Oracle {
    /// An oracle for an ensemble of so many voters.
    pub fn new(nodes: usize) -> Oracle {
        Oracle {
            counted: vec![true; nodes],
            up_to_date: vec![false; nodes],
            ensemble: None,
            registry: Registry::default(),
            leaders: Leaders::default(),
            commits: Commits::new(nodes),
            epochs: Epochs::new(nodes),
            state: State::new(),
            replies: Replies::default(),
            sessions: Sessions::default(),
        }
    }

    /// The voters' majority.
    pub fn quorum(&self) -> usize {
        self.counted.len() / 2 + 1
    }

    /// A node's directory was replaced after the ensemble was formed.
    pub fn wiped(&mut self, node: usize) {
        self.counted[node] = false;
        self.epochs.forget(node);
    }

    /// Whether a node is counted in quorums.
    pub fn is_counted(&self, node: usize) -> bool {
        self.counted[node]
    }

    /// Entries committed so far, noticed or not.
    pub fn committed(&self) -> u64 {
        self.commits.count()
    }

    /// Epochs established so far.
    pub fn established(&self) -> usize {
        self.leaders.established_count()
    }

    /// Committed entries that had no effect, because the write had happened before.
    pub fn suppressed(&self) -> u64 {
        self.state.model().suppressed
    }

    /// A node's process starts.
    pub fn starts(&mut self, node: usize) {
        self.up_to_date[node] = false;
    }

    /// A node plays this role now.
    pub fn plays(&mut self, node: usize, role: Role) {
        let established = match role {
            Role::Leading { established } | Role::Following { established, .. } => established,
            Role::Forming | Role::Looking => None,
        };
        self.up_to_date[node] |= established.is_some();
    }

    /// A node issues a write; `disk` is as it was before.
    pub fn issues(&mut self, node: usize, disk: &Disk, write: &Write) -> Check {
        match write {
            Write::Append(entries) => {
                let mut previous = disk.issued.last();
                ensure!(!entries.is_empty(), "12 log contiguity", "n{node} appends nothing");
                for entry in entries {
                    self.admit(node, previous, entry)?;
                    previous = entry.zxid;
                }
                Ok(())
            }
            Write::Truncate(to) => self.commits.truncates(node, disk, *to),
            Write::HardState(state) => {
                let old = &disk.issued.hard_state;
                self.epochs.issues(node, old, state)?;
                let own = state.accepted_leader == Some(node_id(node));
                if own && state.current_epoch > old.current_epoch {
                    // A leader claims its epoch: its history as it stands now is the initial one.
                    self.leaders.discovered(node, state.current_epoch, disk.issued.last(), disk)?;
                }
                Ok(())
            }
            Write::Founding(founding) => self.founds(node, disk, founding),
        }
    }

    /// A node issues a write at this moment, in a run whose sessions have this time-out.
    pub fn times(&self, now: u64, node: usize, write: &Write, timeout_ms: u32) -> Check {
        if let Write::Append(entries) = write {
            for entry in entries {
                self.sessions.appends(now, node, entry, timeout_ms)?;
            }
        }
        Ok(())
    }

    fn founds(&self, node: usize, disk: &Disk, founding: &Founding) -> Check {
        if let Some(held) = &disk.issued.founding
            && held.sealed
        {
            ensure!(
                founding.sealed && held.genesis == founding.genesis,
                "formation: sealed for ever",
                "n{node} is sealed in {:?} and writes {founding:?}",
                held.genesis.ensemble
            );
        }
        Ok(())
    }

    fn admit(&mut self, node: usize, previous: Zxid, entry: &LogEntry) -> Check {
        self.registry.admit(&self.leaders, node, previous, entry)
    }

    /// A node's durable image has changed, or was found at a start.
    pub fn hardened(&mut self, node: usize, image: &Image) -> Check {
        if let Some(founding) = image.founding.as_ref().filter(|founding| founding.sealed) {
            let ensemble = founding.genesis.ensemble;
            let known = *self.ensemble.get_or_insert(ensemble);
            ensure!(
                known == ensemble,
                "formation: one ensemble",
                "n{node} has sealed {ensemble:?}, but {known:?} was sealed before"
            );
        }
        let promoted = self.epochs.hardened(node, image)?;
        if promoted {
            self.leaders.joined(node, image)?;
        }
        if !self.counted[node] {
            return Ok(());
        }
        let quorum = self.quorum();
        let from = self.commits.count();
        self.commits.hardened(&self.registry, &self.leaders, node, image, quorum)?;
        for counter in from + 1..=self.commits.count() {
            let zxid = self.commits.zxid(counter);
            let executed = self.state.commit(counter, self.registry.payload(zxid))?;
            if let Some((session, seq)) = executed {
                self.replies.executed(session, seq)?;
            }
        }
        Ok(())
    }

    /// A node sends a message to a peer.
    pub fn sends(&mut self, node: usize, peer: Option<usize>, disk: &Disk, message: &Message) -> Check {
        durability::message(node, peer, disk, message)?;
        let commit = match message {
            Message::Propose { epoch, previous, entries, commit } => {
                let mut previous = *previous;
                for entry in entries {
                    ensure!(
                        entry.zxid.epoch <= *epoch,
                        "1 integrity",
                        "n{node} proposes {} in epoch {epoch}",
                        entry.zxid
                    );
                    self.admit(node, previous, entry)?;
                    previous = entry.zxid;
                }
                Some((*epoch, *commit))
            }
            Message::UpToDate { epoch, commit }
            | Message::Commit { epoch, commit }
            | Message::Heartbeat { epoch, commit, .. } => Some((*epoch, *commit)),
            _ => None,
        };
        match commit {
            Some((epoch, commit)) => self.commits.told(node, epoch, commit),
            None => Ok(()),
        }
    }

    /// A node sends a vote.
    pub fn votes(&self, node: usize, disk: &Disk, vote: &Vote) -> Check {
        durability::vote(node, disk, vote)
    }

    /// A quorum has promised an epoch to a node, which has claimed it.
    pub fn discovered(&mut self, node: usize, epoch: Epoch, last: Zxid, disk: &Disk) -> Check {
        self.leaders.discovered(node, epoch, last, disk)
    }

    /// A node is established as leader.
    pub fn established_by(&mut self, now: u64, node: usize, epoch: Epoch, last: Zxid) -> Check {
        self.sessions.established(now, node, epoch);
        self.leaders.established(node, epoch, last)?;
        self.commits.established(&self.leaders, epoch, last, self.counted[node], self.quorum())
    }

    /// A node writes what it has applied: through `applied`, with this hash; `disk` is as it was before.
    pub fn applies(&mut self, node: usize, disk: &Disk, applied: u64, hash: u128) -> Check {
        self.commits.applies(node, disk, applied)?;
        self.state.compare(node, applied, hash)
    }

    /// A client's request has reached a node.
    pub fn asked(&mut self, now: u64, node: usize, client: u64, request: &Request) {
        self.replies.asked(now, node, client, request);
    }

    /// The client no longer waits, for one answer or for any.
    pub fn unasked(&mut self, client: u64, request: Option<u64>) {
        self.replies.unasked(client, request);
    }

    /// A node answers a client; it may have applied this far.
    pub fn answers(&mut self, node: usize, applied: u64, client: u64, response: &Response) -> Check {
        self.replies.answers(self.state.model(), node, self.up_to_date[node], applied, client, response)
    }

    /// A request that should have been answered long ago.
    pub fn unanswered(&self, now: u64, deadline_default_ms: u32) -> Option<Unanswered> {
        self.replies.unanswered(now, deadline_default_ms)
    }

    /// At the end: a node's table holds what the naive model holds.
    pub fn compare_tables(&self, node: usize, disk: &Disk) -> Check {
        self.state.compare_tables(node, disk)
    }
}
