//! Reports from given answers.

use gometa_client::{Client, EnsembleId, Member, SnapshotStatus};

use super::*;

const ADDRESSES: [&str; 3] = ["127.0.0.1:5003", "127.0.0.1:6003", "127.0.0.1:7003"];
const MESSAGES: [&str; 3] = ["127.0.0.1:5002", "127.0.0.1:6002", "127.0.0.1:7002"];

fn member(node: u64) -> Member {
    let index = node as usize - 1;
    let mut member = Member::default();
    member.node = node;
    member.message_address = MESSAGES[index].into();
    member.request_address = Some(ADDRESSES[index].into());
    member
}

fn peer(node: u64, member: Member) -> PeerStatus {
    let mut peer = PeerStatus::default();
    peer.votes = true;
    peer.connected = node == 1 || member.node == 1;
    peer.member = member;
    peer
}

fn ensemble(number: u8) -> Option<EnsembleId> {
    let mut ensemble = EnsembleId::default();
    ensemble.id = vec![number; 16].into();
    Some(ensemble)
}

/// Node 1, 2 or 3 of three, the first of which leads.
fn status(node: u64) -> NodeStatus {
    let mut status = NodeStatus::default();
    status.node = node;
    status.role = if node == 1 { Role::Leading } else { Role::Following };
    status.leader = Some(1);
    status.epoch = 4;
    status.last_revision = 100;
    status.commit_revision = if node == 1 { 100 } else { 99 };
    status.applied_revision = 100 - (node - 1);
    status.state_hash = vec![node as u8; 16].into();
    status.votes = true;
    status.ensemble = ensemble(1);
    let storage = &mut status.storage;
    (storage.log_base, storage.log_end, storage.log_bytes) = (20, 100, 1 << 20);
    (storage.state_bytes, storage.free_bytes) = (2 << 20, 3 << 30);
    storage.reserve_bytes = 512 << 20;
    (storage.flushed_revision, storage.flush_age_ms) = (90, 120_000);
    if node == 1 {
        let mut snapshot = SnapshotStatus::default();
        (snapshot.sending, snapshot.receivers) = (true, 1);
        (snapshot.total_bytes, snapshot.transferred_bytes, snapshot.bytes_per_second) =
            (2 << 20, 1 << 20, 1 << 20);
        storage.snapshot = Some(snapshot);
    }
    status.peers = (1..=3).filter(|other| *other != node).map(|other| peer(node, member(other))).collect();
    status
}

/// The error of a node that does not answer.
fn refused(address: &str) -> Error {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::builder().connect_timeout(Duration::from_nanos(1)).build([address]).unwrap();
    runtime.block_on(client.status_of(address)).unwrap_err()
}

