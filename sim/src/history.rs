//! Black-box linearizability of one key: Wing and Gong's search with Lowe's memoisation.
//!
//! It sees what clients see: when an operation was called, when its answer came, what the answer was. It knows
//! nothing of the log. An operation whose answer never came may have taken effect at any later moment, or never.
//! The search has a budget; when that is spent, the history is *unverified*, which is said and never taken for
//! a pass.

use std::collections::HashSet;

/// The operation. Values are numbers, no two writes have the same one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Action {
    /// Creates or replaces.
    Set {
        /// The new value.
        value: u64,
    },
    /// Creates.
    Add {
        /// The new value.
        value: u64,
    },
    /// Replaces if the key's revision is the expected one; 0 = must not exist.
    Cas {
        /// The expected revision.
        expected: u64,
        /// The new value.
        value: u64,
    },
    /// Removes, with a revision only if the key has that one.
    Delete {
        /// The expected revision.
        expected: Option<u64>,
    },
    /// Reads.
    Get,
}

/// The result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Answer {
    /// Unknown.
    Unknown,
    /// The value was written.
    Written {
        /// The revision this made.
        revision: u64,
    },
    /// The key was removed, or was not there.
    Deleted {
        /// The revision this made; 0 where nothing was there.
        revision: u64,
    },
    /// AlreadyExists or CasMismatch.
    Conflict {
        /// The key's revision, 0 where it is absent.
        actual: u64,
    },
    /// The key's value.
    Found {
        /// The value.
        value: u64,
        /// The revision that made it.
        revision: u64,
    },
    /// The key is not there.
    Missing,
}

/// One operation of a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// When it was called.
    pub called: u64,
    /// When the answer came; not read while the answer is unknown.
    pub answered: u64,
    /// The operation.
    pub action: Action,
    /// The result.
    pub answer: Answer,
}

/// The result of a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is a legal order.
    Linearizable,
    /// There is none.
    Illegal,
    /// The budget was spent first.
    Unverified,
}

/// A key: its value, the revision that made it where that is known, and a revision that lies behind it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Key {
    value: Option<u64>,
    revision: Option<u64>,
    behind: u64,
    /// Made by an operation without an answer, and seen by no operation since. To be overwritten blindly now is
    /// the same as never to have been: such orders need not be tried, which keeps the search small.
    unseen: bool,
}

impl Key {
    fn seen(self) -> Key {
        Key { unseen: false, ..self }
    }

    /// The key's revision turns out to be this one: the key as it is then known, None if it cannot be.
    fn known_at(self, revision: u64) -> Option<Key> {
        match (self.value, self.revision) {
            (None, _) => (revision == 0).then_some(self.seen()),
            (Some(_), Some(known)) => (known == revision).then_some(self.seen()),
            (Some(_), None) => {
                let fits = revision > self.behind;
                fits.then_some(Key { revision: Some(revision), behind: revision, ..self.seen() })
            }
        }
    }

    /// The key is there, at whatever revision.
    fn present(self) -> Option<Key> {
        self.value.map(|_| self.seen())
    }

    /// The key is not there.
    fn absent(self) -> Option<Key> {
        self.value.is_none().then_some(self.seen())
    }

    fn written(self, value: u64, revision: Option<u64>) -> Option<Key> {
        if self.unseen || revision.is_some_and(|revision| revision <= self.behind) {
            return None;
        }
        let behind = revision.unwrap_or(self.behind);
        Some(Key { value: Some(value), revision, behind, unseen: revision.is_none() })
    }

    fn removed(self, revision: Option<u64>) -> Option<Key> {
        if self.unseen || revision.is_some_and(|revision| revision <= self.behind) {
            return None;
        }
        let behind = revision.unwrap_or(self.behind);
        Some(Key { value: None, revision: None, behind, unseen: revision.is_none() })
    }

    /// The key after the operation, None if the operation cannot have had this answer here. An operation without
    /// an answer stands in an order only where it changes something.
    fn after(self, operation: &Operation) -> Option<Key> {
        match (operation.action, operation.answer) {
            (Action::Get, Answer::Found { value, revision }) => {
                (self.value == Some(value)).then(|| self.known_at(revision)).flatten()
            }
            (Action::Get, Answer::Missing) => self.absent(),
            (Action::Set { value }, Answer::Written { revision }) => self.written(value, Some(revision)),
            (Action::Set { value }, Answer::Unknown) => self.written(value, None),
            (Action::Add { value }, Answer::Written { revision }) => {
                self.absent()?.written(value, Some(revision))
            }
            (Action::Add { value }, Answer::Unknown) => self.absent()?.written(value, None),
            (Action::Add { .. }, Answer::Conflict { actual }) => self.present()?.known_at(actual),
            (Action::Cas { expected, value }, Answer::Written { revision }) => {
                self.known_at(expected)?.written(value, Some(revision))
            }
            (Action::Cas { expected, .. }, Answer::Conflict { actual }) => {
                (actual != expected).then(|| self.known_at(actual)).flatten()
            }
            (Action::Cas { expected, value }, Answer::Unknown) => {
                self.known_at(expected)?.written(value, None)
            }
            (Action::Delete { expected }, Answer::Deleted { revision }) => {
                let key = expected.map_or(Some(self), |expected| self.known_at(expected))?;
                if revision == 0 { key.absent() } else { key.present()?.removed(Some(revision)) }
            }
            (Action::Delete { expected: Some(expected) }, Answer::Conflict { actual }) => {
                (actual != expected).then(|| self.known_at(actual)).flatten()
            }
            (Action::Delete { expected: Some(expected) }, Answer::Unknown) => {
                self.known_at(expected)?.present()?.removed(None)
            }
            (Action::Delete { expected: None }, Answer::Unknown) => self.present()?.removed(None),
            _ => None,
        }
    }
}

