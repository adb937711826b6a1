//! Log lines of a change of the members that is not made for a while.

use std::time::{Duration, Instant};

use gometa_node::Pending;
use tracing::warn;

/// The time for which a change is pending before the first log line.
const FIRST_DELAY: Duration = Duration::from_secs(10);
/// The time between two log lines.
const INTERVAL: Duration = Duration::from_secs(60);

/// Since when a change is pending, and when the next log line is due.
#[derive(Debug, Default)]
pub(crate) struct PendingLog {
    pending: Option<(String, Instant, Instant)>,
}

impl PendingLog {
    /// Logs the pending change if it is due. To be called about once a second.
    pub(crate) fn check(&mut self, pending: Option<&Pending>, now: Instant) {
        if let Some((Pending { change, waits_for, is_noticed: false }, seconds)) = self.due(pending, now) {
            warn!(change, waits_for, seconds, "change of the members not made yet");
        }
    }

    /// The pending change and its age in seconds, if a log line is due.
    fn due<'a>(&mut self, pending: Option<&'a Pending>, now: Instant) -> Option<(&'a Pending, u64)> {
        let Some(pending) = pending else {
            self.pending = None;
            return None;
        };
        if self.pending.as_ref().is_none_or(|(change, ..)| *change != pending.change) {
            self.pending = Some((pending.change.clone(), now, now + FIRST_DELAY));
        }
        let (_, since, due) = self.pending.as_mut()?;
        (now >= *due).then(|| {
            *due = now + INTERVAL;
            (pending, now.duration_since(*since).as_secs())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pending_change_is_logged_after_ten_seconds_and_then_every_minute() {
        let (mut log, start) = (PendingLog::default(), Instant::now());
        let pending =
            |change: &str| Pending { change: change.to_owned(), waits_for: String::new(), is_noticed: false };
        let mut seconds = |change: Option<&str>, from: u64, to: u64| -> Vec<u64> {
            let pending = change.map(pending);
            let at = |second| start + Duration::from_secs(second);
            (from..to).filter(|second| log.due(pending.as_ref(), at(*second)).is_some()).collect()
        };
        assert_eq!(seconds(Some("one"), 0, 100), [10, 70]);
        assert_eq!(seconds(Some("two"), 100, 120), [110]);
        assert_eq!(seconds(None, 120, 121), [] as [u64; 0]);
        assert_eq!(seconds(Some("two"), 121, 140), [131]);
    }
}
