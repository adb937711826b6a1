//! What a log entry carries for the store: one encoded [`Command`].
//!
//! A payload is encoded once, by the node that proposes it, and travels as it is from then on: a node must never
//! decode and encode it again, since it would drop fields that it does not know.

use bytes::Bytes;
use gometa_proto::v1::Command;
use prost::Message;

/// A payload that is no command.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("log entry does not decode as a command: {0}")]
pub struct Malformed(#[from] prost::DecodeError);

/// A command as the payload of a log entry.
pub fn encode_command(command: &Command) -> Bytes {
    command.encode_to_vec().into()
}

/// The command in a payload. Keys and values are not copied: they are slices of the payload and keep all of it
/// in memory.
pub fn decode_command(payload: Bytes) -> Result<Command, Malformed> {
    Ok(Command::decode(payload)?)
}
