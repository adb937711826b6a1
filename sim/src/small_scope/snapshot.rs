//! The table, of which only the checkpoint is simulated, and a snapshot as one message. In the servers it is many (see `ensemble/snapshots`).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gometa_codec::storage;
use gometa_store::{Batch, Checkpoint, MemoryTable};
use gometa_zab::Zxid;

use crate::disk::Snapshot;

/// The table's batch of everything through a counter.
pub(super) fn applied(counter: u64) -> Batch {
    let checkpoint = Checkpoint { applied: counter, ..Checkpoint::default() };
    Batch { checkpoint, ..Batch::default() }
}

/// The content of the message: the log's records, each behind its length. The rest follows from them.
pub(super) fn encode(snapshot: &Snapshot) -> Bytes {
    let mut bytes = BytesMut::new();
    let mut previous = Zxid::ZERO;
    for entry in &snapshot.log {
        let record = storage::encode_log_entry(previous, entry);
        bytes.put_u32(record.len() as u32);
        bytes.put(record);
        previous = entry.zxid;
    }
    bytes.freeze()
}

/// The snapshot in a message of [`encode`].
pub(super) fn decode(bytes: &Bytes) -> Snapshot {
    let mut bytes = bytes.clone();
    let mut log = Vec::new();
    while bytes.has_remaining() {
        let length = bytes.get_u32() as usize;
        let record = storage::decode_log_entry(log.len() as u64 + 1, bytes.split_to(length));
        log.push(record.expect("it was encoded here").entry);
    }
    let at = log.last().map_or(Zxid::ZERO, |entry| entry.zxid);
    let mut table = MemoryTable::default();
    table.write(&applied(at.counter));
    Snapshot { at, table, log }
}
