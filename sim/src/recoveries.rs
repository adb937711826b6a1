//! What a run remembers of the losses of a majority (`ensemble/recoveries.rs`).

use std::collections::{BTreeMap, BTreeSet};

use crate::random::{Random, Stream};

/// The value and the revision of each key.
pub(crate) type Records = Vec<Option<(u64, u64)>>;

/// The recoveries of a run.
pub(crate) struct Recoveries {
    pub(crate) random: Random,
    /// Majorities that are still to be lost.
    pub(crate) left: u32,
    /// The number of the present one; 0 before the first.
    pub(crate) number: u32,
    /// The voters that are left, from the loss until the ensemble is founded anew.
    pub(crate) survivors: Vec<usize>,
    /// Starts and replacements that are due.
    pub(crate) due: usize,
    /// The nodes that are to be voters.
    pub(crate) joining: BTreeSet<usize>,
    /// The nodes that have started with the data of an earlier history.
    pub(crate) revived: Vec<usize>,
    /// What each history that was founded anew began with.
    pub(crate) first: BTreeMap<u64, Records>,
}

impl Recoveries {
    pub(crate) fn new(seed: u64, left: u32) -> Recoveries {
        Recoveries {
            random: Random::new(seed, Stream::Recovery),
            left,
            number: 0,
            survivors: Vec::new(),
            due: 0,
            joining: BTreeSet::new(),
            revived: Vec::new(),
            first: BTreeMap::new(),
        }
    }

    /// The value and the revision of a key when this history began; `None` if it was absent.
    pub(crate) fn record_at_first(&self, history: u64, key: usize) -> Option<(u64, u64)> {
        self.first.get(&history).and_then(|records| records[key])
    }
}
