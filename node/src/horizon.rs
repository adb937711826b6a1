//! When the leader raises the horizon of the history: by age, by size, and at once when disks are short of space.
//!
//! The age of a revision is known to a leader from its own time as leader only; what it does not know keeps history longer.

use std::collections::VecDeque;

use gometa_zab::Ticks;

use crate::config::HistoryBounds;

/// The most revisions that are dropped at once. If more are due, the next ones follow soon.
const REVISIONS_MAX: u64 = 50_000;

/// The fewest revisions that are dropped. A raise is a revision too: an ensemble without writes must come to rest.
const REVISIONS_MIN: u64 = 2;

/// The part of [`HistoryBounds::revisions_min`] that must be due to be dropped by age.
const AGE_PART: u64 = 16;

/// The part of the interval after which more revisions are dropped that are due, or looked at while disks are short of space or
/// the history exceeds half of its bound.
const SOON: u64 = 16;

/// What a raise is decided from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) applied: u64,
    pub(crate) horizon: u64,
    /// The size of the history, in bytes.
    pub(crate) bytes: u64,
    pub(crate) short_of_space: bool,
}

/// What a leader knows of the age of revisions.
#[derive(Debug, Default)]
pub(crate) struct Horizon {
    /// When which revision was the last one, oldest first.
    samples: VecDeque<(Ticks, u64)>,
    next: Ticks,
    /// The horizon that was proposed last, unless that was rejected.
    proposed: u64,
}

impl Horizon {
    /// Forgets the ages: this node does not lead any more.
    pub(crate) fn stop(&mut self) {
        *self = Horizon::default();
    }

    /// What was proposed last was rejected.
    pub(crate) fn rejected(&mut self) {
        self.proposed = 0;
    }

    /// Whether [`Horizon::raise`] is to be asked.
    pub(crate) fn is_due(&self, now: Ticks) -> bool {
        now >= self.next
    }

