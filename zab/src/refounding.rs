//! Founding an ensemble anew from the data of one voter, after its quorum is lost permanently (protocol.md 5.13).
//!
//! The voter's log goes on in a later epoch, in which the other members are removed: configurations change by one voter at a
//! time, here as everywhere. All of its entries count as committed, as they would if it were elected; entries that only lost
//! voters had are lost. Another history keeps every node apart that still has the old one: messages and votes carry it.

use alloc::vec::Vec;

use crate::{
    config::Recovered,
    configuration::Configuration,
    effect::{Founding, HardState},
    message::{Genesis, Kind, LogEntry, Voter},
    types::{EnsembleId, Epoch, Incarnation, NodeId, Zxid},
};

/// What is written to the log of the voter, all of it at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refounding {
    /// The hard state: the voter leads the later epoch.
    pub hard_state: HardState,
    /// The sealed genesis, as before, but with another history: it stays the first configuration of the log.
    pub founding: Founding,
    /// The next entries of the log: each has a configuration with one voter less, the last one that of this voter alone.
    pub entries: Vec<LogEntry>,
}

/// Why an ensemble cannot be founded anew from this log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotRefounded {
    /// It belongs to no ensemble.
    NotFounded,
    /// The node is no voter of the configuration in force: a learner, removed, or without its old promises.
    NotAVoter,
    /// The node is the only voter, and needs no other one.
    Alone,
}

/// The configuration in force: that of the last entry that has one, else that of the state, else that of the genesis. `None` if
/// there is no sealed genesis.
pub fn configuration_in_force(recovered: &Recovered) -> Option<Configuration> {
    let founding = recovered.founding.as_ref().filter(|founding| founding.sealed)?;
    let latest = recovered.logged.last().filter(|logged| logged.version().counter > recovered.applied);
    let latest = latest.or(recovered.configuration.as_ref()).cloned();
    Some(latest.unwrap_or_else(|| Configuration::of_genesis(&founding.genesis)))
}

/// How much of the ensemble's log a survivor has: the last epoch that it has led or followed in, or whose entries it has
/// received, and the last entry. The survivor with the highest position is founded anew.
///
/// In an election the current epoch alone counts, and a quorum makes up for it: somebody in it has synchronised completely.
/// Without a quorum, a node whose synchronisation was interrupted may be the only one with acknowledged entries of an epoch that
/// is above its own current one. Its log is the beginning of an elected leader's, so it has all that was committed in the epochs
/// below.
pub fn position(recovered: &Recovered) -> (Epoch, Zxid) {
    let last = recovered.boundaries.last().copied().unwrap_or(recovered.oldest);
    planted!(
        (recovered.hard_state.current_epoch.max(last.epoch), last),
        compares_survivors_by_counter => (Epoch(0), Zxid { epoch: Epoch(0), counter: last.counter })
    )
}

/// The history that follows one: higher, so that nodes and clients can tell which of the two is later. The lower half is
/// random, so that two histories which follow the same one, founded by mistake on two nodes, differ.
pub fn next_history(history: u64, random: u32) -> u64 {
    let higher = ((history >> 32) + 1) << 32 | u64::from(random);
    planted!(higher, keeps_history_of_lost_quorum => history, founds_lower_history => history >> 1)
}

/// Makes the records that found an ensemble anew, from what was recovered of the data directory of this node.
///
/// # Errors
/// [`NotRefounded`].
pub fn refound(
    recovered: &Recovered,
    (node, incarnation): (NodeId, Incarnation),
    history: u64,
) -> Result<Refounding, NotRefounded> {
    let configuration = configuration_in_force(recovered).ok_or(NotRefounded::NotFounded)?;
    let founding = recovered.founding.as_ref().ok_or(NotRefounded::NotFounded)?;
    let voter = configuration.voter(node, incarnation).ok_or(NotRefounded::NotAVoter)?.clone();
    if configuration.voters().len() == 1 {
        return Err(NotRefounded::Alone);
    }
    let accepted = recovered.hard_state.accepted_epoch;
    let epoch = planted!(Epoch(accepted.0 + 1), keeps_epoch_of_lost_quorum => accepted);
    let mut at = recovered.boundaries.last().copied().unwrap_or(recovered.oldest);
    probe!("refounding.accepted-epoch-above-log", accepted > at.epoch);
    probe!("refounding.changed-members", configuration.version() > Zxid::ZERO);
    let (level, mut voters) = (configuration.level(), configuration.voters().to_vec());
    planted!(keeps_lost_voters => voters.retain(|other| *other == voter));
    let mut entries = Vec::new();
    while let Some(other) = voters.iter().rposition(|other| *other != voter) {
        planted!(
            {
                voters.remove(other);
            },
            removes_lost_voters_at_once => voters.retain(|other| *other == voter)
        );
        at = Zxid { epoch, counter: at.counter + 1 };
        let next = Configuration { version: at, level, ..Configuration::new(voters.clone()) };
        entries.push(LogEntry { zxid: at, kind: Kind::Membership, level, payload: next.encode() });
    }
    let ensemble = EnsembleId { id: founding.genesis.ensemble.id, history };
    let genesis = Genesis { ensemble, ..founding.genesis.clone() };
    Ok(Refounding {
        hard_state: HardState { accepted_epoch: epoch, accepted_leader: Some(node), current_epoch: epoch },
        founding: Founding { genesis, sealed: true },
        entries,
    })
}

