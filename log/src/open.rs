//! Opening a log.

use std::sync::atomic::Ordering;

use bytes::{BufMut, Bytes};
use gometa_codec::storage;
use gometa_zab::{Founding, HardState, Zxid};

use crate::{
    ends::Ends,
    error::{Damage, OpenError},
    file::{Directory, File, Usage},
    index::{Handle, Index, Segment},
    layout::{
        Chain, ENTRY, FOUNDING, HARD_STATE, HEAD, Head, Header, HeaderError, State, record, segment_name,
        segment_number,
    },
    log::{Current, Log, Options, Parts, Staged},
    maintenance::{MAKING, NEXT, SPARE},
    mark::{self, Mark, MarkFile},
    scan::{self, Found, Window},
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
    /// The zxid below the first entry.
    pub base: Zxid,
    /// The last zxid of each epoch that has entries, ascending.
    pub boundaries: Vec<Zxid>,
    /// The counter through which entries had been released for applying, or were applied.
    pub released: u64,
    /// What was repaired, one line each.
    pub warnings: Vec<String>,
}

/// Why a segment cannot be read through.
enum Problem {
    Damaged(Damage),
    Fatal(OpenError),
}

impl From<OpenError> for Problem {
    fn from(error: OpenError) -> Problem {
        Problem::Fatal(error)
    }
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
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
        numbers.sort_unstable();
        let run = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]).map_or(0, |at| at + 1);
        let mut walk = Walk::read(&directory, &numbers[run..], run > 0, mark.known())?;
        walk.check(&directory, applied)?;
        let spare = clean(&directory, &names, options.segment_bytes)?;
        let live = walk.index.segments.front().map_or(0, |segment| segment.handle.number);
        for number in numbers.iter().filter(|number| **number < live) {
            let name = segment_name(*number);
            directory.remove(&name).map_err(OpenError::io("remove", directory.describe(&name)))?;
            walk.warnings.push(format!("{} was left over and is removed", directory.describe(&name)));
        }
        begin(directory, options, walk, mark, spare, applied)
    }
}

