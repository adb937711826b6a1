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
//! | `configurations` | 20 config |
//! | `epochs` | 13 epochs |
//! | `durability` | 14 durable before sent |
//! | `protocol` | all of the above: whatever needs neither store nor clients |
//! | `state` | 17 state equality |
//! | `model` | what a store ought to do, written down a second time, naively |
//! | `replies` | 16 no acknowledged loss, 19 exactly once, real-time order, what reads may say |
//! | `sessions` | no session ends before its time |
//! | `quarantines` | 22 quarantine |
//! | `handovers` | 23 transfer |
//! | `recoveries` | 27 recovery; an oracle for each history |
//! | `pages` | 24 pages |
//! | `txns` | 25 transactions |
//! | `versions` | 26 versions |
//! | `branches` | what a transaction comes to, naively |
//! | `serving` | rule 20: a node that serves has applied what it must |
//!
//! 18, linearizability as clients see it, is in `history`; 21, that all this comes to an end, in `ensemble`.

mod branches;
mod check;
mod commits;
mod configurations;
mod durability;
mod epochs;
mod handovers;
mod leaders;
mod log;
mod model;
mod pages;
mod protocol;
mod quarantines;
mod recoveries;
mod replies;
mod serving;
mod sessions;
mod state;
#[cfg(test)]
mod tests;
mod txns;
mod versions;

use gometa_node::Event;
use gometa_proto::v1::{Request, Response, View};
use gometa_store::Table;
use gometa_zab::{Epoch, Incarnation, LinkId, Message, Role, Ticks, Vote, Write, Zxid};

pub(crate) use self::check::{ensure, node_index};
pub(crate) use self::protocol::Protocol;
pub use self::{
    check::{Check, Violation, node_id},
    recoveries::Oracles,
    replies::Unanswered,
};
use self::{
    handovers::Handovers, quarantines::Quarantines, replies::Replies, serving::Serving, sessions::Sessions,
    state::State,
};
use crate::disk::{Disk, Image};

/// Everything known about a run so far.
pub struct Oracle {
    protocol: Protocol,
    serving: Serving,
    state: State,
    replies: Replies,
    sessions: Sessions,
    quarantines: Quarantines,
    handovers: Handovers,
}

impl Oracle {
    /// An oracle for `nodes` nodes, the first `founders` of which found an ensemble.
    pub fn new(nodes: usize, founders: usize) -> Oracle {
        Oracle {
            protocol: Protocol::new(nodes, founders),
            serving: Serving::new(nodes),
            state: State::new(),
            replies: Replies::default(),
            sessions: Sessions::default(),
            quarantines: Quarantines::default(),
            handovers: Handovers::default(),
        }
    }

    /// Whether a node is a member of the latest committed configuration.
    pub fn is_member(&self, node: usize) -> bool {
        self.protocol.is_member(node)
    }

    /// The majority of the voters of the latest committed configuration.
    pub fn quorum(&self) -> usize {
        self.protocol.quorum()
    }

    /// A node's directory was replaced after the ensemble was formed, by one with this incarnation.
    pub fn wiped(&mut self, node: usize, incarnation: Incarnation) {
        self.protocol.wiped(node, incarnation);
    }

    /// The voters that the genesis lists without a directory, once it is sealed.
    pub(crate) fn absent(&self) -> Option<Vec<usize>> {
        self.protocol.absent()
    }

    /// Whether a node is counted in quorums.
    pub fn is_counted(&self, node: usize) -> bool {
        self.protocol.is_counted(node)
    }

    /// Whether a node is a learner that is to stay one.
    pub fn stays_learner(&self, node: usize) -> bool {
        self.protocol.stays_learner(node)
    }

    /// A replacement, as (old, new), that a leader can complete if these nodes run.
    pub fn due_replacement(&self, runs: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
        self.protocol.due_replacement(runs)
    }

    /// The version of the latest committed configuration.
    pub fn committed_configuration(&self) -> Zxid {
        self.protocol.committed_configuration()
    }

    /// Whether the ensemble survives if these nodes are lost for good, with their present directories.
    pub fn survives(&self, lost: impl Fn(usize) -> bool) -> bool {
        self.protocol.survives(lost)
    }

    /// Entries committed so far, whether a node knows it or not.
    pub fn committed(&self) -> u64 {
        self.protocol.committed()
    }

    /// Epochs established so far.
    pub fn established(&self) -> usize {
        self.protocol.established()
    }

    /// Committed entries that had no effect, because the write had happened before.
    pub fn suppressed(&self) -> u64 {
        self.state.model().suppressed
    }

    /// A node's process starts at this time of its clock.
    pub fn starts(&mut self, node: usize, clock: Ticks) {
        self.serving.starts(node);
        self.quarantines.starts(node);
        self.handovers.ends(node);
        self.sessions.starts(node, clock);
    }

    /// A node is about to take in these events, at this time of its clock.
    pub fn steps(&mut self, node: usize, clock: Ticks, events: &[Event]) {
        for event in events {
            if let Event::Zab(gometa_zab::Event::Closed { link }) = event {
                self.quarantines.closes(node, *link);
            }
        }
        self.sessions.steps(node, clock, events);
    }

    /// A node takes this role now; `disk` is as it is then.
    pub fn plays(&mut self, node: usize, role: Role, disk: &Disk) -> Check {
        let protocol = &self.protocol;
        self.serving.plays(node, role, disk, |epoch| protocol.leadership(epoch))
    }

    /// A node shows this to its clients.
    pub fn shows(&self, node: usize, view: &View) -> Check {
        self.serving.shows(node, view)
    }

