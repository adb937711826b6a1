//! The follower: connection to a leader, discovery, synchronisation, broadcast.
//!
//! One connection carries all messages in one order. The stage says what is promised, what is durable, and which
//! message is expected next. Learners, and voters that lost their data directory, follow in the same way; the leader
//! does not count them.

use alloc::{format, string::String, vec::Vec};

use bytes::Bytes;

use crate::{
    effect::{Effect, HardState, Notice, Write},
    latency::LatencyReport,
    levels::Levels,
    message::{Candidate, LogEntry, Message, Reason},
    space::DiskSpace,
    state::{Core, Next},
    types::{Epoch, LinkId, NodeId, Ticks, Token, Zxid},
};

mod handoff;
mod quarantine;
mod refusals;
mod snapshot;

/// The maximum number of epochs, the newest ones, with which a follower describes its log. A node that diverged more
/// epochs ago needs a snapshot.
pub const BOUNDARIES_MAX: usize = 1_000;

/// The number of failed connections after which a leader is given up.
const ATTEMPTS_MAX: u32 = 3;

/// The stages of following a leader.
#[derive(Clone, Hash)]
enum Stage {
    /// No connection yet, or no Hello on it.
    Connecting { attempts: u32, retry_at: Option<Ticks> },
    /// Hello was received; FollowerEpoch is sent when all earlier writes are complete (rule 11a).
    AwaitingWrites,
    /// FollowerEpoch was sent.
    Discovering,
    /// The promise of this epoch is being written.
    Promising { token: Token, epoch: Epoch },
    /// AckEpoch was sent; Diff or a snapshot is expected.
    Acknowledged { epoch: Epoch },
    /// A snapshot is being installed; then the log is described again.
    Installing { epoch: Epoch, token: Token },
    /// Diff was received: the log is a prefix of the leader's, and grows.
    Synchronising { epoch: Epoch },
    /// NewLeader was received: the history is made durable, then the epoch (rule 18).
    Persisting { epoch: Epoch, history: Token, claim: Option<Token> },
    /// AckNewLeader was sent; UpToDate is expected.
    Waiting { epoch: Epoch },
    /// UpToDate was received: broadcast. The node serves when `from`, the commit index of UpToDate, is applied.
    Serving { epoch: Epoch, from: u64, announced: bool },
}

/// A node that follows a leader.
#[derive(Clone, Hash)]
pub(crate) struct Follower {
    leader: NodeId,
    /// This node's vote for the leader.
    vote: Candidate,
    link: Option<LinkId>,
    stage: Stage,
    /// The time when this node began to follow this leader.
    began: Ticks,
    /// The time of the leader's last sign of life.
    pub(crate) heard: Ticks,
    /// The time of the last message to the leader.
    sent: Ticks,
    reported: LatencyReport,
    /// The disk space that the leader knows.
    reported_space: DiskSpace,
    /// The counter of the last state hash that the leader knows.
    reported_hash: u64,
    /// The last zxid reported as durable, in Progress or Ack.
    acked: Zxid,
    /// Whether the end of following is not a failure of the leader.
    excused: bool,
    /// How often this leader may still answer that it does not lead: the leadership was handed over to it.
    refusals_left: u32,
}

impl Follower {
    pub(crate) fn new(core: &mut Core, vote: Candidate) -> Follower {
        let leader = vote.node;
        core.dial(leader);
        Follower {
            leader,
            vote,
            excused: false,
            refusals_left: 0,
            link: None,
            stage: Stage::Connecting { attempts: 0, retry_at: None },
            began: core.now,
            heard: core.now,
            sent: core.now,
            reported: LatencyReport::new(core.now),
            reported_space: DiskSpace::Ample,
            reported_hash: 0,
            acked: Zxid::ZERO,
        }
    }

    pub(crate) fn leader(&self) -> NodeId {
        self.leader
    }

    /// This node's vote for the leader.
    pub(crate) fn vote(&self) -> Candidate {
        self.vote
    }

