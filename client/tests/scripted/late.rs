//! Deadlines and keepalive: the error of a call at its deadline, and whether its node stays in use.

use std::time::{Duration, Instant};

use gometa_client::{Client, ErrorKind, Outcome};
use gometa_proto::v1::{Ping, Pong, Role, client_frame::Body as FromClient, server_frame::Body as FromNode};

use crate::node::{Link, Node, builder, client, entry, get, not_applied, set, view, welcome};

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn calls_shorter_than_a_handshake_use_the_connection_that_an_earlier_one_started() {
    let node = Node::start().await;
    let client = client(&[&node]).with_timeout(SHORT);
    let first = get(&client, "k");
    let mut link = node.accept_hello().await;
    // The handshake outlasts the call.
    let error = first.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotApplied));
    assert!(error.to_string().contains(&format!("{}: still connecting", node.address)), "{error}");
    link.send(FromNode::Welcome(welcome(view(Role::Leading, "", &[])))).await;
    let calls = async {
        while let Err(error) = client.get("k").await {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
    };
    tokio::select! {
        () = calls => {}
        () = async { link.answer_next(entry(b"k", b"v")).await; std::future::pending().await } => {}
        _ = node.accept_raw() => panic!("dialed again"),
    }
    assert_eq!(client.counters().reconnects, 0);
}

#[tokio::test]
async fn a_node_that_lets_a_deadline_pass_is_replaced_even_if_it_answers_pings() {
    let (hung, node) = (Node::start().await, Node::start().await);
    let client = client(&[&hung, &node]).with_timeout(Duration::from_millis(150));
    let late = get(&client, "k");
    let mut link = hung.accept().await;
    link.request().await;
    // The node answers Pings and nothing else.
    let ponging = tokio::spawn(async move { assert!(link.next_request().await.is_none()) });
    let error = late.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.to_string().contains(&format!("no answer from {}", hung.address)), "{error}");
    let next = get(&client, "k");
    node.accept().await.answer_next(entry(b"k", b"elsewhere")).await;
    assert_eq!(next.await.unwrap().unwrap().value, "elsewhere");
    ponging.await.unwrap();
}

#[tokio::test]
async fn a_node_that_lets_a_call_be_dropped_is_replaced() {
    let (hung, node) = (Node::start().await, Node::start().await);
    let client = client(&[&hung, &node]);
    let given_up = get(&client, "k");
    let mut link = hung.accept().await;
    link.request().await;
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_millis(100) {
        if let Ok(Some(FromClient::Ping(Ping { nonce, .. }))) =
            tokio::time::timeout(Duration::from_millis(10), link.frame()).await
        {
            link.send(FromNode::Pong(Pong { nonce })).await;
        }
    }
    given_up.abort();
    assert!(given_up.await.is_err());
    let next = get(&client, "k");
    node.accept().await.answer_next(entry(b"k", b"elsewhere")).await;
    assert_eq!(next.await.unwrap().unwrap().value, "elsewhere");
}

