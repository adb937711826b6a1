//! What a run leaves behind: a hash of everything that happened, always, and lines for people, if wanted.

use std::fmt::Write;

/// Takes a line.
pub type Sink = Box<dyn FnMut(&str)>;

/// The trace of a run.
pub struct Trace {
    hash: u64,
    sink: Option<Sink>,
    line: String,
}

impl Trace {
    /// A trace; lines go to the sink.
    pub fn new(sink: Option<Sink>) -> Trace {
        Trace { hash: 0xCBF2_9CE4_8422_2325, sink, line: String::new() }
    }

    /// The hash of all that was mixed in.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether there is a sink.
    pub fn is_wanted(&self) -> bool {
        self.sink.is_some()
    }

    /// Mixes a number into the hash.
    pub fn mix(&mut self, value: u64) {
        self.hash = (self.hash.rotate_left(5) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    /// Mixes bytes into the hash.
    pub fn mix_bytes(&mut self, bytes: &[u8]) {
        self.mix(xxhash_rust::xxh3::xxh3_64(bytes));
    }

    /// Writes a line; `line` is called only if there is a sink.
    pub fn line(&mut self, now: u64, who: Option<usize>, line: impl FnOnce() -> String) {
        let Some(sink) = &mut self.sink else { return };
        self.line.clear();
        let who = who.map_or_else(String::new, |node| format!("n{node}"));
        let written = write!(self.line, "{:>3}.{:06} {who:<3} {}", now / 1_000_000, now % 1_000_000, line());
        debug_assert!(written.is_ok());
        sink(&self.line);
    }
}
