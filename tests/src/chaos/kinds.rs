//! The kinds of faults, their groups, and the order in which they are played.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::tally::Tally;
use crate::random::Random;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// kill -9 of one node, whatever it is.
    Kill,
    /// kill -9 of the leader.
    KillLeader,
    /// kill -9 of all nodes.
    KillAll,
    /// kill -9 of one node after the other, each started again at once, for seconds: most are hit while they open
    /// their directories, elect, or synchronise.
    KillStorm,
    /// SIGSTOP of a node that does not lead, SIGCONT later.
    Pause,
    /// The same with the leader.
    PauseLeader,
    /// The same with all nodes.
    PauseAll,
    /// A node that does not lead is cut off from the others.
    Isolate,
    /// The leader is: it has the minority.
    IsolateLeader,
    /// One direction between two nodes, or to or from one of them, is cut.
    OneWay,
    /// The leader and a follower are cut off from each other, the third has both.
    Bridge,
    /// Connections end at one node, and the other does not hear of it.
    HalfOpen,
    /// Connections are reset, several times, wherever in a frame they are.
    Reset,
    /// Every direction has a delay of its own.
    Delay,
    /// Every direction has a delay that changes all the time.
    Jitter,
    /// Datagrams are lost while the leader is killed.
    Loss,
    /// Datagrams are doubled and overtake each other while the leader is killed.
    Jumble,
    /// A disk is full.
    DiskFull,
    /// Every sync of a node fails; half of the time the power is cut afterwards.
    SyncFails,
    /// Every sync of a node is slow.
    SyncSlow,
    /// The power of one node.
    PowerCut,
    /// The power of all nodes, at one moment.
    PowerCutAll,
    /// The wall clocks of some nodes jump, and jump back.
    Clock,
    /// Bits change in a file of one node that is down.
    Flip,
}

/// What is counted together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Group {
    /// kill -9.
    Kill,
    /// Power cuts.
    PowerCut,
    /// SIGSTOP.
    Pause,
    /// Lines that are cut.
    Partition,
    /// Connections that are broken.
    Connection,
    /// Lines that are slow.
    Delay,
    /// Datagrams.
    Datagram,
    /// Full disks.
    DiskFull,
    /// Failing syncs.
    FailingSync,
    /// Slow syncs.
    SlowSync,
    /// Wall clocks.
    Clock,
    /// Bits on disk.
    FlippedBit,
}

/// Each kind with its group, and how often it is in a deck. Decks are shuffled, and played to their ends.
const DECK: [(Kind, Group, u64); 24] = [
    (Kind::Kill, Group::Kill, 3),
    (Kind::KillLeader, Group::Kill, 3),
    (Kind::KillAll, Group::Kill, 1),
    (Kind::KillStorm, Group::Kill, 1),
    (Kind::Pause, Group::Pause, 2),
    (Kind::PauseLeader, Group::Pause, 2),
    (Kind::PauseAll, Group::Pause, 1),
    (Kind::Isolate, Group::Partition, 1),
    (Kind::IsolateLeader, Group::Partition, 1),
    (Kind::OneWay, Group::Partition, 1),
    (Kind::Bridge, Group::Partition, 1),
    (Kind::HalfOpen, Group::Connection, 1),
    (Kind::Reset, Group::Connection, 1),
    (Kind::Delay, Group::Delay, 1),
    (Kind::Jitter, Group::Delay, 1),
    (Kind::Loss, Group::Datagram, 1),
    (Kind::Jumble, Group::Datagram, 1),
    (Kind::DiskFull, Group::DiskFull, 1),
    (Kind::SyncFails, Group::FailingSync, 1),
    (Kind::SyncSlow, Group::SlowSync, 1),
    (Kind::PowerCut, Group::PowerCut, 2),
    (Kind::PowerCutAll, Group::PowerCut, 1),
    (Kind::Clock, Group::Clock, 1),
    (Kind::Flip, Group::FlippedBit, 1),
];

/// All groups by their names on the command line.
const GROUPS: [(Group, &str); 12] = [
    (Group::Kill, "kill"),
    (Group::PowerCut, "power-cut"),
    (Group::Pause, "pause"),
    (Group::Partition, "partition"),
    (Group::Connection, "connection"),
    (Group::Delay, "delay"),
    (Group::Datagram, "datagram"),
    (Group::DiskFull, "disk-full"),
    (Group::FailingSync, "failing-sync"),
    (Group::SlowSync, "slow-sync"),
    (Group::Clock, "clock"),
    (Group::FlippedBit, "flipped-bit"),
];

