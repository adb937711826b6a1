//! What reaches the store: commands, each after the other.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use gometa_store::{Purpose, Store, Table, recompute_checkpoint};
use gometa_testkit::store::{
    Shared, apply,
    history::{Change, ChangeKind, Comparison, Guarding, Number, Revision, Step},
    open,
    txn::{ActKind, Acting, Comparing, Fact, TxnStep},
};

/// Steps of one history.
const STEPS_MAX: usize = 60;

/// Histories of commands, batches and crashes, chosen by the bytes, against the model of the store's own tests.
///
/// Every outcome is the model's; nothing executes twice; batches, crashes and encodings make no difference.
pub fn store(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let mut comparison = Comparison::new();
    for _ in 0..STEPS_MAX {
        if u.is_empty() {
            break;
        }
        let Ok(step) = step(&mut u) else { break };
        comparison.step(&step);
    }
    comparison.settle();
}

fn step(u: &mut Unstructured<'_>) -> Result<Step> {
    Ok(match u.int_in_range(0..=31_u8)? {
        kind @ 0..=9 => {
            let (session, number, change) = (u.int_in_range(0..=7)?, number(u)?, change(u)?);
            let guard = if kind == 9 { Some(guard(u)?) } else { None };
            Step::Write { session, number, change, guard }
        }
        10 => Step::Evict { key: u.int_in_range(1..=4)? },
        11 => Step::Hold { key: u.int_in_range(1..=4)? },
        12 => Step::Release { hold: u.int_in_range(0..=7)? },
        13 => {
            let purpose = *u.choose(&[Purpose::Apply, Purpose::Get])?;
            Step::BeginRead { key: u.int_in_range(1..=4)?, purpose, early: u.arbitrary()? }
        }
        14 | 15 => Step::Answer { read: u.int_in_range(0..=7)? },
        16..=18 => Step::Create { nonce: u.int_in_range(0..=4)? },
        19 => {
            let count = u.int_in_range(0..=2_u8)?;
            let sessions = (0..count).map(|_| u.int_in_range(0..=7)).collect::<Result<_>>()?;
            Step::End { sessions }
        }
        20 => {
            let length = u.int_in_range(0..=40)?.min(u.len());
            Step::AnyBytes(u.bytes(length)?.to_vec())
        }
        21 if u.ratio(1_u8, 2_u8)? => Step::RaiseHorizon { back: u.int_in_range(0..=40)? },
        21 if u.ratio(1_u8, 2_u8)? => {
            let value = u.arbitrary::<Option<u32>>()?.map(|value| u64::from(value % 800_000));
            Step::SetSetting { session: u.int_in_range(0..=7)?, number: number(u)?, value }
        }
        21 => Step::Skip,
        22..=24 => Step::TakeBatch,
        25..=27 => Step::WriteTable,
        28 | 29 => Step::Report,
        30 => {
            let (session, number, txn) = (u.int_in_range(0..=7)?, number(u)?, txn(u)?);
            Step::Txn { session, number, txn, guard: None }
        }
        _ => Step::Crash,
    })
}

fn guard(u: &mut Unstructured<'_>) -> Result<Guarding> {
    let key = u.int_in_range(0..=4)?;
    let created = match u.int_in_range(0..=2_u8)? {
        0 => Revision::Any(u.int_in_range(0..=20)?),
        _ => Revision::Actual,
    };
    Ok(Guarding { key, created })
}

fn number(u: &mut Unstructured<'_>) -> Result<Number> {
    Ok(match u.int_in_range(0..=15_u8)? {
        0..=5 => Number::Next { lag: u.int_in_range(0..=20)? },
        6 | 7 => Number::Ahead { by: u.int_in_range(0..=8)?, lag: u.int_in_range(0..=20)? },
        8..=13 => Number::Retry { back: u.int_in_range(0..=8)?, lag: u.int_in_range(0..=20)? },
        _ => Number::Any { seq: u.int_in_range(0..=1_100)?, lowest: u.int_in_range(0..=20)? },
    })
}

