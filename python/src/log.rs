//! The client's log records, for Python's `logging`.
//!
//! Records of the runtime's thread are queued here and logged by Python's threads: after a blocking call, or when an
//! event loop takes results. So a slow handler, or one that uses the client, does not block the runtime's thread.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    hint, process,
    sync::{
        Mutex, MutexGuard, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use pyo3::prelude::*;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};

/// The maximum number of queued records; further ones are dropped and counted.
const RECORDS_MAX: usize = 1000;
/// The maximum length of a record in bytes.
const RECORD_BYTES_MAX: usize = 1000;
/// The number of attempts to take a lock, which is held for moments only.
const TRIES_MAX: usize = 1000;
/// The number of queues. A forked child uses another one than its parent, whose lock may have been held during the fork, as
/// process ids are mostly consecutive. If it does not and the lock is held, its records are dropped.
const SLOTS: usize = 64;

static QUEUES: [Mutex<VecDeque<Record>>; SLOTS] = [const { Mutex::new(VecDeque::new()) }; SLOTS];
/// The approximate number of queued records: spares most calls the lock.
static WAITING: AtomicUsize = AtomicUsize::new(0);
static LOST: AtomicUsize = AtomicUsize::new(0);
/// Whether records of level debug are wanted.
static DEBUG: AtomicBool = AtomicBool::new(false);

struct Record {
    process: u32,
    /// The time of the event in seconds since 1970.
    created: f64,
    /// The level as a number of Python's `logging`.
    level: u8,
    text: String,
}

fn records() -> Option<MutexGuard<'static, VecDeque<Record>>> {
    for _ in 0..TRIES_MAX {
        match QUEUES[process::id() as usize % SLOTS].try_lock() {
            Ok(records) => return Some(records),
            Err(TryLockError::Poisoned(error)) => return Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => hint::spin_loop(),
        }
    }
    None
}

fn number(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG | Level::TRACE => 10,
    }
}

/// The subscriber that queues the client's events.
struct Bridge;

impl Subscriber for Bridge {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.is_span() || *metadata.level() == Level::TRACE {
            Interest::never()
        } else if *metadata.level() == Level::DEBUG {
            Interest::sometimes()
        } else {
            Interest::always()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && (*metadata.level() < Level::DEBUG || DEBUG.load(Ordering::Relaxed))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = Record {
            process: process::id(),
            created: since.as_secs_f64(),
            level: number(event.metadata().level()),
            text: text.finished(),
        };
        match records() {
            Some(mut records) if records.len() < RECORDS_MAX => records.push_back(record),
            _ => {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
        }
        WAITING.fetch_add(1, Ordering::Release);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// A record's message, and its fields as `name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finished(self) -> String {
        let mut text = self.message + &self.fields;
        let mut end = RECORD_BYTES_MAX;
        if text.len() > end {
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        text
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Installs the subscriber. A second call is a no-op.
pub(crate) fn install() {
    let _ = tracing::subscriber::set_global_default(Bridge);
}

fn logger(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("logging")?.call_method1("getLogger", ("gometa",))
}

/// Enables records of level debug if the logger does.
pub(crate) fn follow_level(py: Python<'_>) {
    let wanted = logger(py)
        .and_then(|logger| logger.call_method1("isEnabledFor", (10,)))
        .and_then(|wanted| wanted.is_truthy());
    DEBUG.store(wanted.unwrap_or(false), Ordering::Relaxed);
}

/// Logs a record with the time of its event.
fn handle(py: Python<'_>, logger: &Bound<'_, PyAny>, record: &Record) -> PyResult<()> {
    if !logger.call_method1("isEnabledFor", (record.level,))?.is_truthy()? {
        return Ok(());
    }
    let (path, line) = ("gometa", 0);
    let arguments = (path, record.level, path, line, "%s", (record.text.as_str(),), py.None());
    let made = logger.call_method1("makeRecord", arguments)?;
    let now: f64 = made.getattr("created")?.extract()?;
    let since_start: f64 = made.getattr("relativeCreated")?.extract()?;
    made.setattr("created", record.created)?;
    made.setattr("msecs", (record.created.fract() * 1000.0).floor())?;
    made.setattr("relativeCreated", since_start + (record.created - now) * 1000.0)?;
    logger.call_method1("handle", (made,))?;
    Ok(())
}

/// Logs the queued records.
///
/// # Errors
/// An exception of a handler or a filter, or of a signal handler that runs meanwhile.
pub(crate) fn deliver(py: Python<'_>) -> PyResult<()> {
    if WAITING.load(Ordering::Acquire) == 0 {
        return Ok(());
    }
    WAITING.store(0, Ordering::Relaxed);
    let kept = records().map(|mut records| std::mem::take(&mut *records)).unwrap_or_default();
    let lost = LOST.swap(0, Ordering::Relaxed);
    let process = process::id();
    let logger = logger(py)?;
    // A parent logs its own records.
    for record in kept.iter().filter(|record| record.process == process) {
        handle(py, &logger, record)?;
    }
    if lost > 0 {
        logger.call_method1("log", (30, "%d records were lost", lost))?;
    }
    Ok(())
}
