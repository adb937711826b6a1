//! Closing a client: calls in progress fail at once, later ones fail, and its session is ended.

use std::time::{Duration, Instant};

use gometa_client::{Client, ErrorKind, Outcome, blocking};
use gometa_proto::v1::{
    EndSession, Request, Role, SessionEnded, SessionOpened, client_frame::Body as FromClient,
    request::Operation, response, server_frame::Body as FromNode,
};

use crate::node::{
    Link, Node, builder, client, entry, get, limited, not_applied, opened, set, view, written,
};

#[tokio::test]
async fn calls_in_progress_fail_at_once_and_later_ones_do_not_start() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let setting = set(&client, "k");
    let mut link = node.accept().await;
    link.open_session(7).await;
    link.request().await;
    let getting = get(&client, "k");
    link.request().await;
    client.close().await;
    let error = setting.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Closed, Outcome::Unknown), "{error}");
    let error = getting.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Closed, Outcome::NotApplied), "{error}");
    while link.frame().await.is_some() {}
    client.close().await;
    let error = client.set("k", "v").await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Closed, Outcome::NotApplied), "{error}");
    assert_eq!(error.to_string(), "set \"k\": the client is closed");
    assert!(!error.is_retryable());
    for kind in [
        client.get("k").await.unwrap_err().kind(),
        client.status().await.unwrap_err().kind(),
        client.view().await.unwrap_err().kind(),
        client.status_of(&node.address).await.unwrap_err().kind(),
    ] {
        assert_eq!(kind, ErrorKind::Closed);
    }
    assert_eq!(client.counters().in_flight, 0);
}

#[tokio::test]
async fn calls_that_wait_to_be_sent_fail() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.set(format!("k{number}"), "v").await })
        })
        .collect();
    // Two requests in flight on the connection, four writes in the session's window.
    let mut link = node
        .accept_with(limited(|limits| {
            limits.requests_max = 2;
            limits.window_max = 4;
        }))
        .await;
    link.open_session(7).await;
    link.request().await;
    link.request().await;
    client.close().await;
    let mut unknown = 0;
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        unknown += usize::from(error.outcome() == Outcome::Unknown);
    }
    assert_eq!(unknown, 2);
}

#[tokio::test]
async fn calls_on_an_earlier_connection_fail() {
    let (follower, leader) = (Node::start().await, Node::start().await);
    // The keepalive must not end the connection before `close` does.
    let patience = Duration::from_secs(60);
    let client = builder().keepalive(patience, patience).build([&follower.address]).unwrap();
    let slow = get(&client, "slow");
    let mut link = follower.accept().await;
    link.request().await;
    // The client moves; requests in flight are answered on the old connection.
    link.send(FromNode::View(view(Role::Following, &leader.address, &[]))).await;
    let _at_leader = leader.accept().await;
    while client.view().await.unwrap().role != gometa_client::Role::Leading {
        tokio::task::yield_now().await;
    }
    client.close().await;
    let error = slow.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Closed, Outcome::NotApplied), "{error}");
    while link.frame().await.is_some() {}
}

#[tokio::test]
async fn closing_stops_dialing() {
    // A server that accepts connections and sends nothing, and an address without a server.
    let silent = Node::start().await;
    let client = Client::builder()
        .timeout(Duration::from_secs(60))
        .connect_timeout(Duration::from_secs(60))
        .build([silent.address.clone(), Node::nowhere().await])
        .unwrap();
    let call = get(&client, "k");
    let _link = silent.accept_hello().await;
    client.close().await;
    assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn blocking_calls_fail() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(Node::start());
    let client = blocking::Client::new([&node.address]).unwrap();
    let calling = client.clone();
    let call = std::thread::spawn(move || calling.get("k"));
    let _link = runtime.block_on(node.accept_hello());
    client.close();
    assert_eq!(call.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

/// Expects the request that ends the session; answers with `result`.
async fn ends(link: &mut Link, result: response::Result) -> Request {
    let request = link.answer_next(result).await;
    assert_eq!(request.operation, Some(Operation::EndSession(EndSession { session: 7 })));
    assert_eq!(request.write, None);
    assert!(request.deadline_ms >= 1000, "a slow node shall end it as well: {}", request.deadline_ms);
    request
}

fn ended() -> response::Result {
    response::Result::SessionEnded(SessionEnded { existed: true })
}

#[tokio::test]
async fn closing_ends_the_session_and_then_the_connection() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let closing = tokio::spawn(client.close());
    ends(&mut link, ended()).await;
    closing.await.unwrap();
    assert!(link.next_request().await.is_none());
    // Only once.
    let begun = Instant::now();
    client.close().await;
    assert!(begun.elapsed() < Duration::from_millis(100));
}

#[tokio::test]
async fn closing_retries_while_the_node_is_unavailable() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let closing = tokio::spawn(client.close());
    let first = ends(&mut link, not_applied(ErrorKind::Unavailable)).await;
    let second = ends(&mut link, ended()).await;
    assert!(second.id > first.id);
    closing.await.unwrap();
}

