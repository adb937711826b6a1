//! A node's log in memory: its end, its durable end, its epochs, and the most recent entries.
//!
//! Storage has the entries. Counters have no gaps, so the end of each epoch describes the whole log ([`Epochs`]); a
//! follower sends the same description to its leader (rule 12).

use alloc::{collections::VecDeque, vec::Vec};

use crate::{message::LogEntry, types::Zxid};

/// The epochs of a log: the epoch of each counter.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Epochs {
    base: Zxid,
    /// The last zxid of each epoch that has entries above `base`, ascending in epoch and counter.
    ends: Vec<Zxid>,
}

impl Epochs {
    /// The log above `base` whose epochs end at `ends`; `None` unless these ascend and are above `base`.
    pub fn new(base: Zxid, ends: Vec<Zxid>) -> Option<Epochs> {
        let ascend = ends.is_sorted_by(|a, b| a.epoch < b.epoch && a.counter < b.counter)
            && ends.first().is_none_or(|first| first.counter > base.counter && first.epoch >= base.epoch);
        ascend.then_some(Epochs { base, ends })
    }

    /// The zxid below the first entry.
    pub fn base(&self) -> Zxid {
        self.base
    }

    /// The zxid of the last entry; the base if there is none.
    pub fn last(&self) -> Zxid {
        self.ends.last().copied().unwrap_or(self.base)
    }

    /// The last zxid of each epoch, ascending.
    pub fn ends(&self) -> &[Zxid] {
        &self.ends
    }

    /// The zxid at this counter, from the base to the last entry.
    pub fn at(&self, counter: u64) -> Option<Zxid> {
        if counter == self.base.counter {
            return Some(self.base);
        }
        if counter < self.base.counter {
            return None;
        }
        let run = self.ends.partition_point(|end| end.counter < counter);
        self.ends.get(run).map(|end| Zxid { epoch: end.epoch, counter })
    }

    /// The counter before the first entry of this counter's epoch.
    fn before_epoch_of(&self, counter: u64) -> u64 {
        let run = self.ends.partition_point(|end| end.counter < counter);
        if run == 0 { self.base.counter } else { self.ends[run - 1].counter }
    }

    /// The highest zxid that both logs have; `None` if it lies below the base of either. Logs with the same epoch at a
    /// counter are equal up to it (log matching).
    pub fn common_point(&self, other: &Epochs) -> Option<Zxid> {
        let mut counter = self.last().counter.min(other.last().counter);
        loop {
            let (ours, theirs) = (self.at(counter)?, other.at(counter)?);
            // Epochs never fall along a log, so the log with the higher epoch at this counter differs from the other one
            // in that whole epoch.
            let order = ours.epoch.cmp(&theirs.epoch);
            counter = match planted!(order, compares_logs_by_length => core::cmp::Ordering::Equal) {
                core::cmp::Ordering::Equal => return Some(ours),
                core::cmp::Ordering::Greater if counter > self.base.counter => {
                    probe!("sync.leader-epoch-higher");
                    self.before_epoch_of(counter)
                }
                core::cmp::Ordering::Less if counter > other.base.counter => other.before_epoch_of(counter),
                core::cmp::Ordering::Greater | core::cmp::Ordering::Less => return None,
            };
        }
    }

    /// The same log, described only from its last `count` epochs on.
    pub fn recent(&self, count: usize) -> Epochs {
        let cut = self.ends.len().saturating_sub(count);
        if cut == 0 {
            return self.clone();
        }
        Epochs { base: self.ends[cut - 1], ends: self.ends[cut..].to_vec() }
    }

    /// Whether a log of which this one is described may hold this zxid: below the base nothing is known.
    pub(crate) fn may_hold(&self, zxid: Zxid) -> bool {
        zxid.counter < self.base.counter || self.at(zxid.counter) == Some(zxid)
    }

    fn compact(&mut self, to: Zxid) {
        self.base = to;
        self.ends.retain(|end| end.counter > to.counter);
    }

    fn push(&mut self, zxid: Zxid) {
        match self.ends.last_mut() {
            Some(end) if end.epoch == zxid.epoch => *end = zxid,
            _ => self.ends.push(zxid),
        }
    }

    fn truncate(&mut self, to: Zxid) {
        self.ends.retain(|end| end.counter <= to.counter);
        if self.last() != to {
            self.ends.push(to);
        }
    }
}

/// A node's log in memory.
#[derive(Clone, Hash, Debug)]
pub(crate) struct History {
    epochs: Epochs,
    /// The durable mark: everything through this counter is durable (rule 24).
    durable: u64,
    /// The last counter released to be applied.
    released: u64,
    /// The last counter that the caller has applied.
    applied: u64,
    /// The most recent entries, contiguous up to the last one; they include all entries that are not durable.
    tail: VecDeque<LogEntry>,
    tail_bytes: usize,
    tail_bytes_max: usize,
}

