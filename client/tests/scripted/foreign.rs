//! Servers that are not gometa nodes: a clear error within the deadline, and no effect on the use of nodes.

use std::time::{Duration, Instant};

use gometa_client::{ErrorKind, Outcome};
use gometa_proto::v1::{
    Error, Response, Role, View, Welcome, client_frame::Body as FromClient, server_frame::Body as FromNode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::node::{Node, builder, client, entry, view, welcome};

/// Makes a call to a server that sends `bytes` on each connection and closes it, unless `hold`.
async fn call_against(bytes: &[u8], hold: bool) -> gometa_client::Error {
    let node = Node::start().await;
    let client = builder()
        .timeout(Duration::from_millis(400))
        .connect_timeout(Duration::from_millis(100))
        .build([&node.address])
        .unwrap();
    let serving = async {
        let mut held = Vec::new();
        loop {
            let mut stream = node.accept_raw().await;
            let mut first = [0; 4];
            stream.read_exact(&mut first).await.unwrap();
            let _ = stream.write_all(bytes).await;
            if hold {
                held.push(stream);
            }
        }
    };
    let started = Instant::now();
    let error = tokio::select! {
        result = client.set("k", "v") => result.unwrap_err(),
        () = serving => unreachable!("it never ends"),
    };
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotApplied), "{error}");
    assert!(error.to_string().contains(&node.address), "{error}");
    error
}

#[tokio::test]
async fn web_server() {
    let error = call_against(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", false).await;
    let expected = "does not speak gometa's client protocol: an HTTP server answers there";
    assert!(error.to_string().contains(expected), "{error}");
    let error = call_against(b"SSH-2.0-OpenSSH_9.2\r\n", false).await;
    assert!(error.to_string().contains("an SSH server answers there"), "{error}");
}

#[tokio::test]
async fn random_bytes() {
    let mut bytes = [0; 4096];
    for _ in 0..3 {
        getrandom::fill(&mut bytes).unwrap();
        call_against(&bytes, false).await;
        // A valid length, and no message after it.
        bytes[..4].copy_from_slice(&100u32.to_be_bytes());
        call_against(&bytes, true).await;
    }
}

#[tokio::test]
async fn servers_that_send_nothing_or_close_at_once() {
    let error = call_against(b"", true).await;
    assert!(error.to_string().contains("no welcome within 100ms"), "{error}");
    let error = call_against(b"", false).await;
    assert!(
        error.to_string().contains("closed the connection") || error.to_string().contains("reset"),
        "{error}"
    );
    // Half a frame.
    call_against(&[0, 0, 0, 9, 1], true).await;
}

#[tokio::test]
async fn address_without_a_server() {
    let address = Node::nowhere().await;
    let client = builder().timeout(Duration::from_millis(100)).build([&address]).unwrap();
    let begun = Instant::now();
    let error = client.get("k").await.unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(100), "not before its deadline");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotApplied));
    assert!(error.to_string().contains(&format!("{address}: connection refused")), "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn malformed_frames_after_the_welcome_end_the_connection_not_the_call() {
    for nonsense in [&b"\xff\xff\xff\xff"[..], &[0, 0, 0, 2, 0xff, 0xff]] {
        let (mad, node) = (Node::start().await, Node::start().await);
        let client = client(&[&mad, &node]);
        let call = tokio::spawn(async move { client.get("k").await });
        let mut link = mad.accept().await;
        link.request().await;
        link.send_raw(nonsense).await;
        let mut next = node.accept().await;
        next.answer_next(entry(b"k", b"v")).await;
        assert_eq!(call.await.unwrap().unwrap().value, "v");
    }
}

#[tokio::test]
async fn unexpected_but_legal_frames_are_ignored() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = tokio::spawn(async move { client.get("k").await });
    let mut link = node.accept().await;
    let request = link.request().await;
    // A response to no request, a frame of an unknown kind, a second Welcome, an invalid View.
    link.send(FromNode::Response(Response { id: 999, revision: 0, result: None })).await;
    link.send_raw(&[0, 0, 0, 3, 0xfa, 0x07, 0]).await;
    link.send(FromNode::Welcome(Welcome::default())).await;
    let nonsense = View { role: 99, ..view(Role::Leading, "::::", &["", "nonsense", "http://a:1"]) };
    link.send(FromNode::View(nonsense)).await;
    link.send(FromNode::Ping(gometa_proto::v1::Ping { nonce: 5, session: 0 })).await;
    assert!(matches!(link.frame().await, Some(FromClient::Pong(pong)) if pong.nonce == 5));
    link.answer(&request, entry(b"k", b"v")).await;
    assert_eq!(call.await.unwrap().unwrap().value, "v");
}

#[tokio::test]
async fn permanent_refusals_fail_at_once() {
    for kind in [ErrorKind::Unauthenticated, ErrorKind::Unsupported, ErrorKind::InvalidArgument] {
        let node = Node::start().await;
        let client = client(&[&node]);
        let call = tokio::spawn(async move { client.set("k", "v").await });
        let mut link = node.accept_hello().await;
        link.send(FromNode::Error(Error::not_applied(kind, "go away"))).await;
        let error = call.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (kind, Outcome::NotApplied));
        assert!(error.to_string().contains("go away"), "{error}");
    }
}

#[tokio::test]
async fn node_of_another_protocol_version_is_refused() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = tokio::spawn(async move { client.get("k").await });
    let next = Welcome { protocol: 2, ..welcome(view(Role::Leading, "", &[])) };
    let _link = node.accept_with(next).await;
    assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn text_of_a_node_is_shortened_to_one_line() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = tokio::spawn(async move { client.get("k").await });
    let mut link = node.accept_hello().await;
    let text = "\u{1b}[31m\n".repeat(1000);
    link.send(FromNode::Error(Error::not_applied(ErrorKind::Unauthenticated, text))).await;
    let text = call.await.unwrap().unwrap_err().to_string();
    assert!(text.len() < 1000 && !text.contains(char::is_control), "{text:?}");
}
