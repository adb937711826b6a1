//! Scenarios without random faults: actions on a simulated ensemble, and the expected results.

use std::collections::BTreeSet;

use bytes::Bytes;
use gometa_node::ClientId;
use gometa_proto::v1::{self, Request, Response, Role, WriteContext, request, response};
use gometa_sim::{
    Ensemble, Settings,
    settings::{MILLISECOND, SECOND},
};

struct Bench {
    ensemble: Ensemble,
    next: u64,
}

impl Bench {
    /// Three nodes, some time after their start.
    fn new() -> Bench {
        let mut bench = Bench { ensemble: Ensemble::new(Settings::quiet(1, 3), None), next: 0 };
        bench.pass(2 * SECOND);
        bench
    }

    /// Three nodes with empty data directories and disks with the given sync latency.
    fn on_slow_disks(sync_ms: u64, election_ms: u64) -> Bench {
        let mut settings = Settings::quiet(1, 3);
        (settings.heartbeat_ms, settings.election_ms) = (election_ms / 10, election_ms);
        settings.session_timeout_ms = 60_000;
        settings.disk.slow_disk = sync_ms * MILLISECOND;
        Bench { ensemble: Ensemble::new(settings, None), next: 0 }
    }

    /// Three nodes with empty data directories, the last of which has a slow disk.
    fn with_one_slow_disk(sync_ms: u64) -> Bench {
        let mut settings = Settings::quiet(1, 3);
        settings.disk.one_slow_disk = sync_ms * MILLISECOND;
        Bench { ensemble: Ensemble::new(settings, None), next: 0 }
    }

    /// Writes for this time, through a node that does not lead, and returns the nodes that have led.
    fn write_for(&mut self, time: u64) -> BTreeSet<usize> {
        let client = self.ensemble.connect(0);
        let session = self.open_session(client);
        let end = self.ensemble.now() + time;
        let mut led = BTreeSet::new();
        for seq in 1.. {
            if self.ensemble.now() >= end {
                break;
            }
            self.set(client, session, seq, "x");
            assert!(matches!(self.answer(client), response::Result::Written(_)));
            led.extend((0..3).filter(|node| self.ensemble.process(*node).leads));
        }
        led
    }

    /// Sends one write, under one seq, to these nodes in turn, each for a second, until one succeeds. Returns the time
    /// in microseconds.
    fn set_somewhere(&mut self, nodes: &[usize], session: u64, seq: u64) -> u64 {
        let started = self.ensemble.now();
        for node in nodes.iter().cycle() {
            let client = self.ensemble.connect(*node);
            self.set(client, session, seq, "x");
            self.pass(SECOND);
            let answers = self.ensemble.take_answers(client);
            if answers.iter().any(|answer| matches!(answer.result, Some(response::Result::Written(_)))) {
                break;
            }
            assert!(self.ensemble.now() < started + 120 * SECOND, "no node writes: {answers:?}");
        }
        self.ensemble.now() - started
    }

    fn pass(&mut self, time: u64) {
        let until = self.ensemble.now() + time;
        self.ensemble.run_until(until).expect("no invariant is violated");
    }

    fn ask(&mut self, client: ClientId, write: Option<WriteContext>, operation: request::Operation) {
        self.next += 1;
        let request = Request {
            id: self.next,
            deadline_ms: 1_000,
            write,
            operation: Some(operation),
            ..Request::default()
        };
        self.ensemble.request(client, request);
    }

    fn answer(&mut self, client: ClientId) -> response::Result {
        self.pass(2 * SECOND);
        match &self.ensemble.take_answers(client)[..] {
            [Response { result: Some(result), .. }] => result.clone(),
            other => panic!("not one answer: {other:?}"),
        }
    }

    fn open_session(&mut self, client: ClientId) -> u64 {
        self.ask(
            client,
            None,
            request::Operation::OpenSession(v1::OpenSession { nonce: vec![3; 16].into() }),
        );
        match self.answer(client) {
            response::Result::SessionOpened(opened) => opened.session,
            other => panic!("no session: {other:?}"),
        }
    }

    fn set(&mut self, client: ClientId, session: u64, seq: u64, value: &'static str) {
        let set = v1::Set { key: "k".into(), value: value.into() };
        self.ask(client, Some(WriteContext { session, seq, lowest: 1 }), request::Operation::Set(set));
    }

