//! Concurrent calls, bounds, reads, status, the blocking client.

use std::time::Duration;

use gometa_client::{Client, Consistency, ErrorKind, Outcome, ReadOptions, blocking};
use gometa_proto::v1::{
    self, NodeStatus, Response, Role, client_frame::Body as FromClient, request::Operation, response,
    server_frame::Body as FromNode,
};
use tokio::task::JoinSet;

use crate::node::{Node, builder, client, entry, get, limited, not_applied, numbers, view, welcome, written};

#[tokio::test]
async fn thousand_calls_share_one_connection() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let mut calls = JoinSet::new();
    for number in 0..1000u32 {
        let client = client.clone();
        calls.spawn(async move {
            if number % 2 == 0 {
                client.set(format!("key-{number}"), "v").await.map(|_| ())
            } else {
                let key = format!("key-{number}");
                client.get(&key).await.map(|entry| assert_eq!(entry.key, key))
            }
        });
    }
    let serving = async {
        node.accept().await.serve("v").await;
        panic!("a second connection was needed, or the first one ended");
    };
    let all = async {
        while let Some(call) = calls.join_next().await {
            call.unwrap().unwrap();
        }
    };
    tokio::select! {
        () = all => {}
        () = serving => {}
    }
    let counters = client.counters();
    assert_eq!((counters.requests, counters.retries), (1000, 0));
    assert_eq!((counters.reconnects, counters.in_flight), (0, 0));
}

#[tokio::test]
async fn responses_in_any_order_reach_their_calls() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let calls: Vec<_> = (0..50)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.get(format!("key-{number}")).await })
        })
        .collect();
    let mut link = node.accept().await;
    let mut requests = Vec::new();
    for _ in 0..50 {
        requests.push(link.request().await);
    }
    for request in requests.iter().rev() {
        match &request.operation {
            Some(Operation::Get(get)) => link.answer(request, entry(&get.key, &get.key)).await,
            other => panic!("expected Get, got {other:?}"),
        }
    }
    for (number, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap().value, format!("key-{number}"));
    }
}

#[tokio::test]
async fn requests_in_flight_stay_within_the_nodes_limit() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let calls: Vec<_> = (0..20).map(|_| get(&client, "k")).collect();
    let mut link = node.accept_with(limited(|limits| limits.requests_max = 8)).await;
    let mut waiting = Vec::new();
    for _ in 0..8 {
        waiting.push(link.request().await);
    }
    // A ninth request would arrive before the Pong.
    link.send(FromNode::Ping(v1::Ping { nonce: 1, session: 0 })).await;
    assert!(matches!(link.frame().await, Some(FromClient::Pong(_))));
    // A dropped call frees its slot once its Cancel is sent.
    calls[0].abort();
    assert!(matches!(link.frame().await, Some(FromClient::Cancel(_))));
    waiting.push(link.request().await);
    for index in 1..20 {
        link.answer(&waiting[index], entry(b"k", b"v")).await;
        if waiting.len() < 20 {
            let next = link.request().await;
            waiting.push(next);
        }
    }
    for call in calls.into_iter().skip(1) {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn local_reads_are_monotonic() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = tokio::spawn(async move {
        client.set("k", "v").await.unwrap();
        client.get_local("k").await.unwrap();
        client.get_with("k", ReadOptions::local().with_min_revision(77)).await.unwrap();
        client.get_with("k", ReadOptions::local().with_min_revision(3)).await.unwrap();
        client.get("k").await.unwrap();
        client.seen_revision()
    });
    let mut link = node.accept().await;
    link.open_session(7).await;
    link.answer_next(written(40)).await;
    for (consistency, min_revision, revision) in [
        (v1::Consistency::Local, 40, 41),
        (v1::Consistency::Local, 77, 78),
        (v1::Consistency::Local, 78, 78),
        (v1::Consistency::Linearizable, 0, 80),
    ] {
        let request = link.request().await;
        let Some(Operation::Get(get)) = &request.operation else { panic!("expected Get, got {request:?}") };
        assert_eq!((get.consistency(), get.min_revision), (consistency, min_revision));
        assert_eq!(request.write, None);
        let result = Some(entry(b"k", b"v"));
        link.send(FromNode::Response(Response { id: request.id, revision, result })).await;
    }
    assert_eq!(call.await.unwrap(), 80);
    assert_eq!(ReadOptions::default().consistency, Consistency::Linearizable);
}

#[tokio::test]
async fn sizes_are_checked_against_the_nodes_limits_and_nothing_is_sent() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let error = client.get("").await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::InvalidArgument, Outcome::NotApplied));
    let call = tokio::spawn(async move {
        client.set("k", "").await.unwrap();
        let key = client.get("long key").await.unwrap_err();
        let value = client.set("k", "long value").await.unwrap_err();
        client.get("k").await.unwrap();
        (key, value)
    });
    let few = |limits: &mut v1::Limits| (limits.key_max, limits.value_max) = (4, 5);
    let mut link = node.accept_with(limited(few)).await;
    link.open_session(7).await;
    link.answer_next(written(1)).await;
    let request = link.answer_next(entry(b"k", b"")).await;
    assert!(matches!(request.operation, Some(Operation::Get(_))), "{request:?}");
    let (key, value) = call.await.unwrap();
    assert_eq!(
        (key.kind(), key.message()),
        (ErrorKind::TooLarge, "a key of 8 bytes exceeds the limit of 4 bytes")
    );
    assert_eq!((value.kind(), value.outcome()), (ErrorKind::TooLarge, Outcome::NotApplied));
}

