//! Damage is reported, or it concerns nothing that is needed.

use std::collections::BTreeMap;

use gometa_log::{Inspection, Log, OpenError, Options, Recovered, Start, medium::Medium};
use gometa_zab::{LogEntry, Zxid};

use crate::model::{Random, entry, founding, hard_state};

const SEGMENT: u64 = 4_096;

fn options(salt: u128) -> Options {
    Options { segment_bytes: SEGMENT, salt: salt << 64 }
}

pub(crate) fn create(medium: &Medium) -> Log<Medium> {
    let start = Start {
        base: Zxid::ZERO,
        hard_state: hard_state(0, 0),
        founding: Some(founding(1, true)),
        configuration: bytes::Bytes::new(),
        released: 0,
    };
    Log::create(medium.clone(), options(1), start).expect("the medium is sound")
}

/// A log of several segments with restarts and truncations, closed in an orderly way.
fn sample(seed: u64) -> Medium {
    let medium = Medium::new(512, seed);
    let mut random = Random(seed);
    let mut log = create(&medium);
    for start in 2..5 {
        for round in 0..6 {
            let mut next = log.last().counter + 1;
            let epoch = start as u64;
            let entries: Vec<LogEntry> = (0..1 + random.below(3))
                .map(|_| {
                    let length = random.below(300) as usize;
                    next += 1;
                    entry(epoch, next - 1, vec![random.next() as u8; length])
                })
                .collect();
            log.append(0, &entries).expect("the medium is sound");
            if round == 2 {
                log.hard_state(0, hard_state(epoch, epoch)).expect("the medium is sound");
            }
            log.commit().expect("the medium is sound");
            if round == 4 {
                let to = log.last().counter - 1;
                let zxid = Zxid::new(epoch, to);
                log.truncate(0, zxid).expect("the medium is sound");
            }
        }
        log.sync_mark().expect("the medium is sound");
        log.maintenance().run().expect("the medium is sound");
        drop(log);
        medium.kill();
        log = Log::open(medium.clone(), options(start), 0).expect("the medium is sound").0;
    }
    let next = log.last().counter + 1;
    log.append(0, &[entry(9, next, vec![7; 100])]).expect("the medium is sound");
    log.commit().expect("the medium is sound");
    log.sync_mark().expect("the medium is sound");
    drop(log);
    medium.kill();
    medium
}

/// The contents, above the counter that is applied.
#[derive(PartialEq, Debug)]
struct Contents {
    entries: Vec<LogEntry>,
    end: Zxid,
    recovered: Recovered,
}

fn contents(medium: &Medium, applied: u64) -> Result<Contents, OpenError> {
    let (log, mut recovered) = Log::open(medium.clone(), options(77), applied)?;
    assert!(recovered.base.counter <= applied);
    let entries = log.reader().read(applied + 1, u64::MAX, usize::MAX).expect("open has verified everything");
    recovered.warnings.clear();
    if applied > 0 {
        // Not the same if damaged segments are deleted.
        recovered.boundaries.clear();
        recovered.base = Zxid::ZERO;
    }
    Ok(Contents { entries, end: log.last(), recovered })
}

/// Opens what `change` makes of the medium: damage, or the same contents. Returns whether it is damage.
fn is_damage(medium: &Medium, applied: u64, expected: &Contents, change: impl FnOnce(&Medium)) -> bool {
    let changed = medium.copy();
    change(&changed);
    let inspected = Inspection::read(changed.copy()).expect("the medium is sound");
    match contents(&changed, applied) {
        Ok(found) => {
            assert_eq!(&found, expected);
            // Opened once, it can be opened again.
            changed.kill();
            assert_eq!(&contents(&changed, applied).expect("it was opened before"), expected);
            false
        }
        Err(OpenError::Damaged(damage)) => {
            // Where the state is, only who opens the log knows.
            let seen = inspected.damage.contains(&damage) || damage.what.ends_with("is applied");
            assert!(seen || applied > 0, "{damage}: {:?}", inspected.damage);
            true
        }
        Err(error) => panic!("{error}"),
    }
}

fn segments(medium: &Medium) -> BTreeMap<String, Vec<u8>> {
    medium.files().into_iter().filter(|(name, _)| name.len() == 16).collect()
}

#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_flipped_bit_in_any_byte_is_damage_or_irrelevant() {
    let medium = sample(3);
    let end = contents(&medium.copy(), 0).expect("the medium is sound").end.counter;
    for applied in [0, end / 2] {
        let expected = contents(&medium.copy(), applied).expect("the medium is sound");
        let mut damages = 0;
        for (name, bytes) in medium.files() {
            for offset in 0..bytes.len() {
                let bits = 1 << (offset % 8);
                damages += u32::from(is_damage(&medium, applied, &expected, |changed| {
                    assert!(changed.flip(&name, offset, bits));
                }));
            }
        }
        assert!(damages > 500, "{damages}");
    }
}

#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_byte_of_an_entry_is_always_damage() {
    let medium = sample(4);
    let expected = contents(&medium.copy(), 0).expect("the medium is sound");
    let live = Inspection::read(medium.copy()).expect("the medium is sound");
    for segment in live.segments {
        for offset in 0..segment.used {
            let flip = |changed: &Medium| assert!(changed.flip(&segment.file, offset as usize, 0x10));
            if !is_damage(&medium, 0, &expected, flip) {
                let bytes = &medium.files()[&segment.file];
                let padding = bytes[offset as usize..].iter().take_while(|byte| **byte == 0).count();
                let next = (offset + 1).next_multiple_of(512) - offset;
                assert!(padding as u64 >= next, "{} {offset}", segment.file);
            }
        }
    }
}

