//! The state of a node in every phase: identity, durable promises, the log, connections, and the effects of a step.
//!
//! Everything durable passes through [`Core::write`] and [`Core::persist`]. The table *durable before send*
//! (protocol.md 1.5) holds by construction: messages are made from `hard`, `founding` and the durable mark of
//! `history`, and these change only when storage reports a write as complete.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    vec::Vec,
};

use crate::{
    config::{Config, Recovered},
    configuration::Configuration,
    effect::{Effect, Founding, HardState, Notice},
    heard::Heard,
    history::{Epochs, History},
    integrity::Integrity,
    latency::WriteLatency,
    membership::Configurations,
    message::{Candidate, Hello, Voter},
    space::DiskSpace,
    types::{EnsembleId, Epoch, Incarnation, LinkId, NodeId, Round, Ticks, Token, Zxid},
};

mod connections;
mod lost;
mod storage;
mod votes;

/// The maximum distance of a received epoch from this node's own promise: one damaged number must not use up the epochs.
const EPOCHS_AHEAD_MAX: u64 = 1 << 32;

/// The next phase.
#[derive(Debug)]
pub(crate) enum Next {
    /// The phase does not change.
    Stay,
    /// Look for a leader, for this reason.
    Look(&'static str),
    /// Lead: this node has won the election.
    Lead,
    /// Follow this candidate, which has won the election or leads already.
    Follow(Candidate),
    /// The leadership was handed to this candidate: lead if it is this node, else follow it.
    Succeed(Candidate),
}

/// A storage write that is not complete.
#[derive(Clone, Hash)]
pub(crate) struct PendingWrite {
    token: Token,
    change: Change,
}

/// The change that a storage write makes durable.
#[derive(Clone, Hash)]
pub(crate) enum Change {
    Append { through: u64 },
    Truncate,
    Compact,
    Install(Zxid, Option<Configuration>),
    HardState(HardState),
    Founding(Founding),
}

/// How far the log may be compacted ([`Event::MayCompact`](crate::Event::MayCompact)).
#[derive(Clone, Copy, Hash, Default)]
pub(crate) struct Compaction {
    pub(crate) through: u64,
    pub(crate) forced: u64,
}

/// A connection.
#[derive(Clone, Hash)]
pub(crate) struct Link {
    /// The node that was dialled; `None` for an accepted connection.
    pub(crate) dialled: Option<NodeId>,
    /// The other end's Hello, once it is received and accepted.
    pub(crate) hello: Option<Hello>,
    /// The FollowerEpoch of a follower, received before this node knew that it leads.
    pub(crate) follower_epoch: Option<Epoch>,
    /// Whether the peer has elected this node, or was told to follow it, since this node looks.
    pub(crate) elects: bool,
    /// The time when it was opened; on a connection that is not in use yet, the time of the last sign of life.
    pub(crate) opened: Ticks,
    /// The write latency that the other end has reported, in microseconds; 0 if its storage is not slow.
    pub(crate) write_latency: u64,
}

/// Failed attempts to follow a candidate (rule 8).
#[derive(Clone, Hash)]
pub(crate) struct Failures {
    count: u32,
    ignored_until: Ticks,
}

/// The state of a node in every phase.
#[derive(Clone)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) now: Ticks,
    /// The durable promises.
    pub(crate) hard: HardState,
    /// The durable genesis.
    pub(crate) founding: Option<Founding>,
    pub(crate) configurations: Configurations,
    /// Nodes that may know the leader, besides the members that this node knows.
    pub(crate) hints: BTreeSet<NodeId>,
    pub(crate) history: History,
    pub(crate) compaction: Compaction,
    /// The disk space of this node.
    pub(crate) space: DiskSpace,
    /// What this node knows of its state.
    pub(crate) integrity: Integrity,
    /// The time when this node last began to hand over because of its disk space or its state.
    pub(crate) handed_over: Option<Ticks>,
    pub(crate) round: Round,
    /// The commit index: everything through this counter is known to be committed.
    pub(crate) commit: u64,
    /// The highest promise with which this node was refused: the next epoch that it leads must exceed it (rule 14).
    pub(crate) epoch_floor: Epoch,
    /// The time when this node last stepped down for a higher promise, for the rate limit of rule 14.
    pub(crate) rediscovered: Option<Ticks>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    /// The peers that connections were requested to and neither opened nor failed.
    pub(crate) dialling: BTreeSet<NodeId>,
    /// The effects of the current step.
    pub(crate) effects: Vec<Effect>,
    /// Whether [`Effect::Stop`] was emitted.
    pub(crate) stopped: bool,
    pub(crate) pending_writes: VecDeque<PendingWrite>,
    pub(crate) latency: WriteLatency,
    /// Whether the caller's storage of applied entries makes no progress.
    pub(crate) state_stalled: bool,
    /// The time of the last notice of each node's slow storage.
    pub(crate) slow_reported: BTreeMap<NodeId, Ticks>,
    pub(crate) last_token: Token,
    pub(crate) persisted: Token,
    pub(crate) last_read: u64,
    pub(crate) vote_sequence: u64,
    /// The last (boot, sequence) of each member's datagrams, separately for the recorded incarnation and for another one,
    /// so that an unknown node with a member's id cannot suppress its votes (rule 7).
    pub(crate) seen_votes: BTreeMap<(NodeId, bool), (Incarnation, u64, u64)>,
    /// What was heard of the members lately.
    pub(crate) heard: Heard,
    /// The members whose votes named another ensemble.
    pub(crate) foreign_members: BTreeSet<NodeId>,
    pub(crate) failures: BTreeMap<NodeId, Failures>,
    pub(crate) random: u64,
    /// The highest counter that each node has ever acknowledged to this one; only for planted faults.
    #[cfg(gometa_instrumented)]
    pub(crate) remembered: BTreeMap<NodeId, u64>,
}

