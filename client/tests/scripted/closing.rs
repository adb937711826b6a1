//! Closing a client: what runs ends at once, and nothing begins any more.

use std::time::Duration;

use gometa_client::{Client, ErrorKind, Outcome, Role, blocking};
use gometa_proto::v1::server_frame::Body as FromNode;

use crate::node::{Node, builder, client, limited, view, within};

#[tokio::test]
async fn running_calls_end_at_once_and_later_ones_never_start() {
    within(async {
        let node = Node::start().await;
        let client = client(&[&node]);
        let (setting, getting) = (client.clone(), client.clone());
        let set = tokio::spawn(async move { setting.set("k", "v").await });
        let mut link = node.accept().await;
        link.open_session(7).await;
        link.request().await;
        let get = tokio::spawn(async move { getting.get("k").await });
        link.request().await;
        client.close();
        let error = set.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Closed, Outcome::Unknown), "{error}");
        let error = get.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Closed, Outcome::NotApplied), "{error}");
        while link.frame().await.is_some() {}
        client.close();
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
    })
    .await;
}

#[tokio::test]
async fn calls_that_wait_to_be_sent_end_too() {
    within(async {
        let node = Node::start().await;
        let client = client(&[&node]);
        let calls: Vec<_> = (0..20)
            .map(|number| {
                let client = client.clone();
                tokio::spawn(async move { client.set(format!("k{number}"), "v").await })
            })
            .collect();
        // Two at a time on the connection, four in the session's window.
        let mut link = node
            .accept_with(limited(|limits| {
                limits.requests_max = 2;
                limits.window_max = 4;
            }))
            .await;
        link.open_session(7).await;
        link.request().await;
        link.request().await;
        client.close();
        let mut unknown = 0;
        for call in calls {
            let error = call.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
            unknown += usize::from(error.outcome() == Outcome::Unknown);
        }
        assert_eq!(unknown, 2);
    })
    .await;
}

#[tokio::test]
async fn calls_on_an_earlier_connection_end_too() {
    within(async {
        let (follower, leader) = (Node::start().await, Node::start().await);
        // Silence shall not end what closing has to end.
        let patience = Duration::from_secs(60);
        let client = builder().silence(patience, patience).build([&follower.address]).unwrap();
        let calling = client.clone();
        let slow = tokio::spawn(async move { calling.get("slow").await });
        let mut link = follower.accept().await;
        link.request().await;
        // The client moves; what is in flight is awaited where it was asked.
        link.send(FromNode::View(view(Role::Following, &leader.address, &[]))).await;
        let _at_leader = leader.accept().await;
        while client.counters().reconnects == 0 {
            tokio::task::yield_now().await;
        }
        client.close();
        let error = slow.await.unwrap().unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Closed, Outcome::NotApplied), "{error}");
        while link.frame().await.is_some() {}
    })
    .await;
}

#[tokio::test]
async fn dialing_ends() {
    within(async {
        // Somebody who takes the connection and says nothing, and nobody.
        let silent = Node::start().await;
        let client = Client::builder()
            .timeout(Duration::from_secs(60))
            .connect_timeout(Duration::from_secs(60))
            .build([silent.address.clone(), Node::nowhere().await])
            .unwrap();
        let calling = client.clone();
        let call = tokio::spawn(async move { calling.get("k").await });
        let _link = silent.accept_hello().await;
        client.close();
        assert_eq!(call.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
    })
    .await;
}

#[test]
fn blocked_calls_end() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let node = runtime.block_on(Node::start());
    let client = blocking::Client::new([&node.address]).unwrap();
    let calling = client.clone();
    let call = std::thread::spawn(move || calling.get("k"));
    let _link = runtime.block_on(node.accept_hello());
    client.close();
    assert_eq!(call.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
}
