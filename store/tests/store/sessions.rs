//! Exactly once: the rules of the session table.

use bytes::Bytes;
use gometa_proto::{
    limits::{SESSIONS_MAX, WINDOW_MAX},
    v1::{Command, CreateSession, ErrorKind, Request, command::Body},
};
use gometa_store::{Batch, Checkpoint, Origin, Space, Store, WriteLookup, encode_command};

use gometa_testkit::store::{Driver, add, create, end, failed, nonce, opened, set, write, written};

#[test]
fn a_sessions_id_is_the_counter_of_the_entry_that_created_it() {
    let mut driver = Driver::new();
    driver.store.configure(2, "configuration".into());
    let applied = driver.apply(create(7));
    assert_eq!(applied.origin, Origin::CreateSession { nonce: nonce(7) });
    assert_eq!(applied.outcome, opened(3, 4_000));
    assert_eq!(driver.store.session_timeout(3), Some(4_000));
    assert_eq!(driver.store.session_timeouts().collect::<Vec<_>>(), [(1, 4_000), (3, 4_000)]);
}

#[test]
fn a_nonce_seen_again_opens_no_second_session_and_keeps_the_time_out() {
    let mut driver = Driver::new();
    let again = CreateSession { nonce: nonce(0).to_vec().into(), timeout_ms: 9 };
    assert_eq!(driver.apply(Body::CreateSession(again)).outcome, opened(1, 4_000));
    assert_eq!(driver.store.sessions(), 1);
    assert_eq!(driver.store.session_by_nonce(&nonce(0)), Some(1));
    assert_eq!(driver.store.session_by_nonce(b"short"), None);
}

#[test]
fn the_nonce_of_an_ended_session_opens_a_new_one_with_a_new_id() {
    let mut driver = Driver::new();
    driver.apply(end(&[1]));
    assert_eq!(driver.store.session_by_nonce(&nonce(0)), None);
    assert_eq!(driver.create_session(0), opened(3, 4_000));
}

#[test]
fn a_nonce_must_have_16_bytes() {
    let mut driver = Driver::new();
    for len in [0, 15, 17] {
        let create = CreateSession { nonce: vec![1; len].into(), timeout_ms: 1 };
        let applied = driver.apply(Body::CreateSession(create));
        assert_eq!(applied.origin, Origin::None);
        assert_eq!(applied.outcome, failed(ErrorKind::InvalidArgument, 0));
    }
    assert_eq!(driver.store.sessions(), 1);
}

#[test]
fn the_number_of_sessions_is_bounded_but_a_known_nonce_is_still_answered() {
    let mut driver = Driver::new();
    let numbered = |number: u64| {
        let nonce = [number.to_be_bytes(), [1; 8]].concat().into();
        Body::CreateSession(CreateSession { nonce, timeout_ms: 4_000 })
    };
    for number in 2..=SESSIONS_MAX as u64 {
        assert_eq!(driver.apply(numbered(number)).outcome, opened(number, 4_000));
    }
    assert_eq!(driver.create_session(1), failed(ErrorKind::ResourceExhausted, 0));
    assert_eq!(driver.create_session(0), opened(1, 4_000));
    driver.apply(end(&[1]));
    let next = driver.store.applied() + 1;
    assert_eq!(driver.create_session(1), opened(next, 4_000));
}

#[test]
fn an_ended_session_writes_no_more() {
    let mut driver = Driver::new();
    driver.run(set("k", "a"));
    let applied = driver.apply(end(&[5, 1, 1, 9]));
    assert_eq!(
        applied.origin,
        Origin::EndSessions { sessions: vec![(5, false), (1, true), (1, false), (9, false)] }
    );
    assert_eq!(applied.outcome.result, None);
    assert_eq!(driver.write(1, 1, 1, set("k", "a")), failed(ErrorKind::SessionExpired, 0));
    assert_eq!(driver.write(1, 2, 1, set("k", "b")), failed(ErrorKind::SessionExpired, 0));
    assert_eq!(driver.store.lookup_write(1, 1), WriteLookup::NoSession);
    assert_eq!(driver.store.session_timeout(1), None);
}

