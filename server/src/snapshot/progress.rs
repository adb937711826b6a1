//! How far a snapshot is received: a pure function of its manifest and its chunks.

use std::collections::VecDeque;

use gometa_codec::snapshot::{Chunk, Manifest, Request};

use super::{CHUNK_BYTES, CHUNKS_IN_FLIGHT};

/// What is requested and what is received of one snapshot.
#[derive(Debug)]
pub(super) struct Progress {
    /// The next part to request: a file, and an offset in it.
    next: (usize, u64),
    /// Requested and not received, in order.
    requested: VecDeque<Request>,
    received: u64,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { next: (0, 0), requested: VecDeque::new(), received: 0 }
    }

    /// The bytes received.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The connection has changed: what was requested will not come.
    pub(super) fn restart(&mut self) {
        if let Some(first) = self.requested.front() {
            self.next = (first.file, first.offset);
        }
        self.requested.clear();
    }

    /// What to request now.
    pub(super) fn requests(&mut self, manifest: &Manifest) -> Vec<Request> {
        let mut requests = Vec::new();
        while self.requested.len() < CHUNKS_IN_FLIGHT
            && let Some(file) = manifest.files.get(self.next.0)
        {
            let (position, offset) = self.next;
            let length = (file.length - offset).min(CHUNK_BYTES as u64);
            let request = Request { id: manifest.id, file: position, offset, length: length as usize };
            self.next =
                if offset + length < file.length { (position, offset + length) } else { (position + 1, 0) };
            self.requested.push_back(request);
            requests.push(request);
        }
        requests
    }

    /// Takes a chunk; false if it is not the next one that was requested.
    pub(super) fn accept(&mut self, chunk: &Chunk) -> bool {
        let expected = self.requested.front().is_some_and(|request| {
            (request.file, request.offset, request.length) == (chunk.file, chunk.offset, chunk.data.len())
        });
        if expected {
            self.requested.pop_front();
            self.received += chunk.data.len() as u64;
        }
        expected
    }

    /// Whether everything is received.
    pub(super) fn is_complete(&self, manifest: &Manifest) -> bool {
        self.requested.is_empty() && self.next.0 == manifest.files.len()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gometa_codec::snapshot::{File, FileKind};
    use gometa_zab::Zxid;

    use super::*;

    fn manifest(lengths: &[u64]) -> Manifest {
        let file = |(number, length): (u64, &u64)| File { kind: FileKind::Table, number, length: *length };
        Manifest {
            id: 7,
            zxid: Zxid::new(1, 9),
            hash: 0,
            keys: 0,
            format: 1,
            level: 1,
            files: (1..).zip(lengths).map(file).collect(),
        }
    }

    fn chunk(request: &Request) -> Chunk {
        let data = Bytes::from(vec![0; request.length]);
        Chunk { id: request.id, file: request.file, offset: request.offset, data }
    }

    #[test]
    fn every_byte_is_requested_once_in_order_and_a_few_chunks_ahead() {
        let chunk_bytes = CHUNK_BYTES as u64;
        let manifest = manifest(&[1, chunk_bytes, chunk_bytes + 1, 3 * chunk_bytes, 5]);
        let mut progress = Progress::new();
        let mut pending: VecDeque<Request> = VecDeque::new();
        let mut at = (0, 0);
        while !progress.is_complete(&manifest) {
            pending.extend(progress.requests(&manifest));
            assert!(pending.len() <= CHUNKS_IN_FLIGHT);
            let request = pending.pop_front().expect("something is requested until all is there");
            assert_eq!((request.file, request.offset), at);
            let end = request.offset + request.length as u64;
            at = if end == manifest.files[request.file].length {
                (request.file + 1, 0)
            } else {
                (request.file, end)
            };
            assert!(progress.accept(&chunk(&request)));
            assert!(!progress.accept(&chunk(&request)), "a chunk counts once");
        }
        assert_eq!((progress.received(), at), (manifest.bytes(), (5, 0)));
    }

    #[test]
    fn a_restart_goes_on_where_the_first_missing_chunk_is() {
        let manifest = manifest(&[10 * CHUNK_BYTES as u64]);
        let mut progress = Progress::new();
        let requests = progress.requests(&manifest);
        assert!(progress.accept(&chunk(&requests[0])));
        progress.restart();
        assert!(!progress.accept(&chunk(&requests[1])), "what the old connection brings is not taken");
        assert_eq!(progress.requests(&manifest)[0], requests[1]);
    }

    #[test]
    fn a_chunk_of_another_place_or_length_is_not_taken() {
        let manifest = manifest(&[10 * CHUNK_BYTES as u64]);
        let mut progress = Progress::new();
        let requests = progress.requests(&manifest);
        assert!(!progress.accept(&chunk(&requests[1])));
        assert!(!progress.accept(&chunk(&Request { length: 1, ..requests[0] })));
        assert!(progress.accept(&chunk(&requests[0])));
    }
}