fn open_mark<D: Directory>(directory: &D) -> Result<MarkFile<D::File>, OpenError> {
    let file = directory.describe(mark::NAME);
    match MarkFile::open(directory, Usage::Mark) {
        Ok(Some(mark)) => Ok(mark),
        Ok(None) => {
            Err(OpenError::Damaged(Damage { file, offset: 0, what: "there is no valid mark".to_owned() }))
        }
        Err(error) => Err(OpenError::io("read", file)(error)),
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
    applied: u64,
) -> Result<(Log<D>, Recovered), OpenError> {
    let Walk { mut index, ends, mut chain, mut state, mut position, salt, last, warnings, .. } = walk;
    let found = position;
    let recovered = Recovered {
        hard_state: state.hard_state,
        founding: state.founding.as_deref().cloned(),
        configuration: state.configuration.clone(),
        base: ends.base(),
        boundaries: ends.ends().to_vec(),
        released: state.released.max(applied),
        warnings,
    };
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
    Ok((log, recovered))
}

/// The log as it was read so far.
struct Walk<F> {
    index: Index<F>,
    ends: Ends,
    chain: Chain,
    state: State,
    /// The end of the last batch in the last segment.
    position: u64,
    /// That of the last segment.
    salt: u128,
    /// The last batch, if it is in the last segment.
    last: Option<Last>,
    warnings: Vec<String>,
    /// What is damaged below; deleted if it is not needed.
    damage: Option<Damage>,
}

/// The last batch, and the log before it.
struct Last {
    offset: u32,
    body: Bytes,
    chain: Chain,
    state: State,
    end: Zxid,
}

/// A segment with a valid header.
struct Opened<F> {
    file: F,
    header: Header,
    first_batch: u64,
    size: u64,
}

impl<F: File> Walk<F> {
    /// Reads the segments with these numbers, which are consecutive.
    fn read<D: Directory<File = F>>(
        directory: &D,
        numbers: &[u64],
        missing: bool,
        mark: Mark,
    ) -> Result<Walk<F>, OpenError> {
        let (opened, mut damage) = open_segments(directory, numbers)?;
        if missing && damage.is_none() {
            let what = "the segment before it is missing".to_owned();
            damage = Some(Damage { file: directory.describe(&segment_name(numbers[0])), offset: 0, what });
        }
        let mut walk: Option<Walk<F>> = None;
        for (at, segment) in opened.iter().enumerate() {
            let next = opened.get(at + 1).map(|next| &next.header);
            let name = directory.describe(&segment_name(segment.header.number));
            let mut entered = match walk.take() {
                Some(mut before) => match before.enter(segment) {
                    Ok(()) => before,
                    // What is read from here on does not depend on what is below.
                    Err(what) => {
                        damage = Some(Damage { file: name.clone(), offset: 0, what });
                        Walk::begin(segment)
                    }
                },
                None => Walk::begin(segment),
            };
            match entered.segment(segment, &name, next, mark) {
                Ok(()) => walk = Some(entered),
                Err(Problem::Damaged(found)) if next.is_some() => damage = Some(found),
                Err(Problem::Damaged(found)) => return Err(OpenError::Damaged(found)),
                Err(Problem::Fatal(error)) => return Err(error),
            }
        }
        let mut walk = walk.expect("the last segment was read");
        walk.damage = damage;
        Ok(walk)
    }

    /// A log that begins with this segment.
    fn begin(segment: &Opened<F>) -> Walk<F> {
        let header = &segment.header;
        let mut walk = Walk {
            index: Index::new(header.end.counter),
            ends: Ends::new(header.end),
            chain: header.chain,
            state: header.state.clone(),
            position: header.before,
            salt: 0,
            last: None,
            warnings: Vec::new(),
            damage: None,
        };
        walk.enter(segment).expect("a segment continues what its header says");
        walk
    }

    /// Goes on to the next segment, or says how its header contradicts the log before it.
    fn enter(&mut self, segment: &Opened<F>) -> Result<(), String> {
        let header = &segment.header;
        if header.chain != self.chain || header.before != self.position || header.state != self.state {
            return Err("the header does not continue the segment before".to_owned());
        }
        let (base, end) = (self.ends.base(), self.ends.last());
        if header.end.counter < base.counter {
            // An earlier deletion was undone, that of the segment between them was not.
            self.ends = Ends::new(header.end);
            self.index.base = header.end.counter;
        } else if self.ends.contains(header.end) {
            self.ends.truncate(header.end);
        } else {
            return Err(format!("the header names {}, and the log ends at {end}", header.end));
        }
        self.index.truncate(header.end.counter);
        let handle = Handle::new(header.number, segment.file.clone(), segment.size);
        self.index.segments.push_back(Segment::new(handle, header.end.counter));
        (self.position, self.salt, self.last) = (segment.first_batch, header.salt, None);
        Ok(())
    }

    /// Reads the batches of a segment: through the place that the next header names, or to the end of the log.
    fn segment(
        &mut self,
        segment: &Opened<F>,
        name: &str,
        next: Option<&Header>,
        mark: Mark,
    ) -> Result<(), Problem> {
        let header = &segment.header;
        let io = |error| Problem::Fatal(OpenError::io("read", name.to_owned())(error));
        let damaged = |offset, what| Problem::Damaged(Damage { file: name.to_owned(), offset, what });
        let mut window = Window::new(segment.file.clone()).map_err(io)?;
        loop {
            if next.is_some_and(|next| self.position >= next.before) {
                return Ok(());
            }
            let (position, number) = (self.position, self.chain.number + 1);
            let found = window.batch(header.salt, position).map_err(io)?;
            match found {
                Found::Batch(head, body) if head.number == number && head.previous == self.chain.checksum => {
                    self.batch(header, &head, &body).map_err(|fault| match fault {
                        Fault::Wrong(what) => damaged(position, format!("batch {number}: {what}")),
                        Fault::Newer(what) => OpenError::Newer { file: name.to_owned(), what }.into(),
                    })?;
                }
                _ if next.is_some() => {
                    return Err(damaged(position, format!("batch {number} is missing or damaged")));
                }
                _ => {
                    if header.begins_with_batch && self.last.is_none() {
                        return Err(damaged(position, format!("batch {number}, the first, is damaged")));
                    }
                    if let Some(later) = window.find_batch(header, position, number + 1).map_err(io)? {
                        let what = format!("batch {number} is damaged: a later one is at offset {later}");
                        return Err(damaged(position, what));
                    }
                    if mark.batch >= number {
                        return Err(damaged(position, format!("batch {number} is lost: it was synced")));
                    }
                    if mark.segment > header.number {
                        let what = format!("segment {} is lost: it was synced", mark.segment);
                        return Err(damaged(position, what));
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Adds the next batch.
    fn batch(&mut self, header: &Header, head: &Head, body: &Bytes) -> Result<(), Fault> {
        let end = self.ends.last();
        if head.released < self.state.released || head.released > end.counter {
            return Err(Fault::Wrong(format!(
                "{} cannot have been released: {} was before, and the log ends at {end}",
                head.released, self.state.released
            )));
        }
        let offset = u32::try_from(self.position).expect("the size of the file was checked");
        let (chain, state) = (self.chain, self.state.clone());
        self.state.released = head.released;
        let mut offsets = Vec::new();
        let mut at = 0;
        while at < body.len() {
            let Some((kind, range)) = record(body, at) else {
                return Err(Fault::Wrong("its records do not fill it".to_owned()));
            };
            let place = offset + u32::try_from(HEAD + at).expect("the size of the file was checked");
            at = range.end;
            match kind {
                ENTRY => {
                    self.entry(body.slice(range))?;
                    offsets.push(place);
                }
                HARD_STATE => self.state.hard_state = hard_state(&body[range])?,
                FOUNDING => self.state.founding = Some(founding(&body[range])?.into()),
                unknown => {
                    return Err(Fault::Newer(format!(
                        "batch {} has a record of kind {unknown}",
                        head.number
                    )));
                }
            }
        }
        let length = (HEAD + body.len()).next_multiple_of(header.block) as u64;
        self.position += length;
        let stop = u32::try_from(self.position).unwrap_or(u32::MAX);
        self.index.append(offsets.into_iter(), stop);
        self.chain = Chain { number: head.number, checksum: head.checksum };
        self.last = Some(Last { offset, body: body.clone(), chain, state, end });
        Ok(())
    }

    fn entry(&mut self, record: Bytes) -> Result<(), Fault> {
        let previous = self.ends.last();
        let counter = previous.counter + 1;
        let wrong = |what: String| Fault::Wrong(format!("log entry {counter} {what}"));
        let decoded = storage::decode_log_entry(counter, record).map_err(|error| {
            if error.is_newer() {
                Fault::Newer(format!("log entry {counter} is {error}"))
            } else {
                wrong(format!("is damaged: {error}"))
            }
        })?;
        if decoded.previous != previous {
            return Err(wrong(format!("follows {}, and the one before it is {previous}", decoded.previous)));
        }
        self.ends.append(decoded.entry.zxid);
        Ok(())
    }

    /// Compares the log with the durable state.
    fn check<D: Directory>(&mut self, directory: &D, applied: u64) -> Result<(), OpenError> {
        let (base, end) = (self.ends.base(), self.ends.last());
        let segment = self.index.segments.back().expect("a log has a segment");
        let file = directory.describe(&segment_name(segment.handle.number));
        if base.counter > applied {
            let what = format!("the log begins above {base}, and only {applied} is applied");
            let damage = self.damage.take().unwrap_or(Damage { file, offset: 0, what });
            return Err(OpenError::Damaged(damage));
        }
        if end.counter < applied {
            let what = format!("the log ends at {end}, and {applied} is applied");
            return Err(OpenError::Damaged(Damage { file, offset: self.position, what }));
        }
        if let Some(damage) = self.damage.take() {
            self.warnings.push(format!("{damage}; it is not needed any more"));
        }
        Ok(())
    }
}

/// Why a batch with the right checksums cannot be used.
enum Fault {
    Wrong(String),
    Newer(String),
}

fn hard_state(record: &[u8]) -> Result<HardState, Fault> {
    storage::decode_hard_state(record).map_err(|error| Fault::Wrong(format!("hard state: {error}")))
}

fn founding(record: &[u8]) -> Result<Founding, Fault> {
    storage::decode_founding(record).map_err(|error| Fault::Wrong(format!("founding record: {error}")))
}

/// The segments with valid headers, and what is damaged below them.
type Live<F> = (Vec<Opened<F>>, Option<Damage>);

/// Opens all segments and reads their headers. Those through the last one with a damaged header are left out.
fn open_segments<D: Directory>(directory: &D, numbers: &[u64]) -> Result<Live<D::File>, OpenError> {
    let (mut opened, mut damage) = (Vec::new(), None);
    for number in numbers {
        let plain = segment_name(*number);
        let name = directory.describe(&plain);
        let file = directory.open(&plain, Usage::Segment).map_err(OpenError::io("open", name.clone()))?;
        let size = file.size().map_err(OpenError::io("look at", name.clone()))?;
        let header = scan::header(&file).map_err(OpenError::io("read", name.clone()))?;
        let what = match header {
            Ok((header, first_batch)) if header.number == *number && size <= u32::MAX.into() => {
                opened.push(Opened { file, header, first_batch, size });
                continue;
            }
            Ok((header, _)) if header.number == *number => "it is too large".to_owned(),
            Ok((header, _)) => format!("it is segment {}", header.number),
            Err(HeaderError::Damaged(what)) => what,
            Err(HeaderError::Newer(what)) => return Err(OpenError::Newer { file: name, what }),
        };
        opened.clear();
        damage = Some(Damage { file: name, offset: 0, what });
    }
    if opened.is_empty() {
        let missing =
            Damage { file: directory.describe(""), offset: 0, what: "there is no segment".to_owned() };
        return Err(OpenError::Damaged(damage.unwrap_or(missing)));
    }
    Ok((opened, damage))
}
