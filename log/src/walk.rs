//! Reading a whole log, segment by segment.

use bytes::Bytes;
use gometa_codec::storage;
use gometa_marks::planted;
use gometa_zab::{Configuration, Founding, HardState, Kind, Zxid};

use crate::{
    ends::Ends,
    error::{Damage, OpenError},
    file::{Directory, File, Usage},
    index::{Handle, Index, Segment},
    layout::{
        Chain, ENTRY, FOUNDING, HARD_STATE, HEAD, Head, Header, HeaderError, State, record, segment_name,
        segment_number,
    },
    mark::Mark,
    scan::{self, Found, Window},
};

/// A segment as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentSummary {
    /// The number.
    pub number: u64,
    /// The file.
    pub file: String,
    /// The size of the file in bytes.
    pub size: u64,
    /// The bytes through the last batch.
    pub used: u64,
    /// The number of batches.
    pub batches: u64,
    /// The end of the log that the header names: where this segment goes on.
    pub continues: Zxid,
    /// The first entry.
    pub first: Option<Zxid>,
    /// The last entry, whether or not a later segment truncates it.
    pub last: Option<Zxid>,
}

/// What reading a log has found.
pub(crate) struct Reading<F> {
    /// The log through the last valid batch; `None` if not even the last header is valid.
    pub(crate) walk: Option<Walk<F>>,
    /// The segments with valid headers, in order.
    pub(crate) segments: Vec<SegmentSummary>,
    /// What is wrong below the segments of `walk`, in order.
    pub(crate) below: Vec<Damage>,
    /// What is wrong in the last segment.
    pub(crate) last: Option<Damage>,
}

/// The largest file that is read as a segment, in bytes: offsets have 32 bits.
const SIZE_MAX: u64 = 1 << 31;

/// The log as it was read so far.
pub(crate) struct Walk<F> {
    pub(crate) index: Index<F>,
    pub(crate) ends: Ends,
    pub(crate) chain: Chain,
    pub(crate) state: State,
    /// The configurations of the entries, ascending.
    pub(crate) configurations: Vec<Configuration>,
    /// The end of the last batch in the last segment.
    pub(crate) position: u64,
    /// That of the last segment.
    pub(crate) salt: u128,
    /// The last batch, if it is in the last segment.
    pub(crate) last: Option<Last>,
}

/// Why a segment cannot be read through.
enum Problem {
    Damaged(Damage),
    Fatal(OpenError),
}

/// The last batch, and the log before it.
pub(crate) struct Last {
    pub(crate) offset: u32,
    pub(crate) body: Bytes,
    pub(crate) chain: Chain,
    pub(crate) state: State,
    pub(crate) end: Zxid,
}

/// A segment with a valid header.
struct Opened<F> {
    file: F,
    header: Header,
    first_batch: u64,
    size: u64,
}

impl<F: File> Walk<F> {
    /// A log that begins with this segment.
    fn begin(segment: &Opened<F>) -> Walk<F> {
        let header = &segment.header;
        let mut walk = Walk {
            index: Index::new(header.end.counter),
            ends: Ends::new(header.end),
            chain: header.chain,
            state: header.state.clone(),
            configurations: Vec::new(),
            position: header.before,
            salt: 0,
            last: None,
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
            planted!(self.ends.truncate(header.end), ignores_truncation_in_header => ());
        } else {
            return Err(format!("the header names {}, and the log ends at {end}", header.end));
        }
        let end = self.ends.last().counter;
        self.index.truncate(end);
        self.configurations.retain(|configuration| configuration.version().counter <= end);
        let handle = Handle::new(header.number, segment.file.clone(), segment.size);
        self.index.segments.push_back(Segment::new(handle, header.end.counter));
        (self.position, self.salt, self.last) = (segment.first_batch, header.salt, None);
        Ok(())
    }

