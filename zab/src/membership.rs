//! Changes of the configuration, and the configurations of a log.
//!
//! A change adds or removes one voter at most, so that a majority of the configuration before and a majority of the one
//! after have a node in common. It takes effect when its log entry is appended, and a truncation takes it back
//! (protocol.md 5.1, 5.3).

use alloc::{collections::BTreeSet, vec::Vec};

use crate::{
    configuration::{Configuration, DesiredRole, LEARNERS_MAX, Learner, Replacement, VOTERS_MAX},
    message::{Addresses, Kind, LogEntry, Voter},
    types::{Incarnation, NodeId, Zxid},
};

/// A change of the configuration: one log entry.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// Add a learner.
    AddLearner(Learner),
    /// Give a learner another incarnation. It keeps its desired role.
    ReplaceIncarnation {
        /// The learner.
        node: NodeId,
        /// The new incarnation.
        incarnation: Incarnation,
    },
    /// Remove a learner.
    RemoveLearner(NodeId),
    /// Make a learner a voter, with the recorded incarnation.
    Promote(NodeId),
    /// Remove a voter.
    RemoveVoter(NodeId),
    /// Make a voter a learner with another incarnation, which is to be a voter: its data directory is lost, and its vote
    /// with it.
    Exchange {
        /// The voter.
        node: NodeId,
        /// The new incarnation.
        incarnation: Incarnation,
    },
    /// Replace the addresses of a member.
    SetAddresses {
        /// The member.
        node: NodeId,
        /// The new addresses.
        addresses: Addresses,
    },
    /// Set the desired role of a learner.
    SetDesiredRole {
        /// The learner.
        node: NodeId,
        /// The new desired role.
        desired: DesiredRole,
    },
    /// Make a learner a voter in place of another member, which is removed. The leader does it in steps, with changes of
    /// their own.
    Replace(Replacement),
    /// Leave both members of a replacement what they are; the member with this id was to take a place.
    CancelReplacement(NodeId),
    /// Raise the feature level (protocol.md 5.14).
    RaiseLevel(u32),
}

/// The reason for which a change is not possible in a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The node is a member already.
    Member,
    /// The node is not a learner.
    NotALearner,
    /// The node is not a voter, or not a member.
    NotAVoter,
    /// The node has this incarnation already.
    SameIncarnation,
    /// The last voter cannot be removed.
    LastVoter,
    /// There are too many voters or learners.
    TooMany,
    /// The member takes part in a replacement.
    InReplacement,
    /// The member takes no other one's place.
    NoReplacement,
    /// The feature level is not above the present one.
    NotALaterLevel,
}

impl Configuration {
    /// The configuration after a change, whose log entry has this zxid.
    ///
    /// # Errors
    /// [`Refused`] if the change is not possible in this configuration.
    ///
    /// # Panics
    /// If `version` is not above the version of this configuration.
    pub fn after(&self, change: &Change, version: Zxid) -> Result<Configuration, Refused> {
        assert!(version > self.version, "versions ascend");
        let mut next = Configuration { version, asked_by: None, ..self.clone() };
        match change {
            Change::AddLearner(learner) => {
                if self.contains(learner.node) {
                    return Err(Refused::Member);
                }
                next.insert_learner(learner.clone())?;
            }
            Change::ReplaceIncarnation { node, incarnation } => {
                let learner = next.learner_mut(*node)?;
                if learner.incarnation == *incarnation {
                    return Err(Refused::SameIncarnation);
                }
                learner.incarnation = *incarnation;
            }
            Change::RemoveLearner(node) => {
                next.take_learner(*node)?;
            }
            Change::Promote(node) => {
                let Learner { node, incarnation, addresses, .. } = next.take_learner(*node)?;
                if next.voters.len() >= VOTERS_MAX {
                    return Err(Refused::TooMany);
                }
                let at = next.voters.partition_point(|voter| voter.node < node);
                next.voters.insert(at, Voter { node, incarnation: Some(incarnation), addresses });
                planted!({}, forgets_replacement => next.replacements.retain(|it| it.new != node));
            }
            Change::RemoveVoter(node) => {
                next.take_voter(*node)?;
            }
            Change::Exchange { node, incarnation } => {
                let voter = next.take_voter(*node)?;
                if voter.incarnation == Some(*incarnation) {
                    return Err(Refused::SameIncarnation);
                }
                next.insert_learner(Learner {
                    node: *node,
                    incarnation: *incarnation,
                    addresses: voter.addresses,
                    desired: planted!(DesiredRole::Voter, forgets_desired_role => DesiredRole::Learner),
                })?;
            }
            Change::SetAddresses { node, addresses } => {
                let voters = next.voters.iter_mut().map(|voter| (voter.node, &mut voter.addresses));
                let learners = next.learners.iter_mut().map(|learner| (learner.node, &mut learner.addresses));
                let member = voters.chain(learners).find(|(member, _)| member == node);
                *member.ok_or(Refused::NotAVoter)?.1 = addresses.clone();
            }
            Change::SetDesiredRole { node, desired } => next.learner_mut(*node)?.desired = *desired,
            Change::Replace(replacement) => next.begin_replacement(*replacement)?,
            Change::CancelReplacement(new) => {
                self.replaced_by(*new).ok_or(Refused::NoReplacement)?;
                next.replacements.retain(|replacement| replacement.new != *new);
                if let Ok(learner) = next.learner_mut(*new) {
                    learner.desired = DesiredRole::Learner;
                }
            }
            Change::RaiseLevel(level) if *level > self.level => next.level = *level,
            Change::RaiseLevel(_) => return Err(Refused::NotALaterLevel),
        }
        let ended = |it: &Replacement| !next.contains(it.old) || !next.contains(it.new);
        let ended: Vec<Replacement> = next.replacements.iter().copied().filter(ended).collect();
        next.replacements.retain(|replacement| !ended.contains(replacement));
        Ok(next)
    }