    /// A node issues a write; `disk` is as it was before.
    pub fn issues(&mut self, node: usize, disk: &Disk, write: &Write) -> Check {
        let from = self.protocol.committed();
        self.protocol.issues(node, disk, write)?;
        self.commits_from(from)
    }

    /// A node has issued a write with which this counter is recorded as released.
    pub fn records_released(&self, node: usize, disk: &Disk, released: u64) -> Check {
        durability::released(node, disk, released)
    }

    /// A node issues a write, in a run whose sessions have this timeout.
    pub fn times(&self, node: usize, write: &Write, timeout_ms: u32) -> Check {
        if let Write::Append(entries) = write {
            for entry in entries {
                self.sessions.appends(node, entry, timeout_ms)?;
            }
        }
        Ok(())
    }

    /// A node's durable image has changed, or was found at a start.
    pub fn hardened(&mut self, node: usize, image: &Image) -> Check {
        let from = self.protocol.committed();
        self.protocol.hardened(node, image)?;
        self.commits_from(from)
    }

    /// Applies what was committed above this counter.
    fn commits_from(&mut self, from: u64) -> Check {
        for counter in from + 1..=self.protocol.committed() {
            let (kind, payload) = self.protocol.entry(counter);
            let executed = self.state.commit(counter, kind, payload)?;
            if let Some((session, seq)) = executed {
                self.replies.executed(session, seq)?;
            }
        }
        Ok(())
    }

    /// A node sends a message to a peer.
    pub fn sends(&mut self, node: usize, peer: Option<usize>, disk: &Disk, message: &Message) -> Check {
        self.serving.sends(peer, message);
        self.handovers.sends(node, message)?;
        self.protocol.sends(node, peer, disk, message)
    }

    /// A node sends a vote.
    pub fn votes(&self, node: usize, disk: &Disk, vote: &Vote) -> Check {
        self.protocol.votes(node, disk, vote)
    }

    /// A quorum has promised an epoch to a node, which has claimed it.
    pub fn discovered(&mut self, node: usize, epoch: Epoch, last: Zxid, disk: &Disk) -> Check {
        self.protocol.discovered(node, epoch, last, disk)
    }

    /// A node is established as leader.
    pub fn established_by(&mut self, node: usize, epoch: Epoch, last: Zxid) -> Check {
        self.sessions.established(node, epoch);
        self.protocol.established_by(node, epoch, last)
    }

    /// A node's table is exchanged for that of a snapshot.
    pub fn installs(&self, node: usize, table: &impl Table) -> Check {
        let checkpoint = table.checkpoint();
        self.state.compare(node, checkpoint.applied, checkpoint.hash)
    }

    /// A node writes what it has applied: through `applied`, with this hash; `disk` is as it was before.
    pub fn applies(&mut self, node: usize, disk: &Disk, applied: u64, hash: u128) -> Check {
        self.protocol.applies(node, disk, applied)?;
        self.state.compare(node, applied, hash)
    }

    /// The state hash after the committed entry with this counter.
    pub fn state_hash(&self, counter: u64) -> Option<u128> {
        self.state.hash_at(counter)
    }

    /// A node ends a batch, with this hash.
    pub fn ends_batch(&mut self, node: usize, applied: u64, hash: u128) {
        self.quarantines.ends_batch(node, applied, hash, self.protocol.is_counted(node));
    }

    /// A leader begins to hand over, at this time of its clock and this true time.
    pub fn begins_transfer(&mut self, node: usize, clock: Ticks, now: u64) {
        self.handovers.begins(node, clock, now);
    }

    /// A node does not wait to hand over any more.
    pub fn ends_transfer(&mut self, node: usize) {
        self.handovers.ends(node);
    }

    /// A node issues a write at this true time: judges transfers.
    pub fn appends(&self, node: usize, now: u64, write: &Write) -> Check {
        self.handovers.issues(node, now, write)
    }

    /// A leader hands over its epoch at the end of its log; `times` are its clock and the election timeout, `holds` says whether
    /// the target holds the log.
    pub fn hands_over(
        &mut self,
        node: usize,
        leadership: (Epoch, Zxid),
        times: (Ticks, u64),
        holds: Option<bool>,
    ) -> Check {
        self.handovers.hands_over(node, leadership, times, self.protocol.committed(), holds)
    }

    /// A node goes into quarantine.
    pub fn goes(&mut self, node: usize) {
        self.quarantines.goes(node);
    }

    /// A node sends this on a connection to a peer: judges orders to go into quarantine.
    pub fn orders(&mut self, node: usize, link: LinkId, peer: usize, message: &Message) -> Check {
        let protocol = &self.protocol;
        let is_counted = |node| protocol.is_counted(node);
        self.quarantines.sends((node, link, peer), message, is_counted, protocol.quorum())
    }

    /// A node closes a connection.
    pub fn closes(&mut self, node: usize, link: LinkId) {
        self.quarantines.closes(node, link);
    }

    /// A client's request has reached a node.
    pub fn asked(&mut self, now: u64, node: usize, client: u64, request: &Request) {
        self.sessions.asked(request);
        self.replies.asked(now, node, client, request);
    }

    /// The client no longer waits, for one answer or for any.
    pub fn unasked(&mut self, client: u64, request: Option<u64>) {
        self.replies.unasked(client, request);
    }

    /// A node answers a client; it may have applied this far.
    pub fn answers(&mut self, node: usize, applied: u64, client: u64, response: &Response) -> Check {
        let served = self.serving.has_served(node);
        self.replies.answers(self.state.model(), node, served, applied, client, response)
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