    /// The horizon to propose, if it is to be raised.
    pub(crate) fn raise(&mut self, now: Ticks, figures: Figures, bounds: &HistoryBounds) -> Option<u64> {
        let Figures { applied, horizon, bytes, short_of_space } = figures;
        self.samples.push_back((now, applied));
        let is_old = |sample: &(Ticks, u64)| now.since(sample.0) >= bounds.age_us;
        // The newest old one is kept.
        while self.samples.get(1).is_some_and(is_old) {
            self.samples.pop_front();
        }
        let old = self.samples.front().filter(|sample| is_old(sample)).map_or(0, |(_, revision)| *revision);
        let by_age = old.min(applied.saturating_sub(bounds.revisions_min));
        let by_age = if by_age >= horizon + bounds.revisions_min / AGE_PART { by_age } else { 0 };
        // Down to three quarters of the bound, as if all revisions had the same size.
        let by_size = match bytes.checked_sub(bounds.bytes_max) {
            Some(1..) => {
                let excess = u128::from(bytes - bounds.bytes_max / 4 * 3);
                let revisions = u128::from(applied - horizon) * excess / u128::from(bytes);
                horizon + u64::try_from(revisions).unwrap_or(u64::MAX)
            }
            Some(0) | None => 0,
        };
        let by_space = if short_of_space { applied } else { 0 };
        let wanted = by_age.max(by_size).max(by_space);
        probe!("history.dropped-by-age", by_age > horizon);
        probe!("history.dropped-by-size", by_size > horizon);
        probe!("history.dropped-by-space", by_space > horizon);
        let raised = wanted.min(horizon + REVISIONS_MAX);
        // Large values can fill what is left of the bound before the interval is over.
        let soon = short_of_space || raised < wanted || bytes > bounds.bytes_max / 2;
        self.next = now.plus(if soon { bounds.interval_us / SOON } else { bounds.interval_us });
        // While a raise is on its way, the revisions that it makes are none to be dropped.
        if horizon < self.proposed || raised < horizon + REVISIONS_MIN {
            return None;
        }
        self.proposed = raised;
        Some(raised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: HistoryBounds = HistoryBounds {
        age_us: 1_000,
        revisions_min: 100,
        bytes_max: 1_000,
        bytes_limit: u64::MAX,
        interval_us: 160,
    };

    fn figures(applied: u64, horizon: u64, bytes: u64) -> Figures {
        Figures { applied, horizon, bytes, short_of_space: false }
    }

    #[test]
    fn history_is_kept_until_it_is_old_and_there_is_enough_of_it() {
        let mut ages = Horizon::default();
        let mut raise = |now, applied| {
            assert!(ages.is_due(Ticks(now)));
            ages.rejected();
            ages.raise(Ticks(now), figures(applied, 0, 0), &BOUNDS)
        };
        assert_eq!(raise(0, 500), None);
        assert_eq!(raise(990, 550), None, "not old");
        assert_eq!(raise(1_150, 560), Some(460), "100 revisions are kept");
        assert_eq!(raise(1_400, 1_000), Some(500), "500 is the last one that is known to be old");
        assert_eq!(raise(1_990, 1_000), Some(550));
        assert!(!ages.is_due(Ticks(1_990 + BOUNDS.interval_us - 1)));
        // Each raise is a revision, and the next one is not due because of it.
        ages.rejected();
        let (mut applied, mut horizon, mut last) = (1_000, 550, 0);
        for now in (9_000..99_000).step_by(1_000) {
            if let Some(raised) = ages.raise(Ticks(now), figures(applied, horizon, 0), &BOUNDS) {
                (applied, horizon, last) = (applied + 1, raised, now);
            }
        }
        assert!(horizon >= 900 && last < 20_000, "{horizon} {applied}, at {last}");
        ages.stop();
        assert_eq!(ages.raise(Ticks(9_000), figures(1_000, 0, 0), &BOUNDS), None, "not known any more");
    }

    #[test]
    fn history_is_dropped_by_size_and_at_once_without_space() {
        let mut ages = Horizon::default();
        assert_eq!(ages.raise(Ticks(0), figures(1_000, 200, 1_000), &BOUNDS), None);
        assert_eq!(ages.raise(Ticks(160), figures(1_000, 200, 1_500), &BOUNDS), Some(600), "half of it");
        assert!(ages.is_due(Ticks(160 + BOUNDS.interval_us / SOON)), "the next values may be large");
        ages.rejected();
        let short = Figures { short_of_space: true, ..figures(1_000, 200, 0) };
        assert_eq!(ages.raise(Ticks(320), short, &BOUNDS), Some(1_000));
        assert!(ages.is_due(Ticks(320 + BOUNDS.interval_us / SOON)));
    }

    #[test]
    fn one_raise_is_on_its_way_at_a_time() {
        let mut ages = Horizon::default();
        let short = |applied, horizon| Figures { short_of_space: true, ..figures(applied, horizon, 0) };
        assert_eq!(ages.raise(Ticks(0), short(100, 0), &BOUNDS), Some(100));
        assert_eq!(ages.raise(Ticks(160), short(110, 0), &BOUNDS), None);
        ages.rejected();
        assert_eq!(ages.raise(Ticks(320), short(110, 0), &BOUNDS), Some(110));
        assert_eq!(ages.raise(Ticks(480), short(120, 110), &BOUNDS), Some(120));
    }

    #[test]
    fn much_history_is_dropped_in_parts() {
        let mut ages = Horizon::default();
        let short = |horizon| Figures { short_of_space: true, ..figures(120_000, horizon, 0) };
        let mut horizons = vec![0];
        while let Some(raised) = ages.raise(Ticks(0), short(horizons[horizons.len() - 1]), &BOUNDS) {
            horizons.push(raised);
        }
        assert_eq!(horizons, [0, 50_000, 100_000, 120_000]);
    }
}
