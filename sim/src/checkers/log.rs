//! 1. **Integrity**: every entry in any log was proposed by the established leader of its epoch.
//! 2. **Identity**: equal zxid ⇒ equal payload, everywhere, for ever.
//! 5. **Local primary order**: the entries of an epoch form one contiguous range of counters, beginning right
//!    after the end of its initial history.
//! 11. **Log matching**: the same zxid in two logs ⇒ equal logs up to it.
//! 12. **Log contiguity**: every entry follows its predecessor without a gap.
//!
//! All of them hold if every entry that is ever appended or sent has the same payload and the same predecessor as
//! when its leader proposed it; so this remembers each epoch's entries in order, and what they stand on.

use std::collections::{BTreeMap, btree_map::Entry as Slot};

use bytes::Bytes;
use gometa_zab::{Epoch, Kind, LogEntry, Zxid};

use super::{Check, ensure, leaders::Leaders};

/// The entries of one epoch.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Proposals {
    /// The entry before the first.
    base: Zxid,
    entries: Vec<(Kind, Bytes)>,
}

/// Every entry ever proposed.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Registry {
    epochs: BTreeMap<u64, Proposals>,
}

impl Registry {
    /// The entries of a log.
    pub(super) fn of_log(log: &[LogEntry]) -> Registry {
        let mut registry = Registry::default();
        let mut previous = Zxid::ZERO;
        for LogEntry { zxid, kind, payload, .. } in log {
            let base = Proposals { base: previous, entries: Vec::new() };
            let proposals = registry.epochs.entry(zxid.epoch.0).or_insert(base);
            proposals.entries.push((*kind, payload.clone()));
            previous = *zxid;
        }
        registry
    }

    /// An entry is about to stand in a log, or is offered to one, behind `previous`.
    pub(super) fn admit(
        &mut self,
        leaders: &Leaders,
        node: usize,
        previous: Zxid,
        entry: &LogEntry,
    ) -> Check {
        let zxid = entry.zxid;
        ensure!(
            zxid.counter == previous.counter + 1 && zxid.epoch >= previous.epoch,
            "12 log contiguity",
            "n{node} puts {zxid} behind {previous}"
        );
        let epoch = zxid.epoch.0;
        let proposals = match self.epochs.entry(epoch) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => {
                let leadership = leaders.get(epoch);
                let proposer = leadership.filter(|it| it.established && it.leader == node);
                ensure!(
                    proposer.is_some(),
                    "1 integrity",
                    "n{node} has {zxid} first, but the leadership of that epoch is {leadership:?}"
                );
                ensure!(
                    proposer.is_some_and(|it| it.initial == previous),
                    "5 local primary order",
                    "the first proposal of epoch {epoch}, {zxid}, follows {previous}, but its leadership is {leadership:?}"
                );
                slot.insert(Proposals { base: previous, entries: Vec::new() })
            }
        };
        let Some(index) = zxid.counter.checked_sub(proposals.base.counter + 1) else {
            ensure!(
                false,
                "2 identity",
                "n{node} has {zxid}, but epoch {epoch} begins behind {}",
                proposals.base
            );
            return Ok(());
        };
        let expected = if index == 0 { proposals.base } else { Zxid::new(epoch, zxid.counter - 1) };
        ensure!(
            previous == expected,
            "11 log matching",
            "n{node} has {zxid} behind {previous}, its leader had it behind {expected}"
        );
        match proposals.entries.get(index as usize) {
            Some((kind, payload)) => {
                ensure!(
                    (*kind, payload) == (entry.kind, &entry.payload),
                    "2 identity",
                    "n{node} has {zxid} with another payload than its leader proposed"
                );
            }
            None => {
                let leader = leaders.get(epoch).map(|it| it.leader);
                ensure!(
                    index as usize == proposals.entries.len() && leader == Some(node),
                    "1 integrity",
                    "n{node} has {zxid} first, but {leader:?} leads that epoch and has proposed {}",
                    proposals.entries.len()
                );
                proposals.entries.push((entry.kind, entry.payload.clone()));
            }
        }
        Ok(())
    }

    /// The last entry that was proposed in an epoch.
    pub(super) fn last(&self, epoch: Epoch) -> Option<Zxid> {
        let proposals = self.epochs.get(&epoch.0)?;
        Some(Zxid { epoch, counter: proposals.base.counter + proposals.entries.len() as u64 })
    }

    /// The kind and the payload of an entry that was admitted.
    ///
    /// # Panics
    /// If it was not.
    pub(super) fn entry(&self, zxid: Zxid) -> (Kind, &Bytes) {
        let proposals = &self.epochs[&zxid.epoch.0];
        let (kind, payload) = &proposals.entries[(zxid.counter - proposals.base.counter - 1) as usize];
        (*kind, payload)
    }
}
