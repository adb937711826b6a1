//! The free space of the file system of the data directory, and the reserve that writes leave free.
//!
//! A thread looks at it, since even that may wait for a disk. What a node does with little space: docs/protocol.md 6.11.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use gometa_zab::DiskSpace;
use parking_lot::{Condvar, Mutex};
use tracing::{info, warn};

use super::{DiskError, directory::Directory};
use crate::process::threads;

const THREAD: &str = "gometa-space";
/// The interval between two looks at the free space,
const INTERVAL: Duration = Duration::from_millis(500);
/// and when less than twice the reserve is free: a fast disk writes hundreds of megabytes a second.
const CLOSE_INTERVAL: Duration = Duration::from_millis(50);
/// The interval between two reports while there is little space: each has the node free some.
const REMINDER_INTERVAL: Duration = Duration::from_secs(5);
/// The part of the file system that is the reserve, as a fraction, ...
const RESERVE_PART: u64 = 20;
/// ... but at least these bytes, ...
const RESERVE_MIN: u64 = 512 << 20;
/// ... and in any case, configured or not, at most this part.
const RESERVE_PART_MAX: u64 = 5;
/// The part of the reserve by which the free space must exceed a level before a node has left it.
const MARGIN_PART: u64 = 10;

const REMEDY: &str = "delete keys, free space on this file system, or enlarge it";

/// The reserve on a file system of `total` bytes: what is configured, or the default if that is 0.
pub(super) fn reserve(total: u64, configured_mb: u64) -> u64 {
    let reserve = match configured_mb {
        0 => RESERVE_MIN.max(total / RESERVE_PART),
        megabytes => megabytes << 20,
    };
    reserve.min(total / RESERVE_PART_MAX)
}

/// The level of `free` bytes, after `before`.
fn level(before: DiskSpace, free: u64, reserve: u64) -> DiskSpace {
    let margin = |level: DiskSpace| if before >= level { reserve / MARGIN_PART } else { 0 };
    if free < reserve / 2 + margin(DiskSpace::Critical) {
        DiskSpace::Critical
    } else if free < reserve + margin(DiskSpace::Low) {
        DiskSpace::Low
    } else {
        DiskSpace::Ample
    }
}

/// Watches the free space. Dropping it ends the thread.
pub struct SpaceWatch {
    closing: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl SpaceWatch {
    /// Calls `report` with the level when it changes, and regularly while there is little space.
    pub(super) fn start(
        directory: Arc<Directory>,
        reserve_mb: u64,
        report: impl Fn(DiskSpace) + Send + 'static,
    ) -> Result<SpaceWatch, DiskError> {
        let closing = Arc::new((Mutex::new(false), Condvar::new()));
        let thread = threads::spawn(THREAD, {
            let closing = closing.clone();
            move || watch(&directory, reserve_mb, &closing, &report)
        });
        let thread = thread.map_err(|source| DiskError::Thread { name: THREAD, source })?;
        Ok(SpaceWatch { closing, thread: Some(thread) })
    }
}

impl Drop for SpaceWatch {
    fn drop(&mut self) {
        *self.closing.0.lock() = true;
        self.closing.1.notify_one();
        self.thread.take().into_iter().for_each(threads::join);
    }
}

fn watch(
    directory: &Directory,
    reserve_mb: u64,
    (closing, wake): &(Mutex<bool>, Condvar),
    report: &impl Fn(DiskSpace),
) {
    let mut before = DiskSpace::Ample;
    let mut reported = Instant::now();
    loop {
        let mut interval = INTERVAL;
        // A file system that does not say is one that writes find full, if it is.
        if let Some((free, total)) = directory.space() {
            let reserve = reserve(total, reserve_mb);
            let now = level(before, free, reserve);
            if now != before {
                log(now, free, reserve);
            }
            if now != before || (now > DiskSpace::Ample && reported.elapsed() >= REMINDER_INTERVAL) {
                reported = Instant::now();
                report(now);
            }
            before = now;
            if free < 2 * reserve {
                interval = CLOSE_INTERVAL;
            }
        }
        let mut closing = closing.lock();
        if !*closing {
            wake.wait_for(&mut closing, interval);
        }
        if *closing {
            return;
        }
    }
}

fn log(space: DiskSpace, free: u64, reserve: u64) {
    let (free_mb, reserve_mb) = (free >> 20, reserve >> 20);
    match space {
        DiskSpace::Ample => info!(free_mb, reserve_mb, "disk has space again"),
        DiskSpace::Low => warn!(free_mb, reserve_mb, remedy = REMEDY, "disk is nearly full"),
        DiskSpace::Critical => {
            warn!(free_mb, reserve_mb, remedy = REMEDY, "disk is full but for half of the reserve")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_reserve_is_a_part_of_the_file_system_within_bounds() {
        assert_eq!(reserve(100 * GIB, 0), 5 * GIB);
        assert_eq!(reserve(4 * GIB, 0), 512 << 20);
        assert_eq!(reserve(GIB, 0), GIB / 5);
        assert_eq!(reserve(100 * GIB, 64), 64 << 20);
        assert_eq!(reserve(GIB, 1 << 20), GIB / 5);
    }

    #[test]
    fn a_level_is_left_with_a_margin() {
        let mut now = DiskSpace::Ample;
        let mut next = |free| {
            now = level(now, free, 100);
            now
        };
        assert_eq!(next(100), DiskSpace::Ample);
        assert_eq!(next(99), DiskSpace::Low);
        assert_eq!(next(109), DiskSpace::Low);
        assert_eq!(next(50), DiskSpace::Low);
        assert_eq!(next(49), DiskSpace::Critical);
        assert_eq!(next(59), DiskSpace::Critical);
        assert_eq!(next(60), DiskSpace::Low);
        assert_eq!(next(110), DiskSpace::Ample);
        assert_eq!(next(0), DiskSpace::Critical);
        assert_eq!(next(1_000), DiskSpace::Ample);
    }
}
