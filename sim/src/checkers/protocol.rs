//! The invariants that speak of nothing but the protocol: what nodes hold, write and say. It needs no store and no
//! clients, so it can be copied with the ensemble that it watches, state by state ([`crate::small_scope`]).

use bytes::Bytes;
use gometa_zab::{EnsembleId, Epoch, Founding, Incarnation, Kind, LogEntry, Message, Vote, Write, Zxid};

use super::{
    Check, Violation,
    commits::Commits,
    configurations::{Configurations, Directory},
    durability, ensure,
    epochs::Epochs,
    leaders::{Leaders, Leadership},
    log::Registry,
    node_id,
};
use crate::disk::{Disk, Image};

/// What is known of the protocol's run so far.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Protocol {
    configurations: Configurations,
    /// The one sealed genesis.
    ensemble: Option<EnsembleId>,
    registry: Registry,
    leaders: Leaders,
    commits: Commits,
    epochs: Epochs,
}

impl Protocol {
    /// The state before `nodes` nodes start, the first `founders` of which found an ensemble.
    pub(crate) fn new(nodes: usize, founders: usize) -> Protocol {
        Protocol {
            configurations: Configurations::new(nodes, founders),
            ensemble: None,
            registry: Registry::default(),
            leaders: Leaders::default(),
            commits: Commits::default(),
            epochs: Epochs::new(nodes),
        }
    }

    /// The state when a node has founded the ensemble anew, with what its disk holds then: its first `old` entries are those
    /// that it had before. All of its log is committed.
    pub(super) fn refounded(
        &self,
        nodes: usize,
        node: usize,
        image: &Image,
        old: usize,
    ) -> Result<Protocol, Violation> {
        let founding = image.founding.as_ref();
        Ok(Protocol {
            configurations: self.configurations.refounded(&image.log, old)?,
            ensemble: founding.map(|founding| founding.genesis.ensemble),
            registry: Registry::of_log(&image.log),
            leaders: Leaders::of_log(&image.log),
            commits: Commits::of_log(&image.log, self.configurations.directory(node)),
            epochs: Epochs::of_one(nodes, node, image.hard_state),
        })
    }

    /// The last committed entry that a log has.
    pub(super) fn last_committed_in(&self, image: &Image) -> Zxid {
        self.commits.last_in(image)
    }

    /// The voters of the latest committed configuration that have their directories, and their number.
    pub(super) fn present_voters(&self) -> (Vec<usize>, usize) {
        let voters = self.configurations.voters(self.committed_configuration());
        let present = voters.iter().filter(|voter| self.configurations.directory(voter.0) == **voter);
        (present.map(|voter| voter.0).collect(), voters.len())
    }

    /// Whether these nodes, with their present directories, can elect a leader: by any configuration, or by the latest
    /// committed one and those above it.
    pub(super) fn can_elect(&self, nodes: &[usize], by_any: bool) -> bool {
        let version = (!by_any).then(|| self.committed_configuration());
        self.configurations.can_elect(version, nodes)
    }

    /// The version of the latest committed configuration.
    pub(crate) fn committed_configuration(&self) -> Zxid {
        let count = self.commits.count();
        let tip = if count == 0 { Zxid::ZERO } else { self.commits.zxid(count) };
        self.configurations.latest(&self.leaders, tip)
    }

    /// The majority of the voters of the latest committed configuration.
    pub(crate) fn quorum(&self) -> usize {
        self.configurations.voters(self.committed_configuration()).len() / 2 + 1
    }

    /// Whether a node is a member of the latest committed configuration.
    pub(crate) fn is_member(&self, node: usize) -> bool {
        self.configurations.has_member(self.committed_configuration(), node)
    }

    /// A node's directory was replaced after the ensemble was formed, by one with this incarnation.
    pub(crate) fn wiped(&mut self, node: usize, incarnation: Incarnation) {
        self.configurations.replaced(node, incarnation);
        self.epochs.forget(node);
    }

    /// The voters that the genesis lists without a directory, once it is sealed.
    pub(crate) fn absent(&self) -> Option<Vec<usize>> {
        self.ensemble.map(|_| self.configurations.absent())
    }

    /// Whether a node is counted in quorums of the latest committed configuration, with its present directory.
    pub(crate) fn is_counted(&self, node: usize) -> bool {
        let voters = self.configurations.voters(self.committed_configuration());
        voters.contains(&self.configurations.directory(node))
    }

    /// Whether a node is a learner that is to stay one, in the latest committed configuration.
    pub(crate) fn stays_learner(&self, node: usize) -> bool {
        self.configurations.learner(self.committed_configuration(), node) == Some(false)
    }