/// A call or a return in the list of what is not yet in order. Index 0 is the list's head.
struct Point {
    operation: usize,
    is_call: bool,
    /// The place of the operation's return; 0 where it has none.
    returns: usize,
    next: usize,
    previous: usize,
}

struct List(Vec<Point>);

impl List {
    fn new(operations: &[Operation]) -> List {
        let mut moments = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            // At the same moment calls stand before returns: such operations overlap.
            moments.push((operation.called, 0, index));
            if operation.answer != Answer::Unknown {
                moments.push((operation.answered, 1, index));
            }
        }
        moments.sort_unstable();
        let count = moments.len();
        let mut points =
            vec![Point { operation: usize::MAX, is_call: false, returns: 0, next: 1, previous: 0 }];
        let mut calls = vec![0; operations.len()];
        for (at, (_, kind, operation)) in moments.into_iter().enumerate() {
            let place = at + 1;
            let next = if place == count { 0 } else { place + 1 };
            points.push(Point { operation, is_call: kind == 0, returns: 0, next, previous: place - 1 });
            if kind == 0 {
                calls[operation] = place;
            } else {
                points[calls[operation]].returns = place;
            }
        }
        if count == 0 {
            points[0].next = 0;
        }
        List(points)
    }

    fn cut(&mut self, place: usize) {
        let (previous, next) = (self.0[place].previous, self.0[place].next);
        self.0[previous].next = next;
        if next != 0 {
            self.0[next].previous = previous;
        }
    }

    fn mend(&mut self, place: usize) {
        let (previous, next) = (self.0[place].previous, self.0[place].next);
        self.0[previous].next = place;
        if next != 0 {
            self.0[next].previous = place;
        }
    }

    fn lift(&mut self, call: usize) {
        self.cut(call);
        match self.0[call].returns {
            0 => {}
            returns => self.cut(returns),
        }
    }

    fn unlift(&mut self, call: usize) {
        match self.0[call].returns {
            0 => {}
            returns => self.mend(returns),
        }
        self.mend(call);
    }
}

/// For each operation that made a known revision, its place among those: a key's revisions only rise, so no other
/// order of them is legal, and none need be tried.
fn ranks(operations: &[Operation]) -> Vec<Option<usize>> {
    let mut made: Vec<(u64, usize)> = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        match operation.answer {
            Answer::Written { revision } | Answer::Deleted { revision } if revision > 0 => {
                made.push((revision, index));
            }
            _ => {}
        }
    }
    made.sort_unstable();
    let mut ranks = vec![None; operations.len()];
    for (rank, (_, index)) in made.into_iter().enumerate() {
        ranks[index] = Some(rank);
    }
    ranks
}

/// Searches for a legal order of one key's operations, in at most `budget` steps. The key is absent at first.
pub fn check(operations: &[Operation], budget: u64) -> Verdict {
    check_from(None, operations, budget)
}

/// The same with a key that has a value and a revision at first.
pub fn check_from(first: Option<(u64, u64)>, operations: &[Operation], budget: u64) -> Verdict {
    let mut waiting = operations.iter().filter(|operation| operation.answer != Answer::Unknown).count();
    let mut list = List::new(operations);
    let mut ordered = vec![0u64; operations.len().div_ceil(64)];
    let mut seen: HashSet<(Vec<u64>, Key)> = HashSet::new();
    let mut taken: Vec<(usize, Key)> = Vec::new();
    let mut key = first.map_or_else(Key::default, |(value, revision)| Key {
        value: Some(value),
        revision: Some(revision),
        behind: revision,
        unseen: false,
    });
    let mut at = list.0[0].next;
    let ranks = ranks(operations);
    let mut ranked = 0;
    let mut steps = 0;
    while waiting > 0 {
        steps += 1;
        if steps > budget {
            return Verdict::Unverified;
        }
        let point = &list.0[at];
        if at != 0 && point.is_call {
            let operation = point.operation;
            let next = point.next;
            let in_turn = ranks[operation].is_none_or(|rank| rank == ranked);
            if in_turn && let Some(after) = key.after(&operations[operation]) {
                ordered[operation / 64] |= 1 << (operation % 64);
                if seen.insert((ordered.clone(), after)) {
                    taken.push((at, key));
                    key = after;
                    list.lift(at);
                    waiting -= usize::from(operations[operation].answer != Answer::Unknown);
                    ranked += usize::from(ranks[operation].is_some());
                    at = list.0[0].next;
                    continue;
                }
                ordered[operation / 64] &= !(1 << (operation % 64));
            }
            at = next;
        } else {
            // A return whose call is not in order yet: take back the last choice.
            let Some((call, before)) = taken.pop() else { return Verdict::Illegal };
            let operation = list.0[call].operation;
            key = before;
            ordered[operation / 64] &= !(1 << (operation % 64));
            waiting += usize::from(operations[operation].answer != Answer::Unknown);
            ranked -= usize::from(ranks[operation].is_some());
            list.unlift(call);
            at = list.0[call].next;
        }
    }
    Verdict::Linearizable
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