    /// Whether this configuration may be directly after `before`: it is a later version, has a voter, is within the
    /// limits, lists each id once, its level is not lower, and one voter at most was added or removed. A voter with another incarnation is
    /// another voter.
    pub fn may_follow(&self, before: &Configuration) -> bool {
        let missing_in = |other: &Configuration, of: &Configuration| {
            let listed = |voter: &&Voter| {
                other.voters.iter().any(|own| (own.node, own.incarnation) == (voter.node, voter.incarnation))
            };
            of.voters.iter().filter(|voter| !listed(voter)).count()
        };
        self.is_valid()
            && self.version > before.version
            && self.level >= before.level
            && (1..=VOTERS_MAX.max(before.voters.len())).contains(&self.voters.len())
            && self.learners.len() <= LEARNERS_MAX
            && missing_in(before, self) + missing_in(self, before) <= 1
    }

    fn begin_replacement(&mut self, replacement: Replacement) -> Result<(), Refused> {
        let Replacement { old, new } = replacement;
        if self.replacements.iter().any(|it| [it.old, it.new].iter().any(|node| *node == old || *node == new))
        {
            return Err(Refused::InReplacement);
        }
        let becomes_voter = self.learner(old).is_some_and(|learner| learner.desired == DesiredRole::Voter);
        if old == new || !(self.voter_with_id(old).is_some() || becomes_voter) {
            return Err(Refused::NotAVoter);
        }
        self.learner_mut(new)?.desired = DesiredRole::Voter;
        let at = self.replacements.partition_point(|other| other.new < new);
        self.replacements.insert(at, replacement);
        Ok(())
    }

    fn learner_mut(&mut self, node: NodeId) -> Result<&mut Learner, Refused> {
        self.learners.iter_mut().find(|learner| learner.node == node).ok_or(Refused::NotALearner)
    }

    fn take_learner(&mut self, node: NodeId) -> Result<Learner, Refused> {
        let at = self.learners.iter().position(|learner| learner.node == node).ok_or(Refused::NotALearner)?;
        Ok(self.learners.remove(at))
    }

    fn take_voter(&mut self, node: NodeId) -> Result<Voter, Refused> {
        let at = self.voters.iter().position(|voter| voter.node == node).ok_or(Refused::NotAVoter)?;
        if self.voters.len() == 1 {
            return Err(Refused::LastVoter);
        }
        Ok(self.voters.remove(at))
    }

    fn insert_learner(&mut self, learner: Learner) -> Result<(), Refused> {
        if self.learners.len() >= LEARNERS_MAX {
            return Err(Refused::TooMany);
        }
        let at = self.learners.partition_point(|other| other.node < learner.node);
        self.learners.insert(at, learner);
        Ok(())
    }
}

/// The configurations of a log: the one below it, and those of its entries.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Configurations {
    /// The configuration of the applied state; without one there, that of the genesis.
    settled: Configuration,
    /// The configurations of the entries above, ascending by version.
    logged: Vec<Configuration>,
}

impl Configurations {
    /// The configurations of a log without entries that change them.
    pub fn new(settled: Configuration) -> Configurations {
        Configurations { settled, logged: Vec::new() }
    }