    /// Whether the leader has failed if this node looks for another one now (rule 8).
    pub(crate) fn leader_failed(&self) -> bool {
        !self.excused && self.established().is_none()
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        self.link
    }

    /// The epoch in which UpToDate was received.
    pub(crate) fn established(&self) -> Option<Epoch> {
        let Stage::Serving { epoch, .. } = self.stage else { return None };
        Some(epoch)
    }

    /// The counter through which this node must have applied before it serves; `None` before UpToDate.
    pub(crate) fn serves_from(&self) -> Option<u64> {
        let Stage::Serving { from, .. } = self.stage else { return None };
        Some(from)
    }

    /// The epoch in which this node serves: UpToDate was received and its commit index is applied.
    pub(crate) fn serves(&self, core: &Core) -> Option<Epoch> {
        let applied = |from: &u64| planted!(core.history.applied() >= *from, serves_before_applied => true);
        let current = !Self::is_withheld(core);
        probe!("space.follower-does-not-serve", !current);
        self.serves_from().filter(|from| applied(from) && current).and_then(|_| self.established())
    }

    /// Whether this node's log is a prefix of the leader's, since Diff was received.
    fn is_prefix(&self) -> bool {
        match self.stage {
            Stage::Synchronising { .. }
            | Stage::Persisting { .. }
            | Stage::Waiting { .. }
            | Stage::Serving { .. } => true,
            Stage::Connecting { .. }
            | Stage::AwaitingWrites
            | Stage::Discovering
            | Stage::Promising { .. }
            | Stage::Acknowledged { .. }
            | Stage::Installing { .. } => false,
        }
    }

    /// The epoch of the leader, once it is promised.
    fn epoch(&self) -> Option<Epoch> {
        match self.stage {
            Stage::Connecting { .. }
            | Stage::AwaitingWrites
            | Stage::Discovering
            | Stage::Promising { .. } => None,
            Stage::Acknowledged { epoch }
            | Stage::Installing { epoch, .. }
            | Stage::Synchronising { epoch }
            | Stage::Persisting { epoch, .. }
            | Stage::Waiting { epoch }
            | Stage::Serving { epoch, .. } => Some(epoch),
        }
    }

    pub(crate) fn on_connected(&mut self, core: &mut Core, peer: NodeId, link: LinkId) {
        if peer == self.leader && self.link.is_none() {
            self.link = Some(link);
            self.heard = core.now;
        } else {
            probe!("follow.connection-unwanted");
            core.close(link);
        }
    }

    pub(crate) fn on_closed(&mut self, link: LinkId) -> Next {
        if self.link == Some(link) {
            probe!("follow.connection-lost-in-sync", self.epoch().is_some() && self.established().is_none());
            Next::Look("the connection to the leader is closed")
        } else {
            Next::Stay
        }
    }

    /// The leader's Hello was accepted; `formed` says whether it names an ensemble.
    pub(crate) fn on_hello(&mut self, core: &mut Core, link: LinkId, formed: bool) -> Next {
        if self.link != Some(link) {
            return Next::Stay;
        }
        if !formed {
            return Next::Look("the leader is not a member of an ensemble");
        }
        probe!("follow.waits-for-own-disk", !core.is_idle());
        self.stage = Stage::AwaitingWrites;
        self.check(core)
    }

