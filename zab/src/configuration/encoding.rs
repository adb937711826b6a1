//! The encoding of a configuration: the payload of its log entry, and its record in the state. It never changes, since all
//! nodes hash the record.
//!
//! | field | bytes |
//! |---|---|
//! | format | 1: the number 2 at the first feature level, else 3 |
//! | level | 4, the feature level; only in format 3 |
//! | version | epoch 8, counter 8 |
//! | asked by | 8: a node id, or 0 |
//! | voters | count 1; each: id 8, incarnation recorded 1 (0 or 1), incarnation 16 if it is, addresses |
//! | learners | count 1; each: id 8, incarnation 16, addresses, desired role |
//! | replacements | count 1; each: id of the new member 8, of the old one 8 |
//! | addresses | election, message, request; each: length 2, text |
//! | desired role | 1: 0 learner, 1 voter |
//!
//! Numbers are big endian.

use alloc::{string::String, vec::Vec};

use bytes::{Buf, BufMut, Bytes};

use super::{Configuration, DesiredRole, LEARNERS_MAX, Learner, Replacement, VOTERS_MAX};
use crate::{
    levels::FIRST_LEVEL,
    message::{Addresses, Voter},
    types::{Epoch, Incarnation, NodeId, Zxid},
};

/// Without a level, which is the first one.
const FORMAT: u8 = 2;
/// With a level.
const FORMAT_WITH_LEVEL: u8 = 3;

/// The most voters that are encoded: a genesis may have more than later configurations.
const COUNT_MAX: usize = if LEARNERS_MAX > VOTERS_MAX { LEARNERS_MAX } else { VOTERS_MAX };

impl Configuration {
    /// Encodes this configuration.
    ///
    /// # Panics
    /// If it has more than 100 voters or learners, or an address of more than 65,535 bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        if self.level == FIRST_LEVEL {
            out.put_u8(FORMAT);
        } else {
            out.put_u8(FORMAT_WITH_LEVEL);
            out.put_u32(self.level);
        }
        out.put_u64(self.version.epoch.0);
        out.put_u64(self.version.counter);
        out.put_u64(self.asked_by.map_or(0, |node| node.0));
        out.put_u8(count(self.voters.len()));
        for voter in &self.voters {
            out.put_u64(voter.node.0);
            out.put_u8(voter.incarnation.is_some().into());
            if let Some(incarnation) = voter.incarnation {
                out.put_u128(incarnation.0);
            }
            put_addresses(&mut out, &voter.addresses);
        }
        out.put_u8(count(self.learners.len()));
        for learner in &self.learners {
            out.put_u64(learner.node.0);
            out.put_u128(learner.incarnation.0);
            put_addresses(&mut out, &learner.addresses);
            out.put_u8((learner.desired == DesiredRole::Voter).into());
        }
        out.put_u8(count(self.replacements.len()));
        for Replacement { old, new } in &self.replacements {
            out.put_u64(new.0);
            out.put_u64(old.0);
        }
        out.into()
    }

    /// Decodes a configuration. `None` unless these bytes are the encoding of one: with a voter, ids that ascend and are
    /// not zero, and no id as both voter and learner.
    pub fn decode(mut bytes: &[u8]) -> Option<Configuration> {
        let input = &mut bytes;
        let level = match input.try_get_u8().ok()? {
            FORMAT => FIRST_LEVEL,
            FORMAT_WITH_LEVEL => Some(input.try_get_u32().ok()?).filter(|level| *level > FIRST_LEVEL)?,
            _ => return None,
        };
        let epoch = Epoch(input.try_get_u64().ok()?);
        let version = Zxid { epoch, counter: input.try_get_u64().ok()? };
        let asked_by = Some(NodeId(input.try_get_u64().ok()?)).filter(|node| node.0 > 0);
        let mut voters = Vec::new();
        for _ in 0..input.try_get_u8().ok()? {
            let node = NodeId(input.try_get_u64().ok()?);
            let incarnation = match input.try_get_u8().ok()? {
                0 => None,
                1 => Some(Incarnation(input.try_get_u128().ok()?)),
                2.. => return None,
            };
            voters.push(Voter { node, incarnation, addresses: addresses(input)? });
        }
        let mut learners = Vec::new();
        for _ in 0..input.try_get_u8().ok()? {
            let node = NodeId(input.try_get_u64().ok()?);
            let incarnation = Incarnation(input.try_get_u128().ok()?);
            let addresses = addresses(input)?;
            let desired = match input.try_get_u8().ok()? {
                0 => DesiredRole::Learner,
                1 => DesiredRole::Voter,
                2.. => return None,
            };
            learners.push(Learner { node, incarnation, addresses, desired });
        }
        let mut replacements = Vec::new();
        for _ in 0..input.try_get_u8().ok()? {
            let new = NodeId(input.try_get_u64().ok()?);
            replacements.push(Replacement { old: NodeId(input.try_get_u64().ok()?), new });
        }
        let configuration = Configuration { version, asked_by, level, voters, learners, replacements };
        (input.is_empty() && configuration.is_valid()).then_some(configuration)
    }
}

fn count(members: usize) -> u8 {
    assert!(members <= COUNT_MAX, "a configuration has at most {COUNT_MAX} voters and as many learners");
    members as u8
}

fn put_addresses(out: &mut Vec<u8>, addresses: &Addresses) {
    for address in [&addresses.election, &addresses.message, &addresses.request] {
        out.put_u16(u16::try_from(address.len()).expect("addresses are short"));
        out.put_slice(address.as_bytes());
    }
}

fn addresses(input: &mut &[u8]) -> Option<Addresses> {
    let mut next = || {
        let length = input.try_get_u16().ok()?;
        let (text, rest) = input.split_at_checked(length.into())?;
        *input = rest;
        Some(String::from(core::str::from_utf8(text).ok()?))
    };
    Some(Addresses { election: next()?, message: next()?, request: next()? })
}