#[test]
fn an_unknown_session_is_expired_and_executes_nothing() {
    let mut driver = Driver::new();
    let applied = driver.apply(write(77, 1, 1, Some(set("k", "a"))));
    assert_eq!(applied.origin, Origin::Write { session: 77, seq: 1 });
    assert_eq!(applied.outcome, failed(ErrorKind::SessionExpired, 0));
    assert_eq!(driver.entry("k"), None);
}

#[test]
fn a_retry_gets_the_recorded_outcome_and_executes_nothing() {
    let mut driver = Driver::new();
    assert_eq!(driver.write(1, 1, 1, set("k", "a")), written(2, 1));
    assert_eq!(driver.write(1, 1, 1, set("k", "a")), written(2, 1));
    assert_eq!(driver.store.lookup_write(1, 1), WriteLookup::Recorded(written(2, 1)));
    assert_eq!(driver.store.lookup_write(1, 2), WriteLookup::New);
    assert_eq!(driver.entry("k").map(|entry| entry.1), Some(1));
}

#[test]
fn a_retry_of_a_failed_write_fails_again_though_it_could_succeed_by_now() {
    let mut driver = Driver::new();
    driver.write(1, 1, 1, set("k", "a"));
    assert_eq!(driver.write(1, 2, 1, add("k", "b")), failed(ErrorKind::AlreadyExists, 2));
    driver.write(1, 3, 1, gometa_testkit::store::delete("k", None));
    assert_eq!(driver.write(1, 2, 1, add("k", "b")), failed(ErrorKind::AlreadyExists, 2));
    assert_eq!(driver.entry("k"), None);
}

#[test]
fn writes_in_flight_together_may_come_in_any_order() {
    let mut driver = Driver::new();
    assert_eq!(driver.write(1, 3, 1, set("c", "")), written(2, 1));
    assert_eq!(driver.write(1, 1, 1, set("a", "")), written(3, 1));
    assert_eq!(driver.write(1, 2, 1, set("b", "")), written(4, 1));
    assert_eq!(driver.write(1, 3, 1, set("c", "")), written(2, 1));
    assert_eq!(driver.write(1, 1, 1, set("a", "")), written(3, 1));
}

#[test]
fn a_write_below_the_floor_is_forgotten_whether_it_happened_or_not() {
    let mut driver = Driver::new();
    driver.write(1, 1, 1, set("a", ""));
    driver.write(1, 5, 4, set("b", ""));
    for seq in [1, 2, 3] {
        assert_eq!(driver.write(1, seq, 1, set("late", "")), failed(ErrorKind::Forgotten, 0));
        assert_eq!(driver.store.lookup_write(1, seq), WriteLookup::Forgotten);
    }
    assert_eq!(driver.store.lookup_write(1, 4), WriteLookup::New);
    assert_eq!(driver.entry("late"), None);
}

#[test]
fn the_floor_never_falls() {
    let mut driver = Driver::new();
    driver.write(1, 5, 5, set("a", ""));
    driver.write(1, 6, 2, set("b", ""));
    assert_eq!(driver.store.lookup_write(1, 4), WriteLookup::Forgotten);
}

#[test]
fn a_retry_raises_the_floor_like_any_write() {
    let mut driver = Driver::new();
    driver.write(1, 1, 1, set("a", ""));
    driver.write(1, 2, 1, set("b", ""));
    driver.flush();
    assert_eq!(driver.write(1, 2, 2, set("b", "")), written(3, 1));
    assert_eq!(driver.store.lookup_write(1, 1), WriteLookup::Forgotten);
    driver.flush();
    driver.restart();
    assert_eq!(driver.store.lookup_write(1, 1), WriteLookup::Forgotten);
    assert_eq!(driver.store.lookup_write(1, 2), WriteLookup::Recorded(written(3, 1)));
}

