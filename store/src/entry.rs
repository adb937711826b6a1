//! The payload of a log entry: one encoded [`Command`].
//!
//! The node that submits a command encodes it. The payload is stored and forwarded unchanged; other nodes must not
//! re-encode it, because prost drops unknown fields.

use bytes::Bytes;
use gometa_proto::v1::{Command, Request, command::Body, request::Operation};
use prost::Message;

use crate::{query::Query, ranges::RangesFound};

/// The error for a payload that is not an encoded command.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("log entry cannot be decoded as a command: {0}")]
pub struct Malformed(#[from] prost::DecodeError);

/// Encodes a command as the payload of a log entry.
pub fn encode_command(command: &Command) -> Bytes {
    command.encode_to_vec().into()
}

/// Decodes a payload. The command's keys and values share the payload's memory: each keeps the whole payload allocated.
pub fn decode_command(payload: Bytes) -> Result<Command, Malformed> {
    Ok(Command::decode(payload)?)
}

/// A log entry's command, decoded. It shares the payload's memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Decoded {
    /// `None` if the payload is malformed.
    pub(crate) body: Option<Body>,
    keys: Keys,
    /// Whether it is a transaction that depends on ranges.
    needs_ranges: bool,
    /// What was read of these.
    pub(crate) ranges: Option<RangesFound>,
}

/// The keys whose records decide what applying a command does.
#[derive(Clone, PartialEq, Debug)]
enum Keys {
    None,
    One(Bytes),
    /// A key may occur more than once.
    Several(Vec<Bytes>),
}

impl Decoded {
    /// Decodes a payload. A malformed one becomes a command that fails.
    pub fn new(payload: Bytes) -> Decoded {
        let body = decode_command(payload).ok().and_then(|command| command.body);
        let write = body.as_ref().and_then(sound_write);
        let keys = write.map_or(Keys::None, Keys::of);
        let needs_ranges = write
            .is_some_and(|write| matches!(&write.operation, Some(Operation::Txn(txn)) if txn.needs_ranges()));
        Decoded { body, keys, needs_ranges, ranges: None }
    }

    /// About the memory that it takes besides the payload, in bytes.
    pub fn size(&self) -> usize {
        match &self.body {
            Some(Body::Write(Request { operation: Some(operation @ Operation::Txn(_)), .. })) => {
                operation.size()
            }
            _ => 0,
        }
    }

    /// Whether ranges must be read before the command can be applied.
    pub fn misses_ranges(&self) -> bool {
        self.needs_ranges && self.ranges.is_none()
    }

    /// The read of ranges on which applying the command depends, unless [it was made](Decoded::set_ranges). It must see the
    /// state just before.
    pub fn missing_ranges(&self) -> Option<Query> {
        match &self.body {
            Some(Body::Write(Request { operation: Some(Operation::Txn(txn)), .. }))
                if self.misses_ranges() =>
            {
                Some(Query::Ranges(txn.clone()))
            }
            _ => None,
        }
    }

    /// Sets the answer to [`Decoded::missing_ranges`].
    pub fn set_ranges(&mut self, ranges: RangesFound) {
        self.ranges = Some(ranges);
    }

    /// At most so many keys are touched by applying the command.
    pub fn touched(&self) -> usize {
        self.keys().len() + self.ranges.as_ref().map_or(0, RangesFound::len)
    }

    /// The keys whose records decide what applying the command does, that of a guard last. A key may occur more than once.
    pub fn keys(&self) -> &[Bytes] {
        match &self.keys {
            Keys::None => &[],
            Keys::One(key) => std::slice::from_ref(key),
            Keys::Several(keys) => keys,
        }
    }
}

/// The write of a command, if it is well-formed.
fn sound_write(body: &Body) -> Option<&Request> {
    let Body::Write(write) = body else { return None };
    let operation = write.operation.as_ref()?;
    let is_sound = operation.is_write()
        && operation.check().is_ok()
        && write.guard.as_ref().is_none_or(|guard| guard.check().is_ok());
    is_sound.then_some(write)
}

impl Keys {
    fn of(write: &Request) -> Keys {
        let Some(operation) = &write.operation else { return Keys::None };
        let guard = write.guard.as_ref().map(|guard| &guard.key);
        match (operation, operation.key(), guard) {
            (Operation::Txn(txn), _, guard) => {
                Keys::Several(txn.decisive_keys().chain(guard).cloned().collect())
            }
            (_, Some(key), None) => Keys::One(key.clone()),
            (_, key, guard) => Keys::Several(key.into_iter().chain(guard).cloned().collect()),
        }
    }
}