/// What is written where an ensemble is founded on the state of another one, as a backup has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundedOnState {
    /// The hard state: the voter leads an epoch after that of the state.
    pub hard_state: HardState,
    /// The sealed genesis.
    pub founding: Founding,
    /// The configuration, which replaces that of the state.
    pub configuration: Configuration,
}

/// Makes the records that found an ensemble whose only voter is `own`, on a state whose last applied entry is `base`; the log
/// begins above it, at the feature level of the state. The new id of the ensemble keeps every node and client of the old one apart, so epochs and revisions can go
/// on. That the configuration has a version above that of the genesis says that the ensemble was not formed by the peers that a
/// configuration file lists.
pub fn found_on_state(base: Zxid, own: Voter, ensemble: EnsembleId, level: u32) -> FoundedOnState {
    let epoch = Epoch(base.epoch.0 + 1);
    let node = own.node;
    let configuration =
        Configuration { version: base, level, ..Configuration::new(alloc::vec![own.clone()]) };
    let genesis = Genesis { ensemble, voters: alloc::vec![own], level };
    FoundedOnState {
        hard_state: HardState { accepted_epoch: epoch, accepted_leader: Some(node), current_epoch: epoch },
        founding: Founding { genesis, sealed: true },
        configuration,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{membership::Configurations, message::Addresses};

    const ME: (NodeId, Incarnation) = (NodeId(2), Incarnation(20));

    fn voter(node: u64) -> Voter {
        let incarnation = Some(Incarnation(u128::from(node) * 10));
        Voter { node: NodeId(node), incarnation, addresses: Addresses::default() }
    }

    fn configuration(version: (u64, u64), voters: &[u64]) -> Configuration {
        let version = Zxid { epoch: Epoch(version.0), counter: version.1 };
        Configuration { version, ..Configuration::new(voters.iter().copied().map(voter).collect()) }
    }

    fn zxid(epoch: u64, counter: u64) -> Zxid {
        Zxid { epoch: Epoch(epoch), counter }
    }

    /// What a voter has whose log ends at (4, 90), and which has accepted epoch 6.
    fn survivor(voters: &[u64]) -> Recovered {
        let ensemble = EnsembleId { id: 7, history: 1 };
        let voters = voters.iter().copied().map(voter).collect();
        let genesis = Genesis { ensemble, voters, level: 1 };
        Recovered {
            hard_state: HardState {
                accepted_epoch: Epoch(6),
                accepted_leader: Some(NodeId(1)),
                current_epoch: Epoch(4),
            },
            founding: Some(Founding { genesis, sealed: true }),
            boundaries: vec![zxid(3, 50), zxid(4, 90)],
            applied: 60,
            ..Recovered::default()
        }
    }

    #[test]
    fn the_log_goes_on_in_a_later_epoch_in_which_the_others_are_removed() {
        let records = refound(&survivor(&[1, 2, 3]), ME, 9).unwrap();
        let epoch = Epoch(7);
        let hard = HardState { accepted_epoch: epoch, accepted_leader: Some(ME.0), current_epoch: epoch };
        assert_eq!(
            records.hard_state, hard,
            "above the accepted epoch, in which others may have logged something"
        );
        let logged: Vec<_> = records.entries.iter().map(|entry| entry.configuration().unwrap()).collect();
        let logged: Vec<_> = logged.iter().map(|next| (next.version(), next.voters().to_vec())).collect();
        assert_eq!(logged, [(zxid(7, 91), vec![voter(1), voter(2)]), (zxid(7, 92), vec![voter(2)]),]);
        let Founding { genesis, sealed } = records.founding;
        assert!(sealed);
        assert_eq!(genesis.ensemble, EnsembleId { id: 7, history: 9 });
        assert_eq!(genesis.voters, survivor(&[1, 2, 3]).founding.unwrap().genesis.voters);
    }

    #[test]
    fn the_configurations_follow_those_of_the_log() {
        // With learners and a replacement, in the state, in the log, and again after the first time.
        let mut changed = configuration((4, 55), &[1, 2, 3, 4, 5]);
        changed.learners = vec![crate::configuration::Learner {
            node: NodeId(6),
            incarnation: Incarnation(60),
            addresses: Addresses::default(),
            desired: crate::configuration::DesiredRole::Voter,
        }];
        for recorded in [None, Some(changed)] {
            for logged in [Vec::new(), vec![configuration((4, 80), &[1, 2, 3, 5])]] {
                let mut recovered = survivor(&[1, 2, 3, 4, 5]);
                recovered.configuration = recorded.clone();
                recovered.logged = logged;
                let settled = configuration_in_force(&Recovered { logged: Vec::new(), ..recovered.clone() });
                let mut configurations = Configurations::new(settled.unwrap());
                recovered.logged.iter().for_each(|logged| configurations.append(logged.clone()));
                let records = refound(&recovered, ME, 9).unwrap();
                assert!(configurations.accepts(&records.entries));
                for entry in &records.entries {
                    configurations.append(entry.configuration().unwrap());
                }
                assert_eq!(configurations.latest().voters(), [voter(2)]);
                assert!(configurations.latest().learners().is_empty());
            }
        }
    }

    #[test]
    fn the_configuration_in_force_is_the_last_one() {
        let mut survivor = survivor(&[1, 2, 3]);
        let voters = |survivor: &Recovered| -> Vec<u64> {
            let configuration = configuration_in_force(survivor).unwrap();
            configuration.voters().iter().map(|voter| voter.node.0).collect()
        };
        assert_eq!(voters(&survivor), [1, 2, 3], "that of the genesis");
        survivor.logged = vec![configuration((3, 40), &[2, 3, 4])];
        assert_eq!(voters(&survivor), [1, 2, 3], "one that was applied is in the state");
        survivor.configuration = Some(configuration((4, 55), &[2, 4, 5]));
        assert_eq!(voters(&survivor), [2, 4, 5]);
        survivor.logged.push(configuration((4, 80), &[2, 5]));
        assert_eq!(voters(&survivor), [2, 5], "effective when it is logged");
    }

    #[test]
    fn an_ensemble_founded_on_a_state_has_one_voter_in_a_later_epoch() {
        let (base, ensemble) = (zxid(4, 90), EnsembleId { id: 8, history: 1 });
        let FoundedOnState { hard_state, founding, configuration } =
            found_on_state(base, voter(2), ensemble, 1);
        assert!(hard_state.accepted_epoch > base.epoch && hard_state.current_epoch > base.epoch);
        assert_eq!(configuration.version(), base, "not that of the genesis, and not above what is applied");
        let recovered = Recovered {
            hard_state,
            founding: Some(founding),
            oldest: base,
            applied: base.counter,
            configuration: Some(configuration),
            ..Recovered::default()
        };
        let in_force = configuration_in_force(&recovered).unwrap();
        assert_eq!((in_force.voters(), in_force.learners().len()), (&[voter(2)][..], 0));
        assert_eq!(refound(&recovered, ME, 2), Err(NotRefounded::Alone));
    }

    #[test]
    fn only_a_voter_that_needs_others_founds_anew() {
        let refused = |survivor: &Recovered, node| refound(survivor, node, 2).unwrap_err();
        assert_eq!(refused(&Recovered::default(), ME), NotRefounded::NotFounded);
        let mut unsealed = survivor(&[1, 2, 3]);
        unsealed.founding.as_mut().unwrap().sealed = false;
        assert_eq!(refused(&unsealed, ME), NotRefounded::NotFounded);
        let whole = survivor(&[1, 2, 3]);
        assert_eq!(refused(&whole, (NodeId(4), Incarnation(40))), NotRefounded::NotAVoter);
        assert_eq!(refused(&whole, (ME.0, Incarnation(21))), NotRefounded::NotAVoter, "without its promises");
        assert_eq!(refused(&survivor(&[2]), ME), NotRefounded::Alone);
        // Its own removal is logged here, and may be committed elsewhere.
        let mut removed = whole.clone();
        removed.logged = vec![configuration((4, 90), &[1, 3])];
        assert_eq!(refused(&removed, ME), NotRefounded::NotAVoter);
    }

    #[test]
    fn a_later_history_is_higher_and_two_of_one_differ() {
        let (first, second) = (next_history(1, 5), next_history(1, 6));
        assert!(first > 1 && second > 1 && first != second);
        assert!(next_history(first, 0) > first.max(second) && next_history(second, 0) > second.max(first));
    }
}
