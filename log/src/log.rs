//! Writing the log.

use std::sync::{Arc, atomic::Ordering};

use bytes::{BufMut, Bytes};
use gometa_codec::storage;
use gometa_marks::planted;
use gometa_zab::{Founding, HardState, LogEntry, Zxid};

use crate::{
    buffer::Buffer,
    ends::Ends,
    error::{OpenError, WriteError},
    file::{ALIGNMENT, Directory, File},
    index::{Handle, Index, Segment},
    layout::{
        Chain, ENTRY, FOUNDING, HARD_STATE, HEAD, HEADER_MAX, Head, Header, RECORD, State, segment_name,
        segment_number,
    },
    maintenance::{Maintenance, Spares},
    mark::{Mark, MarkFile},
    reader::{Reader, SharedIndex},
};

/// The capacity that the buffer of a batch keeps.
const BUFFER_BYTES: usize = 1 << 20;

/// How a log is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The size of a segment in bytes, a multiple of 4,096. A single batch that does not fit makes its segment larger.
    pub segment_bytes: u64,
    /// Random bits, different at every opening: batches of an earlier use of a file do not pass for batches of a later one.
    pub salt: u128,
}

impl Options {
    /// The size of segments on a file system of this size: 64 MiB, at most a 32nd of it, at least 4 MiB.
    pub fn for_file_system(bytes: u64, salt: u128) -> Options {
        let segment_bytes = (bytes / 32 / ALIGNMENT as u64 * ALIGNMENT as u64).clamp(4 << 20, 64 << 20);
        Options { segment_bytes, salt }
    }
}

/// What a new log begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// The zxid below the first entry: the genesis, or that of an installed snapshot.
    pub base: Zxid,
    /// The node's own hard state.
    pub hard_state: HardState,
    /// The node's own founding record.
    pub founding: Option<Founding>,
    /// The configuration in force at the base, opaque; empty until membership changes exist.
    pub configuration: Bytes,
    /// The counter through which entries have been released for applying, not above that of `base`.
    pub released: u64,
}

/// Figures for status reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// The zxid below the first entry.
    pub base: Zxid,
    /// The zxid of the last durable entry.
    pub end: Zxid,
    /// The number of segments in use, those to be deleted not counted.
    pub segments: usize,
    /// The size of these segments in bytes.
    pub bytes: u64,
}

/// The log, open for writing.
///
/// Writes are staged ([`append`](Log::append), [`hard_state`](Log::hard_state), [`founding`](Log::founding)), and one
/// [`commit`](Log::commit) makes all of them durable with one write and one sync.
///
/// Every error is final, and the log refuses everything afterwards: what is durable is known only after it was opened again.
pub struct Log<D: Directory> {
    directory: D,
    options: Options,
    index: Arc<SharedIndex<D::File>>,
    spares: Arc<Spares<D>>,
    /// The segment that is written; `None` before the first.
    current: Option<Current<D::File>>,
    /// The last batch.
    chain: Chain,
    /// The log with all staged entries.
    ends: Ends,
    /// The last durable entry.
    durable: Zxid,
    /// What is durable.
    state: State,
    staged: Staged,
    mark: MarkFile<D::File>,
    failed: bool,
}

/// The segment that is written.
pub(crate) struct Current<F> {
    pub(crate) handle: Arc<Handle<F>>,
    pub(crate) salt: u128,
    /// The end of its last batch.
    pub(crate) position: u64,
    pub(crate) size: u64,
}

/// The batch that the next commit writes.
pub(crate) struct Staged {
    /// Room for its head, then its records.
    pub(crate) buffer: Buffer,
    /// The length without padding, once it has some.
    sealed: Option<usize>,
    /// The offset of each entry's record in the batch.
    pub(crate) offsets: Vec<u32>,
    pub(crate) released: u64,
    pub(crate) hard_state: Option<HardState>,
    pub(crate) founding: Option<Arc<Founding>>,
}

impl Staged {
    pub(crate) fn new(released: u64) -> Staged {
        let mut buffer = Buffer::with_capacity(BUFFER_BYTES);
        buffer.extend_zeroes(HEAD);
        Staged { buffer, sealed: None, offsets: Vec::new(), released, hard_state: None, founding: None }
    }

    fn is_empty(&self) -> bool {
        self.buffer.len() == HEAD
    }

    fn record(&mut self, kind: u8, record: &[u8]) {
        let out = self.buffer.grow(RECORD + record.len());
        out.put_u8(kind);
        out.put_u32(u32::try_from(record.len()).expect("records are small"));
        out.put_slice(record);
    }

