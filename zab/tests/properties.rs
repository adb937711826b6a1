//! Property tests of quorums, logs and synchronisation plans against simple reference implementations.

use gometa_zab::{Addresses, Configuration, Epoch, Epochs, Incarnation, NodeId, Plan, Voter, Zxid, plan};
use proptest::{collection::vec, prelude::*};

fn members(count: u64) -> Configuration {
    let voter = |node| Voter {
        node: NodeId(node),
        incarnation: Some(Incarnation(u128::from(node))),
        addresses: Addresses::default(),
    };
    Configuration::new((1..=count).map(voter).collect())
}

/// The entries of a log above its base, oldest first: the reference implementation of `Epochs`.
#[derive(Clone, Debug)]
struct Log {
    base: Zxid,
    entries: Vec<Zxid>,
}

impl Log {
    /// A log above `base` made of runs: how far the epoch rises, and how many entries it has.
    fn new(base: Zxid, runs: &[(u64, u64)]) -> Log {
        let mut log = Log { base, entries: Vec::new() };
        for (rise, count) in runs {
            let epoch = Epoch(log.last().epoch.0 + rise);
            for _ in 0..*count {
                log.entries.push(Zxid { epoch, counter: log.last().counter + 1 });
            }
        }
        log
    }

    fn last(&self) -> Zxid {
        self.entries.last().copied().unwrap_or(self.base)
    }

    /// Everything the log knows the epoch of.
    fn known(&self) -> Vec<Zxid> {
        core::iter::once(self.base).chain(self.entries.iter().copied()).collect()
    }

    fn ends(&self) -> Vec<Zxid> {
        let mut ends: Vec<Zxid> = Vec::new();
        for entry in &self.entries {
            match ends.last_mut() {
                Some(end) if end.epoch == entry.epoch => *end = *entry,
                _ => ends.push(*entry),
            }
        }
        ends
    }

    fn epochs(&self) -> Epochs {
        Epochs::new(self.base, self.ends()).expect("runs ascend")
    }
}

/// Runs of entries; the first may go on in the base's epoch.
fn runs() -> impl Strategy<Value = Vec<(u64, u64)>> {
    vec((1..3_u64, 1..5_u64), 0..6)
}

/// Two logs that can occur in one ensemble: equal up to some entry, then each in epochs that the other has not.
fn forked() -> impl Strategy<Value = (Log, Log)> {
    (runs(), runs(), runs()).prop_map(|(shared, left, right)| {
        let shared = Log::new(Zxid::ZERO, &shared);
        let fork = |runs: &[(u64, u64)], parity: u64| {
            let mut log = shared.clone();
            // An epoch has one leader, so an epoch in both branches would be the same entries: even ones go
            // to the left, odd ones to the right.
            for (rise, count) in runs {
                let mut epoch = log.last().epoch.0 + rise;
                epoch += (epoch + parity) % 2;
                for _ in 0..*count {
                    log.entries.push(Zxid::new(epoch, log.last().counter + 1));
                }
            }
            log
        };
        (fork(&left, 0), fork(&right, 1))
    })
}

/// The end of the longest common beginning, if both logs know it.
fn common(left: &Log, right: &Log) -> Option<Zxid> {
    left.known().into_iter().filter(|zxid| right.known().contains(zxid)).max()
}

