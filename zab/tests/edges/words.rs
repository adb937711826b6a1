//! Numbers that everything else is made of.

use bytes::Bytes;
use gometa_zab::{Epoch, Kind, LEVEL, LogEntry, Ticks, Timeouts, Zxid};

#[test]
fn timeouts_are_made_of_the_two_that_are_configured() {
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
    // The short ones are never more than a tenth of an election.
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
fn an_entry_costs_its_payload_and_a_little() {
    let entry = |length| LogEntry {
        zxid: Zxid::ZERO,
        kind: Kind::Command,
        level: LEVEL,
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
fn there_are_more_epochs_than_an_ensemble_lives_through() {
    assert_eq!(Epoch::MAX, Epoch(4_611_686_018_427_387_904));
}
