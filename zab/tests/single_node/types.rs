//! Timeouts, sizes, ticks and epochs.

use bytes::Bytes;
use gometa_zab::{Epoch, FIRST_LEVEL, Kind, LogEntry, Ticks, Timeouts, Zxid};

#[test]
fn timeouts_are_derived_from_the_two_that_are_configured() {
    let expected = Timeouts {
        heartbeat: 100_000,
        election: 1_000_000,
        disk: 5_000_000,
        finalise: 25_000,
        vote_min: 20_000,
        vote_max: 500_000,
        reconnect: 20_000,
    };
    assert_eq!(Timeouts::from_ms(100, 1_000), expected);
    // The short ones are at most a tenth of the election timeout.
    let short = Timeouts {
        heartbeat: 3_000,
        election: 30_000,
        disk: 150_000,
        finalise: 3_000,
        vote_min: 3_000,
        vote_max: 20_000,
        reconnect: 3_000,
    };
    assert_eq!(Timeouts::from_ms(3, 30), short);
}

#[test]
fn the_size_of_an_entry_is_its_payload_and_64_bytes() {
    let entry = |length| LogEntry {
        zxid: Zxid::ZERO,
        kind: Kind::Command,
        level: FIRST_LEVEL,
        payload: Bytes::from(vec![0; length]),
    };
    assert_eq!((entry(0).size(), entry(36).size()), (64, 100));
}

#[test]
fn time_neither_overflows_nor_goes_back() {
    assert_eq!(Ticks(7).plus(5), Ticks(12));
    assert_eq!(Ticks(u64::MAX).plus(5), Ticks(u64::MAX));
    assert_eq!((Ticks(12).since(Ticks(7)), Ticks(7).since(Ticks(12))), (5, 0));
}

#[test]
fn the_largest_epoch_is_2_to_the_62() {
    assert_eq!(Epoch::MAX, Epoch(4_611_686_018_427_387_904));
}
