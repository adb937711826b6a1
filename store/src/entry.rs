//! The payload of a log entry: one encoded [`Command`].
//!
//! A payload is encoded once, by the node that submits it, and never encoded again on its way: a node would drop fields
//! that it does not know.

use bytes::Bytes;
use gometa_proto::v1::Command;
use prost::Message;

/// A payload is not a command.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("log entry does not decode as a command: {0}")]
pub struct Malformed(#[from] prost::DecodeError);

/// Encodes a command as the payload of a log entry.
pub fn encode_command(command: &Command) -> Bytes {
    command.encode_to_vec().into()
}

/// Decodes the command in a payload. Keys and values are slices of the payload and keep all of it in memory.
pub fn decode_command(payload: Bytes) -> Result<Command, Malformed> {
    Ok(Command::decode(payload)?)
}
