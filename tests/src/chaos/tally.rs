//! What a run counts, and how it says it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::kinds::{Group, Kind};

/// Acknowledged operations a second that the clients must reach before a fault, or the fault counts as invalid.
pub(super) const RATE_MIN: f64 = 200.0;
/// Violations that are shown.
pub(super) const SHOWN_MAX: usize = 20;

/// One kind of fault.
#[derive(Clone, Default, Debug)]
pub struct FaultCounts {
    /// Faults that had an effect, under load.
    pub valid: u64,
    /// Processes that these have hit.
    pub processes: u64,
    /// Faults that proved nothing.
    pub invalid: u64,
    /// How long after each valid one the next write was acknowledged.
    pub served: Vec<Duration>,
}

impl FaultCounts {
    fn add(&mut self, other: &FaultCounts) {
        self.valid += other.valid;
        self.processes += other.processes;
        self.invalid += other.invalid;
        self.served.extend(&other.served);
    }
}

/// Everything that is counted.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    /// Ensembles that were started.
    pub ensembles: u64,
    /// Those that came to a verdict.
    pub judged: u64,
    /// By kind.
    pub faults: BTreeMap<Kind, FaultCounts>,
    /// Operations that clients called.
    pub operations: u64,
    /// Those that were answered for good.
    pub acknowledged: u64,
    /// Those that were answered with a failure that promises no effect.
    pub refused: u64,
    /// Writes whose outcome nobody knows.
    pub unknown: u64,
    /// Acknowledged writes that were looked for, each on every node.
    pub looked_for: u64,
    /// How often a node did not have one.
    pub lost: u64,
    /// Histories of one key.
    pub histories: u64,
    /// Those without a legal order.
    pub illegal: u64,
    /// Those whose check ran out of steps.
    pub unverified: u64,
    /// The slowest and the sum of the rates before faults, and how many there were.
    pub rate_lowest: Option<f64>,
    /// Sum of the rates before faults.
    pub rate_sum: f64,
    /// Rates in that sum.
    pub rates: u64,
    /// What must never be, one line each.
    pub violations: Vec<String>,
    /// How valid faults ended that may end in several ways, and how often.
    pub outcomes: BTreeMap<String, u64>,
    /// Why faults were invalid, and how often.
    pub reasons: BTreeMap<String, u64>,
    /// Kinds of faults that this machine does not allow, and why.
    pub skipped: Vec<String>,
}

impl Tally {
    /// A rate before a fault.
    pub fn rate(&mut self, rate: f64) {
        self.rate_lowest = Some(self.rate_lowest.map_or(rate, |lowest| lowest.min(rate)));
        self.rate_sum += rate;
        self.rates += 1;
    }

    /// A fault and its recovery.
    pub fn fault(&mut self, kind: Kind, processes: usize, effect: Result<(), String>, served: Duration) {
        let counts = self.faults.entry(kind).or_default();
        match effect {
            Ok(()) => {
                counts.valid += 1;
                counts.processes += processes as u64;
                counts.served.push(served);
            }
            Err(reason) => {
                counts.invalid += 1;
                *self.reasons.entry(reason).or_default() += 1;
            }
        }
    }

    /// All kinds of a group together.
    pub fn group(&self, group: Group) -> FaultCounts {
        let mut all = FaultCounts::default();
        for counts in group.kinds().filter_map(|kind| self.faults.get(&kind)) {
            all.add(counts);
        }
        all
    }

