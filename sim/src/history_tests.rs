use super::*;
use crate::random::{Random, Stream};

const BUDGET: u64 = 1_000_000;

fn operation(called: u64, answered: u64, action: Action, answer: Answer) -> Operation {
    Operation { called, answered, action, answer }
}

fn set(called: u64, answered: u64, value: u64, revision: u64) -> Operation {
    operation(called, answered, Action::Set { value }, Answer::Written { revision })
}

fn lost_set(called: u64, value: u64) -> Operation {
    operation(called, 0, Action::Set { value }, Answer::Unknown)
}

fn found(called: u64, answered: u64, value: u64, revision: u64) -> Operation {
    operation(called, answered, Action::Get, Answer::Found { value, revision })
}

fn missing(called: u64, answered: u64) -> Operation {
    operation(called, answered, Action::Get, Answer::Missing)
}

fn verdict(operations: &[Operation]) -> Verdict {
    check(operations, BUDGET)
}

#[test]
fn legal_histories_pass() {
    let cas = |called, answered, expected, value, answer| {
        operation(called, answered, Action::Cas { expected, value }, answer)
    };
    let histories: &[&[Operation]] = &[
        &[],
        &[missing(0, 1)],
        &[set(0, 1, 1, 1), found(2, 3, 1, 1)],
        // A read beside a write may see either.
        &[set(0, 10, 1, 1), missing(1, 2), found(3, 4, 1, 1)],
        // A write without an answer takes effect late.
        &[lost_set(0, 1), missing(1, 2), set(3, 4, 2, 5), found(5, 6, 2, 5), found(7, 8, 1, 9)],
        // Or never.
        &[lost_set(0, 1), set(3, 4, 2, 5), found(5, 6, 2, 5)],
        &[
            set(0, 1, 1, 4),
            cas(2, 3, 4, 2, Answer::Written { revision: 7 }),
            cas(2, 3, 4, 3, Answer::Conflict { actual: 7 }),
        ],
        // The revision of a write without an answer is learned from a conflict.
        &[
            set(0, 1, 1, 4),
            lost_set(2, 2),
            cas(3, 4, 4, 3, Answer::Conflict { actual: 6 }),
            found(5, 6, 2, 6),
        ],
        &[
            set(0, 1, 1, 4),
            operation(2, 3, Action::Delete { expected: None }, Answer::Deleted { revision: 5 }),
            operation(4, 5, Action::Delete { expected: None }, Answer::Deleted { revision: 0 }),
            cas(6, 7, 0, 2, Answer::Written { revision: 9 }),
            operation(8, 9, Action::Add { value: 3 }, Answer::Conflict { actual: 9 }),
        ],
        // A compare-and-set without an answer that must have failed.
        &[
            set(0, 1, 1, 4),
            set(2, 3, 2, 5),
            operation(4, 0, Action::Cas { expected: 4, value: 3 }, Answer::Unknown),
            found(5, 6, 2, 5),
        ],
    ];
    for (index, history) in histories.iter().enumerate() {
        assert_eq!(verdict(history), Verdict::Linearizable, "history {index}");
    }
}

#[test]
fn illegal_histories_are_caught() {
    let histories: &[&[Operation]] = &[
        // A stale read.
        &[set(0, 1, 1, 1), set(2, 3, 2, 2), found(4, 5, 1, 1)],
        // A lost write.
        &[set(0, 1, 1, 1), missing(2, 3)],
        // A value from nowhere.
        &[found(0, 1, 9, 9)],
        // Reads go back.
        &[set(0, 100, 1, 1), found(1, 2, 1, 1), missing(3, 4)],
        &[lost_set(0, 1), set(1, 2, 2, 3), found(3, 4, 1, 5), found(5, 6, 2, 3)],
        // Both of two compare-and-sets of one revision succeed.
        &[
            set(0, 1, 1, 4),
            operation(2, 9, Action::Cas { expected: 4, value: 2 }, Answer::Written { revision: 5 }),
            operation(2, 9, Action::Cas { expected: 4, value: 3 }, Answer::Written { revision: 6 }),
        ],
        // A read of the future: its answer comes before the write is called.
        &[found(0, 1, 1, 1), set(2, 3, 1, 1)],
        // The order of revisions contradicts the order in time.
        &[set(0, 1, 1, 7), set(2, 3, 2, 6)],
        // One write, seen twice, with another between.
        &[lost_set(0, 1), found(1, 2, 1, 3), set(3, 4, 2, 4), found(5, 6, 1, 5)],
        // An add that succeeds on a key that is there.
        &[set(0, 1, 1, 1), operation(2, 3, Action::Add { value: 2 }, Answer::Written { revision: 2 })],
        // A deletion that finds nothing where something must be.
        &[
            set(0, 1, 1, 1),
            operation(2, 3, Action::Delete { expected: None }, Answer::Deleted { revision: 0 }),
        ],
    ];
    for (index, history) in histories.iter().enumerate() {
        assert_eq!(verdict(history), Verdict::Illegal, "history {index}");
    }
}

#[test]
fn a_spent_budget_is_no_verdict() {
    // That no order is legal is known only when all have been tried.
    let writes = (1..=14).map(|value| set(0, 100, value, value));
    let history: Vec<_> = writes.chain([found(101, 102, 99, 99)]).collect();
    assert_eq!(check(&history, 10), Verdict::Unverified);
    assert_eq!(check(&history, BUDGET), Verdict::Illegal);
}

/// Histories made by running operations at single moments within their intervals are legal, and become illegal
/// when one answered read is moved to a value that was never current in its interval.
#[test]
fn random_histories_are_judged_right() {
    for seed in 0..300 {
        let mut random = Random::new(seed, Stream::Workload);
        let mut history = Vec::new();
        let mut current: Option<(u64, u64)> = None;
        let mut overwritten: Vec<(u64, u64, u64)> = Vec::new();
        for moment in 1..60u64 {
            let effect = moment * 100;
            let called = effect - random.below(250).min(effect);
            let answered = effect + random.below(250);
            if random.one_in(3) {
                let answer =
                    current.map_or(Answer::Missing, |(value, revision)| Answer::Found { value, revision });
                history.push(operation(called, answered, Action::Get, answer));
                continue;
            }
            if let Some((value, revision)) = current {
                overwritten.push((effect, value, revision));
            }
            current = Some((moment, moment));
            let answer =
                if random.one_in(5) { Answer::Unknown } else { Answer::Written { revision: moment } };
            history.push(operation(called, answered, Action::Set { value: moment }, answer));
        }
        assert_eq!(verdict(&history), Verdict::Linearizable, "seed {seed}");
        // The write that replaced the value must have been answered before the read is called.
        let Some(&(_, value, revision)) = overwritten.first() else { continue };
        history.push(found(100_000, 100_001, value, revision));
        assert_eq!(verdict(&history), Verdict::Illegal, "seed {seed}");
    }
}
