//! The kinds of faults and their groups.

use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// kill -9 of one node, whatever it is.
    Kill,
    /// kill -9 of the leader.
    KillLeader,
    /// kill -9 of all nodes.
    KillAll,
    /// kill -9 of one node after the other, each started again at once, for seconds: most are hit while they open
    /// their directories, elect, or synchronise.
    KillStorm,
    /// SIGSTOP of a node that does not lead, SIGCONT later.
    Pause,
    /// The same with the leader.
    PauseLeader,
    /// The same with all nodes.
    PauseAll,
    /// A node that does not lead is cut off from the others.
    Isolate,
    /// The leader is: it has the minority.
    IsolateLeader,
    /// One direction between two nodes, or to or from one of them, is cut.
    OneWay,
    /// The leader and a follower are cut off from each other, the third has both.
    Bridge,
    /// Connections end at one node, and the other does not hear of it.
    HalfOpen,
    /// Connections are reset, several times, wherever in a frame they are.
    Reset,
    /// Every direction has a delay of its own.
    Delay,
    /// Every direction has a delay that changes all the time.
    Jitter,
    /// Datagrams are lost while the leader is killed.
    Loss,
    /// Datagrams are doubled and overtake each other while the leader is killed.
    Jumble,
    /// A disk is full.
    DiskFull,
    /// Every sync of a node fails; half of the time the power is cut afterwards.
    SyncFails,
    /// Every sync of a node is slow.
    SyncSlow,
    /// The power of one node.
    PowerCut,
    /// The power of all nodes, at one moment.
    PowerCutAll,
    /// The wall clocks of some nodes jump, and jump back.
    Clock,
    /// Bits change in a file of one node that is down.
    Flip,
}

/// What is counted together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Group {
    /// kill -9.
    Kill,
    /// Power cuts.
    PowerCut,
    /// SIGSTOP.
    Pause,
    /// Lines that are cut.
    Partition,
    /// Connections that are broken.
    Connection,
    /// Lines that are slow.
    Delay,
    /// Datagrams.
    Datagram,
    /// Full disks.
    DiskFull,
    /// Failing syncs.
    FailingSync,
    /// Slow syncs.
    SlowSync,
    /// Wall clocks.
    Clock,
    /// Bits on disk.
    FlippedBit,
}

/// Each kind with its group and its weight: how often it occurs in one round of a schedule.
pub(super) const KINDS: [(Kind, Group, u64); 24] = [
    (Kind::Kill, Group::Kill, 3),
    (Kind::KillLeader, Group::Kill, 3),
    (Kind::KillAll, Group::Kill, 1),
    (Kind::KillStorm, Group::Kill, 1),
    (Kind::Pause, Group::Pause, 2),
    (Kind::PauseLeader, Group::Pause, 2),
    (Kind::PauseAll, Group::Pause, 1),
    (Kind::Isolate, Group::Partition, 1),
    (Kind::IsolateLeader, Group::Partition, 1),
    (Kind::OneWay, Group::Partition, 1),
    (Kind::Bridge, Group::Partition, 1),
    (Kind::HalfOpen, Group::Connection, 1),
    (Kind::Reset, Group::Connection, 1),
    (Kind::Delay, Group::Delay, 1),
    (Kind::Jitter, Group::Delay, 1),
    (Kind::Loss, Group::Datagram, 1),
    (Kind::Jumble, Group::Datagram, 1),
    (Kind::DiskFull, Group::DiskFull, 1),
    (Kind::SyncFails, Group::FailingSync, 1),
    (Kind::SyncSlow, Group::SlowSync, 1),
    (Kind::PowerCut, Group::PowerCut, 2),
    (Kind::PowerCutAll, Group::PowerCut, 1),
    (Kind::Clock, Group::Clock, 1),
    (Kind::Flip, Group::FlippedBit, 1),
];

/// All groups by their names on the command line.
pub(super) const GROUPS: [(Group, &str); 12] = [
    (Group::Kill, "kill"),
    (Group::PowerCut, "power-cut"),
    (Group::Pause, "pause"),
    (Group::Partition, "partition"),
    (Group::Connection, "connection"),
    (Group::Delay, "delay"),
    (Group::Datagram, "datagram"),
    (Group::DiskFull, "disk-full"),
    (Group::FailingSync, "failing-sync"),
    (Group::SlowSync, "slow-sync"),
    (Group::Clock, "clock"),
    (Group::FlippedBit, "flipped-bit"),
];

impl Kind {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill -9 of one",
            Kind::KillLeader => "kill -9 of the leader",
            Kind::KillAll => "kill -9 of all",
            Kind::KillStorm => "kill -9, many times",
            Kind::Pause => "pause",
            Kind::PauseLeader => "pause of the leader",
            Kind::PauseAll => "pause of all",
            Kind::Isolate => "partition, one alone",
            Kind::IsolateLeader => "partition, leader alone",
            Kind::OneWay => "partition, one way",
            Kind::Bridge => "partition, bridge",
            Kind::HalfOpen => "half-open connections",
            Kind::Reset => "connections reset",
            Kind::Delay => "delay",
            Kind::Jitter => "delay with jitter",
            Kind::Loss => "datagrams lost, leader killed",
            Kind::Jumble => "datagrams jumbled, leader killed",
            Kind::DiskFull => "disk full",
            Kind::SyncFails => "failing sync",
            Kind::SyncSlow => "slow sync",
            Kind::PowerCut => "power cut of one",
            Kind::PowerCutAll => "power cut of all",
            Kind::Clock => "wall clock jumps",
            Kind::Flip => "bits flipped on disk",
        }
    }

    /// What it is counted with.
    ///
    /// # Panics
    /// Never: every kind is in the table.
    pub fn group(self) -> Group {
        let found = KINDS.iter().find(|(kind, ..)| *kind == self);
        found.map(|(_, group, _)| *group).unwrap_or_else(|| panic!("{self:?} has no group"))
    }

    /// Whether it needs disk images.
    pub(super) fn needs_images(self) -> bool {
        matches!(self, Kind::DiskFull | Kind::PowerCut | Kind::PowerCutAll)
    }

    /// Whether it needs the library between server and system.
    pub(super) fn needs_library(self) -> bool {
        matches!(self, Kind::SyncFails | Kind::SyncSlow | Kind::Clock)
    }
}

impl Group {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Group> {
        GROUPS.iter().map(|(group, _)| *group)
    }

    /// The kinds that belong to it.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        KINDS.iter().filter(move |(_, group, _)| *group == self).map(|(kind, ..)| *kind)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = GROUPS.iter().find(|(group, _)| group == self).map_or("?", |(_, name)| name);
        formatter.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_in_a_group_that_has_a_name() {
        for (kind, group, times) in KINDS {
            assert!(
                times > 0 && kind.group() == group && group.kinds().any(|other| other == kind),
                "{kind:?}"
            );
            assert!(GROUPS.iter().any(|(named, _)| *named == group), "{group:?}");
        }
    }
}
