//! Standard output and standard error, written by threads of their own.
//!
//! A write to a full pipe blocks until the pipe is read, possibly for ever, so all other threads only queue lines here.
//! Each stream has a bounded queue and a thread of its own: a blocked standard error does not delay the READY line on
//! standard output.
//!
//! When a queue is full, lines are dropped until everything queued is written; then one line counts the dropped ones.
//! The end of the process waits for queued lines, [`FLUSH_TIMEOUT`] at most.
//!
//! The output of `-help`, `-version` and `-check` is written directly, so that a failed write fails the process.

use std::{
    collections::VecDeque,
    io::{self, Write},
    os::fd::AsFd,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

use crate::process::log_format;

/// Bytes of lines queued for one stream.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// The bytes counted for a queued line beside its text.
const LINE_OVERHEAD: usize = 64;
/// The time that the end of the process waits for queued lines.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

static STREAMS: OnceLock<Streams> = OnceLock::new();

struct Streams {
    out: Output,
    err: Output,
}

/// The streams, whose threads start with the first use.
fn streams() -> &'static Streams {
    STREAMS.get_or_init(|| Streams {
        out: Output::start("gometa-stdout", Descriptor(rustix::stdio::stdout()), DroppedLines::Ignored),
        err: Output::start("gometa-stderr", Descriptor(rustix::stdio::stderr()), DroppedLines::Counted),
    })
}

/// Queues log lines, newline included, for standard error. Never blocks; drops them if the queue is full.
pub(crate) fn log(lines: &[u8]) {
    streams().err.put(lines);
}

/// Queues the last line for standard error, newline included. It is never dropped; later lines are.
pub(crate) fn last(line: Vec<u8>) {
    let err = &streams().err;
    if err.has_thread {
        err.put_last(line);
    } else {
        // No thread could be started, so the process ends and no other thread waits for this write.
        drop(Descriptor(rustix::stdio::stderr()).write_all(&line));
    }
}

/// Queues a line for standard output, newline included. It is never dropped: there are few such lines.
pub(crate) fn announce(line: &[u8]) {
    streams().out.put_always(line);
}

/// Writes directly to standard output, for a program that ends afterwards. It is no error if nobody reads it.
///
/// # Errors
/// One line.
pub(crate) fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Waits until everything queued is written, [`FLUSH_TIMEOUT`] at most.
pub(crate) fn finish() {
    let until = Instant::now() + FLUSH_TIMEOUT;
    if let Some(streams) = STREAMS.get() {
        streams.out.wait(until);
        streams.err.wait(until);
    }
}

/// A stream without the buffers and locks of the standard library, which a blocked write would hold.
struct Descriptor<F>(F);

impl<F: AsFd> Write for Descriptor<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.0, bytes) {
                // Another process that shares the stream has made it non-blocking.
                Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None)),
                written => break Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether an output writes the number of lines that it has dropped.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum DroppedLines {
    #[default]
    Ignored,
    Counted,
}

/// A bounded queue of lines, and the thread that writes them.
struct Output {
    shared: Arc<Shared>,
    has_thread: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// There is something to write.
    wake: Condvar,
    /// Everything is written.
    idle: Condvar,
}

#[derive(Default)]
struct Queue {
    report: DroppedLines,
    lines: VecDeque<Vec<u8>>,
    /// The bytes of `lines`, with their overhead.
    bytes: usize,
    /// Lines are dropped until `lines` is empty.
    full: bool,
    /// The number of lines that were dropped, or failed to be written, since the last report.
    dropped: u64,
    /// The latest write failed. The report of dropped lines waits until one succeeds.
    broken: bool,
    /// A line is being written.
    writing: bool,
    /// Written after all lines.
    last: Option<Vec<u8>>,
    /// The last line was queued; later lines are ignored.
    closed: bool,
}

impl Queue {
    /// The next line to write; the report of dropped lines comes before the last line.
    fn next(&mut self) -> Option<Next> {
        if let Some(line) = self.lines.pop_front() {
            self.bytes -= line.len() + LINE_OVERHEAD;
            return Some(Next::Line(line));
        }
        self.full = false;
        if self.must_report() {
            return Some(Next::Report(std::mem::take(&mut self.dropped)));
        }
        self.last.take().map(Next::Line)
    }