    /// A replacement of the latest committed configuration that a leader can complete: the new member runs, and of the voters
    /// without the old one a majority does.
    pub(crate) fn due_replacement(&self, runs: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
        let version = self.committed_configuration();
        let voters = self.configurations.voters(version);
        let counted = |voter: &Directory| self.configurations.directory(voter.0) == *voter && runs(voter.0);
        let due = |(old, new): &(usize, usize)| {
            let kept = || voters.iter().filter(|voter| voter.0 != *old);
            runs(*new) && kept().filter(|voter| counted(voter)).count() > kept().count() / 2
        };
        self.configurations.replacements(version).iter().copied().find(due)
    }

    /// Whether a majority remains of the voters of the latest committed configuration, and of every later one that a node may
    /// have logged, if these nodes are lost for good.
    pub(crate) fn survives(&self, lost: impl Fn(usize) -> bool) -> bool {
        self.configurations.from(self.committed_configuration()).all(|voters| {
            let left = voters
                .iter()
                .filter(|voter| self.configurations.directory(voter.0) == **voter && !lost(voter.0));
            left.count() > voters.len() / 2
        })
    }

    /// Entries committed so far, whether a node knows it or not.
    pub(crate) fn committed(&self) -> u64 {
        self.commits.count()
    }

    /// The kind and the payload of a committed entry.
    ///
    /// # Panics
    /// If no entry with this counter is committed.
    pub(crate) fn entry(&self, counter: u64) -> (Kind, &Bytes) {
        self.registry.entry(self.commits.zxid(counter))
    }

    /// The leadership of an epoch, once a quorum has promised it.
    pub(super) fn leadership(&self, epoch: Epoch) -> Option<&Leadership> {
        self.leaders.get(epoch.0)
    }

    /// Epochs established so far.
    pub(crate) fn established(&self) -> usize {
        self.leaders.established_count()
    }

    /// A node issues a write; `disk` is as it was before.
    pub(crate) fn issues(&mut self, node: usize, disk: &Disk, write: &Write) -> Check {
        match write {
            Write::Append(entries) => {
                let mut previous = disk.issued.last();
                ensure!(!entries.is_empty(), "12 log contiguity", "n{node} appends nothing");
                for entry in entries {
                    self.admit(node, previous, entry)?;
                    let commits = &self.commits;
                    let is_committed = |zxid| commits.contains(zxid);
                    self.configurations.admit(&self.leaders, (node, previous), entry, is_committed)?;
                    previous = entry.zxid;
                    if entry.kind == Kind::Membership {
                        // Fewer voters may be needed from now on.
                        let (leaders, epoch) = (&self.leaders, entry.zxid.epoch);
                        self.commits.evaluate(&self.registry, leaders, &self.configurations, epoch)?;
                    }
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
            Write::Compact(to) => self.commits.compacts(node, disk, *to),
            Write::Install(at) => self.commits.installs(node, disk, *at),
        }
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
    pub(crate) fn hardened(&mut self, node: usize, image: &Image) -> Check {
        if let Some(founding) = image.founding.as_ref().filter(|founding| founding.sealed) {
            let ensemble = founding.genesis.ensemble;
            if self.ensemble.is_none() {
                self.configurations.founded(&founding.genesis);
            }
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
        self.commits.hardened(&self.registry, &self.leaders, &self.configurations, node, image)
    }

    /// A node sends a message to a peer.
    pub(crate) fn sends(
        &mut self,
        node: usize,
        peer: Option<usize>,
        disk: &Disk,
        message: &Message,
    ) -> Check {
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
            Some((epoch, commit)) => self.commits.sent(node, epoch, commit),
            None => Ok(()),
        }
    }

    /// A node sends a vote.
    pub(crate) fn votes(&self, node: usize, disk: &Disk, vote: &Vote) -> Check {
        durability::vote(node, disk, vote)
    }

    /// A quorum has promised an epoch to a node, which has claimed it.
    pub(crate) fn discovered(&mut self, node: usize, epoch: Epoch, last: Zxid, disk: &Disk) -> Check {
        self.leaders.discovered(node, epoch, last, disk)
    }

    /// A node is established as leader.
    pub(crate) fn established_by(&mut self, node: usize, epoch: Epoch, last: Zxid) -> Check {
        self.leaders.established(node, epoch, last)?;
        let voters = self.configurations.voters(self.configurations.latest(&self.leaders, last));
        let counted = voters.contains(&self.configurations.directory(node));
        self.commits.established(&self.leaders, epoch, last, counted, voters)
    }

    /// A node writes that it has applied through `applied`; `disk` is as it was before.
    pub(crate) fn applies(&self, node: usize, disk: &Disk, applied: u64) -> Check {
        self.commits.applies(node, disk, applied)
    }
}
