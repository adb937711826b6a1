//! 20. **Config**: configurations that follow each other differ by one voter at most; a leader proposes one only when the one
//!     before is committed, and never its own removal; what takes a node's vote away is in its log only when it is
//!     committed. What is committed and who may lead is judged by the latest configuration in the leader's log.

use std::collections::BTreeMap;

use gometa_zab::{Configuration, Kind, LogEntry, Zxid};

use super::{Check, ensure, leaders::Leaders, node_index};

const NAME: &str = "20 config";

/// Every configuration ever proposed, by version.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Configurations {
    /// The voters of the genesis.
    founders: Vec<usize>,
    known: BTreeMap<Zxid, Known>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Known {
    voters: Vec<usize>,
    learners: Vec<usize>,
}

impl Configurations {
    /// The genesis of an ensemble whose first nodes found it.
    pub(super) fn new(founders: usize) -> Configurations {
        Configurations { founders: (0..founders).collect(), known: BTreeMap::new() }
    }

    /// The version of the latest configuration in the log that ends at `tip`.
    pub(super) fn latest(&self, leaders: &Leaders, tip: Zxid) -> Zxid {
        let in_log = |version: &&Zxid| leaders.is_prefix(**version, tip);
        self.known.keys().rev().find(in_log).copied().unwrap_or(Zxid::ZERO)
    }

    /// The voters of a configuration.
    pub(super) fn voters(&self, version: Zxid) -> &[usize] {
        self.known.get(&version).map_or(&self.founders, |known| &known.voters)
    }

    /// Whether a node is a voter or a learner.
    pub(super) fn has_member(&self, version: Zxid, node: usize) -> bool {
        let learner = |known: &Known| known.learners.contains(&node);
        self.voters(version).contains(&node) || self.known.get(&version).is_some_and(learner)
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
            let known = configuration.as_ref().map(indexes);
            let Some(known) = known else { return Ok(()) };
            let lost = self.voters(before).iter().filter(|voter| !known.voters.contains(voter)).count();
            let new = known.voters.iter().filter(|voter| !self.voters(before).contains(voter)).count();
            ensure!(
                lost + new <= 1 && !known.voters.is_empty(),
                NAME,
                "{version} has the voters {:?}, {before} before it {:?}",
                known.voters,
                self.voters(before)
            );
            ensure!(is_committed(before), NAME, "n{node} proposes {version}, and {before} is not committed");
            self.known.insert(version, known);
        }
        let loses_vote = self.voters(before).contains(&node) && !self.voters(version).contains(&node);
        ensure!(
            !loses_vote || is_committed(version),
            NAME,
            "n{node} has {version}, which takes its vote away and is not committed"
        );
        Ok(())
    }
}

fn indexes(configuration: &Configuration) -> Known {
    let voters = configuration.voters().iter().map(|voter| node_index(voter.node));
    let learners = configuration.learners().iter().map(|learner| node_index(learner.node));
    Known { voters: voters.collect(), learners: learners.collect() }
}
