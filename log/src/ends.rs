//! The end of each epoch in the log, which gives the epoch of every counter without reading it.

use gometa_zab::Zxid;

/// The base and the end of each epoch above it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ends {
    base: Zxid,
    ends: Vec<Zxid>,
}

impl Ends {
    /// An empty log above this base.
    pub(crate) fn new(base: Zxid) -> Ends {
        Ends { base, ends: Vec::new() }
    }

    pub(crate) fn base(&self) -> Zxid {
        self.base
    }

    /// Ascending: each epoch that has entries, with its last counter.
    pub(crate) fn ends(&self) -> &[Zxid] {
        &self.ends
    }

    /// The log's last entry, or its base.
    pub(crate) fn last(&self) -> Zxid {
        self.ends.last().copied().unwrap_or(self.base)
    }

    /// The zxid at this counter, from the base to the last entry.
    pub(crate) fn at(&self, counter: u64) -> Option<Zxid> {
        if counter <= self.base.counter {
            return (counter == self.base.counter).then_some(self.base);
        }
        let run = self.ends.partition_point(|end| end.counter < counter);
        self.ends.get(run).map(|end| Zxid { epoch: end.epoch, counter })
    }

    /// Whether the log contains this zxid, or has it as its base.
    pub(crate) fn contains(&self, zxid: Zxid) -> bool {
        self.at(zxid.counter) == Some(zxid)
    }

    /// Whether an entry may be directly after the last one.
    pub(crate) fn accepts(&self, zxid: Zxid) -> bool {
        let last = self.last();
        last.counter.checked_add(1) == Some(zxid.counter) && zxid.epoch >= last.epoch && zxid.epoch.0 > 0
    }

    /// Appends an entry that the log [accepts](Ends::accepts).
    pub(crate) fn append(&mut self, zxid: Zxid) {
        match self.ends.last_mut() {
            Some(end) if end.epoch == zxid.epoch => *end = zxid,
            _ => self.ends.push(zxid),
        }
    }

    /// Removes everything above a zxid that the log [contains](Ends::contains).
    pub(crate) fn truncate(&mut self, to: Zxid) {
        let keep = self.ends.partition_point(|end| end.counter < to.counter);
        self.ends.truncate(keep);
        if to != self.base {
            self.ends.push(to);
        }
    }

    /// Raises the base to a zxid that the log [contains](Ends::contains).
    pub(crate) fn compact(&mut self, base: Zxid) {
        let gone = self.ends.partition_point(|end| end.counter <= base.counter);
        self.ends.drain(..gone);
        self.base = base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_plain_list() {
        let mut ends = Ends::new(Zxid::ZERO);
        // The base, then the entries.
        let mut list = vec![Zxid::ZERO];
        // A fixed walk: mostly appends in rising epochs, with truncations and compactions to different positions.
        let mut state = 1_u64;
        let mut epoch = 1;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let draw = state >> 33;
            let at = (draw / 20) as usize % list.len();
            match draw % 20 {
                0 => {
                    ends.truncate(list[at]);
                    list.truncate(at + 1);
                }
                1 => {
                    ends.compact(list[at]);
                    list.drain(..at);
                }
                2 => epoch += 1,
                _ => {
                    let next = Zxid::new(epoch, list[list.len() - 1].counter + 1);
                    assert!(ends.accepts(next));
                    ends.append(next);
                    list.push(next);
                }
            }
            assert_eq!((ends.base(), ends.last()), (list[0], list[list.len() - 1]));
            let probe = list[(draw / 100) as usize % list.len()];
            assert!(ends.contains(probe));
            assert!(!ends.contains(Zxid::new(probe.epoch.0 + 1, probe.counter)));
            assert!(!ends.contains(Zxid::new(epoch, ends.last().counter + 1)));
            assert!(probe == list[0] || !ends.accepts(probe));
            let mut expected: Vec<Zxid> = Vec::new();
            for zxid in &list[1..] {
                match expected.last_mut() {
                    Some(end) if end.epoch == zxid.epoch => *end = *zxid,
                    _ => expected.push(*zxid),
                }
            }
            assert_eq!(ends.ends(), expected);
        }
    }
}
