//! What decides how far the log is compacted.

use gometa_zab as zab;

/// The part of the entries that are kept, as a fraction, by which compaction advances at once.
const STEPS: u64 = 64;

/// What decides how far the log is compacted.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    /// The counter through which the table is durable.
    flushed: u64,
    /// The log above this counter is within the bound in bytes of what is kept.
    kept_above: u64,
    /// The log above this counter is within the bound in bytes of what is kept for followers.
    held_above: u64,
    /// The last (through, forced) sent to the protocol core.
    sent: (u64, u64),
}

impl Compaction {
    pub(crate) fn new(flushed: u64, base: u64) -> Compaction {
        Compaction { flushed, sent: (base, base), ..Compaction::default() }
    }

    /// The table is durable through this counter.
    pub(crate) fn flushed(&mut self, counter: u64) {
        self.flushed = self.flushed.max(counter);
    }

    /// The log above these counters is within its bounds in bytes.
    pub(crate) fn bounded(&mut self, kept_above: u64, held_above: u64) {
        (self.kept_above, self.held_above) = (kept_above, held_above);
    }

    /// What to tell the protocol core, if that has risen enough: no entry of which the table is not durable is deleted, so
    /// that a restart finds all that it needs. `end` is the end of the log, of which `kept` entries stay, and `held` more
    /// while a follower needs them.
    pub(crate) fn advance(&mut self, flushed: u64, end: u64, (kept, held): (u64, u64)) -> Option<zab::Event> {
        let kept_above = end.saturating_sub(kept).max(self.kept_above);
        let through = flushed.min(kept_above);
        let forced = through.min(end.saturating_sub(kept).saturating_sub(held).max(self.held_above));
        // Large entries fill the bound in bytes while they are few.
        let step = (end.saturating_sub(kept_above) / STEPS).max(1);
        if through < self.sent.0 + step && forced < self.sent.1 + step {
            return None;
        }
        probe!("compact.waits-for-flush", end.saturating_sub(kept) > flushed);
        self.sent = (through, forced);
        Some(zab::Event::MayCompact { through, forced })
    }

    /// The counter through which the table is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.flushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries to keep, and to hold more for followers.
    const ENTRIES: (u64, u64) = (6_400, 6_400);

    fn step(compaction: &mut Compaction, flushed: u64, end: u64) -> Option<(u64, u64)> {
        compaction.advance(flushed, end, ENTRIES).map(|event| match event {
            zab::Event::MayCompact { through, forced } => (through, forced),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn small_entries_are_deleted_in_steps() {
        let mut compaction = Compaction::new(0, 0);
        assert_eq!(step(&mut compaction, 6_499, 6_499), None);
        assert_eq!(step(&mut compaction, 6_500, 6_500), Some((100, 0)));
        assert_eq!(step(&mut compaction, 6_599, 6_599), None);
    }

    #[test]
    fn large_entries_are_deleted_while_they_are_few() {
        let mut compaction = Compaction::new(0, 0);
        // The bound in bytes leaves ten entries.
        compaction.bounded(990, 980);
        assert_eq!(step(&mut compaction, 1_000, 1_000), Some((990, 980)));
        compaction.bounded(991, 981);
        assert_eq!(step(&mut compaction, 1_001, 1_001), Some((991, 981)));
        // Nothing is deleted that the table does not have durably.
        compaction.bounded(1_100, 1_090);
        assert_eq!(step(&mut compaction, 1_050, 1_110), Some((1_050, 1_050)));
    }
}
