//! Opening a log.

use std::sync::atomic::Ordering;

use bytes::{BufMut, Bytes};
use gometa_marks::planted;
use gometa_zab::{Configuration, Founding, HardState, Zxid};

use crate::{
    error::{Damage, OpenError},
    file::{Directory, File, Usage},
    layout::{segment_name, segment_number},
    log::{Current, Log, Options, Parts, Staged},
    maintenance::{MAKING, NEXT, SPARE},
    mark::{self, MarkFile},
    walk::{self, Reading, Walk},
};

/// What a log said when it was opened. All of it is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The hard state.
    pub hard_state: HardState,
    /// The founding record.
    pub founding: Option<Founding>,
    /// The configuration in force at the base, as the log was created with.
    pub configuration: Bytes,
    /// The configurations of the entries, ascending by version.
    pub logged: Vec<Configuration>,
    /// The zxid below the first entry.
    pub base: Zxid,
    /// The last zxid of each epoch that has entries, ascending.
    pub boundaries: Vec<Zxid>,
    /// The counter through which entries had been released for applying, or were applied.
    pub released: u64,
    /// What was repaired, one line each.
    pub warnings: Vec<String>,
}

impl<D: Directory> Log<D> {
    /// Opens a log, verifies all of it, and begins a new segment. Everything recovered is durable when this returns.
    ///
    /// `applied` is the counter through which the state is durable: the log must reach from there to its end, and what is
    /// damaged below it is deleted. The caller checks what concerns the protocol (rule 10, a sealed genesis).
    pub fn open(directory: D, options: Options, applied: u64) -> Result<(Log<D>, Recovered), OpenError> {
        directory.sync().map_err(OpenError::io("sync", directory.describe("")))?;
        let names = directory.list().map_err(OpenError::io("list", directory.describe("")))?;
        let mark = open_mark(&directory)?;
        let reading = walk::read(&directory, &names, Usage::Segment, mark.known())?;
        let (walk, mut warnings) = usable(&directory, reading, applied)?;
        let spare = clean(&directory, &names, options.segment_bytes)?;
        // Oldest first.
        let live = walk.index.segments.front().map_or(0, |segment| segment.handle.number);
        let mut left: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
        left.retain(|number| *number < live);
        left.sort_unstable();
        for number in left {
            let name = segment_name(number);
            directory.remove(&name).map_err(OpenError::io("remove", directory.describe(&name)))?;
            warnings.push(format!("{} is removed: it is not needed", directory.describe(&name)));
        }
        let recovered = recovered(&walk, applied, warnings);
        Ok((begin(directory, options, walk, mark, spare)?, recovered))
    }
}

fn open_mark<D: Directory>(directory: &D) -> Result<MarkFile<D::File>, OpenError> {
    let file = directory.describe(mark::NAME);
    match MarkFile::open(directory, Usage::Mark) {
        Ok(Some(mark)) => Ok(mark),
        Ok(None) => Err(OpenError::Damaged(Damage { file, offset: 0, what: mark::NONE.to_owned() })),
        Err(error) => Err(OpenError::io("read", file)(error)),
    }
}

/// The log, if everything from the durable state to the end is there, and what of the rest is damaged.
fn usable<D: Directory>(
    directory: &D,
    reading: Reading<D::File>,
    applied: u64,
) -> Result<(Walk<D::File>, Vec<String>), OpenError> {
    let Reading { walk, below, last, .. } = reading;
    let walk = match (walk, last) {
        (Some(walk), None) => walk,
        (_, Some(damage)) => return Err(OpenError::Damaged(damage)),
        (None, None) => unreachable!("a log without a segment is damaged"),
    };
    let (base, end) = (walk.ends.base(), walk.ends.last());
    let here = |what| {
        let number = walk.index.segments.back().map_or(0, |segment| segment.handle.number);
        Damage { file: directory.describe(&segment_name(number)), offset: walk.position, what }
    };
    if end.counter < applied {
        let what = format!("the log ends at {end}, and {applied} is applied");
        return Err(OpenError::Damaged(here(what)));
    }
    if planted!(base.counter > applied, accepts_base_above_state => false) {
        let what = format!("the log begins above {base}, and only {applied} is applied");
        return Err(OpenError::Damaged(below.into_iter().next_back().unwrap_or(here(what))));
    }
    let warnings = below.iter().map(|damage| format!("{damage}; the log is complete without it"));
    Ok((walk, warnings.collect()))
}

