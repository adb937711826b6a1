//! Configurations: which one is in force, who is counted, and which changes a leader proposes (sections 5.1 to 5.6).

use gometa_testkit::disk::Disk;
use gometa_zab::{
    Addresses, Bounds, Change, ChangeRejection, Configuration, DesiredRole, Effect, Epoch, Event,
    FIRST_LEVEL, Incarnation, Kind, Learner, LogEntry, Message, NodeId, Role, Vote, VoteState, Zxid,
};

use super::solo::{ELECTION, Solo, dials, leads, looking, member, sent, vote, voters, votes, zxid};

fn learner(node: u64) -> Learner {
    let desired = DesiredRole::Voter;
    let incarnation = Incarnation(u128::from(node));
    Learner { node: NodeId(node), incarnation, addresses: Addresses::default(), desired }
}

/// The entry with the configuration after a change.
fn changed(before: &Configuration, change: &Change, at: Zxid) -> (LogEntry, Configuration) {
    let after = before.after(change, at).expect("the change is possible");
    (LogEntry { zxid: at, kind: Kind::Membership, level: FIRST_LEVEL, payload: after.encode() }, after)
}

fn request(solo: &mut Solo, change: Change) -> Vec<Effect> {
    solo.step(vec![Event::ChangeConfiguration { id: 1, change, asked_by: None }])
}

fn proposed(effects: &[Effect]) -> Option<Zxid> {
    effects.iter().find_map(|effect| match effect {
        Effect::ChangeDecided { result: Ok(version), .. } => Some(*version),
        _ => None,
    })
}

fn rejected(effects: &[Effect]) -> Option<ChangeRejection> {
    effects.iter().find_map(|effect| match effect {
        Effect::ChangeDecided { result: Err(why), .. } => Some(why.clone()),
        _ => None,
    })
}

/// Node 3 of three, established with node 1.
fn leader() -> (Solo, gometa_zab::LinkId) {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    let link = solo.established(&[1])[0];
    (solo, link)
}

#[test]
fn a_leader_proposes_one_change_at_a_time() {
    let (mut solo, link) = leader();
    let epoch = solo.epoch();
    let first = Zxid { epoch, counter: 1 };
    assert_eq!(proposed(&request(&mut solo, Change::AddLearner(learner(4)))), Some(first));
    assert_eq!(solo.zab.configuration().version(), first, "in force from when it is appended");
    let second = request(&mut solo, Change::AddLearner(learner(5)));
    assert_eq!(rejected(&second), Some(ChangeRejection::Pending(first)));
    solo.persist();
    solo.receive(link, Message::Ack { epoch, last: first });
    assert!(
        proposed(&request(&mut solo, Change::AddLearner(learner(5)))).is_some(),
        "the first is committed"
    );
}

#[test]
fn a_leader_rejects_what_would_stop_the_ensemble() {
    let (mut solo, link) = leader();
    let epoch = solo.epoch();
    assert_eq!(rejected(&request(&mut solo, Change::RemoveVoter(NodeId(3)))), Some(ChangeRejection::OwnVote));
    // Of {2, 3} node 2 is not connected.
    let without = request(&mut solo, Change::RemoveVoter(NodeId(1)));
    assert_eq!(rejected(&without), Some(ChangeRejection::NoQuorum(vec![NodeId(2)])));
    let added = proposed(&request(&mut solo, Change::AddLearner(learner(4)))).unwrap();
    solo.persist();
    solo.receive(link, Message::Ack { epoch, last: added });
    let promotion = request(&mut solo, Change::Promote(NodeId(4)));
    assert_eq!(rejected(&promotion), Some(ChangeRejection::LearnerBehind(None)));
    let mut follower = Solo::new(1, 3, member(3, &[]), Bounds::default());
    follower.serves(3, 1);
    let change = request(&mut follower, Change::AddLearner(learner(4)));
    assert_eq!(rejected(&change), Some(ChangeRejection::NotLeader));
}

#[test]
fn a_removal_is_sent_to_its_subject_when_it_is_committed() {
    let mut solo = Solo::new(3, 3, member(3, &[]), Bounds::default());
    let links = solo.established(&[1, 2]);
    let epoch = solo.epoch();
    let proposes = |effects: &[Effect], link| {
        sent(effects, link).iter().any(|message| matches!(message, Message::Propose { .. }))
    };
    let effects = request(&mut solo, Change::RemoveVoter(NodeId(2)));
    let removal = proposed(&effects).unwrap();
    assert!(proposes(&effects, links[0]) && !proposes(&effects, links[1]));
    solo.persist();
    let effects = solo.receive(links[0], Message::Ack { epoch, last: removal });
    assert!(proposes(&effects, links[1]), "it is committed");
}

#[test]
fn a_barrier_that_waits_for_a_voter_passes_when_that_one_is_removed() {
    let mut solo = Solo::new(2, 2, member(2, &[]), Bounds::default());
    solo.established(&[1]);
    let passed = |effects: &[Effect]| {
        effects.iter().any(|effect| matches!(effect, Effect::BarrierPassed { id: 7, .. }))
    };
    assert!(!passed(&solo.step(vec![Event::Barrier { id: 7 }])));
    let effects = request(&mut solo, Change::RemoveVoter(NodeId(1)));
    assert!(proposed(&effects).is_some() && passed(&effects), "this node is a quorum by itself");
}