    pub(crate) fn on_message(&mut self, core: &mut Core, message: Message) -> Next {
        self.heard = core.now;
        match message {
            Message::NewEpoch(epoch) => self.on_new_epoch(core, epoch),
            Message::Diff { epoch, base } => self.on_diff(core, epoch, base),
            Message::Propose { epoch, previous, entries, commit } => {
                if self.epoch() != Some(epoch) {
                    return Next::Stay;
                }
                self.on_propose(core, epoch, previous, entries, commit)
            }
            Message::NewLeader { epoch, last } => self.on_new_leader(core, epoch, last),
            Message::UpToDate { epoch, commit } => self.on_up_to_date(core, epoch, commit),
            // Valid before UpToDate (ZOOKEEPER-4394).
            Message::Commit { epoch, commit } => {
                self.learn_commit(core, epoch, commit);
                Next::Stay
            }
            Message::Heartbeat { epoch, id, commit } => self.on_heartbeat(core, epoch, id, commit),
            Message::Quarantine { epoch, fault } => self.on_quarantine(core, epoch, fault),
            Message::Handoff { epoch, target, last } => self.on_handoff(core, epoch, target, last),
            Message::Relay(payload) => {
                if let (Stage::Serving { .. }, Some(link)) = (&self.stage, self.link) {
                    core.effects.push(Effect::Relayed { link, payload });
                }
                Next::Stay
            }
            Message::Refuse(reason) => self.on_refuse(core, reason),
            Message::Hello(_)
            | Message::Prepare(_)
            | Message::Prepared(_)
            | Message::Seal(_)
            | Message::Formed(_)
            | Message::FollowerEpoch { .. }
            | Message::AckEpoch { .. }
            | Message::RefuseEpoch { .. }
            | Message::Duplicate(_)
            | Message::Progress { .. }
            | Message::AckNewLeader { .. }
            | Message::Ack { .. }
            | Message::Alive { .. }
            | Message::Snapshot(_)
            | Message::HeartbeatAck { .. } => Next::Look("unexpected message from the leader"),
        }
    }

    /// Takes over the leader's commit index, which applies to this log from Diff on (rule 20).
    fn learn_commit(&self, core: &mut Core, epoch: Epoch, commit: u64) {
        if self.epoch() == Some(epoch) && self.is_prefix() {
            core.learn_commit(commit);
        }
    }

    fn on_new_epoch(&mut self, core: &mut Core, epoch: Epoch) -> Next {
        if !matches!(self.stage, Stage::Discovering) {
            return Next::Stay; // A duplicate: the answer is on its way.
        }
        let HardState { accepted_epoch, accepted_leader, current_epoch } = core.hard;
        if !core.is_plausible(epoch) {
            Next::Look("the leader proposes an invalid epoch")
        } else if planted!(epoch > accepted_epoch, promises_lower_epoch => true) {
            let promise =
                HardState { accepted_epoch: epoch, accepted_leader: Some(self.leader), current_epoch };
            let token = core.write(Write::HardState(promise));
            self.stage = Stage::Promising { token, epoch };
            planted!(promises_before_sync => self.acknowledge(core, epoch));
            Next::Stay
        } else if epoch == accepted_epoch
            && planted!(accepted_leader == Some(self.leader), promises_epoch_to_two_leaders => true)
        {
            probe!("epoch.promise-repeated");
            self.acknowledge(core, epoch);
            Next::Stay
        } else {
            probe!("epoch.refused");
            self.send(core, Message::RefuseEpoch { accepted: accepted_epoch, leader: accepted_leader });
            Next::Look("the epoch is promised to another leader")
        }
    }

    /// Something was received from the leader, even if only a part of a message.
    pub(crate) fn on_contact(&mut self, core: &Core) {
        self.heard = core.now;
    }

    /// Sends Alive if nothing else was sent for two heartbeat intervals, for example while this node waits for its disk,
    /// or if the write latency is to be reported.
    fn send_alive(&mut self, core: &mut Core) {
        let (heartbeat, election) = (core.config.timeouts.heartbeat, core.config.timeouts.election);
        let write_latency = core.slow_latency();
        // Not to a leader that is not heard: it must detect the broken connection.
        let heard = core.now.since(self.heard) <= election / 2;
        let due = heard && core.now.since(self.sent) >= (heartbeat * 2).min(election / 3);
        let report = self.reported.is_due(core.now, heartbeat, write_latency);
        if due || report {
            probe!("follow.alive-before-epoch", self.epoch().is_none());
            self.reported.sent(core.now, write_latency);
            self.send(core, Message::Alive { write_latency });
        }
    }

