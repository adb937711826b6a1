//! Writes happen once, and the outcome of errors is right.

use std::time::Duration;

use gometa_client::{ErrorKind, Outcome};
use gometa_proto::v1::{
    Error, Pong, client_frame::Body as FromClient, request::Operation, response,
    server_frame::Body as FromNode,
};

use crate::node::{
    Link, Node, builder, client, entry, get, limited, not_applied, numbers, opened, set, unknown, written,
};

#[tokio::test]
async fn lost_write_is_retried_with_its_session_and_seq() {
    let (first, second) = (Node::start().await, Node::start().await);
    let (client, mut link) = opened(&[&first, &second]).await;
    let call = set(&client, "k");
    let lost = link.request().await;
    drop(link);
    let mut link = second.accept().await;
    let again = link.request().await;
    assert_eq!(numbers(&again), (7, 2, 2));
    assert_eq!((lost.write, lost.operation), (again.write, again.operation.clone()));
    link.answer(&again, written(9)).await;
    assert_eq!(call.await.unwrap().unwrap().revision, 9);
}

#[tokio::test]
async fn lost_opening_is_retried_with_its_nonce_even_by_another_call() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = set(&client, "k");
    let mut nonces = Vec::new();
    let mut opening = async |link: &mut Link| match link.request().await.operation {
        Some(Operation::OpenSession(open)) => nonces.push(open.nonce),
        other => panic!("expected OpenSession, got {other:?}"),
    };
    let mut link = node.accept().await;
    opening(&mut link).await;
    drop(link);
    let mut link = node.accept().await;
    opening(&mut link).await;
    call.abort();
    assert!(call.await.is_err());
    let call = set(&client, "k");
    opening(&mut link).await;
    drop(link);
    let mut link = node.accept().await;
    nonces.push(link.open_session(7).await);
    link.answer_next(written(1)).await;
    call.await.unwrap().unwrap();
    assert!(nonces.iter().all(|nonce| *nonce == nonces[0]), "{nonces:?}");
}

#[tokio::test]
async fn expired_session_moves_a_write_that_was_not_sent_before() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let call = set(&client, "k");
    let request = link.answer_next(not_applied(ErrorKind::SessionExpired)).await;
    assert_eq!(numbers(&request), (7, 2, 2));
    link.open_session(8).await;
    assert_eq!(numbers(&link.answer_next(written(5)).await), (8, 1, 1));
    assert_eq!(call.await.unwrap().unwrap().revision, 5);
}

#[tokio::test]
async fn expired_session_leaves_a_retried_write_unknown() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let call = set(&client, "k");
    link.request().await;
    drop(link);
    let mut link = node.accept().await;
    link.answer_next(not_applied(ErrorKind::SessionExpired)).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::SessionExpired, Outcome::Unknown));

    let call = set(&client, "k2");
    link.open_session(8).await;
    assert_eq!(numbers(&link.answer_next(written(5)).await), (8, 1, 1));
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn not_applied_is_returned_if_it_holds_for_every_attempt() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let call = set(&client, "k");
    for kind in [ErrorKind::Unavailable, ErrorKind::ResourceExhausted, ErrorKind::PermissionDenied] {
        assert_eq!(numbers(&link.answer_next(not_applied(kind)).await), (7, 2, 2));
    }
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::PermissionDenied, Outcome::NotApplied));
}

#[tokio::test]
async fn outcome_is_unknown_after_an_attempt_that_may_apply() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    // An attempt may have been applied: its connection was lost, or its response has that outcome.
    let call = set(&client, "k");
    link.request().await;
    drop(link);
    let mut link = node.accept().await;
    link.answer_next(not_applied(ErrorKind::PermissionDenied)).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::PermissionDenied, Outcome::Unknown));

    let call = set(&client, "k");
    for answer in [unknown(ErrorKind::Unavailable), not_applied(ErrorKind::PermissionDenied)] {
        link.answer_next(answer).await;
    }
    assert_eq!(call.await.unwrap().unwrap_err().outcome(), Outcome::Unknown);
}

#[tokio::test]
async fn recorded_failure_is_final_even_after_a_lost_attempt() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let call = tokio::spawn(async move { client.cas("k", 3, "v").await });
    link.request().await;
    drop(link);
    let mut link = node.accept().await;
    let error = Error::not_applied(ErrorKind::CasMismatch, "").with_actual_revision(4);
    link.answer_next(response::Result::Error(error)).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::CasMismatch, Outcome::NotApplied));
    assert_eq!(error.actual_revision(), Some(4));
    assert_eq!(error.key(), Some(&b"k"[..]));
}

