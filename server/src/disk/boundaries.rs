//! The end of each epoch in the log, which gives the epoch of every counter without reading it.

use gometa_zab::Zxid;

/// The end of each epoch in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Boundaries {
    oldest: Zxid,
    ends: Vec<Zxid>,
}

impl Boundaries {
    /// An empty log above this base.
    pub(super) fn new(oldest: Zxid) -> Boundaries {
        Boundaries { oldest, ends: Vec::new() }
    }

    /// Ascending: each epoch that has entries, with its last counter.
    pub(super) fn ends(&self) -> &[Zxid] {
        &self.ends
    }

    /// The log's last entry, or its base.
    pub(super) fn last(&self) -> Zxid {
        self.ends.last().copied().unwrap_or(self.oldest)
    }

    /// Whether the log contains this zxid, or has it as its base.
    pub(super) fn contains(&self, zxid: Zxid) -> bool {
        if zxid == self.oldest {
            return true;
        }
        let at = self.ends.partition_point(|end| end.counter < zxid.counter);
        zxid.counter > self.oldest.counter && self.ends.get(at).is_some_and(|end| end.epoch == zxid.epoch)
    }

    /// Appends an entry. Returns false, without change, if it does not follow the last one.
    pub(super) fn append(&mut self, zxid: Zxid) -> bool {
        let last = self.last();
        if last.counter.checked_add(1) != Some(zxid.counter) || zxid.epoch < last.epoch || zxid.epoch.0 == 0 {
            return false;
        }
        match self.ends.last_mut() {
            Some(end) if end.epoch == zxid.epoch => *end = zxid,
            _ => self.ends.push(zxid),
        }
        true
    }

    /// Removes everything above. Returns false, without change, if the log does not contain the zxid.
    pub(super) fn truncate(&mut self, to: Zxid) -> bool {
        if !self.contains(to) {
            return false;
        }
        let keep = self.ends.partition_point(|end| end.counter < to.counter);
        self.ends.truncate(keep);
        if to != self.oldest {
            self.ends.push(to);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_plain_list() {
        let mut boundaries = Boundaries::new(Zxid::ZERO);
        let mut list = vec![Zxid::ZERO];
        // A fixed walk: mostly appends in rising epochs, with truncations to different positions.
        let mut state = 1_u64;
        let mut epoch = 1;
        for _ in 0..5_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let draw = state >> 33;
            match draw % 10 {
                0 => {
                    let to = list[(draw / 10) as usize % list.len()];
                    assert!(boundaries.truncate(to));
                    list.truncate(to.counter as usize + 1);
                }
                1 => epoch += 1,
                _ => {
                    let next = Zxid::new(epoch, list.len() as u64);
                    assert!(boundaries.append(next));
                    list.push(next);
                }
            }
            assert_eq!(boundaries.last(), list[list.len() - 1]);
            let probe = list[(draw / 100) as usize % list.len()];
            assert!(boundaries.contains(probe));
            assert!(!boundaries.contains(Zxid::new(probe.epoch.0 + 1, probe.counter)));
            assert!(!boundaries.contains(Zxid::new(epoch, list.len() as u64)));
        }
        let mut ends: Vec<Zxid> = Vec::new();
        for zxid in &list[1..] {
            match ends.last_mut() {
                Some(end) if end.epoch == zxid.epoch => *end = *zxid,
                _ => ends.push(*zxid),
            }
        }
        assert_eq!(boundaries.ends(), ends);
    }

    #[test]
    fn refuses_what_does_not_follow() {
        let mut boundaries = Boundaries::new(Zxid::ZERO);
        assert!(!boundaries.append(Zxid::new(1, 2)), "a gap");
        assert!(!boundaries.append(Zxid::new(0, 1)), "no leadership");
        assert!(boundaries.append(Zxid::new(2, 1)));
        assert!(!boundaries.append(Zxid::new(1, 2)), "an older epoch");
        assert!(!boundaries.append(Zxid::new(2, 1)), "twice");
        assert!(!boundaries.truncate(Zxid::new(1, 1)), "another epoch");
        assert!(!boundaries.truncate(Zxid::new(2, 2)), "above the end");
        assert!(boundaries.truncate(Zxid::ZERO));
        assert_eq!(boundaries.last(), Zxid::ZERO);
    }
}
