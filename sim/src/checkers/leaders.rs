//! 7. **Primary integrity**: before an epoch's first proposal, its leader's log holds every entry of lower epochs
//!    that any node ever applies. (What is applied is committed, so `commits` checks this with 10.)
//! 8. **Leader uniqueness**: an epoch is promised to one node, and at most one is ever established in it.
//! 9. **Initial-history prefix**: of two established epochs, the lower one's initial history is a prefix of the
//!    higher one's.
//!
//! And rule 18: an epoch becomes a node's current one only when its whole initial history is durable there.

use std::collections::BTreeMap;

use gometa_zab::{Epoch, LogEntry, Zxid};

use super::{Check, ensure};
use crate::disk::{Disk, Image};

/// The leader of an epoch that is over.
const NOBODY: usize = usize::MAX;

/// One epoch's leadership.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Leadership {
    pub(super) leader: usize,
    /// The end of the initial history.
    pub(super) initial: Zxid,
    pub(super) established: bool,
}

/// All leaderships so far, and with them the shape of all logs.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Leaders {
    epochs: BTreeMap<u64, Leadership>,
}

impl Leaders {
    /// The leaderships that a log of entries shows, all of them established and over.
    pub(super) fn of_log(log: &[LogEntry]) -> Leaders {
        let mut leaders = Leaders::default();
        let mut previous = Zxid::ZERO;
        for LogEntry { zxid, .. } in log {
            let leadership = Leadership { leader: NOBODY, initial: previous, established: true };
            leaders.epochs.entry(zxid.epoch.0).or_insert(leadership);
            previous = *zxid;
        }
        leaders
    }

    pub(super) fn get(&self, epoch: u64) -> Option<&Leadership> {
        self.epochs.get(&epoch)
    }

    pub(super) fn established_count(&self) -> usize {
        self.epochs.values().filter(|leadership| leadership.established).count()
    }

    /// The established leaderships of higher epochs.
    pub(super) fn established_above(&self, epoch: u64) -> impl Iterator<Item = (u64, &Leadership)> {
        let above = self.epochs.range(epoch + 1..);
        above.filter(|(_, leadership)| leadership.established).map(|(epoch, leadership)| (*epoch, leadership))
    }

    /// A quorum has promised an epoch to a node whose history ends at `last`.
    pub(super) fn discovered(&mut self, node: usize, epoch: Epoch, last: Zxid, disk: &Disk) -> Check {
        ensure!(
            disk.issued.last() == last && disk.durable.last() == last,
            "14 durable before sent",
            "n{node} computes the initial history of epoch {epoch} as ending at {last}, its durable log ends at {}",
            disk.durable.last()
        );
        let leadership = Leadership { leader: node, initial: last, established: false };
        let known = *self.epochs.entry(epoch.0).or_insert(leadership);
        ensure!(
            known.leader == node && known.initial == last,
            "8 leader uniqueness",
            "epoch {epoch} was promised to n{} ({}) and to n{node} ({last})",
            known.leader,
            known.initial
        );
        Ok(())
    }

    /// A node is established.
    pub(super) fn established(&mut self, node: usize, epoch: Epoch, last: Zxid) -> Check {
        let known = self.epochs.get(&epoch.0).copied();
        let fits = known.is_some_and(|known| known.leader == node && known.initial == last);
        ensure!(
            fits,
            "8 leader uniqueness",
            "n{node} is established in epoch {epoch} at {last}, known: {known:?}"
        );
        for (other, leadership) in self.epochs.iter().filter(|(_, leadership)| leadership.established) {
            let (lower, higher) =
                if *other < epoch.0 { (leadership.initial, last) } else { (last, leadership.initial) };
            ensure!(
                self.is_prefix(lower, higher),
                "9 initial-history prefix",
                "epochs {other} and {epoch} are established, but {lower} is not in the history of {higher}"
            );
        }
        if let Some(leadership) = self.epochs.get_mut(&epoch.0) {
            leadership.established = true;
        }
        Ok(())
    }

    /// A node has made an epoch its current one.
    pub(super) fn joined(&self, node: usize, image: &Image) -> Check {
        let epoch = image.hard_state.current_epoch;
        let known = self.epochs.get(&epoch.0);
        let holds = known.is_some_and(|leadership| image.contains(leadership.initial));
        ensure!(
            holds,
            "rule 18, history before epoch",
            "n{node} made epoch {epoch} its current one, its log ends at {}, known: {known:?}",
            image.last()
        );
        Ok(())
    }

    /// Whether `x` stands in the log that ends at `y`.
    pub(super) fn is_prefix(&self, x: Zxid, y: Zxid) -> bool {
        x.counter <= y.counter && self.at(y, x.counter) == x
    }

    /// The zxid at a counter of the log that ends at `tip`; the counter must not be above the tip's.
    pub(super) fn at(&self, tip: Zxid, counter: u64) -> Zxid {
        let mut tip = tip;
        loop {
            let base = self.epochs.get(&tip.epoch.0).map_or(Zxid::ZERO, |leadership| leadership.initial);
            if counter > base.counter || tip.epoch.0 == 0 {
                return Zxid::new(tip.epoch.0, counter);
            }
            tip = base;
        }
    }
}
