//! The log: records of clients, queued for the caller.

use std::{
    ffi::{CString, c_char},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use gometa_client::{Error, LogLevel, LogRecord, OnSharedRuntime, Operation};

use crate::{
    error::gometa_error_t,
    guard::guarded,
    input::{c_string, invalid},
    macros::{free, handle, read, required},
    mailbox::Mailbox,
    status::gometa_status_t,
};

/// The maximum number of records in a log.
const RECORDS_MAX: usize = 1000;

/// The level of a log record.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum gometa_log_level_t {
    /// Warnings, for example: a node cannot be reached.
    GOMETA_LOG_WARN = 1,
    /// Changes of the connection, for example: a lost one was replaced.
    GOMETA_LOG_INFO = 2,
    /// Details: connection attempts, sessions, reconnecting to the leader.
    GOMETA_LOG_DEBUG = 3,
}

/// A queue of log records of one or more clients, oldest first. Thread-safe. Free with gometa_log_free.
pub struct gometa_log_t {
    records: OnSharedRuntime<Arc<Records>>,
    level: LogLevel,
    descriptor: i32,
}

/// A log record. Free with gometa_log_record_free.
pub struct gometa_log_record_t {
    level: gometa_log_level_t,
    time_us: u64,
    message: CString,
}

struct Records {
    mailbox: Mailbox<LogRecord>,
    /// Records that were dropped since the last one that was queued.
    dropped: AtomicUsize,
}

impl Records {
    fn put(&self, record: LogRecord) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let mut notice = record.clone();
            (notice.level, notice.message) = (LogLevel::Warn, format!("{dropped} records were lost"));
            if !self.mailbox.put(notice, RECORDS_MAX) {
                self.dropped.fetch_add(dropped, Ordering::Relaxed);
            }
        }
        if !self.mailbox.put(record, RECORDS_MAX) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl gometa_log_t {
    /// The level of the records that it accepts, and the function that queues them.
    pub(crate) fn sink(&self) -> Result<(LogLevel, impl Fn(LogRecord) + Send + Sync + 'static), Error> {
        let records = Arc::downgrade(self.records.get(Operation::Build)?.0);
        let sink = move |record| {
            if let Some(records) = records.upgrade() {
                records.put(record);
            }
        };
        Ok((self.level, sink))
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

/// Creates a log for records up to `level`, a gometa_log_level_t. It holds 1,000 records. When it is full, new records
/// are dropped; the next one that fits is preceded by one with the number dropped. Free `*log` with gometa_log_free.
///
/// Returns GOMETA_INVALID_ARGUMENT if `level` is not a gometa_log_level_t, GOMETA_RESOURCE_EXHAUSTED without descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_new(
    level: u32,
    log: *mut *mut gometa_log_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Build, error, {
        let output = required!(Build, log);
        let level = match level {
            1 => LogLevel::Warn,
            2 => LogLevel::Info,
            3 => LogLevel::Debug,
            _ => return Err(invalid(Operation::Build, format!("there is no log level {level}"))),
        };
        let records = Records { mailbox: Mailbox::new("log")?, dropped: AtomicUsize::new(0) };
        let descriptor = records.mailbox.descriptor();
        output.give(gometa_log_t { records: OnSharedRuntime::new(Arc::new(records))?, level, descriptor });
        Ok(())
    })
}

/// Returns a file descriptor for poll or epoll, readable while it has a record or is closed (level-triggered). Do not
/// read from it or close it. Valid as long as the log. -1 if `log` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_fd(log: *const gometa_log_t) -> i32 {
    read!(log, -1, |log| log.descriptor)
}

/// Takes the next record; waits for at most `timeout_ms`, 0 means not at all. Free with gometa_log_record_free.
///
/// Returns GOMETA_DEADLINE_EXCEEDED if there is no record, GOMETA_CLOSED if the log is closed and empty.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_next(
    log: *const gometa_log_t,
    timeout_ms: u64,
    record: *mut *mut gometa_log_record_t,
    error: *mut *mut gometa_error_t,
) -> gometa_status_t {
    guarded!(Status, error, {
        let output = required!(Status, record);
        let (records, _) = handle!(Status, log).records.get(Operation::Status)?;
        output.give(records.mailbox.next(Duration::from_millis(timeout_ms))?.into());
        Ok(())
    })
}

/// Returns the level, a gometa_log_level_t. 0 if `record` is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_record_level(record: *const gometa_log_record_t) -> u32 {
    read!(record, 0, |record| record.level as u32)
}

/// Returns the time of the event in microseconds since 1970-01-01 00:00 UTC.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_record_time_us(record: *const gometa_log_record_t) -> u64 {
    read!(record, 0, |record| record.time_us)
}

/// Returns the message: a fixed phrase and fields, one line of UTF-8, for example
/// "dial failed address=127.0.0.1:5003 reason=connection refused". Valid as long as the record.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_record_message(record: *const gometa_log_record_t) -> *const c_char {
    read!(record, c"".as_ptr(), |record| record.message.as_ptr())
}

/// Frees a record. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_record_free(record: *mut gometa_log_record_t) {
    free!(record);
}

/// Closes a log: it accepts no more records, and waiting threads are woken. gometa_log_next returns the records that are
/// left, then GOMETA_CLOSED. Thread-safe. A second close is a no-op, and so is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_close(log: *const gometa_log_t) {
    let error = std::ptr::null_mut();
    guarded!(Status, error, {
        handle!(Status, log).records.get(Operation::Status)?.0.mailbox.close(true);
        Ok(())
    });
}

/// Frees a log, which must not be in use by any thread. Further records of its clients are dropped. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gometa_log_free(log: *mut gometa_log_t) {
    free!(log);
}
