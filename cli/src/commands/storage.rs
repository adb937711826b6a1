//! What nodes store, in `gometa status`: log, state, free space, the last flush, and a snapshot under way.

use std::time::Duration;

use gometa_client::{SnapshotStatus, StorageStatus};
use serde::Serialize;

/// The heading of the cells of a node.
pub(super) const HEADING: [&str; 10] =
    ["NODE", "BASE", "END", "LOG", "STATE", "FREE", "RESERVE", "FLUSHED", "AGE", "SNAPSHOT"];

/// The storage of a node in the report, as in [`StorageStatus`].
#[derive(Serialize, Debug)]
pub(super) struct Storage {
    log_base: u64,
    log_end: u64,
    log_bytes: u64,
    state_bytes: u64,
    history_bytes: u64,
    free_bytes: u64,
    reserve_bytes: u64,
    flushed_revision: u64,
    flush_age_ms: u64,
    snapshot: Option<Snapshot>,
}

/// A snapshot under way, as in [`SnapshotStatus`].
#[derive(Serialize, Debug)]
struct Snapshot {
    sending: bool,
    revision: u64,
    total_bytes: u64,
    transferred_bytes: u64,
    bytes_per_second: u64,
    receivers: u32,
}

impl Storage {
    pub(super) fn of(status: &StorageStatus) -> Self {
        Self {
            log_base: status.log_base,
            log_end: status.log_end,
            log_bytes: status.log_bytes,
            state_bytes: status.state_bytes,
            history_bytes: status.history_bytes,
            free_bytes: status.free_bytes,
            reserve_bytes: status.reserve_bytes,
            flushed_revision: status.flushed_revision,
            flush_age_ms: status.flush_age_ms,
            snapshot: status.snapshot.as_ref().map(Snapshot::of),
        }
    }

    /// The row of the node with this name.
    pub(super) fn cells(&self, node: String) -> Vec<String> {
        vec![
            node,
            self.log_base.to_string(),
            self.log_end.to_string(),
            size(self.log_bytes),
            size(self.state_bytes),
            size(self.free_bytes),
            size(self.reserve_bytes),
            self.flushed_revision.to_string(),
            age(Duration::from_millis(self.flush_age_ms)),
            self.snapshot.as_ref().map_or("-".to_owned(), Snapshot::text),
        ]
    }
}

impl Snapshot {
    fn of(status: &SnapshotStatus) -> Self {
        Self {
            sending: status.sending,
            revision: status.revision,
            total_bytes: status.total_bytes,
            transferred_bytes: status.transferred_bytes,
            bytes_per_second: status.bytes_per_second,
            receivers: status.receivers,
        }
    }

    fn text(&self) -> String {
        let direction = match (self.sending, self.receivers) {
            (false, _) => "receiving".to_owned(),
            (true, 0 | 1) => "sending".to_owned(),
            (true, receivers) => format!("sending to {receivers} nodes"),
        };
        let percent = u128::from(self.transferred_bytes) * 100 / u128::from(self.total_bytes.max(1));
        let (total, rate) = (size(self.total_bytes), size(self.bytes_per_second));
        format!("{direction}, {percent}% of {total}, {rate}/s")
    }
}

/// A size with two or more significant digits, such as `1.2 GiB`.
pub(super) fn size(bytes: u64) -> String {
    let (mut number, mut unit) = (bytes as f64, "B");
    // A number that rounds to 1,024 is one of the next unit.
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
        if number < 1_023.5 {
            break;
        }
        (number, unit) = (number / 1_024.0, next);
    }
    let digits = usize::from(unit != "B" && number < 9.95);
    format!("{number:.digits$} {unit}")
}

/// A time in its largest unit, such as `5 min`.
fn age(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_readable() {
        for (bytes, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (10_189, "10 KiB"),
            (1_048_575, "1.0 MiB"),
            (1_288_490_189, "1.2 GiB"),
            (45 << 30, "45 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
        for (seconds, text) in [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 d")]
        {
            assert_eq!(age(Duration::from_millis(seconds * 1_000 + 999)), text);
        }
    }

    #[test]
    fn a_snapshot_under_way_is_a_direction_a_percentage_and_a_rate() {
        let mut status = SnapshotStatus::default();
        status.total_bytes = 1_288_490_189;
        status.transferred_bytes = 562_000_000;
        status.bytes_per_second = 89_128_960;
        assert_eq!(Snapshot::of(&status).text(), "receiving, 43% of 1.2 GiB, 85 MiB/s");
        (status.sending, status.receivers) = (true, 1);
        assert_eq!(Snapshot::of(&status).text(), "sending, 43% of 1.2 GiB, 85 MiB/s");
        status.receivers = 2;
        assert_eq!(Snapshot::of(&status).text(), "sending to 2 nodes, 43% of 1.2 GiB, 85 MiB/s");
        assert_eq!(
            Snapshot::of(&SnapshotStatus::default()).text(),
            "receiving, 0% of 0 B, 0 B/s",
            "nothing is divided by zero"
        );
    }
}
