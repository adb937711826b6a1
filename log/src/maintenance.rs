//! Work on the log's files that no write has to wait for: making a spare segment, deleting segments, freeing the unused
//! ends of segments.
//!
//! # What the directory goes through
//!
//! A segment to delete becomes the spare if there is none and no reader holds it; its new name is synced before the file is
//! overwritten, since a loss of power could bring the old name back. Otherwise it is removed, which is not synced: an old
//! segment that comes back is found and removed at the next opening. A spare is made under another name and renamed when
//! it is complete.

use std::{
    collections::VecDeque,
    io, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use gometa_marks::planted;

use crate::{
    buffer::Buffer,
    error::WriteError,
    file::{Directory, File, Usage},
    index::{Handle, Segment},
    layout::segment_name,
};

/// A complete segment that waits to be used.
pub(crate) const SPARE: &str = "spare";
/// A spare that is being made.
pub(crate) const MAKING: &str = "making";
/// A segment that is begun without a spare.
pub(crate) const NEXT: &str = "next";

/// The bytes of a spare that one step fills.
const STEP_BYTES: u64 = 1 << 20;

/// The files besides the segments in use, shared by the log and its maintenance.
pub(crate) struct Spares<D: Directory> {
    directory: D,
    segment_bytes: u64,
    state: Mutex<State<D::File>>,
    /// Held by the maintenance that runs: the spare that is being made.
    making: Mutex<Option<Making<D::File>>>,
    failed: AtomicBool,
}

struct State<F> {
    spare: Option<F>,
    /// The log will need a spare soon.
    wanted: bool,
    /// To be deleted, oldest first.
    retired: VecDeque<Arc<Handle<F>>>,
    /// Segments that end early, and where.
    long: Vec<(Arc<Handle<F>>, u64)>,
}

/// A spare that is not complete yet.
struct Making<F> {
    file: F,
    filled: u64,
}

/// Does the work that no write has to wait for. Clones do the same work; it may run on any thread, beside the log.
pub struct Maintenance<D: Directory> {
    spares: Arc<Spares<D>>,
}

impl<D: Directory> Clone for Maintenance<D> {
    fn clone(&self) -> Maintenance<D> {
        Maintenance { spares: self.spares.clone() }
    }
}

impl<D: Directory> Spares<D> {
    pub(crate) fn new(directory: D, segment_bytes: u64, spare: Option<D::File>) -> Arc<Spares<D>> {
        let state = State { spare, wanted: false, retired: VecDeque::new(), long: Vec::new() };
        Arc::new(Spares {
            directory,
            segment_bytes,
            state: Mutex::new(state),
            making: Mutex::new(None),
            failed: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<D::File>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the maintenance has failed: nothing may be written any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// A file for the next segment, and its name. The caller reserves its space and renames it.
    pub(crate) fn take(&self) -> Result<(&'static str, D::File), WriteError> {
        let spare = self.lock().spare.clone();
        if let Some(file) = spare {
            return Ok((SPARE, file));
        }
        let created = self.directory.create(NEXT, Usage::Segment);
        Ok((NEXT, created.map_err(WriteError::io("create", self.directory.describe(NEXT)))?))
    }

    /// Reserves the space of a file that was taken: a whole segment, but at least what is needed.
    pub(crate) fn reserve(&self, name: &str, file: &D::File, needed: u64) -> Result<(), WriteError> {
        let reserved = match file.allocate(self.segment_bytes.max(needed)) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && name == NEXT => {
                file.set_size(0).and_then(|()| file.allocate(needed))
            }
            result => result,
        };
        reserved.map_err(WriteError::io("allocate", self.directory.describe(name)))
    }

    /// A file that was taken has its new name.
    pub(crate) fn taken(&self, name: &str) {
        if name == SPARE {
            self.lock().spare = None;
        }
        self.lock().wanted = false;
    }

    pub(crate) fn want(&self) {
        self.lock().wanted = true;
    }

    pub(crate) fn retire(&self, segments: Vec<Segment<D::File>>) {
        self.lock().retired.extend(segments.into_iter().map(|segment| segment.handle));
    }

    pub(crate) fn shorten(&self, handle: Arc<Handle<D::File>>, size: u64) {
        self.lock().long.push((handle, size));
    }
}

impl<D: Directory> Maintenance<D> {
    pub(crate) fn new(spares: Arc<Spares<D>>) -> Maintenance<D> {
        Maintenance { spares }
    }

    /// Whether there is something to do.
    pub fn is_due(&self) -> bool {
        let state = self.spares.lock();
        !state.retired.is_empty() || !state.long.is_empty() || (state.wanted && state.spare.is_none())
    }

    /// Deletes one segment that the log does not need any more, or goes on to make the spare segment if it will be needed
    /// soon: at most 1 MiB is written and synced. Returns whether there is more to do; a caller that waits between two steps
    /// leaves the disk to the log.
    ///
    /// A spare that has no room is not made, and that is no error. After an error the log refuses to write.
    pub fn step(&self) -> Result<bool, WriteError> {
        let mut making = self.spares.making.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.work(&mut making);
        if result.is_err() {
            self.spares.failed.store(true, Ordering::SeqCst);
        }
        result.map(|()| self.is_due())
    }

    /// Does everything that is due.
    pub fn run(&self) -> Result<(), WriteError> {
        while self.step()? {}
        Ok(())
    }

    fn work(&self, making: &mut Option<Making<D::File>>) -> Result<(), WriteError> {
        let spares = &*self.spares;
        let long = mem::take(&mut spares.lock().long);
        for (handle, size) in long {
            let name = || spares.directory.describe(&segment_name(handle.number));
            handle.file.set_size(size).map_err(WriteError::io("shorten", name()))?;
            handle.size.store(size, Ordering::Relaxed);
        }
        let (retired, needs_spare, wanted) = {
            let mut state = spares.lock();
            (state.retired.pop_front(), state.spare.is_none(), state.wanted)
        };
        match retired {
            Some(retired) => self.delete(retired, needs_spare && making.is_none()),
            None if needs_spare && wanted => self.make_spare(making),
            None => Ok(()),
        }
    }

    fn delete(&self, mut retired: Arc<Handle<D::File>>, needs_spare: bool) -> Result<(), WriteError> {
        let Spares { directory, segment_bytes, .. } = &*self.spares;
        let name = segment_name(retired.number);
        let complete = retired.size.load(Ordering::Relaxed) == *segment_bytes;
        // Nobody can begin to read it: the index does not have it any more.
        let unread = Arc::get_mut(&mut retired).is_some();
        if !needs_spare || !complete || planted!(!unread, recycles_while_read => false) {
            return directory.remove(&name).map_err(WriteError::io("remove", directory.describe(&name)));
        }
        directory.rename(&name, SPARE).map_err(WriteError::io("rename", directory.describe(&name)))?;
        directory.sync().map_err(WriteError::io("sync the directory of", directory.describe(&name)))?;
        self.spares.lock().spare = Some(retired.file.clone());
        Ok(())
    }

    fn make_spare(&self, making: &mut Option<Making<D::File>>) -> Result<(), WriteError> {
        let Spares { directory, segment_bytes, .. } = &*self.spares;
        match fill(directory, *segment_bytes, making) {
            Ok(None) => Ok(()),
            Ok(Some(file)) => {
                self.spares.lock().spare = Some(file);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                // The log begins its next segment without a spare, and asks again in that one.
                *making = None;
                self.spares.lock().wanted = false;
                directory.remove(MAKING).map_err(WriteError::io("remove", directory.describe(MAKING)))
            }
            Err(error) => Err(WriteError::io("make", directory.describe(MAKING))(error)),
        }
    }
}

/// Goes on to make a spare whose blocks are all written, so that a later sync changes neither size nor extents; returns it
/// when it is complete.
fn fill<D: Directory>(
    directory: &D,
    segment_bytes: u64,
    making: &mut Option<Making<D::File>>,
) -> io::Result<Option<D::File>> {
    if making.is_none() {
        let file = directory.create(MAKING, Usage::Segment)?;
        *making = Some(Making { file: file.clone(), filled: 0 });
        file.allocate(segment_bytes)?;
    }
    let Some(Making { file, filled }) = making else { return Ok(None) };
    let length = (segment_bytes - *filled).min(STEP_BYTES);
    let mut zeroes = Buffer::with_capacity(STEP_BYTES as usize);
    zeroes.extend_zeroes(length as usize);
    file.write_at(*filled, zeroes.contents())?;
    file.sync_data()?;
    *filled += length;
    if *filled < segment_bytes {
        return Ok(None);
    }
    directory.rename(MAKING, SPARE)?;
    Ok(making.take().map(|making| making.file))
}