fn change(u: &mut Unstructured<'_>) -> Result<Change> {
    let kind = *u.choose(&[ChangeKind::Add, ChangeKind::Set, ChangeKind::Cas, ChangeKind::Delete])?;
    let key = u.int_in_range(0..=4)?;
    let length = u.int_in_range(0..=12)?.min(u.len());
    let value = u.bytes(length)?.to_vec();
    let revision = match u.int_in_range(0..=3_u8)? {
        0 => None,
        1 => Some(Revision::Any(u.int_in_range(0..=20)?)),
        _ => Some(Revision::Actual),
    };
    Ok(Change { kind, key, value, revision })
}

fn txn(u: &mut Unstructured<'_>) -> Result<TxnStep> {
    let compare = |u: &mut Unstructured<'_>| {
        let fact = match u.int_in_range(0..=4_u8)? {
            0 => Fact::CreateRevision(u.int_in_range(0..=20)?),
            1 => Fact::ModRevision(Revision::Any(u.int_in_range(0..=20)?)),
            2 => Fact::Value(u.int_in_range(0..=2)?),
            3 => {
                let revision = u.arbitrary::<bool>()?.then_some(Revision::Actual);
                let revision = revision.map_or_else(|| u.int_in_range(0..=20).map(Revision::Any), Ok)?;
                Fact::Range { more: u64::from(u.ratio(1, 4)?), revision }
            }
            _ => Fact::ModRevision(Revision::Actual),
        };
        Ok(Comparing { key: u.int_in_range(0..=4)?, fact, relation: u.int_in_range(0..=3)? })
    };
    let act = |u: &mut Unstructured<'_>| {
        let kind = *u.choose(&[
            ActKind::Set,
            ActKind::Set,
            ActKind::Delete,
            ActKind::Get,
            ActKind::Range,
            ActKind::DeleteRange,
        ])?;
        Ok(Acting { kind, key: u.int_in_range(0..=4)?, value: u.int_in_range(0..=2)? })
    };
    Ok(TxnStep { when: several(u, compare)?, then: several(u, act)?, otherwise: several(u, act)? })
}

/// At most three.
fn several<T>(u: &mut Unstructured<'_>, one: impl Fn(&mut Unstructured<'_>) -> Result<T>) -> Result<Vec<T>> {
    (0..u.int_in_range(0..=3_u8)?).map(|_| one(u)).collect()
}

/// Commands of any bytes, each behind its length (one byte, and one that says what happens after it), applied by a
/// store that writes every batch at once and by one that is slow and crashes.
///
/// Nothing panics; both have the same outcomes and the same state; the hash is that of the records.
pub fn command(data: &[u8]) {
    let (prompt_table, slow_table) = (Shared::default(), Shared::default());
    let (mut prompt, mut slow) = (open(&prompt_table), open(&slow_table));
    let mut payloads: Vec<Bytes> = Vec::new();
    let mut u = Unstructured::new(data);
    while !u.is_empty() {
        let (Ok(length), Ok(after)) = (u.arbitrary::<u8>(), u.arbitrary::<u8>()) else { break };
        let length = usize::from(length).min(u.len());
        let Ok(payload) = u.bytes(length) else { break };
        let payload = Bytes::copy_from_slice(payload);
        payloads.push(payload.clone());
        let counter = payloads.len() as u64;
        let applied = apply(&mut prompt, counter, payload.clone());
        assert_eq!(apply(&mut slow, counter, payload.clone()), applied);
        write(&mut prompt, &prompt_table);
        match after % 8 {
            0 => write(&mut slow, &slow_table),
            1 => {
                slow = open(&slow_table);
                for (counter, payload) in
                    (1..).zip(&payloads).skip(usize::try_from(slow.applied()).unwrap_or(0))
                {
                    apply(&mut slow, counter, payload.clone());
                }
            }
            _ => {}
        }
        assert_eq!(slow.hash(), prompt.hash());
    }
    write(&mut slow, &slow_table);
    assert_eq!(prompt_table.checkpoint(), recompute_checkpoint(&prompt_table));
    assert!(slow_table.snapshot() == prompt_table.snapshot(), "the tables differ");
}

fn write(store: &mut Store<Shared>, table: &Shared) {
    if let Some(batch) = store.take_batch() {
        table.write(&batch);
        store.batch_written();
    }
}
