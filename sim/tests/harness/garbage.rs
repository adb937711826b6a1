//! Invalid input for a node's election port: bytes that are not votes, damaged votes, and replayed votes. It is
//! determined by a seed and the votes sent so far.

use bytes::{BufMut, Bytes, BytesMut};
use gometa_codec::limits::{DATAGRAM_MAX, NUMBER_MAX};
use gometa_proto::v1::VoteDatagram;
use gometa_sim::random::Random;
use gometa_zab::{Round, Vote, VoteState};
use prost::Message as _;

/// The largest payload of a datagram over IPv4, in bytes.
const UDP_MAX: usize = 65_507;
/// CRC-32C finds every error of up to five bits in so few bytes.
const FLIPS_MAX: u64 = 5;

/// The kind of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Any bytes.
    Random,
    /// Truncated or extended genuine votes.
    Resized,
    /// Genuine votes with up to five bits flipped.
    Flipped,
    /// Datagrams larger than any vote; some begin with a vote.
    Huge,
    /// A valid envelope with random fields.
    Nonsense,
    /// Replayed genuine votes.
    Replayed,
    /// Genuine votes with the next sequence number and a round higher than any counter may be.
    ImpossibleRound,
    /// Genuine votes with the next sequence number and the highest round there is.
    MaximalRound,
}

impl Kind {
    pub(crate) fn parse(text: &str) -> Result<Kind, String> {
        Ok(match text {
            "random" => Kind::Random,
            "resized" => Kind::Resized,
            "flipped" => Kind::Flipped,
            "huge" => Kind::Huge,
            "nonsense" => Kind::Nonsense,
            "replayed" => Kind::Replayed,
            "impossible-round" => Kind::ImpossibleRound,
            "maximal-round" => Kind::MaximalRound,
            other => return Err(format!("{other} is no kind of garbage")),
        })
    }
}

/// A valid envelope: version, CRC-32C of the body, body.
fn envelope(body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + 5);
    out.put_u8(1);
    out.put_u32(crc32c::crc32c(body));
    out.put_slice(body);
    out.freeze()
}

/// A random number, sometimes above the largest valid one.
fn number(random: &mut Random) -> u64 {
    match random.below(32) {
        0 => random.word(),
        1 => u64::MAX,
        2 => NUMBER_MAX + 1,
        3..=8 => NUMBER_MAX - random.below(2),
        _ => random.below(4),
    }
}

/// The genuine vote with another round and the next sequence number.
fn with_round(vote: &Vote, round: u64) -> Vote {
    Vote {
        sequence: vote.sequence + 1,
        round: Round(round),
        state: VoteState::Looking,
        established: None,
        ..vote.clone()
    }
}

/// One datagram; `None` if it needs a genuine vote and there is none.
pub(crate) fn make(kind: Kind, random: &mut Random, genuine: &[Bytes]) -> Option<Bytes> {
    let pick = |random: &mut Random| {
        if genuine.is_empty() { None } else { Some(genuine[random.index(genuine.len())].clone()) }
    };
    let vote_of = |bytes: &Bytes| gometa_codec::vote::decode(bytes).ok();
    Some(match kind {
        Kind::Random => {
            let length = random.index(DATAGRAM_MAX + 100);
            random.bytes(length).into()
        }
        Kind::Resized => {
            let vote = pick(random)?;
            if random.one_in(2) {
                vote.slice(..random.index(vote.len()))
            } else {
                let more = 1 + random.index(100);
                let zero = random.one_in(2);
                let tail = if zero { Bytes::from(vec![0; more]) } else { random.bytes(more).into() };
                [vote, tail].concat().into()
            }
        }
        Kind::Flipped => {
            let mut vote = BytesMut::from(&pick(random)?[..]);
            let mut bits: Vec<usize> = Vec::new();
            for _ in 0..random.between(1, FLIPS_MAX) {
                let bit = random.index(vote.len() * 8);
                if !bits.contains(&bit) {
                    bits.push(bit);
                    vote[bit / 8] ^= 1 << (bit % 8);
                }
            }
            vote.freeze()
        }
        Kind::Huge => {
            let length = DATAGRAM_MAX + 1 + random.index(UDP_MAX - DATAGRAM_MAX);
            let mut bytes = BytesMut::from(&random.bytes(length)[..]);
            if let Some(vote) = pick(random).filter(|_| random.one_in(2)) {
                bytes[..vote.len()].copy_from_slice(&vote);
            }
            bytes.freeze()
        }
        Kind::Nonsense => {
            let id = |random: &mut Random| Bytes::copy_from_slice(&random.wide().to_be_bytes());
            let length = if random.one_in(4) { random.index(40) } else { 16 };
            let datagram = VoteDatagram {
                ensemble: random.bytes(length).into(),
                history: number(random),
                sender: random.below(6),
                incarnation: id(random),
                boot: number(random),
                sequence: number(random),
                state: random.below(7) as i32 - 1,
                round: number(random),
                candidate: random.below(6),
                candidate_epoch: number(random),
                candidate_last_epoch: number(random),
                candidate_last_counter: number(random),
                established: if random.one_in(2) { Some(number(random)) } else { None },
                configuration_epoch: number(random),
                tag: Bytes::new(),
                configuration_counter: number(random),
                sender_address: String::new(),
                candidate_address: String::new(),
            };
            envelope(&datagram.encode_to_vec())
        }
        Kind::Replayed => pick(random)?,
        Kind::ImpossibleRound => {
            let vote = vote_of(&pick(random)?)?;
            gometa_codec::vote::encode(&with_round(&vote, number(random).max(NUMBER_MAX + 1)))
        }
        Kind::MaximalRound => {
            // The latest vote of one sender; an older one would be dropped.
            let sender = vote_of(&pick(random)?)?.sender;
            let votes = genuine.iter().filter_map(vote_of).filter(|vote| vote.sender == sender);
            let latest = votes.max_by_key(|vote| (vote.boot, vote.sequence))?;
            gometa_codec::vote::encode(&with_round(&latest, NUMBER_MAX))
        }
    })
}

/// The reason for which a datagram was dropped.
pub(crate) fn reason(error: &gometa_codec::DecodeError) -> String {
    match error {
        gometa_codec::DecodeError::TooLarge(_) => "too large".to_owned(),
        gometa_codec::DecodeError::Message(_) => "no vote".to_owned(),
        gometa_codec::DecodeError::Version(_) => "unknown version".to_owned(),
        gometa_codec::DecodeError::Checksum => "checksum".to_owned(),
        gometa_codec::DecodeError::Invalid { .. } => "impossible field".to_owned(),
        other => other.to_string(),
    }
}
