//! Reads of large values: bounded per step and per client that does not read, and no client waits for another.

use gometa_node::{ClientId, Event};
use gometa_proto::v1::{ErrorKind, response::Result as Answer};

use gometa_testkit::{
    ensemble::Ensemble as _,
    nodes::{Nodes, context, get, get_local, set},
};

/// What a step answers, and what a client may leave unread, in bytes.
const MIB: usize = 1 << 20;

/// One node, with values of 1 MiB, 600 KiB and 5 bytes under `large`, `half` and `small`.
fn serving() -> Nodes {
    let mut ensemble = Nodes::new(1);
    ensemble.run(50);
    let session = ensemble.open_session(0, 1);
    let values = [("large", "x".repeat(MIB)), ("half", "x".repeat(600 << 10)), ("small", "value".to_owned())];
    for (seq, (key, value)) in values.iter().enumerate() {
        assert!(ensemble.call(0, context(session, seq as u64 + 1), set(key, value)).is_some());
    }
    ensemble.answered.clear();
    ensemble
}

/// Asks for a local read, which no barrier delays.
fn ask(ensemble: &mut Nodes, client: u64, key: &str) -> u64 {
    ensemble.ask_as(0, client, 0, None, get_local(key, 0))
}

fn sent(ensemble: &mut Nodes, client: u64) {
    ensemble.tell(0, Event::Sent { client: ClientId(client) });
}

/// The numbers of the requests that one step answers.
fn step(ensemble: &mut Nodes) -> Vec<u64> {
    ensemble.answered.clear();
    ensemble.step(0);
    ensemble.answered.iter().map(|(_, id)| *id).collect()
}

fn kind(ensemble: &Nodes, client: usize, id: u64) -> Option<u32> {
    match ensemble.answer(client, id) {
        Some(Answer::Error(error)) => Some(error.kind),
        _ => None,
    }
}

#[test]
fn a_step_answers_so_much_and_the_next_one_the_rest() {
    let mut ensemble = serving();
    let ids: Vec<u64> = (1..=4).map(|client| ask(&mut ensemble, client, "large")).collect();
    for (done, id) in ids.iter().enumerate() {
        assert_eq!(step(&mut ensemble), [*id]);
        assert_eq!(ensemble.has_more(0), done < 3);
    }
    assert_eq!(step(&mut ensemble), []);
    // The same with reads that wait for a barrier.
    let ids: Vec<u64> = (11..=14).map(|client| ensemble.ask_as(0, client, 0, None, get("large"))).collect();
    ensemble.run(100);
    assert_eq!(ensemble.answered.iter().map(|(_, id)| *id).collect::<Vec<_>>(), ids);
    assert!(!ensemble.has_more(0));
}

#[test]
fn small_reads_are_answered_in_one_step_and_never_parked() {
    let mut ensemble = serving();
    for _ in 0..10 {
        let ids: Vec<u64> = (0..1_000).map(|_| ask(&mut ensemble, 1, "small")).collect();
        assert_eq!(step(&mut ensemble), ids);
        assert!(!ensemble.has_more(0));
    }
    // But even to look for a key costs something.
    let ids: Vec<u64> = (0..5_000).map(|_| ask(&mut ensemble, 1, "none")).collect();
    assert!(step(&mut ensemble).len() < ids.len());
    assert!(ensemble.has_more(0));
    ensemble.run(5);
    assert!(ids.iter().all(|id| kind(&ensemble, 1, *id) == Some(ErrorKind::NotFound as u32)));
}

#[test]
fn who_does_not_read_is_given_no_more_and_others_are() {
    let mut ensemble = serving();
    let keys = ["half", "half", "small", "large", "half", "small"];
    let greedy: Vec<u64> = keys.into_iter().map(|key| ask(&mut ensemble, 1, key)).collect();
    let other = ask(&mut ensemble, 2, "half");
    // Clients take turns.
    assert_eq!(step(&mut ensemble), [greedy[0], other]);
    assert!(ensemble.has_more(0));
    assert_eq!(step(&mut ensemble), [greedy[1]]);
    // What is left is parked, small ones included: there is nothing to do.
    assert!(!ensemble.has_more(0));
    ensemble.run(100);
    assert_eq!(ensemble.answered, [(1, greedy[1])]);
    let another = ask(&mut ensemble, 2, "small");
    assert_eq!(step(&mut ensemble), [another]);
    // A report for another client changes nothing.
    sent(&mut ensemble, 2);
    sent(&mut ensemble, 77);
    assert_eq!(step(&mut ensemble), []);

    // The reads keep their order, later ones included.
    let late = ask(&mut ensemble, 1, "small");
    assert_eq!(step(&mut ensemble), []);
    sent(&mut ensemble, 1);
    assert_eq!(step(&mut ensemble), greedy[2..4]);
    assert!(!ensemble.has_more(0));
    sent(&mut ensemble, 1);
    assert_eq!(step(&mut ensemble), [greedy[4], greedy[5], late]);
    assert_eq!(step(&mut ensemble), []);
}