#[tokio::test]
async fn largest_key_and_value_are_accepted() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let (key, value) = (vec![b'k'; 4096], vec![0xff; 1 << 20]);
    let call = tokio::spawn({
        let (key, value) = (key.clone(), value.clone());
        async move {
            client.cas(&key, 1, &value).await.unwrap();
            client.get(&key).await.unwrap()
        }
    });
    let mut link = node.accept().await;
    link.open_session(7).await;
    match link.answer_next(written(2)).await.operation {
        Some(Operation::Cas(cas)) => assert!(cas.key == key && cas.value == value),
        _ => panic!("expected Cas"),
    }
    link.answer_next(entry(&key, &value)).await;
    let entry = call.await.unwrap();
    assert!(entry.key == key && entry.value == value);
}

#[tokio::test]
async fn not_found_and_deletions_of_missing_keys_differ() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = tokio::spawn(async move {
        let missing = client.get("k").await.unwrap_err();
        let deleted = client.delete("k").await.unwrap();
        let mismatch = client.delete_if("k", 9).await.unwrap_err();
        (missing, deleted, mismatch)
    });
    let mut link = node.accept().await;
    link.answer_next(not_applied(ErrorKind::NotFound)).await;
    link.open_session(7).await;
    let deleted = v1::Deleted { revision: 0, existed: false };
    let request = link.answer_next(response::Result::Deleted(deleted)).await;
    assert!(matches!(&request.operation, Some(Operation::Delete(delete)) if delete.revision.is_none()));
    let error = v1::Error::not_applied(ErrorKind::CasMismatch, "").with_actual_revision(12);
    let request = link.answer_next(response::Result::Error(error)).await;
    assert!(matches!(&request.operation, Some(Operation::Delete(delete)) if delete.revision == Some(9)));
    assert_eq!(numbers(&request), (7, 2, 2));
    let (missing, deleted, mismatch) = call.await.unwrap();
    assert_eq!((missing.kind(), missing.is_retryable()), (ErrorKind::NotFound, false));
    assert!(!deleted.existed);
    assert_eq!(mismatch.actual_revision(), Some(12));
}

#[tokio::test]
async fn response_of_another_kind_is_an_internal_error_and_a_write_unknown() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = tokio::spawn(async move { client.set("k", "v").await });
    let mut link = node.accept().await;
    link.open_session(7).await;
    link.answer_next(entry(b"k", b"v")).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Internal, Outcome::Unknown));
}

#[tokio::test]
async fn busy_node_is_retried_after_the_time_that_it_names() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = tokio::spawn(async move { client.get("k").await });
    let mut link = node.accept().await;
    let request = link.request().await;
    let busy = v1::Error::not_applied(ErrorKind::ResourceExhausted, "busy").with_retry_after_ms(60);
    let answered = std::time::Instant::now();
    link.answer(&request, response::Result::Error(busy)).await;
    let request = link.request().await;
    assert!(answered.elapsed() >= Duration::from_millis(60));
    link.answer(&request, entry(b"k", b"v")).await;
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn status_and_members_of_the_node_in_use_and_of_a_given_one() {
    let (node, other) = (Node::start().await, Node::start().await);
    let client = client(&[&node]);
    let call = tokio::spawn({
        let (client, address) = (client.clone(), other.address.clone());
        async move {
            let members = client.members().await.unwrap();
            (members, client.status().await.unwrap(), client.status_of(&address).await.unwrap())
        }
    });
    let view = view(Role::Leading, &node.address, &[&node.address]);
    let mut link = node.accept_with(welcome(view)).await;
    let status = |node| response::Result::Status(NodeStatus { node, ..NodeStatus::default() });
    link.answer_next(status(1)).await;
    let mut asked = other.accept().await;
    assert_eq!(asked.hello.ensemble, None, "it may be of another ensemble");
    asked.answer_next(status(2)).await;
    let (members, first, second) = call.await.unwrap();
    assert_eq!(members[0].request_address.as_deref(), Some(&*node.address));
    assert_eq!((first.node, second.node), (1, 2));
    assert!(asked.next_request().await.is_none(), "its connection is closed");

    let nowhere = Node::nowhere().await;
    let error = client.status_of(&nowhere).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.to_string(), format!("status: {nowhere}: connection refused"));
    assert_eq!(client.status_of("nonsense").await.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn dropping_the_last_client_ends_the_connection() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = tokio::spawn(async move { client.get("k").await });
    let mut link = node.accept().await;
    link.answer_next(entry(b"k", b"v")).await;
    call.await.unwrap().unwrap();
    assert!(link.next_request().await.is_none());
}

#[tokio::test]
async fn client_outlives_the_runtime_of_its_first_call() {
    let node = Node::start().await;
    let client: Client = client(&[&node]);
    for _ in 0..2 {
        let call = std::thread::spawn({
            let client = client.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(client.get("k")).unwrap().value
            }
        });
        let mut link = node.accept().await;
        link.answer_next(entry(b"k", b"v")).await;
        assert_eq!(tokio::task::spawn_blocking(|| call.join().unwrap()).await.unwrap(), "v");
    }
}

#[tokio::test]
async fn blocking_client_has_the_same_calls() {
    let node = Node::start().await;
    let address = node.address.clone();
    let calls = tokio::task::spawn_blocking(move || {
        let client = blocking::Client::with_settings(builder(), [address]).unwrap();
        assert_eq!(client.get("k").unwrap().value, "v");
        client.set("k", "v").unwrap();
        client.with_timeout(Duration::from_secs(1)).get("k").unwrap();
        let view = client.view().unwrap();
        assert_eq!((view.members.len(), client.members().unwrap().len()), (0, 0));
        assert!(client.seen_revision() > 0);
        client.counters().requests
    });
    tokio::select! {
        requests = calls => assert_eq!(requests.unwrap(), 5),
        () = async { node.accept().await.serve("v").await; std::future::pending().await } => {}
    }
}
