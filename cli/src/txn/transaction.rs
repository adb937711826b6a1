//! A transaction that was read.

use gometa_client::{Compare, Op, Range, Txn};

use crate::words::quoted;

/// A transaction that was read.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Transaction {
    pub(crate) when: Vec<Compare>,
    pub(crate) then: Vec<Operation>,
    pub(crate) otherwise: Vec<Operation>,
}

/// An operation, with what its result is shown with.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Operation {
    /// `set`, `delete`, `get`, `range` or `delete-range`.
    pub(crate) verb: &'static str,
    /// The key, of a range its prefix.
    pub(crate) key: Vec<u8>,
    /// Of a range: which keys, and how.
    pub(crate) keys: Keys,
    pub(super) op: Op,
}

impl Operation {
    pub(super) fn set(key: Vec<u8>, value: &[u8]) -> Operation {
        Operation::new("set", Op::set(&key, value), key)
    }

    pub(super) fn delete(key: Vec<u8>) -> Operation {
        Operation::new("delete", Op::delete(&key), key)
    }

    pub(super) fn get(key: Vec<u8>) -> Operation {
        Operation::new("get", Op::get(&key), key)
    }

    pub(super) fn range(keys: Keys) -> Operation {
        Operation { verb: "range", key: keys.prefix.clone(), op: Op::range(keys.range()), keys }
    }

    pub(super) fn delete_range(keys: Keys) -> Operation {
        let op = Op::delete_range(keys.range());
        Operation { verb: "delete-range", key: keys.prefix.clone(), keys, op }
    }

    fn new(verb: &'static str, op: Op, key: Vec<u8>) -> Operation {
        Operation { verb, key, keys: Keys::default(), op }
    }

    fn writes(&self) -> bool {
        matches!(self.verb, "set" | "delete" | "delete-range")
    }
}

/// The keys of a range, and how to read them. Empty bounds are none, a limit of 0 is none.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Keys {
    pub(super) prefix: Vec<u8>,
    pub(super) start: Vec<u8>,
    pub(super) end: Vec<u8>,
    pub(super) delimiter: Vec<u8>,
    pub(super) limit: u64,
    pub(super) reverse: bool,
    pub(crate) keys_only: bool,
}

impl Keys {
    /// The range.
    pub(super) fn range(&self) -> Range {
        let Keys { prefix, start, end, delimiter, limit, reverse, keys_only } = self;
        let mut range = Range::prefix(prefix).start(start).end(end).delimiter(delimiter).limit(*limit);
        if *reverse {
            range = range.reverse();
        }
        if *keys_only {
            range = range.keys_only();
        }
        range
    }

    /// The command that reads them at a revision, or from `next` on, behind a page; `None` if there is no such command.
    pub(crate) fn command(&self, next: Option<&[u8]>, revision: u64) -> Option<String> {
        let Keys { prefix, start, end, delimiter, limit, reverse, keys_only } = self;
        let mut words = match (delimiter.is_empty(), reverse) {
            (true, _) => vec!["gometa scan".to_owned()],
            (false, false) => vec!["gometa ls".to_owned()],
            // `ls` has one direction.
            (false, true) => return None,
        };
        let (start, end) = match next {
            Some(next) if *reverse => (&start[..], next),
            Some(next) => (next, &end[..]),
            None => (&start[..], &end[..]),
        };
        for (option, bytes) in [("--start=", start), ("--end=", end), ("--delimiter=", &delimiter[..])] {
            if !bytes.is_empty() {
                words.push(quoted(&[option.as_bytes(), bytes].concat()));
            }
        }
        if *limit > 0 && next.is_none() && delimiter.is_empty() {
            words.push(format!("--limit={limit}"));
        }
        for (option, is_set) in [("--reverse", *reverse), ("--keys-only", *keys_only)] {
            if is_set && delimiter.is_empty() {
                words.push(option.to_owned());
            }
        }
        words.push(format!("--at={revision}"));
        if prefix.starts_with(b"-") {
            words.push("--".to_owned());
        }
        if !prefix.is_empty() {
            words.push(quoted(prefix));
        }
        Some(words.join(" "))
    }
}

impl Transaction {
    /// Whether one of its branches writes.
    pub(crate) fn writes(&self) -> bool {
        self.then.iter().chain(&self.otherwise).any(Operation::writes)
    }

    /// The request.
    pub(crate) fn to_txn(&self) -> Txn {
        let mut txn = Txn::new();
        for compare in &self.when {
            txn = txn.when(compare.clone());
        }
        for operation in &self.then {
            txn = txn.then(operation.op.clone());
        }
        for operation in &self.otherwise {
            txn = txn.otherwise(operation.op.clone());
        }
        txn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_range_is_read_by_a_command_with_its_options() {
        let keys = || Keys { prefix: b"d/".to_vec(), ..Keys::default() };
        let (next, end) = (Some(&b"d/3 "[..]), b"d/9".to_vec());
        let reverse = || Keys { reverse: true, end: end.clone(), ..keys() };
        let level = || Keys { delimiter: b"/".to_vec(), keys_only: true, limit: 5, ..keys() };
        for (keys, next, command) in [
            (keys(), None, Some("gometa scan --at=11 d/")),
            (keys(), next, Some("gometa scan \"--start=d/3 \" --at=11 d/")),
            (
                Keys { limit: 5, keys_only: true, ..keys() },
                None,
                Some("gometa scan --limit=5 --keys-only --at=11 d/"),
            ),
            (Keys { limit: 5, ..keys() }, next, Some("gometa scan \"--start=d/3 \" --at=11 d/")),
            (reverse(), None, Some("gometa scan --end=d/9 --reverse --at=11 d/")),
            (reverse(), next, Some("gometa scan \"--end=d/3 \" --reverse --at=11 d/")),
            (level(), next, Some("gometa ls \"--start=d/3 \" --delimiter=/ --at=11 d/")),
            (Keys { reverse: true, ..level() }, next, None),
            (Keys::default(), None, Some("gometa scan --at=11")),
            (Keys { prefix: b"-k".to_vec(), ..keys() }, None, Some("gometa scan --at=11 -- -k")),
        ] {
            assert_eq!(keys.command(next, 11).as_deref(), command, "{keys:?}");
        }
    }
}
