//! The start of serving, and what is applied before it (rules 19 and 20).

use gometa_zab::{Bounds, Effect, Epoch, Event, Message, NodeId, Notice, Role, Zxid};

use super::solo::{Solo, ack_epoch_of_empty_log, applies, entry, member, sent, zxid};

fn is_up_to_date(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Notice(Notice::UpToDate { .. })))
}

const FOLLOWING: Role = Role::Following { leader: NodeId(3), established: Some(Epoch(5)) };
const JOINING: Role = Role::Following { leader: NodeId(3), established: None };

#[test]
fn a_follower_serves_when_it_has_applied_the_commit_index_of_up_to_date() {
    let mut solo = Solo::new(1, 3, member(3, &[(4, 3)]), Bounds::default());
    let link = solo.acknowledged(3, 5);
    let epoch = Epoch(5);
    solo.receive(link, Message::Diff { epoch, base: zxid(4, 3) });
    solo.receive(link, Message::NewLeader { epoch, last: zxid(4, 3) });
    solo.persist();
    let effects = solo.receive(link, Message::UpToDate { epoch, commit: 3 });
    assert_eq!((applies(&effects), is_up_to_date(&effects)), (Some(3), false));
    assert_eq!((solo.role(), solo.zab.serves_from()), (JOINING, Some(3)));
    let effects = solo.step(vec![Event::Applied { counter: 2 }]);
    assert_eq!((solo.role(), is_up_to_date(&effects)), (JOINING, false));
    let effects = solo.step(vec![Event::Applied { counter: 3 }]);
    assert_eq!((solo.role(), is_up_to_date(&effects)), (FOLLOWING, true));
    assert!(effects.contains(&Effect::Role(FOLLOWING)));
    // Later commits do not change that, and it is reported once.
    let effects = solo.receive(link, Message::Heartbeat { epoch, id: 1, commit: 3 });
    assert_eq!((solo.role(), is_up_to_date(&effects)), (FOLLOWING, false));
}

#[test]
fn a_leader_serves_when_it_has_applied_its_initial_history() {
    let mut solo = Solo::new(3, 3, member(3, &[(4, 3)]), Bounds::default());
    let links = solo.synchronising(&[1]);
    let (epoch, last) = (solo.epoch(), solo.disk.last());
    let effects = solo.receive(links[0], Message::AckNewLeader { epoch, last });
    assert_eq!(applies(&effects), Some(3));
    assert_eq!(sent(&effects, links[0]), [Message::UpToDate { epoch, commit: 3 }], "its followers may serve");
    assert_eq!((solo.role(), solo.zab.serves_from()), (Role::Leading { established: None }, Some(3)));
    solo.step(vec![Event::Applied { counter: 3 }]);
    assert_eq!(solo.role(), Role::Leading { established: Some(epoch) });
}

#[test]
fn a_follower_applies_committed_entries_while_it_synchronises() {
    let mut solo = Solo::new(1, 3, member(3, &[(4, 2)]), Bounds::default());
    let link = solo.acknowledged(3, 5);
    let epoch = Epoch(5);
    // A commit index is ignored before Diff: the entries of this log may differ from the leader's.
    assert_eq!(applies(&solo.receive(link, Message::Heartbeat { epoch, id: 1, commit: 2 })), None);
    assert_eq!(applies(&solo.receive(link, Message::Commit { epoch, commit: 2 })), None);
    assert_eq!(applies(&solo.receive(link, Message::Diff { epoch, base: zxid(4, 1) })), None);
    solo.persist();
    assert_eq!(
        applies(&solo.receive(link, Message::Commit { epoch: Epoch(4), commit: 1 })),
        None,
        "another epoch"
    );
    assert_eq!(applies(&solo.receive(link, Message::Heartbeat { epoch, id: 2, commit: 3 })), Some(1));
    let propose = |previous: Zxid, counters: [u64; 2], commit| Message::Propose {
        epoch,
        previous,
        entries: counters.map(|counter| entry(5, counter, 64)).to_vec(),
        commit,
    };
    assert_eq!(applies(&solo.receive(link, propose(zxid(4, 1), [2, 3], 3))), None, "it is not durable here");
    assert_eq!(applies(&solo.persist()), Some(3));
    assert_eq!(applies(&solo.receive(link, propose(zxid(5, 3), [4, 5], 9))), None);
    assert_eq!(applies(&solo.persist()), Some(5));
    assert_eq!(solo.role(), JOINING);
}

#[test]
fn only_an_established_leader_sends_a_commit_index() {
    let mut solo = Solo::new(3, 3, member(3, &[(4, 3)]), Bounds::default());
    let links = solo.discovering(&[1, 2]);
    let epoch = solo.epoch();
    let behind = ack_epoch_of_empty_log(epoch);
    let commits = |messages: Vec<Message>| -> Vec<u64> {
        messages
            .iter()
            .filter_map(|message| match message {
                Message::Propose { commit, .. } | Message::Heartbeat { commit, .. } => Some(*commit),
                _ => None,
            })
            .collect()
    };
    solo.receive(links[0], solo.ack_epoch());
    solo.persist();
    let effects = solo.receive(links[1], behind);
    let read: Vec<u64> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Read { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    let entries = (1..=3).map(|counter| entry(4, counter, 64)).collect();
    let effects = solo.step(vec![Event::LogRead { id: read[0], entries }]);
    assert_eq!(commits(sent(&effects, links[1])), [0], "nothing is known to be committed yet");
    assert_eq!(commits(sent(&solo.after(100_000), links[1])), [0]);
    let last = solo.disk.last();
    solo.receive(links[0], Message::AckNewLeader { epoch, last });
    assert_eq!(
        commits(sent(&solo.after(100_000), links[1])),
        [3],
        "it may apply while it still synchronises"
    );
}
