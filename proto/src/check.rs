//! Foreign bytes to messages, without taking more memory than they deserve.
//!
//! In protobuf two bytes are an empty sub-message, which decoded takes a hundred: a frame within its limit can
//! become sixty-six times its size. Only repeated fields do this (everything else takes about what it takes on
//! the wire), so [`decode`] first walks the bytes and counts the elements of repeated fields, at all depths
//! together, and refuses the message above a bound.
//!
//! The walk knows from a [`Shape`], generated from the schema like the message itself, which fields repeat and
//! which sub-messages can hold such fields. It enters these only: in a batch of log entries it touches a few
//! bytes of each and skips the payloads, and a message without repeated fields is not walked at all.

use bytes::Bytes;
use prost::Message;

use crate::limits::ADDRESS_MAX;

/// Which fields of a message can repeat, at every depth; a constant that is generated from the schema.
#[derive(Debug)]
pub struct Shape(&'static [(u32, Field)]);

/// A field that matters for the count. Fields without a word here neither repeat nor lead to any that do.
#[derive(Debug)]
enum Field {
    /// A sub-message with repeated fields further down.
    Message(&'static Shape),
    /// Repeated messages, strings or bytes.
    Elements(&'static Shape),
    /// Repeated numbers of this many bytes.
    Fixed(usize),
    /// Repeated numbers of varying length.
    Varints,
}

/// A message whose shape is known: every generated one.
pub trait Shaped: Message + Default {
    /// Its shape.
    const SHAPE: &'static Shape;
}

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// Bytes are not the message that was expected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// More repeated elements than it may have.
    #[error("a message with more than {max} elements")]
    TooManyElements {
        /// The bound.
        max: usize,
    },
    /// No protobuf at all.
    #[error("malformed message")]
    Malformed,
    /// Not this message.
    #[error("malformed message: {0}")]
    Mismatch(#[from] prost::DecodeError),
}

/// Decodes a message that has no more than `elements_max` repeated elements, all depths together.
///
/// Fields of type `bytes` share the memory of `bytes`.
pub fn decode<M: Shaped>(bytes: Bytes, elements_max: usize) -> Result<M, DecodeError> {
    check_elements::<M>(&bytes, elements_max)?;
    Ok(M::decode(bytes)?)
}

/// Refuses bytes that would decode to more than `elements_max` repeated elements, all depths together. Takes
/// no memory. Passing says nothing else about the bytes: decoding may find fault with them yet.
pub fn check_elements<M: Shaped>(bytes: &[u8], elements_max: usize) -> Result<(), DecodeError> {
    count(bytes, M::SHAPE, &mut 0, elements_max)
}

/// Refuses what cannot be an address that a node announces, and says why. Addresses end up in logs and terminals, and
/// are dialled: no spaces, no control characters. An empty one is for *not known*.
pub fn address(text: &str) -> Result<(), &'static str> {
    if text.len() > ADDRESS_MAX {
        return Err("is too long");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has characters that no address has");
    }
    Ok(())
}

/// Adds the elements of one message to `elements`.
fn count(mut bytes: &[u8], shape: &Shape, elements: &mut usize, max: usize) -> Result<(), DecodeError> {
    if shape.0.is_empty() {
        return Ok(());
    }
    let add = |more: usize, elements: &mut usize| {
        *elements += more;
        if *elements > max { Err(DecodeError::TooManyElements { max }) } else { Ok(()) }
    };
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let number = u32::try_from(key >> 3).map_err(|_| DecodeError::Malformed)?;
        let field = shape.0.iter().find(|(of, _)| *of == number).map(|(_, field)| field);
        let length = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                None
            }
            1 => {
                skip(&mut bytes, 8)?;
                None
            }
            5 => {
                skip(&mut bytes, 4)?;
                None
            }
            2 => Some(varint(&mut bytes)?),
            // Groups (3, 4) have never been part of proto3; the others do not exist.
            _ => return Err(DecodeError::Malformed),
        };
        match (length, field) {
            (None, Some(Field::Fixed(_) | Field::Varints)) => add(1, elements)?,
            // Decoding refuses a number where there should be a message.
            (None, _) => {}
            (Some(length), field) => {
                let body = skip(&mut bytes, usize::try_from(length).map_err(|_| DecodeError::Malformed)?)?;
                match field {
                    None => {}
                    Some(Field::Message(shape)) => count(body, shape, elements, max)?,
                    Some(Field::Elements(shape)) => {
                        add(1, elements)?;
                        count(body, shape, elements, max)?;
                    }
                    Some(Field::Fixed(size)) => add(body.len().div_ceil(*size), elements)?,
                    // Each number ends with its only byte below 128.
                    Some(Field::Varints) => add(body.iter().filter(|byte| **byte < 0x80).count(), elements)?,
                }
            }
        }
    }
    Ok(())
}

/// Takes `length` bytes off the front.
fn skip<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], DecodeError> {
    let (front, rest) = bytes.split_at_checked(length).ok_or(DecodeError::Malformed)?;
    *bytes = rest;
    Ok(front)
}

/// Takes a number of varying length off the front: seven bits a byte, the lowest first, at most ten bytes.
fn varint(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0u64;
    for (position, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * position as u32);
        if byte < 0x80 {
            // The tenth byte has room for one bit.
            if position == 9 && byte > 1 {
                return Err(DecodeError::Malformed);
            }
            *bytes = &bytes[position + 1..];
            return Ok(value);
        }
    }
    Err(DecodeError::Malformed)
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