    fn get(&mut self, node: usize) -> Bytes {
        let client = self.ensemble.connect(node);
        let get = v1::Get { key: "k".into(), ..v1::Get::default() };
        self.ask(client, None, request::Operation::Get(get));
        match self.answer(client) {
            response::Result::Entry(entry) => entry.value,
            other => panic!("no entry: {other:?}"),
        }
    }

    fn leader(&mut self) -> usize {
        let leads = |node: &usize| {
            let client = self.ensemble.connect(*node);
            self.ask(client, None, request::Operation::Status(v1::Status {}));
            match self.answer(client) {
                response::Result::Status(status) => status.role == Role::Leading as i32,
                other => panic!("no status: {other:?}"),
            }
        };
        (0..3).find(leads).expect("a node leads")
    }
}

#[test]
fn a_write_through_a_follower_is_read_everywhere() {
    let mut bench = Bench::new();
    let follower = (bench.leader() + 1) % 3;
    let client = bench.ensemble.connect(follower);
    let session = bench.open_session(client);
    bench.set(client, session, 1, "one");
    assert!(matches!(bench.answer(client), response::Result::Written(_)));
    for node in 0..3 {
        assert_eq!(bench.get(node), "one");
    }
}

#[test]
fn an_isolated_leaders_tail_is_truncated_and_its_write_is_executed_once_by_a_retry() {
    let mut bench = Bench::new();
    let old = bench.leader();
    let others = [(old + 1) % 3, (old + 2) % 3];
    let client = bench.ensemble.connect(old);
    let session = bench.open_session(client);
    for other in others {
        bench.ensemble.network().block(old, other);
        bench.ensemble.network().block(other, old);
    }
    bench.set(client, session, 1, "one");
    bench.pass(2 * SECOND);
    let elsewhere = bench.ensemble.connect(others[0]);
    bench.set(elsewhere, session, 1, "one");
    let response::Result::Written(written) = bench.answer(elsewhere) else { panic!("the retry is answered") };
    let now = bench.ensemble.now();
    bench.ensemble.network().heal(now);
    bench.pass(2 * SECOND);
    assert!(bench.ensemble.counts().truncations > 0, "the tail of the isolated leader was truncated");
    let again = bench.ensemble.connect(old);
    bench.set(again, session, 1, "one");
    assert_eq!(bench.answer(again), response::Result::Written(written));
    assert_eq!(bench.get(old), "one");
}

#[test]
fn a_leader_with_a_slow_disk_hands_over_to_a_node_with_a_quick_one() {
    let mut bench = Bench::with_one_slow_disk(300);
    bench.pass(3 * SECOND);
    // Of two nodes with the same log, that with the higher id is elected.
    bench.ensemble.crash(1, false).expect("no invariant is violated");
    bench.pass(3 * SECOND);
    bench.ensemble.start(1).expect("no invariant is violated");
    bench.pass(SECOND);
    assert!(bench.ensemble.process(2).leads, "the node with the slow disk leads");
    bench.write_for(10 * SECOND);
    let established = bench.ensemble.counts().established;
    let led = bench.write_for(20 * SECOND);
    assert!(led.len() == 1 && !led.contains(&2), "another node leads: {led:?}");
    assert_eq!(bench.ensemble.counts().established, established, "the leadership does not change again");
}

#[test]
fn a_leader_keeps_its_leadership_if_all_disks_are_equally_slow() {
    let mut bench = Bench::on_slow_disks(300, 400);
    bench.pass(10 * SECOND);
    let leader = bench.leader();
    let established = bench.ensemble.counts().established;
    assert_eq!(bench.write_for(20 * SECOND), BTreeSet::from([leader]));
    assert_eq!(bench.ensemble.counts().established, established);
}

#[test]
fn acknowledged_writes_survive_a_power_failure_of_all_nodes() {
    let mut bench = Bench::new();
    let client = bench.ensemble.connect(0);
    let session = bench.open_session(client);
    bench.set(client, session, 1, "one");
    assert!(matches!(bench.answer(client), response::Result::Written(_)));
    for node in 0..3 {
        bench.ensemble.crash(node, true).expect("no invariant is violated");
    }
    bench.pass(SECOND);
    for node in 0..3 {
        bench.ensemble.start(node).expect("no invariant is violated");
    }
    bench.pass(2 * SECOND);
    assert_eq!(bench.get(1), "one");
}