    /// Completes the batch for a segment with this salt and block; returns its checksum. It can be sealed again.
    fn seal(&mut self, salt: u128, previous: Chain, block: usize) -> u32 {
        let length = *self.sealed.get_or_insert(self.buffer.len());
        self.buffer.truncate(length);
        let checksum = Head::seal(self.buffer.contents_mut(), salt, previous, self.released);
        self.buffer.pad(block);
        checksum
    }

    fn clear(&mut self) {
        self.sealed = None;
        if self.buffer.capacity() > 4 * BUFFER_BYTES {
            self.buffer = Buffer::with_capacity(BUFFER_BYTES);
            self.buffer.extend_zeroes(HEAD);
        }
        self.buffer.truncate(HEAD);
        self.offsets.clear();
    }
}

/// All parts of a log that was read, before its new segment.
pub(crate) struct Parts<D: Directory> {
    pub(crate) directory: D,
    pub(crate) options: Options,
    pub(crate) index: Index<D::File>,
    pub(crate) spare: Option<D::File>,
    pub(crate) current: Option<Current<D::File>>,
    pub(crate) chain: Chain,
    pub(crate) ends: Ends,
    pub(crate) durable: Zxid,
    pub(crate) state: State,
    pub(crate) staged: Staged,
    pub(crate) mark: MarkFile<D::File>,
}

impl<D: Directory> Log<D> {
    /// Creates a log in an empty directory: all of it is durable except for the name of the directory itself.
    pub fn create(directory: D, options: Options, start: Start) -> Result<Log<D>, OpenError> {
        let names = directory.list().map_err(OpenError::io("list", directory.describe("")))?;
        if let Some(name) = names.iter().find(|name| segment_number(name).is_some()) {
            return Err(OpenError::Exists { file: directory.describe(name) });
        }
        let mark = MarkFile::create(&directory)
            .map_err(OpenError::io("create", directory.describe(crate::mark::NAME)))?;
        let Start { base, hard_state, founding, configuration, released } = start;
        assert!(released <= base.counter, "only what the log has can have been released");
        let mut log = Log::assemble(Parts {
            options,
            index: Index::new(base.counter),
            spare: None,
            current: None,
            chain: Chain::default(),
            ends: Ends::new(base),
            durable: base,
            state: State { released, hard_state, founding: founding.map(Arc::new), configuration },
            staged: Staged::new(released),
            mark,
            directory,
        });
        log.begin()?;
        log.raise_mark()?;
        log.sync_mark()?;
        Ok(log)
    }

    pub(crate) fn assemble(parts: Parts<D>) -> Log<D> {
        let Parts { directory, options, index, spare, current, chain, ends, durable, state, staged, mark } =
            parts;
        let spares = Spares::new(directory.clone(), options.segment_bytes, spare);
        let index = SharedIndex::new(index);
        Log {
            directory,
            options,
            index,
            spares,
            current,
            chain,
            ends,
            durable,
            state,
            staged,
            mark,
            failed: false,
        }
    }

    /// Reads entries on other threads.
    pub fn reader(&self) -> Reader<D> {
        Reader { directory: self.directory.clone(), index: self.index.clone() }
    }

    /// Deletes files and makes spare segments on another thread.
    pub fn maintenance(&self) -> Maintenance<D> {
        Maintenance::new(self.spares.clone())
    }

    /// The last entry, staged ones included; the base if there is none.
    pub fn last(&self) -> Zxid {
        self.ends.last()
    }

    /// The number of bytes that are staged.
    pub fn staged_bytes(&self) -> usize {
        self.staged.buffer.len() - HEAD
    }

    /// Figures for status reports.
    pub fn status(&self) -> Status {
        let index = self.index.read();
        let sizes = index.segments.iter().map(|segment| segment.handle.size.load(Ordering::Relaxed));
        Status {
            base: self.ends.base(),
            end: self.durable,
            segments: index.segments.len(),
            bytes: sizes.sum(),
        }
    }

    /// Stages entries, contiguous from the last one. `released` is the counter through which entries have been released
    /// for applying.
    ///
    /// What would make the batch longer than half a segment is committed at once.
    ///
    /// # Panics
    /// If a payload is longer than the protocol allows.
    pub fn append(&mut self, released: u64, entries: &[LogEntry]) -> Result<(), WriteError> {
        self.release(released)?;
        for entry in entries {
            let previous = self.ends.last();
            if !self.ends.accepts(entry.zxid) {
                return Err(WriteError::Invalid(format!(
                    "log entry {} cannot follow {previous}",
                    entry.zxid
                )));
            }
            let length = storage::LOG_ENTRY_HEADER + entry.payload.len();
            self.make_room(RECORD + length)?;
            let at = self.staged.buffer.len();
            let out = self.staged.buffer.grow(RECORD + length);
            out.put_u8(ENTRY);
            out.put_u32(u32::try_from(length).expect("payloads are bounded"));
            storage::encode_log_entry_into(previous, entry, out);
            self.staged.offsets.push(u32::try_from(at).expect("batches are smaller than segments"));
            self.ends.append(entry.zxid);
        }
        Ok(())
    }