    /// Faults that had an effect, and those that had none.
    pub fn fault_counts(&self) -> (u64, u64) {
        let sum = |count: fn(&FaultCounts) -> u64| self.faults.values().map(count).sum();
        (sum(|counts| counts.valid), sum(|counts| counts.invalid))
    }

    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.lost == 0 && self.illegal == 0
    }

    /// The summary, for people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<32} {:>7} {:>10} {:>8} {:>30}\n",
            "fault", "faults", "processes", "invalid", "served again: p50, p99, max"
        );
        let line = |name: &str, counts: &FaultCounts| {
            let at = |percent| percentile(&counts.served, percent).unwrap_or_default();
            let times = match counts.served.len() {
                0 => "-".to_owned(),
                _ => format!("{:.0?}, {:.0?}, {:.0?}", at(50), at(99), at(100)),
            };
            format!(
                "{name:<32} {:>7} {:>10} {:>8} {times:>30}\n",
                counts.valid, counts.processes, counts.invalid
            )
        };
        let mut all = FaultCounts::default();
        for group in Group::all() {
            let kinds: Vec<(Kind, &FaultCounts)> =
                group.kinds().filter_map(|kind| Some((kind, self.faults.get(&kind)?))).collect();
            for (kind, counts) in &kinds {
                text += &line(kind.name(), counts);
            }
            let together = self.group(group);
            if kinds.len() > 1 {
                text += &line(&format!("= {group}"), &together);
            }
            all.add(&together);
        }
        text += &line("= all", &all);
        self.outcomes.iter().for_each(|(outcome, count)| text += &format!("{outcome}, {count} times\n"));
        let rate = self.rate_sum / self.rates.max(1) as f64;
        text += &format!(
            "{} ensembles, {} judged; {} operations: {} acknowledged, {} refused, {} unknown; before the faults \
             {rate:.0}/s, at the slowest {:.0}/s\n",
            self.ensembles,
            self.judged,
            self.operations,
            self.acknowledged,
            self.refused,
            self.unknown,
            self.rate_lowest.unwrap_or_default()
        );
        text += &format!(
            "{} acknowledged writes looked for on every node, {} lost; {} histories of one key, {} illegal, {} \
             unverified\n",
            self.looked_for, self.lost, self.histories, self.illegal, self.unverified
        );
        self.reasons
            .iter()
            .for_each(|(reason, count)| text += &format!("invalid, {count} times: {reason}\n"));
        self.skipped.iter().for_each(|skipped| text += &format!("not tried on this machine: {skipped}\n"));
        let shown = self.violations.iter().take(SHOWN_MAX);
        shown.for_each(|violation| text += &format!("VIOLATION: {violation}\n"));
        text += &format!("{} violations", self.violations.len());
        text
    }

    /// The summary in one line, for the record.
    pub fn line(&self) -> String {
        let (valid, invalid) = self.fault_counts();
        let count = |group| {
            let FaultCounts { valid, processes, .. } = self.group(group);
            if processes == valid { valid.to_string() } else { format!("{valid} of {processes} processes") }
        };
        let groups: Vec<String> = Group::all()
            .filter(|group| self.group(*group).valid > 0)
            .map(|group| format!("{group} {}", count(group)))
            .collect();
        let served: Vec<Duration> = self.faults.values().flat_map(|counts| counts.served.clone()).collect();
        let at = |percent| percentile(&served, percent).unwrap_or_default();
        format!(
            "{valid} faults ({}), {invalid} invalid; {} operations, {} acknowledged, {} unknown; {} lost, {} illegal, \
             {} unverified of {} histories; {} violations; served again after p50 {:.0?}, max {:.0?}",
            groups.join(", "),
            self.operations,
            self.acknowledged,
            self.unknown,
            self.lost,
            self.illegal,
            self.unverified,
            self.histories,
            self.violations.len(),
            at(50),
            at(100),
        )
    }
}

/// Locks a tally, also after a panic elsewhere.
pub(super) fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A tally shared by a run and its caller.
pub(super) type SharedTally = Arc<Mutex<Tally>>;

/// Returns the given percentile, `None` if `times` is empty.
pub(super) fn percentile(times: &[Duration], percent: usize) -> Option<Duration> {
    let mut times = times.to_vec();
    times.sort_unstable();
    let last = times.len().checked_sub(1)?;
    times.get((last * percent).div_ceil(100)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_list() {
        let times: Vec<Duration> = (1..=101).rev().map(Duration::from_millis).collect();
        for (percent, millis) in [(0, 1), (50, 51), (99, 100), (100, 101)] {
            assert_eq!(percentile(&times, percent), Some(Duration::from_millis(millis)));
        }
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn an_invalid_fault_counts_for_nothing_else() {
        let mut tally = Tally::default();
        tally.fault(Kind::KillAll, 3, Ok(()), Duration::from_millis(7));
        tally.fault(Kind::KillAll, 3, Err("slow".to_owned()), Duration::from_secs(7));
        assert_eq!(tally.fault_counts(), (1, 1));
        assert!(tally.line().starts_with("1 faults (kill 1 of 3 processes), 1 invalid;"), "{}", tally.line());
        assert!(tally.line().ends_with("max 7ms"), "{}", tally.line());
        let table = tally.table();
        assert!(table.contains("invalid, 1 times: slow") && table.ends_with("0 violations"), "{table}");
        assert!(tally.is_clean());
        tally.lost = 1;
        assert!(!tally.is_clean());
    }
}
