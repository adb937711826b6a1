//! The checkers catch what they are there for: small histories of which each breaks one promise.

use bytes::Bytes;

use gometa_proto::v1::{self, Command, WriteContext, command, request, response};
use gometa_zab::{HardState, Incarnation, Kind, LogEntry, Token};
use prost::Message as _;

use super::*;
use crate::{
    random::{Random, Stream},
    settings::Settings,
};

/// Three nodes with disks, whose writes are durable when the test says so.
struct Bench {
    oracle: Oracle,
    disks: Vec<Disk>,
    random: Random,
    token: u64,
}

fn payload(seq: u64) -> Bytes {
    let context = Some(WriteContext { session: 1, seq, lowest: 1 });
    let set = v1::Set { key: "k".into(), value: seq.to_be_bytes().to_vec().into() };
    let operation = Some(request::Operation::Set(set));
    let write = v1::Request { write: context, operation, ..v1::Request::default() };
    Command { body: Some(command::Body::Write(write)) }.encode_to_vec().into()
}

fn session() -> Bytes {
    let create = v1::CreateSession { nonce: vec![7; 16].into(), timeout_ms: 1_000 };
    Command { body: Some(command::Body::CreateSession(create)) }.encode_to_vec().into()
}

fn entry(epoch: u64, counter: u64, payload: Bytes) -> LogEntry {
    LogEntry { zxid: Zxid::new(epoch, counter), kind: Kind::Command, level: 1, payload }
}

impl Bench {
    fn new() -> Bench {
        let settings = Settings::quiet(1, 3).disk;
        let disks = (0..3).map(|node| Disk::abstracted(Incarnation(node), settings.clone(), None)).collect();
        Bench { oracle: Oracle::new(3, 3), disks, random: Random::new(1, Stream::Machine), token: 0 }
    }

    fn issue(&mut self, node: usize, write: Write) -> Check {
        self.oracle.issues(node, &self.disks[node], &write)?;
        self.token += 1;
        self.disks[node].issue(Token(self.token), write, 0);
        Ok(())
    }

    fn harden(&mut self, node: usize) -> Check {
        while self.disks[node].start(&mut self.random).is_some() {
            self.disks[node].finish(0).expect("no fault is to happen");
        }
        self.oracle.hardened(node, &self.disks[node].durable)
    }

    fn promise(&mut self, node: usize, accepted: u64, leader: usize, current: u64) -> Check {
        let state = HardState {
            accepted_epoch: Epoch(accepted),
            accepted_leader: Some(node_id(leader)),
            current_epoch: Epoch(current),
        };
        self.issue(node, Write::HardState(state))?;
        self.harden(node)
    }

    /// Node 0 leads epoch 1, node 1 follows.
    fn established() -> Bench {
        let mut bench = Bench::new();
        for node in 0..2 {
            bench.promise(node, 1, 0, 0).unwrap();
        }
        for node in 0..2 {
            bench.promise(node, 1, 0, 1).unwrap();
        }
        bench.oracle.established_by(0, Epoch(1), Zxid::ZERO).unwrap();
        bench.plays(0, Role::Leading { established: Some(Epoch(1)) }).unwrap();
        bench
    }

    fn plays(&mut self, node: usize, role: Role) -> Check {
        self.oracle.plays(node, role, &self.disks[node])
    }

    /// A node receives UpToDate.
    fn up_to_date(&mut self, node: usize, commit: u64) -> Check {
        let message = Message::UpToDate { epoch: Epoch(1), commit };
        self.oracle.sends(1 - node, Some(node), &self.disks[1 - node], &message)
    }

    fn append(&mut self, node: usize, entries: Vec<LogEntry>) -> Check {
        self.issue(node, Write::Append(entries))
    }

    /// As [`Bench::established`], with a session and one write committed.
    fn committed() -> Bench {
        let mut bench = Bench::established();
        for node in 0..2 {
            bench.append(node, vec![entry(1, 1, session()), entry(1, 2, payload(1))]).unwrap();
            bench.harden(node).unwrap();
        }
        assert_eq!(bench.oracle.committed(), 2);
        bench
    }

