//! The integrity of a node's state: the state hashes by which nodes find that one of them differs, and the faults that
//! send a node to quarantine (protocol.md 5.10).
//!
//! All nodes apply the same entries, so their state hashes are equal at every counter. A node whose hash differs has
//! applied something else, or its memory or disk has changed a record.

use alloc::{collections::VecDeque, vec::Vec};

use crate::types::NodeId;

/// The hash of a node's state after it has applied the log through a counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StateHash {
    /// The counter of the last applied entry.
    pub counter: u64,
    /// The hash.
    pub hash: u128,
}

/// The number of state hashes that are kept of a node: the last ones.
pub const STATE_HASHES_MAX: usize = 16;

/// What a node reports of its state to its leader, with each HeartbeatAck.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct StateReport {
    /// The state hashes that are not reported yet on this connection, ascending by counter; at most
    /// [`STATE_HASHES_MAX`].
    pub hashes: Vec<StateHash>,
    /// Whether the node has found damage in its log or its state.
    pub damaged: bool,
}

/// Why a node must not go on with its log and its state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// It has found damage in its log or its state.
    Damaged,
    /// Its state hash differs from this one, which a majority of all voters has.
    Diverged(StateHash),
    /// It runs on an older copy of its data directory: with this incarnation it has acknowledged the log through this counter
    /// to its leader, in this epoch, and came back to it with less.
    Outdated {
        /// The counter.
        acknowledged: u64,
    },
}

/// What a comparison of states has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IntegrityNotice {
    /// A node is at fault: this leader tells it to go into quarantine, or is the node itself and hands over.
    AtFault {
        /// The node.
        node: NodeId,
        /// The fault.
        fault: Fault,
    },
    /// A node is at fault and stays for now: without it no majority of the voters is connected and up to date, or another
    /// node is on its way back from quarantine. At most one such notice, or [`IntegrityNotice::StatesDiffer`], a minute.
    Waits {
        /// The node.
        node: NodeId,
        /// The fault.
        fault: Fault,
    },
    /// The state of this leader differs from that of a voter, and no majority of all voters has the same one.
    StatesDiffer {
        /// The counter.
        counter: u64,
    },
    /// This node does not go into quarantine as its leader tells it: its own state hash does not confirm the fault.
    Refused {
        /// The fault.
        fault: Fault,
    },
}

/// The last state hashes of one node, ascending by counter.
#[derive(Clone, Hash, Default)]
pub(crate) struct StateHashes(VecDeque<StateHash>);

impl StateHashes {
    /// Adds a hash, unless it is of an earlier counter than the last one.
    pub(crate) fn add(&mut self, hash: StateHash) {
        if self.0.back().is_some_and(|last| last.counter >= hash.counter) {
            return;
        }
        if self.0.len() == STATE_HASHES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(hash);
    }

    /// The hash at a counter.
    pub(crate) fn at(&self, counter: u64) -> Option<u128> {
        planted!(compares_hashes_of_other_counters => return self.0.back().map(|last| last.hash));
        self.0.iter().find(|own| own.counter == counter).map(|own| own.hash)
    }

    /// The hashes, the last one first.
    pub(crate) fn latest_first(&self) -> impl Iterator<Item = StateHash> + '_ {
        self.0.iter().rev().copied()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// What a node knows of its own state.
#[derive(Clone, Hash, Default)]
pub(crate) struct Integrity {
    pub(crate) hashes: StateHashes,
    /// The fault, once it is found.
    pub(crate) fault: Option<Fault>,
}

impl Integrity {
    /// The state is replaced by another one.
    pub(crate) fn reset(&mut self) {
        *self = Integrity::default();
    }

    /// What is to be reported to a leader that knows the hashes through the counter `reported`, which rises.
    pub(crate) fn report(&self, reported: &mut u64) -> StateReport {
        let mut hashes: Vec<StateHash> =
            self.hashes.latest_first().take_while(|hash| hash.counter > *reported).collect();
        hashes.reverse();
        *reported = hashes.last().map_or(*reported, |last| last.counter);
        StateReport { hashes, damaged: self.fault == Some(Fault::Damaged) }
    }

    /// Whether this node has the fault that a leader names. A leader may be wrong, or late. What this node has lost it cannot
    /// know: there the leader's memory of this node's own acks decides.
    pub(crate) fn confirms(&self, fault: Fault) -> bool {
        match fault {
            Fault::Damaged => self.fault == Some(Fault::Damaged),
            Fault::Diverged(majority) => {
                self.hashes.at(majority.counter).is_some_and(|own| own != majority.hash)
            }
            Fault::Outdated { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(counter: u64) -> StateHash {
        StateHash { counter, hash: u128::from(counter) << 64 }
    }

    #[test]
    fn the_last_hashes_are_kept_in_order() {
        let mut integrity = Integrity::default();
        for counter in [8, 4, 8, 16] {
            integrity.hashes.add(hash(counter));
        }
        assert_eq!(integrity.hashes.latest_first().collect::<Vec<_>>(), [hash(16), hash(8)]);
        for index in 3..40 {
            integrity.hashes.add(hash(index * 8));
        }
        assert_eq!(integrity.hashes.latest_first().count(), STATE_HASHES_MAX);
        assert_eq!((integrity.hashes.at(39 * 8), integrity.hashes.at(8)), (Some((39 * 8) << 64), None));
    }

    #[test]
    fn a_hash_is_reported_once() {
        let mut integrity = Integrity::default();
        let mut reported = 0;
        integrity.hashes.add(hash(8));
        integrity.hashes.add(hash(16));
        assert_eq!(integrity.report(&mut reported).hashes, [hash(8), hash(16)]);
        assert_eq!(integrity.report(&mut reported), StateReport::default());
        integrity.hashes.add(hash(24));
        assert_eq!(integrity.report(&mut reported).hashes, [hash(24)]);
    }

    #[test]
    fn a_fault_is_confirmed_by_the_nodes_own_hash_only() {
        let mut integrity = Integrity::default();
        integrity.hashes.add(hash(8));
        let other = StateHash { counter: 8, hash: 1 };
        assert!(integrity.confirms(Fault::Diverged(other)));
        assert!(!integrity.confirms(Fault::Diverged(hash(8))));
        assert!(!integrity.confirms(Fault::Diverged(StateHash { counter: 9, hash: 1 })));
        assert!(!integrity.confirms(Fault::Damaged));
        integrity.fault = Some(Fault::Damaged);
        assert!(integrity.confirms(Fault::Damaged));
        integrity.reset();
        assert!(!integrity.confirms(Fault::Damaged) && !integrity.confirms(Fault::Diverged(other)));
    }
}