/// The first configuration: the sealed genesis, or the configured voters before formation.
fn first_configuration(configured: &[Voter], founding: Option<&Founding>) -> Configuration {
    let sealed = founding.filter(|founding| founding.sealed);
    sealed.map_or_else(
        || Configuration::new(configured.to_vec()),
        |founding| Configuration::of_genesis(&founding.genesis),
    )
}

impl Core {
    pub(crate) fn new(config: Config, recovered: Recovered, now: Ticks) -> Core {
        let hard = recovered.hard_state;
        let epochs =
            Epochs::new(recovered.oldest, recovered.boundaries).expect("storage checks its log's epochs");
        assert!(
            hard.accepted_epoch >= hard.current_epoch,
            "a promise is never below the current epoch (rule 10)"
        );
        assert!(hard.accepted_epoch >= epochs.last().epoch, "a promise is never below the log (rule 10)");
        let first = || first_configuration(&config.voters, recovered.founding.as_ref());
        let mut configurations = Configurations::new(recovered.configuration.unwrap_or_else(first));
        for logged in recovered.logged {
            if logged.version().counter > recovered.applied {
                configurations.append(logged);
            }
        }
        let history = History::new(epochs, recovered.applied, recovered.released, config.bounds.tail_bytes);
        Core {
            now,
            hard,
            founding: recovered.founding,
            configurations,
            hints: BTreeSet::new(),
            commit: history.released(),
            history,
            compaction: Compaction::default(),
            space: DiskSpace::Ample,
            integrity: Integrity::default(),
            handed_over: None,
            round: Round(0),
            epoch_floor: Epoch(0),
            rediscovered: None,
            links: BTreeMap::new(),
            dialling: BTreeSet::new(),
            effects: Vec::new(),
            stopped: false,
            pending_writes: VecDeque::new(),
            latency: WriteLatency::new(now),
            slow_reported: BTreeMap::new(),
            last_token: Token(0),
            persisted: Token(0),
            last_read: 0,
            state_stalled: false,
            vote_sequence: 0,
            seen_votes: BTreeMap::new(),
            heard: Heard::default(),
            foreign_members: BTreeSet::new(),
            failures: BTreeMap::new(),
            random: (config.seed ^ (config.seed >> 64)) as u64,
            #[cfg(gometa_instrumented)]
            remembered: BTreeMap::new(),
            config,
        }
    }

