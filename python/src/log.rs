//! The client's records, for Python's `logging`.
//!
//! What the client says on the runtime's thread is kept here until a thread of Python's comes by: one that has waited for
//! a call, or an event loop that takes results. So nothing is logged from a thread that Python does not know, and a
//! handler that is slow, or asks the client for something, harms nobody.

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

use pyo3::{intern, prelude::*};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};

/// Records that are kept; the ones after that are lost, and counted.
const RECORDS_MAX: usize = 1000;
/// Bytes of one record.
const RECORD_BYTES_MAX: usize = 1000;
/// How often a lock that is held for a moment is tried.
const TRIES_MAX: usize = 1000;
/// A process has another place than its parent, whose lock may have been held when it forked: almost always, since process
/// ids are given out in a row. Where it does not, nobody waits; the child's records are lost.
const PLACES: usize = 64;

static PLACE: [Mutex<VecDeque<Record>>; PLACES] = [const { Mutex::new(VecDeque::new()) }; PLACES];
/// Records that wait, roughly: a hint that spares the usual call a lock.
static WAITING: AtomicUsize = AtomicUsize::new(0);
static LOST: AtomicUsize = AtomicUsize::new(0);
/// Whether somebody wants the records of level debug.
static DEBUG: AtomicBool = AtomicBool::new(false);

struct Record {
    process: u32,
    /// When it was made, in seconds since 1970.
    created: f64,
    /// Python's number of the level.
    level: u8,
    text: String,
}

fn records() -> Option<MutexGuard<'static, VecDeque<Record>>> {
    for _ in 0..TRIES_MAX {
        match PLACE[process::id() as usize % PLACES].try_lock() {
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

/// Takes what the client says.
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

/// Has the client's records come here. Once per process; a second time does nothing.
pub(crate) fn install() {
    let _ = tracing::subscriber::set_global_default(Bridge);
}

fn logger(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    py.import("logging")?.call_method1(intern!(py, "getLogger"), (intern!(py, "gometa"),))
}

/// Keeps records of level debug from now on if the logger wants them.
pub(crate) fn follow_level(py: Python<'_>) {
    let wanted = logger(py)
        .and_then(|logger| logger.call_method1(intern!(py, "isEnabledFor"), (10,)))
        .and_then(|wanted| wanted.is_truthy());
    DEBUG.store(wanted.unwrap_or(false), Ordering::Relaxed);
}

/// Logs a record under the time at which it was made.
fn handle(py: Python<'_>, logger: &Bound<'_, PyAny>, record: &Record) -> PyResult<()> {
    if !logger.call_method1(intern!(py, "isEnabledFor"), (record.level,))?.is_truthy()? {
        return Ok(());
    }
    let (place, line) = (intern!(py, "gometa"), 0);
    let arguments = (place, record.level, place, line, intern!(py, "%s"), (record.text.as_str(),), py.None());
    let made = logger.call_method1(intern!(py, "makeRecord"), arguments)?;
    let now: f64 = made.getattr(intern!(py, "created"))?.extract()?;
    let since_start: f64 = made.getattr(intern!(py, "relativeCreated"))?.extract()?;
    made.setattr(intern!(py, "created"), record.created)?;
    made.setattr(intern!(py, "msecs"), (record.created.fract() * 1000.0).floor())?;
    made.setattr(intern!(py, "relativeCreated"), since_start + (record.created - now) * 1000.0)?;
    logger.call_method1(intern!(py, "handle"), (made,))?;
    Ok(())
}

/// Logs what has been kept.
///
/// # Errors
/// What a handler or a filter lets out, and what a signal's handler raises meanwhile: Ctrl-C, for one.
pub(crate) fn deliver(py: Python<'_>) -> PyResult<()> {
    if WAITING.load(Ordering::Acquire) == 0 {
        return Ok(());
    }
    WAITING.store(0, Ordering::Relaxed);
    let kept = records().map(|mut records| std::mem::take(&mut *records)).unwrap_or_default();
    let lost = LOST.swap(0, Ordering::Relaxed);
    let process = process::id();
    let logger = logger(py)?;
    // What a parent has kept is the parent's to log.
    for record in kept.iter().filter(|record| record.process == process) {
        handle(py, &logger, record)?;
    }
    if lost > 0 {
        logger.call_method1(intern!(py, "log"), (30, intern!(py, "%d records were lost"), lost))?;
    }
    Ok(())
}