/// The same log without its older entries.
fn compacted(log: &Log, drop: usize) -> Log {
    let drop = drop.min(log.entries.len());
    let base = drop.checked_sub(1).map_or(log.base, |index| log.entries[index]);
    Log { base, entries: log.entries[drop..].to_vec() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_quorum_is_more_than_half(count in 1..10_u64, chosen in any::<u16>()) {
        let holds = |voter: &Voter| chosen & (1 << voter.node.0) != 0;
        let yes = members(count).voters().iter().filter(|voter| holds(voter)).count() as u64;
        prop_assert_eq!(members(count).has_quorum(holds), 2 * yes > count);
    }

    #[test]
    fn two_quorums_share_a_voter(count in 1..10_u64, left in any::<u16>(), right in any::<u16>()) {
        let within = |chosen: u16| move |voter: &Voter| chosen & (1 << voter.node.0) != 0;
        let members = members(count);
        if members.has_quorum(within(left)) && members.has_quorum(within(right)) {
            prop_assert!(members.voters().iter().any(within(left & right)));
        }
    }

    #[test]
    fn the_quorum_value_is_the_largest_that_a_quorum_has_reached(reached in vec(0..20_u64, 1..10)) {
        let members = members(reached.len() as u64);
        let of = |voter: &Voter| reached[usize::try_from(voter.node.0).expect("few") - 1];
        let best = (0..=20).filter(|value| members.has_quorum(|voter| of(voter) >= *value)).max();
        prop_assert_eq!(Some(members.quorum_value(of)), best);
    }

    #[test]
    fn epochs_know_what_the_entries_know(all in runs(), drop in 0..12_usize) {
        let log = compacted(&Log::new(Zxid::ZERO, &all), drop);
        let epochs = log.epochs();
        prop_assert_eq!(epochs.last(), log.last());
        prop_assert_eq!(epochs.base(), log.base);
        for counter in 0..=log.last().counter + 2 {
            let known = log.known().into_iter().find(|zxid| zxid.counter == counter);
            prop_assert_eq!(epochs.at(counter), known, "at {}", counter);
        }
    }

    #[test]
    fn epochs_that_do_not_ascend_are_refused(base in (0..4_u64, 0..4_u64), ends in vec((0..6_u64, 0..8_u64), 0..5)) {
        let zxid = |(epoch, counter): (u64, u64)| Zxid::new(epoch, counter);
        let (base, ends): (Zxid, Vec<Zxid>) = (zxid(base), ends.into_iter().map(zxid).collect());
        let above = ends.first().is_none_or(|end| end.counter > base.counter && end.epoch >= base.epoch);
        let ascend = ends.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].counter < pair[1].counter);
        prop_assert_eq!(Epochs::new(base, ends).is_some(), above && ascend);
    }

    #[test]
    fn the_common_point_is_the_last_shared_entry((left, right) in forked(), drops in (0..12_usize, 0..12_usize)) {
        let (left, right) = (compacted(&left, drops.0), compacted(&right, drops.1));
        let expected = common(&left, &right);
        prop_assert_eq!(left.epochs().common_point(&right.epochs()), expected);
        prop_assert_eq!(right.epochs().common_point(&left.epochs()), expected);
    }

    #[test]
    fn a_plan_makes_the_follower_equal_to_its_leader((leader, follower) in forked(), drop in 0..12_usize) {
        let leader = compacted(&leader, drop);
        match plan(&leader.epochs(), &follower.epochs()) {
            Plan::Diff { base } => {
                // Back to the base, then the leader's entries from there on; nothing that both hold is sent.
                prop_assert!(follower.known().contains(&base));
                let mut result: Vec<Zxid> =
                    follower.known().into_iter().filter(|zxid| zxid.counter <= base.counter).collect();
                result.extend(leader.entries.iter().filter(|zxid| zxid.counter > base.counter));
                for (place, zxid) in result.iter().enumerate() {
                    prop_assert_eq!(zxid.counter, place as u64, "a gap");
                }
                prop_assert_eq!(result.last().copied(), Some(leader.last()));
                prop_assert_eq!(Some(base), common(&leader, &follower));
            }
            Plan::Snapshot => prop_assert_eq!(common(&leader, &follower), None),
        }
    }

    #[test]
    fn recent_epochs_describe_the_same_log(all in runs(), count in 0..8_usize) {
        let log = Log::new(Zxid::ZERO, &all);
        let (epochs, recent) = (log.epochs(), log.epochs().recent(count));
        prop_assert_eq!(recent.last(), epochs.last());
        prop_assert!(recent.ends().len() <= count);
        for counter in recent.base().counter..=recent.last().counter {
            prop_assert_eq!(recent.at(counter), epochs.at(counter));
        }
        // Positions outside of its description are unknown.
        if let Some(below) = recent.base().counter.checked_sub(1) {
            prop_assert_eq!(recent.at(below), None);
        }
    }

    #[test]
    fn zxids_are_ordered_by_epoch_first(left in (any::<u64>(), any::<u64>()), right in (any::<u64>(), any::<u64>())) {
        let zxid = |(epoch, counter): (u64, u64)| Zxid::new(epoch, counter);
        prop_assert_eq!(zxid(left).cmp(&zxid(right)), left.cmp(&right));
    }
}