    /// The configuration in force: that of the last log entry that has one, durable or not (protocol.md 5.5).
    pub(crate) fn configuration(&self) -> &Configuration {
        self.configurations.latest()
    }

    /// The ensemble, once its genesis is sealed on this node.
    pub(crate) fn ensemble(&self) -> Option<EnsembleId> {
        self.founding
            .as_ref()
            .filter(|founding| planted!(founding.sealed, takes_part_before_sealed => true))
            .map(|founding| founding.genesis.ensemble)
    }

    /// Whether this node is counted in quorums.
    pub(crate) fn votes(&self) -> bool {
        planted!(
            self.configuration().is_voter(self.config.node, self.config.incarnation),
            unrecorded_incarnation_votes => true
        )
    }

    pub(crate) fn me(&self) -> NodeId {
        self.config.node
    }

    /// Whether another node should lead if it can.
    pub(crate) fn defers(&self) -> bool {
        self.space > DiskSpace::Ample || self.integrity.fault.is_some()
    }

    /// This node as a candidate, by durable values only (rule 2).
    pub(crate) fn candidate(&self) -> Candidate {
        let last = planted!(self.history.durable(), votes_with_unsynced_entries => self.history.last());
        Candidate { epoch: self.hard.current_epoch, last, node: self.config.node }
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.effects.push(Effect::Notice(notice));
    }

    /// Stops the node: going on could break the guarantees of the ensemble.
    pub(crate) fn stop(&mut self, reason: String) {
        self.stopped = true;
        self.effects.push(Effect::Stop(reason));
    }

    /// Returns a pseudo-random number below `bound` (SplitMix64), for jitter.
    pub(crate) fn random_below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// Records an acknowledgement; only for planted faults.
    #[cfg(gometa_instrumented)]
    pub(crate) fn remember(&mut self, node: NodeId, acked: u64) {
        let known = self.remembered.entry(node).or_default();
        *known = acked.max(*known);
    }

    /// The highest counter that a node has ever acknowledged to this one; only for planted faults.
    #[cfg(gometa_instrumented)]
    pub(crate) fn acked_before(&self, node: NodeId) -> u64 {
        self.remembered.get(&node).copied().unwrap_or_default()
    }

    /// Whether [`Core::release`] would release entries.
    #[cfg(gometa_instrumented)]
    pub(crate) fn can_release(&self) -> bool {
        self.commit.min(self.history.durable().counter) > self.history.released()
    }

    /// Releases the entries that are committed and durable, to be applied (rule 24).
    pub(crate) fn release(&mut self) {
        let durable = planted!(self.history.durable(), applies_unsynced_entries => self.history.last());
        probe!("apply.waits-for-own-disk", self.commit > durable.counter);
        let through = self.commit.min(durable.counter);
        if through > self.history.released() {
            self.history.set_released(through);
            self.effects.push(Effect::Commit { counter: through });
        }
    }

    /// Takes over a commit index.
    pub(crate) fn learn_commit(&mut self, commit: u64) {
        self.commit = planted!(self.commit.max(commit), commit_index_falls => commit);
    }

    /// Whether a received epoch can be valid.
    pub(crate) fn is_plausible(&self, epoch: Epoch) -> bool {
        epoch.0 <= self.hard.accepted_epoch.max(self.epoch_floor).0.saturating_add(EPOCHS_AHEAD_MAX)
            && epoch.0 + 1 < Epoch::MAX.0
    }
}
