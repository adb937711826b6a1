//! Records that are not in memory: what waits for them, and what does not.

use bytes::Bytes;
use gometa_node::{Event, Purpose};
use gometa_proto::v1::{self, request::Operation, response::Result as Answer};

use gometa_testkit::{
    ensemble::Ensemble as _,
    nodes::{Nodes, context, get, get_local, set},
};

/// Longer than a leader waits for its storage, in milliseconds.
const STALLED_MS: u64 = 6_000;

/// One node with the key `k`, and its session. From now on no lookup finds a record in memory, and the test answers reads.
fn cold() -> (Nodes, u64) {
    let mut ensemble = Nodes::new(1);
    ensemble.run(50);
    let session = ensemble.open_session(0, 1);
    assert!(matches!(ensemble.call(0, context(session, 1), set("k", "old")), Some(Answer::Written(_))));
    cool(&mut ensemble, 0);
    (ensemble, session)
}

fn cool(ensemble: &mut Nodes, node: usize) {
    ensemble.members[node].storage.cool(1);
    ensemble.members[node].holds_fetches = true;
}

/// Answers one of a node's reads with the table as it is now.
fn answer(ensemble: &mut Nodes, node: usize, fetch: usize) {
    let event = ensemble.fetched(node, fetch);
    ensemble.tell(node, event);
}

/// What is being read: the purpose, and the number of keys.
fn reads(ensemble: &Nodes, node: usize) -> Vec<(Purpose, usize)> {
    ensemble.members[node].fetches.iter().map(|fetch| (fetch.purpose, fetch.keys.len())).collect()
}

fn value(answer: Option<Answer>) -> Option<Bytes> {
    match answer {
        Some(Answer::Entry(entry)) => Some(entry.value),
        _ => None,
    }
}

#[test]
fn a_get_waits_for_its_record_and_delays_no_other_request() {
    let (mut ensemble, session) = cold();
    let waiting = [ensemble.ask(0, None, get("k")), ensemble.ask(0, None, get_local("k", 0))];
    ensemble.run(50);
    assert_eq!(waiting.map(|id| ensemble.answer(0, id)), [None, None]);
    assert_eq!(reads(&ensemble, 0), [(Purpose::Get, 1)], "the key is read once");
    // Of a key whose change is in memory.
    ensemble.members[0].stalls = true;
    ensemble.members[0].storage.cool(0);
    assert!(matches!(ensemble.call(0, context(session, 2), set("l", "new")), Some(Answer::Written(_))));
    ensemble.members[0].storage.cool(1);
    assert_eq!(value(ensemble.call(0, None, get("l"))).unwrap(), "new");
    assert_eq!(waiting.map(|id| ensemble.answer(0, id)), [None, None]);
    answer(&mut ensemble, 0, 0);
    ensemble.step(0);
    assert_eq!(waiting.map(|id| value(ensemble.answer(0, id)).unwrap()), ["old", "old"]);
    let absent = ensemble.ask(0, None, get("absent"));
    ensemble.run(50);
    answer(&mut ensemble, 0, 0);
    ensemble.step(0);
    assert!(matches!(ensemble.answer(0, absent), Some(Answer::Error(_))));
}

#[test]
fn a_get_is_answered_from_what_is_newest_when_its_record_has_been_read() {
    let (mut ensemble, session) = cold();
    let waiting = ensemble.ask(0, None, get_local("k", 0));
    ensemble.run(50);
    let old = ensemble.fetched(0, 0);
    // The entry finds the record in memory: another read has brought it there.
    ensemble.members[0].storage.cool(0);
    assert!(matches!(ensemble.call(0, context(session, 2), set("k", "new")), Some(Answer::Written(_))));
    ensemble.members[0].storage.cool(1);
    ensemble.tell(0, old);
    ensemble.step(0);
    assert_eq!(value(ensemble.answer(0, waiting)).unwrap(), "new");
    let again = ensemble.ask(0, None, get_local("k", 0));
    ensemble.run(50);
    assert_eq!(reads(&ensemble, 0), [(Purpose::Get, 1)], "the record has left the memory");
    answer(&mut ensemble, 0, 0);
    ensemble.step(0);
    assert_eq!(value(ensemble.answer(0, again)).unwrap(), "new");
}