    /// Reads the batches of a segment: through the place that the next header names, or to the end of the log.
    fn segment(
        &mut self,
        segment: &Opened<F>,
        summary: &mut SegmentSummary,
        next: Next<'_>,
        mark: Mark,
    ) -> Result<(), Problem> {
        let header = &segment.header;
        let name = summary.file.clone();
        let io = |error| Problem::Fatal(OpenError::io("read", name.clone())(error));
        let damaged = |offset, what| Problem::Damaged(Damage { file: name.clone(), offset, what });
        let mut window = Window::new(segment.file.clone()).map_err(io)?;
        loop {
            summary.used = self.position;
            if let Next::Continues(next) = next
                && self.position >= next.before
            {
                return Ok(());
            }
            let (position, number) = (self.position, self.chain.number + 1);
            let found = window.batch(header.salt, position).map_err(io)?;
            match found {
                Found::Batch(head, body) if head.number == number && head.previous == self.chain.checksum => {
                    let before = self.ends.last();
                    self.batch(header, &head, &body).map_err(|fault| match fault {
                        Fault::Wrong(what) => damaged(position, format!("batch {number}: {what}")),
                        Fault::Newer(what) => Problem::Fatal(OpenError::Newer { file: name.clone(), what }),
                    })?;
                    summary.batches += 1;
                    if self.ends.last() != before {
                        summary.first = summary.first.or(self.ends.at(before.counter + 1));
                        summary.last = Some(self.ends.last());
                    }
                }
                _ => {
                    return match next {
                        Next::Nothing => self
                            .at_end(segment, &mut window, mark)
                            .map_err(io)?
                            .map_or(Ok(()), |what| Err(damaged(position, what))),
                        Next::Continues(_) => {
                            Err(damaged(position, format!("batch {number} is missing or damaged")))
                        }
                        Next::Damaged => Ok(()),
                    };
                }
            }
        }
    }

    /// Tells the end of the log from damage: there is no next batch at this place of the last segment.
    fn at_end(
        &self,
        segment: &Opened<F>,
        window: &mut Window<F>,
        mark: Mark,
    ) -> std::io::Result<Option<String>> {
        let (header, number) = (&segment.header, self.chain.number + 1);
        if planted!(header.begins_with_batch, ignores_lost_first_batch => false) && self.last.is_none() {
            return Ok(Some(format!("batch {number} is damaged: it was written with the header")));
        }
        let later = window.find_batch(header, self.position, number + 1)?;
        if let Some(later) = planted!(later, ignores_later_batches => None) {
            return Ok(Some(format!("batch {number} is damaged: a later one is at offset {later}")));
        }
        if planted!(mark.batch >= number, ignores_mark => false) {
            return Ok(Some(format!("batch {number} is lost: it was synced")));
        }
        if mark.segment > header.number {
            return Ok(Some(format!("segment {} is lost: it was synced", mark.segment)));
        }
        Ok(None)
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
        let length = HEAD + body.len();
        self.position += length.next_multiple_of(header.block) as u64;
        let end_of_body = offset + u32::try_from(length).expect("the size of the file was checked");
        self.index.append(offsets.into_iter(), end_of_body);
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
        if decoded.entry.kind == Kind::Membership {
            let configuration = decoded.entry.configuration();
            self.configurations.push(configuration.ok_or_else(|| wrong("has no configuration".to_owned()))?);
        }
        self.ends.append(decoded.entry.zxid);
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

/// Reads all segments with one of these names that are not below a gap.
pub(crate) fn read<D: Directory>(
    directory: &D,
    names: &[String],
    usage: Usage,
    mark: Mark,
) -> Result<Reading<D::File>, OpenError> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let gap = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]).map(|at| at + 1);
    let mut reading = Reading { walk: None, segments: Vec::new(), below: Vec::new(), last: None };
    if let Some(at) = gap {
        let file = directory.describe(&segment_name(numbers[at]));
        let what = "the segment before it is missing".to_owned();
        reading.below.push(Damage { file, offset: 0, what });
    }
    let opened = open_segments(directory, &numbers[gap.unwrap_or(0)..], usage)?;
    for (at, segment) in opened.iter().enumerate() {
        let next = match opened.get(at + 1) {
            None => Next::Nothing,
            Some(Ok(next)) => Next::Continues(&next.header),
            Some(Err(_)) => Next::Damaged,
        };
        match segment {
            Ok(segment) => reading.segment(directory, segment, next, mark)?,
            Err(damage) => {
                // What is read from here on does not depend on what is below.
                reading.walk = None;
                reading.damaged(damage.clone(), next);
            }
        }
    }
    if opened.is_empty() {
        let missing =
            Damage { file: directory.describe(""), offset: 0, what: "there is no segment".to_owned() };
        reading.last = Some(missing);
    }
    Ok(reading)
}