fn shown(report: &Report) -> String {
    let mut out = Vec::new();
    report.show(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn answers(nodes: &[u64]) -> Answers {
    nodes.iter().map(|node| (ADDRESSES[*node as usize - 1].to_owned(), Ok(status(*node)))).collect()
}

#[test]
fn whole_ensemble_is_shown() {
    let report = Report::new(&answers(&[1, 2, 3]), &[]).unwrap();
    let text = shown(&report);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("NODE            ADDRESS         ROLE       EPOCH  LAST"), "{text}");
    assert!(
        lines[1]
            .contains("127.0.0.1:5002  127.0.0.1:5003  leading    4      100   100      0    01010101  yes"),
        "{text}"
    );
    assert!(
        lines[3]
            .contains("127.0.0.1:7002  127.0.0.1:7003  following  4      100   98       2    03030303  yes"),
        "{text}"
    );
    let storage = [
        "",
        "NODE            BASE  END  LOG      STATE    FREE     RESERVE  FLUSHED  AGE    SNAPSHOT",
        "127.0.0.1:5002  20    100  1.0 MiB  2.0 MiB  3.0 GiB  512 MiB  90       2 min  sending, 50% of 2.0 MiB, 1.0 MiB/s",
        "127.0.0.1:6002  20    100  1.0 MiB  2.0 MiB  3.0 GiB  512 MiB  90       2 min  -",
        "127.0.0.1:7002  20    100  1.0 MiB  2.0 MiB  3.0 GiB  512 MiB  90       2 min  -",
        "",
    ];
    assert_eq!(lines[4..10], storage, "{text}");
    assert_eq!(lines[10], "3 of 3 nodes answer, leader 127.0.0.1:5003");
    assert_eq!(lines[11], "3 of 3 voters up to date, quorum 2: 1 further node may fail");
    assert_eq!(lines.len(), 12);
}

/// The summary, and how many more nodes may fail, when nodes 1 to `up` of `all` answer, each status changed by `change`.
fn summary(all: u64, up: u64, change: impl Fn(&mut NodeStatus)) -> (String, Option<usize>) {
    let address = |node: u64| format!("127.0.0.1:{}", 5003 + 10 * node);
    let member = |node: u64| {
        let mut member = Member::default();
        (member.node, member.request_address) = (node, Some(address(node)));
        member
    };
    let answer = |node: u64| {
        let mut status = status(1);
        status.node = node;
        status.role = if node == 1 { Role::Leading } else { Role::Following };
        status.peers =
            (1..=all).filter(|other| *other != node).map(|other| peer(node, member(other))).collect();
        change(&mut status);
        (address(node), Ok(status))
    };
    let report = Report::new(&(1..=up).map(answer).collect(), &[]).unwrap();
    (report.summary, report.may_fail)
}

#[test]
fn summary_says_how_many_more_nodes_may_fail() {
    for (all, up, expected, may_fail) in [
        (3, 3, "3 of 3 voters up to date, quorum 2: 1 further node may fail", Some(1)),
        (3, 2, "2 of 3 voters up to date, quorum 2: no further node may fail", Some(0)),
        (3, 1, "1 of 3 voters up to date, quorum 2: no writes and no linearizable reads", None),
        (5, 5, "5 of 5 voters up to date, quorum 3: 2 further nodes may fail", Some(2)),
        (4, 3, "3 of 4 voters up to date, quorum 3: no further node may fail", Some(0)),
        (1, 1, "1 of 1 voters up to date, quorum 1: no further node may fail", Some(0)),
    ] {
        assert_eq!(summary(all, up, |_| {}), (expected.to_owned(), may_fail));
    }
}

#[test]
fn nodes_that_the_leader_cannot_count_are_not_up_to_date() {
    let none = |(summary, may_fail): (String, Option<usize>), start: &str| {
        assert!(summary.starts_with(start) && may_fail.is_none(), "{summary} {may_fail:?}");
    };
    none(
        summary(3, 1, |status| (status.role, status.ensemble) = (Role::Forming, None)),
        "the ensemble is not formed yet",
    );
    // Without a leader; two that still catch up; two of an earlier epoch; two that follow a deposed leader.
    none(summary(3, 3, |status| status.role = Role::Looking), "0 of 3");
    let others = |change: fn(&mut NodeStatus)| {
        move |status: &mut NodeStatus| {
            if status.node > 1 {
                change(status);
            }
        }
    };
    none(summary(3, 3, others(|status| status.role = Role::Looking)), "1 of 3");
    none(summary(3, 3, others(|status| status.epoch -= 1)), "1 of 3");
    none(summary(3, 3, others(|status| status.leader = Some(9))), "1 of 3");
    // Two whose data directories were replaced, in their own answers and in the leader's: still voters.
    none(summary(5, 4, |status| status.votes = status.node < 3), "2 of 5");
    let says = |change: fn(&mut PeerStatus)| {
        move |status: &mut NodeStatus| status.peers.iter_mut().take(2).for_each(change)
    };
    none(summary(5, 4, says(|peer| peer.votes = false)), "2 of 5");
    none(summary(5, 4, says(|peer| peer.connected = false)), "2 of 5");
}

#[test]
fn pending_change_of_the_members_is_noted_as_the_leader_knows_it() {
    let mut answers = answers(&[1, 2, 3]);
    for (address, answer) in &mut answers {
        answer.as_mut().unwrap().pending_change = format!("make a learner a voter, as {address} knows it");
    }
    let report = Report::new(&answers, &[]).unwrap();
    let note = "change of the members not made yet (127.0.0.1:5002): make a learner a voter, as 127.0.0.1:5003 knows it";
    assert_eq!(report.notes, [note]);
    assert!(shown(&report).contains(&format!("note: {note}\n")));
    // Without a leader, as each node knows it.
    for answer in answers.values_mut() {
        answer.as_mut().unwrap().role = Role::Looking;
    }
    assert_eq!(Report::new(&answers, &[]).unwrap().notes.len(), 3);
}

#[test]
fn leader_is_the_one_of_the_highest_epoch() {
    // Node 1 led before and does not know yet that node 2 does.
    let mut answers = answers(&[1, 2, 3]);
    for node in [2, 3] {
        let status = answers.get_mut(ADDRESSES[node - 1]).unwrap().as_mut().unwrap();
        (status.epoch, status.leader) = (5, Some(2));
        status.role = if node == 2 { Role::Leading } else { Role::Following };
        status.peers.iter_mut().for_each(|peer| peer.connected = peer.member.node != 1);
    }
    let report = Report::new(&answers, &[]).unwrap();
    assert_eq!(
        (report.leader.as_deref(), report.up_to_date, report.may_fail),
        (Some(ADDRESSES[1]), 2, Some(0))
    );
}

#[test]
fn missing_member_is_named_with_the_reason() {
    let mut answers = answers(&[1, 3]);
    let error = refused(ADDRESSES[1]);
    let reason = error.message().strip_prefix("127.0.0.1:6003: ").unwrap().to_owned();
    answers.insert(ADDRESSES[1].to_owned(), Err(error));
    let report = Report::new(&answers, &ADDRESSES.map(str::to_owned)).unwrap();
    assert_eq!(report.missing, ["127.0.0.1:6003"]);
    assert!(report.notes.is_empty(), "{:?}", report.notes);
    let text = shown(&report);
    assert!(text.contains("2 of 3 nodes answer, leader 127.0.0.1:5003, missing: 127.0.0.1:6003"), "{text}");
    let row = text.lines().find(|line| line.contains("missing") && line.starts_with("127")).unwrap();
    assert!(row.contains("127.0.0.1:6003  missing") && row.contains(&reason), "{text}");
}

#[test]
fn member_whose_request_address_is_unknown_is_missing_by_its_message_address() {
    let mut alone = status(1);
    alone.peers[0].member.request_address = None;
    alone.peers[0].detail = "has never been seen".to_owned();
    alone.peers.truncate(1);
    let answers = Answers::from([(ADDRESSES[0].to_owned(), Ok(alone))]);
    let report = Report::new(&answers, &[]).unwrap();
    assert_eq!(report.missing, ["127.0.0.1:6002"]);
    assert!(shown(&report).contains("request address unknown; has never been seen"));
}

#[test]
fn nodes_of_other_ensembles_are_noted_and_not_counted() {
    let mut foreign = status(2);
    foreign.ensemble = ensemble(9);
    foreign.commit_revision = 1_000_000;
    let mut answers = answers(&[1, 3]);
    answers.insert("127.0.0.1:9003".to_owned(), Ok(foreign));
    answers.insert("127.0.0.1:9004".to_owned(), Err(refused("127.0.0.1:9004")));
    let named = ["127.0.0.1:9003", "127.0.0.1:9004"].map(str::to_owned);
    let report = Report::new(&answers, &named).unwrap();
    assert_eq!((report.answering, report.members), (2, 3));
    assert_eq!(report.nodes[0].lag, Some(0));
    assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
    assert!(report.notes[0].starts_with("127.0.0.1:9003 belongs to another ensemble"), "{:?}", report.notes);
    assert!(report.notes[1].starts_with("127.0.0.1:9004: "), "{:?}", report.notes);
}

#[test]
fn the_latest_history_is_reported_however_many_nodes_were_left_behind() {
    let mut founder = status(1);
    founder.peers.clear();
    let later = founder.ensemble.as_mut().unwrap();
    later.history = 7;
    let mut answers = answers(&[2, 3]);
    answers.insert(ADDRESSES[0].to_owned(), Ok(founder));
    let report = Report::new(&answers, &[]).unwrap();
    assert_eq!((report.leader.as_deref(), report.voters, report.may_fail), (Some(ADDRESSES[0]), 1, Some(0)));
    assert_eq!((report.history, report.members), (Some(7), 1));
    assert_eq!(report.ensemble, Some("01".repeat(16)));
    assert_eq!(report.notes.len(), 2, "{:?}", report.notes);
    assert!(
        report.notes[0].starts_with("127.0.0.1:6003 was left behind with history 0"),
        "{:?}",
        report.notes
    );
    // A node that is to join belongs to none yet.
    let mut empty = status(2);
    empty.ensemble = None;
    let mut founder = status(1);
    founder.peers.clear();
    let answers = Answers::from(
        [(ADDRESSES[0], Ok(founder)), (ADDRESSES[1], Ok(empty))]
            .map(|(address, answer)| (address.to_owned(), answer)),
    );
    let report = Report::new(&answers, &[]).unwrap();
    assert_eq!((report.voters, report.up_to_date), (1, 1));
    assert!(report.notes[0].starts_with("127.0.0.1:6003 belongs to no ensemble yet"), "{:?}", report.notes);
}

#[test]
fn default_peers_that_are_not_members_are_not_noted() {
    let mut single = status(1);
    single.peers.clear();
    let mut answers = Answers::from([(ADDRESSES[0].to_owned(), Ok(single))]);
    answers.insert(ADDRESSES[1].to_owned(), Err(refused(ADDRESSES[1])));
    let report = Report::new(&answers, &[]).unwrap();
    assert_eq!((report.answering, report.members, report.notes.len()), (1, 1, 0));
}

#[test]
fn without_an_answer_there_is_no_report() {
    let answers = Answers::from([(ADDRESSES[0].to_owned(), Err(refused(ADDRESSES[0])))]);
    assert!(Report::new(&answers, &[]).is_none());
}

#[test]
fn json_names_every_field() {
    let report = Report::new(&answers(&[1, 2]), &[]).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["leader"], "127.0.0.1:5003");
    assert_eq!(json["nodes"][0]["node"], "0000000000000001");
    assert_eq!(json["nodes"][1]["lag"], 1);
    assert_eq!(json["nodes"][2]["role"], "missing");
    assert!(json["nodes"][2]["epoch"].is_null() && json["nodes"][2]["storage"].is_null());
    let storage = &json["nodes"][0]["storage"];
    assert_eq!((&storage["log_base"], &storage["flush_age_ms"]), (&20.into(), &120_000.into()));
    assert_eq!(storage["snapshot"]["transferred_bytes"], 1 << 20);
    assert!(json["nodes"][1]["storage"]["snapshot"].is_null());
    assert_eq!(
        (&json["voters"], &json["up_to_date"], &json["quorum"], &json["may_fail"]),
        (&3.into(), &2.into(), &2.into(), &0.into())
    );
    assert_eq!(json["summary"], report.summary);
}
