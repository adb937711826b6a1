//! The bytes of a segment do not change by accident.

use std::{fmt::Write, path::Path};

use bytes::Bytes;
use gometa_log::{Inspection, Log, Options, Start, medium::Medium};
use gometa_zab::Zxid;

use crate::model::{entry, founding, hard_state};

/// The segment of the golden file: a log above (4, 9), two entries and a hard state in one batch, one entry in another.
fn segment() -> Vec<u8> {
    let medium = Medium::new(512, 0);
    let start = Start {
        base: Zxid::new(4, 9),
        hard_state: hard_state(4, 4),
        founding: Some(founding(1, true)),
        configuration: Bytes::from_static(b"configuration"),
        released: 9,
    };
    let salt = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f00;
    let options = Options { segment_bytes: 4_096, salt };
    let mut log = Log::create(medium.clone(), options, start).expect("the medium is sound");
    log.append(9, &[entry(4, 10, b"first".to_vec()), entry(5, 11, b"second".to_vec())]).expect("they follow");
    log.hard_state(9, hard_state(5, 5)).expect("the medium is sound");
    log.commit().expect("the medium is sound");
    log.append(11, &[entry(5, 12, b"third".to_vec())]).expect("it follows");
    log.commit().expect("the medium is sound");
    medium.files().remove("0000000000000001").expect("there is a segment")
}

fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, line) in bytes.chunks(16).enumerate() {
        if line.iter().all(|byte| *byte == 0) {
            continue;
        }
        let _ = write!(text, "{:04x} ", at * 16);
        for byte in line {
            let _ = write!(text, " {byte:02x}");
        }
        let plain = line.iter().map(|byte| if (32..127).contains(byte) { char::from(*byte) } else { '.' });
        let _ = writeln!(text, "  {}", plain.collect::<String>());
    }
    text
}

/// `UPDATE_GOLDENFILES=1` rewrites the file. A change of it is a new format.
#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_segment_has_the_documented_bytes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/segment.txt");
    let found = dump(&segment());
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(&path, &found).expect("the file can be written");
    }
    assert_eq!(found, std::fs::read_to_string(&path).expect("the file exists"));
}

/// What was written with this layout stays readable.
#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn the_documented_bytes_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/segment.txt");
    let text = std::fs::read_to_string(path).expect("the file exists");
    let mut bytes = vec![0; 4_096];
    for line in text.lines() {
        let at = usize::from_str_radix(&line[..4], 16).expect("an offset");
        for (n, byte) in line[5..53].split_whitespace().enumerate() {
            bytes[at + n] = u8::from_str_radix(byte, 16).expect("a byte");
        }
    }
    let medium = Medium::new(512, 0);
    medium.put("0000000000000001", bytes);
    let found = Inspection::read(medium).expect("the medium is sound");
    let recovered = found.recovered.as_ref().expect("the segment is whole");
    assert_eq!(recovered.base, Zxid::new(4, 9));
    assert_eq!(recovered.boundaries, [Zxid::new(4, 10), Zxid::new(5, 12)]);
    assert_eq!((recovered.hard_state, recovered.released), (hard_state(5, 5), 11));
    assert_eq!(recovered.founding, Some(founding(1, true)));
    assert_eq!(&recovered.configuration[..], b"configuration");
    let mut payloads = Vec::new();
    found
        .entries(0, u64::MAX, |entry| {
            payloads.push(entry.payload);
            true
        })
        .expect("the medium is sound");
    assert_eq!(payloads, [&b"first"[..], b"second", b"third"]);
    // There is no mark.
    assert_eq!((found.damage.len(), found.synced), (1, None));
}
