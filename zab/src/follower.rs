//! Following: from the connection to a leader, through discovery and synchronisation, to broadcast.
//!
//! One connection carries everything in one order, so most of the protocol's care is in the stages below:
//! each says what has been promised, what is durable, and which message may come next. A learner, or a voter
//! that lost its data directory, goes the very same way; that it is not counted is its leader's business.

use alloc::{format, string::String, vec::Vec};

use crate::{
    effect::{Effect, HardState, Notice, Rejection, Write},
    event::Event,
    latency::LatencyReport,
    message::{Candidate, Kind, LEVEL, LogEntry, Message, Reason},
    state::{Core, Next},
    types::{Epoch, LinkId, NodeId, Ticks, Token, Zxid},
};

/// Epochs that a follower tells its leader about at most: the newest. Only a node that diverged this many
/// leaderships ago would need more, and it gets a snapshot.
pub const BOUNDARIES_MAX: usize = 1_000;

/// Connections tried before a leader is given up.
const ATTEMPTS_MAX: u32 = 3;

#[derive(Clone, Hash)]
enum Stage {
    /// No connection yet, or one without a greeting.
    Connecting { attempts: u32, retry_at: Option<Ticks> },
    /// Greeted; FollowerEpoch goes out when every earlier write is done (rule 11a).
    Settling,
    /// FollowerEpoch is sent.
    Discovering,
    /// The promise of this epoch is being written.
    Promising { token: Token, epoch: Epoch },
    /// AckEpoch is sent; the Diff comes next.
    Acknowledged { epoch: Epoch },
    /// The log is at the Diff's base or above, and grows.
    Synchronising { epoch: Epoch },
    /// NewLeader has come: the history is made durable, then the epoch (rule 18).
    Hardening { epoch: Epoch, history: Token, claim: Option<Token> },
    /// AckNewLeader is sent.
    Waiting { epoch: Epoch },
    /// UpToDate has come: broadcast. Serves once everything through `from`, UpToDate's commit index, is applied.
    Serving { epoch: Epoch, from: u64, announced: bool },
}

/// A node that has a leader.
#[derive(Clone, Hash)]
pub(crate) struct Follower {
    leader: NodeId,
    /// What this node's vote for the leader said.
    vote: Candidate,
    link: Option<LinkId>,
    stage: Stage,
    /// When this node began to follow this leader.
    began: Ticks,
    /// When the leader last showed a sign of life.
    heard: Ticks,
    /// When this node last sent something to the leader.
    spoke: Ticks,
    reported: LatencyReport,
    /// What was told last in a Progress or an Ack.
    told: Zxid,
    /// The leader said itself that it does not lead: no failure of its.
    excused: bool,
}

impl Follower {
    pub(crate) fn new(core: &mut Core, vote: Candidate) -> Follower {
        let leader = vote.node;
        core.dial(leader);
        Follower {
            leader,
            vote,
            excused: false,
            link: None,
            stage: Stage::Connecting { attempts: 0, retry_at: None },
            began: core.now,
            heard: core.now,
            spoke: core.now,
            reported: LatencyReport::new(core.now),
            told: Zxid::ZERO,
        }
    }

    pub(crate) fn leader(&self) -> NodeId {
        self.leader
    }

    /// What this node's vote for the leader said.
    pub(crate) fn vote(&self) -> Candidate {
        self.vote
    }

    /// Whether the leader is to blame if this node looks for another now (rule 8).
    pub(crate) fn failed(&self) -> bool {
        !self.excused && self.established().is_none()
    }

    pub(crate) fn link(&self) -> Option<LinkId> {
        self.link
    }

    /// The epoch in which this node has been told that it is up to date.
    pub(crate) fn established(&self) -> Option<Epoch> {
        match self.stage {
            Stage::Serving { epoch, .. } => Some(epoch),
            _ => None,
        }
    }

    /// The counter through which this node must have applied before it serves, once it is known.
    pub(crate) fn serves_from(&self) -> Option<u64> {
        match self.stage {
            Stage::Serving { from, .. } => Some(from),
            _ => None,
        }
    }

