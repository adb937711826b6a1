//! The members that clients are sent: those that the ensemble has recorded, and no others.

use gometa_proto::v1::response::Result as Answer;
use gometa_zab::Addresses;

use gometa_testkit::{
    ensemble::Ensemble as _,
    nodes::{Nodes, Storage, context, set},
};

/// The request addresses in the last view that a node sent its clients.
fn sent_addresses(ensemble: &Nodes, index: usize) -> Vec<String> {
    let mut sent_addresses: Vec<String> =
        ensemble.members[index].view.members.iter().map(|member| member.request_address.clone()).collect();
    sent_addresses.sort();
    sent_addresses
}

#[test]
fn a_node_without_an_ensemble_names_itself_only() {
    let mut ensemble = Nodes::new(3);
    ensemble.kill(2);
    ensemble.run(500);
    assert_eq!(sent_addresses(&ensemble, 0), ["127.0.0.1:5003"]);
    assert_eq!(sent_addresses(&ensemble, 1), ["127.0.0.1:6003"]);
    ensemble.start(2);
    ensemble.run(500);
    for index in 0..3 {
        assert_eq!(sent_addresses(&ensemble, index), ["127.0.0.1:5003", "127.0.0.1:6003", "127.0.0.1:7003"]);
    }
}

fn moved(ensemble: &mut Nodes, index: usize, request: &str) {
    ensemble.kill(index);
    let addresses = &mut ensemble.members[index].addresses;
    *addresses = Addresses { request: request.to_owned(), ..addresses.clone() };
    ensemble.start(index);
    ensemble.run(1_500);
}

#[test]
fn a_member_that_has_moved_is_named_where_it_is_by_everyone() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    // Each of them once: one that follows tells its leader, which tells the others; one that led finds another leader.
    for index in 0..3 {
        let request = format!("127.0.0.1:900{index}");
        moved(&mut ensemble, index, &request);
        for other in 0..3 {
            assert!(
                sent_addresses(&ensemble, other).contains(&request),
                "{index} to {other}: {:?}",
                sent_addresses(&ensemble, other)
            );
            let status = ensemble.status(other);
            let mut peers = status.peers.iter().filter_map(|peer| peer.member.as_ref());
            assert!(other == index || peers.any(|peer| peer.request_address == request), "{status:?}");
        }
    }
    // It is hinted at there, too, as the leader.
    let leader = ensemble.leader().expect("a leader");
    for other in (0..3).filter(|other| *other != leader) {
        assert_eq!(ensemble.members[other].view.leader, format!("127.0.0.1:900{leader}"));
        match ensemble.call(other, context(77, 1), set("k", "v")) {
            Some(Answer::Error(error)) => assert_eq!(error.leader, format!("127.0.0.1:900{leader}")),
            answer => panic!("there is no such session: {answer:?}"),
        }
    }
    // Back where the ensemble has recorded it.
    moved(&mut ensemble, 0, "127.0.0.1:5003");
    for other in 0..3 {
        assert!(sent_addresses(&ensemble, other).contains(&"127.0.0.1:5003".to_owned()));
    }
}

#[test]
fn a_member_that_has_moved_with_an_empty_directory_is_named_where_it_is_when_it_is_recorded() {
    let mut ensemble = Nodes::new(3);
    ensemble.run(500);
    let wiped = (ensemble.leader().expect("a leader") + 1) % 3;
    ensemble.kill(wiped);
    ensemble.members[wiped].storage = Storage::default();
    ensemble.members[wiped].incarnation = 900;
    moved(&mut ensemble, wiped, "127.0.0.1:9003");
    assert!(sent_addresses(&ensemble, wiped).contains(&"127.0.0.1:9003".to_owned()), "it knows its own");
    ensemble.run(3_000);
    assert!(ensemble.status(wiped).votes);
    for other in 0..3 {
        assert!(sent_addresses(&ensemble, other).contains(&"127.0.0.1:9003".to_owned()));
    }
}