#[test]
fn a_record_is_read_when_its_entry_is_appended_and_entries_wait_in_order() {
    let (mut ensemble, session) = cold();
    let ids: Vec<u64> =
        (2..=4).map(|seq| ensemble.ask(0, context(session, seq), set(&format!("k{seq}"), "v"))).collect();
    ensemble.step(0);
    assert_eq!(reads(&ensemble, 0), [(Purpose::Apply, 3)], "before the entries are durable");
    ensemble.run(50);
    let applied = ensemble.status(0).applied_revision;
    // Answers may come in parts; the second and third entry wait for the first.
    let Event::Fetched { id, mut records } = ensemble.fetched(0, 0) else { panic!("an answer") };
    let first = records.remove(0);
    ensemble.tell(0, Event::Fetched { id, records });
    ensemble.run(50);
    assert_eq!(ensemble.status(0).applied_revision, applied);
    ensemble.tell(0, Event::Fetched { id, records: vec![first] });
    ensemble.step(0);
    assert!(ids.iter().all(|id| matches!(ensemble.answer(0, *id), Some(Answer::Written(_)))));
    assert_eq!(reads(&ensemble, 0), []);
    // Two entries for one key need one read.
    let ids = [5, 6].map(|seq| ensemble.ask(0, context(session, seq), set("k", "v")));
    ensemble.run(50);
    assert_eq!(reads(&ensemble, 0), [(Purpose::Apply, 1)]);
    answer(&mut ensemble, 0, 0);
    ensemble.step(0);
    let [Some(Answer::Written(one)), Some(Answer::Written(other))] = ids.map(|id| ensemble.answer(0, id))
    else {
        panic!("both are written")
    };
    assert_eq!((one.version, other.version), (2, 3));
}

#[test]
fn large_records_are_read_ahead_up_to_a_bound() {
    let (mut ensemble, session) = cold();
    ensemble.members[0].storage.cool(0);
    let large = |byte: u8| v1::Set { key: format!("k{byte}").into(), value: vec![byte; 1 << 20].into() };
    for byte in 0..20 {
        let write = context(session, u64::from(byte) + 2);
        assert!(ensemble.call(0, write, Operation::Set(large(byte))).is_some());
    }
    ensemble.members[0].storage.cool(1);
    let ids: Vec<u64> = (0..20_u64)
        .map(|key| ensemble.ask(0, context(session, key + 22), set(&format!("k{key}"), "small")))
        .collect();
    ensemble.step(0);
    assert_eq!(reads(&ensemble, 0), [(Purpose::Apply, 20)], "the sizes are not known");
    // The answers to the last ones are too many to keep, so the records are read again when it is their turn.
    answer(&mut ensemble, 0, 0);
    let mut rounds = 0;
    while ids.iter().any(|id| ensemble.answer(0, *id).is_none()) {
        ensemble.run(50);
        while !reads(&ensemble, 0).is_empty() {
            answer(&mut ensemble, 0, 0);
        }
        rounds += 1;
    }
    assert!((5..=13).contains(&rounds), "{rounds}");
    assert!(ids.iter().all(|id| matches!(ensemble.answer(0, *id), Some(Answer::Written(_)))));
}

#[test]
fn a_thousand_keys_are_read_for_clients_at_a_time() {
    let (mut ensemble, _) = cold();
    let ids: Vec<u64> =
        (0..3_000).map(|key| ensemble.ask(0, None, get_local(&format!("absent {key}"), 0))).collect();
    let mut read = 0;
    loop {
        ensemble.run(5);
        if ids.iter().all(|id| ensemble.answer(0, *id).is_some()) {
            break;
        }
        let keys: usize = reads(&ensemble, 0).iter().map(|(_, keys)| keys).sum();
        assert!((1..=1_024).contains(&keys), "{keys}");
        read += keys;
        while !reads(&ensemble, 0).is_empty() {
            answer(&mut ensemble, 0, 0);
        }
    }
    assert_eq!(read, 3_000);
}

#[test]
fn a_leader_whose_entry_waits_too_long_for_its_record_steps_down_and_a_get_deposes_nobody() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let leader = ensemble.leader().expect("a leader");
    let other = (leader + 1) % 3;
    let session = ensemble.open_session(other, 1);
    cool(&mut ensemble, leader);
    // A record that a client waits for.
    let waiting = ensemble.ask(leader, None, get_local("k", 0));
    ensemble.run(STALLED_MS);
    assert_eq!(ensemble.leader(), Some(leader));
    // It has ended by its deadline.
    assert!(matches!(ensemble.answer(leader, waiting), Some(Answer::Error(_))));
    assert_eq!(reads(&ensemble, leader), [(Purpose::Get, 1)]);
    // The same record for an entry, which is read in its own right.
    let written = ensemble.ask_as(other, other as u64, 60_000, context(session, 1), set("k", "v"));
    ensemble.run(50);
    assert_eq!(reads(&ensemble, leader), [(Purpose::Get, 1), (Purpose::Apply, 1)]);
    assert!(matches!(ensemble.answer(other, written), Some(Answer::Written(_))), "followers have applied it");
    ensemble.run(STALLED_MS);
    let next = ensemble.leader().expect("another leader");
    assert_ne!(next, leader);
    // It follows, and applies when the read has come to its end.
    let behind = ensemble.status(leader);
    assert!(behind.applied_revision < ensemble.status(next).applied_revision);
    answer(&mut ensemble, leader, 1);
    ensemble.run(200);
    assert_eq!(ensemble.status(leader).state_hash, ensemble.status(next).state_hash);
}