    /// Sends AckEpoch.
    fn acknowledge(&mut self, core: &mut Core, epoch: Epoch) {
        probe!("sync.interrupted-earlier", core.history.last().epoch > core.hard.current_epoch);
        let log = core.history.epochs().recent(BOUNDARIES_MAX);
        let idle = planted!(core.is_idle(), promises_before_sync => true);
        assert!(idle, "AckEpoch describes a durable history (rule 11a)");
        // The leader sends no more than the disk has space for, from the start.
        self.report_space(core, epoch);
        let message = Message::AckEpoch {
            epoch,
            current: core.hard.current_epoch,
            last: log.last(),
            oldest: log.base(),
            boundaries: log.ends().to_vec(),
        };
        self.send(core, message);
        self.stage = Stage::Acknowledged { epoch };
    }

    fn on_diff(&mut self, core: &mut Core, epoch: Epoch, base: Zxid) -> Next {
        if !matches!(self.stage, Stage::Acknowledged { epoch: own } if own == epoch) {
            return Next::Look("unexpected Diff from the leader");
        }
        if core.history.epochs().at(base.counter) != Some(base) {
            self.send(core, Message::Refuse(Reason::NoCommonPoint));
            return Next::Look("the leader's common point is not in this log");
        }
        if base.counter < core.history.released() {
            let released = core.history.released();
            core.stop(self.diverged(epoch, format_args!("truncates this log to {base}"), released));
            return Next::Stay;
        }
        let from = core.history.last();
        if planted!(base < from, keeps_divergent_tail => false) {
            probe!("sync.trunc");
            probe!("sync.trunc-within-epoch", base.epoch == from.epoch);
            probe!("sync.trunc-everything", base == Zxid::ZERO);
            core.truncate(base);
            planted!(_ = core.write(Write::Truncate(base)), truncates_in_memory_only => {});
            core.notice(Notice::Truncated { from, to: base });
        }
        planted!(writes_epoch_before_history => {
            core.write(Write::HardState(HardState { current_epoch: epoch, ..core.hard }));
        });
        self.acked = base;
        self.stage = Stage::Synchronising { epoch };
        Next::Stay
    }

    fn on_propose(
        &mut self,
        core: &mut Core,
        epoch: Epoch,
        previous: Zxid,
        entries: Vec<LogEntry>,
        commit: u64,
    ) -> Next {
        if !self.is_prefix() {
            return Next::Look("unexpected Propose from the leader");
        }
        let mut last = previous;
        let contiguous = entries.iter().all(|entry| {
            let before = core::mem::replace(&mut last, entry.zxid);
            entry.zxid.counter == before.counter + 1 && (before.epoch..=epoch).contains(&entry.zxid.epoch)
        });
        if previous != core.history.last() || entries.is_empty() || !contiguous {
            return Next::Look("the leader's entries are not contiguous");
        }
        probe!("sync.propose-while-syncing", matches!(self.stage, Stage::Persisting { .. }));
        probe!("sync.propose-before-up-to-date", matches!(self.stage, Stage::Waiting { .. }));
        if let Some(entry) = entries.iter().find(|entry| !entry.is_supported(core.config.levels)) {
            core.stop(unsupported(entry, core.config.levels));
            return Next::Stay;
        }
        if !core.configurations.accepts(&entries) {
            return Next::Look("the leader's configurations do not follow each other");
        }
        for entry in &entries {
            core.append(entry.clone());
        }
        planted!(_ = core.write(Write::Append(entries)), drops_proposals_before_up_to_date => {
            if !matches!(self.stage, Stage::Waiting { .. }) {
                core.write(Write::Append(entries));
            }
        });
        core.learn_commit(commit);
        Next::Stay
    }

