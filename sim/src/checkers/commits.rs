//! 3. **Agreement**, 4. **Total order**, 6. **Global primary order**: what nodes apply are prefixes of one log.
//! 10. **Leader completeness** (and 7, primary integrity): an established leader's initial history holds every
//!     entry committed in lower epochs, where committed = durable on a quorum whose current epoch is the one that
//!     replicated it, whether a node knows it or not.
//! 15. **Commit monotone**: a commit index is sent only with such a quorum; nothing is applied before it is
//!     committed and durable at the applying node; what is applied or committed is never truncated.

use std::collections::BTreeMap;

use gometa_zab::{Epoch, LogEntry, Zxid};

use super::{
    Check,
    configurations::{Configurations, Directory},
    ensure,
    leaders::Leaders,
    log::Registry,
};
use crate::disk::{Disk, Image};

/// The one committed log.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Commits {
    /// For each epoch: how far each data directory has ever held its leader's log durably while it was its current epoch.
    held: BTreeMap<u64, BTreeMap<Directory, u64>>,
    /// For each epoch: what it has committed.
    tips: BTreeMap<u64, Zxid>,
    /// The entry with counter c stands at c - 1.
    log: Vec<Zxid>,
}

impl Commits {
    /// A log of which everything is committed, in the epoch of its last entry, by the only voter.
    pub(super) fn of_log(log: &[LogEntry], voter: Directory) -> Commits {
        let log: Vec<Zxid> = log.iter().map(|entry| entry.zxid).collect();
        let tip = log.last().copied().unwrap_or(Zxid::ZERO);
        Commits {
            held: BTreeMap::from([(tip.epoch.0, BTreeMap::from([(voter, tip.counter)]))]),
            tips: BTreeMap::from([(tip.epoch.0, tip)]),
            log,
        }
    }