    fn must_report(&self) -> bool {
        self.report == DroppedLines::Counted && self.dropped > 0 && !self.broken
    }

    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.last.is_none() && !self.writing && !self.must_report()
    }
}

/// What the thread writes next.
enum Next {
    /// A line, newline included.
    Line(Vec<u8>),
    /// The report of this many dropped lines.
    Report(u64),
}

impl Output {
    /// An output whose thread has this name. If the thread cannot be started, all lines are dropped.
    fn start(name: &str, sink: impl Write + Send + 'static, report: DroppedLines) -> Output {
        let queue = Mutex::new(Queue { report, ..Queue::default() });
        let shared = Arc::new(Shared { queue, wake: Condvar::new(), idle: Condvar::new() });
        let worker = shared.clone();
        let started = thread::Builder::new().name(name.to_owned()).spawn(move || worker.run(sink));
        let has_thread = started.is_ok();
        shared.queue.lock().closed = !has_thread;
        Output { shared, has_thread }
    }

    /// Queues a line, or drops it if too much is queued.
    fn put(&self, line: &[u8]) {
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            return;
        }
        queue.full |= queue.bytes + line.len() + LINE_OVERHEAD > QUEUE_BYTES_MAX;
        if queue.full {
            queue.dropped += 1;
        } else {
            self.shared.push(queue, line);
        }
    }

    /// Queues a line, even beyond the bound.
    fn put_always(&self, line: &[u8]) {
        let queue = self.shared.queue.lock();
        if !queue.closed {
            self.shared.push(queue, line);
        }
    }

    /// Queues the last line, if there is none yet.
    fn put_last(&self, line: Vec<u8>) {
        let mut queue = self.shared.queue.lock();
        if !queue.closed {
            queue.closed = true;
            queue.last = Some(line);
            drop(queue);
            self.shared.wake.notify_one();
        }
    }

    /// Waits until everything is written, but not beyond `until`; returns whether it is.
    fn wait(&self, until: Instant) -> bool {
        let mut queue = self.shared.queue.lock();
        self.shared.idle.wait_while_until(&mut queue, |queue| !queue.is_idle(), until);
        queue.is_idle()
    }
}

impl Shared {
    fn push(&self, mut queue: MutexGuard<'_, Queue>, line: &[u8]) {
        queue.bytes += line.len() + LINE_OVERHEAD;
        queue.lines.push_back(line.to_vec());
        drop(queue);
        self.wake.notify_one();
    }

