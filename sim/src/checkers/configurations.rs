//! 20. **Config**: configurations that follow each other differ by one voter at most; a leader proposes one only when the one
//!     before is committed, and never its own removal; what takes a node's vote away is in its log only when it is
//!     committed; without a request, a member is removed only if another one takes its place, which no other change ends.
//!     What is committed and who may lead is judged by the latest configuration in the leader's log.

use std::{collections::BTreeMap, iter, ops::Bound};

use gometa_zab::{Configuration, DesiredRole, Genesis, Incarnation, Kind, LogEntry, Zxid};

use super::{Check, Violation, ensure, leaders::Leaders, node_index};

const NAME: &str = "20 config";

/// A data directory of a node: its index and the number of the directory, 0 for the first one.
pub(super) type Directory = (usize, u32);

/// The number of the directory of a voter that was absent when the ensemble was formed: no directory has it.
const ABSENT: u32 = u32::MAX;

/// Every configuration ever proposed, by version, and every data directory.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Configurations {
    /// The voters of the genesis.
    founders: Vec<Directory>,
    known: BTreeMap<Zxid, Known>,
    /// The number of the present directory of each node.
    directories: Vec<u32>,
    /// The numbers of the directories that are not a node's first.
    later: BTreeMap<(usize, Incarnation), u32>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Known {
    voters: Vec<Directory>,
    /// The learners, and whether each is to become a voter.
    learners: Vec<(usize, bool)>,
    /// The members that are replaced, each with the one that takes its place.
    replacements: Vec<(usize, usize)>,
}

impl Known {
    fn has(&self, node: usize) -> bool {
        self.voters.iter().any(|voter| voter.0 == node)
            || self.learners.iter().any(|learner| learner.0 == node)
    }
}

impl Configurations {
    /// The genesis of an ensemble of these many nodes, the first `founders` of which found it.
    pub(super) fn new(nodes: usize, founders: usize) -> Configurations {
        Configurations {
            founders: (0..founders).map(|node| (node, 0)).collect(),
            known: BTreeMap::new(),
            directories: vec![0; nodes],
            later: BTreeMap::new(),
        }
    }

    /// The configurations of a log with which the ensemble is founded anew on the node that has it, behind its first `old`
    /// entries: each of the others has one voter less.
    pub(super) fn refounded(&self, log: &[LogEntry], old: usize) -> Result<Configurations, Violation> {
        let is_in = |version: &Zxid, log: &[LogEntry]| {
            let at = version.counter.checked_sub(1).and_then(|at| log.get(at as usize));
            at.is_some_and(|entry| entry.zxid == *version)
        };
        let mut refounded = self.clone();
        refounded.known.retain(|version, _| is_in(version, &log[..old]));
        for entry in log[old..].iter().filter(|entry| entry.kind == Kind::Membership) {
            let before = refounded.known.last_key_value().map_or(Zxid::ZERO, |(version, _)| *version);
            let known = entry.configuration().map(|configuration| refounded.indexes(&configuration));
            let voters = refounded.voters(before);
            let follows = known.as_ref().is_some_and(|known| {
                known.voters.len() + 1 == voters.len() && known.voters.iter().all(|it| voters.contains(it))
            });
            let version = entry.zxid;
            ensure!(follows, NAME, "{version} has the voters {known:?}, {before} before it {voters:?}");
            refounded.known.extend(known.map(|known| (version, known)));
        }
        Ok(refounded)
    }

    /// Whether these nodes, with their present directories, are a majority of any configuration from this version on; `None`
    /// for all configurations.
    pub(super) fn can_elect(&self, version: Option<Zxid>, nodes: &[usize]) -> bool {
        let all = iter::once(&self.founders[..]).chain(self.known.values().map(|known| &known.voters[..]));
        let later = version.map(|version| self.from(version));
        let has_majority = |voters: &[Directory]| {
            let there =
                voters.iter().filter(|voter| nodes.contains(&voter.0) && self.directory(voter.0) == **voter);
            there.count() > voters.len() / 2
        };
        match later {
            Some(mut later) => later.any(has_majority),
            None => { all }.any(has_majority),
        }
    }

    /// The ensemble is founded with this genesis.
    pub(super) fn founded(&mut self, genesis: &Genesis) {
        for (founder, voter) in self.founders.iter_mut().zip(&genesis.voters) {
            founder.1 = if voter.incarnation.is_some() { 0 } else { ABSENT };
        }
    }

    /// The voters of the genesis that were absent.
    pub(super) fn absent(&self) -> Vec<usize> {
        self.founders.iter().filter(|founder| founder.1 == ABSENT).map(|founder| founder.0).collect()
    }

    /// A node has another data directory, with this incarnation.
    pub(super) fn replaced(&mut self, node: usize, incarnation: Incarnation) {
        self.directories[node] += 1;
        self.later.insert((node, incarnation), self.directories[node]);
    }

    /// The present data directory of a node.
    pub(super) fn directory(&self, node: usize) -> Directory {
        (node, self.directories[node])
    }

    /// The version of the latest configuration in the log that ends at `tip`.
    pub(super) fn latest(&self, leaders: &Leaders, tip: Zxid) -> Zxid {
        let in_log = |version: &&Zxid| leaders.is_prefix(**version, tip);
        self.known.keys().rev().find(in_log).copied().unwrap_or(Zxid::ZERO)
    }

