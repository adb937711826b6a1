//! Changes of the configuration: which of them a leader may propose (protocol.md 5.1 to 5.4), and those that it proposes by
//! itself: a member with another data directory is recorded again, a learner that is to be a voter is promoted (5.8), and a
//! member whose place another one has taken is removed (5.10).

use alloc::vec::Vec;

use super::Leader;
use crate::{
    configuration::{Configuration, DesiredRole, Learner, Replacement, VOTERS_MAX},
    effect::{ChangeRejection, Notice},
    membership::Change,
    message::{Kind, Reason, Voter},
    progress::Progress,
    state::Core,
    types::{Incarnation, LinkId, NodeId, Zxid},
};

/// The maximum number of entries that a learner may be behind when it is promoted.
const BEHIND_MAX: u64 = 1_000;

/// The interval between two changes that record another incarnation of the same node, in election timeouts, so that two data
/// directories with one id cannot take turns.
const RECORD_INTERVAL: u64 = 10;

/// The interval between two notices of what a change waits for, in microseconds.
const NOTICE_INTERVAL: u64 = 60_000_000;

impl Leader {
    /// Proposes the next of the changes that need no request: one at a time, and at most one in a heartbeat interval.
    pub(super) fn propose_own_change(&mut self, core: &mut Core) {
        if self.established().is_none() || !core.configurations.is_committed(core.commit) {
            return;
        }
        if core.now < self.own_changes.next {
            return;
        }
        self.own_changes.next = core.now.plus(core.config.timeouts.heartbeat);
        let Some(change) = planted!(self.next_own_change(core), proposes_no_own_changes => None) else {
            return;
        };
        match self.propose_change(core, &change, None) {
            Ok(_) => {
                if let Change::Exchange { node, .. } | Change::ReplaceIncarnation { node, .. } = change {
                    probe!("members.voter-returns", matches!(change, Change::Exchange { .. }));
                    probe!("members.learner-returns", !matches!(change, Change::Exchange { .. }));
                    self.own_changes.recorded.insert(node, core.now);
                } else if let Change::SetAddresses { node, .. } = change {
                    probe!("members.address-changed", node != core.me());
                    probe!("members.address-of-leader", node == core.me());
                    self.own_changes.addressed.insert(node, core.now);
                }
            }
            Err(ChangeRejection::OwnVote) => {
                if self.defer(core, "another member takes its place") {
                    probe!("members.replaced-leader-hands-over");
                }
            }
            Err(why) => {
                probe!("members.own-change-waits");
                let noticed = &mut self.own_changes.noticed;
                if noticed.is_none_or(|at| core.now.since(at) >= NOTICE_INTERVAL) {
                    *noticed = Some(core.now);
                    core.notice(Notice::ChangeWaits { change, why });
                }
            }
        }
    }

    /// The change that this leader is to propose by itself and cannot, and the reason.
    pub(crate) fn waiting_change(&self, core: &Core) -> Option<(Change, ChangeRejection)> {
        if self.established().is_none() || !core.configurations.is_committed(core.commit) {
            return None;
        }
        if let Some(change) = self.next_own_change(core) {
            let why = self.configuration_after(core, &change).err()?;
            // It hands over, and the next leader makes the change.
            let hands_over = matches!(why, ChangeRejection::Transferring | ChangeRejection::OwnVote);
            return (!hands_over).then_some((change, why));
        }
        let mut promised = core
            .configuration()
            .learners()
            .iter()
            .filter(|learner| learner.desired != DesiredRole::Learner)
            .map(|learner| learner.node);
        promised.find_map(|node| Some((Change::Promote(node), self.check_learner(core, node).err()?)))
    }

    /// The voters, this leader included, that have not acknowledged the log through this counter.
    pub(crate) fn unacknowledged(&self, core: &Core, counter: u64) -> Vec<NodeId> {
        let acknowledged = |voter: &&Voter| {
            (voter.is(core.me(), core.config.incarnation) && core.history.durable().counter >= counter)
                || self.followers.values().any(|progress| progress.is(voter) && progress.acked >= counter)
        };
        let voters = core.configuration().voters().iter();
        voters.filter(|voter| !acknowledged(voter)).map(|voter| voter.node).collect()
    }

    /// The change that is due next. Members that have another incarnation than the recorded one come first: each exchange
    /// reduces the number of voters that are needed.
    fn next_own_change(&self, core: &Core) -> Option<Change> {
        let returned = self.followers.values().find_map(|progress| self.record_of(core, progress));
        let moved = || planted!(self.address_due(core), records_no_addresses => None);
        let learners = core.configuration().learners().iter();
        let promotion = || learners.into_iter().find_map(|learner| self.promotion_of(core, learner));
        let replacements = core.configuration().replacements().iter();
        let removal = || replacements.into_iter().find_map(|replacement| self.removal_for(core, replacement));
        returned.or_else(moved).or_else(removal).or_else(promotion)
    }

