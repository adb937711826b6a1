//! A directory in memory that loses what a disk may lose.
//!
//! Written bytes are readable at once, and survive the end of the process ([`Medium::kill`]). A loss of power
//! ([`Medium::cut_power`]) keeps what was synced, and of everything else any subset:
//!
//! - each block of a file that was written since the last sync, in any of its versions (so writes are torn and reordered),
//! - the new or the old size of a file,
//! - each creation, rename and removal since the last sync of the directory, in any combination.
//!
//! Faults are injected one by one ([`Fault`]) or at the nth operation from now ([`Medium::fail_at`]). A sync that fails
//! makes some of its blocks durable; the others stay readable, and *no later sync writes them*. A device may also report a
//! sync that it has not done ([`Medium::drop_next_sync`]). Everything is determined by the seeds that the caller passes.
//!
//! Not modelled: torn blocks, errors of reading other than [`Fault::FailRead`].

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::file::{Directory, File, Usage};

/// What happens at an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The process ends in the middle of the operation. From then on every operation fails, until
    /// [`Medium::kill`] or [`Medium::cut_power`].
    Stop,
    /// The operation fails with an error of the device; a sync may have made some blocks durable.
    Fail,
    /// The next read fails with an error of the device.
    FailRead,
}

/// A directory in memory. Clones are handles of the same directory.
#[derive(Clone, Debug)]
pub struct Medium {
    disk: Arc<Mutex<Disk>>,
}

/// A file of a [`Medium`].
#[derive(Clone, Debug)]
pub struct MediumFile {
    disk: Arc<Mutex<Disk>>,
    inode: usize,
    start: u64,
}

/// A small generator of random numbers (splitmix64).
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// A change of the directory.
#[derive(Clone, Debug)]
enum Change {
    Link { name: String, inode: usize },
    Rename { from: String, to: String, inode: usize },
    Remove { name: String },
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Change::Link { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Change::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Change::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

#[derive(Clone, Default, Debug)]
struct Inode {
    /// What can be read.
    seen: Vec<u8>,
    /// What survives a loss of power.
    durable: Vec<u8>,
    /// The blocks that the next sync writes, with the versions since the last one; the newest is that in `seen`.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The smallest size since the last sync, if it has changed.
    resized: Option<usize>,
}

#[derive(Debug)]
struct Disk {
    /// The unit of tearing and of writing.
    block: usize,
    capacity: usize,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    /// The number of operations that change something, since the beginning.
    operations: u64,
    fault: Option<(u64, Fault)>,
    fail_read: bool,
    drop_sync: bool,
    stopped: bool,
    /// Which start of the process may still use its files.
    start: u64,
    random: Random,
}

fn device_error() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// Versions of one block that are remembered.
const VERSIONS_MAX: usize = 4;

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8], block: usize) {
        let end = offset + bytes.len();
        if end > self.seen.len() {
            self.set_size(end, block);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        for at in offset / block..end.div_ceil(block) {
            let versions = self.dirty.entry(at).or_default();
            if versions.len() == VERSIONS_MAX {
                versions.remove(0);
            }
            versions.push(self.seen[at * block..((at + 1) * block).min(self.seen.len())].to_vec());
        }
    }

    fn set_size(&mut self, size: usize, block: usize) {
        let before = self.seen.len();
        if size == before {
            return;
        }
        self.resized = Some(self.resized.unwrap_or(before).min(size));
        self.seen.resize(size, 0);
        self.dirty.retain(|at, _| at * block < size);
        if let Some(versions) = self.dirty.get_mut(&(size / block))
            && size < before
        {
            versions.push(self.seen[size / block * block..].to_vec());
        }
    }

    fn resize_durable(&mut self) {
        if let Some(smallest) = self.resized.take() {
            self.durable.truncate(smallest);
            self.durable.resize(self.seen.len(), 0);
        }
    }

    fn harden(&mut self, at: usize, version: &[u8], block: usize) {
        let start = (at * block).min(self.durable.len());
        let end = (start + version.len()).min(self.durable.len());
        self.durable[start..end].copy_from_slice(&version[..end - start]);
    }

    fn sync(&mut self, block: usize, mut keep: impl FnMut() -> bool) {
        self.resize_durable();
        for (at, versions) in std::mem::take(&mut self.dirty) {
            if let Some(newest) = versions.last()
                && keep()
            {
                self.harden(at, newest, block);
            }
        }
    }

    fn cut_power(&mut self, block: usize, random: &mut Random) {
        if random.below(2) == 0 {
            self.resize_durable();
        }
        for (at, versions) in std::mem::take(&mut self.dirty) {
            // The old block, or any version.
            if let Some(version) = versions.get(random.below(versions.len() + 1)) {
                self.harden(at, version, block);
            }
        }
        self.resized = None;
        self.seen = self.durable.clone();
    }
}

