//! Changes of the members: no session, repeated until they are answered, and the right outcome.

use gometa_client::{ErrorKind, MembersVersion, Outcome};
use gometa_proto::v1::{self, request::Operation, response};

use crate::node::{Node, builder, client, not_applied};

fn changed() -> response::Result {
    let version = Some(v1::MembersVersion { epoch: 3, counter: 40 });
    let member = v1::MemberRecord { node: 9, votes: true, ..v1::MemberRecord::default() };
    let membership = v1::Membership { version, members: vec![member], committed: true, level: 1 };
    response::Result::MembersChanged(v1::MembersChanged { membership: Some(membership), changed: true })
}

#[tokio::test]
async fn lost_change_is_repeated_on_another_node_without_a_session() {
    let (first, second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second]);
    // The founding members' version is sent too.
    let call = tokio::spawn(async move { client.promote_member(9, Some(MembersVersion::default())).await });
    let mut link = first.accept().await;
    let lost = link.request().await;
    drop(link);
    let mut link = second.accept().await;
    let again = link.request().await;
    let follows = Some(v1::MembersVersion { epoch: 0, counter: 0 });
    let promotion = Operation::PromoteMember(v1::PromoteMember { node: 9, follows });
    for request in [lost, again.clone()] {
        assert_eq!((request.write, request.operation), (None, Some(promotion.clone())));
    }
    link.answer(&again, changed()).await;
    let made = call.await.unwrap().unwrap();
    assert!(made.changed && made.membership.committed && made.membership.members[0].votes);
    assert_eq!(made.membership.version, MembersVersion { epoch: 3, revision: 40 });
}

#[tokio::test]
async fn outcome_of_a_change_is_unknown_after_a_lost_answer() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = tokio::spawn(async move { client.remove_member(9, None).await });
    let mut link = node.accept().await;
    link.request().await;
    drop(link);
    let mut link = node.accept().await;
    link.answer_next(not_applied(ErrorKind::FailedPrecondition)).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::FailedPrecondition, Outcome::Unknown));
    assert!(error.to_string().ends_with("(the change may have taken effect)"), "{error}");
}

#[tokio::test]
async fn question_about_members_has_no_effect() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let call = tokio::spawn(async move { client.safe_to_stop([9]).await });
    let mut link = node.accept().await;
    link.request().await;
    drop(link);
    let mut link = node.accept().await;
    link.answer_next(not_applied(ErrorKind::NotFound)).await;
    let error = call.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::NotFound, Outcome::NotApplied));
}

#[tokio::test]
async fn invalid_members_are_refused_without_a_node() {
    let client = builder().build([Node::nowhere().await]).unwrap();
    for error in [
        client.remove_member(0, None).await.unwrap_err(),
        client.safe_to_stop([]).await.unwrap_err(),
        client.safe_to_stop([1, 0]).await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::InvalidArgument, Outcome::NotApplied));
    }
}
