//! The change to a newer history of the ensemble: who learns of it, what is forgotten, which nodes are used.

use std::time::Duration;

use gometa_client::{Client, Error as Failure, ErrorKind, Outcome, Range};
use gometa_proto::v1::{
    self, EnsembleRef, Error, Response, Role, Welcome, request::Operation, response,
    server_frame::Body as FromNode,
};

use crate::node::{
    Link, Node, builder, client, ensemble, entry, get, not_applied, numbers, opened, set, view, welcome,
    written,
};

fn in_history(history: u64) -> Option<EnsembleRef> {
    Some(EnsembleRef { history, ..ensemble(1) })
}

/// The Welcome of a leader of this history.
fn leads(node: &Node, history: u64) -> Welcome {
    Welcome { ensemble: in_history(history), ..welcome(view(Role::Leading, &node.address, &[])) }
}

/// Refuses the next connection, of a client that knows history `known`, as a node of a newer history does.
async fn refuse(node: &Node, known: u64) {
    let mut link = node.accept_hello().await;
    assert_eq!(link.hello.ensemble, in_history(known));
    let refusal = Error::not_applied(ErrorKind::HistoryChanged, "the ensemble was founded anew");
    link.send(FromNode::Error(refusal)).await;
}

/// Refuses a client that knows history `known`, and takes its next connection in a newer one.
async fn accept_anew(node: &Node, known: u64, history: u64) -> Link {
    refuse(node, known).await;
    let link = node.accept_with(leads(node, history)).await;
    assert_eq!(link.hello.ensemble, None, "the client does not name the old history again");
    link
}

#[track_caller]
fn assert_changed<T: std::fmt::Debug>(result: Result<T, Failure>, outcome: Outcome) {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::HistoryChanged, outcome), "{error}");
    assert!(!error.is_retryable());
    assert!(error.message().contains("its history is 2 now, not 1"), "{error}");
}

/// Answers with a page of one key and where the next one begins, read at revision 7.
fn page(key: &'static str, next: &'static str) -> response::Result {
    let entry = v1::Entry { key: key.into(), mod_revision: 3, ..v1::Entry::default() };
    response::Result::Page(v1::Page { entries: vec![entry], count: 1, next: next.into(), revision: 7 })
}

/// Makes a write and a read, which a node of the new history answers.
async fn works_anew(client: &Client, link: &mut Link) {
    let call = set(client, "later");
    link.open_session(70).await;
    assert_eq!(numbers(&link.answer_next(written(2)).await), (70, 1, 1));
    call.await.unwrap().unwrap();
    let call = get(client, "later");
    link.answer_next(entry(b"later", b"v")).await;
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_write_that_may_have_been_sent_is_unknown_and_is_not_sent_again() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    assert_eq!(client.history_id(), Some(1));
    let call = set(&client, "k");
    link.request().await;
    drop(link);
    let mut link = accept_anew(&node, 1, 2).await;
    assert_changed(call.await.unwrap(), Outcome::Unknown);
    assert_eq!(client.history_id(), Some(2));
    // The next request is that of the next call, in a new session.
    works_anew(&client, &mut link).await;
}

#[tokio::test]
async fn a_write_whose_attempts_were_not_applied_is_not_applied() {
    let (node, other) = (Node::start().await, Node::start().await);
    let (client, mut link) = opened(&[&node, &other]).await;
    let call = set(&client, "k");
    link.answer_next(not_applied(ErrorKind::Unavailable)).await;
    let mut link = accept_anew(&other, 1, 2).await;
    assert_changed(call.await.unwrap(), Outcome::NotApplied);
    works_anew(&client, &mut link).await;
}

#[tokio::test]
async fn all_calls_in_progress_fail_and_later_ones_do_not() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let writes: Vec<_> = (0..8).map(|_| set(&client, "k")).collect();
    let reads: Vec<_> = (0..8).map(|_| get(&client, "k")).collect();
    for _ in 0..16 {
        link.request().await;
    }
    drop(link);
    let mut link = accept_anew(&node, 1, 2).await;
    for write in writes {
        assert_changed(write.await.unwrap(), Outcome::Unknown);
    }
    for read in reads {
        assert_changed(read.await.unwrap(), Outcome::NotApplied);
    }
    works_anew(&client, &mut link).await;
}

/// A client in history 2 that has learned of it while no call was in progress, and its connection.
async fn changed_without_a_call(node: &Node) -> (Client, Link) {
    let (client, link) = opened(&[node]).await;
    drop(link);
    let call = get(&client, "cancelled");
    refuse(node, 1).await;
    let mut link = node.accept_hello().await;
    // The dial outlives its call.
    call.abort();
    assert!(call.await.is_err());
    link.send(FromNode::Welcome(leads(node, 2))).await;
    while client.history_id() != Some(2) {
        tokio::task::yield_now().await;
    }
    (client, link)
}