    /// Writes lines for as long as the process runs. Holds no lock while it writes.
    fn run(&self, mut sink: impl Write) {
        let mut queue = self.queue.lock();
        loop {
            let Some(next) = queue.next() else {
                self.idle.notify_all();
                self.wake.wait(&mut queue);
                continue;
            };
            queue.writing = true;
            drop(queue);
            let (lines, text) = match next {
                Next::Line(line) => (1, line),
                Next::Report(dropped) => (dropped, log_format::dropped_lines(dropped)),
            };
            // On a closed stream or a full disk the lines are lost, and the node goes on.
            let written = sink.write_all(&text).and_then(|()| sink.flush());
            queue = self.queue.lock();
            queue.writing = false;
            queue.broken = written.is_err();
            if queue.broken {
                queue.dropped += lines;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        sync::mpsc::{Receiver, SyncSender, sync_channel},
    };

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// A sink that blocks each write until the test permits it, and sends what was written to the test.
    struct Gate {
        permits: Receiver<io::Result<()>>,
        written: SyncSender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // After the test, all writes are permitted.
            self.permits.recv().unwrap_or(Ok(()))?;
            drop(self.written.send(String::from_utf8_lossy(bytes).into_owned()));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Output, SyncSender<io::Result<()>>, Receiver<String>) {
        let ((permit, permits), (sender, written)) = (sync_channel(1 << 16), sync_channel(1 << 16));
        let gate = Gate { permits, written: sender };
        (Output::start("test", gate, DroppedLines::Counted), permit, written)
    }

    fn next(written: &Receiver<String>) -> String {
        written.recv_timeout(TIMEOUT).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + TIMEOUT
    }

    #[test]
    fn lines_are_written_in_order_and_flushed() {
        let (output, permit, written) = gated();
        for line in ["a\n", "b\n"] {
            output.put(line.as_bytes());
            permit.send(Ok(())).unwrap();
        }
        assert!(output.wait(soon()));
        assert_eq!((next(&written), next(&written)), ("a\n".to_owned(), "b\n".to_owned()));
    }

    #[test]
    fn with_a_blocked_reader_lines_are_dropped_and_counted_and_nothing_waits() {
        let (output, permit, written) = gated();
        let line = format!("{}\n", "x".repeat(1_000));
        let count = 10 * QUEUE_BYTES_MAX / line.len();
        let begun = Instant::now();
        (0..count).for_each(|_| output.put(line.as_bytes()));
        assert!(begun.elapsed() < TIMEOUT, "queueing waits for the reader");
        assert!(output.shared.queue.lock().bytes <= QUEUE_BYTES_MAX);
        assert!(!output.wait(Instant::now() + Duration::from_millis(1)));
        output.put_last(b"the last line\n".to_vec());
        output.put(b"after the last line\n");
        (0..count + 2).for_each(|_| permit.send(Ok(())).unwrap());
        assert!(output.wait(soon()));
        let all: Vec<String> = written.try_iter().collect();
        let kept = all.iter().filter(|text| **text == line).count();
        assert!(kept > 0 && kept < count, "{kept} of {count}");
        assert_eq!(all.len(), kept + 2, "{all:?}");
        assert!(
            all[kept].contains(&format!(
                "log lines dropped, standard error was not read in time count={}\n",
                count - kept
            )),
            "{}",
            all[kept]
        );
        assert_eq!(all[kept + 1], "the last line\n");
    }

    #[test]
    fn after_dropped_lines_later_ones_are_written() {
        let (output, permit, written) = gated();
        let line = vec![b'x'; QUEUE_BYTES_MAX / 2];
        for _ in 0..4 {
            output.put(&line);
        }
        for _ in 0..4 {
            permit.send(Ok(())).unwrap();
        }
        assert!(output.wait(soon()));
        output.put(b"next\n");
        permit.send(Ok(())).unwrap();
        assert!(output.wait(soon()));
        let all: Vec<String> = written.try_iter().collect();
        let [lines @ .., report, next] = &all[..] else { panic!("{}", all.len()) };
        assert!(report.contains(&format!(" count={}\n", 4 - lines.len())), "{report}");
        assert_eq!(next, "next\n");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_as_dropped_when_a_write_succeeds() {
        let (output, permit, written) = gated();
        for _ in 0..3 {
            output.put(b"lost\n");
            permit.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        }
        // The report is delayed: it would be lost as well.
        assert!(output.wait(soon()));
        output.put(b"kept\n");
        permit.send(Ok(())).unwrap();
        permit.send(Ok(())).unwrap();
        assert!(output.wait(soon()));
        assert_eq!(next(&written), "kept\n");
        let report = next(&written);
        assert!(report.ends_with(" count=3\n"), "{report}");
    }

    #[test]
    fn a_non_blocking_stream_is_waited_for() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let mut filled = 0;
        while let Ok(count) = writer.write(&[0; 4_096]) {
            filled += count;
        }
        let output = Output::start("test", Descriptor(writer), DroppedLines::Counted);
        output.put(b"line\n");
        assert!(!output.wait(Instant::now() + Duration::from_millis(1)));
        let mut all = vec![0; filled + 5];
        reader.read_exact(&mut all).unwrap();
        assert_eq!(&all[filled..], b"line\n");
        assert!(output.wait(soon()));
    }

    #[test]
    fn lines_that_must_not_be_lost_are_queued_beyond_the_bound() {
        let (output, permit, written) = gated();
        let line = vec![b'x'; QUEUE_BYTES_MAX / 3];
        (0..5).for_each(|_| output.put(&line));
        output.put_always(b"GOMETA READY\n");
        (0..10).for_each(|_| permit.send(Ok(())).unwrap());
        assert!(output.wait(soon()));
        assert!(written.try_iter().any(|text| text == "GOMETA READY\n"));
    }
}