    /// The voters of a configuration.
    pub(super) fn voters(&self, version: Zxid) -> &[Directory] {
        self.known.get(&version).map_or(&self.founders, |known| &known.voters)
    }

    /// The voters of this configuration, and of all that were proposed with a higher version.
    pub(super) fn from(&self, version: Zxid) -> impl Iterator<Item = &[Directory]> {
        let later = self.known.range((Bound::Excluded(version), Bound::Unbounded));
        iter::once(self.voters(version)).chain(later.map(|(_, known)| &known.voters[..]))
    }

    /// Whether a node is a voter or a learner.
    pub(super) fn has_member(&self, version: Zxid, node: usize) -> bool {
        self.voters(version).iter().any(|voter| voter.0 == node) || self.learner(version, node).is_some()
    }

    /// Whether a learner is to become a voter; `None` if the node is no learner.
    pub(super) fn learner(&self, version: Zxid, node: usize) -> Option<bool> {
        let learners = self.known.get(&version).into_iter().flat_map(|known| &known.learners);
        learners.into_iter().find(|(learner, _)| *learner == node).map(|(_, promised)| *promised)
    }

    /// An entry is about to stand in a node's log behind `previous`; `is_committed` says whether a zxid is.
    pub(super) fn admit(
        &mut self,
        leaders: &Leaders,
        (node, previous): (usize, Zxid),
        entry: &LogEntry,
        is_committed: impl Fn(Zxid) -> bool,
    ) -> Check {
        if entry.kind != Kind::Membership {
            return Ok(());
        }
        let version = entry.zxid;
        let before = self.latest(leaders, previous);
        if !self.known.contains_key(&version) {
            let configuration = entry.configuration();
            ensure!(configuration.is_some(), NAME, "n{node} proposes {version}, which cannot be decoded");
            let known = configuration.as_ref().map(|configuration| self.indexes(configuration));
            let Some(known) = known else { return Ok(()) };
            let asked = configuration.is_some_and(|configuration| configuration.asked_by().is_some());
            self.keeps_replacements(before, (version, &known), asked)?;
            let lost = self.voters(before).iter().filter(|voter| !known.voters.contains(voter)).count();
            let new = known.voters.iter().filter(|voter| !self.voters(before).contains(voter)).count();
            ensure!(
                lost + new <= 1 && !known.voters.is_empty(),
                NAME,
                "{version} has the voters {:?}, {before} before it {:?}",
                known.voters,
                self.voters(before)
            );
            let was_voter = |node: usize| self.voters(before).iter().any(|voter| voter.0 == node);
            let returns = known.learners.iter().filter(|(node, _)| was_voter(*node));
            ensure!(
                returns.clone().all(|(_, promised)| *promised),
                NAME,
                "{version} forgets that {:?} are to be voters again",
                returns.collect::<Vec<_>>()
            );
            ensure!(is_committed(before), NAME, "n{node} proposes {version}, and {before} is not committed");
            self.known.insert(version, known);
        }
        let own = self.directory(node);
        let loses_vote = self.voters(before).contains(&own) && !self.voters(version).contains(&own);
        ensure!(
            !loses_vote || is_committed(version),
            NAME,
            "n{node} has {version}, which takes its vote away and is not committed"
        );
        Ok(())
    }

    /// A change that nobody asked for removes a member only if another one takes its place, and ends no replacement of two
    /// members.
    fn keeps_replacements(&self, before: Zxid, (version, after): (Zxid, &Known), asked: bool) -> Check {
        let Some(known) = self.known.get(&before).filter(|_| !asked) else { return Ok(()) };
        for (old, new) in &known.replacements {
            let goes_on = after.replacements.contains(&(*old, *new));
            ensure!(
                goes_on || !after.has(*old) || !after.has(*new),
                NAME,
                "{version} forgets that n{new} takes the place of n{old}"
            );
        }
        let members = known.voters.iter().map(|voter| voter.0).chain(known.learners.iter().map(|it| it.0));
        for gone in members.filter(|member| !after.has(*member)) {
            let replaced = known.replacements.iter().any(|(old, _)| *old == gone);
            ensure!(replaced, NAME, "{version} removes n{gone}, which nobody asked for");
        }
        Ok(())
    }

    /// The replacements of a configuration.
    pub(super) fn replacements(&self, version: Zxid) -> &[(usize, usize)] {
        self.known.get(&version).map_or(&[], |known| &known.replacements)
    }

    fn indexes(&self, configuration: &Configuration) -> Known {
        let voters = configuration.voters().iter().map(|voter| {
            let node = node_index(voter.node);
            let directory = voter
                .incarnation
                .map_or(ABSENT, |incarnation| self.later.get(&(node, incarnation)).copied().unwrap_or(0));
            (node, directory)
        });
        let learners = configuration
            .learners()
            .iter()
            .map(|learner| (node_index(learner.node), learner.desired != DesiredRole::Learner));
        let replacements =
            configuration.replacements().iter().map(|it| (node_index(it.old), node_index(it.new)));
        Known { voters: voters.collect(), learners: learners.collect(), replacements: replacements.collect() }
    }
}
