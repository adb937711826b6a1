//! The durations of the driver's steps. During a step the node sends no heartbeats and no answers, so a slow one shows that
//! the driver has waited for something: a lock, storage, or a processor.

use std::time::{Duration, Instant};

use tracing::warn;

/// A step is slow from this duration on: two and a half ticks.
const SLOW: Duration = Duration::from_millis(25);
/// The shortest time between two log lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// The slow steps.
#[derive(Default, Debug)]
pub(crate) struct Steps {
    /// Since the start.
    total: u64,
    /// Since the last log line.
    count: u32,
    /// The longest of these.
    longest: Duration,
    logged: Option<Instant>,
}

impl Steps {
    /// Accounts for a step that began at `begun` and ends `now`.
    pub(crate) fn done(&mut self, begun: Instant, now: Instant) {
        if let Some((steps, longest)) = self.slow(begun, now) {
            let total = self.total;
            warn!(steps, longest_ms = longest.as_millis() as u64, total, "slow steps of the driver");
        }
    }

    /// Returns what is to be logged: the number of slow steps, and the duration of the longest.
    fn slow(&mut self, begun: Instant, now: Instant) -> Option<(u32, Duration)> {
        let step = now.duration_since(begun);
        if step >= SLOW {
            self.count += 1;
            self.total += 1;
            self.longest = self.longest.max(step);
        }
        if self.count == 0 || self.logged.is_some_and(|logged| now.duration_since(logged) < INTERVAL) {
            return None;
        }
        let slow = (self.count, self.longest);
        *self = Steps { logged: Some(now), total: self.total, ..Steps::default() };
        Some(slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slow_step_is_logged_at_once_and_later_ones_together() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut steps = Steps::default();
        assert_eq!(steps.slow(at(0), at(24)), None);
        assert_eq!(steps.slow(at(30), at(60)), Some((1, Duration::from_millis(30))));
        assert_eq!(steps.slow(at(100), at(150)), None);
        assert_eq!(steps.slow(at(200), at(240)), None);
        assert_eq!(steps.slow(at(10_059), at(10_059)), None);
        assert_eq!(steps.slow(at(10_060), at(10_060)), Some((2, Duration::from_millis(50))));
        assert_eq!(steps.slow(at(30_000), at(30_001)), None);
        assert_eq!(steps.total, 3);
    }
}
