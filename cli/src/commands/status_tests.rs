//! Reports from made-up answers.

use gometa_client::{Client, EnsembleRef, Member};

use super::*;

const ADDRESSES: [&str; 3] = ["127.0.0.1:5003", "127.0.0.1:6003", "127.0.0.1:7003"];
const MESSAGES: [&str; 3] = ["127.0.0.1:5002", "127.0.0.1:6002", "127.0.0.1:7002"];

fn member(node: u64) -> Member {
    let index = node as usize - 1;
    Member { node, message_address: MESSAGES[index].into(), request_address: ADDRESSES[index].into() }
}

/// Node 1, 2 or 3 of three, the first of which leads.
fn status(node: u64) -> NodeStatus {
    let peer = |other: u64| PeerStatus { member: Some(member(other)), votes: true, ..PeerStatus::default() };
    NodeStatus {
        node,
        role: if node == 1 { Role::Leading } else { Role::Following }.into(),
        leader: 1,
        epoch: 4,
        last_revision: 100,
        commit_revision: if node == 1 { 100 } else { 99 },
        applied_revision: 100 - (node - 1),
        state_hash: vec![node as u8; 16].into(),
        votes: true,
        ensemble: Some(EnsembleRef { id: vec![1; 16].into(), history: 1 }),
        peers: (1..=3).filter(|other| *other != node).map(peer).collect(),
        ..NodeStatus::default()
    }
}

/// The error of a node that is not there.
fn refused(address: &str) -> Error {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::builder().connect_timeout(Duration::ZERO).build([address]).unwrap();
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
    assert_eq!(lines[4], "3 of 3 nodes answer, leader 127.0.0.1:5003");
    assert_eq!(lines.len(), 5);
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
    let mut lonely = status(1);
    lonely.peers[0].member.as_mut().unwrap().request_address.clear();
    lonely.peers[0].detail = "has never been seen".to_owned();
    lonely.peers.truncate(1);
    let answers = Answers::from([(ADDRESSES[0].to_owned(), Ok(lonely))]);
    let report = Report::new(&answers, &[]).unwrap();
    assert_eq!(report.missing, ["127.0.0.1:6002"]);
    assert!(shown(&report).contains("its request address is not known; has never been seen"));
}

#[test]
fn strangers_are_noted_and_not_counted() {
    let mut stranger = status(2);
    stranger.ensemble = Some(EnsembleRef { id: vec![9; 16].into(), history: 1 });
    stranger.commit_revision = 1_000_000;
    let mut answers = answers(&[1, 3]);
    answers.insert("127.0.0.1:9003".to_owned(), Ok(stranger));
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
fn default_peers_that_are_not_members_are_no_news() {
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
    assert!(json["nodes"][2]["epoch"].is_null());
}
