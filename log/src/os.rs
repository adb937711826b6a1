//! Directories and files of the operating system.
//!
//! Segments are written with `O_DIRECT` where the file system says that it can: so a write costs exactly its blocks, no
//! block is read before it is overwritten, and the page cache holds nothing of the log but what was read
//! (`docs/decisions/012-log-files.md`). They are read through the page cache; the kernel keeps both views consistent.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, FallocateFlags, OFlags, StatxFlags},
    io::Errno,
};

use crate::file::{ALIGNMENT, BLOCK_MIN, Directory, File, Usage};

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct OsDirectory {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    handle: fs::File,
}

impl OsDirectory {
    /// Opens an existing directory.
    pub fn open(path: &Path) -> io::Result<OsDirectory> {
        let handle =
            OpenOptions::new().read(true).custom_flags(OFlags::DIRECTORY.bits() as i32).open(path)?;
        Ok(OsDirectory { inner: Arc::new(Inner { path: path.to_owned(), handle }) })
    }

    /// Creates a directory with mode 0700. Its own name is durable when the caller has synced the directory above.
    pub fn create(path: &Path) -> io::Result<OsDirectory> {
        DirBuilder::new().mode(0o700).create(path)?;
        OsDirectory::open(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.inner.path.join(name)
    }

    fn file(&self, name: &str, usage: Usage, create: bool) -> io::Result<OsFile> {
        let path = self.path(name);
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        if usage != Usage::Read {
            options.write(true).create(create).truncate(create);
        }
        let cached = options.open(&path)?;
        let (mut direct, mut block) = (None, BLOCK_MIN);
        if usage == Usage::Segment
            && let Some(unit) = direct_unit(&cached)
        {
            let opened =
                OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(&path);
            if let Ok(opened) = opened {
                (direct, block) = (Some(opened), unit);
            }
        }
        Ok(OsFile { inner: Arc::new(Handles { cached, direct, block }) })
    }
}

/// The unit of direct writes to a file; `None` if it has none that the log can use.
fn direct_unit(file: &fs::File) -> Option<usize> {
    let found = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    if found.stx_mask & StatxFlags::DIOALIGN.bits() == 0 {
        return None;
    }
    let (memory, unit) =
        (usize::try_from(found.stx_dio_mem_align).ok()?, usize::try_from(found.stx_dio_offset_align).ok()?);
    let fits = unit.is_power_of_two() && unit <= ALIGNMENT && memory <= ALIGNMENT;
    fits.then(|| unit.max(BLOCK_MIN))
}

impl Directory for OsDirectory {
    type File = OsFile;

    fn describe(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in fs::read_dir(&self.inner.path)? {
            names.extend(item?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str, usage: Usage) -> io::Result<OsFile> {
        self.file(name, usage, true)
    }

    fn open(&self, name: &str, usage: Usage) -> io::Result<OsFile> {
        self.file(name, usage, false)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.handle.sync_all()
    }
}

/// A file of an [`OsDirectory`].
#[derive(Clone, Debug)]
pub struct OsFile {
    inner: Arc<Handles>,
}

#[derive(Debug)]
struct Handles {
    cached: fs::File,
    /// The handle for direct writes, if they are possible.
    direct: Option<fs::File>,
    block: usize,
}

impl OsFile {
    fn writer(&self) -> &fs::File {
        self.inner.direct.as_ref().unwrap_or(&self.inner.cached)
    }
}

impl File for OsFile {
    fn block(&self) -> usize {
        self.inner.block
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.inner.cached.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.cached.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writer().write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.writer().sync_data()
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.inner.cached, FallocateFlags::empty(), 0, size) {
            // A file system that cannot reserve space: writes fail later instead.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.set_size(size.max(self.size()?)),
            result => Ok(result?),
        }
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.inner.cached.set_len(size)
    }
}
