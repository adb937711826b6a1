//! One node's process: the real [`Node`], its clock, what has arrived and not been taken in yet.
//!
//! There is no wall clock here, since nothing that a node does depends on one: `zab`, `store` and `node` are given
//! monotonic time and cannot ask for any, and the server asks for none but for the times in its log. So there is
//! nothing that a jump of the wall clock could change. Monotonic time runs too fast or too slow, and starts
//! anywhere.

use gometa_node::{Event, Node};
use gometa_proto::v1::View;
use gometa_zab::{Addresses, DiskSpace, Role, Ticks, Token};

use crate::{
    disk::{Disk, TableView},
    random::Random,
    transfers::Transfers,
};

/// Monotonic time as one process sees it: from an arbitrary start, a little too fast or too slow.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: u64,
    offset: u64,
    /// Ticks of this clock in a million of true microseconds.
    rate: u64,
}

impl Clock {
    /// A clock that is wrong by at most `drift` per million.
    pub fn new(now: u64, drift: u32, random: &mut Random) -> Clock {
        let drift = u64::from(drift);
        let rate = random.between(1_000_000 - drift, 1_000_000 + drift);
        Clock { started: now, offset: random.below(1 << 40), rate }
    }

    /// What it shows.
    pub fn at(&self, now: u64) -> Ticks {
        Ticks(self.offset + (now - self.started) * self.rate / 1_000_000)
    }
}

/// One node's machine.
pub struct Process {
    /// The node, while the process runs.
    pub node: Option<Node<TableView>>,
    /// Which process this is; rises with each start, also over replaced directories.
    pub life: u64,
    /// What the process announces of itself.
    pub addresses: Addresses,
    /// The last view that its clients were sent.
    pub view: View,
    /// The process's clock.
    pub clock: Clock,
    /// The node's storage.
    pub disk: Disk,
    /// How much space the disk has.
    pub space: DiskSpace,
    /// A write that has exchanged the table, of which the node has not learned.
    pub installed: Option<Token>,
    /// Snapshots that are sent and received.
    pub transfers: Transfers,
    /// What has happened to the node since its last step.
    pub inbox: Vec<Event>,
    /// A wake-up is in flight.
    pub waking: bool,
    /// The process is stopped, as by SIGSTOP, until then.
    pub paused_until: u64,
    /// Since when it was last stopped so.
    pub paused_since: u64,
    /// The process ends before the effect after this many more.
    pub crashes_after: Option<u32>,
    /// Its disk has broken a promise, was lost, or it never comes back: of the minority that a quorum makes up for.
    pub counted_as_lost: bool,
    /// Its directory was replaced, and the new one is sound: it is not lost any more when it is a voter again.
    pub replaced: bool,
    /// A record of its table was altered, and the table was not replaced since.
    pub altered: bool,
    /// It has gone into quarantine.
    pub quarantined: bool,
    /// It does not run, and is not started again.
    pub stopped: bool,
    /// It leads, or is about to.
    pub leads: bool,
    /// What it does.
    pub role: Role,
    /// It has been established as leader since its process started.
    pub led: bool,
    /// It has begun to hand over of its own accord since its process started.
    pub deferred: bool,
}

impl Process {
    /// A machine whose process does not run.
    pub fn new(disk: Disk) -> Process {
        Process {
            node: None,
            life: 0,
            addresses: Addresses::default(),
            view: View::default(),
            clock: Clock { started: 0, offset: 0, rate: 1_000_000 },
            disk,
            space: DiskSpace::default(),
            installed: None,
            transfers: Transfers::default(),
            inbox: Vec::new(),
            waking: false,
            paused_until: 0,
            paused_since: 0,
            crashes_after: None,
            counted_as_lost: false,
            replaced: false,
            altered: false,
            quarantined: false,
            stopped: false,
            leads: false,
            role: Role::Forming,
            led: false,
            deferred: false,
        }
    }

    /// Its present directory is lost, or breaks what it promised.
    pub fn count_as_lost(&mut self) {
        (self.counted_as_lost, self.replaced) = (true, false);
    }

    /// Whether the process runs, paused or not.
    pub fn is_up(&self) -> bool {
        self.node.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn clocks_drift_within_their_bound_and_never_go_back() {
        let mut random = Random::new(5, Stream::Machine);
        for _ in 0..100 {
            let clock = Clock::new(1_000, 50_000, &mut random);
            let start = clock.at(1_000);
            let second = clock.at(1_001_000).since(start);
            assert!((950_000..=1_050_000).contains(&second), "{second}");
            assert!(clock.at(1_001) >= start);
        }
    }
}