impl History {
    pub(crate) fn new(epochs: Epochs, applied: u64, released: u64, tail_bytes_max: usize) -> History {
        let last = epochs.last().counter;
        assert!(epochs.base().counter <= applied, "the log continues the table");
        assert!(
            applied <= released && released <= last,
            "entries are applied after they are released, and released after they are durable"
        );
        History {
            epochs,
            durable: last,
            released,
            applied,
            tail: VecDeque::new(),
            tail_bytes: 0,
            tail_bytes_max,
        }
    }

    pub(crate) fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// The zxid of the last entry, durable or not.
    pub(crate) fn last(&self) -> Zxid {
        self.epochs.last()
    }

    /// The zxid of the last durable entry.
    pub(crate) fn durable(&self) -> Zxid {
        self.epochs.at(self.durable).expect("the durable mark lies within the log")
    }

    pub(crate) fn released(&self) -> u64 {
        self.released
    }

    /// The last counter that the caller has applied.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    pub(crate) fn set_released(&mut self, counter: u64) {
        assert!(
            counter >= self.released && counter <= self.durable,
            "only durable entries are applied, in order"
        );
        self.released = counter;
    }

    pub(crate) fn set_applied(&mut self, counter: u64) {
        assert!(counter <= self.released, "nothing is applied before it is released");
        self.applied = self.applied.max(counter);
        self.evict();
    }

    /// Appends an entry.
    pub(crate) fn push(&mut self, entry: LogEntry) {
        let last = self.last();
        assert!(
            entry.zxid.counter == last.counter + 1 && entry.zxid.epoch >= last.epoch,
            "the log has no gaps: {:?} after {last:?}",
            entry.zxid
        );
        self.epochs.push(entry.zxid);
        self.tail_bytes += entry.size();
        self.tail.push_back(entry);
    }

    /// Truncates the log to `to`, which it contains. The durable mark falls at once (rule 24).
    pub(crate) fn truncate(&mut self, to: Zxid) {
        assert_eq!(self.epochs.at(to.counter), Some(to), "the log is truncated to one of its entries");
        assert!(to.counter >= self.released, "released entries are never truncated (invariant 15)");
        self.epochs.truncate(to);
        planted!(self.durable = self.durable.min(to.counter), keeps_durable_mark_on_truncate => {});
        let beyond = |entry: &LogEntry| planted!(entry.zxid.counter > to.counter, keeps_truncated_entries_in_memory => false);
        while self.tail.back().is_some_and(beyond) {
            self.tail_bytes -= self.tail.pop_back().map_or(0, |entry| entry.size());
        }
    }

    /// Raises the base of the log to `to`, an entry that is applied.
    pub(crate) fn compact(&mut self, to: Zxid) {
        assert_eq!(self.epochs.at(to.counter), Some(to), "the log is compacted to one of its entries");
        assert!(to.counter <= self.released, "only applied entries are deleted (table 1.5)");
        self.epochs.compact(to);
    }

    /// Replaces the log by an empty one above a snapshot, which holds everything through `base`.
    pub(crate) fn install(&mut self, base: Zxid) {
        assert!(base.counter > self.released, "a snapshot does not go back (invariant 15)");
        self.epochs = Epochs { base, ends: Vec::new() };
        self.durable = base.counter;
        self.released = base.counter;
        self.applied = base.counter;
        self.tail.clear();
        self.tail_bytes = 0;
    }

    /// Raises the durable mark to this counter.
    pub(crate) fn set_durable(&mut self, counter: u64) {
        assert!(counter <= self.last().counter, "only what is in the log becomes durable");
        self.durable = self.durable.max(counter);
        self.evict();
    }

    /// The entry at this counter, if it is in memory.
    pub(crate) fn recent(&self, counter: u64) -> Option<&LogEntry> {
        let first = self.tail.front()?.zxid.counter;
        self.tail.get(usize::try_from(counter.checked_sub(first)?).ok()?)
    }

    /// The first counter in memory; one above the last entry if there is none.
    pub(crate) fn recent_from(&self) -> u64 {
        self.tail.front().map_or(self.last().counter + 1, |entry| entry.zxid.counter)
    }

    /// Evicts old entries from memory: applied ones beyond the budget, others beyond four times the budget. Entries that
    /// are not durable stay.
    fn evict(&mut self) {
        while self.tail_bytes > self.tail_bytes_max {
            let beyond = self.tail_bytes > self.tail_bytes_max * 4;
            probe!("memory.evicts-unapplied", beyond && self.durable > self.applied);
            let keep_from = if beyond { self.durable } else { self.durable.min(self.applied) };
            match self.tail.pop_front() {
                Some(entry) if entry.zxid.counter <= keep_from => self.tail_bytes -= entry.size(),
                Some(entry) => {
                    probe!("memory.over-budget");
                    return self.tail.push_front(entry);
                }
                None => return,
            }
        }
    }
}