    fn on_new_leader(&mut self, core: &mut Core, epoch: Epoch, last: Zxid) -> Next {
        let expected = matches!(self.stage, Stage::Synchronising { epoch: own } if own == epoch);
        // A snapshot may be of a later state than the initial history, which it then holds.
        if !expected || !core.history.epochs().may_hold(last) {
            return Next::Look("unexpected NewLeader from the leader");
        }
        // The writes issued so far are the initial history, and possibly some proposals after it.
        let history = core.last_write();
        planted!(acks_new_leader_before_sync => {
            self.send(core, Message::AckNewLeader { epoch, last: core.history.last() })
        });
        self.stage = Stage::Persisting { epoch, history, claim: None };
        self.check(core)
    }

    fn on_up_to_date(&mut self, core: &mut Core, epoch: Epoch, commit: u64) -> Next {
        if !matches!(self.stage, Stage::Waiting { epoch: own } if own == epoch) {
            return Next::Look("unexpected UpToDate from the leader");
        }
        core.learn_commit(commit);
        self.stage = Stage::Serving { epoch, from: commit, announced: false };
        core.candidate_succeeded(self.leader);
        Next::Stay
    }

    fn on_heartbeat(&mut self, core: &mut Core, epoch: Epoch, id: u64, commit: u64) -> Next {
        if self.epoch() == Some(epoch) {
            self.learn_commit(core, epoch, commit);
            self.acknowledge_heartbeat(core, epoch, id);
        }
        Next::Stay
    }

    /// Sends HeartbeatAck, only while the promise to this leader holds (protocol.md 6.2).
    fn acknowledge_heartbeat(&mut self, core: &mut Core, epoch: Epoch, id: u64) {
        if (core.hard.accepted_epoch, core.hard.accepted_leader) == (epoch, Some(self.leader)) {
            self.reported_space = core.space;
            let state = core.integrity.report(&mut self.reported_hash);
            self.send(core, Message::HeartbeatAck { epoch, id, space: core.space, state });
        }
    }

    /// Reports the disk space to the leader if it has changed.
    fn report_space(&mut self, core: &mut Core, epoch: Epoch) {
        if core.space != self.reported_space {
            self.acknowledge_heartbeat(core, epoch, 0);
        }
    }

    /// Whether the leader sends nothing more, since this node's disk has no space for it.
    fn is_withheld(core: &Core) -> bool {
        core.space == DiskSpace::Critical && core.commit > core.history.last().counter
    }

    /// Sends a message of the upper half to the established leader.
    pub(crate) fn relay(&mut self, core: &mut Core, payload: Bytes) {
        probe!("forward.leader-lost", self.established().is_none());
        if self.established().is_some() {
            self.send(core, Message::Relay(payload));
        }
    }

    fn send(&mut self, core: &mut Core, message: Message) {
        if let Some(link) = self.link {
            self.sent = core.now;
            core.send(link, message);
        }
    }

    /// Advances the stage if the write that it waits for is complete.
    pub(crate) fn check(&mut self, core: &mut Core) -> Next {
        match self.stage {
            Stage::AwaitingWrites if planted!(core.is_idle(), offers_history_with_writes_pending => true) => {
                let accepted = core.hard.accepted_epoch;
                self.send(
                    core,
                    Message::FollowerEpoch { accepted, configuration: core.configuration().version() },
                );
                self.stage = Stage::Discovering;
            }
            Stage::Promising { token, epoch } | Stage::Installing { token, epoch }
                if core.persisted(token) =>
            {
                self.acknowledge(core, epoch);
            }
            Stage::Persisting { epoch, history, claim: None } if core.persisted(history) => {
                let claim = core.write(Write::HardState(HardState { current_epoch: epoch, ..core.hard }));
                self.stage = Stage::Persisting { epoch, history, claim: Some(claim) };
            }
            Stage::Persisting { epoch, claim: Some(claim), .. } if core.persisted(claim) => {
                let last = core.history.durable();
                self.acked = last;
                self.send(core, Message::AckNewLeader { epoch, last });
                self.stage = Stage::Waiting { epoch };
            }
            Stage::AwaitingWrites
            | Stage::Promising { .. }
            | Stage::Persisting { .. }
            | Stage::Connecting { .. }
            | Stage::Discovering
            | Stage::Acknowledged { .. }
            | Stage::Installing { .. }
            | Stage::Synchronising { .. }
            | Stage::Waiting { .. }
            | Stage::Serving { .. } => {}
        }
        Next::Stay
    }