    /// Stages a new hard state.
    pub fn hard_state(&mut self, released: u64, hard_state: HardState) -> Result<(), WriteError> {
        self.release(released)?;
        let record = storage::encode_hard_state(&hard_state);
        self.make_room(RECORD + record.len())?;
        self.staged.record(HARD_STATE, &record);
        self.staged.hard_state = Some(hard_state);
        Ok(())
    }

    /// Stages a new founding record.
    pub fn founding(&mut self, released: u64, founding: Founding) -> Result<(), WriteError> {
        self.release(released)?;
        let record = storage::encode_founding(&founding);
        self.make_room(RECORD + record.len())?;
        self.staged.record(FOUNDING, &record);
        self.staged.founding = Some(Arc::new(founding));
        Ok(())
    }

    /// Makes everything that is staged durable, with one write and one sync.
    pub fn commit(&mut self) -> Result<(), WriteError> {
        self.check()?;
        if self.staged.is_empty() {
            return Ok(());
        }
        let result = self.write_batch();
        self.failed = result.is_err();
        result
    }

    /// Removes all entries above this zxid, after a commit; durable when this returns.
    pub fn truncate(&mut self, released: u64, to: Zxid) -> Result<(), WriteError> {
        self.release(released)?;
        self.commit()?;
        if !self.ends.contains(to) {
            return Err(WriteError::not_in_log("truncate to", to, self.ends.last()));
        }
        if to.counter < self.staged.released {
            let released = self.staged.released;
            return Err(WriteError::Invalid(format!(
                "cannot truncate to {to}: {released} has been released"
            )));
        }
        if to == self.ends.last() {
            return Ok(());
        }
        self.index.write().truncate(to.counter);
        self.ends.truncate(to);
        self.durable = to;
        let closed = self.current.as_ref().map(|current| (current.handle.clone(), current.position));
        let result = self.begin().and_then(|()| self.raise_mark());
        self.failed = result.is_err();
        if let Some((handle, position)) = closed
            && !self.failed
        {
            self.spares.shorten(handle, position);
        }
        result
    }

    /// Raises the base: entries through this zxid are not needed any more, on this node or by its followers. They are no
    /// longer read, and [`Maintenance`] deletes the segments that hold nothing else.
    pub fn compact(&mut self, base: Zxid) -> Result<(), WriteError> {
        self.check()?;
        if !self.ends.contains(base) || base.counter > self.durable.counter {
            return Err(WriteError::not_in_log("compact to", base, self.durable));
        }
        self.ends.compact(base);
        let retired = self.index.write().compact(base.counter);
        self.spares.retire(retired);
        Ok(())
    }

    /// Syncs the mark; due about once a second while there are commits, and at an orderly end.
    pub fn sync_mark(&mut self) -> Result<(), WriteError> {
        self.check()?;
        let result =
            self.mark.sync().map_err(WriteError::io("sync", self.directory.describe(crate::mark::NAME)));
        self.failed = result.is_err();
        result
    }

    /// Whether the mark has changed since it was synced.
    pub fn mark_is_due(&self) -> bool {
        !self.mark.is_synced()
    }

    fn check(&self) -> Result<(), WriteError> {
        if self.failed || self.spares.has_failed() { Err(WriteError::Failed) } else { Ok(()) }
    }

    fn release(&mut self, released: u64) -> Result<(), WriteError> {
        self.check()?;
        if released < self.staged.released || released > self.durable.counter {
            return Err(WriteError::Invalid(format!(
                "{released} cannot have been released: {} was before, and the log ends at {}",
                self.staged.released, self.durable
            )));
        }
        self.staged.released = released;
        Ok(())
    }

    /// Commits what is staged if a record of this length would make the batch too long.
    fn make_room(&mut self, more: usize) -> Result<(), WriteError> {
        let bound = usize::try_from(self.options.segment_bytes / 2).unwrap_or(usize::MAX);
        if self.staged.buffer.len() + more > bound { self.commit() } else { Ok(()) }
    }