pub(crate) fn recovered<F>(walk: &Walk<F>, applied: u64, warnings: Vec<String>) -> Recovered {
    Recovered {
        hard_state: walk.state.hard_state,
        founding: walk.state.founding.as_deref().cloned(),
        configuration: walk.state.configuration.clone(),
        logged: walk.configurations.clone(),
        base: walk.ends.base(),
        boundaries: walk.ends.ends().to_vec(),
        released: walk.state.released.max(applied),
        warnings,
    }
}

/// Removes what a crash left of a segment that was being made; returns the spare segment.
fn clean<D: Directory>(
    directory: &D,
    names: &[String],
    segment_bytes: u64,
) -> Result<Option<D::File>, OpenError> {
    let remove =
        |name: &str| directory.remove(name).map_err(OpenError::io("remove", directory.describe(name)));
    let exists = |name: &str| names.iter().any(|found| found == name);
    for name in [NEXT, MAKING] {
        if exists(name) {
            remove(name)?;
        }
    }
    if !exists(SPARE) {
        return Ok(None);
    }
    let file =
        directory.open(SPARE, Usage::Segment).map_err(OpenError::io("open", directory.describe(SPARE)))?;
    if file.size().map_err(OpenError::io("look at", directory.describe(SPARE)))? == segment_bytes {
        return Ok(Some(file));
    }
    remove(SPARE)?;
    Ok(None)
}

/// Begins the segment whose first batch repeats the last one found.
///
/// After a failed sync the page cache may hold what no later sync writes: syncing that again proves nothing, writing it
/// again does. Only the last batch can be such, since it was written when the one before it had been synced.
fn begin<D: Directory>(
    directory: D,
    options: Options,
    walk: Walk<D::File>,
    mark: MarkFile<D::File>,
    spare: Option<D::File>,
) -> Result<Log<D>, OpenError> {
    let Walk { mut index, ends, mut chain, mut state, mut position, salt, last, .. } = walk;
    let last = planted!(last, does_not_repeat_last_batch => None);
    let found = position;
    let mut staged = Staged::new(state.released);
    let mut durable = ends.last();
    if let Some(last) = last {
        staged.buffer.grow(last.body.len()).put_slice(&last.body);
        staged.offsets = index.remove_above(last.end.counter, last.offset);
        staged.hard_state = Some(state.hard_state);
        staged.founding = state.founding;
        (durable, chain, state, position) = (last.end, last.chain, last.state, last.offset.into());
    }
    let handle = index.segments.back().expect("a log has a segment").handle.clone();
    let size = handle.size.load(Ordering::Relaxed);
    let current = Some(Current { handle: handle.clone(), salt, position, size });
    let file = directory.describe(&segment_name(handle.number));
    let mut log = Log::assemble(Parts {
        directory: directory.clone(),
        options,
        index,
        spare,
        current,
        chain,
        ends,
        durable,
        state,
        staged,
        mark,
    });
    planted!(shortens_last_segment_early => drop(handle.file.set_size(position)));
    let mut begun = log.begin().map_err(OpenError::from);
    if matches!(begun, Err(OpenError::NoSpace { .. })) {
        // Nothing valid is behind the last batch.
        handle.file.set_size(found).map_err(OpenError::io("shorten", file.clone()))?;
        handle.file.sync_data().map_err(OpenError::io("sync", file.clone()))?;
        begun = log.begin().map_err(OpenError::from);
    }
    begun?;
    // From here on the new header says where this segment ends.
    handle.file.set_size(position).map_err(OpenError::io("shorten", file))?;
    handle.size.store(position, Ordering::Relaxed);
    log.raise_mark()?;
    log.sync_mark()?;
    Ok(log)
}
