//! Feature levels (section 5.14): who may connect, when a level is raised, and what that changes.

use bytes::Bytes;
use gometa_testkit::disk::Disk;
use gometa_zab::{
    Change, ChangeRejection, Configuration, Configurations, Effect, Event, FIRST_LEVEL, Hello, Levels,
    Message, NodeId, Notice, Reason, Refused, Rejection, Write, Zxid,
};

use super::solo::{Solo, member, refuses, sent, stop_reason, voters};

const OLD: Levels = Levels { min: 1, max: 1 };
const BOTH: Levels = Levels { min: 1, max: 2 };
const NEW: Levels = Levels { min: 2, max: 3 };

fn raise(solo: &mut Solo, level: u32) -> Result<Zxid, ChangeRejection> {
    let change = Change::RaiseLevel(level);
    let effects = solo.step(vec![Event::ChangeConfiguration { id: 1, change, asked_by: None }]);
    let decided = effects.into_iter().find_map(|effect| match effect {
        Effect::ChangeDecided { result, .. } => Some(result),
        _ => None,
    });
    decided.expect("a request is decided at once")
}

/// Node 3 of three, which leads; both others are up to date, and support what it does.
fn leader() -> (Solo, Vec<gometa_zab::LinkId>) {
    let mut solo = Solo::with_levels(3, 3, member(3, &[]), BOTH);
    let links = solo.established(&[1, 2]);
    (solo, links)
}

/// Node 3 leads at level 2.
fn raised() -> Solo {
    let (mut solo, links) = leader();
    let version = raise(&mut solo, 2).expect("every member supports it");
    solo.persist();
    solo.receive(links[0], Message::Ack { epoch: solo.epoch(), last: version });
    solo
}

#[test]
fn connections_need_a_level_that_both_ends_support() {
    for (own, level, levels, theirs, accepted) in [
        (OLD, 1, OLD, Some(1), true),
        (OLD, 1, BOTH, Some(1), true),
        (OLD, 1, BOTH, Some(2), false),
        (OLD, 1, NEW, Some(1), false),
        (OLD, 1, NEW, None, false),
        (BOTH, 1, NEW, Some(2), true),
        (BOTH, 1, BOTH, Some(2), true),
        (BOTH, 2, OLD, Some(1), false),
        (BOTH, 2, OLD, None, false),
        (BOTH, 2, BOTH, Some(1), true),
        (BOTH, 2, NEW, Some(2), true),
        (BOTH, 2, NEW, Some(3), false),
    ] {
        let mut solo = if level == 2 { raised() } else { Solo::with_levels(3, 3, member(3, &[]), own) };
        let hello = Hello { levels, level: theirs, ..solo.hello(1) };
        let (link, effects) = solo.accept_as(hello);
        let case = format!("{own:?} at {level}, {levels:?} at {theirs:?}");
        assert_eq!(refuses(&effects, link, Reason::Level), !accepted, "{case}");
        let noticed = effects.iter().any(|effect| {
            matches!(effect, Effect::Notice(Notice::LevelsDiffer { peer: NodeId(1), levels: said, .. }) if *said == levels)
        });
        assert_eq!(noticed, !accepted, "{case}");
    }
}