#[test]
fn a_parked_read_ends_by_its_deadline() {
    let mut ensemble = serving();
    let first = ask(&mut ensemble, 1, "large");
    let hasty = ensemble.ask_as(0, 1, 200, None, get_local("small", 0));
    let patient = ask(&mut ensemble, 1, "small");
    ensemble.run(180);
    assert!(ensemble.answer(1, first).is_some());
    assert_eq!(ensemble.answer(1, hasty), None);
    ensemble.run(30);
    assert_eq!(kind(&ensemble, 1, hasty), Some(ErrorKind::DeadlineExceeded as u32));
    assert_eq!(ensemble.answer(1, patient), None);
    sent(&mut ensemble, 1);
    assert_eq!(step(&mut ensemble), [patient]);
}

#[test]
fn a_parked_read_may_be_cancelled() {
    let mut ensemble = serving();
    ask(&mut ensemble, 1, "large");
    let ids: Vec<u64> = (0..3_000).map(|_| ask(&mut ensemble, 1, "small")).collect();
    assert_eq!(step(&mut ensemble).len(), 1);
    // Enough of them that the node looks for what is left behind.
    for id in &ids[..2_999] {
        ensemble.tell(0, Event::Cancel { client: ClientId(1), id: *id });
    }
    assert_eq!(step(&mut ensemble), []);
    sent(&mut ensemble, 1);
    assert_eq!(step(&mut ensemble), ids[2_999..]);
    // And one alone.
    let ids: Vec<u64> = ["large", "small", "small"].map(|key| ask(&mut ensemble, 1, key)).into();
    assert_eq!(step(&mut ensemble), ids[..1]);
    ensemble.tell(0, Event::Cancel { client: ClientId(1), id: ids[1] });
    sent(&mut ensemble, 1);
    assert_eq!(step(&mut ensemble), ids[2..]);
    assert!(!ensemble.has_more(0));
}

#[test]
fn nothing_is_left_of_a_client_that_has_gone() {
    let mut ensemble = serving();
    let ids: Vec<u64> = (0..3).map(|_| ask(&mut ensemble, 1, "large")).collect();
    let other: Vec<u64> = (0..2).map(|_| ask(&mut ensemble, 2, "large")).collect();
    assert_eq!(step(&mut ensemble), ids[..1]);
    ensemble.tell(0, Event::ClientGone { client: ClientId(1) });
    // The report of a client that has gone may come late.
    sent(&mut ensemble, 1);
    assert_eq!(step(&mut ensemble), other[..1]);
    assert!(!ensemble.has_more(0));
    // Gone while it is its turn.
    let (third, fourth) = (ask(&mut ensemble, 3, "large"), ask(&mut ensemble, 4, "large"));
    assert_eq!(step(&mut ensemble), [third]);
    assert!(ensemble.has_more(0));
    ensemble.tell(0, Event::ClientGone { client: ClientId(4) });
    assert_eq!(step(&mut ensemble), []);
    assert!(!ensemble.has_more(0));
    assert_eq!(ensemble.answer(4, fourth), None);
}

#[test]
fn writes_go_on_while_a_client_does_not_read() {
    let mut ensemble = serving();
    let ids: Vec<u64> = (0..1_000).map(|_| ask(&mut ensemble, 1, "large")).collect();
    let session = ensemble.open_session(0, 9);
    assert!(matches!(ensemble.call(0, context(session, 1), set("k", "v")), Some(Answer::Written(_))));
    // The greedy client itself may write, too.
    let write = ensemble.ask_as(0, 1, 0, context(session, 2), set("k", "w"));
    ensemble.run(50);
    assert!(matches!(ensemble.answer(1, write), Some(Answer::Written(_))));
    ensemble.run(6_000);
    assert!(matches!(ensemble.answer(1, ids[0]), Some(Answer::Entry(_))));
    let exceeded = Some(ErrorKind::DeadlineExceeded as u32);
    assert!(ids[1..].iter().all(|id| kind(&ensemble, 1, *id) == exceeded));
}
