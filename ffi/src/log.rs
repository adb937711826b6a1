//! What clients report of their connections, for the caller to take: no function of the caller's is called.

use std::{
    ffi::{CString, c_char},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use gometa_client::{Builder, Error, LogLevel, LogRecord, OnSharedRuntime, Operation};

use crate::{
    error::gometa_error_t,
    guard::guard,
    input::{self, Arguments},
    mailbox::Mailbox,
    options::{gometa_options_t, set},
    status::gometa_status_t,
    text::c_string,
};

const ARGUMENTS: Arguments = Arguments(Operation::Status);
/// Records that wait in a log; later ones are lost, and counted.
const RECORDS_MAX: usize = 1000;

/// How much a record matters.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_log_level_t {
    /// A node cannot be used.
    GOMETA_LOG_WARN = 1,
    /// A connection stands again after one was lost.
    GOMETA_LOG_INFO = 2,
    /// Everything else: attempts, sessions, moves to the leader.
    GOMETA_LOG_DEBUG = 3,
}

/// Where records of clients wait, in the order in which they were made. Any number of threads may use it at a
/// time. Free it with gometa_log_free.
pub struct gometa_log_t {
    records: OnSharedRuntime<Arc<Records>>,
    level: LogLevel,
    descriptor: i32,
}

/// One thing that a client reports. Free it with gometa_log_record_free. Any thread may read it.
pub struct gometa_log_record_t {
    level: gometa_log_level_t,
    time_us: u64,
    message: CString,
}

struct Records {
    mailbox: Mailbox<LogRecord>,
    lost: AtomicUsize,
}

impl Records {
    fn put(&self, record: LogRecord) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let mut notice = record.clone();
            (notice.level, notice.message) = (LogLevel::Warn, format!("{lost} records were lost"));
            if !self.mailbox.put(notice, RECORDS_MAX) {
                self.lost.fetch_add(lost, Ordering::Relaxed);
            }
        }
        if !self.mailbox.put(record, RECORDS_MAX) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl From<LogRecord> for gometa_log_record_t {
    fn from(record: LogRecord) -> gometa_log_record_t {
        let since = record.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        gometa_log_record_t {
            level: match record.level {
                LogLevel::Warn => gometa_log_level_t::GOMETA_LOG_WARN,
                LogLevel::Info => gometa_log_level_t::GOMETA_LOG_INFO,
                _ => gometa_log_level_t::GOMETA_LOG_DEBUG,
            },
            time_us: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            message: c_string(&record.message),
        }
    }
}

/// A log that keeps records up to *level*, a gometa_log_level_t: 1,000 at a time; later ones are lost, and the
/// next record that finds room says how many. GOMETA_RESOURCE_EXHAUSTED if there is no descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_new(
    level: u32,
    log: *mut *mut gometa_log_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let body = || {
        // SAFETY: NULL, or a place of the caller's.
        let place = unsafe { ARGUMENTS.output(log, "log") }?;
        let level = match level {
            1 => LogLevel::Warn,
            2 => LogLevel::Info,
            3 => LogLevel::Debug,
            _ => return Err(ARGUMENTS.invalid(format!("there is no log level {level}"))),
        };
        let records = Records { mailbox: Mailbox::new("log")?, lost: AtomicUsize::new(0) };
        let descriptor = records.mailbox.descriptor();
        place.give(gometa_log_t { records: OnSharedRuntime::new(Arc::new(records))?, level, descriptor });
        Ok(())
    };
    // SAFETY: NULL, or a place of the caller's.
    unsafe { guard(Operation::Build, error, body) }
}

/// Has clients that are made of *options* put their records into *log*. One log may serve several clients. It
/// may be freed before them; then they report to none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_options_set_log(
    options: *mut gometa_options_t,
    log: *const gometa_log_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let change = |builder: Builder| -> Result<Builder, Error> {
        // SAFETY: NULL, or what the caller holds.
        let log = unsafe { ARGUMENTS.handle(log, "log") }?;
        let records = Arc::downgrade(log.records.get(Operation::Build)?.0);
        Ok(builder.log(log.level, move |record| {
            if let Some(records) = records.upgrade() {
                records.put(record);
            }
        }))
    };
    // SAFETY: NULL, or what the caller holds.
    unsafe { set(options, error, change) }
}

/// A descriptor that is readable while the log holds a record, or is closed: for poll, epoll and their like. Do
/// not read from it and do not close it; it lives as long as the log. -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_fd(log: *const gometa_log_t) -> i32 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { log.as_ref() }.map_or(-1, |log| log.descriptor)
}

/// The next record; waits for one, at most timeout_ms milliseconds; 0 only looks. Free *record* with
/// gometa_log_record_free. GOMETA_DEADLINE_EXCEEDED if there is none, GOMETA_CLOSED if the log is closed and
/// empty, GOMETA_FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_next(
    log: *const gometa_log_t,
    timeout_ms: u64,
    record: *mut *mut gometa_log_record_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    let body = || {
        // SAFETY: NULL, or what the caller holds.
        let log = unsafe { ARGUMENTS.handle(log, "log") }?;
        // SAFETY: NULL, or a place of the caller's.
        let place = unsafe { ARGUMENTS.output(record, "record") }?;
        let (records, _) = log.records.get(Operation::Status)?;
        place.give(records.mailbox.next(Duration::from_millis(timeout_ms))?.into());
        Ok(())
    };
    // SAFETY: NULL, or a place of the caller's.
    unsafe { guard(Operation::Status, error, body) }
}

/// How much a record matters. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_record_level(record: *const gometa_log_record_t) -> u32 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { record.as_ref() }.map_or(0, |record| record.level as u32)
}

/// When it happened, in microseconds since 1970-01-01 00:00 UTC. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_record_time_us(record: *const gometa_log_record_t) -> u64 {
    // SAFETY: NULL, or what the caller holds.
    unsafe { record.as_ref() }.map_or(0, |record| record.time_us)
}

/// A fixed phrase and its fields in one line, UTF-8, without a line feed:
/// "dial failed address=127.0.0.1:5003 reason=connection refused". It lives as long as the record. Empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_record_message(record: *const gometa_log_record_t) -> *const c_char {
    // SAFETY: NULL, or what the caller holds.
    unsafe { record.as_ref() }.map_or(c"".as_ptr(), |record| record.message.as_ptr())
}

/// Frees a record. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_record_free(record: *mut gometa_log_record_t) {
    // SAFETY: NULL, or a record that the caller gives up.
    unsafe { input::free(record) };
}

/// Wakes every thread that waits in gometa_log_next, which returns the records that are there and then
/// GOMETA_CLOSED. Closing again does nothing, nor does NULL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_close(log: *const gometa_log_t) {
    let body = || {
        // SAFETY: NULL, or what the caller holds.
        let log = unsafe { ARGUMENTS.handle(log, "log") }?;
        log.records.get(Operation::Status)?.0.mailbox.close(true);
        Ok(())
    };
    // SAFETY: there is no place for an error.
    unsafe { guard(Operation::Status, std::ptr::null_mut(), body) };
}

/// Frees a log, which no thread may use any more; clients that it served report to none. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_free(log: *mut gometa_log_t) {
    // SAFETY: NULL, or a log that the caller gives up.
    unsafe { input::free(log) };
}