    fn ask(&mut self, id: u64, seq: u64) {
        let write = Some(WriteContext { session: 1, seq, lowest: 1 });
        let set = v1::Set { key: "k".into(), value: seq.to_be_bytes().to_vec().into() };
        let operation = Some(request::Operation::Set(set));
        self.oracle.asked(0, 0, 9, &Request { id, write, operation, ..Request::default() });
    }

    fn written(&mut self, id: u64, revision: u64, version: u64) -> Check {
        let result = Some(response::Result::Written(v1::Written { revision, version }));
        self.oracle.answers(0, 2, 9, &Response { id, revision: 2, result })
    }
}

#[track_caller]
fn breaks(check: Check, invariant: &str) {
    let violation = check.expect_err("a violation");
    assert_eq!(violation.invariant, invariant, "{violation}");
}

#[test]
fn one_zxid_has_one_payload_and_one_predecessor() {
    let mut bench = Bench::committed();
    breaks(bench.append(2, vec![entry(1, 1, payload(9))]), "2 identity");
    breaks(bench.append(2, vec![entry(1, 2, payload(1))]), "12 log contiguity");
    breaks(bench.append(2, vec![entry(1, 1, session()), entry(1, 3, payload(1))]), "12 log contiguity");
}

#[test]
fn only_the_established_leader_proposes() {
    let mut bench = Bench::committed();
    breaks(bench.append(1, vec![entry(1, 3, payload(2))]), "1 integrity");
    breaks(bench.append(1, vec![entry(2, 3, payload(2))]), "1 integrity");
    bench.append(0, vec![entry(1, 3, payload(2))]).unwrap();
}

#[test]
fn what_a_later_leader_gives_is_not_committed_by_an_earlier_ones_quorum() {
    // As seed 4806 had it once: node 0 alone holds the second write of epoch 1, node 1 gets it in the synchronisation
    // of epoch 3 and does not come to acknowledge that. On a quorum, but committed by none, it may vanish.
    let mut bench = Bench::committed();
    bench.append(0, vec![entry(1, 3, payload(2))]).unwrap();
    bench.harden(0).unwrap();
    bench.promise(1, 3, 0, 1).unwrap();
    bench.append(1, vec![entry(1, 3, payload(2))]).unwrap();
    bench.harden(1).unwrap();
    assert_eq!(bench.oracle.committed(), 2);
    bench.issue(1, Write::Truncate(Zxid::new(1, 2))).unwrap();
    // Had it not promised, that would have been a quorum.
    let mut bench = Bench::committed();
    for node in 0..2 {
        bench.append(node, vec![entry(1, 3, payload(2))]).unwrap();
        bench.harden(node).unwrap();
    }
    assert_eq!(bench.oracle.committed(), 3);
}

#[test]
fn an_epoch_has_one_leader() {
    let mut bench = Bench::established();
    let disk = &bench.disks[2];
    breaks(bench.oracle.discovered(2, Epoch(1), Zxid::ZERO, disk), "8 leader uniqueness");
    breaks(bench.oracle.established_by(2, Epoch(1), Zxid::ZERO), "8 leader uniqueness");
}

#[test]
fn a_leader_is_established_by_a_quorum_only() {
    let mut bench = Bench::new();
    bench.promise(0, 1, 0, 0).unwrap();
    bench.promise(0, 1, 0, 1).unwrap();
    breaks(bench.oracle.established_by(0, Epoch(1), Zxid::ZERO), "15 commit monotone");
}

#[test]
fn a_leader_without_what_is_committed_is_caught() {
    let mut bench = Bench::committed();
    // Nodes 1 and 2 promise; node 2 leads, although node 1 knows more.
    bench.promise(1, 2, 2, 1).unwrap();
    bench.promise(2, 2, 2, 0).unwrap();
    bench.promise(2, 2, 2, 2).unwrap();
    breaks(bench.issue(1, Write::Truncate(Zxid::ZERO)), "10 leader completeness");
}

#[test]
fn no_commit_is_sent_without_a_quorum() {
    let mut bench = Bench::committed();
    bench.append(0, vec![entry(1, 3, payload(2))]).unwrap();
    bench.harden(0).unwrap();
    let commit = Message::Commit { epoch: Epoch(1), commit: 3 };
    breaks(bench.oracle.sends(0, Some(1), &bench.disks[0], &commit), "15 commit monotone");
    bench.append(1, vec![entry(1, 3, payload(2))]).unwrap();
    breaks(bench.oracle.sends(0, Some(1), &bench.disks[0], &commit), "15 commit monotone");
    bench.harden(1).unwrap();
    bench.oracle.sends(0, Some(1), &bench.disks[0], &commit).unwrap();
}