    fn write_batch(&mut self) -> Result<(), WriteError> {
        let length = self.staged.buffer.len() as u64;
        match &self.current {
            Some(current)
                if current.position + length.next_multiple_of(current.handle.file.block() as u64)
                    <= current.size =>
            {
                self.write_into_current()?;
            }
            _ => self.begin()?,
        }
        self.raise_mark()
    }

    fn write_into_current(&mut self) -> Result<(), WriteError> {
        let current = self.current.as_mut().expect("the caller has looked");
        planted!(raises_mark_before_sync => {
            let mark = Mark { batch: self.chain.number + 1, segment: current.handle.number };
            self.mark.raise(mark).map_err(WriteError::io("write", String::new()))?;
        });
        let file = &current.handle.file;
        let checksum = self.staged.seal(current.salt, self.chain, file.block());
        let failed =
            |action| WriteError::io(action, self.directory.describe(&segment_name(current.handle.number)));
        let offset = current.position;
        file.write_at(offset, self.staged.buffer.contents()).map_err(failed("write"))?;
        let synced = planted!(file.sync_data(), commits_without_sync => Ok(()));
        synced.map_err(failed("sync"))?;
        current.position += self.staged.buffer.len() as u64;
        if (offset..current.position).contains(&(current.size / 2)) {
            self.spares.want();
        }
        self.finish_batch(offset, checksum);
        Ok(())
    }

    /// Begins a segment with the staged batch, if there is one. Durable when this returns.
    pub(crate) fn begin(&mut self) -> Result<(), WriteError> {
        let (spare, file) = self.spares.take()?;
        let block = file.block();
        let number = self.current.as_ref().map_or(0, |current| current.handle.number) + 1;
        let salt = self.options.salt.wrapping_add(number.into());
        let with_batch = !self.staged.is_empty();
        let header = Header {
            block,
            salt,
            number,
            before: self.current.as_ref().map_or(0, |current| current.position),
            chain: self.chain,
            begins_with_batch: with_batch,
            end: self.durable,
            state: self.state.clone(),
        };
        let mut first = Buffer::with_capacity(ALIGNMENT);
        header.encode(first.grow(HEADER_MAX));
        first.pad(block);
        let offset = first.len() as u64;
        let batch = if with_batch { self.staged.buffer.len().next_multiple_of(block) as u64 } else { 0 };
        self.spares.reserve(spare, &file, offset + batch)?;

        let checksum = if with_batch { self.staged.seal(salt, self.chain, block) } else { 0 };
        let failed = |action| WriteError::io(action, self.directory.describe(spare));
        file.write_at(0, first.contents()).map_err(failed("write"))?;
        if with_batch {
            file.write_at(offset, self.staged.buffer.contents()).map_err(failed("write"))?;
        }
        let synced = planted!(file.sync_data(), renames_segment_before_sync => Ok(()));
        synced.map_err(failed("sync"))?;
        self.directory.rename(spare, &segment_name(number)).map_err(failed("rename"))?;
        self.spares.taken(spare);
        let failed = |action| WriteError::io(action, self.directory.describe(&segment_name(number)));
        let synced = planted!(self.directory.sync(), begins_without_directory_sync => Ok(()));
        synced.map_err(failed("sync the directory of"))?;

        let size = file.size().map_err(failed("look at"))?;
        let handle = Handle::new(number, file, size);
        self.index.write().segments.push_back(Segment::new(handle.clone(), self.durable.counter));
        self.current = Some(Current { handle, salt, position: offset + batch, size });
        if with_batch {
            self.finish_batch(offset, checksum);
        }
        Ok(())
    }

    /// The staged batch is durable at this offset.
    fn finish_batch(&mut self, offset: u64, checksum: u32) {
        let offset = u32::try_from(offset).expect("segments are smaller than 4 GiB");
        let length = self.staged.sealed.unwrap_or_default();
        let end = offset + u32::try_from(length).expect("batches are smaller than segments");
        self.chain = Chain { number: self.chain.number + 1, checksum };
        self.durable = self.ends.last();
        self.state.released = self.staged.released;
        self.state.hard_state = self.staged.hard_state.take().unwrap_or(self.state.hard_state);
        if let Some(founding) = self.staged.founding.take() {
            self.state.founding = Some(founding);
        }
        self.index.write().append(self.staged.offsets.iter().map(|at| offset + at), end);
        self.staged.clear();
    }

    pub(crate) fn raise_mark(&mut self) -> Result<(), WriteError> {
        let segment = self.current.as_ref().map_or(0, |current| current.handle.number);
        let mark = Mark { batch: self.chain.number, segment };
        self.mark.raise(mark).map_err(WriteError::io("write", self.directory.describe(crate::mark::NAME)))
    }
}
