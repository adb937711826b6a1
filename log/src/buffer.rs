//! A buffer whose contents begin at an aligned address, as direct writes need it.

use bytes::BytesMut;

use crate::file::ALIGNMENT;

/// A growing buffer. Its contents begin at a multiple of [`ALIGNMENT`] in memory.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: BytesMut,
    start: usize,
}

impl Buffer {
    pub(crate) fn with_capacity(capacity: usize) -> Buffer {
        let mut bytes = BytesMut::with_capacity(capacity + ALIGNMENT);
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        bytes.resize(start, 0);
        Buffer { bytes, start }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity() - self.start
    }

    pub(crate) fn contents(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn contents_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(self.start + len);
    }

    /// The underlying bytes, to which at most `more` bytes may be appended.
    pub(crate) fn grow(&mut self, more: usize) -> &mut BytesMut {
        if self.bytes.capacity() - self.bytes.len() < more {
            let mut larger = Buffer::with_capacity((self.len() + more).max(self.len() * 2));
            larger.bytes.extend_from_slice(self.contents());
            *self = larger;
        }
        &mut self.bytes
    }

    pub(crate) fn extend_zeroes(&mut self, more: usize) {
        let bytes = self.grow(more);
        bytes.resize(bytes.len() + more, 0);
    }

    /// Appends zeroes up to the next multiple of `block`.
    pub(crate) fn pad(&mut self, block: usize) {
        self.extend_zeroes(self.len().next_multiple_of(block) - self.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_stay_aligned_when_the_buffer_grows() {
        let mut buffer = Buffer::with_capacity(10);
        let mut expected = Vec::new();
        for n in 0..2_000_u32 {
            let bytes = n.to_be_bytes().repeat((n % 7) as usize);
            buffer.grow(bytes.len()).extend_from_slice(&bytes);
            expected.extend(&bytes);
            if n % 97 == 0 {
                buffer.pad(512);
                expected.resize(expected.len().next_multiple_of(512), 0);
            }
            assert_eq!(buffer.contents().as_ptr().align_offset(ALIGNMENT), 0);
        }
        assert_eq!(buffer.contents(), expected);
    }
}
