//! The progress of commands that read or write many keys.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use super::storage::size;

/// The time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reports on standard error how far a command is: keys, bytes of keys and values, and the rate since the last report.
pub(super) struct Progress {
    shown: bool,
    keys: u64,
    bytes: u64,
    /// When the last line was written, and the number of keys then.
    last: (Instant, u64),
}

impl Progress {
    pub(super) fn new(shown: bool) -> Progress {
        Progress { shown, keys: 0, bytes: 0, last: (Instant::now(), 0) }
    }

    /// Counts a key with `bytes` bytes of key and value.
    pub(super) fn count(&mut self, bytes: usize) {
        self.keys += 1;
        self.bytes += bytes as u64;
        if self.shown && self.last.0.elapsed() >= INTERVAL {
            // If it cannot be written, the command goes on.
            let _ = writeln!(io::stderr(), "{}", self.line(self.last.0.elapsed()));
            self.last = (Instant::now(), self.keys);
        }
    }

    pub(super) fn keys(&self) -> u64 {
        self.keys
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn line(&self, since_last: Duration) -> String {
        let rate = (self.keys - self.last.1) as f64 / since_last.as_secs_f64();
        format!("{} keys, {}, {rate:.0} keys/s", self.keys, size(self.bytes))
    }
}

/// A number of keys, in words.
pub(super) fn keys(count: u64) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{count} keys") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_keys_bytes_and_the_rate_since_the_last_line() {
        let mut progress = Progress::new(false);
        (0..300).for_each(|_| progress.count(1 << 20));
        assert_eq!(progress.line(Duration::from_secs(2)), "300 keys, 300 MiB, 150 keys/s");
        progress.last.1 = 280;
        assert_eq!(progress.line(Duration::from_millis(500)), "300 keys, 300 MiB, 40 keys/s");
        assert_eq!((keys(0), keys(1)), ("0 keys".to_owned(), "1 key".to_owned()));
    }
}
