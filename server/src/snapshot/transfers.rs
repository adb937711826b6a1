//! The snapshots under way, for status reports.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use gometa_proto::v1;
use gometa_zab::LinkId;
use parking_lot::Mutex;

/// The time over which the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// The snapshots that this node sends or receives.
#[derive(Debug, Default)]
pub(crate) struct Transfers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sending: HashMap<LinkId, Transfer>,
    receiving: Option<Transfer>,
    /// The bytes of all transfers since the start.
    moved: u64,
    /// Values of `moved` since the begin of the window, oldest first.
    samples: VecDeque<(Instant, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Transfer {
    /// The last counter in the snapshot.
    revision: u64,
    total: u64,
    done: u64,
}

impl State {
    /// The bytes for each second since the oldest sample.
    fn rate(&mut self, now: Instant) -> u64 {
        self.samples.push_back((now, self.moved));
        // The second one is old enough to be the first.
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= RATE_WINDOW) {
            self.samples.pop_front();
        }
        let (since, before) = self.samples[0];
        let milliseconds = now.duration_since(since).as_millis().max(1) as u64;
        (self.moved - before).saturating_mul(1_000) / milliseconds
    }
}

impl Transfers {
    /// A snapshot is sent on a link.
    pub(super) fn begin_sending(&self, link: LinkId, revision: u64, total: u64) {
        self.0.lock().sending.insert(link, Transfer { revision, total, done: 0 });
    }

    /// `bytes` were sent on a link, which has been sent everything before the position `done` now.
    pub(super) fn sent(&self, link: LinkId, bytes: u64, done: u64) {
        let mut state = self.0.lock();
        state.moved += bytes;
        if let Some(transfer) = state.sending.get_mut(&link) {
            transfer.done = done;
        }
    }

    pub(super) fn end_sending(&self, link: LinkId) {
        self.0.lock().sending.remove(&link);
    }

    /// A snapshot is received, `done` bytes of it already.
    pub(super) fn begin_receiving(&self, revision: u64, total: u64, done: u64) {
        self.0.lock().receiving = Some(Transfer { revision, total, done });
    }

    pub(super) fn received(&self, bytes: u64) {
        let mut state = self.0.lock();
        state.moved += bytes;
        if let Some(transfer) = &mut state.receiving {
            transfer.done += bytes;
        }
    }

    pub(super) fn end_receiving(&self) {
        self.0.lock().receiving = None;
    }

    /// The status of what is under way. Called about once a second: the rate is measured from call to call.
    pub(crate) fn status(&self, now: Instant) -> Option<v1::SnapshotStatus> {
        let mut state = self.0.lock();
        let rate = state.rate(now);
        let (sending, transfers) = match state.receiving {
            Some(receiving) => (false, vec![receiving]),
            None => (true, state.sending.values().copied().collect()),
        };
        let revision = transfers.iter().map(|transfer| transfer.revision).max()?;
        Some(v1::SnapshotStatus {
            sending,
            revision,
            total_bytes: transfers.iter().map(|transfer| transfer.total).sum(),
            transferred_bytes: transfers.iter().map(|transfer| transfer.done).sum(),
            bytes_per_second: rate,
            receivers: if sending { u32::try_from(transfers.len()).unwrap_or(u32::MAX) } else { 0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINKS: [LinkId; 2] = [LinkId(1), LinkId(2)];

    #[test]
    fn the_snapshots_that_a_node_sends_are_summed() {
        let (transfers, now) = (Transfers::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(transfers.status(now), None);
        transfers.begin_sending(LINKS[0], 90, 10_000);
        transfers.begin_sending(LINKS[1], 95, 20_000);
        transfers.sent(LINKS[0], 3_000, 3_000);
        // It continues after a broken connection.
        transfers.sent(LINKS[1], 1_000, 19_000);
        let expected = v1::SnapshotStatus {
            sending: true,
            revision: 95,
            total_bytes: 30_000,
            transferred_bytes: 22_000,
            bytes_per_second: 4_000,
            receivers: 2,
        };
        assert_eq!(transfers.status(now + second), Some(expected));
        transfers.end_sending(LINKS[1]);
        let status = transfers.status(now + 2 * second).unwrap();
        assert_eq!((status.receivers, status.transferred_bytes, status.bytes_per_second), (1, 3_000, 2_000));
        transfers.end_sending(LINKS[0]);
        assert_eq!(transfers.status(now + 3 * second), None);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (transfers, begin) = (Transfers::default(), Instant::now());
        transfers.begin_receiving(7, 1_000_000, 500);
        let at = |second| begin + Duration::from_secs(second);
        transfers.status(at(0));
        let mut rates = Vec::new();
        for second in 1..=20 {
            if second <= 10 {
                transfers.received(1_000);
            }
            rates.push(transfers.status(at(second)).unwrap().bytes_per_second);
        }
        assert_eq!(rates[..10], [1_000; 10]);
        assert_eq!(rates[10..], [800, 600, 400, 200, 0, 0, 0, 0, 0, 0]);
        let status = transfers.status(at(21)).unwrap();
        assert_eq!((status.sending, status.receivers, status.transferred_bytes), (false, 0, 10_500));
        transfers.end_receiving();
        assert_eq!(transfers.status(at(22)), None);
    }
}
