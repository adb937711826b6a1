//! The log on the files of the operating system.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::model::{Random, entry, founding, hard_state};
use gometa_log::{Log, OpenError, Options, OsDirectory, Start};
use gometa_zab::Zxid;

fn start() -> Start {
    Start {
        base: Zxid::ZERO,
        hard_state: hard_state(0, 0),
        founding: None,
        configuration: bytes::Bytes::new(),
        released: 0,
    }
}

fn options(salt: u128) -> Options {
    Options { segment_bytes: 1 << 20, salt }
}

#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_log_survives_restarts_and_deletion() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("log-1");
    let directory = OsDirectory::create(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    let mut log = Log::create(directory.clone(), options(1), start()).unwrap();
    assert!(matches!(Log::create(directory, options(1), start()), Err(OpenError::Exists { .. })));
    log.founding(0, founding(1, true)).unwrap();
    log.hard_state(0, hard_state(3, 2)).unwrap();
    log.commit().unwrap();
    let mut random = Random(1);
    let mut next = 1;
    let mut entries = Vec::new();
    for restart in 2..6 {
        for _ in 0..300 {
            let count = 1 + random.below(20);
            let new: Vec<_> =
                (next..next + count).map(|counter| entry(2, counter, vec![counter as u8; 500])).collect();
            log.append(0, &new).unwrap();
            log.commit().unwrap();
            entries.extend(new);
            next += count;
            log.maintenance().run().unwrap();
        }
        let reader = log.reader();
        assert_eq!(reader.read(1, u64::MAX, usize::MAX).unwrap(), entries);
        assert_eq!(reader.read(next, next + 5, usize::MAX).unwrap(), []);
        assert_eq!(reader.read(5, 9, usize::MAX).unwrap(), entries[4..9]);
        assert_eq!(reader.read(5, 9, 0).unwrap(), entries[4..5]);
        drop(log);
        let directory = OsDirectory::open(&path).unwrap();
        let (opened, recovered) = Log::open(directory, options(restart), 0).unwrap();
        assert_eq!(recovered.boundaries, [Zxid::new(2, next - 1)]);
        assert_eq!((recovered.base, recovered.released), (Zxid::ZERO, 0));
        assert_eq!(recovered.hard_state, hard_state(3, 2));
        assert_eq!(recovered.founding, Some(founding(1, true)));
        assert_eq!(recovered.warnings, Vec::<String>::new());
        log = opened;
    }
    let before = log.status();
    let released = next - 1;
    log.append(released, &[entry(4, next, Vec::new())]).unwrap();
    log.commit().unwrap();
    log.compact(Zxid::new(2, released)).unwrap();
    log.maintenance().run().unwrap();
    let after = log.status();
    assert!(after.segments < before.segments && after.bytes < before.bytes, "{before:?} {after:?}");
    assert_eq!(log.reader().read(released, next, usize::MAX).unwrap(), []);
    assert_eq!(log.reader().read(next, next, usize::MAX).unwrap().len(), 1);
    for file in fs::read_dir(&path).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    drop(log);
    let (log, recovered) = Log::open(OsDirectory::open(&path).unwrap(), options(9), released).unwrap();
    assert!(recovered.base.counter <= released);
    assert_eq!(log.last(), Zxid::new(4, next));
}

#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn the_part_of_the_log_within_a_bound_in_bytes_is_known() {
    let parent = tempfile::tempdir().unwrap();
    let directory = OsDirectory::create(&parent.path().join("log-1")).unwrap();
    let mut log = Log::create(directory, options(1), start()).unwrap();
    log.founding(0, founding(1, true)).unwrap();
    log.hard_state(0, hard_state(3, 2)).unwrap();
    for counter in 1..=4_000 {
        log.append(0, &[entry(2, counter, vec![7; 500])]).unwrap();
        log.commit().unwrap();
    }
    let reader = log.reader();
    let record = 500 + gometa_codec::storage::LOG_ENTRY_HEADER as u64;
    for bytes in [0, 1, 1_000, 100_000, 1_500_000, 2_000_000, u64::MAX] {
        let above = reader.counter_above(bytes);
        // A batch of one entry is a block or two.
        let (most, least) = (bytes / record, bytes / 1_536);
        let kept = 4_000 - above;
        assert!(kept <= most && kept >= least.min(4_000).saturating_sub(2), "{bytes} bytes: {kept} entries");
    }
    log.compact(Zxid::new(2, 3_000)).unwrap();
    assert_eq!(reader.counter_above(u64::MAX), 3_000);
}