/// What follows a segment.
#[derive(Clone, Copy)]
enum Next<'a> {
    /// Nothing: the log ends in this segment.
    Nothing,
    /// A segment that says where this one ends.
    Continues(&'a Header),
    /// A segment that cannot be read.
    Damaged,
}

impl<F: File> Reading<F> {
    fn damaged(&mut self, damage: Damage, next: Next<'_>) {
        match next {
            Next::Nothing => self.last = Some(damage),
            Next::Continues(_) | Next::Damaged => self.below.push(damage),
        }
    }

    /// Reads the next segment.
    fn segment<D: Directory<File = F>>(
        &mut self,
        directory: &D,
        segment: &Opened<F>,
        next: Next<'_>,
        mark: Mark,
    ) -> Result<(), OpenError> {
        let file = directory.describe(&segment_name(segment.header.number));
        let mut walk = match self.walk.take() {
            Some(mut before) => match before.enter(segment) {
                Ok(()) => before,
                Err(what) => {
                    self.below.push(Damage { file: file.clone(), offset: 0, what });
                    Walk::begin(segment)
                }
            },
            None => Walk::begin(segment),
        };
        let mut summary = SegmentSummary {
            number: segment.header.number,
            file,
            size: segment.size,
            used: 0,
            batches: 0,
            continues: segment.header.end,
            first: None,
            last: None,
        };
        let result = walk.segment(segment, &mut summary, next, mark);
        self.segments.push(summary);
        match result {
            Ok(()) => self.walk = Some(walk),
            Err(Problem::Fatal(error)) => return Err(error),
            Err(Problem::Damaged(damage)) => {
                if matches!(next, Next::Nothing) {
                    self.walk = Some(walk);
                }
                self.damaged(damage, next);
            }
        }
        Ok(())
    }
}

/// A segment with a valid header, or what is wrong with it.
type Segments<F> = Vec<Result<Opened<F>, Damage>>;

/// Opens all segments and reads their headers.
fn open_segments<D: Directory>(
    directory: &D,
    numbers: &[u64],
    usage: Usage,
) -> Result<Segments<D::File>, OpenError> {
    let mut opened = Vec::with_capacity(numbers.len());
    for number in numbers {
        let plain = segment_name(*number);
        let name = directory.describe(&plain);
        let file = directory.open(&plain, usage).map_err(OpenError::io("open", name.clone()))?;
        let size = file.size().map_err(OpenError::io("look at", name.clone()))?;
        let header = scan::header(&file).map_err(OpenError::io("read", name.clone()))?;
        let what = match header {
            Ok((header, first_batch)) if header.number == *number && size <= SIZE_MAX => {
                opened.push(Ok(Opened { file, header, first_batch, size }));
                continue;
            }
            Ok((header, _)) if header.number == *number => "it is too large".to_owned(),
            Ok((header, _)) => format!("it is segment {}", header.number),
            Err(HeaderError::Damaged(what)) => what,
            Err(HeaderError::Newer(what)) => return Err(OpenError::Newer { file: name, what }),
        };
        opened.push(Err(Damage { file: name, offset: 0, what }));
    }
    Ok(opened)
}