    /// The epoch in which this node serves: up to date, and everything applied that was committed then.
    pub(crate) fn serves(&self, core: &Core) -> Option<Epoch> {
        let applied = |from: &u64| planted!(core.history.applied() >= *from, serves_before_applied => true);
        self.serves_from().filter(applied).and_then(|_| self.established())
    }

    /// Whether this node's log is a prefix of the leader's: the Diff has cut what was not.
    fn is_prefix(&self) -> bool {
        match self.stage {
            Stage::Synchronising { .. }
            | Stage::Hardening { .. }
            | Stage::Waiting { .. }
            | Stage::Serving { .. } => true,
            Stage::Connecting { .. }
            | Stage::Settling
            | Stage::Discovering
            | Stage::Promising { .. }
            | Stage::Acknowledged { .. } => false,
        }
    }

    /// The epoch of the leadership, once it is promised.
    fn epoch(&self) -> Option<Epoch> {
        match self.stage {
            Stage::Connecting { .. } | Stage::Settling | Stage::Discovering | Stage::Promising { .. } => None,
            Stage::Acknowledged { epoch }
            | Stage::Synchronising { epoch }
            | Stage::Hardening { epoch, .. }
            | Stage::Waiting { epoch }
            | Stage::Serving { epoch, .. } => Some(epoch),
        }
    }

    pub(crate) fn connected(&mut self, core: &mut Core, peer: NodeId, link: LinkId) {
        if peer == self.leader && self.link.is_none() {
            self.link = Some(link);
            self.heard = core.now;
        } else {
            probe!("follow.connection-unwanted");
            core.close(link);
        }
    }

    pub(crate) fn connect_failed(&mut self, core: &mut Core, peer: NodeId) -> Next {
        if peer != self.leader || self.link.is_some() {
            return Next::Stay;
        }
        if let Stage::Connecting { attempts, retry_at } = &mut self.stage {
            *attempts += 1;
            if *attempts >= ATTEMPTS_MAX {
                probe!("follow.leader-out-of-reach");
                return Next::Look("the leader cannot be reached");
            }
            *retry_at = Some(core.now.plus(core.config.timeouts.reconnect));
        }
        Next::Stay
    }

    pub(crate) fn closed(&mut self, link: LinkId) -> Next {
        if self.link == Some(link) {
            probe!("follow.connection-lost-in-sync", self.epoch().is_some() && self.established().is_none());
            Next::Look("the connection to the leader has ended")
        } else {
            Next::Stay
        }
    }