impl Kind {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill -9 of one",
            Kind::KillLeader => "kill -9 of the leader",
            Kind::KillAll => "kill -9 of all",
            Kind::KillStorm => "kill -9, many times",
            Kind::Pause => "pause",
            Kind::PauseLeader => "pause of the leader",
            Kind::PauseAll => "pause of all",
            Kind::Isolate => "partition, one alone",
            Kind::IsolateLeader => "partition, leader alone",
            Kind::OneWay => "partition, one way",
            Kind::Bridge => "partition, bridge",
            Kind::HalfOpen => "half-open connections",
            Kind::Reset => "connections reset",
            Kind::Delay => "delay",
            Kind::Jitter => "delay with jitter",
            Kind::Loss => "datagrams lost, leader killed",
            Kind::Jumble => "datagrams jumbled, leader killed",
            Kind::DiskFull => "disk full",
            Kind::SyncFails => "failing sync",
            Kind::SyncSlow => "slow sync",
            Kind::PowerCut => "power cut of one",
            Kind::PowerCutAll => "power cut of all",
            Kind::Clock => "wall clock jumps",
            Kind::Flip => "bits flipped on disk",
        }
    }

    /// What it is counted with.
    ///
    /// # Panics
    /// Never: every kind is in the deck.
    pub fn group(self) -> Group {
        let found = DECK.iter().find(|(kind, ..)| *kind == self);
        found.map(|(_, group, _)| *group).unwrap_or_else(|| panic!("{self:?} is in no deck"))
    }

    /// Whether it needs disk images.
    pub(super) fn needs_images(self) -> bool {
        matches!(self, Kind::DiskFull | Kind::PowerCut | Kind::PowerCutAll)
    }

    /// Whether it needs the library between server and system.
    pub(super) fn needs_library(self) -> bool {
        matches!(self, Kind::SyncFails | Kind::SyncSlow | Kind::Clock)
    }
}

impl Group {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Group> {
        GROUPS.iter().map(|(group, _)| *group)
    }

    /// The kinds that belong to it.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        DECK.iter().filter(move |(_, group, _)| *group == self).map(|(kind, ..)| *kind)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = GROUPS.iter().find(|(group, _)| group == self).map_or("?", |(_, name)| name);
        formatter.write_str(name)
    }
}

/// So many valid faults of each group. `kill=300,pause=100` as text.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Counts(BTreeMap<Group, u64>);

impl Counts {
    /// Each group with what is still missing of it.
    pub(super) fn missing<'a>(&'a self, tally: &'a Tally) -> impl Iterator<Item = (Group, u64)> + 'a {
        let missing =
            |(group, count): (&Group, &u64)| (*group, count.saturating_sub(tally.group(*group).valid));
        self.0.iter().map(missing).filter(|(_, count)| *count > 0)
    }

    /// The groups, and how many faults of each.
    pub fn each(&self) -> impl Iterator<Item = (Group, u64)> + '_ {
        self.0.iter().map(|(group, count)| (*group, *count))
    }
}

impl FromStr for Counts {
    type Err = String;

    fn from_str(text: &str) -> Result<Counts, String> {
        let mut counts = BTreeMap::new();
        for part in text.split(',') {
            let named = part.split_once('=').and_then(|(name, count)| {
                let (group, _) = GROUPS.iter().find(|(_, known)| *known == name.trim())?;
                Some((*group, count.trim().parse().ok()?))
            });
            let known = || GROUPS.map(|(_, name)| name).join(", ");
            let (group, count) =
                named.ok_or_else(|| format!("{part:?} is no KIND=COUNT; kinds: {}", known()))?;
            if counts.insert(group, count).is_some() {
                return Err(format!("{group} is there twice"));
            }
        }
        Ok(Counts(counts))
    }
}

/// What becomes of the standard output and standard error of all nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outputs {
    /// They go into files, and last lines are looked at.
    Kept,
    /// They are full pipes that are not read.
    Blocked,
}

/// When a run is over, and so what is struck next.
#[derive(Clone, Debug)]
pub enum Plan {
    /// All kinds, for as long as this.
    Time(std::time::Duration),
    /// These groups, until there are so many valid faults of each.
    Counts(Counts),
}

/// Where the next fault comes from.
pub(super) struct Deck {
    allowed: Vec<(Kind, Group, u64)>,
    cards: Vec<Kind>,
}

