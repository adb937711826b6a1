//! Reading a segment from its beginning to its end.

use std::io;

use bytes::{Bytes, BytesMut};

use crate::{
    file::{ALIGNMENT, File},
    layout::{HEAD, Head, Header, HeaderError},
};

/// The bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// A file that is read forwards, in large pieces.
pub(crate) struct Window<F> {
    file: F,
    size: u64,
    start: u64,
    bytes: Bytes,
}

/// What stands at a place of a segment.
pub(crate) enum Found {
    /// A batch with the right checksums.
    Batch(Head, Bytes),
    /// Nothing of the kind; perhaps the head of a batch of this segment, without its whole body.
    Nothing,
}

/// Reads the header of a segment; also returns the offset of the first batch.
pub(crate) fn header<F: File>(file: &F) -> io::Result<Result<(Header, u64), HeaderError>> {
    let size = usize::try_from(file.size()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size.min(ALIGNMENT)];
    file.read_at(0, &mut bytes)?;
    match Header::length(&bytes) {
        Some(length) if length <= size => {
            if length > bytes.len() {
                bytes.resize(length, 0);
                file.read_at(0, &mut bytes)?;
            }
            Ok(Header::decode(&bytes[..length]))
        }
        _ => Ok(Err(HeaderError::Damaged("the header is missing".to_owned()))),
    }
}

impl<F: File> Window<F> {
    pub(crate) fn new(file: F) -> io::Result<Window<F>> {
        let size = file.size()?;
        Ok(Window { file, size, start: 0, bytes: Bytes::new() })
    }

    /// The bytes from `offset`; `None` behind the end of the file. Takes memory for at most what the file contains.
    fn get(&mut self, offset: u64, length: usize) -> io::Result<Option<Bytes>> {
        if length as u64 > self.size.saturating_sub(offset) {
            return Ok(None);
        }
        let cached = offset.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        if let Some(at) = cached
            && at.checked_add(length).is_some_and(|end| end <= self.bytes.len())
        {
            return Ok(Some(self.bytes.slice(at..at + length)));
        }
        let rest = usize::try_from(self.size - offset).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::zeroed(length.max(CHUNK).min(rest));
        // Let go of the bytes before.
        self.bytes = Bytes::new();
        self.file.read_at(offset, &mut bytes)?;
        (self.start, self.bytes) = (offset, bytes.freeze());
        Ok(Some(self.bytes.slice(..length)))
    }

    /// Reads the batch that begins at this offset.
    pub(crate) fn batch(&mut self, salt: u128, offset: u64) -> io::Result<Found> {
        let Some(bytes) = self.get(offset, HEAD)? else { return Ok(Found::Nothing) };
        let Some(head) = Head::decode(salt, &bytes) else { return Ok(Found::Nothing) };
        match self.get(offset + HEAD as u64, head.length)? {
            Some(body) if crc32c::crc32c(&body) == head.body_checksum => Ok(Found::Batch(head, body)),
            _ => Ok(Found::Nothing),
        }
    }

    /// Finds a head of a batch of this segment with at least this number, from `offset` on.
    pub(crate) fn find_batch(
        &mut self,
        header: &Header,
        offset: u64,
        number: u64,
    ) -> io::Result<Option<u64>> {
        let mut at = offset;
        while let Some(bytes) = self.get(at, HEAD)? {
            if let Some(head) = Head::decode(header.salt, &bytes)
                && head.number >= number
            {
                return Ok(Some(at));
            }
            at += header.block as u64;
        }
        Ok(None)
    }
}
