//! Fields that messages, votes and records have in common, and their checks.

use bytes::Bytes;
use gometa_proto::{check, v1};
use gometa_zab::{
    Addresses, EnsembleId, Epoch, FIRST_LEVEL, Genesis, Incarnation, Kind, Levels, LogEntry, NodeId, Voter,
    Zxid,
};

use crate::{
    DecodeError,
    error::invalid,
    limits::{ID_LENGTH, MEMBERS_MAX, NUMBER_MAX},
};

/// Checks a number that counts up.
pub(crate) fn number(value: u64, field: &'static str) -> Result<u64, DecodeError> {
    if value > NUMBER_MAX { Err(invalid(field, "is out of range")) } else { Ok(value) }
}

/// Decodes an epoch; zero is before the first.
pub(crate) fn epoch(value: u64, field: &'static str) -> Result<Epoch, DecodeError> {
    Ok(Epoch(number(value, field)?))
}

/// Decodes the epoch of a leadership, which is not zero.
pub(crate) fn leadership(value: u64) -> Result<Epoch, DecodeError> {
    match epoch(value, "epoch")? {
        Epoch(0) => Err(invalid("epoch", "is zero")),
        epoch => Ok(epoch),
    }
}

/// Decodes a node id.
pub(crate) fn node(value: u64, field: &'static str) -> Result<NodeId, DecodeError> {
    optional_node(value).ok_or_else(|| invalid(field, "is zero"))
}

/// Decodes a node id; zero is none.
pub(crate) fn optional_node(value: u64) -> Option<NodeId> {
    (value != 0).then_some(NodeId(value))
}

/// Decodes a zxid; epoch and counter are both zero (the genesis), or neither is.
pub(crate) fn zxid_of(epoch: u64, counter: u64, field: &'static str) -> Result<Zxid, DecodeError> {
    if (epoch == 0) != (counter == 0) {
        return Err(invalid(field, "is neither the genesis nor an entry"));
    }
    Ok(Zxid::new(number(epoch, field)?, number(counter, field)?))
}

/// Decodes a required zxid.
pub(crate) fn zxid(value: Option<v1::Zxid>, field: &'static str) -> Result<Zxid, DecodeError> {
    let v1::Zxid { epoch, counter } = value.ok_or_else(|| invalid(field, "is missing"))?;
    zxid_of(epoch, counter, field)
}

/// Decodes a zxid that is not above this leadership.
pub(crate) fn zxid_within(
    value: Option<v1::Zxid>,
    leadership: Epoch,
    field: &'static str,
) -> Result<Zxid, DecodeError> {
    let zxid = zxid(value, field)?;
    if zxid.epoch > leadership { Err(invalid(field, "is of a later epoch")) } else { Ok(zxid) }
}

/// Encodes a zxid.
pub(crate) fn zxid_message(zxid: Zxid) -> v1::Zxid {
    v1::Zxid { epoch: zxid.epoch.0, counter: zxid.counter }
}

/// Decodes an id of 128 bits.
pub(crate) fn id(bytes: &[u8], field: &'static str) -> Result<u128, DecodeError> {
    let bytes: [u8; ID_LENGTH] = bytes.try_into().map_err(|_| invalid(field, "is not 16 bytes long"))?;
    Ok(u128::from_be_bytes(bytes))
}

/// Encodes an id of 128 bits.
pub(crate) fn id_bytes(id: u128) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

/// Decodes an incarnation.
pub(crate) fn incarnation(bytes: &[u8]) -> Result<Incarnation, DecodeError> {
    id(bytes, "incarnation").map(Incarnation)
}

/// Decodes a required ensemble.
pub(crate) fn ensemble(bytes: &[u8], history: u64) -> Result<EnsembleId, DecodeError> {
    Ok(EnsembleId { id: id(bytes, "ensemble id")?, history })
}

/// Decodes an ensemble; none from a node that has not joined one.
pub(crate) fn optional_ensemble(bytes: &[u8], history: u64) -> Result<Option<EnsembleId>, DecodeError> {
    match (bytes.is_empty(), history) {
        (true, 0) => Ok(None),
        (true, _) => Err(invalid("history", "has no ensemble")),
        (false, _) => ensemble(bytes, history).map(Some),
    }
}

/// Encodes an ensemble or none.
pub(crate) fn ensemble_fields(ensemble: Option<EnsembleId>) -> (Bytes, u64) {
    ensemble.map_or_else(Default::default, |ensemble| (id_bytes(ensemble.id), ensemble.history))
}