#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_cleared_block_is_damage_or_irrelevant() {
    for seed in 0..10 {
        let medium = sample(seed);
        let expected = contents(&medium.copy(), 0).expect("the medium is sound");
        for (name, bytes) in medium.files() {
            for at in (0..bytes.len()).step_by(512) {
                is_damage(&medium, 0, &expected, |changed| {
                    let mut bytes = bytes.clone();
                    let end = (at + 512).min(bytes.len());
                    bytes[at..end].fill(0);
                    changed.put(&name, bytes);
                });
            }
        }
    }
}

#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_missing_cut_or_doubled_segment_is_damage_or_irrelevant() {
    use gometa_log::Directory;
    for seed in 0..10 {
        let medium = sample(seed);
        let expected = contents(&medium.copy(), 0).expect("the medium is sound");
        let files = segments(&medium);
        for (name, bytes) in &files {
            let missing =
                is_damage(&medium, 0, &expected, |changed| changed.remove(name).expect("it exists"));
            assert!(missing, "{name}");
            for length in (0..bytes.len()).step_by(100) {
                is_damage(&medium, 0, &expected, |changed| changed.put(name, bytes[..length].to_vec()));
            }
            for other in files.keys().filter(|other| *other != name) {
                assert!(is_damage(&medium, 0, &expected, |changed| changed.put(other, bytes.clone())));
            }
        }
    }
}

/// Puts back the blocks of each sync, one sync after the other: the disk has lost what it reported as synced.
#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_lost_synced_batch_is_damage_when_the_mark_knows_it() {
    let medium = Medium::new(512, 1);
    let mut log = create(&medium);
    let mut before = segments(&medium);
    for counter in 1..60 {
        log.append(0, &[entry(1, counter, vec![counter as u8; 200])]).expect("the medium is sound");
        log.commit().expect("the medium is sound");
        let after = segments(&medium);
        for (name, bytes) in &before {
            if after[name] != *bytes {
                let changed = medium.copy();
                changed.put(name, bytes.clone());
                changed.kill();
                let opened = Log::open(changed, options(2), 0);
                assert!(matches!(opened, Err(OpenError::Damaged(_))), "{counter}");
            }
        }
        before = after;
    }
}

/// A batch that is synced and then damaged is found by the batch behind it, even if the mark is old.
#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_damaged_batch_with_a_later_one_behind_it_is_no_torn_tail() {
    let medium = Medium::new(512, 1);
    let mut log = create(&medium);
    let old_mark = medium.files()["SYNCED"].clone();
    for counter in 1..5 {
        log.append(0, &[entry(1, counter, vec![counter as u8; 50])]).expect("the medium is sound");
        log.commit().expect("the medium is sound");
    }
    medium.put("SYNCED", old_mark);
    medium.kill();
    let (name, bytes) = segments(&medium).pop_first().expect("there is a segment");
    for counter in 1..5_usize {
        let changed = medium.copy();
        let marked = bytes.windows(50).position(|window| window == [counter as u8; 50]);
        changed.flip(&name, marked.expect("the entry is there"), 1);
        let opened = Log::open(changed, options(2), 0);
        match opened {
            Err(OpenError::Damaged(_)) => assert!(counter < 4),
            // The mark does not know the last batch: it is taken for a write that was cut off.
            Ok((log, _)) => assert_eq!((counter, log.last()), (4, Zxid::new(1, 3))),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A segment's first batch is synced before the segment has its number.
#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_damaged_first_batch_is_no_torn_tail() {
    let medium = Medium::new(512, 1);
    let mut log = create(&medium);
    let old_mark = medium.files()["SYNCED"].clone();
    log.append(0, &[entry(1, 1, vec![0xab; 50])]).expect("the medium is sound");
    log.commit().expect("the medium is sound");
    drop(log);
    medium.kill();
    drop(Log::open(medium.clone(), options(2), 0).expect("the medium is sound"));
    medium.put("SYNCED", old_mark);
    medium.kill();
    let (name, bytes) = segments(&medium).pop_last().expect("there is a segment");
    let at = bytes.windows(50).position(|window| window == [0xab; 50]).expect("the batch is repeated");
    medium.flip(&name, at, 1);
    let opened = Log::open(medium, options(3), 0);
    assert!(matches!(opened, Err(OpenError::Damaged(_))));
}

#[cfg_attr(not(gometa_instrumented), test)]
pub(crate) fn a_log_that_does_not_meet_the_state_is_damage() {
    let medium = sample(5);
    let end = contents(&medium.copy(), 0).expect("the medium is sound").end.counter;
    assert!(matches!(contents(&medium.copy(), end + 1), Err(OpenError::Damaged(_))));
    assert!(contents(&medium.copy(), end).is_ok());
    // All segments but the last: its base is above the state.
    let last = segments(&medium).pop_last().expect("there is a segment");
    let only = Medium::new(512, 1);
    only.put(&last.0, last.1);
    only.put("SYNCED", medium.files()["SYNCED"].clone());
    assert!(matches!(contents(&only.copy(), 0), Err(OpenError::Damaged(_))));
    assert!(contents(&only, end).is_ok());
}
