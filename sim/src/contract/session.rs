//! A storage taken through a plan, with the model beside it.

use gometa_zab::Token;

use super::{Broken, Model, Promise, Report, Step, Storage, Write, records_of};
use crate::random::{Random, Stream};

/// How a storage came through a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// All steps are done; writes may be in flight.
    Done,
    /// The storage failed, for this reason.
    Failed(String),
}

/// Told as it happens, for those who must know it from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The next write of the plan; reported before it is submitted.
    Submit,
    /// This was reported.
    Persisted(Token),
    /// This was reported.
    Stored(u64),
}

/// Takes the storage through these steps.
pub fn run<S: Storage>(
    storage: &mut S,
    model: &mut Model,
    steps: &[Step],
    tell: &mut dyn FnMut(Event),
) -> Result<Ended, Broken> {
    for step in steps {
        match step {
            Step::Write(write) => {
                let number = model.submit(write);
                tell(Event::Submit);
                match write {
                    Write::Log(write) => {
                        storage.submit(Token(number), write.clone(), model.issued().released)
                    }
                    Write::Table(batch) => storage.store(number, batch.clone()),
                }
            }
            Step::Settle(count) => {
                while model.reported() < *count {
                    if let Some(ended) = take_reports(storage, model, true, tell)? {
                        return Ok(ended);
                    }
                }
            }
            Step::Inspect(seed) => {
                if let Some(ended) = hear_all(storage, model, tell)? {
                    return Ok(ended);
                }
                inspect(storage, model, &mut Random::new(*seed, Stream::Workload))?;
            }
        }
    }
    Ok(Ended::Done)
}

/// Takes in what was reported, and does not wait: before a verdict, and until nothing more can come.
pub fn drain<S: Storage>(storage: &mut S, model: &mut Model) -> Result<Ended, Broken> {
    Ok(hear_all(storage, model, &mut |_| {})?.unwrap_or(Ended::Done))
}

fn hear_all<S: Storage>(
    storage: &mut S,
    model: &mut Model,
    tell: &mut dyn FnMut(Event),
) -> Result<Option<Ended>, Broken> {
    loop {
        let before = model.unreported();
        let ended = take_reports(storage, model, false, tell)?;
        if ended.is_some() || model.unreported() == before {
            return Ok(ended);
        }
    }
}

fn take_reports<S: Storage>(
    storage: &mut S,
    model: &mut Model,
    wait: bool,
    tell: &mut dyn FnMut(Event),
) -> Result<Option<Ended>, Broken> {
    match storage.report(wait) {
        Report::Persisted(token) => {
            model.report(token)?;
            tell(Event::Persisted(token));
        }
        Report::Stored(number) => {
            model.report_stored(number)?;
            tell(Event::Stored(number));
        }
        Report::Failed(reason) => return Ok(Some(Ended::Failed(reason))),
        Report::Nothing if wait => {
            let (reported, submitted) = (model.reported(), model.submitted());
            let what = format!("nothing follows the report of {reported}, and {submitted} were submitted");
            return Err(Broken::new(Promise::Opens, what));
        }
        Report::Nothing => {}
    }
    Ok(None)
}

/// What must be readable is.
fn inspect<S: Storage>(storage: &mut S, model: &Model, random: &mut Random) -> Result<(), Broken> {
    let unreadable = |what: String| Err(Broken::new(Promise::Readable, what));
    let shown = storage.table().checkpoint();
    if !model.may_show(&shown) {
        return unreadable(format!("the table shows {shown:?} after the report of {}", model.reported()));
    }
    let issued = model.issued();
    if model.reported() == model.submitted() {
        if records_of(storage.table()) != issued.records {
            return unreadable("the table's records are not those that were written".to_owned());
        }
        for ((space, key), value) in &issued.records {
            if storage.table().get(*space, key).as_ref() != Some(value) {
                return unreadable(format!("the record of {key:?} is not the one in the scan"));
            }
        }
        if storage.table().get(gometa_store::Space::Data, b"no such key").is_some() {
            return unreadable("a key that was never written is there".to_owned());
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
