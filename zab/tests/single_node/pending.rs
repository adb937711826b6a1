//! The status of a change that is not made yet, and of a quorum that is lost (section 5).

use gometa_zab::{
    Bounds, Change, ChangeRejection, DesiredRole, Event, Hello, Incarnation, Learner, Message, NodeId,
    PendingChange, Vote, VoteState, WaitsFor, Zxid,
};

use super::solo::{ELECTION, MS, Solo, member, vote, zxid};

const NEW: Incarnation = Incarnation(77);

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().map(|id| NodeId(*id)).collect()
}

fn looking(me: u64, count: u64) -> Solo {
    Solo::new(me, count, member(count, &[]), Bounds::default())
}

/// The vote of a node with another directory than the recorded one.
fn of_replaced(sender: u64) -> Vote {
    Vote { incarnation: NEW, state: VoteState::Seeking, ..vote(sender, sender, 1) }
}

#[test]
fn a_logged_change_waits_for_the_voters_that_have_not_acknowledged_it() {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    let links = solo.established(&[1, 2]);
    assert_eq!(solo.zab.pending_change(), None);
    let change = Change::RemoveVoter(NodeId(1));
    solo.step(vec![Event::ChangeConfiguration { id: 1, change, asked_by: None }]);
    let waits = |solo: &Solo| match solo.zab.pending_change() {
        Some(PendingChange::Logged { before, after, waits_for: WaitsFor::Acknowledgements(nodes) }) => {
            assert_eq!((before.voters().len(), after.voters().len()), (3, 2));
            assert_eq!(after.version().counter, 1);
            nodes
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(waits(&solo), nodes(&[2, 3]), "of the voters after the change");
    solo.persist();
    assert_eq!(waits(&solo), nodes(&[2]));
    let (epoch, last) = (solo.epoch(), solo.zab.last());
    solo.receive(links[1], Message::Ack { epoch, last });
    assert_eq!(solo.zab.pending_change(), None, "it is committed");
}

#[test]
fn without_a_leader_a_logged_change_names_the_silent_voters() {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    solo.established(&[1, 2]);
    let learner = Learner {
        node: NodeId(4),
        incarnation: Incarnation(4),
        addresses: solo.hello(4).addresses,
        desired: DesiredRole::Learner,
    };
    solo.step(vec![Event::ChangeConfiguration {
        id: 1,
        change: Change::AddLearner(learner),
        asked_by: None,
    }]);
    solo.persist();
    solo.after(2 * ELECTION);
    let silent = |solo: &Solo| match solo.zab.pending_change() {
        Some(PendingChange::Logged { waits_for: WaitsFor::Voters(nodes), .. }) => nodes,
        other => panic!("{other:?}"),
    };
    solo.after(4 * ELECTION);
    assert_eq!(silent(&solo), nodes(&[1, 2]));
    solo.receive_vote(vote(2, 2, 1));
    assert_eq!(silent(&solo), nodes(&[1]));
}

#[test]
fn a_learner_that_is_to_vote_and_is_not_connected_is_waited_for() {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    let link = solo.established(&[1])[0];
    let learner = Learner {
        node: NodeId(4),
        incarnation: Incarnation(4),
        addresses: solo.hello(4).addresses,
        desired: DesiredRole::Voter,
    };
    solo.step(vec![Event::ChangeConfiguration {
        id: 1,
        change: Change::AddLearner(learner),
        asked_by: None,
    }]);
    solo.persist();
    let (epoch, last) = (solo.epoch(), solo.zab.last());
    solo.receive(link, Message::Ack { epoch, last });
    let why = ChangeRejection::LearnerBehind(None);
    let waits = PendingChange::Waits { change: Change::Promote(NodeId(4)), why };
    assert_eq!(solo.zab.pending_change(), Some(waits));
}

#[test]
fn of_two_voters_one_replaced_directory_is_the_loss_of_the_quorum() {
    let mut solo = looking(1, 2);
    assert_eq!(solo.zab.lost_quorum(), []);
    solo.receive_vote(of_replaced(2));
    assert_eq!(solo.zab.lost_quorum(), nodes(&[2]));
    // A node whose votes do not arrive is known by its Hello.
    solo.after(4 * ELECTION);
    assert_eq!(solo.zab.lost_quorum(), [], "it was not heard for a while");
    solo.accept_as(Hello { incarnation: NEW, ..solo.hello(2) });
    assert_eq!(solo.zab.lost_quorum(), nodes(&[2]));
    // The recorded directory is there again.
    solo.receive_vote(vote(2, 2, 1));
    assert_eq!(solo.zab.lost_quorum(), []);
}

#[test]
fn of_three_voters_one_replaced_directory_is_no_loss_and_two_are() {
    let mut solo = looking(1, 3);
    solo.receive_vote(of_replaced(2));
    assert_eq!(solo.zab.lost_quorum(), [], "node 3 may come back");
    solo.receive_vote(of_replaced(3));
    assert_eq!(solo.zab.lost_quorum(), nodes(&[2, 3]));
}

#[test]
fn a_node_with_an_outdated_configuration_does_not_judge() {
    let mut solo = looking(1, 3);
    solo.receive_vote(of_replaced(2));
    solo.receive_vote(Vote { configuration: zxid(1, 9), ..of_replaced(3) });
    assert_eq!(solo.zab.lost_quorum(), [], "node 3 may be recorded anew in the later configuration");
}

#[test]
fn a_replaced_node_judges_when_a_recorded_voter_confirms_its_configuration() {
    let mut disk = member(2, &[]);
    disk.founding.as_mut().unwrap().genesis.voters[0].incarnation = Some(NEW);
    let mut solo = Solo::new(1, 2, disk, Bounds::default());
    assert!(!solo.zab.votes());
    assert_eq!(solo.zab.lost_quorum(), []);
    solo.receive_vote(vote(2, 2, 1));
    assert_eq!(solo.zab.lost_quorum(), nodes(&[1]));
    solo.after(10 * MS);
    solo.receive_vote(Vote { configuration: Zxid::new(1, 1), ..vote(2, 2, 1) });
    assert_eq!(solo.zab.lost_quorum(), []);
}