#[tokio::test]
async fn without_a_call_in_progress_the_next_one_fails_once_and_is_not_sent() {
    let node = Node::start().await;
    let (client, mut link) = changed_without_a_call(&node).await;
    // An invalid call does not take the error.
    assert_eq!(client.set("", "v").await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_changed(client.set("k", "v").await, Outcome::NotApplied);
    works_anew(&client, &mut link).await;
}

#[tokio::test]
async fn calls_on_a_closed_client_fail_because_of_that() {
    let node = Node::start().await;
    let (client, link) = changed_without_a_call(&node).await;
    drop(link);
    client.close().await;
    assert_eq!(client.set("k", "v").await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn views_and_transactions_report_a_change_too() {
    let node = Node::start().await;
    let (client, mut link) = changed_without_a_call(&node).await;
    assert_changed(client.view().await, Outcome::NotApplied);
    works_anew(&client, &mut link).await;

    let node = Node::start().await;
    let (client, mut link) = changed_without_a_call(&node).await;
    let blind = client.transaction(|transaction| async move {
        transaction.set("k", "v");
        Ok(())
    });
    assert_changed(blind.await, Outcome::NotApplied);
    works_anew(&client, &mut link).await;
}

#[tokio::test]
async fn a_welcome_of_a_newer_history_is_a_change() {
    let (node, other) = (Node::start().await, Node::start().await);
    let (client, mut link) = opened(&[&node, &other]).await;
    let call = set(&client, "k");
    link.request().await;
    drop(link);
    let mut link = other.accept_with(leads(&other, 2)).await;
    assert_eq!(link.hello.ensemble, in_history(1));
    assert_changed(call.await.unwrap(), Outcome::Unknown);
    works_anew(&client, &mut link).await;
}

#[tokio::test]
async fn revisions_of_the_old_history_are_forgotten() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let call = get(&client, "k");
    let request = link.request().await;
    let answer = Response { id: request.id, revision: 1_000, result: Some(entry(b"k", b"v")) };
    link.send(FromNode::Response(answer)).await;
    call.await.unwrap().unwrap();
    assert_eq!(client.seen_revision(), 1_000);
    drop(link);
    let call = get(&client, "k");
    let mut link = accept_anew(&node, 1, 2).await;
    assert_changed(call.await.unwrap(), Outcome::NotApplied);
    assert_eq!(client.seen_revision(), 0);
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.get_local("k").await }
    });
    let request = link.answer_next(entry(b"k", b"v")).await;
    assert!(matches!(&request.operation, Some(Operation::Get(get)) if get.min_revision == 0), "{request:?}");
    call.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_node_of_an_older_history_is_not_used() {
    let (behind, node) = (Node::start().await, Node::start().await);
    let client = client(&[&node, &behind]);
    let call = get(&client, "k");
    let mut link = node.accept_with(leads(&node, 2)).await;
    link.request().await;
    drop(link);
    // It was dialed least recently, so it is dialed first.
    let mut link = behind.accept_with(leads(&behind, 1)).await;
    assert!(link.next_request().await.is_none());
    let mut link = node.accept_with(leads(&node, 2)).await;
    assert_eq!(link.hello.ensemble, in_history(2));
    link.answer_next(entry(b"k", b"v")).await;
    call.await.unwrap().unwrap();
    assert_eq!(client.history_id(), Some(2));
}

#[tokio::test]
async fn a_client_with_only_a_node_of_an_older_history_says_so() {
    let node = Node::start().await;
    let client = builder().timeout(Duration::from_millis(200)).build([&node.address]).unwrap();
    let call = get(&client, "k");
    let mut link = node.accept_with(leads(&node, 2)).await;
    link.answer_next(entry(b"k", b"v")).await;
    call.await.unwrap().unwrap();
    drop(link);
    let serving = async {
        loop {
            drop(node.accept_with(leads(&node, 1)).await);
        }
    };
    let calls = async {
        // Its request may find the connection that has ended.
        client.get("k").await.unwrap_err();
        client.get("k").await.unwrap_err()
    };
    let error = tokio::select! {
        error = calls => error,
        () = serving => unreachable!("it never ends"),
    };
    assert!(error.message().contains("was left behind when the ensemble was founded anew"), "{error}");
    assert_eq!((error.outcome(), client.history_id()), (Outcome::NotApplied, Some(2)));
}

#[tokio::test]
async fn a_refusal_without_a_newer_history_behind_it_is_not_believed() {
    let (liar, node) = (Node::start().await, Node::start().await);
    for (number, history) in [(1, 1), (1, 0), (2, 9)] {
        let client = client(&[&node, &liar]);
        let call = get(&client, "k");
        let mut link = node.accept().await;
        link.request().await;
        drop(link);
        refuse(&liar, 1).await;
        let other = Some(EnsembleRef { history, ..ensemble(number) });
        let mut link = liar.accept_with(Welcome { ensemble: other, ..leads(&liar, 1) }).await;
        assert!(link.next_request().await.is_none());
        let mut link = node.accept().await;
        link.answer_next(entry(b"k", b"v")).await;
        call.await.unwrap().unwrap();
        assert_eq!(client.history_id(), Some(1));
    }
}

