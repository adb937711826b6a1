//! The payload of a log entry: one encoded [`Command`].
//!
//! The node that submits a command encodes it. The payload is stored and forwarded unchanged; other nodes must not
//! re-encode it, because prost drops unknown fields.

use bytes::Bytes;
use gometa_proto::v1::{Command, command::Body, request::Operation};
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
}

impl Decoded {
    /// Decodes a payload. A malformed one becomes a command that fails.
    pub fn new(payload: Bytes) -> Decoded {
        Decoded { body: decode_command(payload).ok().and_then(|command| command.body) }
    }

    /// The key whose record decides what applying the command does; `None` if no record does.
    pub fn key(&self) -> Option<&Bytes> {
        let Some(Body::Write(write)) = &self.body else { return None };
        let sound = |operation: &&Operation| operation.is_write() && operation.check().is_ok();
        write.operation.as_ref().filter(sound)?.key()
    }
}