    /// The last committed entry that a log has.
    pub(super) fn last_in(&self, image: &Image) -> Zxid {
        let both = self.log.iter().zip(&image.log);
        both.take_while(|(ours, entry)| **ours == entry.zxid).last().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    pub(super) fn count(&self) -> u64 {
        self.log.len() as u64
    }

    /// Whether this entry is committed; the genesis is.
    pub(super) fn contains(&self, zxid: Zxid) -> bool {
        zxid == Zxid::ZERO || (zxid.counter <= self.count() && self.zxid(zxid.counter) == zxid)
    }

    /// The committed entry with this counter.
    pub(super) fn zxid(&self, counter: u64) -> Zxid {
        self.log[counter as usize - 1]
    }

    /// The durable image of a node has changed.
    pub(super) fn hardened(
        &mut self,
        registry: &Registry,
        leaders: &Leaders,
        configurations: &Configurations,
        node: usize,
        image: &Image,
    ) -> Check {
        let epoch = image.hard_state.current_epoch;
        // It has promised a later epoch, and acknowledges nothing to this one's leader any more: what it is given by
        // a later leader may be of this epoch too, but it is there for the later one to commit.
        if image.hard_state.accepted_epoch > epoch {
            return Ok(());
        }
        let Some(leadership) = leaders.get(epoch.0) else { return Ok(()) };
        let last = image.last();
        // Behind a newer epoch's sync, the log may already have left this epoch's.
        if last.epoch != epoch && !leaders.is_prefix(last, leadership.initial) {
            return Ok(());
        }
        let held = self.held.entry(epoch.0).or_default();
        let directory = configurations.directory(node);
        if held.get(&directory).is_some_and(|held| *held >= last.counter) {
            return Ok(());
        }
        held.insert(directory, last.counter);
        self.evaluate(registry, leaders, configurations, epoch)
    }

    /// What an epoch has committed, by the latest configuration in its leader's log.
    pub(super) fn evaluate(
        &mut self,
        registry: &Registry,
        leaders: &Leaders,
        configurations: &Configurations,
        epoch: Epoch,
    ) -> Check {
        let Some(leadership) = leaders.get(epoch.0) else { return Ok(()) };
        let Some(held) = self.held.get(&epoch.0) else { return Ok(()) };
        let tip = registry.last(epoch).unwrap_or(leadership.initial);
        let voters = configurations.voters(configurations.latest(leaders, tip));
        let Some(committed) = quorum_holds(held, voters) else { return Ok(()) };
        if committed < leadership.initial.counter {
            return Ok(());
        }
        let tip = leaders.at(Zxid { epoch, counter: u64::MAX }, committed);
        self.advance(leaders, epoch, tip)
    }

    fn advance(&mut self, leaders: &Leaders, epoch: Epoch, tip: Zxid) -> Check {
        let known = self.tips.insert(epoch.0, tip);
        if known == Some(tip) {
            return Ok(());
        }
        for (higher, leadership) in leaders.established_above(epoch.0) {
            ensure!(
                leaders.is_prefix(tip, leadership.initial),
                "10 leader completeness",
                "{tip} is committed in epoch {epoch}, but epoch {higher} began with a history that ends at {}",
                leadership.initial
            );
        }
        let count = self.count();
        let shared = count.min(tip.counter);
        if shared > 0 {
            let (ours, theirs) = (self.zxid(shared), leaders.at(tip, shared));
            ensure!(
                ours == theirs,
                "3 agreement",
                "epoch {epoch} commits {theirs} where {ours} was committed before"
            );
        }
        for counter in count + 1..=tip.counter {
            self.log.push(leaders.at(tip, counter));
        }
        Ok(())
    }

    /// A leader is established.
    pub(super) fn established(
        &self,
        leaders: &Leaders,
        epoch: Epoch,
        last: Zxid,
        counted: bool,
        voters: &[Directory],
    ) -> Check {
        ensure!(
            counted,
            "8 leader uniqueness",
            "epoch {epoch} is led by a node that is counted in no quorum"
        );
        let held = self.held.get(&epoch.0);
        let by_quorum = held.and_then(|held| quorum_holds(held, voters));
        ensure!(
            by_quorum.is_some_and(|held| held >= last.counter),
            "15 commit monotone",
            "epoch {epoch} is established at {last}, but its voters hold {held:?}"
        );
        for (lower, tip) in self.tips.range(..epoch.0) {
            ensure!(
                leaders.is_prefix(*tip, last),
                "10 leader completeness",
                "epoch {epoch} begins with a history that ends at {last}, but {tip} was committed in epoch {lower}"
            );
        }
        Ok(())
    }

    /// A leader sends its commit index.
    pub(super) fn sent(&self, node: usize, epoch: Epoch, commit: u64) -> Check {
        ensure!(
            commit <= self.count(),
            "15 commit monotone",
            "n{node} says in epoch {epoch} that {commit} is committed, a quorum holds {}",
            self.count()
        );
        Ok(())
    }

    /// A node has applied through this counter.
    pub(super) fn applies(&self, node: usize, disk: &Disk, applied: u64) -> Check {
        let before = disk.applied();
        let (committed, durable) = (self.count(), disk.durable.log.len() as u64);
        ensure!(before < applied, "15 commit monotone", "n{node} applies through {applied} after {before}");
        ensure!(
            applied <= committed.min(durable),
            "15 commit monotone",
            "n{node} applies through {applied}; committed is {committed}, durable here {durable}"
        );
        for counter in before + 1..=applied {
            let (ours, theirs) = (self.zxid(counter), disk.issued.log.get(counter as usize - 1));
            ensure!(
                theirs.is_some_and(|entry| entry.zxid == ours),
                "3 agreement",
                "n{node} applies {:?} where {ours} is committed",
                theirs.map(|entry| entry.zxid)
            );
        }
        Ok(())
    }

    /// A node deletes its log through an entry.
    pub(super) fn compacts(&self, node: usize, disk: &Disk, to: Zxid) -> Check {
        let (base, flushed) = (disk.issued.base, disk.flushed());
        ensure!(
            to.counter <= flushed,
            "section 7, base <= A",
            "n{node} deletes its log through {to}, and its state is durable through {flushed}"
        );
        ensure!(
            to.counter > base.counter && disk.issued.contains(to),
            "12 log contiguity",
            "n{node} deletes its log through {to}, the base is {base}"
        );
        Ok(())
    }

    /// A node replaces state and log by a snapshot.
    pub(super) fn installs(&self, node: usize, disk: &Disk, at: Zxid) -> Check {
        ensure!(
            disk.has_received(at),
            "simulation: effects make sense",
            "n{node} installs a snapshot at {at}, which it does not have"
        );
        let (applied, last) = (disk.applied(), disk.issued.last());
        ensure!(
            at.counter > applied,
            "15 commit monotone",
            "n{node} installs a snapshot at {at}, but has applied {applied}"
        );
        let committed = at.counter <= self.count() && self.zxid(at.counter) == at;
        ensure!(
            committed,
            "15 commit monotone",
            "n{node} installs a snapshot at {at}, which is not committed"
        );
        ensure!(
            !disk.issued.contains(at),
            "14 durable before sent",
            "n{node} replaces its log, which ends at {last}, by a snapshot at {at}, which it holds"
        );
        Ok(())
    }

    /// A node cuts its log.
    pub(super) fn truncates(&self, node: usize, disk: &Disk, to: Zxid) -> Check {
        let (applied, last) = (disk.applied(), disk.issued.last());
        ensure!(
            to.counter >= applied,
            "15 commit monotone",
            "n{node} cuts its log back to {to}, but has applied {applied}"
        );
        ensure!(
            disk.issued.contains(to),
            "12 log contiguity",
            "n{node} cuts its log ({last}) to {to}, not in it"
        );
        let first = disk.issued.log.get(to.counter as usize).map(|entry| entry.zxid);
        let committed = self.log.get(to.counter as usize).copied();
        ensure!(
            first.is_none() || first != committed,
            "10 leader completeness",
            "n{node} cuts its log ({last}) to {to}, and with it {first:?}, which is committed"
        );
        Ok(())
    }
}

/// The counter through which a majority of these voters holds an epoch's log.
fn quorum_holds(held: &BTreeMap<Directory, u64>, voters: &[Directory]) -> Option<u64> {
    let mut sorted: Vec<Option<u64>> = voters.iter().map(|voter| held.get(voter).copied()).collect();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.get(voters.len() / 2).copied().flatten()
}