#[test]
fn the_level_is_raised_when_every_member_is_connected_and_supports_it() {
    let mut solo = Solo::with_levels(3, 3, member(3, &[]), BOTH);
    solo.established(&[1]);
    let rejected = ChangeRejection::Level { absent: vec![NodeId(2)], unsupported: Vec::new() };
    assert_eq!(raise(&mut solo, 2), Err(rejected));
    solo.accept_as(Hello { levels: OLD, ..solo.hello(2) });
    let rejected = ChangeRejection::Level { absent: Vec::new(), unsupported: vec![(NodeId(2), OLD)] };
    assert_eq!(raise(&mut solo, 2), Err(rejected));
    let all = [1, 2, 3].map(|node| (NodeId(node), if node == 2 { OLD } else { BOTH }));
    let rejected = ChangeRejection::Level { absent: Vec::new(), unsupported: all.to_vec() };
    assert_eq!(raise(&mut solo, 3), Err(rejected), "this leader does not support it either");
    assert_eq!(solo.zab.configuration().level(), FIRST_LEVEL);

    let (mut solo, links) = leader();
    let epoch = solo.epoch();
    let change = Change::RaiseLevel(2);
    let effects = solo.step(vec![Event::ChangeConfiguration { id: 1, change, asked_by: None }]);
    let version = solo.zab.configuration().version();
    assert_eq!((solo.zab.configuration().level(), version), (2, Zxid { epoch, counter: 1 }));
    let levels: Vec<u32> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Write { write: Write::Append(entries), .. } => {
                Some(entries.iter().map(|entry| entry.level))
            }
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(levels, [2], "the entry stops a program that does not support the level");
    assert_eq!(raise(&mut solo, 2), Err(ChangeRejection::Pending(version)));
    solo.persist();
    solo.receive(links[1], Message::Ack { epoch, last: version });
    for level in [1, 2] {
        assert_eq!(raise(&mut solo, level), Err(ChangeRejection::Impossible(Refused::NotALaterLevel)));
    }
    assert_eq!(solo.zab.configuration().voters(), voters(3, true));
}

#[test]
fn a_command_of_a_higher_level_than_the_ensembles_is_rejected() {
    let propose = |level| Event::Propose { id: 9, payload: Bytes::from_static(b"x"), level, may_wait: true };
    let (mut solo, _) = leader();
    assert_eq!(solo.step(vec![propose(2)]), [Effect::Rejected { id: 9, why: Rejection::Level }]);
    let mut solo = raised();
    for level in [1, 2] {
        let effects = solo.step(vec![propose(level)]);
        let appended = effects.iter().any(|effect| {
            matches!(effect, Effect::Write { write: Write::Append(entries), .. } if entries[0].level == level)
        });
        assert!(appended, "under the level that it was made for: {effects:?}");
    }
    assert_eq!(solo.step(vec![propose(3)]), [Effect::Rejected { id: 9, why: Rejection::Level }]);
}

#[test]
fn a_program_that_does_not_support_the_level_of_its_directory_stops() {
    for (levels, stops) in [(OLD, true), (BOTH, false), (NEW, false)] {
        let mut disk = raised().disk;
        disk.crash();
        let solo = Solo::with_levels(3, 3, disk, levels);
        let reason = stop_reason(&solo.first);
        assert_eq!(reason.is_some(), stops, "{levels}");
        assert!(reason.is_none_or(|reason| reason.contains("feature level 2")));
    }
}

#[test]
fn a_truncation_takes_the_level_back() {
    let first = Configuration::new(voters(3, true));
    let at = |counter| Zxid { epoch: gometa_zab::Epoch(4), counter };
    let second = first.after(&Change::RaiseLevel(2), at(7)).expect("it is higher");
    assert_eq!(Configuration::decode(&second.encode()).as_ref(), Some(&second));
    let lower = Configuration::decode(&first.encode()).unwrap().after(&Change::Promote(NodeId(9)), at(8));
    assert!(lower.is_err() && second.may_follow(&first) && !first.may_follow(&second));
    let mut configurations = Configurations::new(first);
    configurations.append(second);
    assert_eq!(configurations.latest().level(), 2);
    configurations.truncate(at(6));
    assert_eq!(configurations.latest().level(), FIRST_LEVEL);
}

#[test]
fn an_ensemble_is_founded_at_the_highest_level_that_all_support() {
    let mut solo = Solo::with_levels(1, 3, Disk::default(), Levels { min: 1, max: 3 });
    let mut prepared = None;
    for (node, max) in [(2, 2), (3, 3)] {
        let link = solo.connected(node);
        let levels = Levels { min: 1, max };
        let hello = Hello {
            expected: None,
            ensemble: None,
            level: None,
            levels,
            voters: voters(3, false),
            ..solo.hello(node)
        };
        let effects = solo.receive(link, Message::Hello(hello));
        prepared = sent(&effects, link).into_iter().next().or(prepared);
    }
    let Some(Message::Prepare(genesis)) = prepared else { panic!("{prepared:?}") };
    assert_eq!((genesis.level, Configuration::of_genesis(&genesis).level()), (2, 2));
}
