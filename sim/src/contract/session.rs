//! The execution of a plan on a storage and on the model.

use bytes::Bytes;
use gometa_store::{Lookup, Space};
use gometa_zab::Token;

use super::{Invariant, Model, Report, Step, Storage, Violation, Write, records_of};
use crate::random::{Random, Stream};

/// The result of executing a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// All steps are complete; writes may be in flight.
    Done,
    /// The storage failed, for this reason.
    Failed(String),
}

/// Progress of the execution, for a caller in another process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A write of the plan that is submitted next.
    Submit,
    /// All writes to the log through this token were reported.
    Persisted(Token),
    /// All batches through this number were reported.
    Stored(u64),
}

/// Executes the steps.
pub fn run<S: Storage>(
    storage: &mut S,
    model: &mut Model,
    steps: &[Step],
    on_event: &mut dyn FnMut(Event),
) -> Result<Ended, Violation> {
    for step in steps {
        match step {
            Step::Write(write) => {
                let number = model.submit(write);
                on_event(Event::Submit);
                match write {
                    Write::Log(write) => {
                        storage.submit(Token(number), write.clone(), model.issued().released)
                    }
                    Write::Table(batch) => storage.store(number, batch.clone()),
                }
            }
            Step::Settle(count) => {
                while model.reported() < *count {
                    if let Some(ended) = take_reports(storage, model, true, on_event)? {
                        return Ok(ended);
                    }
                }
            }
            Step::Inspect(seed) => {
                if let Some(ended) = take_all_reports(storage, model, on_event)? {
                    return Ok(ended);
                }
                inspect(storage, model, &mut Random::new(*seed, Stream::Workload))?;
            }
        }
    }
    Ok(Ended::Done)
}

/// Records all reports that are available, without waiting, before the recovered state is checked.
pub fn drain<S: Storage>(storage: &mut S, model: &mut Model) -> Result<Ended, Violation> {
    Ok(take_all_reports(storage, model, &mut |_| {})?.unwrap_or(Ended::Done))
}

fn take_all_reports<S: Storage>(
    storage: &mut S,
    model: &mut Model,
    on_event: &mut dyn FnMut(Event),
) -> Result<Option<Ended>, Violation> {
    loop {
        let before = model.unreported();
        let ended = take_reports(storage, model, false, on_event)?;
        if ended.is_some() || model.unreported() == before {
            return Ok(ended);
        }
    }
}

fn take_reports<S: Storage>(
    storage: &mut S,
    model: &mut Model,
    wait: bool,
    on_event: &mut dyn FnMut(Event),
) -> Result<Option<Ended>, Violation> {
    match storage.report(wait) {
        Report::Persisted(token) => {
            model.report(token)?;
            on_event(Event::Persisted(token));
        }
        Report::Stored(number) => {
            model.report_stored(number)?;
            on_event(Event::Stored(number));
        }
        Report::Failed(reason) => return Ok(Some(Ended::Failed(reason))),
        Report::Nothing if wait => {
            let (reported, submitted) = (model.reported(), model.submitted());
            let what = format!("nothing follows the report of {reported}, and {submitted} were submitted");
            return Err(Violation::new(Invariant::Opens, what));
        }
        Report::Nothing => {}
    }
    Ok(None)
}

/// Checks that everything that must be readable is.
fn inspect<S: Storage>(storage: &mut S, model: &Model, random: &mut Random) -> Result<(), Violation> {
    let unreadable = |what: String| Err(Violation::new(Invariant::Readable, what));
    let shown = storage.table().checkpoint();
    if !model.may_show(&shown) {
        return unreadable(format!("the table shows {shown:?} after the report of {}", model.reported()));
    }
    let issued = model.issued();
    if model.reported() == model.submitted() {
        if records_of(storage.table()) != issued.records {
            return unreadable("the table's records are not those that were written".to_owned());
        }
        let absent = Bytes::from_static(b"no such key");
        let data = |((space, key), value): (&(Space, Bytes), &Bytes)| {
            (*space == Space::Data).then(|| (key.clone(), Some(value.clone())))
        };
        let mut expected: Vec<(Bytes, Option<Bytes>)> = issued.records.iter().filter_map(data).collect();
        expected.push((absent, None));
        for (key, value) in &expected {
            let found = storage.table().lookup(Space::Data, key);
            if found != Lookup::NotInMemory && found != value.clone().into() {
                return unreadable(format!("the record of {key:?} in memory is not the one in the scan"));
            }
        }
        let mut fetched = storage.fetch(expected.iter().map(|(key, _)| key.clone()).collect());
        fetched.sort();
        expected.sort();
        if fetched != expected {
            return unreadable("a record that is read is not the one in the scan".to_owned());
        }
    }
    let readable = model.readable();
    if readable == 0 {
        return Ok(());
    }
    let from = random.between(1, readable);
    let to = random.between(from, readable);
    let bytes_max = random.pick(&[0, 100, 500, 3_000, usize::MAX]);
    let mut size = 0_usize;
    let mut expected = &issued.log[from as usize - 1..to as usize];
    let fitting = expected.iter().take_while(|entry| {
        size += entry.size();
        size <= bytes_max
    });
    expected = &expected[..fitting.count().max(1)];
    let found = storage.read(from, to, bytes_max);
    if found != expected {
        let zxids: Vec<_> = found.iter().map(|entry| entry.zxid).collect();
        return unreadable(format!("{from} to {to} within {bytes_max} bytes gave {zxids:?}"));
    }
    Ok(())
}
