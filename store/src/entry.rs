//! The payload of a log entry: one encoded [`Command`].
//!
//! The node that submits a command encodes it. The payload is stored and forwarded unchanged; other nodes must not
//! re-encode it, because prost drops unknown fields.

use bytes::Bytes;
use gometa_proto::v1::{Command, Request, command::Body, request::Operation};
use prost::Message;

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
        let keys = body.as_ref().map_or(Keys::None, Keys::of);
        Decoded { body, keys }
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

    /// The keys whose records decide what applying the command does, that of a guard last. A key may occur more than once.
    pub fn keys(&self) -> &[Bytes] {
        match &self.keys {
            Keys::None => &[],
            Keys::One(key) => std::slice::from_ref(key),
            Keys::Several(keys) => keys,
        }
    }
}

impl Keys {
    fn of(body: &Body) -> Keys {
        let Body::Write(write) = body else { return Keys::None };
        let sound = |operation: &&Operation| operation.is_write() && operation.check().is_ok();
        let Some(operation) = write.operation.as_ref().filter(sound) else { return Keys::None };
        let guard = match &write.guard {
            Some(guard) if guard.check().is_err() => return Keys::None,
            guard => guard.as_ref().map(|guard| &guard.key),
        };
        match (operation, operation.key(), guard) {
            (Operation::Txn(txn), _, guard) => {
                Keys::Several(txn.decisive_keys().chain(guard).cloned().collect())
            }
            (_, Some(key), None) => Keys::One(key.clone()),
            (_, key, guard) => Keys::Several(key.into_iter().chain(guard).cloned().collect()),
        }
    }
}