#[test]
fn a_truncation_takes_a_configuration_back() {
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    let link = solo.serves(3, 5);
    let before = solo.zab.configuration().clone();
    let (entry, after) = changed(&before, &Change::RemoveVoter(NodeId(2)), zxid(5, 1));
    let epoch = Epoch(5);
    let propose = Message::Propose { epoch, previous: Zxid::ZERO, entries: vec![entry], commit: 0 };
    solo.receive(link, propose);
    assert_eq!(solo.zab.configuration(), &after);
    solo.persist();
    let mut solo = solo.restart(Bounds::default());
    assert_eq!(solo.zab.configuration(), &after, "a restart finds it in the log");
    // Node 2, which it removes, leads without it: it may be taken back, so node 2 is still one to follow.
    let link = solo.acknowledged(2, 6);
    solo.receive(link, Message::Diff { epoch: Epoch(6), base: Zxid::ZERO });
    assert_eq!(solo.zab.configuration(), &before);
}

#[test]
fn a_configuration_that_does_not_follow_is_not_appended() {
    let mut solo = Solo::new(1, 3, member(3, &[]), Bounds::default());
    let link = solo.serves(3, 5);
    let two = Configuration::new(voters(3, true)).after(&Change::RemoveVoter(NodeId(1)), zxid(4, 1)).unwrap();
    let (entry, _) = changed(&two, &Change::RemoveVoter(NodeId(2)), zxid(5, 1));
    let propose = Message::Propose { epoch: Epoch(5), previous: Zxid::ZERO, entries: vec![entry], commit: 0 };
    let effects = solo.receive(link, propose);
    assert_eq!(looking(&effects), Some("the leader's configurations do not follow each other"));
    assert_eq!(solo.zab.last(), Zxid::ZERO);
}

/// Node 2 of two, which has a log with the learner 3.
fn with_learner() -> (Solo, Configuration) {
    let mut disk: Disk = member(2, &[]);
    let genesis = Configuration::new(voters(2, true));
    let (entry, configuration) = changed(&genesis, &Change::AddLearner(learner(3)), zxid(1, 1));
    disk.log.push(entry);
    (disk.hard.accepted_epoch, disk.hard.accepted_leader) = (Epoch(1), Some(NodeId(1)));
    disk.hard.current_epoch = Epoch(1);
    (Solo::new(2, 2, disk, Bounds::default()), configuration)
}

#[test]
fn a_candidate_with_a_later_configuration_is_followed_when_it_leads() {
    // {1, 2} has promoted 3, and node 1 died: node 3 has the entry, and a quorum of {1, 2, 3} with node 2.
    let (mut solo, _) = with_learner();
    let round = votes(&solo.first)[0].1.round.0;
    let last = zxid(1, 2);
    let candidate = gometa_zab::Candidate { epoch: Epoch(1), last, node: NodeId(3) };
    let looks = Vote { candidate, configuration: last, ..vote(3, 3, round) };
    let effects = solo.receive_vote(looks.clone());
    assert!(votes(&effects).iter().all(|(_, vote)| vote.candidate.node == NodeId(3)), "it has more history");
    assert!(!votes(&effects).is_empty());
    solo.after(ELECTION / 2);
    assert_eq!(solo.role(), Role::Looking, "a learner's vote is not counted");
    let effects = solo.receive_vote(Vote { state: VoteState::Leading, ..looks });
    assert_eq!(dials(&effects), [3]);
}

#[test]
fn an_unknown_leader_is_followed_late_and_only_with_a_later_configuration() {
    let (mut solo, configuration) = with_learner();
    let unknown = |version| Vote { configuration: version, ..leads(7, 3, 1) };
    solo.after(ELECTION + 1);
    assert_eq!(dials(&solo.receive_vote(unknown(configuration.version()))), [0; 0]);
    let (mut solo, _) = with_learner();
    assert_eq!(dials(&solo.receive_vote(unknown(zxid(3, 9)))), [0; 0], "there may be a leader that it knows");
    solo.after(ELECTION + 1);
    assert_eq!(dials(&solo.receive_vote(unknown(zxid(3, 9)))), [7]);
}

#[test]
fn a_voter_that_does_not_know_of_its_promotion_votes_for_a_candidate_that_does() {
    // Node 3 is a learner in its own log; node 1, with the entry that promotes it, needs its vote.
    let (at, later) = (zxid(1, 1), zxid(1, 2));
    let mut disk: Disk = member(2, &[]);
    let (entry, _) = changed(&Configuration::new(voters(2, true)), &Change::AddLearner(learner(3)), at);
    disk.log.push(entry);
    (disk.hard.accepted_epoch, disk.hard.accepted_leader) = (Epoch(1), Some(NodeId(1)));
    disk.hard.current_epoch = Epoch(1);
    let mut solo = Solo::new(3, 2, disk, Bounds::default());
    assert!(votes(&solo.first).iter().all(|(_, vote)| vote.state == VoteState::Seeking));
    let round = votes(&solo.first)[0].1.round.0;
    let candidate = gometa_zab::Candidate { epoch: Epoch(1), last: later, node: NodeId(1) };
    let effects = solo.receive_vote(Vote { candidate, configuration: at, ..vote(1, 1, round) });
    assert_eq!(votes(&effects), [], "a node with the same configuration does not count it");
    let effects = solo.receive_vote(Vote { candidate, configuration: later, ..vote(1, 1, round) });
    let cast = votes(&effects);
    assert!(cast.iter().any(|(to, vote)| *to == 1 && vote.state == VoteState::Looking), "{cast:?}");
    assert!(cast.iter().all(|(_, vote)| vote.candidate == candidate));
}