    /// The leader said who it is, and was believed.
    pub(crate) fn greeted(&mut self, core: &mut Core, link: LinkId, joined: bool) -> Next {
        if self.link != Some(link) {
            return Next::Stay;
        }
        if !joined {
            return Next::Look("the leader belongs to no ensemble");
        }
        probe!("follow.settles-first", !core.is_idle());
        self.stage = Stage::Settling;
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
            Message::NewLeader { epoch, last } => {
                let expected = matches!(self.stage, Stage::Synchronising { epoch: own } if own == epoch);
                if !expected || core.history.epochs().at(last.counter) != Some(last) {
                    return Next::Look("the leader is out of step: NewLeader");
                }
                // What was issued so far is the history that NewLeader speaks of, and maybe a little more.
                let history = core.fence();
                planted!(acks_new_leader_before_sync => {
                    self.send(core, Message::AckNewLeader { epoch, last: core.history.last() })
                });
                self.stage = Stage::Hardening { epoch, history, claim: None };
                self.check(core)
            }
            Message::UpToDate { epoch, commit } => {
                if !matches!(self.stage, Stage::Waiting { epoch: own } if own == epoch) {
                    return Next::Look("the leader is out of step: UpToDate");
                }
                core.learn_commit(commit);
                self.stage = Stage::Serving { epoch, from: commit, announced: false };
                core.succeeded(self.leader);
                Next::Stay
            }
            // May come before UpToDate (ZOOKEEPER-4394): it is a fact, and is kept.
            Message::Commit { epoch, commit } => {
                self.learn_commit(core, epoch, commit);
                Next::Stay
            }
            Message::Heartbeat { epoch, id, commit } => {
                if self.epoch() == Some(epoch) {
                    self.learn_commit(core, epoch, commit);
                    // The promise stands, for a node keeps only one leader at a time (protocol.md 6.2).
                    if (core.hard.accepted_epoch, core.hard.accepted_leader) == (epoch, Some(self.leader)) {
                        self.send(core, Message::HeartbeatAck { epoch, id });
                    }
                }
                Next::Stay
            }
            Message::Relay(payload) => {
                if let (Stage::Serving { .. }, Some(link)) = (&self.stage, self.link) {
                    core.effects.push(Effect::Relayed { link, payload });
                }
                Next::Stay
            }
            Message::Refuse(reason) => {
                core.notice(Notice::RefusedBy { peer: self.leader, reason });
                match reason {
                    Reason::NotLeading => {
                        probe!("follow.leader-does-not-lead");
                        self.excused = true;
                        Next::Look("the chosen leader does not lead")
                    }
                    Reason::TooSoon => Next::Look("the leader asks for patience"),
                    Reason::SnapshotNeeded
                    | Reason::NoCommonPoint
                    | Reason::WrongNode
                    | Reason::OtherEnsemble
                    | Reason::NotAMember
                    | Reason::Configuration
                    | Reason::Version => Next::Look("the leader refuses this node"),
                }
            }
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
            | Message::HeartbeatAck { .. } => Next::Look("the leader speaks like a follower"),
        }
    }

    /// The leader says how far its log is committed. That speaks of this node's log only where the two are equal,
    /// so nothing is believed before the Diff (rule 20).
    fn learn_commit(&self, core: &mut Core, epoch: Epoch, commit: u64) {
        if self.epoch() == Some(epoch) && self.is_prefix() {
            core.learn_commit(commit);
        }
    }

    fn on_new_epoch(&mut self, core: &mut Core, epoch: Epoch) -> Next {
        if !matches!(self.stage, Stage::Discovering) {
            return Next::Stay; // Said again; the answer is on its way.
        }
        let HardState { accepted_epoch, accepted_leader, current_epoch } = core.hard;
        if !core.is_plausible(epoch) {
            Next::Look("the leader asks for an impossible epoch")
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
            probe!("epoch.promised-to-it-before");
            self.acknowledge(core, epoch);
            Next::Stay
        } else {
            probe!("epoch.refused");
            self.send(core, Message::RefuseEpoch { accepted: accepted_epoch, leader: accepted_leader });
            Next::Look("another leader has this node's promise")
        }
    }

    /// Something came from the leader, and be it only a part: it is there.
    pub(crate) fn heard(&mut self, core: &Core) {
        self.heard = core.now;
    }

    /// Shows the leader a sign of life where nothing else was due for two heartbeats: while this node waits for its own
    /// disk, or heartbeats are behind much else on their way. Tells it when this node's disk is slow.
    fn show_life(&mut self, core: &mut Core) {
        let (heartbeat, election) = (core.config.timeouts.heartbeat, core.config.timeouts.election);
        let storage = core.slow_latency();
        // Not to a leader that cannot be heard: it is to learn that.
        let hears = core.now.since(self.heard) <= election / 2;
        let silent = hears && core.now.since(self.spoke) >= (heartbeat * 2).min(election / 3);
        let report = self.reported.is_due(core.now, heartbeat, storage);
        if silent || report {
            probe!("follow.alive-before-the-epoch", self.epoch().is_none());
            self.reported.sent(core.now, storage);
            self.send(core, Message::Alive { storage });
        }
    }

    fn acknowledge(&mut self, core: &mut Core, epoch: Epoch) {
        probe!("sync.interrupted-before", core.history.last().epoch > core.hard.current_epoch);
        let told = core.history.epochs().recent(BOUNDARIES_MAX);
        let settled = planted!(core.is_idle(), promises_before_sync => true);
        assert!(settled, "an AckEpoch speaks of durable history only (rule 11a)");
        let message = Message::AckEpoch {
            epoch,
            current: core.hard.current_epoch,
            last: told.last(),
            oldest: told.base(),
            boundaries: told.ends().to_vec(),
        };
        self.send(core, message);
        self.stage = Stage::Acknowledged { epoch };
    }

    fn on_diff(&mut self, core: &mut Core, epoch: Epoch, base: Zxid) -> Next {
        if !matches!(self.stage, Stage::Acknowledged { epoch: own } if own == epoch) {
            return Next::Look("the leader is out of step: Diff");
        }
        if core.history.epochs().at(base.counter) != Some(base) {
            self.send(core, Message::Refuse(Reason::NoCommonPoint));
            return Next::Look("the leader names a common point that is not in this log");
        }
        if base.counter < core.history.released() {
            core.stop(format!(
                "histories diverged: leader {} of epoch {epoch} goes back to {base}, but this node has applied \
                 through {}; keep this data directory and compare it with the others before anything else",
                self.leader,
                core.history.released()
            ));
            return Next::Stay;
        }
        let from = core.history.last();
        if planted!(base < from, keeps_divergent_tail => false) {
            probe!("sync.trunc");
            probe!("sync.trunc-within-an-epoch", base.epoch == from.epoch);
            probe!("sync.trunc-everything", base == Zxid::ZERO);
            core.history.truncate(base);
            planted!(_ = core.write(Write::Truncate(base)), truncates_in_memory_only => {});
            core.notice(Notice::Truncated { from, to: base });
        }
        planted!(writes_epoch_before_history => {
            core.write(Write::HardState(HardState { current_epoch: epoch, ..core.hard }));
        });
        self.told = base;
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
            return Next::Look("the leader is out of step: Propose");
        }
        let mut last = previous;
        let contiguous = entries.iter().all(|entry| {
            let before = core::mem::replace(&mut last, entry.zxid);
            entry.zxid.counter == before.counter + 1 && (before.epoch..=epoch).contains(&entry.zxid.epoch)
        });
        if previous != core.history.last() || entries.is_empty() || !contiguous {
            return Next::Look("the leader left a gap in the log");
        }
        probe!("sync.propose-while-hardening", matches!(self.stage, Stage::Hardening { .. }));
        probe!("sync.propose-before-up-to-date", matches!(self.stage, Stage::Waiting { .. }));
        if let Some(entry) = entries.iter().find(|entry| entry.kind != Kind::Command || entry.level > LEVEL) {
            core.stop(unknown(entry));
            return Next::Stay;
        }
        for entry in &entries {
            core.history.push(entry.clone());
        }
        planted!(_ = core.write(Write::Append(entries)), drops_proposals_before_up_to_date => {
            if !matches!(self.stage, Stage::Waiting { .. }) {
                core.write(Write::Append(entries));
            }
        });
        core.learn_commit(commit);
        Next::Stay
    }

    fn send(&mut self, core: &mut Core, message: Message) {
        if let Some(link) = self.link {
            self.spoke = core.now;
            core.send(link, message);
        }
    }

    /// Goes on where a write was waited for.
    pub(crate) fn check(&mut self, core: &mut Core) -> Next {
        match self.stage {
            Stage::Settling if planted!(core.is_idle(), offers_history_with_writes_pending => true) => {
                let accepted = core.hard.accepted_epoch;
                self.send(
                    core,
                    Message::FollowerEpoch { accepted, config_version: core.configuration.version() },
                );
                self.stage = Stage::Discovering;
            }
            Stage::Promising { token, epoch } if core.persisted(token) => self.acknowledge(core, epoch),
            Stage::Hardening { epoch, history, claim: None } if core.persisted(history) => {
                let claim = core.write(Write::HardState(HardState { current_epoch: epoch, ..core.hard }));
                self.stage = Stage::Hardening { epoch, history, claim: Some(claim) };
            }
            Stage::Hardening { epoch, claim: Some(claim), .. } if core.persisted(claim) => {
                let last = core.history.durable();
                self.told = last;
                self.send(core, Message::AckNewLeader { epoch, last });
                self.stage = Stage::Waiting { epoch };
            }
            _ => {}
        }
        Next::Stay
    }

    /// What is said once for all that happened in a step.
    pub(crate) fn flush(&mut self, core: &mut Core) {
        let last = planted!(core.history.durable(), acks_before_sync => core.history.last());
        match self.stage {
            Stage::Synchronising { epoch } | Stage::Hardening { epoch, .. } if last > self.told => {
                probe!("sync.progress-while-hardening", matches!(self.stage, Stage::Hardening { .. }));
                self.told = last;
                self.send(core, Message::Progress { epoch, last });
            }
            Stage::Waiting { epoch } | Stage::Serving { epoch, .. } if last > self.told => {
                assert_eq!(core.hard.current_epoch, epoch, "no ack before the epoch is durable (rule 22)");
                self.told = last;
                self.send(core, Message::Ack { epoch, last });
            }
            _ => {}
        }
        if self.is_prefix() {
            planted!(applies_uncommitted_entries => if self.established().is_some() {
                core.learn_commit(last.counter);
            });
            // Also while the log is still streamed: an established leader says what of it is committed.
            probe!(
                "sync.applies-while-streaming",
                matches!(self.stage, Stage::Synchronising { .. }) && core.can_release()
            );
            core.release();
        }
        let serves = self.serves(core);
        if let Stage::Serving { announced, .. } = &mut self.stage {
            probe!("sync.applies-before-it-serves", serves.is_none());
            if let Some(epoch) = serves.filter(|_| !*announced) {
                *announced = true;
                core.notice(Notice::UpToDate { epoch, leader: self.leader });
            }
        }
    }

    /// An event that asks a leader for something.
    pub(crate) fn on_request(&mut self, core: &mut Core, event: Event) {
        match event {
            Event::RelayToLeader(payload) if self.established().is_some() => {
                self.send(core, Message::Relay(payload));
            }
            Event::Propose { id, .. } => {
                core.effects.push(Effect::Rejected { id, why: Rejection::NotLeader });
            }
            Event::Barrier { id } => core.effects.push(Effect::BarrierFailed { id }),
            Event::RelayToLeader(_) => probe!("relay.leader-lost"),
            _ => {}
        }
    }

    pub(crate) fn tick(&mut self, core: &mut Core) -> Next {
        let silent = core.now.since(self.heard) > core.config.timeouts.election;
        if planted!(silent, follows_silent_leader => false) {
            probe!("follow.leader-silent-in-sync", self.epoch().is_some() && self.established().is_none());
            probe!("follow.leader-silent", self.established().is_some());
            let storage = self.link.and_then(|link| core.links.get(&link)).map_or(0, |link| link.storage);
            return Next::Look(if storage > 0 {
                "the leader is silent, its disk was slow"
            } else {
                "the leader is silent"
            });
        }
        // A leader that is not established may wait for this node's disk, and another node could lead meanwhile: what
        // holds for a leader's own disk holds for this one's (section 6.6).
        let long = core.now.since(self.began) > core.config.timeouts.disk;
        if long && self.established().is_none() && core.is_stalled() {
            probe!("follow.own-disk-stalls");
            self.excused = true;
            return Next::Look("its own disk does not answer");
        }
        if !matches!(self.stage, Stage::Connecting { .. }) {
            planted!(self.show_life(core), sends_no_alive => {});
        }
        if let Stage::Connecting { retry_at, .. } = &mut self.stage
            && self.link.is_none()
            && retry_at.is_some_and(|at| at <= core.now)
        {
            probe!("follow.dials-again");
            *retry_at = None;
            core.dial(self.leader);
        }
        Next::Stay
    }
}

/// Why an entry that this build cannot apply stops it.
pub(crate) fn unknown(entry: &LogEntry) -> String {
    format!(
        "log entry {} is of kind {:?} and needs feature level {}, this program knows level {LEVEL}: install a \
         newer one",
        entry.zxid, entry.kind, entry.level
    )
}
