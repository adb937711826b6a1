//! Decoding of messages from outside, with bounds on memory and time.
//!
//! In protobuf two bytes are an empty sub-message, which decoded takes a hundred: a frame within its limit can
//! become sixty-six times its size. Only repeated fields do this (all others take about what they take on the
//! wire), so [`decode`] first walks the bytes, counts the elements of repeated fields at all depths together, and
//! refuses the message above a bound. A field that comes again leaves nothing behind but takes as long to decode as
//! the first time, so [`check_fields`] bounds the number of fields.
//!
//! Both walk by a [`Shape`], generated from the schema like the message itself, which says which fields repeat and
//! which are messages. Elements are looked for only in messages that can hold some: in a batch of log entries the walk
//! touches a few bytes of each and skips the payloads.

use bytes::Bytes;
use prost::{Message, encoding::decode_varint};

use crate::limits::ADDRESS_MAX;

/// The fields of a message that are messages or repeated, at every depth; a constant that is generated from the
/// schema.
#[derive(Debug)]
pub struct Shape {
    /// Whether it has repeated fields, at any depth.
    repeats: bool,
    fields: &'static [(u32, Field)],
}

impl Shape {
    const fn new(fields: &'static [(u32, Field)]) -> Shape {
        let (mut repeats, mut index) = (false, 0);
        while index < fields.len() {
            repeats |= match fields[index].1 {
                Field::Message(shape) => shape.repeats,
                _ => true,
            };
            index += 1;
        }
        Shape { repeats, fields }
    }
}

/// A field of a shape.
#[derive(Debug)]
enum Field {
    /// A message.
    Message(&'static Shape),
    /// Repeated messages, strings or bytes.
    Elements(&'static Shape),
    /// Repeated numbers of this many bytes.
    Fixed(usize),
    /// Repeated numbers of varying length.
    Varints,
}

/// A message with a shape: every generated one.
pub trait Shaped: Message + Default {
    /// Its shape.
    const SHAPE: &'static Shape;
}

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// Why bytes are not the expected message.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// More repeated elements than this bound.
    #[error("a message with more than {0} elements")]
    TooManyElements(usize),
    /// More fields than this bound.
    #[error("a message with more than {0} fields")]
    TooManyFields(usize),
    /// Not protobuf.
    #[error("malformed message")]
    Malformed,
    /// Another message.
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
/// no memory. Bytes that pass may still fail to decode.
pub fn check_elements<M: Shaped>(bytes: &[u8], elements_max: usize) -> Result<(), DecodeError> {
    count(bytes, M::SHAPE, Unit::Elements, &mut 0, elements_max)
}

/// Refuses bytes with more than `fields_max` fields, all depths together. Takes no memory.
pub fn check_fields<M: Shaped>(bytes: &[u8], fields_max: usize) -> Result<(), DecodeError> {
    count(bytes, M::SHAPE, Unit::Fields, &mut 0, fields_max)
}

/// Checks an address that a node announces. Addresses end up in logs and terminals, and are dialled: no spaces, no
/// control characters. An empty one stands for *not known*.
///
/// # Errors
/// Why it is none, as the end of a sentence.
pub fn address(text: &str) -> Result<(), &'static str> {
    if text.len() > ADDRESS_MAX {
        return Err("is too long");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("has characters that no address has");
    }
    Ok(())
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Elements,
    Fields,
}

/// Adds what one message has to `counted`.
fn count(
    mut bytes: &[u8],
    shape: &Shape,
    unit: Unit,
    counted: &mut usize,
    max: usize,
) -> Result<(), DecodeError> {
    if unit == Unit::Elements && !shape.repeats {
        return Ok(());
    }
    let add = |more: usize, of: Unit, counted: &mut usize| {
        *counted += if of == unit { more } else { 0 };
        match unit {
            _ if *counted <= max => Ok(()),
            Unit::Elements => Err(DecodeError::TooManyElements(max)),
            Unit::Fields => Err(DecodeError::TooManyFields(max)),
        }
    };
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        add(1, Unit::Fields, counted)?;
        let number = u32::try_from(key >> 3).map_err(|_| DecodeError::Malformed)?;
        let field = shape.fields.iter().find(|(of, _)| *of == number).map(|(_, field)| field);
        let length = match key & 7 {
            0 => varint(&mut bytes).map(|_| None)?,
            1 => skip(&mut bytes, 8).map(|_| None)?,
            5 => skip(&mut bytes, 4).map(|_| None)?,
            2 => Some(varint(&mut bytes)?),
            // Groups (3, 4) have never been part of proto3; the others do not exist.
            _ => return Err(DecodeError::Malformed),
        };
        match (length, field) {
            (None, Some(Field::Fixed(_) | Field::Varints)) => add(1, Unit::Elements, counted)?,
            // Decoding refuses a number where there should be a message.
            (None, _) => {}
            (Some(length), field) => {
                let body = skip(&mut bytes, usize::try_from(length).map_err(|_| DecodeError::Malformed)?)?;
                match field {
                    None => {}
                    Some(Field::Message(shape)) => count(body, shape, unit, counted, max)?,
                    Some(Field::Elements(shape)) => {
                        add(1, Unit::Elements, counted)?;
                        count(body, shape, unit, counted, max)?;
                    }
                    Some(Field::Fixed(size)) => add(body.len().div_ceil(*size), Unit::Elements, counted)?,
                    // Each number ends with its only byte below 128.
                    Some(Field::Varints) => {
                        add(body.iter().filter(|byte| **byte < 0x80).count(), Unit::Elements, counted)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Takes `length` bytes off the front.
fn skip<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], DecodeError> {
    bytes.split_off(..length).ok_or(DecodeError::Malformed)
}

/// Takes a number of varying length off the front.
fn varint(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    decode_varint(bytes).map_err(|_| DecodeError::Malformed)
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