fn address(value: String, field: &'static str) -> Result<String, DecodeError> {
    check::address(&value).map_err(|why| invalid(field, why))?;
    Ok(value)
}

/// Decodes required addresses; each may be empty.
pub(crate) fn addresses(value: Option<v1::PeerAddresses>) -> Result<Addresses, DecodeError> {
    let value = value.ok_or_else(|| invalid("addresses", "are missing"))?;
    Ok(Addresses {
        election: address(value.election, "election address")?,
        message: address(value.message, "message address")?,
        request: address(value.request, "request address")?,
    })
}

/// Encodes addresses.
pub(crate) fn addresses_message(addresses: &Addresses) -> v1::PeerAddresses {
    v1::PeerAddresses {
        election: addresses.election.clone(),
        message: addresses.message.clone(),
        request: addresses.request.clone(),
    }
}

/// Decodes voters, strictly ascending by node id.
pub(crate) fn voters(values: Vec<v1::Voter>) -> Result<Vec<Voter>, DecodeError> {
    if values.len() > MEMBERS_MAX {
        return Err(invalid("voters", "are too many"));
    }
    let mut voters: Vec<Voter> = Vec::with_capacity(values.len());
    for value in values {
        let node = node(value.node, "voter")?;
        if voters.last().is_some_and(|before| before.node >= node) {
            return Err(invalid("voters", "do not ascend"));
        }
        let incarnation =
            if value.incarnation.is_empty() { None } else { Some(incarnation(&value.incarnation)?) };
        voters.push(Voter { node, incarnation, addresses: addresses(value.addresses)? });
    }
    Ok(voters)
}

/// Encodes voters.
pub(crate) fn voter_messages(voters: &[Voter]) -> Vec<v1::Voter> {
    voters
        .iter()
        .map(|voter| v1::Voter {
            node: voter.node.0,
            incarnation: voter.incarnation.map(|incarnation| id_bytes(incarnation.0)).unwrap_or_default(),
            addresses: Some(addresses_message(&voter.addresses)),
        })
        .collect()
}

/// Decodes a required genesis.
pub(crate) fn genesis(value: Option<v1::Genesis>) -> Result<Genesis, DecodeError> {
    let value = value.ok_or_else(|| invalid("genesis", "is missing"))?;
    let ensemble = ensemble(&value.ensemble, value.history)?;
    let voters = voters(value.voters)?;
    if voters.is_empty() {
        return Err(invalid("genesis", "has no voters"));
    }
    Ok(Genesis { ensemble, voters, level: value.level.max(FIRST_LEVEL) })
}

/// Encodes a genesis.
pub(crate) fn genesis_message(genesis: &Genesis) -> v1::Genesis {
    v1::Genesis {
        ensemble: id_bytes(genesis.ensemble.id),
        history: genesis.ensemble.history,
        voters: voter_messages(&genesis.voters),
        level: if genesis.level == FIRST_LEVEL { 0 } else { genesis.level },
    }
}

/// Decodes the kind of a log entry. Zero is damage, since no version writes it. An unknown number may be a newer node's;
/// the protocol decides about it.
pub(crate) fn kind(number: u32, level: u32) -> Result<Kind, DecodeError> {
    if level == 0 {
        return Err(invalid("level", "is zero"));
    }
    Ok(match number {
        0 => return Err(invalid("kind", "is zero")),
        1 => Kind::Command,
        2 => Kind::Membership,
        unknown => Kind::Unknown(unknown),
    })
}

/// Checks that an entry of kind Membership contains a configuration of its own version, with valid addresses. How later
/// levels encode one is not known: the protocol stops at such an entry.
pub(crate) fn check_entry(entry: &LogEntry) -> Result<(), DecodeError> {
    if entry.kind != Kind::Membership || entry.level > Levels::SUPPORTED.max {
        return Ok(());
    }
    let configuration = entry.configuration().ok_or_else(|| invalid("configuration", "cannot be decoded"))?;
    let voters = configuration.voters().iter().map(|voter| &voter.addresses);
    for addresses in voters.chain(configuration.learners().iter().map(|learner| &learner.addresses)) {
        for address in [&addresses.election, &addresses.message, &addresses.request] {
            check::address(address).map_err(|why| invalid("address of a member", why))?;
        }
    }
    Ok(())
}

/// Encodes a kind, for wire and disk.
pub(crate) fn kind_number(kind: Kind) -> u32 {
    match kind {
        Kind::Command => 1,
        Kind::Membership => 2,
        Kind::Unknown(number) => number,
    }
}