#[tokio::test]
async fn forgotten_does_not_reach_the_user() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let call = set(&client, "k");
    link.answer_next(not_applied(ErrorKind::Forgotten)).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Internal, Outcome::Unknown));
}

#[tokio::test]
async fn error_at_the_deadline_has_the_outcome_of_the_write() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let short = client.with_timeout(Duration::from_millis(50));
    let error = short.set("k", "v").await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::DeadlineExceeded, Outcome::Unknown));
    assert!(error.to_string().contains(&node.address), "{error}");
    let sent = link.request().await;
    assert!((1..=50).contains(&sent.deadline_ms), "{}", sent.deadline_ms);

    // A refusal with a retry-after beyond the deadline: not applied.
    let answering = async {
        let error = Error::not_applied(ErrorKind::Unavailable, "no quorum").with_retry_after_ms(60_000);
        link.answer_next(response::Result::Error(error)).await;
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        result = short.set("k", "v") => result.unwrap_err(),
        () = answering => unreachable!("it never ends"),
    };
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::DeadlineExceeded, Outcome::NotApplied));
    assert!(error.to_string().contains("no quorum"), "{error}");
}

#[tokio::test]
async fn dropped_write_is_cancelled() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let call = set(&client, "dropped");
    let dropped = link.request().await;
    assert_eq!(numbers(&dropped), (7, 2, 2));
    let kept = set(&client, "kept");
    let waiting = link.request().await;
    assert_eq!(numbers(&waiting), (7, 3, 2));
    call.abort();
    match link.frame().await {
        Some(FromClient::Cancel(cancel)) => assert_eq!(cancel.id, dropped.id),
        other => panic!("expected a Cancel, got {other:?}"),
    }
    let next = set(&client, "next");
    let request = link.request().await;
    assert_eq!(numbers(&request), (7, 4, 3));
    // The late response is dropped.
    link.answer(&dropped, written(100)).await;
    link.answer(&request, written(102)).await;
    link.answer(&waiting, written(101)).await;
    assert_eq!(kept.await.unwrap().unwrap().revision, 101);
    assert_eq!(next.await.unwrap().unwrap().revision, 102);
    assert_eq!(client.counters().in_flight, 0);
}

#[tokio::test]
async fn window_bounds_the_writes_in_flight() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let calls: Vec<_> = (0..6).map(|_| set(&client, "k")).collect();
    let mut link = node.accept_with(limited(|limits| limits.window_max = 4)).await;
    link.open_session(7).await;
    let mut requests = Vec::new();
    for seq in 1..=4 {
        let request = link.request().await;
        assert_eq!(numbers(&request), (7, seq, 1));
        requests.push(request);
    }
    // A read does not wait, and shows that no write was queued before it.
    let read = get(&client, "k");
    let request = link.answer_next(entry(b"k", b"v")).await;
    assert!(matches!(request.operation, Some(Operation::Get(_))), "{request:?}");
    read.await.unwrap().unwrap();
    // Waiting for the window ends at the deadline, and the write was never sent.
    let error = client.with_timeout(Duration::from_millis(50)).set("k", "v").await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::DeadlineExceeded, Outcome::NotApplied));
    // The distance from `lowest` is bounded, not the number in flight.
    link.answer(&requests[1], written(2)).await;
    link.answer(&requests[0], written(1)).await;
    for seq in 5..=6 {
        let request = link.request().await;
        let (_, got, lowest) = numbers(&request);
        assert_eq!(got, seq);
        assert!(seq - lowest < 4);
        requests.push(request);
    }
    for request in &requests[2..] {
        link.answer(request, written(3)).await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn idle_connection_keeps_its_session_alive() {
    let node = Node::start().await;
    let client = builder().build([&node.address]).unwrap();
    let call = set(&client, "k");
    let mut link = node.accept_with(limited(|limits| limits.session_timeout_ms = 60)).await;
    link.open_session(7).await;
    link.answer_next(written(1)).await;
    call.await.unwrap().unwrap();
    for _ in 0..3 {
        match link.frame().await {
            Some(FromClient::Ping(ping)) => {
                assert_eq!(ping.session, 7);
                link.send(FromNode::Pong(Pong { nonce: ping.nonce })).await;
            }
            other => panic!("expected a Ping, got {other:?}"),
        }
    }
}