impl Medium {
    /// An empty directory with blocks of this size, which are written whole or not at all.
    pub fn new(block: usize, seed: u64) -> Medium {
        let disk = Disk {
            block,
            capacity: usize::MAX,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            operations: 0,
            fault: None,
            fail_read: false,
            drop_sync: false,
            stopped: false,
            start: 0,
            random: Random(seed),
        };
        Medium { disk: Arc::new(Mutex::new(disk)) }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the directory in its present state, independent of this one.
    pub fn copy(&self) -> Medium {
        let disk = self.lock();
        let disk = Disk {
            inodes: disk.inodes.clone(),
            names: disk.names.clone(),
            durable_names: disk.durable_names.clone(),
            changes: disk.changes.clone(),
            ..*disk
        };
        Medium { disk: Arc::new(Mutex::new(disk)) }
    }

    /// The number of operations that change something, since the beginning: writes, changes of sizes, syncs, creations,
    /// renames, removals.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Lets a fault happen after this many more operations; 0 is the next one. It replaces one that was set before.
    pub fn fail_at(&self, operations: u64, fault: Fault) {
        let mut disk = self.lock();
        match fault {
            Fault::FailRead => disk.fail_read = true,
            Fault::Stop | Fault::Fail => disk.fault = Some((disk.operations + operations, fault)),
        }
    }

    /// Cancels the faults that have not happened yet.
    pub fn cancel_faults(&self) {
        let mut disk = self.lock();
        (disk.fault, disk.fail_read, disk.drop_sync) = (None, false, false);
    }

    /// Drops the next sync of a file: it is reported and makes nothing durable. Its blocks stay readable until the power is
    /// cut, and no later sync writes them.
    pub fn drop_next_sync(&self) {
        self.lock().drop_sync = true;
    }

    /// Whether the sync that [`Medium::drop_next_sync`] drops is still to come.
    pub fn drops_next_sync(&self) -> bool {
        self.lock().drop_sync
    }

    /// Limits the sum of the sizes of all files, in bytes.
    pub fn limit(&self, capacity: usize) {
        self.lock().capacity = capacity;
    }

    /// Ends the process: handles of files stop working, what was written stays.
    pub fn kill(&self) {
        let mut disk = self.lock();
        disk.start += 1;
        (disk.stopped, disk.fault, disk.fail_read, disk.drop_sync) = (false, None, false, false);
        // Nothing holds files without a name any more; their contents are of no use.
        let named: BTreeSet<usize> =
            disk.names.values().chain(disk.durable_names.values()).copied().collect();
        let pending: BTreeSet<usize> = disk
            .changes
            .iter()
            .filter_map(|change| match change {
                Change::Link { inode, .. } | Change::Rename { inode, .. } => Some(*inode),
                Change::Remove { .. } => None,
            })
            .collect();
        for (at, inode) in disk.inodes.iter_mut().enumerate() {
            if !named.contains(&at) && !pending.contains(&at) {
                *inode = Inode::default();
            }
        }
    }

    /// Cuts the power: what was not synced survives in any combination, which the seed decides.
    pub fn cut_power(&self, seed: u64) {
        {
            let mut disk = self.lock();
            let mut random = Random(seed);
            let block = disk.block;
            for inode in &mut disk.inodes {
                inode.cut_power(block, &mut random);
            }
            for change in std::mem::take(&mut disk.changes) {
                if random.below(2) == 0 {
                    change.apply(&mut disk.durable_names);
                }
            }
            disk.names = disk.durable_names.clone();
        }
        self.kill();
    }

    /// All files with what can be read.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.lock();
        disk.names.iter().map(|(name, inode)| (name.clone(), disk.inodes[*inode].seen.clone())).collect()
    }

    /// Puts a durable file into the directory; one with this name is replaced.
    pub fn put(&self, name: &str, contents: Vec<u8>) {
        let mut disk = self.lock();
        disk.inodes.push(Inode { seen: contents.clone(), durable: contents, ..Inode::default() });
        let inode = disk.inodes.len() - 1;
        disk.names.insert(name.to_owned(), inode);
        disk.durable_names.insert(name.to_owned(), inode);
    }

    /// Flips bits of a byte, in what can be read and in what is durable. False if the file does not have this byte.
    pub fn flip(&self, name: &str, offset: usize, bits: u8) -> bool {
        let mut disk = self.lock();
        let Some(inode) = disk.names.get(name).copied() else { return false };
        let Inode { seen, durable, .. } = &mut disk.inodes[inode];
        let Some(byte) = seen.get_mut(offset) else { return false };
        *byte ^= bits;
        if let Some(byte) = durable.get_mut(offset) {
            *byte ^= bits;
        }
        true
    }
}

