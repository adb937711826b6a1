//! Measures what one write with one sync costs, by the way in which the file was prepared.
//!
//! `cargo run --release -p gometa-log --example sync_cost -- DIRECTORY [ROUNDS]`. The ways are interleaved round by
//! round, so that other load on the machine hits all of them. Prints p50 and p99 in microseconds, and for
//! each write the bytes that the kernel accounted to this process, and those that reached the device (of all processes).
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::FallocateFlags;

const FILE_BYTES: u64 = 64 << 20;
const WRITES: usize = 200;
const SIZES: [usize; 3] = [512, 4_096, 16_384];
/// The alignment that direct writes need in memory.
const ALIGNMENT: usize = 4_096;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// The file grows with each write.
    Append,
    /// `fallocate`: blocks are reserved and marked as unwritten.
    Fallocate,
    /// Written with zeroes and synced.
    Zeroed,
    /// Written completely by an earlier use.
    Recycled,
    /// As `Fallocate`, past the page cache.
    FallocateDirect,
    /// As `Recycled`, past the page cache.
    RecycledDirect,
    /// As `RecycledDirect`, with O_DSYNC instead of fdatasync.
    RecycledDirectDsync,
}

const WAYS: [Way; 7] = [
    Way::Append,
    Way::Fallocate,
    Way::Zeroed,
    Way::Recycled,
    Way::FallocateDirect,
    Way::RecycledDirect,
    Way::RecycledDirectDsync,
];

impl Way {
    fn flags(self) -> i32 {
        let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
        let dsync = rustix::fs::OFlags::DSYNC.bits() as i32;
        match self {
            Way::FallocateDirect | Way::RecycledDirect => direct,
            Way::RecycledDirectDsync => direct | dsync,
            _ => 0,
        }
    }

    fn prepare(self, path: &Path) -> io::Result<File> {
        let _ = fs::remove_file(path);
        let file = OpenOptions::new().create_new(true).write(true).open(path)?;
        match self {
            Way::Append => {}
            Way::Fallocate | Way::FallocateDirect => {
                rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
            }
            Way::Zeroed => fill(&file, 0)?,
            Way::Recycled | Way::RecycledDirect | Way::RecycledDirectDsync => fill(&file, 0xa5)?,
        }
        file.sync_all()?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        OpenOptions::new().write(true).custom_flags(self.flags()).open(path)
    }
}

fn fill(file: &File, byte: u8) -> io::Result<()> {
    let block = vec![byte; 1 << 20];
    for at in (0..FILE_BYTES).step_by(block.len()) {
        file.write_all_at(&block, at)?;
    }
    Ok(())
}

/// Bytes written to the device that holds this file, by all processes.
fn device_bytes(path: &Path) -> u64 {
    let device = fs::metadata(path).map_or(0, |metadata| metadata.dev());
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).unwrap_or_default();
    text.split_whitespace().nth(6).and_then(|sectors| sectors.parse::<u64>().ok()).unwrap_or(0) * 512
}

/// Bytes that this process has caused to be written, as the kernel accounts them.
fn written_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[derive(Default)]
struct Series {
    times: Vec<Duration>,
    bytes: u64,
    device: u64,
}

fn measure(way: Way, path: &Path, size: usize, series: &mut Series) -> io::Result<()> {
    let file = way.prepare(path)?;
    let memory = vec![0x5a_u8; size + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let buffer = &memory[start..start + size];
    let before = (written_bytes(), device_bytes(path));
    for n in 0..WRITES {
        let offset = (n * size) as u64;
        let begun = Instant::now();
        file.write_all_at(buffer, offset)?;
        if way != Way::RecycledDirectDsync {
            file.sync_data()?;
        }
        series.times.push(begun.elapsed());
    }
    series.bytes += written_bytes() - before.0;
    series.device += device_bytes(path) - before.1;
    fs::remove_file(path)
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let rounds: usize = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(5);
    let path = directory.join("sync-cost");
    println!(
        "{:>8}  {:<20} {:>8} {:>8} {:>12} {:>12}",
        "bytes", "way", "p50 µs", "p99 µs", "accounted", "on device"
    );
    for size in SIZES {
        let mut all: Vec<Series> = WAYS.iter().map(|_| Series::default()).collect();
        for _ in 0..rounds {
            for (way, series) in WAYS.iter().zip(&mut all) {
                measure(*way, &path, size, series)?;
            }
        }
        for (way, series) in WAYS.iter().zip(&mut all) {
            series.times.sort();
            let at = |percent: usize| series.times[(series.times.len() - 1) * percent / 100].as_micros();
            let (bytes, device) =
                (series.bytes / series.times.len() as u64, series.device / series.times.len() as u64);
            println!(
                "{size:>8}  {:<20} {:>8} {:>8} {bytes:>12} {device:>12}",
                format!("{way:?}"),
                at(50),
                at(99)
            );
        }
    }
    Ok(())
}
