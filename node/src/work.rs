//! The bound of what a step does to apply entries.

/// The most keys, and entries without one, that are looked up or applied in one step, about.
const STEP_KEYS_MAX: usize = 2_000;

/// The bytes of payloads and records at which a step applies no more.
const STEP_BYTES_MAX: usize = 8 << 20;

/// What a step has done to apply entries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    keys: usize,
    bytes: usize,
}

impl Work {
    /// Whether the step must end, with work left perhaps.
    pub(crate) fn is_full(&self) -> bool {
        self.keys >= STEP_KEYS_MAX || self.bytes >= STEP_BYTES_MAX
    }

    /// Accounts an entry of so many keys that was looked up for or applied, and the bytes that were touched.
    pub(crate) fn add(&mut self, keys: usize, bytes: usize) {
        self.keys += keys.max(1);
        self.bytes += bytes;
    }
}
