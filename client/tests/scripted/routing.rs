//! The choice of the node in use.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use gometa_client::{Client, ErrorKind, Outcome};
use gometa_proto::v1::{Error, Role, response, server_frame::Body as FromNode};

use crate::node::{Node, builder, client, ensemble, entry, get, not_applied, view, welcome};

async fn assert_no_connection(node: &Node) {
    let mut accept = pin!(node.accept_raw());
    poll_fn(|context| {
        assert!(accept.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn building_does_no_io_and_rejects_invalid_addresses() {
    let node = Node::start().await;
    let client = client(&[&node]);
    assert_no_connection(&node).await;
    assert_eq!(client.counters(), gometa_client::Counters::default());
    for nonsense in [&[][..], &[""], &["nonsense"], &["http://127.0.0.1:5003"]] {
        let error = Client::new(nonsense.iter().copied()).unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::InvalidArgument, Outcome::NotApplied));
    }
}

#[tokio::test]
async fn building_needs_no_runtime_and_no_reachable_peer() {
    let address = Node::nowhere().await;
    std::thread::spawn(move || Client::new([address]).unwrap()).join().unwrap();
}

#[tokio::test]
async fn peer_that_refuses_connections_is_skipped() {
    let node = Node::start().await;
    let client = builder().build([Node::nowhere().await, node.address.clone()]).unwrap();
    let serving = async { node.accept().await.serve("b").await };
    tokio::select! {
        entry = client.get("k") => assert_eq!(entry.unwrap().value, "b"),
        () = serving => panic!("the client hung up"),
    }
}

#[tokio::test]
async fn silent_peer_causes_little_delay() {
    let (silent, node) = (Node::start().await, Node::start().await);
    let client = client(&[&silent, &node]);
    let started = std::time::Instant::now();
    tokio::select! {
        entry = client.get("k") => assert_eq!(entry.unwrap().value, "b"),
        () = async { node.accept().await.serve("b").await } => panic!("the client hung up"),
    }
    assert!(started.elapsed() < Duration::from_secs(2), "less than the connect timeout");
}

#[tokio::test]
async fn moves_to_the_leader_in_a_welcome() {
    let (follower, leader) = (Node::start().await, Node::start().await);
    let client = client(&[&follower]);
    let at_follower = async {
        let hint = welcome(view(Role::Following, &leader.address, &[&follower.address, &leader.address]));
        follower.accept_with(hint).await.serve("follower").await;
        std::future::pending::<()>().await
    };
    let at_leader = async { leader.accept().await.serve("leader").await };
    let calls = async { while client.get("k").await.unwrap().value != "leader" {} };
    tokio::select! {
        () = calls => {}
        () = at_follower => {}
        () = at_leader => panic!("the client hung up"),
    }
    assert_eq!(client.counters().reconnects, 0, "a move to the leader is none");
    assert_eq!(client.counters().retries, 0);
}

#[tokio::test]
async fn moves_to_the_leader_in_a_view_and_loses_no_call() {
    let (old, new) = (Node::start().await, Node::start().await);
    let client = client(&[&old]);
    let call = get(&client, "slow");
    let mut link = old.accept().await;
    let slow = link.request().await;
    link.send(FromNode::View(view(Role::Following, &new.address, &[]))).await;
    let at_new = new.accept().await;
    let calls = async { while client.get("k").await.unwrap().value != "new" {} };
    // Requests go to the old node until the client has seen the new one's Welcome.
    let at_old = async {
        loop {
            match link.next_request().await {
                Some(request) => link.answer(&request, entry(b"k", b"old")).await,
                None => panic!("hung up with a call in flight"),
            }
        }
    };
    tokio::select! {
        () = calls => {}
        () = at_new.serve("new") => panic!("the client hung up"),
        () = at_old => {}
    }
    link.answer(&slow, entry(b"slow", b"old")).await;
    assert_eq!(call.await.unwrap().unwrap().value, "old");
    assert!(link.next_request().await.is_none(), "the old connection ends with its last call");
}

#[tokio::test]
async fn does_not_move_to_a_leader_that_does_not_lead() {
    let (follower, other) = (Node::start().await, Node::start().await);
    let client = client(&[&follower]);
    let at_follower = async {
        let hint = welcome(view(Role::Following, &other.address, &[]));
        follower.accept_with(hint).await.serve("follower").await;
    };
    let at_other = async {
        for _ in 0..3 {
            let confused = welcome(view(Role::Following, &follower.address, &[]));
            let mut link = other.accept_with(confused).await;
            assert!(link.next_request().await.is_none());
        }
    };
    let calls = async {
        loop {
            assert_eq!(client.get("k").await.unwrap().value, "follower");
        }
    };
    tokio::select! {
        () = calls => {}
        () = at_follower => panic!("the client hung up"),
        () = at_other => {}
    }
}

#[tokio::test]
async fn not_leader_moves_to_the_leader_in_the_error() {
    let (first, second, leader) = (Node::start().await, Node::start().await, Node::start().await);
    let client = client(&[&first, &second]);
    let call = tokio::spawn(async move { client.get("k").await });
    let mut link = first.accept_with(welcome(view(Role::Looking, "", &[]))).await;
    let error = Error::not_applied(ErrorKind::NotLeader, "another leads").with_leader(&leader.address);
    link.answer_next(response::Result::Error(error)).await;
    let mut link = leader.accept().await;
    link.answer_next(entry(b"k", b"v")).await;
    assert_eq!(call.await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn unavailable_node_is_replaced() {
    let (first, second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second]);
    let call = get(&client, "k");
    let mut link = first.accept_with(welcome(view(Role::Looking, "", &[]))).await;
    link.answer_next(not_applied(ErrorKind::Unavailable)).await;
    let mut link = second.accept().await;
    link.answer_next(entry(b"k", b"v")).await;
    assert_eq!(call.await.unwrap().unwrap().value, "v");
    assert_eq!(client.counters().retries, 1);
}

#[tokio::test]
async fn lost_connection_fails_over_to_members_in_a_view() {
    let (seed, member) = (Node::start().await, Node::start().await);
    let client = client(&[&seed]);
    let call = tokio::spawn(async move { client.get("k").await });
    let view = view(Role::Leading, &seed.address, &[&seed.address, &member.address]);
    let mut link = seed.accept_with(welcome(view)).await;
    link.request().await;
    drop((seed, link));
    let mut link = member.accept().await;
    link.answer_next(entry(b"k", b"v")).await;
    assert_eq!(call.await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn silent_node_is_replaced_though_its_connection_is_open() {
    let (silent, node) = (Node::start().await, Node::start().await);
    let client = client(&[&silent, &node]);
    let call = tokio::spawn(async move { client.get("k").await });
    let mut held = silent.accept().await;
    held.request().await;
    let mut link = node.accept().await;
    link.answer_next(entry(b"k", b"v")).await;
    assert_eq!(call.await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn slow_node_that_answers_pings_stays_in_use() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = tokio::spawn(async move { client.get("k").await });
    let mut link = node.accept().await;
    let request = link.request().await;
    for _ in 0..4 {
        match link.frame().await {
            Some(gometa_proto::v1::client_frame::Body::Ping(ping)) => {
                link.send(FromNode::Pong(gometa_proto::v1::Pong { nonce: ping.nonce })).await;
            }
            other => panic!("expected a Ping, got {other:?}"),
        }
    }
    link.answer(&request, entry(b"k", b"v")).await;
    assert_eq!(call.await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn pinned_client_does_not_move() {
    let (follower, leader) = (Node::start().await, Node::start().await);
    let client = builder().pinned(true).build([&follower.address]).unwrap();
    let call = tokio::spawn(async move { client.get("k").await });
    let hint = view(Role::Following, &leader.address, &[&leader.address]);
    let mut link = follower.accept_with(welcome(hint)).await;
    let error = Error::not_applied(ErrorKind::Unavailable, "no leader").with_leader(&leader.address);
    link.answer_next(response::Result::Error(error)).await;
    link.answer_next(entry(b"k", b"v")).await;
    assert_eq!(call.await.unwrap().unwrap().value, "v");
    assert_no_connection(&leader).await;
}

#[tokio::test]
async fn reconnecting_sends_the_ensemble_and_another_ensemble_is_an_error() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = tokio::spawn(async move { client.get("k").await });
    let mut link = node.accept().await;
    assert_eq!(link.hello.ensemble, None);
    link.request().await;
    drop(link);
    let mut link = node.accept_hello().await;
    assert_eq!(link.hello.ensemble, Some(ensemble(1)));
    link.send(FromNode::Error(Error::not_applied(ErrorKind::InvalidArgument, "another ensemble"))).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("another ensemble"), "{error}");
}

#[tokio::test]
async fn node_of_another_ensemble_is_skipped() {
    let (foreign, node) = (Node::start().await, Node::start().await);
    let client = client(&[&node, &foreign]);
    let call = tokio::spawn(async move { client.get("k").await });
    let mut link = node.accept().await;
    link.request().await;
    drop(link);
    // The foreign node was dialed least recently, so it is dialed first.
    let mut other = welcome(view(Role::Leading, "", &[]));
    other.ensemble = Some(ensemble(2));
    let mut link = foreign.accept_with(other).await;
    assert!(link.next_request().await.is_none());
    let mut link = node.accept().await;
    link.answer_next(entry(b"k", b"v")).await;
    assert_eq!(call.await.unwrap().unwrap().value, "v");
}
