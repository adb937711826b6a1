//! Percentiles of latencies, and medians with ranges over rounds.

use std::{collections::BTreeMap, time::Duration};

/// Latencies of operations in nanoseconds.
#[derive(Default)]
pub(crate) struct Latencies {
    samples: Vec<u64>,
}

/// The percentiles of one measurement, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Percentiles {
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

/// A median with the range of its values.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Latencies {
    /// Adds one operation.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.samples.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Moves all operations of `other` to this one.
    pub(crate) fn append(&mut self, other: &mut Latencies) {
        self.samples.append(&mut other.samples);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// The percentiles, `None` without operations.
    pub(crate) fn percentiles(mut self) -> Option<Percentiles> {
        self.samples.sort_unstable();
        let max = *self.samples.last()?;
        let at = |quantile| nearest_rank(&self.samples, quantile) as f64 / 1e3;
        Some(Percentiles {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: max as f64 / 1e3,
        })
    }
}

/// The smallest value that at least the share `quantile` of all values does not exceed. `sorted` is not empty.
fn nearest_rank(sorted: &[u64], quantile: f64) -> u64 {
    let rank = (quantile * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

impl Spread {
    /// The median and range of values, `None` without values. Of an even number of values, the median is the mean of
    /// the two in the middle.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Spread { median, min, max })
    }

    /// The spread of the quotients of one round's values each, given by round: the systems of a round ran one after the
    /// other, so that a change of the machine's speed between rounds does not appear in them. Rounds without a value, or
    /// with a divisor of 0, are left out.
    pub(crate) fn of_ratios(values: &BTreeMap<u32, f64>, divisors: &BTreeMap<u32, f64>) -> Option<Spread> {
        let ratio = |(round, value): (&u32, &f64)| {
            let divisor = divisors.get(round).filter(|divisor| **divisor > 0.0)?;
            Some(value / divisor)
        };
        Spread::of(values.iter().filter_map(ratio))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(us: impl IntoIterator<Item = u64>) -> Latencies {
        let mut all = Latencies::default();
        us.into_iter().for_each(|us| all.record(Duration::from_micros(us)));
        all
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut all = latencies((1..=500).rev());
        all.append(&mut latencies(501..=1000));
        assert_eq!(all.len(), 1000);
        let percentiles = all.percentiles().expect("not empty");
        let expected =
            Percentiles { p50_us: 500.0, p90_us: 900.0, p99_us: 990.0, p999_us: 999.0, max_us: 1000.0 };
        assert_eq!(percentiles, expected);
        assert_eq!(latencies([7]).percentiles().expect("not empty").p50_us, 7.0);
        assert!(Latencies::default().percentiles().is_none());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_two_values() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn ratios_are_those_of_each_round() {
        let values = BTreeMap::from([(1, 10.0), (2, 20.0), (3, 30.0), (5, 1.0)]);
        let divisors = BTreeMap::from([(1, 5.0), (2, 5.0), (3, 0.0), (4, 1.0)]);
        let expected = Spread { median: 3.0, min: 2.0, max: 4.0 };
        assert_eq!(Spread::of_ratios(&values, &divisors), Some(expected));
        assert_eq!(Spread::of_ratios(&values, &BTreeMap::new()), None);
    }
}