#[test]
fn a_wiped_node_is_synchronised_and_two_wiped_nodes_form_no_ensemble() {
    let mut bench = Bench::new();
    let client = bench.ensemble.connect(0);
    let session = bench.open_session(client);
    bench.set(client, session, 1, "one");
    assert!(matches!(bench.answer(client), response::Result::Written(_)));
    bench.ensemble.crash(2, true).expect("no invariant is violated");
    bench.ensemble.wipe(2);
    bench.ensemble.start(2).expect("no invariant is violated");
    bench.pass(3 * SECOND);
    assert_eq!(bench.ensemble.process(2).disk.applied(), bench.ensemble.process(0).disk.applied());
    for node in 0..2 {
        bench.ensemble.crash(node, true).expect("no invariant is violated");
    }
    bench.ensemble.wipe(1);
    bench.ensemble.start(1).expect("no invariant is violated");
    bench.pass(5 * SECOND);
    let client = bench.ensemble.connect(1);
    let get = v1::Get { key: "k".into(), ..v1::Get::default() };
    bench.ask(client, None, request::Operation::Get(get));
    assert!(matches!(bench.answer(client), response::Result::Error(_)));
}

#[test]
fn invalid_datagrams_have_no_effect() {
    let mut bench = Bench::new();
    let leader = bench.leader();
    let established = bench.ensemble.counts().established;
    for length in 0..600usize {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 31 + length) as u8).collect();
        for node in 0..3 {
            assert!(!bench.ensemble.inject_datagram(node, &bytes));
        }
    }
    bench.pass(2 * SECOND);
    assert_eq!(bench.leader(), leader);
    assert_eq!(bench.ensemble.counts().established, established);
}

#[test]
fn a_failing_disk_ends_the_process_and_loses_nothing_acknowledged() {
    let mut bench = Bench::new();
    let client = bench.ensemble.connect(0);
    let session = bench.open_session(client);
    bench.set(client, session, 1, "one");
    assert!(matches!(bench.answer(client), response::Result::Written(_)));
    let leader = bench.leader();
    bench.ensemble.set_disk_failing(leader, true);
    let other = bench.ensemble.connect((leader + 1) % 3);
    bench.set(other, session, 2, "two");
    bench.pass(2 * SECOND);
    bench.ensemble.set_disk_failing(leader, false);
    assert!(
        matches!(bench.answer(other), response::Result::Written(_)),
        "the other nodes still accept writes"
    );
    bench.pass(2 * SECOND);
    assert!(bench.ensemble.counts().restarts > 0);
    assert_eq!(bench.get(leader), "two");
}

#[test]
fn ensembles_on_slow_disks_form_and_accept_writes_after_a_crash_of_their_leader() {
    for (sync_ms, election_ms) in [(500, 1_000), (600, 1_000), (900, 1_000), (1_000, 1_000), (600, 100)] {
        let mut bench = Bench::on_slow_disks(sync_ms, election_ms);
        let leads = |bench: &Bench| {
            (0..3).find(|node| {
                matches!(
                    bench.ensemble.process(*node).role,
                    gometa_zab::Role::Leading { established: Some(_) }
                )
            })
        };
        while leads(&bench).is_none() && bench.ensemble.now() < 60 * SECOND {
            bench.pass(100 * MILLISECOND);
        }
        let formed = bench.ensemble.now();
        let leader = leads(&bench);
        assert!(leader.is_some(), "no leader after 60 s at {sync_ms} ms, {election_ms} ms");
        let client = bench.ensemble.connect(0);
        let session = loop {
            let nonce = vec![3; 16].into();
            bench.ask(client, None, request::Operation::OpenSession(v1::OpenSession { nonce }));
            if let response::Result::SessionOpened(opened) = bench.answer(client) {
                break opened.session;
            }
        };
        bench.set_somewhere(&[0, 1, 2], session, 1);
        let before = bench.ensemble.counts().established;
        bench.pass(20 * SECOND);
        assert_eq!(bench.ensemble.counts().established, before, "a slow disk ends no leadership");
        let leader = leads(&bench).expect("it still leads");
        bench.ensemble.crash(leader, false).expect("no invariant is violated");
        let took = bench.set_somewhere(&[(leader + 1) % 3, (leader + 2) % 3], session, 2);
        println!("{sync_ms} ms, {election_ms} ms: {formed} µs, then {took} µs");
        assert!(took <= 15 * sync_ms * MILLISECOND + SECOND, "{took} µs at {sync_ms} ms, {election_ms} ms");
    }
}