#[tokio::test]
async fn closing_waits_200_ms_at_most() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let begun = Instant::now();
    client.close().await;
    let took = begun.elapsed();
    assert!((Duration::from_millis(200)..Duration::from_millis(600)).contains(&took), "{took:?}");
    link.request().await;
}

#[tokio::test]
async fn closing_sends_nothing_if_no_session_was_opened() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = get(&client, "k");
    let mut link = node.accept().await;
    link.answer_next(entry(b"k", b"v")).await;
    call.await.unwrap().unwrap();
    client.close().await;
    drop(client);
    assert!(link.next_request().await.is_none());
}

#[tokio::test]
async fn closing_ends_a_session_whose_opening_was_cancelled() {
    let node = Node::start().await;
    let client = client(&[&node]).with_timeout(Duration::from_millis(50));
    let call = set(&client, "k");
    let mut link = node.accept().await;
    let lost = link.request().await;
    call.await.unwrap().unwrap_err();
    let closing = tokio::spawn(client.close());
    let opened = SessionOpened { session: 7, timeout_ms: 30_000 };
    let again = link.answer_next(response::Result::SessionOpened(opened)).await;
    assert_eq!(lost.operation, again.operation, "the same nonce");
    ends(&mut link, ended()).await;
    closing.await.unwrap();
}

#[tokio::test]
async fn dropping_a_client_opens_no_session() {
    let node = Node::start().await;
    let client = client(&[&node]).with_timeout(Duration::from_millis(50));
    let call = set(&client, "k");
    let mut link = node.accept().await;
    link.request().await;
    call.await.unwrap().unwrap_err();
    // Whether a session exists is unknown; the request that tells would open one that is never ended.
    drop(client);
    assert!(link.next_request().await.is_none());
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_session() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let other = client.clone();
    drop(client);
    let getting = tokio::spawn(async move { other.get("k").await });
    let request = link.answer_next(entry(b"k", b"v")).await;
    assert!(matches!(request.operation, Some(Operation::Get(_))), "{request:?}");
    getting.await.unwrap().unwrap();
    ends(&mut link, ended()).await;
    assert!(link.next_request().await.is_none());
}

#[test]
fn a_blocking_client_ends_its_session_when_it_is_closed_and_when_it_is_dropped() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for close in [true, false] {
        runtime.block_on(async {
            let node = Node::start().await;
            let address = node.address.clone();
            let life = tokio::task::spawn_blocking(move || {
                std::thread::spawn(move || {
                    let client = blocking::Client::new([address]).unwrap();
                    let other = client.clone();
                    client.set("k", "v").unwrap();
                    drop(other);
                    if close {
                        client.close();
                        assert_eq!(client.get("k").unwrap_err().kind(), ErrorKind::Closed);
                    }
                })
                .join()
            });
            let mut link = node.accept().await;
            link.open_session(7).await;
            link.answer_next(written(1)).await;
            ends(&mut link, ended()).await;
            life.await.unwrap().unwrap();
            loop {
                match link.frame().await {
                    None => break,
                    Some(FromClient::Request(request)) => panic!("{request:?}"),
                    Some(_) => {}
                }
            }
        });
    }
}