impl Disk {
    /// Counts an operation; fails if its fault is due. `Err(true)` stops in the middle of it.
    fn operation(&mut self) -> Result<(), Fault> {
        let due = self.fault.is_some_and(|(at, _)| at == self.operations);
        self.operations += 1;
        if due && let Some((_, fault)) = self.fault.take() {
            self.stopped = fault == Fault::Stop;
            return Err(fault);
        }
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        if self.stopped { Err(io::Error::other("the process has stopped")) } else { Ok(()) }
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Refuses to grow an inode beyond the capacity.
    fn room(&self, inode: usize, size: usize) -> io::Result<()> {
        if self.capacity == usize::MAX {
            return Ok(());
        }
        let live: BTreeSet<usize> = self.names.values().copied().collect();
        let others = live.iter().filter(|other| **other != inode).map(|other| self.inodes[*other].seen.len());
        let used: usize = others.sum();
        if size > self.inodes[inode].seen.len() && used.saturating_add(size) > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.check()?;
        if let Err(fault) = self.operation() {
            // The change may have happened before the process ended.
            if fault == Fault::Stop && self.random.below(2) == 0 {
                change.apply(&mut self.names);
                self.changes.push(change);
            }
            return Err(device_error());
        }
        change.apply(&mut self.names);
        self.changes.push(change);
        Ok(())
    }
}

impl Directory for Medium {
    type File = MediumFile;

    fn describe(&self, name: &str) -> String {
        name.to_owned()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let disk = self.lock();
        disk.check()?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn create(&self, name: &str, _: Usage) -> io::Result<MediumFile> {
        let mut disk = self.lock();
        // An existing file is replaced by a new one, which no older handle shares.
        disk.inodes.push(Inode::default());
        let inode = disk.inodes.len() - 1;
        disk.change(Change::Link { name: name.to_owned(), inode })?;
        Ok(MediumFile { disk: self.disk.clone(), inode, start: disk.start })
    }

    fn open(&self, name: &str, _: Usage) -> io::Result<MediumFile> {
        let disk = self.lock();
        disk.check()?;
        let inode = disk.find(name)?;
        Ok(MediumFile { disk: self.disk.clone(), inode, start: disk.start })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.lock();
        let inode = disk.find(from)?;
        disk.change(Change::Rename { from: from.to_owned(), to: to.to_owned(), inode })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.find(name)?;
        disk.change(Change::Remove { name: name.to_owned() })
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.lock();
        disk.check()?;
        // A failure leaves all changes as they are: journals do not forget single ones.
        disk.operation().map_err(|_| device_error())?;
        for change in std::mem::take(&mut disk.changes) {
            change.apply(&mut disk.durable_names);
        }
        Ok(())
    }
}

impl MediumFile {
    fn lock(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        disk.check()?;
        if disk.start != self.start {
            return Err(io::Error::other("the process that opened this file has ended"));
        }
        Ok(disk)
    }
}

impl File for MediumFile {
    fn block(&self) -> usize {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).block
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.lock()?.inodes[self.inode].seen.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut disk = self.lock()?;
        if std::mem::take(&mut disk.fail_read) {
            return Err(device_error());
        }
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let seen = &disk.inodes[self.inode].seen;
        let bytes = start.checked_add(buffer.len()).and_then(|end| seen.get(start..end));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.lock()?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        disk.room(self.inode, start + bytes.len())?;
        let block = disk.block;
        let written = match disk.operation() {
            Ok(()) => bytes.len(),
            // Whole blocks, since the log's writes begin at one.
            Err(_) => disk.random.below(bytes.len() / block + 1) * block,
        };
        disk.inodes[self.inode].write(start, &bytes[..written], block);
        if written == bytes.len() && !disk.stopped { Ok(()) } else { Err(device_error()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.lock()?;
        let block = disk.block;
        match disk.operation() {
            Ok(()) => {
                let dropped = std::mem::take(&mut disk.drop_sync);
                disk.inodes[self.inode].sync(block, || !dropped);
                Ok(())
            }
            Err(fault) => {
                let mut random = Random(disk.random.next());
                let inode = &mut disk.inodes[self.inode];
                if fault == Fault::Fail {
                    inode.sync(block, || random.below(2) == 0);
                }
                Err(device_error())
            }
        }
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let mut disk = self.lock()?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let size = size.max(disk.inodes[self.inode].seen.len());
        disk.room(self.inode, size)?;
        disk.operation().map_err(|_| device_error())?;
        let block = disk.block;
        disk.inodes[self.inode].set_size(size, block);
        Ok(())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut disk = self.lock()?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        disk.room(self.inode, size)?;
        disk.operation().map_err(|_| device_error())?;
        let block = disk.block;
        disk.inodes[self.inode].set_size(size, block);
        Ok(())
    }
}