#[test]
fn the_session_table_survives_a_restart() {
    let mut driver = Driver::new();
    driver.write(1, 2, 2, set("k", "a"));
    driver.create_session(5);
    driver.flush();
    driver.restart();
    assert_eq!(driver.store.sessions(), 2);
    assert_eq!(driver.write(1, 2, 2, set("k", "a")), written(2, 1));
    assert_eq!(driver.write(1, 1, 1, set("k", "b")), failed(ErrorKind::Forgotten, 0));
    assert_eq!(driver.create_session(5), opened(3, 4_000));
}

#[test]
fn a_write_whose_numbers_cannot_be_right_is_invalid_and_changes_nothing() {
    let mut driver = Driver::new();
    let window = WINDOW_MAX;
    for (seq, lowest) in [(0, 0), (1, 0), (0, 1), (1, 2), (window + 1, 1), (u64::MAX, 1)] {
        let before = driver.store.hash();
        let outcome = driver.write(1, seq, lowest, set("k", "a"));
        assert_eq!(outcome, failed(ErrorKind::InvalidArgument, 0), "seq {seq}, lowest {lowest}");
        assert_eq!(driver.store.hash(), before);
    }
    assert_eq!(driver.write(1, window, 1, set("k", "a")), written(8, 1));
    assert_eq!(driver.write(1, u64::MAX, u64::MAX, set("k", "a")), written(9, 2));
}

#[test]
fn payloads_that_are_no_command_are_invalid_and_change_nothing_but_applied() {
    let mut driver = Driver::new();
    driver.flush();
    let before = driver.store.hash();
    let no_context = Body::Write(Request { operation: Some(set("k", "a")), ..Request::default() });
    let payloads = [
        Bytes::new(),
        Bytes::from_static(b"\xff\xff\xff"),
        Bytes::from_static(b"\x1a\x7f"),
        encode_command(&Command { body: None }),
        encode_command(&Command { body: Some(no_context) }),
    ];
    for payload in payloads {
        let applied = driver.apply_payload(payload);
        assert_eq!(applied.origin, Origin::None);
        assert_eq!(applied.outcome, failed(ErrorKind::InvalidArgument, 0));
    }
    assert_eq!((driver.store.applied(), driver.store.hash()), (6, before));
}

#[test]
fn a_damaged_session_table_is_refused() {
    let mut driver = Driver::new();
    driver.write(1, 3, 2, set("k", "a"));
    driver.flush();
    let key = |id: u64| Bytes::copy_from_slice(&id.to_be_bytes());
    let sound = driver.table.snapshot().get(Space::Session, &key(1)).unwrap();
    let damages = [
        (Bytes::from_static(b"short"), sound.clone(), "not 8 bytes"),
        (key(0), sound.clone(), "can have created it"),
        (key(9), sound.clone(), "can have created it"),
        (key(2), sound.clone(), "nonce of session"),
        (key(1), Bytes::from_static(b"\xff"), "\"\\0\\0\\0\\0\\0\\0\\0\\x01\""),
        (key(1), sound.slice(2..), "damaged"),
        (key(1), Bytes::new(), "not 16 bytes"),
        (key(1), [&sound[..], b"\x18\x00"].concat().into(), "floor is 0"),
        (key(1), [&sound[..], b"\x18\x04"].concat().into(), "outside its window"),
        (key(1), [&sound[..], b"\x22\x02\x08\x03"].concat().into(), "out of order"),
        (key(1), [&sound[..], b"\x22\x02\x08\x04"].concat().into(), "cannot be decoded"),
    ];
    for (key, record, why) in damages {
        let table = gometa_testkit::store::Shared::default();
        table.records.replace(driver.table.snapshot());
        let checkpoint = Checkpoint { applied: 2, ..Checkpoint::default() };
        let writes = vec![(Space::Session, key, Some(record))];
        table.write(&Batch { checkpoint, writes, ..Batch::default() });
        let error = Store::open(table).err().unwrap().to_string();
        assert!(error.contains(why), "{error:?} does not contain {why:?}");
    }
}