impl Deck {
    /// All kinds for which this holds.
    pub(super) fn of(allowed: impl Fn(Kind) -> bool) -> Deck {
        Deck { allowed: DECK.into_iter().filter(|(kind, ..)| allowed(*kind)).collect(), cards: Vec::new() }
    }

    /// Whether a kind may come.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.allowed.iter().any(|(allowed, ..)| *allowed == kind)
    }

    /// The next kind; `None` if nothing is left to do. Where counts are asked for, a group comes the more often the
    /// more of it is missing, so that all are mixed to the end.
    pub(super) fn draw(&mut self, plan: &Plan, tally: &Tally, random: &mut Random) -> Option<Kind> {
        match plan {
            Plan::Time(_) => {
                if self.cards.is_empty() {
                    let times =
                        |(kind, _, times): &(Kind, Group, u64)| std::iter::repeat_n(*kind, *times as usize);
                    self.cards = self.allowed.iter().flat_map(times).collect();
                    for place in (1..self.cards.len()).rev() {
                        self.cards.swap(place, random.below(place as u64 + 1) as usize);
                    }
                }
                self.cards.pop()
            }
            Plan::Counts(counts) => {
                let missing = counts
                    .missing(tally)
                    .filter(|(missing, _)| self.allowed.iter().any(|(_, group, _)| group == missing));
                let group = weighted(&missing.collect::<Vec<_>>(), random)?;
                let kinds = self.allowed.iter().filter(|(_, of, _)| *of == group);
                weighted(&kinds.map(|(kind, _, times)| (*kind, *times)).collect::<Vec<_>>(), random)
            }
        }
    }
}

/// One of these, each as likely as its number says.
fn weighted<T: Copy>(choices: &[(T, u64)], random: &mut Random) -> Option<T> {
    let sum: u64 = choices.iter().map(|(_, weight)| weight).sum();
    if sum == 0 {
        return None;
    }
    let mut place = random.below(sum);
    for (choice, weight) in choices {
        match place.checked_sub(*weight) {
            Some(rest) => place = rest,
            None => return Some(*choice),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn counts_are_read_and_refused() {
        let counts: Counts = "kill=300, flipped-bit=2".parse().unwrap();
        assert_eq!(counts.each().collect::<Vec<_>>(), [(Group::Kill, 300), (Group::FlippedBit, 2)]);
        for wrong in ["", "kill", "kill=", "kill=-1", "murder=1", "kill=1,kill=2"] {
            assert!(wrong.parse::<Counts>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_kind_is_in_a_group_that_has_a_name() {
        for (kind, group, times) in DECK {
            assert!(
                times > 0 && kind.group() == group && group.kinds().any(|other| other == kind),
                "{kind:?}"
            );
            assert!(GROUPS.iter().any(|(named, _)| *named == group), "{group:?}");
        }
    }

    #[test]
    fn a_deck_is_played_to_its_end_and_counts_until_they_are_met() {
        let mut random = Random::new(1);
        let mut deck = Deck::of(|kind| kind != Kind::Flip);
        let plan = Plan::Time(Duration::from_secs(1));
        let cards: u64 = deck.allowed.iter().map(|(.., times)| times).sum();
        let drawn: Vec<Kind> =
            (0..cards).filter_map(|_| deck.draw(&plan, &Tally::default(), &mut random)).collect();
        assert!(deck.cards.is_empty() && !drawn.contains(&Kind::Flip));
        assert_eq!(drawn.iter().filter(|kind| **kind == Kind::KillLeader).count(), 3);

        let plan = Plan::Counts("pause=5,disk-full=2,flipped-bit=1".parse().unwrap());
        let mut tally = Tally::default();
        while let Some(kind) = deck.draw(&plan, &tally, &mut random) {
            assert!([Group::Pause, Group::DiskFull].contains(&kind.group()), "{kind:?}");
            let effect = if random.percent(50) { Ok(()) } else { Err("no".to_owned()) };
            tally.fault(kind, 1, effect, Duration::ZERO);
        }
        // What is not allowed stays missing.
        let Plan::Counts(counts) = plan else { unreachable!("see above") };
        assert_eq!(counts.missing(&tally).collect::<Vec<_>>(), [(Group::FlippedBit, 1)]);
        assert_eq!(tally.group(Group::Pause).valid, 5);
        assert_eq!(tally.group(Group::DiskFull).valid, 2);
    }
}