#[tokio::test]
async fn a_scan_of_the_old_history_fails_and_does_not_continue() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let mut scan = client.scan(Range::all());
    let (first, ()) = tokio::join!(scan.next(), async {
        link.answer_next(page("a", "b")).await;
    });
    assert_eq!(first.unwrap().unwrap().key, "a");
    // The second page arrives; it is dropped all the same.
    link.answer_next(page("b", "c")).await;
    let call = get(&client, "k");
    link.request().await;
    drop(link);
    let mut link = accept_anew(&node, 1, 2).await;
    assert_changed(call.await.unwrap(), Outcome::NotApplied);
    assert_changed(scan.next().await.unwrap(), Outcome::NotApplied);
    assert!(scan.next().await.is_none());
    works_anew(&client, &mut link).await;
}

#[tokio::test]
async fn a_page_requested_early_leaves_the_error_to_the_next_call() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let mut scan = client.scan(Range::all());
    let (first, ()) = tokio::join!(scan.next(), async {
        link.answer_next(page("a", "b")).await;
    });
    assert_eq!(first.unwrap().unwrap().key, "a");
    link.request().await;
    drop(link);
    let mut link = accept_anew(&node, 1, 2).await;
    while client.history_id() != Some(2) || client.counters().in_flight > 0 {
        tokio::task::yield_now().await;
    }
    assert_changed(client.set("k", "v").await, Outcome::NotApplied);
    assert_changed(scan.next().await.unwrap(), Outcome::NotApplied);
    works_anew(&client, &mut link).await;
}

#[tokio::test]
async fn a_scan_that_reports_the_change_is_the_only_one() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let mut scan = client.scan(Range::all());
    let (first, ()) = tokio::join!(scan.next(), async {
        link.answer_next(page("a", "b")).await;
    });
    assert_eq!(first.unwrap().unwrap().key, "a");
    link.request().await;
    drop(link);
    let (next, mut link) = tokio::join!(scan.next(), accept_anew(&node, 1, 2));
    assert_changed(next.unwrap(), Outcome::NotApplied);
    works_anew(&client, &mut link).await;
}

#[tokio::test]
async fn a_transaction_of_the_old_history_fails_though_its_function_goes_on() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let transaction = tokio::spawn({
        let client = client.clone();
        async move {
            let write = client.transaction(|transaction| async move {
                transaction.get("k").await?;
                // The function ignores the error of a read.
                let _ = transaction.get("other").await;
                transaction.set("k", "v");
                Ok(())
            });
            write.await
        }
    });
    link.answer_next(page("k", "")).await;
    link.request().await;
    drop(link);
    let mut link = accept_anew(&node, 1, 2).await;
    assert_changed(transaction.await.unwrap(), Outcome::NotApplied);
    works_anew(&client, &mut link).await;
}

#[tokio::test]
async fn the_removal_of_a_prefix_ends_with_the_old_history() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let removal = tokio::spawn({
        let client = client.clone();
        async move { client.delete_prefix("a").await }
    });
    link.answer_next(page("a", "")).await;
    link.request().await;
    drop(link);
    let mut link = accept_anew(&node, 1, 2).await;
    assert_changed(removal.await.unwrap(), Outcome::Unknown);
    works_anew(&client, &mut link).await;
}

#[tokio::test]
async fn connections_of_the_old_history_end_when_the_leader_is_of_a_newer_one() {
    let (follower, leader) = (Node::start().await, Node::start().await);
    let client = client(&[&follower]);
    let call = set(&client, "k");
    let mut old = follower.accept_with(welcome(view(Role::Following, &leader.address, &[]))).await;
    // A move to the leader, which was founded anew meanwhile.
    let mut dial = leader.accept_hello().await;
    assert_eq!(old.open_session(7).await.len(), 16);
    old.request().await;
    dial.send(FromNode::Welcome(leads(&leader, 2))).await;
    assert_changed(call.await.unwrap(), Outcome::Unknown);
    assert!(old.next_request().await.is_none(), "the old connection is closed");
    works_anew(&client, &mut dial).await;
    assert_eq!(client.history_id(), Some(2));
}

#[tokio::test]
async fn a_client_without_a_connection_knows_no_history() {
    let node = Node::start().await;
    let client = client(&[&node]);
    assert_eq!(client.history_id(), None);
    let call = get(&client, "k");
    let mut link = node.accept_with(Welcome { ensemble: None, ..leads(&node, 1) }).await;
    link.answer_next(entry(b"k", b"v")).await;
    call.await.unwrap().unwrap();
    assert_eq!(client.history_id(), None, "the ensemble is not formed");
    drop(link);
    // The first history that becomes known is no change.
    let call = get(&client, "k");
    let mut link = node.accept_with(leads(&node, 5)).await;
    link.answer_next(entry(b"k", b"v")).await;
    call.await.unwrap().unwrap();
    assert_eq!(client.history_id(), Some(5));
}
