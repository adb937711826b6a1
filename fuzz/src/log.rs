//! The files of a node's log.

use bytes::Bytes;
use gometa_log::{Directory, Inspection, Log, OpenError, Options, Recovered, Start, medium::Medium};
use gometa_zab::{Epoch, HardState, Kind, LogEntry, NodeId, Zxid};

const FIRST: &str = "0000000000000001";
const BLOCK: usize = 512;

fn options(salt: u128) -> Options {
    Options { segment_bytes: 4_096, salt }
}

fn start() -> Start {
    Start {
        base: Zxid::ZERO,
        hard_state: HardState::default(),
        founding: None,
        configuration: Bytes::new(),
        released: 0,
    }
}

/// A directory with a log. The first byte says what the rest is:
///
/// - the first segment as it is;
/// - the bodies of batches, whose checksums and numbers are right, as are those of the log entries in them;
/// - operations on a log, then changes of its files.
///
/// A log that opens gives all of its entries and opens again with the same contents. What an inspection finds no fault with
/// opens.
pub fn segments(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    let medium = match kind % 3 {
        0 => {
            let medium = empty();
            medium.put(FIRST, rest.to_vec());
            medium
        }
        1 => {
            let medium = empty();
            let mut segment = medium.files().remove(FIRST).expect("a log has a segment");
            segment.truncate(BLOCK);
            append_batches(&mut segment, rest);
            medium.put(FIRST, segment);
            medium
        }
        _ => changed(rest),
    };
    check(&medium);
}

/// A log without entries. Its mark knows nothing.
fn empty() -> Medium {
    let medium = Medium::new(BLOCK, 0);
    Log::create(medium.clone(), options(0), start()).expect("the medium is sound");
    medium.kill();
    medium
}

fn check(medium: &Medium) {
    let inspected = Inspection::read(medium.copy());
    let applied = match &inspected {
        Ok(Inspection { recovered: Some(recovered), .. }) => recovered.base.counter,
        _ => 0,
    };
    match Log::open(medium.clone(), options(1 << 64), applied) {
        Ok((log, recovered)) => {
            let (first, entries) = contents(&log, recovered);
            drop(log);
            medium.kill();
            let again = Log::open(medium.clone(), options(2 << 64), applied);
            let (log, recovered) = again.expect("what opens, opens again");
            let (second, again) = contents(&log, recovered);
            assert_eq!((first, entries), (second, again));
        }
        Err(OpenError::Damaged(_) | OpenError::Newer { .. }) => {
            if let Ok(Inspection { damage, recovered: Some(_), .. }) = inspected {
                assert!(!damage.is_empty(), "an inspection finds what opening finds");
            }
        }
        Err(error) => panic!("{error}"),
    }
}

fn contents(log: &Log<Medium>, mut recovered: Recovered) -> (Recovered, Vec<LogEntry>) {
    let (base, end) = (recovered.base, log.last());
    assert_eq!(recovered.boundaries.last().copied().unwrap_or(base), end);
    let entries = log.reader().read(base.counter + 1, u64::MAX, usize::MAX).expect("opening has verified it");
    assert_eq!(entries.len() as u64, end.counter - base.counter);
    recovered.warnings.clear();
    (recovered, entries)
}

fn checksum(context: &[u8], bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(context), bytes).to_be_bytes()
}

/// Appends batches with the right checksums. Each record is a byte for the kind, one for the length, and the contents; a
/// kind of 255 ends a batch. A log entry's record gets its envelope.
fn append_batches(segment: &mut Vec<u8>, mut rest: &[u8]) {
    let salt = 1_u128.to_be_bytes();
    let (mut previous, mut number, mut counter) = ([0; 4], 0_u64, 0_u64);
    while !rest.is_empty() && number < 50 {
        let mut body = Vec::new();
        while let [kind, length, after @ ..] = rest {
            let record;
            (record, rest) = after.split_at(usize::from(*length).min(after.len()));
            if *kind == 255 {
                break;
            }
            let mut bytes = Vec::new();
            if *kind == 1 {
                counter += 1;
                bytes.push(1);
                bytes.extend(checksum(&counter.to_be_bytes(), record));
            }
            bytes.extend(record);
            body.push(*kind);
            body.extend((bytes.len() as u32).to_be_bytes());
            body.extend(bytes);
        }
        if rest.len() < 2 {
            rest = &[];
        }
        number += 1;
        let mut head = checksum(b"", &body).to_vec();
        head.extend((body.len() as u32).to_be_bytes());
        head.extend(previous);
        head.extend(number.to_be_bytes());
        head.extend(0_u64.to_be_bytes());
        previous = checksum(&salt, &head);
        segment.extend(previous);
        segment.extend(head);
        segment.extend(body);
        segment.resize(segment.len().next_multiple_of(BLOCK), 0);
    }
}

/// Operations on a log, two bytes each, up to a zero; then changes of its files, four bytes each.
fn changed(data: &[u8]) -> Medium {
    let medium = empty();
    let mut log = Log::open(medium.clone(), options(3 << 64), 0).expect("the medium is sound").0;
    let mut rest = data;
    let mut starts = 4;
    let mut epoch = 1;
    while let [operation, value, after @ ..] = rest {
        if *operation == 0 {
            rest = &rest[1..];
            break;
        }
        rest = after;
        let (last, value) = (log.last(), u64::from(*value));
        let done = match operation % 5 {
            0 => {
                epoch += 1;
                let (epoch, leader) = (Epoch(epoch), Some(NodeId(1)));
                let state =
                    HardState { accepted_epoch: epoch, accepted_leader: leader, current_epoch: Epoch(0) };
                log.hard_state(0, state).and_then(|()| log.commit())
            }
            1 => {
                let counter = last.counter.saturating_sub(value % 4);
                let end = log.reader().read(counter, counter, 0).expect("the medium is sound").pop();
                log.truncate(0, end.map_or(last, |entry| entry.zxid))
            }
            2 => {
                drop(log);
                medium.kill();
                starts += 1;
                log = Log::open(medium.clone(), options(starts << 64), 0).expect("the medium is sound").0;
                Ok(())
            }
            _ => {
                let payload = vec![*operation; value as usize * 4].into();
                let zxid = Zxid::new(epoch, last.counter + 1);
                let entry = LogEntry { zxid, kind: Kind::Command, level: 1, payload };
                log.append(0, &[entry]).and_then(|()| log.commit())
            }
        };
        done.and_then(|()| log.maintenance().run()).expect("the medium is sound");
    }
    drop(log);
    medium.kill();
    let names: Vec<String> = medium.files().into_keys().collect();
    for change in rest.chunks_exact(4) {
        let name = &names[usize::from(change[0] >> 2) % names.len()];
        let at = usize::from(u16::from_be_bytes([change[1], change[2]]));
        let Some(mut bytes) = medium.files().remove(name) else { continue };
        match change[0] % 4 {
            0 => drop(medium.flip(name, at, change[3])),
            1 => {
                bytes.truncate(at);
                medium.put(name, bytes);
            }
            2 => medium.remove(name).expect("it exists"),
            _ => medium.put(&names[usize::from(change[3]) % names.len()], bytes),
        }
    }
    medium
}