    /// The configuration in force: that of the last entry that has one.
    pub fn latest(&self) -> &Configuration {
        self.logged.last().unwrap_or(&self.settled)
    }

    /// Those that may be in force on some node: the one of the applied state, and those above, which a truncation may take
    /// back. Ascending by version.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = &Configuration> {
        core::iter::once(&self.settled).chain(&self.logged)
    }

    /// Whether a node with this id is a member of one that may be in force, with any incarnation.
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.all().any(|configuration| configuration.contains(node))
    }

    /// Whether a member of one that may be in force has this id and this incarnation.
    pub(crate) fn records(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let learner = |configuration: &Configuration| {
            configuration.learner(node).is_some_and(|learner| learner.incarnation == incarnation)
        };
        self.has_voter(node, incarnation) || self.all().any(learner)
    }

    /// Whether the node is a voter of one that may be in force.
    pub(crate) fn has_voter(&self, node: NodeId, incarnation: Incarnation) -> bool {
        self.all().any(|configuration| configuration.is_voter(node, incarnation))
    }

    /// The ids of the members of those that may be in force, ascending.
    pub(crate) fn members(&self) -> BTreeSet<NodeId> {
        let voters = self.all().flat_map(|configuration| &configuration.voters).map(|voter| voter.node);
        let learners = self.all().flat_map(|configuration| &configuration.learners);
        voters.chain(learners.map(|learner| learner.node)).collect()
    }

    /// The counter of the first entry above `commit` that takes the vote of this node away. The node is not sent it before
    /// it is committed, so that no log contains an uncommitted entry that removes its owner.
    pub(crate) fn takes_vote_of(&self, node: NodeId, incarnation: Incarnation, commit: u64) -> Option<u64> {
        let takes = |before: &Configuration, after: &Configuration| {
            after.version.counter > commit
                && before.is_voter(node, incarnation)
                && !after.is_voter(node, incarnation)
        };
        let pairs = self.all().zip(self.logged.iter());
        pairs.filter(|(before, after)| takes(before, after)).map(|(_, after)| after.version.counter).next()
    }

    /// The configuration in force, if it is not committed, and the one before it.
    pub(crate) fn uncommitted(&self, commit: u64) -> Option<(&Configuration, &Configuration)> {
        let after = Some(self.latest()).filter(|latest| latest.version.counter > commit)?;
        self.all().rev().nth(1).map(|before| (before, after))
    }

    /// The configuration of the applied state; only for planted faults.
    #[cfg(gometa_instrumented)]
    pub(crate) fn settled(&self) -> &Configuration {
        &self.settled
    }

    /// Whether the configuration in force is committed, so that the next change may be proposed.
    pub fn is_committed(&self, commit: u64) -> bool {
        self.latest().version.counter <= commit
    }

    /// Whether the configurations of these entries follow the one in force and each other. An entry that is to contain one
    /// and does not is not accepted.
    pub(crate) fn accepts(&self, entries: &[LogEntry]) -> bool {
        let mut latest = None;
        entries.iter().filter(|entry| entry.kind == Kind::Membership).all(|entry| {
            let next = entry.configuration();
            let before = latest.as_ref().unwrap_or(self.latest());
            let follows = next.as_ref().is_some_and(|next| next.may_follow(before));
            latest = next;
            follows
        })
    }

    /// An entry with a configuration was appended.
    ///
    /// # Panics
    /// If it may not follow the one in force; what other nodes send is checked before.
    pub fn append(&mut self, configuration: Configuration) {
        assert!(configuration.may_follow(self.latest()), "configurations change one voter at a time");
        self.logged.push(configuration);
    }

    /// The log was truncated to this zxid: takes back the configurations above it.
    ///
    /// # Panics
    /// If the applied configuration is above it.
    pub fn truncate(&mut self, to: Zxid) {
        assert!(self.settled.version.counter <= to.counter, "applied entries are never truncated");
        self.logged.retain(|configuration| configuration.version.counter <= to.counter);
    }

    /// The log was applied through this counter: what is applied is never taken back.
    pub fn settle(&mut self, applied: u64) {
        let above = self.logged.partition_point(|configuration| configuration.version.counter <= applied);
        if let Some(last) = self.logged.drain(..above).next_back() {
            self.settled = last;
        }
    }

    /// State and log were replaced by a snapshot with this configuration.
    pub fn install(&mut self, settled: Configuration) {
        *self = Configurations::new(settled);
    }
}
