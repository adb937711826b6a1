//! State hashes and faults in messages between nodes.

use bytes::Bytes;
use gometa_proto::v1;
use gometa_zab::{Epoch, Fault, Message, STATE_HASHES_MAX, StateHash, StateReport};

use crate::{DecodeError, error::invalid, fields};

pub(crate) fn hash_message(hash: &StateHash) -> v1::StateHash {
    v1::StateHash { counter: hash.counter, hash: Bytes::copy_from_slice(&hash.hash.to_be_bytes()) }
}

fn hash(message: &v1::StateHash) -> Result<StateHash, DecodeError> {
    let counter = fields::number(message.counter, "state hash's counter")?;
    let bytes: [u8; 16] =
        message.hash.as_ref().try_into().map_err(|_| invalid("state hash", "is not of 16 bytes"))?;
    Ok(StateHash { counter, hash: u128::from_be_bytes(bytes) })
}

/// Decodes what a node reports of its state: few hashes, ascending by counter.
pub(crate) fn report(hashes: &[v1::StateHash], damaged: bool) -> Result<StateReport, DecodeError> {
    if hashes.len() > STATE_HASHES_MAX {
        return Err(invalid("state hashes", "are too many"));
    }
    let hashes = hashes.iter().map(hash).collect::<Result<Vec<_>, _>>()?;
    if !hashes.is_sorted_by(|one, next| one.counter < next.counter) {
        return Err(invalid("state hashes", "do not ascend"));
    }
    Ok(StateReport { hashes, damaged })
}

pub(crate) fn quarantine_message(epoch: Epoch, fault: Fault) -> v1::Quarantine {
    let (majority, acknowledged) = match fault {
        Fault::Damaged => (None, 0),
        Fault::Diverged(hash) => (Some(hash_message(&hash)), 0),
        Fault::Outdated { acknowledged } => (None, acknowledged),
    };
    v1::Quarantine { epoch: epoch.0, majority, acknowledged }
}

pub(crate) fn quarantine(message: &v1::Quarantine) -> Result<Message, DecodeError> {
    let fault = match (&message.majority, message.acknowledged) {
        (None, 0) => Fault::Damaged,
        (None, acknowledged) => {
            Fault::Outdated { acknowledged: fields::number(acknowledged, "acknowledged counter")? }
        }
        (Some(majority), 0) => Fault::Diverged(hash(majority)?),
        (Some(_), _) => return Err(invalid("quarantine", "names two faults")),
    };
    Ok(Message::Quarantine { epoch: fields::leadership(message.epoch)?, fault })
}
