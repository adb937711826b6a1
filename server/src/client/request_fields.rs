//! A client's large frame is looked through before it is decoded: it must not have more fields than it has any use for.
//!
//! Two bytes are a field, and decoding one that comes again costs as much as the first time, though it leaves nothing
//! behind: a frame of a mebibyte can keep a thread for tens of milliseconds, and there are as many frames as there are
//! connections. A well-meant one is large because of one value. Small frames need no looking through.

/// Fields in a frame, in its request and in the request's operation together. Ten are enough today; later versions
/// may add some.
const FIELDS_MAX: usize = 256;
/// The length-delimited fields with fields of their own: the frame's request, and the request's write context (3) and
/// operations (10 to 29, those to come included).
const REQUEST: u64 = 2;
const WRITE: u64 = 3;
const OPERATIONS: std::ops::RangeInclusive<u64> = 10..=29;

/// Whether a frame has few fields. Of what is no message at all, nothing is said.
pub(crate) fn are_few(frame: &[u8]) -> bool {
    let mut left = FIELDS_MAX;
    walk(frame, &mut left, |number, request, left| {
        number != REQUEST
            || walk(request, left, |number, inner, left| {
                !(number == WRITE || OPERATIONS.contains(&number)) || walk(inner, left, |_, _, _| true)
            })
    })
}

/// Goes from field to field, and with `enter` into those that are length-delimited; false when no more are `left`.
fn walk(mut bytes: &[u8], left: &mut usize, enter: impl Fn(u64, &[u8], &mut usize) -> bool) -> bool {
    while let Some(key) = varint(&mut bytes) {
        let Some(less) = left.checked_sub(1) else { return false };
        *left = less;
        let skipped = match key & 7 {
            0 => varint(&mut bytes).map(|_| &[][..]),
            1 => take(&mut bytes, 8),
            2 => varint(&mut bytes).and_then(|length| take(&mut bytes, usize::try_from(length).ok()?)),
            5 => take(&mut bytes, 4),
            // Groups are skipped by decoding field by field, too, and nobody has ever sent one.
            _ => return false,
        };
        // Decoding comes no further than this, either.
        let Some(body) = skipped else { return true };
        if key & 7 == 2 && !enter(key >> 3, body, left) {
            return false;
        }
    }
    true
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    prost::encoding::decode_varint(bytes).ok()
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(front)
}

#[cfg(test)]
mod tests {
    use gometa_proto::v1;
    use proptest::prelude::*;
    use prost::Message;
    use v1::request::Operation;

    use super::*;

    fn field(number: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(u64::from(number << 3 | 2), &mut bytes);
        prost::encoding::encode_varint(body.len() as u64, &mut bytes);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn every_request_has_few() {
        let (key, value) = (bytes::Bytes::from(vec![0x0a; 4096]), bytes::Bytes::from(vec![0x0a; 1 << 20]));
        let operations = [
            Operation::Add(v1::Add { key: key.clone(), value: value.clone() }),
            Operation::Set(v1::Set { key: key.clone(), value: value.clone() }),
            Operation::Cas(v1::Cas { key: key.clone(), revision: u64::MAX, value }),
            Operation::Get(v1::Get { key, consistency: 1, min_revision: u64::MAX }),
            Operation::EndSession(v1::EndSession { session: u64::MAX }),
        ];
        for operation in operations {
            let request = v1::Request {
                id: u64::MAX,
                deadline_ms: u32::MAX,
                write: Some(v1::WriteContext { session: u64::MAX, seq: u64::MAX, lowest: u64::MAX }),
                operation: Some(operation),
            };
            let frame = v1::ClientFrame { body: Some(v1::client_frame::Body::Request(request)) };
            assert!(are_few(&frame.encode_to_vec()));
        }
    }

    #[test]
    fn many_are_found_wherever_they_hide() {
        let many = |element: &[u8]| element.repeat(FIELDS_MAX + 1);
        for element in [&[0x12, 0][..], &[0x08, 1], &[0xe2, 0x03, 0], &[0x0d, 1, 2, 3, 4], &[0x0b, 0x0c]] {
            assert!(!are_few(&many(element)), "{element:?}");
            assert!(!are_few(&field(2, &many(element))), "{element:?}");
            assert!(!are_few(&field(2, &field(12, &many(element)))), "{element:?}");
            assert!(!are_few(&field(2, &field(3, &many(element)))), "{element:?}");
            assert!(!are_few(&field(2, &many(element)).repeat(2)), "{element:?}");
        }
        // A value is nobody's message, and neither is what nobody knows.
        assert!(are_few(&field(2, &field(12, &field(2, &many(&[0x12, 0]))))));
        assert!(are_few(&field(2, &field(60, &many(&[0x12, 0])))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            are_few(&bytes);
        }
    }
}
