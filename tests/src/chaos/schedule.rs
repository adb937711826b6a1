//! The order of the faults, and the end of a run.

use std::{collections::BTreeMap, str::FromStr};

use super::{
    kinds::{GROUPS, Group, KINDS, Kind, Row},
    tally::Tally,
};
use crate::random::Random;

/// The number of valid faults that are wanted of each group. `kill=300,pause=100` as text.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Counts(BTreeMap<Group, u64>);

impl Counts {
    /// Returns each group with the number of valid faults that are still missing.
    pub(super) fn missing<'a>(&'a self, tally: &'a Tally) -> impl Iterator<Item = (Group, u64)> + 'a {
        let missing =
            |(group, count): (&Group, &u64)| (*group, count.saturating_sub(tally.group(*group).valid));
        self.0.iter().map(missing).filter(|(_, count)| *count > 0)
    }

    /// Returns the groups with the wanted numbers.
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

/// When a run is over, and so which fault is next.
#[derive(Clone, Debug)]
pub enum Plan {
    /// All kinds for this time.
    Time(std::time::Duration),
    /// These groups until there are enough valid faults of each.
    Counts(Counts),
}

/// The order of the faults: rounds in which every allowed kind occurs as often as its weight, each shuffled.
pub(super) struct Schedule {
    allowed: Vec<Row>,
    /// The rest of the current round.
    round: Vec<Kind>,
}

impl Schedule {
    /// Schedules all kinds for which `allowed` holds.
    pub(super) fn of(allowed: impl Fn(Kind) -> bool) -> Schedule {
        Schedule {
            allowed: KINDS.into_iter().filter(|(kind, ..)| allowed(*kind)).collect(),
            round: Vec::new(),
        }
    }

    /// Whether a kind is allowed.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.allowed.iter().any(|(allowed, ..)| *allowed == kind)
    }

    /// Returns the next kind, `None` if the plan is carried out. With counts, a group is the likelier the
    /// more of it is missing, so that all are mixed to the end.
    pub(super) fn next(&mut self, plan: &Plan, tally: &Tally, random: &mut Random) -> Option<Kind> {
        match plan {
            Plan::Time(_) => {
                if self.round.is_empty() {
                    let times = |(kind, _, times, _): &Row| std::iter::repeat_n(*kind, *times as usize);
                    self.round = self.allowed.iter().flat_map(times).collect();
                    for place in (1..self.round.len()).rev() {
                        self.round.swap(place, random.below(place as u64 + 1) as usize);
                    }
                }
                self.round.pop()
            }
            Plan::Counts(counts) => {
                let missing = counts
                    .missing(tally)
                    .filter(|(missing, _)| self.allowed.iter().any(|(_, group, ..)| group == missing));
                let group = weighted(&missing.collect::<Vec<_>>(), random)?;
                let kinds = self.allowed.iter().filter(|(_, of, ..)| *of == group);
                weighted(&kinds.map(|(kind, _, times, _)| (*kind, *times)).collect::<Vec<_>>(), random)
            }
        }
    }
}

/// Returns one of the choices at random, with these weights.
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
    fn a_schedule_plays_whole_rounds_and_counts_until_they_are_met() {
        let mut random = crate::random::seeded(1);
        let mut schedule = Schedule::of(|kind| kind != Kind::Flip);
        let plan = Plan::Time(Duration::from_secs(1));
        let kinds: u64 = schedule.allowed.iter().map(|(_, _, times, _)| times).sum();
        let drawn: Vec<Kind> =
            (0..kinds).filter_map(|_| schedule.next(&plan, &Tally::default(), &mut random)).collect();
        assert!(schedule.round.is_empty() && !drawn.contains(&Kind::Flip));
        assert_eq!(drawn.iter().filter(|kind| **kind == Kind::KillLeader).count(), 3);

        let plan = Plan::Counts("pause=5,disk-full=2,flipped-bit=1".parse().unwrap());
        let mut tally = Tally::default();
        while let Some(kind) = schedule.next(&plan, &tally, &mut random) {
            assert!([Group::Pause, Group::DiskFull].contains(&kind.group()), "{kind:?}");
            let effect = if random.percent(50) { Ok(()) } else { Err("no".to_owned()) };
            tally.fault(kind, 1, effect, Duration::ZERO);
        }
        // Kinds that are not allowed stay missing.
        let Plan::Counts(counts) = plan else { unreachable!("see above") };
        assert_eq!(counts.missing(&tally).collect::<Vec<_>>(), [(Group::FlippedBit, 1)]);
        assert_eq!(tally.group(Group::Pause).valid, 5);
        assert_eq!(tally.group(Group::DiskFull).valid, 2);
    }
}