#[test]
fn presence_on_a_quorum_without_the_epoch_is_no_commit() {
    let mut bench = Bench::established();
    bench.append(0, vec![entry(1, 1, session())]).unwrap();
    bench.harden(0).unwrap();
    bench.promise(2, 1, 0, 0).unwrap();
    bench.append(2, vec![entry(1, 1, session())]).unwrap();
    bench.harden(2).unwrap();
    assert_eq!(bench.oracle.committed(), 0, "node 2 has not made the epoch its own");
    bench.promise(2, 1, 0, 1).unwrap();
    assert_eq!(bench.oracle.committed(), 1);
}

#[test]
fn a_wiped_voter_is_counted_in_nothing() {
    let mut bench = Bench::established();
    bench.oracle.wiped(2, Incarnation(99));
    bench.disks[2].wipe(Incarnation(99));
    bench.promise(2, 1, 0, 1).unwrap();
    for node in [0, 2] {
        bench.append(node, vec![entry(1, 1, session())]).unwrap();
        bench.harden(node).unwrap();
    }
    assert_eq!(bench.oracle.committed(), 0);
}

#[test]
fn an_ack_speaks_of_durable_entries() {
    let mut bench = Bench::committed();
    bench.append(0, vec![entry(1, 3, payload(2))]).unwrap();
    bench.append(1, vec![entry(1, 3, payload(2))]).unwrap();
    let ack = Message::Ack { epoch: Epoch(1), last: Zxid::new(1, 3) };
    breaks(bench.oracle.sends(1, Some(0), &bench.disks[1], &ack), "14 durable before sent");
    bench.harden(1).unwrap();
    bench.oracle.sends(1, Some(0), &bench.disks[1], &ack).unwrap();
    breaks(bench.oracle.sends(1, Some(2), &bench.disks[1], &ack), "13 epochs");
    bench.promise(1, 2, 2, 1).unwrap();
    breaks(bench.oracle.sends(1, Some(0), &bench.disks[1], &ack), "13 epochs");
}

#[test]
fn promises_do_not_go_back() {
    let mut bench = Bench::established();
    breaks(bench.promise(1, 1, 2, 1), "13 epochs");
    breaks(bench.promise(1, 0, 0, 0), "13 epochs");
    breaks(bench.promise(1, 1, 0, 2), "13 epochs");
}

#[test]
fn an_epoch_is_joined_with_its_whole_history() {
    let mut bench = Bench::committed();
    bench.promise(0, 2, 0, 1).unwrap();
    bench.promise(2, 2, 0, 0).unwrap();
    bench.promise(0, 2, 0, 2).unwrap();
    breaks(bench.promise(2, 2, 0, 2), "rule 18, history before epoch");
}

#[test]
fn state_follows_from_the_log() {
    let mut bench = Bench::committed();
    let disk = &bench.disks[1];
    breaks(bench.oracle.applies(1, disk, 2, 1), "17 state equality");
    breaks(bench.oracle.applies(1, disk, 3, 1), "15 commit monotone");
    breaks(bench.oracle.applies(2, &bench.disks[2], 1, 1), "15 commit monotone");
}

#[test]
fn acknowledgements_follow_from_the_log() {
    let mut bench = Bench::committed();
    bench.ask(1, 1);
    bench.written(1, 2, 1).unwrap();
    bench.ask(2, 1);
    breaks(bench.written(2, 2, 2), "18 a reply follows from the log");
    bench.ask(3, 5);
    breaks(bench.written(3, 2, 1), "16 no acknowledged loss");
    breaks(bench.written(3, 2, 1), "18 a reply follows from the log");
}

