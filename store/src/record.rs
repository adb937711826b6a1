//! Records of keys as they are in a table, read without copying their values.

use bytes::Bytes;
use gometa_proto::v1::KeyRecord;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::session::Corrupt;

/// An encoded [`KeyRecord`].
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(crate) struct RecordView<'a> {
    pub(crate) create_revision: u64,
    pub(crate) mod_revision: u64,
    pub(crate) version: u64,
    pub(crate) value: &'a [u8],
    /// The feature level at which it was written; 0 for the first one.
    #[cfg(gometa_next_level)]
    pub(crate) level: u32,
}

impl<'a> RecordView<'a> {
    /// Reads the record of a key.
    ///
    /// # Errors
    /// [`Corrupt`] if it is none.
    pub(crate) fn new(key: &[u8], record: &'a [u8]) -> Result<RecordView<'a>, Corrupt> {
        let corrupt =
            || Corrupt::new(format!("the record of key {:?} is malformed", Bytes::copy_from_slice(key)));
        RecordView::parse(record).ok_or_else(corrupt)
    }

    fn parse(mut rest: &'a [u8]) -> Option<RecordView<'a>> {
        let mut view = RecordView::default();
        while !rest.is_empty() {
            let (tag, wire) = decode_key(&mut rest).ok()?;
            match (tag, wire) {
                (1, WireType::Varint) => view.create_revision = decode_varint(&mut rest).ok()?,
                (2, WireType::Varint) => view.mod_revision = decode_varint(&mut rest).ok()?,
                (3, WireType::Varint) => view.version = decode_varint(&mut rest).ok()?,
                (4, WireType::LengthDelimited) => {
                    let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                    view.value = rest.split_off(..length)?;
                }
                #[cfg(gometa_next_level)]
                (1_000, WireType::Varint) => view.level = decode_varint(&mut rest).ok()?.try_into().ok()?,
                (1..=4, _) => return None,
                _ => skip_field(wire, tag, &mut rest, DecodeContext::default()).ok()?,
            }
        }
        Some(view)
    }

    /// A copy.
    pub(crate) fn to_record(self) -> KeyRecord {
        KeyRecord {
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            value: Bytes::copy_from_slice(self.value),
            #[cfg(gometa_next_level)]
            level: self.level,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    fn record(create_revision: u64, mod_revision: u64, version: u64, value: &'static [u8]) -> KeyRecord {
        let view = RecordView {
            create_revision,
            mod_revision,
            version,
            value,
            #[cfg(gometa_next_level)]
            level: 0,
        };
        view.to_record()
    }

    #[test]
    fn a_view_is_what_the_message_is() {
        for record in [KeyRecord::default(), record(1, 300, u64::MAX, b"v"), record(0, 2, 1, &[0; 300])] {
            let encoded = record.encode_to_vec();
            assert_eq!(RecordView::parse(&encoded).map(RecordView::to_record).as_ref(), Some(&record));
            // A field that a later version may add.
            let longer = [&encoded[..], &[0x2a, 2, b'x', b'y']].concat();
            assert_eq!(RecordView::parse(&longer).map(RecordView::to_record), Some(record));
            for end in 0..encoded.len() {
                let whole = KeyRecord::decode(&encoded[..end]).ok();
                assert_eq!(RecordView::parse(&encoded[..end]).map(RecordView::to_record), whole, "{end}");
            }
        }
        for malformed in [&[0x08][..], &[0x22, 5, b'v'], &[0x0a, 1, 0], &[0x20, 1], &[0xff; 11]] {
            assert_eq!(RecordView::parse(malformed), None, "{malformed:?}");
            assert!(KeyRecord::decode(malformed).is_err());
        }
    }
}