    /// The change that brings a learner that is to be a voter nearer to that. In place of a voter that runs it is promoted
    /// first, so that the ensemble bears no fewer failures; in place of a voter that does not, the voter is removed first,
    /// since a majority of one voter more, one of which is dead, might need the newcomer.
    fn promotion_of(&self, core: &Core, learner: &Learner) -> Option<Change> {
        let configuration = core.configuration();
        let up_to_date = |node| self.check_learner(core, node).is_ok();
        // One whose place is about to be taken needs no vote.
        let replaced = configuration.replacement_of(learner.node).is_some_and(up_to_date);
        let due = learner.desired == DesiredRole::Voter && !replaced && up_to_date(learner.node);
        let old = configuration.replaced_by(learner.node).and_then(|old| configuration.voter_with_id(old));
        let first = old.filter(|old| {
            let full = configuration.voters().len() >= VOTERS_MAX;
            full || !old.incarnation.is_some_and(|incarnation| self.is_present(core, old.node, incarnation))
        });
        probe!("members.replaced-first", due && first.is_some());
        due.then(|| first.map_or(Change::Promote(learner.node), |old| Change::RemoveVoter(old.node)))
    }

    /// The change that removes a member whose place another one has taken, which is connected and up to date.
    fn removal_for(&self, core: &Core, replacement: &Replacement) -> Option<Change> {
        let Replacement { old, new } = *replacement;
        let configuration = core.configuration();
        let new = configuration.voter_with_id(new)?;
        let serves = new.is(core.me(), core.config.incarnation)
            || self.followers.values().any(|progress| progress.is(new) && progress.is_serving());
        let removal = match configuration.learner(old) {
            Some(_) => Change::RemoveLearner(old),
            None => Change::RemoveVoter(old),
        };
        probe!("members.replaced", serves);
        serves.then_some(removal)
    }

    /// The change that records the addresses of this leader or of a follower, as it greets with them: of a recorded directory,
    /// which was not recorded elsewhere a moment ago.
    fn address_due(&self, core: &Core) -> Option<Change> {
        let interval = core.config.timeouts.election * RECORD_INTERVAL;
        let own = (core.me(), core.config.incarnation, &core.config.addresses);
        let serving = self.followers().filter(|(_, progress)| progress.is_serving());
        let hellos = serving.filter_map(|(link, _)| core.links.get(&link)?.hello.as_ref());
        let greets = hellos.map(|hello| (hello.node, hello.incarnation, &hello.addresses));
        let moved = core::iter::once(own).chain(greets).find(|(node, incarnation, addresses)| {
            let known = core.configuration().addresses(*node, *incarnation);
            let recent =
                self.own_changes.addressed.get(node).is_some_and(|at| core.now.since(*at) < interval);
            known.is_some_and(|known| known != *addresses) && !recent
        });
        moved.map(|(node, _, addresses)| Change::SetAddresses { node, addresses: addresses.clone() })
    }

    /// The change that records the incarnation of a follower, if it is a member with another recorded one, which is not
    /// connected, and was not recorded a moment ago.
    fn record_of(&self, core: &Core, progress: &Progress) -> Option<Change> {
        let (node, incarnation) = (progress.node, progress.incarnation());
        let configuration = core.configuration();
        let voter = configuration.voter_with_id(node);
        let learner = configuration.learner(node);
        let recorded =
            voter.and_then(|voter| voter.incarnation).or(learner.map(|learner| learner.incarnation));
        let interval = core.config.timeouts.election * RECORD_INTERVAL;
        let recent = self.own_changes.recorded.get(&node).is_some_and(|at| core.now.since(*at) < interval);
        let rival = recorded.is_some_and(|recorded| self.is_present(core, node, recorded));
        if !progress.has_promised() || recorded == Some(incarnation) || recent || rival {
            return None;
        }
        match (voter, learner) {
            (Some(_), _) => Some(Change::Exchange { node, incarnation }),
            (None, Some(_)) => Some(Change::ReplaceIncarnation { node, incarnation }),
            (None, None) => None,
        }
    }

    /// Drops followers that were removed, and have received that: they are no members of any configuration that may be in
    /// force.
    pub(super) fn drop_removed(&mut self, core: &mut Core) {
        if self.established().is_none() || !core.configurations.is_committed(core.commit) {
            return;
        }
        let version = core.configuration().version();
        let removed = |progress: &Progress| {
            progress.acked >= version.counter && !core.configurations.contains(progress.node)
        };
        let removed: Vec<LinkId> =
            self.followers().filter(|(_, progress)| removed(progress)).map(|(link, _)| link).collect();
        for link in removed {
            probe!("members.removed-dropped");
            if let Some(progress) = self.followers.remove(&link) {
                core.notice(Notice::LostFollower { peer: progress.node, why: "it was removed" });
            }
            core.refuse(link, Reason::NotAMember);
        }
    }