#[test]
fn a_write_called_after_another_was_answered_comes_after_it() {
    let mut bench = Bench::committed();
    bench.ask(1, 1);
    bench.written(1, 2, 1).unwrap();
    // Another write is called now, and is said to stand where the first one stands, or before.
    let mut late = Bench::committed();
    late.oracle.replies = std::mem::take(&mut bench.oracle.replies);
    late.oracle.asked(
        0,
        0,
        9,
        &Request {
            id: 7,
            write: Some(WriteContext { session: 2, seq: 1, lowest: 1 }),
            operation: Some(request::Operation::Get(v1::Get {
                key: "k".into(),
                consistency: 0,
                min_revision: 0,
            })),
            ..Request::default()
        },
    );
    let result = Some(response::Result::Entry(v1::Entry::default()));
    let stale = Response { id: 7, revision: 1, result };
    breaks(late.oracle.answers(0, 2, 9, &stale), "18 real-time order");
}

#[test]
fn nothing_is_read_from_a_node_that_has_not_been_up_to_date() {
    let get = v1::Get { key: "none".into(), consistency: v1::Consistency::Local.into(), min_revision: 0 };
    let operation = Some(request::Operation::Get(get));
    let error = |kind: v1::ErrorKind| v1::Error { kind: kind as u32, ..v1::Error::default() };
    let answer = |bench: &mut Bench, id, kind| {
        let request = Request { id, operation: operation.clone(), ..Request::default() };
        bench.oracle.asked(0, 0, 9, &request);
        let result = Some(response::Result::Error(error(kind)));
        bench.oracle.answers(0, 2, 9, &Response { id, revision: 2, result })
    };
    let mut bench = Bench::committed();
    answer(&mut bench, 1, v1::ErrorKind::NotFound).unwrap();
    bench.oracle.starts(0, Ticks(0));
    bench.plays(0, Role::Following { leader: node_id(1), established: None }).unwrap();
    answer(&mut bench, 2, v1::ErrorKind::Unavailable).unwrap();
    breaks(
        answer(&mut bench, 3, v1::ErrorKind::NotFound),
        "section 6.2, no read before a node is up to date",
    );
    bench.up_to_date(0, 0).unwrap();
    bench.plays(0, Role::Following { leader: node_id(1), established: Some(Epoch(1)) }).unwrap();
    answer(&mut bench, 4, v1::ErrorKind::NotFound).unwrap();
}

#[test]
fn a_node_that_serves_has_applied_what_it_must() {
    const RULE: &str = "rule 20, applied before serving";
    let follows = Role::Following { leader: node_id(0), established: Some(Epoch(1)) };
    let mut bench = Bench::committed();
    breaks(bench.plays(1, follows), RULE);
    bench.up_to_date(1, 2).unwrap();
    breaks(bench.plays(1, follows), RULE);
    let view = |role: v1::Role| v1::View { role: role.into(), ..v1::View::default() };
    bench.oracle.shows(1, &view(v1::Role::Looking)).unwrap();
    for role in [v1::Role::Following, v1::Role::Leading, v1::Role::Learning] {
        breaks(bench.oracle.shows(1, &view(role)), RULE);
    }
    bench.up_to_date(1, 0).unwrap();
    bench.plays(1, follows).unwrap();
    bench.oracle.shows(1, &view(v1::Role::Following)).unwrap();
    breaks(bench.plays(1, Role::Leading { established: Some(Epoch(2)) }), RULE);
}

#[test]
fn not_applied_means_never() {
    let mut bench = Bench::committed();
    bench.ask(1, 2);
    let error = v1::Error { kind: 6, outcome: v1::Outcome::NotApplied as i32, ..v1::Error::default() };
    let denial = |id| Response { id, revision: 2, result: Some(response::Result::Error(error.clone())) };
    bench.oracle.answers(0, 2, 9, &denial(1)).unwrap();
    for node in 0..2 {
        bench.append(node, vec![entry(1, 3, payload(2))]).unwrap();
    }
    bench.harden(0).unwrap();
    breaks(bench.harden(1), "19 exactly once");

    let mut bench = Bench::committed();
    bench.ask(1, 1);
    breaks(bench.oracle.answers(0, 2, 9, &denial(1)), "19 exactly once");
}

#[test]
fn a_live_session_has_not_expired() {
    let mut bench = Bench::committed();
    bench.ask(1, 2);
    let error = v1::Error { kind: v1::ErrorKind::SessionExpired as u32, ..v1::Error::default() };
    let expired = Response { id: 1, revision: 2, result: Some(response::Result::Error(error)) };
    breaks(bench.oracle.answers(0, 2, 9, &expired), "19 exactly once");
}