#[tokio::test]
async fn a_short_deadline_alone_does_not_replace_a_node() {
    let (node, other) = (Node::start().await, Node::start().await);
    let patience = Duration::from_secs(10);
    let client = Client::builder().keepalive(patience, patience).build([&node.address, &other.address]);
    let client = client.unwrap();
    let late = get(&client.with_timeout(SHORT), "k");
    let mut link = node.accept().await;
    link.request().await;
    assert_eq!(late.await.unwrap().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    let next = get(&client, "k");
    tokio::select! {
        _ = link.answer_next(entry(b"k", b"still here")) => {}
        _ = other.accept_raw() => panic!("left for a call of {SHORT:?}"),
    }
    assert_eq!(next.await.unwrap().unwrap().value, "still here");
}

#[tokio::test]
async fn without_an_alternative_the_node_in_use_stays() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let late = get(&client.with_timeout(Duration::from_millis(150)), "k");
    let mut link = node.accept().await;
    link.request().await;
    let next = tokio::spawn(async move {
        assert_eq!(late.await.unwrap().unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        client.get("k").await
    });
    link.answer_next(entry(b"k", b"v")).await;
    next.await.unwrap().unwrap();
}

/// The time after which a node is replaced that reads everything and sends only `chatter`, with default settings.
async fn time_until_replaced(chatter: impl AsyncFn(&mut Link)) -> Duration {
    let (dead, node) = (Node::start().await, Node::start().await);
    let client = Client::new([&dead.address, &node.address]).unwrap();
    let call = get(&client, "first");
    let mut link = dead.accept().await;
    link.answer_next(entry(b"k", b"alive")).await;
    call.await.unwrap().unwrap();
    let call = get(&client, "second");
    link.request().await;
    let asked = Instant::now();
    let mut next = tokio::select! {
        next = node.accept() => next,
        () = async { loop { chatter(&mut link).await } } => unreachable!("it never ends"),
    };
    let took = asked.elapsed();
    next.answer_next(entry(b"k", b"v")).await;
    call.await.unwrap().unwrap();
    took
}

#[tokio::test]
async fn a_dead_connection_is_closed_one_and_a_half_seconds_after_the_request() {
    let took = time_until_replaced(async |_| std::future::pending().await).await;
    assert!((Duration::from_millis(1450)..Duration::from_millis(1900)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_node_that_sends_pings_but_no_pongs_is_replaced() {
    // A node's Pings do not show that it carries out requests; a Pong does.
    let took = time_until_replaced(async |link| {
        link.send(FromNode::Ping(Ping { nonce: 1, session: 0 })).await;
        let _ = tokio::time::timeout(Duration::from_millis(100), link.frame()).await;
    })
    .await;
    assert!((Duration::from_millis(1450)..Duration::from_millis(1900)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_silent_node_is_replaced_even_if_calls_are_shorter_than_the_keepalive() {
    let (silent, node) = (Node::start().await, Node::start().await);
    let quiet = Duration::from_millis(100);
    let client = Client::builder().keepalive(quiet, quiet).build([&silent.address, &node.address]).unwrap();
    let short = client.with_timeout(Duration::from_millis(20));
    let calls = async { while short.get("k").await.is_err() {} };
    let serving = async {
        let _held = silent.accept().await;
        node.accept().await.serve("v").await;
    };
    tokio::select! {
        () = calls => {}
        () = serving => panic!("the client hung up"),
    }
}

#[tokio::test]
async fn a_call_with_a_connection_exceeds_its_deadline_and_one_without_is_unavailable() {
    let node = Node::start().await;
    let client = client(&[&node]).with_timeout(Duration::from_millis(300));
    let call = set(&client, "k");
    let mut link = node.accept().await;
    link.open_session(7).await;
    link.request().await;
    drop((link, node));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::DeadlineExceeded, Outcome::Unknown));
    // The connection was lost before this one began.
    let begun = Instant::now();
    let error = client.set("k", "v").await.unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(300), "not before its deadline");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotApplied));
    assert!(error.is_retryable());
    for error in [client.status().await.map(drop), client.view().await.map(drop)] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    }
}

#[tokio::test]
async fn a_message_reports_only_what_happened_during_its_call() {
    let (first, second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second]);
    let call = get(&client, "k");
    let mut link = first.accept().await;
    link.request().await;
    drop(link);
    let mut link = second.accept().await;
    link.answer_next(entry(b"k", b"v")).await;
    call.await.unwrap().unwrap();
    assert_eq!(client.counters().reconnects, 1);
    let call = get(&client, "k");
    link.answer_next(entry(b"k", b"v")).await;
    call.await.unwrap().unwrap();

    let error = get(&client.with_timeout(SHORT), "k").await.unwrap().unwrap_err();
    let expected = format!("get \"k\": no answer from {} within {SHORT:?}", second.address);
    assert_eq!(error.to_string(), expected);
    // The failures during this call are in the message.
    let call = get(&client.with_timeout(Duration::from_millis(500)), "k");
    link.request().await;
    link.answer_next(not_applied(ErrorKind::ResourceExhausted)).await;
    let error = call.await.unwrap().unwrap_err();
    assert!(error.to_string().contains(&format!("before: {}: ", second.address)), "{error}");
    assert!(!error.to_string().contains(&first.address), "{error}");
}

#[tokio::test]
async fn a_call_during_the_backoff_of_all_nodes_reports_their_failures() {
    let address = Node::nowhere().await;
    let client = builder().timeout(Duration::from_millis(700)).build([&address]).unwrap();
    client.get("k").await.unwrap_err();
    // The backoff of the address is longer than this call takes.
    let error = client.with_timeout(Duration::from_millis(5)).get("k").await.unwrap_err();
    assert!(error.to_string().contains(&format!("({address}: connection refused")), "{error}");
}

#[tokio::test]
async fn timeouts_of_zero_and_above_a_year_are_invalid() {
    let (zero, tick) = (Duration::ZERO, Duration::from_nanos(1));
    let (most, more) = (Duration::from_secs(31_536_000), Duration::from_secs(31_536_001));
    let peers = [Node::nowhere().await];
    for fault in [zero, more, Duration::MAX] {
        for builder in [
            Client::builder().timeout(fault),
            Client::builder().connect_timeout(fault),
            Client::builder().keepalive(fault, tick),
            Client::builder().keepalive(tick, fault),
        ] {
            let error = builder.build(&peers).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("invalid timeout"), "{error}");
        }
        let client = Client::new(&peers).unwrap().with_timeout(fault);
        for kind in [
            client.get("k").await.unwrap_err().kind(),
            client.set("k", "v").await.unwrap_err().kind(),
            client.view().await.unwrap_err().kind(),
            client.status_of(&peers[0]).await.unwrap_err().kind(),
        ] {
            assert_eq!(kind, ErrorKind::InvalidArgument);
        }
    }
    for fine in [tick, most] {
        Client::builder().timeout(fine).connect_timeout(fine).keepalive(fine, fine).build(&peers).unwrap();
    }
}

#[tokio::test]
async fn request_ids_are_never_reused() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = get(&client, "k");
    let mut link = node.accept().await;
    let first = link.request().await;
    call.abort();
    assert!(matches!(link.frame().await, Some(FromClient::Cancel(cancel)) if cancel.id == first.id));
    let mut last = first.id;
    for _ in 0..3 {
        let call = get(&client, "k");
        let request = link.request().await;
        assert!(request.id > last);
        last = request.id;
        // The late response to the first one is not a response to this one.
        link.answer(&first, entry(b"k", b"late")).await;
        link.answer(&request, entry(b"k", b"v")).await;
        assert_eq!(call.await.unwrap().unwrap().value, "v");
    }
}
