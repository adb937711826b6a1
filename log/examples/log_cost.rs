//! Measures the log on real files, beside the bare system calls: a commit of one entry and of many, throughput, reading,
//! opening.
//!
//! `cargo run --release -p gometa-log --example log_cost -- DIRECTORY [ROUNDS]`. The directory must not exist; it is removed
//! at the end.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use gometa_log::{ALIGNMENT, Directory, File, Log, Options, OsDirectory, Start, Usage};
use gometa_zab::{HardState, Kind, LogEntry, Zxid};

const COMMITS: usize = 300;

fn entries(from: u64, count: u64, payload: &Bytes) -> Vec<LogEntry> {
    (from..from + count)
        .map(|counter| LogEntry {
            zxid: Zxid::new(1, counter),
            kind: Kind::Command,
            level: 1,
            payload: payload.clone(),
        })
        .collect()
}

fn percentile(times: &mut [Duration], percent: usize) -> u128 {
    times.sort();
    times[(times.len() - 1) * percent / 100].as_micros()
}

/// Bare writes of this size into a file of zeroes, each synced.
fn bare(directory: &OsDirectory, size: usize) -> Result<Vec<Duration>, Box<dyn Error>> {
    let file = directory.create("bare", Usage::Segment)?;
    let memory = vec![0_u8; (1 << 20) + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    for at in 0..16 {
        file.write_at(at << 20, &memory[start..start + (1 << 20)])?;
    }
    file.sync_data()?;
    let mut times = Vec::new();
    for n in 0..COMMITS {
        let begun = Instant::now();
        file.write_at((n * size) as u64, &memory[start..start + size])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    directory.remove("bare")?;
    Ok(times)
}

fn commits(log: &mut Log<OsDirectory>, count: u64, payload: &Bytes) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..COMMITS {
        let entries = entries(log.last().counter + 1, count, payload);
        let begun = Instant::now();
        log.append(0, &entries)?;
        log.commit()?;
        times.push(begun.elapsed());
        if log.maintenance().is_due() {
            log.maintenance().run()?;
        }
    }
    Ok(times)
}

/// Commits that are measured only while a spare is being filled on another thread.
fn beside_maintenance(
    log: &mut Log<OsDirectory>,
    payload: &Bytes,
    pause: Option<Duration>,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..4 {
        while !log.maintenance().is_due() {
            let entries = entries(log.last().counter + 1, 2_000, payload);
            log.append(0, &entries)?;
            log.commit()?;
        }
        let maintenance = log.maintenance();
        let filling = std::thread::spawn(move || {
            while maintenance.step()? {
                if let Some(pause) = pause {
                    std::thread::sleep(pause);
                }
            }
            Ok::<(), gometa_log::WriteError>(())
        });
        while !filling.is_finished() {
            let entries = entries(log.last().counter + 1, 16, payload);
            let begun = Instant::now();
            log.append(0, &entries)?;
            log.commit()?;
            times.push(begun.elapsed());
        }
        filling.join().map_err(|_| "the maintenance has panicked")??;
        // Into the next segment.
        let segments = log.status().segments;
        while log.status().segments == segments {
            let entries = entries(log.last().counter + 1, 2_000, payload);
            log.append(0, &entries)?;
            log.commit()?;
        }
    }
    Ok(times)
}

fn start() -> Start {
    Start {
        base: Zxid::ZERO,
        hard_state: HardState::default(),
        founding: None,
        configuration: Bytes::new(),
        released: 0,
    }
}

fn run(path: &Path, rounds: usize) -> Result<(), Box<dyn Error>> {
    let directory = OsDirectory::create(path)?;
    let options = Options { segment_bytes: 64 << 20, salt: 1 };
    let mut log = Log::create(directory.clone(), options, start())?;
    let payload = Bytes::from(vec![7; 200]);
    // The first segment is not filled with zeroes.
    while log.status().segments == 1 {
        let entries = entries(log.last().counter + 1, 2_000, &payload);
        log.append(0, &entries)?;
        log.commit()?;
        log.maintenance().run()?;
    }
    for (count, size) in [(1, 512), (16, 4_096), (64, 15_360)] {
        let (mut bare_times, mut log_times) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            bare_times.extend(bare(&directory, size)?);
            log_times.extend(commits(&mut log, count, &payload)?);
        }
        println!(
            "{count:>3} entries: commit p50 {} µs, p99 {} µs; bare write of {size} bytes p50 {} µs, p99 {} µs",
            percentile(&mut log_times, 50),
            percentile(&mut log_times, 99),
            percentile(&mut bare_times, 50),
            percentile(&mut bare_times, 99),
        );
    }
    for pause in [None, Some(Duration::from_millis(10))] {
        let mut times = beside_maintenance(&mut log, &payload, pause)?;
        println!(
            " 16 entries, while spares are filled with pauses of {pause:?}: commit p50 {} µs, p99 {} µs, {} commits",
            percentile(&mut times, 50),
            percentile(&mut times, 99),
            times.len()
        );
    }
    let begun = Instant::now();
    let from = log.last().counter;
    while log.last().counter < from + 1_000_000 {
        let entries = entries(log.last().counter + 1, 1_000, &payload);
        log.append(0, &entries)?;
        log.commit()?;
        if log.maintenance().is_due() {
            log.maintenance().run()?;
        }
    }
    let each = begun.elapsed().as_secs_f64() / 1e6;
    println!("batches of 1,000 entries: {:.0} entries/s, making of spares included", 1.0 / each);
    let (reader, begun, mut next) = (log.reader(), Instant::now(), 1);
    while next <= log.last().counter {
        next += reader.read(next, u64::MAX, 1 << 20)?.len() as u64;
    }
    println!("reading: {:.0} entries/s", next as f64 / begun.elapsed().as_secs_f64());
    let status = log.status();
    drop(log);
    let begun = Instant::now();
    let (log, _) = Log::open(directory, Options { salt: 2, ..options }, 0)?;
    println!(
        "opening: {} entries, {} MiB in {} segments: {} ms",
        log.last().counter,
        status.bytes >> 20,
        status.segments,
        begun.elapsed().as_millis()
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("usage: log_cost DIRECTORY [ROUNDS]")?);
    let rounds = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let result = run(&path, rounds);
    fs::remove_dir_all(path)?;
    result
}
