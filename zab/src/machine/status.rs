//! What the caller can ask a node.

use alloc::vec::Vec;

use super::{FollowerStatus, PendingChange, Phase, WaitsFor, Zab};
use crate::{
    configuration::Configuration,
    effect::Role,
    levels::FIRST_LEVEL,
    message::LogEntry,
    space::DiskSpace,
    types::{EnsembleId, Epoch, NodeId, Zxid},
};

impl Zab {
    /// The feature level of the genesis.
    pub fn founding_level(&self) -> u32 {
        self.core.founding.as_ref().map_or(FIRST_LEVEL, |founding| founding.genesis.level)
    }

    /// The role of this node.
    pub fn role(&self) -> Role {
        match &self.phase {
            Phase::Forming(_) => Role::Forming,
            Phase::Looking(_) | Phase::Stopped => Role::Looking,
            Phase::Following(follower) => {
                Role::Following { leader: follower.leader(), established: follower.serves(&self.core) }
            }
            Phase::Leading(leader) => Role::Leading { established: leader.serves(&self.core) },
        }
    }

    /// The id of this node.
    pub fn node(&self) -> NodeId {
        self.core.me()
    }

    /// Whether this node is counted in quorums.
    pub fn votes(&self) -> bool {
        self.core.ensemble().is_some() && self.core.votes()
    }

    /// The ensemble, once its genesis is sealed on this node.
    pub fn ensemble(&self) -> Option<EnsembleId> {
        self.core.ensemble()
    }

    /// The configuration in force; before formation, the configured voters.
    pub fn configuration(&self) -> &Configuration {
        self.core.configuration()
    }

    /// The durable current epoch.
    pub fn current_epoch(&self) -> Epoch {
        self.core.hard.current_epoch
    }

    /// The last log entry, durable or not.
    pub fn last(&self) -> Zxid {
        self.core.history.last()
    }

    /// The last durable log entry.
    pub fn durable(&self) -> Zxid {
        self.core.history.durable()
    }

    /// The last counter known to be committed.
    pub fn commit(&self) -> u64 {
        self.core.commit
    }

    /// The write latency of a node's storage, in microseconds: this node's, or as a connected node reports it. 0 if it is
    /// not slow or not known.
    pub fn write_latency_of(&self, node: NodeId) -> u64 {
        if node == self.core.me() {
            return self.core.slow_latency();
        }
        let of = |link: &&crate::state::Link| link.hello.as_ref().is_some_and(|hello| hello.node == node);
        self.core.links.values().filter(of).map(|link| link.write_latency).max().unwrap_or(0)
    }

    /// The disk space of a node: this node's, or as a follower of this leader reports it.
    pub fn disk_space_of(&self, node: NodeId) -> DiskSpace {
        if node == self.core.me() {
            return self.core.space;
        }
        let Phase::Leading(leader) = &self.phase else { return DiskSpace::Ample };
        let spaces = leader.followers().filter(|(_, progress)| progress.node == node);
        spaces.map(|(_, progress)| progress.space).max().unwrap_or_default()
    }

    /// What the disk space of this established leader and of its voters permits to propose, and the node that decides it.
    /// [`DiskSpace::Ample`] on other nodes, which propose nothing.
    pub fn writable(&self) -> (DiskSpace, NodeId) {
        match &self.phase {
            Phase::Leading(leader) if leader.established().is_some() => leader.writable(&self.core),
            Phase::Forming(_)
            | Phase::Looking(_)
            | Phase::Following(_)
            | Phase::Leading(_)
            | Phase::Stopped => (DiskSpace::Ample, self.core.me()),
        }
    }

    /// The counter through which this node must have applied before it serves (rule 20): the commit index of UpToDate on
    /// a follower, the end of the initial history on an established leader; else `None`.
    pub fn serves_from(&self) -> Option<u64> {
        match &self.phase {
            Phase::Following(follower) => follower.serves_from(),
            Phase::Leading(leader) => leader.serves_from(),
            Phase::Forming(_) | Phase::Looking(_) | Phase::Stopped => None,
        }
    }

    /// The followers and learners of this leader.
    pub fn followers(&self) -> Vec<FollowerStatus> {
        match &self.phase {
            Phase::Leading(leader) => leader
                .followers()
                .map(|(link, progress)| FollowerStatus {
                    node: progress.node,
                    votes: progress.is_voter(self.core.configuration()),
                    serving: progress.is_serving(),
                    acked: progress.acked,
                    durable: progress.durable,
                    link,
                })
                .collect(),
            Phase::Forming(_) | Phase::Looking(_) | Phase::Following(_) | Phase::Stopped => Vec::new(),
        }
    }

    /// The change of the configuration that is not made yet, if there is one: in the log and not known to be committed, or
    /// one that this leader is to propose by itself.
    pub fn pending_change(&self) -> Option<PendingChange> {
        let core = &self.core;
        let Some((before, after)) = core.configurations.uncommitted(core.commit) else {
            let Phase::Leading(leader) = &self.phase else { return None };
            return leader.waiting_change(core).map(|(change, why)| PendingChange::Waits { change, why });
        };
        let waits_for = match &self.phase {
            Phase::Leading(leader) => {
                WaitsFor::Acknowledgements(leader.unacknowledged(core, after.version().counter))
            }
            Phase::Following(follower) if follower.established().is_some() => {
                WaitsFor::Leader(follower.leader())
            }
            Phase::Forming(_) | Phase::Looking(_) | Phase::Following(_) | Phase::Stopped => {
                let silent = after.voters().iter().filter(|voter| !core.has_heard(voter));
                WaitsFor::Voters(silent.map(|voter| voter.node).collect())
            }
        };
        Some(PendingChange::Logged { before: before.clone(), after: after.clone(), waits_for })
    }

    /// The voters that are up with other data directories than the recorded ones, if the others are no quorum: no leader can
    /// be elected, and nobody knows what was acknowledged. Empty if a leader may be elected.
    pub fn lost_quorum(&self) -> Vec<NodeId> {
        match &self.phase {
            Phase::Looking(_) => self.core.lost_quorum(),
            Phase::Forming(_) | Phase::Following(_) | Phase::Leading(_) | Phase::Stopped => Vec::new(),
        }
    }

    /// The log entry at this counter, if it is in memory.
    pub fn recent(&self, counter: u64) -> Option<&LogEntry> {
        self.core.history.recent(counter)
    }

    /// The counter through which entries have been released to be applied: they are committed and durable on this node.
    /// Storage records it with each write, so that a restarted node applies them at once.
    pub fn released(&self) -> u64 {
        self.core.history.released()
    }

    /// The base of the log: its entries are above it.
    pub fn base(&self) -> Zxid {
        self.core.history.epochs().base()
    }

    /// The zxid at a counter from the base of the log to its end.
    pub fn zxid_at(&self, counter: u64) -> Option<Zxid> {
        self.core.history.epochs().at(counter)
    }

    /// The token of the last storage write; only for planted faults.
    #[cfg(gometa_instrumented)]
    pub fn last_token(&self) -> crate::types::Token {
        self.core.last_token
    }

    /// Allocates an id for a read of the caller.
    pub fn allocate_read(&mut self) -> u64 {
        self.core.allocate_read()
    }
}
