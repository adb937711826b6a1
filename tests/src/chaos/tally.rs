//! The counts of a run, and their reports.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::kinds::{Group, Kind};

/// The acknowledged operations per second before a fault, below which the fault is invalid.
pub(super) const RATE_MIN: f64 = 200.0;
/// The number of violations that are printed.
pub(super) const SHOWN_MAX: usize = 20;

/// The counts of one kind of fault.
#[derive(Clone, Default, Debug)]
pub struct FaultCounts {
    /// The number of faults with an effect, under load.
    pub valid: u64,
    /// The number of processes affected by these.
    pub processes: u64,
    /// The number of faults without an effect or without load.
    pub invalid: u64,
    /// The time after each valid fault until the next acknowledged write.
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

/// All counts of a run.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    /// The number of started ensembles.
    pub ensembles: u64,
    /// The number of ensembles that reached the final check.
    pub judged: u64,
    /// The number of valid faults of these ensembles.
    pub faults_judged: u64,
    /// The counts of each kind.
    pub faults: BTreeMap<Kind, FaultCounts>,
    /// The number of operations that clients called.
    pub operations: u64,
    /// The number of acknowledged operations.
    pub acknowledged: u64,
    /// The number of operations that failed with the outcome `NotApplied`.
    pub refused: u64,
    /// The number of writes with the outcome `Unknown`.
    pub unknown: u64,
    /// The number of acknowledged writes that were read from every node.
    pub looked_for: u64,
    /// The number of acknowledged writes missing on a node, summed over the nodes.
    pub lost: u64,
    /// The number of checked histories, one for each key.
    pub histories: u64,
    /// The number of histories that are not linearizable.
    pub illegal: u64,
    /// The number of histories whose check ran out of steps.
    pub unverified: u64,
    /// The lowest rate before a fault.
    pub rate_lowest: Option<f64>,
    /// The sum of the rates before faults.
    pub rate_sum: f64,
    /// The number of rates in that sum.
    pub rates: u64,
    /// Violations, one line each.
    pub violations: Vec<String>,
    /// How often each outcome of a valid fault occurred, for faults that may have several.
    pub outcomes: BTreeMap<String, u64>,
    /// How often each reason made a fault invalid.
    pub reasons: BTreeMap<String, u64>,
    /// Kinds of faults that this machine does not allow, with reasons.
    pub skipped: Vec<String>,
}

impl Tally {
    /// Counts a rate before a fault.
    pub fn rate(&mut self, rate: f64) {
        self.rate_lowest = Some(self.rate_lowest.map_or(rate, |lowest| lowest.min(rate)));
        self.rate_sum += rate;
        self.rates += 1;
    }

    /// Counts a fault and its recovery.
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

    /// Returns the counts of a group.
    pub fn group(&self, group: Group) -> FaultCounts {
        let mut all = FaultCounts::default();
        for counts in group.kinds().filter_map(|kind| self.faults.get(&kind)) {
            all.add(counts);
        }
        all
    }

    /// Returns the numbers of valid and of invalid faults.
    pub fn fault_counts(&self) -> (u64, u64) {
        let sum = |count: fn(&FaultCounts) -> u64| self.faults.values().map(count).sum();
        (sum(|counts| counts.valid), sum(|counts| counts.invalid))
    }

    /// Whether there was no violation.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.lost == 0 && self.illegal == 0
    }

    /// Returns the summary as a table.
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
            "{} ensembles, {} judged, with {} of {} valid faults; {} operations: {} acknowledged, {} refused, {} unknown; before the faults \
             {rate:.0}/s, at the slowest {:.0}/s\n",
            self.ensembles,
            self.judged,
            self.faults_judged,
            self.fault_counts().0,
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

    /// Returns the summary in one line.
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

/// A tally shared by a run and its caller.
pub type SharedTally = Arc<Mutex<Tally>>;

/// Returns the given percentile, `None` if `times` is empty.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Option<Duration> {
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
