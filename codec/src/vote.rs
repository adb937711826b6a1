//! Votes: one datagram each. Version (u8, 1), CRC-32C of the rest (u32, big endian), a `VoteDatagram`; at most
//! 512 bytes in all (rule 7).

use bytes::{Bytes, BytesMut};
use gometa_proto::{
    check,
    frame::TooLarge,
    v1::{VoteDatagram, vote_datagram::State},
};
use gometa_zab::{Candidate, NodeId, Round, Vote, VoteState};
use prost::Message;

use crate::{DecodeError, envelope, error::invalid, fields, limits::DATAGRAM_MAX};

/// The message addresses that a datagram tells beside its vote; empty ones are not told. They are hints: the protocol core
/// does not know them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Whereabouts {
    /// Of the sender.
    pub sender: String,
    /// Of the candidate, if it is another node.
    pub candidate: String,
}

/// Encodes a vote without addresses; far below 512 bytes.
pub fn encode(vote: &Vote) -> Bytes {
    encode_with(vote, Whereabouts::default())
}

/// Encodes a vote with addresses. Those that do not fit into the datagram are left out.
pub fn encode_with(vote: &Vote, whereabouts: Whereabouts) -> Bytes {
    let (ensemble, history) = fields::ensemble_fields(vote.ensemble);
    let mut datagram = VoteDatagram {
        ensemble,
        history,
        sender: vote.sender.0,
        incarnation: fields::id_bytes(vote.incarnation.0),
        boot: vote.boot,
        sequence: vote.sequence,
        state: match vote.state {
            VoteState::Looking => State::Looking,
            VoteState::Following => State::Following,
            VoteState::Leading => State::Leading,
            VoteState::Seeking => State::Seeking,
        }
        .into(),
        round: vote.round.0,
        candidate: vote.candidate.node.0,
        candidate_epoch: vote.candidate.epoch.0,
        candidate_last_epoch: vote.candidate.last.epoch.0,
        candidate_last_counter: vote.candidate.last.counter,
        established: vote.established.map(|epoch| epoch.0),
        configuration_epoch: vote.configuration.epoch.0,
        tag: Bytes::new(),
        configuration_counter: vote.configuration.counter,
        sender_address: String::new(),
        candidate_address: String::new(),
    };
    let fits = |datagram: &VoteDatagram| envelope::HEADER + datagram.encoded_len() <= DATAGRAM_MAX;
    datagram.sender_address = whereabouts.sender;
    if !fits(&datagram) {
        datagram.sender_address.clear();
    }
    datagram.candidate_address = whereabouts.candidate;
    if !fits(&datagram) {
        datagram.candidate_address.clear();
    }
    let mut out = BytesMut::with_capacity(envelope::HEADER + datagram.encoded_len());
    envelope::seal(b"", &mut out, |out| datagram.encode_raw(out));
    debug_assert!(out.len() <= DATAGRAM_MAX);
    out.freeze()
}

/// Decodes and checks a vote, as [`decode_with`] does, without its addresses.
pub fn decode(datagram: &[u8]) -> Result<Vote, DecodeError> {
    decode_with(datagram).map(|(vote, _)| vote)
}

/// Decodes and checks a vote and its addresses:
///
/// - The sender is not zero, nor is the candidate, except in the vote of a node that seeks the leader.
/// - A leader votes for itself, a follower for another node; only they have an established epoch.
/// - The candidate's last entry may be of a later epoch than the candidate's current one, after a crash during
///   synchronisation (rule 10).
pub fn decode_with(datagram: &[u8]) -> Result<(Vote, Whereabouts), DecodeError> {
    if datagram.len() > DATAGRAM_MAX {
        return Err(TooLarge { length: datagram.len(), max: DATAGRAM_MAX }.into());
    }
    let body = envelope::open(b"", datagram)?;
    let message = VoteDatagram::decode(body).map_err(check::DecodeError::from)?;

    let sender = fields::node(message.sender, "sender")?;
    let state = match message.state() {
        State::Unspecified => return Err(invalid("state", "is unknown")),
        State::Looking => VoteState::Looking,
        State::Following => VoteState::Following,
        State::Leading => VoteState::Leading,
        State::Seeking => VoteState::Seeking,
    };
    let candidate = NodeId(message.candidate);
    match state {
        VoteState::Seeking => {}
        _ if candidate == NodeId(0) => return Err(invalid("candidate", "is zero")),
        VoteState::Leading if candidate != sender => return Err(invalid("candidate", "is not the leader")),
        VoteState::Following if candidate == sender => return Err(invalid("candidate", "is the follower")),
        VoteState::Looking | VoteState::Leading | VoteState::Following => {}
    }
    let established = message.established.map(fields::leadership).transpose()?;
    if established.is_some() && matches!(state, VoteState::Looking | VoteState::Seeking) {
        return Err(invalid("established epoch", "of a node that has no leader"));
    }
    let last = fields::zxid_of(
        message.candidate_last_epoch,
        message.candidate_last_counter,
        "candidate's last zxid",
    )?;
    let address = |text: String, name| match check::address(&text) {
        Ok(()) => Ok(text),
        Err(why) => Err(invalid(name, why)),
    };
    let vote = Vote {
        ensemble: fields::optional_ensemble(&message.ensemble, message.history)?,
        sender,
        incarnation: fields::incarnation(&message.incarnation)?,
        boot: fields::number(message.boot, "boot")?,
        sequence: fields::number(message.sequence, "sequence")?,
        state,
        round: Round(fields::number(message.round, "round")?),
        candidate: Candidate {
            epoch: fields::epoch(message.candidate_epoch, "candidate's epoch")?,
            last,
            node: candidate,
        },
        established,
        configuration: fields::zxid_of(
            message.configuration_epoch,
            message.configuration_counter,
            "configuration",
        )?,
    };
    let whereabouts = Whereabouts {
        sender: address(message.sender_address, "sender's address")?,
        candidate: address(message.candidate_address, "candidate's address")?,
    };
    Ok((vote, whereabouts))
}