    /// Whether a node with this data directory is connected, or has shown a sign of life within the election timeout. This
    /// node is.
    fn is_present(&self, core: &Core, node: NodeId, incarnation: Incarnation) -> bool {
        if node == core.me() {
            return true;
        }
        let timeout = core.config.timeouts.election;
        let heard = self.contacts.get(&(node, incarnation)).is_some_and(|at| core.now.since(*at) <= timeout);
        let hellos = core.links.values().filter_map(|link| link.hello.as_ref());
        heard || hellos.into_iter().any(|hello| (hello.node, hello.incarnation) == (node, incarnation))
    }

    /// Proposes a change of the configuration, and returns the version of the next one; or rejects it.
    pub(super) fn propose_change(
        &mut self,
        core: &mut Core,
        change: &Change,
        asked_by: Option<NodeId>,
    ) -> Result<Zxid, ChangeRejection> {
        let next = self.configuration_after(core, change);
        probe!("members.change-pending", matches!(next, Err(ChangeRejection::Pending(_))));
        probe!("members.transferring", next == Err(ChangeRejection::Transferring));
        probe!("members.own-vote", next == Err(ChangeRejection::OwnVote));
        probe!("members.learner-behind", matches!(next, Err(ChangeRejection::LearnerBehind(_))));
        probe!("members.no-quorum", matches!(next, Err(ChangeRejection::NoQuorum(_))));
        let next = Configuration { asked_by, ..next? };
        let version = self.propose(core, Kind::Membership, next.level(), next.encode());
        assert_eq!(version, next.version(), "the version is the zxid of the entry");
        core.notice(Notice::ChangeProposed { change: change.clone(), version });
        Ok(version)
    }

    /// The configuration after a change, which this leader may propose: it is established, so that the configurations of
    /// its initial history are committed, as is a later one; it keeps its vote; and of the new voters a majority is
    /// connected and up to date, so that the change does not stop the ensemble.
    fn configuration_after(&self, core: &Core, change: &Change) -> Result<Configuration, ChangeRejection> {
        if self.established().is_none() {
            return Err(ChangeRejection::NotLeader);
        }
        if self.is_transferring() {
            return Err(ChangeRejection::Transferring);
        }
        let committed = core.configurations.is_committed(core.commit);
        if !planted!(committed, changes_before_previous_change_is_committed => true) {
            return Err(ChangeRejection::Pending(core.configuration().version()));
        }
        let next = core.configuration().after(change, self.next_zxid(core));
        let next = next.map_err(ChangeRejection::Impossible)?;
        let keeps_vote = next.is_voter(core.me(), core.config.incarnation);
        if !planted!(keeps_vote, proposes_own_removal => true) {
            return Err(ChangeRejection::OwnVote);
        }
        if let Change::Promote(node) = change {
            self.check_learner(core, *node)?;
        }
        if let Change::RaiseLevel(level) = change {
            Self::check_level(core, *level)?;
        }
        let ready = |voter: &Voter| {
            voter.is(core.me(), core.config.incarnation)
                || self.followers.values().any(|progress| progress.is(voter) && progress.is_serving())
        };
        if !next.has_quorum(ready) {
            let missing = next.voters().iter().filter(|voter| !ready(voter));
            let missing: Vec<NodeId> = missing.map(|voter| voter.node).collect();
            return Err(ChangeRejection::NoQuorum(missing));
        }
        Ok(next)
    }

    /// Checks that every member is connected and supports a feature level (protocol.md 5.14).
    fn check_level(core: &Core, level: u32) -> Result<(), ChangeRejection> {
        let (mut absent, mut unsupported) = (Vec::new(), Vec::new());
        for Voter { node, incarnation, .. } in core.configuration().members() {
            let hellos = core.links.values().filter_map(|link| link.hello.as_ref());
            let mut hellos = hellos.filter(|it| it.node == node && Some(it.incarnation) == incarnation);
            let levels = if node == core.me() {
                Some(core.config.levels)
            } else {
                hellos.next().map(|first| hellos.fold(first.levels, |all, it| all.and(it.levels)))
            };
            match levels {
                None => absent.push(node),
                Some(levels) if !levels.contains(level) => unsupported.push((node, levels)),
                Some(_) => {}
            }
        }
        if absent.is_empty() && unsupported.is_empty() {
            return Ok(());
        }
        Err(ChangeRejection::Level { absent, unsupported })
    }

    /// Checks that a learner that is to be promoted is up to date.
    fn check_learner(&self, core: &Core, node: NodeId) -> Result<(), ChangeRejection> {
        let last = core.history.last().counter;
        let recorded = core.configuration().learner(node).map(|learner| learner.incarnation);
        let learner = self.followers.values().find(|progress| {
            progress.node == node && Some(progress.incarnation()) == recorded && progress.is_serving()
        });
        let behind = learner.map(|progress| last - progress.acked.min(last));
        if behind.is_none_or(|behind| behind > BEHIND_MAX) {
            return Err(ChangeRejection::LearnerBehind(behind));
        }
        Ok(())
    }
}
