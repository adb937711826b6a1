//! How long calls took, counted in classes that are at most 1/64 wide.

use std::time::Duration;

/// Steps between a power of two and the next.
const STEPS: u64 = 64;

/// Durations from 1 µs to hours, in memory that does not grow with their number.
#[derive(Clone, Default)]
pub(crate) struct Latencies {
    classes: Vec<u64>,
    count: u64,
    max: Duration,
}

/// The class of so many microseconds: exact below 64, then 64 classes for each power of two.
fn class(us: u64) -> usize {
    let power = us.max(STEPS).ilog2() - STEPS.ilog2();
    (u64::from(power) * STEPS + (us >> power)) as usize
}

/// The largest number of microseconds in a class.
fn upper(class: usize) -> u64 {
    let class = class as u64;
    let power = (class / STEPS).saturating_sub(1);
    ((class - power * STEPS + 1) << power) - 1
}

impl Latencies {
    /// Counts one.
    pub(crate) fn add(&mut self, took: Duration) {
        let class = class(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if self.classes.len() <= class {
            self.classes.resize(class + 1, 0);
        }
        self.classes[class] += 1;
        self.count += 1;
        self.max = self.max.max(took);
    }

    /// Counts those of another.
    pub(crate) fn merge(&mut self, other: &Latencies) {
        if self.classes.len() < other.classes.len() {
            self.classes.resize(other.classes.len(), 0);
        }
        for (mine, others) in self.classes.iter_mut().zip(&other.classes) {
            *mine += others;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// What `share` of them, from 0 to 1, did not exceed; nothing if there are none.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        for (class, count) in self.classes.iter().enumerate() {
            below += count;
            if below >= rank {
                return Duration::from_micros(upper(class)).min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_each_other_and_are_narrow() {
        let mut before = None;
        for us in
            (0..10_000).chain((14..40).flat_map(|power| [(1u64 << power) - 1, 1 << power, (1 << power) + 1]))
        {
            let class = class(us);
            assert!(before.is_none_or(|before| class >= before), "{us}");
            before = Some(class);
            assert!(us <= upper(class) && upper(class) <= us + us / STEPS, "{us}: {}", upper(class));
        }
    }

    #[test]
    fn percentiles_agree_with_counting() {
        let mut latencies = Latencies::default();
        let mut other = Latencies::default();
        assert_eq!(latencies.percentile(0.5), Duration::ZERO);
        for us in 1..=1000 {
            let half = if us % 2 == 0 { &mut latencies } else { &mut other };
            half.add(Duration::from_micros(us));
        }
        latencies.merge(&other);
        assert_eq!((latencies.count(), latencies.max()), (1000, Duration::from_millis(1)));
        for (share, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0), (0.001, 1.0)] {
            let found = latencies.percentile(share).as_micros() as f64;
            assert!(found >= exact && found <= exact * (1.0 + 1.0 / STEPS as f64), "{share}: {found}");
        }
    }
}