    /// Sends and releases once for all events of a step.
    pub(crate) fn flush(&mut self, core: &mut Core) {
        if let Some(epoch) = self.epoch() {
            self.report_space(core, epoch);
        }
        let last = planted!(core.history.durable(), acks_before_sync => core.history.last());
        match self.stage {
            Stage::Synchronising { epoch } | Stage::Persisting { epoch, .. } if last > self.acked => {
                probe!("sync.progress-while-syncing", matches!(self.stage, Stage::Persisting { .. }));
                self.acked = last;
                self.send(core, Message::Progress { epoch, last });
            }
            Stage::Waiting { epoch } | Stage::Serving { epoch, .. } if last > self.acked => {
                assert_eq!(core.hard.current_epoch, epoch, "no ack before the epoch is durable (rule 22)");
                self.acked = last;
                self.send(core, Message::Ack { epoch, last });
            }
            Stage::Synchronising { .. }
            | Stage::Persisting { .. }
            | Stage::Waiting { .. }
            | Stage::Serving { .. }
            | Stage::Connecting { .. }
            | Stage::AwaitingWrites
            | Stage::Discovering
            | Stage::Promising { .. }
            | Stage::Acknowledged { .. }
            | Stage::Installing { .. } => {}
        }
        if self.is_prefix() {
            planted!(applies_uncommitted_entries => if self.established().is_some() {
                core.learn_commit(last.counter);
            });
            probe!(
                "sync.applies-while-streaming",
                matches!(self.stage, Stage::Synchronising { .. }) && core.can_release()
            );
            core.release();
        }
        let serves = self.serves(core);
        if let Stage::Serving { announced, .. } = &mut self.stage {
            probe!("sync.applies-before-serving", serves.is_none());
            if let Some(epoch) = serves.filter(|_| !*announced) {
                *announced = true;
                core.notice(Notice::UpToDate { epoch, leader: self.leader });
            }
        }
    }

    pub(crate) fn tick(&mut self, core: &mut Core) -> Next {
        let silent = core.now.since(self.heard) > core.config.timeouts.election;
        if planted!(silent, follows_silent_leader => false) {
            probe!("follow.leader-silent-in-sync", self.epoch().is_some() && self.established().is_none());
            probe!("follow.leader-silent", self.established().is_some());
            let link = self.link.and_then(|link| core.links.get(&link));
            return Next::Look(if link.is_some_and(|link| link.write_latency > 0) {
                "the leader is silent, its storage was slow"
            } else {
                "the leader is silent"
            });
        }
        // The leader may wait for this node's storage before it is established, while another node could lead: the
        // timeout of a leader's own storage applies to it (section 6.6).
        let long = core.now.since(self.began) > core.config.timeouts.disk;
        if long && self.established().is_none() && core.is_stalled() {
            probe!("follow.own-disk-stalls");
            self.excused = true;
            return Next::Look("its own storage is stalled");
        }
        if !matches!(self.stage, Stage::Connecting { .. }) {
            planted!(self.send_alive(core), sends_no_alive => {});
        }
        if let Stage::Connecting { retry_at, .. } = &mut self.stage
            && self.link.is_none()
            && retry_at.is_some_and(|at| at <= core.now)
        {
            probe!("follow.redials");
            *retry_at = None;
            core.dial(self.leader);
        }
        Next::Stay
    }
}

/// The reason to stop at an entry that this build cannot apply.
fn unsupported(entry: &LogEntry, levels: Levels) -> String {
    format!(
        "log entry {} of kind {:?} needs feature level {}, this program supports {levels}: install a newer version",
        entry.zxid, entry.kind, entry.level
    )
}
