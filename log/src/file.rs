//! Directories and files as the log uses them.

use std::io;

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Usage {
    /// Reading only.
    Read,
    /// A segment: written in whole blocks of [`File::block`], each once until the file is recycled, and synced after
    /// each write. An implementation may write past the page cache.
    Segment,
    /// The mark: a few bytes, written often and synced rarely. Writes must survive the end of the process.
    Mark,
}

/// A directory without subdirectories. Clones are handles of the same directory.
pub trait Directory: Clone + Send + Sync + 'static {
    /// Its files.
    type File: File;

    /// The name of a file in error messages.
    fn describe(&self, name: &str) -> String;

    /// The names of all files, in any order. Names that are not UTF-8 are left out.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates an empty file; an existing one is emptied.
    fn create(&self, name: &str, usage: Usage) -> io::Result<Self::File>;

    /// Opens an existing file.
    fn open(&self, name: &str, usage: Usage) -> io::Result<Self::File>;

    /// Renames a file; an existing one of the new name is replaced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Open handles stay usable.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all creations, renames and removals durable.
    fn sync(&self) -> io::Result<()>;
}

/// An open file. Clones are handles of the same file.
pub trait File: Clone + Send + Sync + 'static {
    /// The unit of writing in bytes, a power of two from [`BLOCK_MIN`] to [`ALIGNMENT`]: offset and length of a write to
    /// a segment are multiples of it, and the bytes in memory begin at a multiple of [`ALIGNMENT`].
    fn block(&self) -> usize;

    /// The size in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills the buffer from this offset. `UnexpectedEof` if the file is too short.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all bytes at this offset; the file grows if necessary.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the contents and the size durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the file at least this long and reserves its space.
    fn allocate(&self, size: u64) -> io::Result<()>;

    /// Changes the size. What is behind it is freed.
    fn set_size(&self, size: u64) -> io::Result<()>;
}

/// The smallest unit of writing, in bytes.
pub const BLOCK_MIN: usize = 512;

/// The alignment in memory of what is written to a segment, and the largest unit of writing, in bytes.
pub const ALIGNMENT: usize = 4_096;
