//! The attempts of a transaction: what makes one begin again, and what ends it.

use gometa_client::{Client, ErrorKind, Outcome, Reply, Request, SharedTransaction};
use gometa_proto::v1::{self, Entry, Error, request::Operation, response};

use crate::node::{Link, Node, opened};

/// A page of one key, read at a revision.
fn page(key: &'static str, revision: u64) -> response::Result {
    let entry = Entry { key: key.into(), mod_revision: 3, ..Entry::default() };
    response::Result::Page(v1::Page { entries: vec![entry], count: 1, next: "".into(), revision })
}

fn compacted() -> response::Result {
    let gone = Error::not_applied(ErrorKind::Compacted, "the history begins at revision 9");
    response::Result::Error(gone.with_actual_revision(9))
}

/// Reads a key, which the node answers so. Returns the revision that was asked for.
async fn read(
    client: &Client,
    transaction: &SharedTransaction,
    link: &mut Link,
    answer: response::Result,
) -> (Result<Reply, gometa_client::Error>, u64) {
    let read = Request::Read { transaction: transaction.clone(), key: "k".into() };
    let (read, request) = tokio::join!(client.perform(read), link.answer_next(answer));
    match request.operation {
        Some(Operation::Range(range)) => (read, range.at_revision),
        other => panic!("expected a Range, got {other:?}"),
    }
}

async fn end(client: &Client, transaction: &SharedTransaction) -> Result<Reply, gometa_client::Error> {
    client.perform(Request::EndAttempt(transaction.clone(), None)).await
}

#[tokio::test]
async fn an_attempt_whose_reads_have_left_the_history_writes_nothing() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let transaction = SharedTransaction::new(&client);
    let (first, at) = read(&client, &transaction, &mut link, page("k", 7)).await;
    assert_eq!((first.unwrap(), at), (Reply::Value(Some("".into())), 0));
    let other = Request::Read { transaction: transaction.clone(), key: "other".into() };
    let (failed, _) = tokio::join!(client.perform(other), link.answer_next(compacted()));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Compacted);

    // The function takes the key for absent, and succeeds. It begins again without a request to the node.
    transaction.present().set("k", "v");
    assert_eq!(end(&client, &transaction).await.unwrap(), Reply::Over(false));
    let (again, at) = read(&client, &transaction, &mut link, page("k", 11)).await;
    assert_eq!((again.unwrap(), at), (Reply::Value(Some("".into())), 0));
    transaction.present().set("k", "v");
    let answer = v1::TxnAnswer { revision: 12, succeeded: true, results: Vec::new() };
    let (ended, request) =
        tokio::join!(end(&client, &transaction), link.answer_next(response::Result::Txn(answer)));
    assert_eq!(ended.unwrap(), Reply::Over(true));
    match request.operation {
        Some(Operation::Txn(txn)) => assert_eq!((txn.when.len(), txn.then.len()), (1, 1)),
        other => panic!("expected a Txn, got {other:?}"),
    }

    // It has ended.
    transaction.present().set("k", "w");
    let error = end(&client, &transaction).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::InvalidArgument, Outcome::NotApplied));
}

#[tokio::test]
async fn a_transaction_whose_first_read_is_compacted_fails() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let transaction = SharedTransaction::new(&client);
    let (failed, _) = read(&client, &transaction, &mut link, compacted()).await;
    assert_eq!(failed.unwrap_err().actual_revision(), Some(9));
    transaction.present().set("k", "v");
    for _ in 0..2 {
        let error = end(&client, &transaction).await.unwrap_err();
        assert_eq!((error.kind(), error.actual_revision()), (ErrorKind::Compacted, Some(9)));
    }
}

#[tokio::test]
async fn a_transaction_with_a_cancelled_commit_has_ended() {
    let node = Node::start().await;
    let (client, mut link) = opened(&[&node]).await;
    let transaction = SharedTransaction::new(&client);
    transaction.present().set("k", "v");
    tokio::select! {
        ended = end(&client, &transaction) => panic!("it has no answer: {ended:?}"),
        request = link.request() => assert!(matches!(request.operation, Some(Operation::Txn(_)))),
    }
    let error = end(&client, &transaction).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
