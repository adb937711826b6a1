//! The kinds of faults and their groups.

use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// kill -9 of one node in any role.
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
    /// A partition between a node that does not lead and the others.
    Isolate,
    /// A partition between the leader and the others.
    IsolateLeader,
    /// One direction between two nodes, or to or from one of them, is cut.
    OneWay,
    /// The leader and a follower are cut off from each other, the third has both.
    Bridge,
    /// Connections are closed at one end without a notification of the other.
    HalfOpen,
    /// Connections are reset several times, also within a frame.
    Reset,
    /// Every direction has a delay of its own.
    Delay,
    /// Every direction has a delay that changes all the time.
    Jitter,
    /// Datagrams are lost while the leader is killed.
    Loss,
    /// Datagrams are duplicated and reordered while the leader is killed.
    Jumble,
    /// A disk is full.
    DiskFull,
    /// Every sync of a node fails; half of the time the power is cut afterwards.
    SyncFails,
    /// Every sync of a node is slow.
    SyncSlow,
    /// A power cut of one node.
    PowerCut,
    /// A power cut of all nodes at one moment.
    PowerCutAll,
    /// The wall clocks of some nodes jump, and jump back.
    Clock,
    /// Bits change in a file of one node that is down.
    Flip,
    /// The leadership is transferred to another node.
    Transfer,
    /// A node that does not lead is removed from the ensemble, killed, and joins again.
    Remove,
    /// The same with the leader, which hands over first.
    RemoveLeader,
    /// A node is removed and joins again as a learner; it takes the place of another one, which joins again too.
    Replace,
    /// A node is killed and its data directory removed; it comes back by itself.
    Wipe,
    /// A node is killed and comes back at other addresses.
    Move,
}

/// Kinds of faults that are counted together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Group {
    /// kill -9.
    Kill,
    /// Power cuts.
    PowerCut,
    /// SIGSTOP.
    Pause,
    /// Partitions.
    Partition,
    /// Broken connections.
    Connection,
    /// Delays.
    Delay,
    /// Lost, duplicated and reordered datagrams.
    Datagram,
    /// Full disks.
    DiskFull,
    /// Failing syncs.
    FailingSync,
    /// Slow syncs.
    SlowSync,
    /// Jumps of wall clocks.
    Clock,
    /// Flipped bits on disk.
    FlippedBit,
    /// Changes of the members and of the leader.
    Change,
}

/// A kind, its group, its weight (how often it occurs in one round of a schedule), and its name in reports.
pub(super) type Row = (Kind, Group, u64, &'static str);

pub(super) const KINDS: [Row; 30] = [
    (Kind::Kill, Group::Kill, 3, "kill -9 of one"),
    (Kind::KillLeader, Group::Kill, 3, "kill -9 of the leader"),
    (Kind::KillAll, Group::Kill, 1, "kill -9 of all"),
    (Kind::KillStorm, Group::Kill, 1, "kill -9, many times"),
    (Kind::Pause, Group::Pause, 2, "pause"),
    (Kind::PauseLeader, Group::Pause, 2, "pause of the leader"),
    (Kind::PauseAll, Group::Pause, 1, "pause of all"),
    (Kind::Isolate, Group::Partition, 1, "partition, one alone"),
    (Kind::IsolateLeader, Group::Partition, 1, "partition, leader alone"),
    (Kind::OneWay, Group::Partition, 1, "partition, one way"),
    (Kind::Bridge, Group::Partition, 1, "partition, bridge"),
    (Kind::HalfOpen, Group::Connection, 1, "half-open connections"),
    (Kind::Reset, Group::Connection, 1, "connections reset"),
    (Kind::Delay, Group::Delay, 1, "delay"),
    (Kind::Jitter, Group::Delay, 1, "delay with jitter"),
    (Kind::Loss, Group::Datagram, 1, "datagrams lost, leader killed"),
    (Kind::Jumble, Group::Datagram, 1, "datagrams jumbled, leader killed"),
    (Kind::DiskFull, Group::DiskFull, 1, "disk full"),
    (Kind::SyncFails, Group::FailingSync, 1, "failing sync"),
    (Kind::SyncSlow, Group::SlowSync, 1, "slow sync"),
    (Kind::PowerCut, Group::PowerCut, 2, "power cut of one"),
    (Kind::PowerCutAll, Group::PowerCut, 1, "power cut of all"),
    (Kind::Clock, Group::Clock, 1, "wall clock jumps"),
    (Kind::Flip, Group::FlippedBit, 1, "bits flipped on disk"),
    (Kind::Transfer, Group::Change, 1, "leadership transferred"),
    (Kind::Remove, Group::Change, 1, "removed, joins again"),
    (Kind::RemoveLeader, Group::Change, 1, "leader removed, joins again"),
    (Kind::Replace, Group::Change, 1, "one replaced by another"),
    (Kind::Wipe, Group::Change, 1, "directory lost"),
    (Kind::Move, Group::Change, 1, "address changed"),
];

/// All groups by their names on the command line.
pub(super) const GROUPS: [(Group, &str); 13] = [
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
    (Group::Change, "change"),
];

impl Kind {
    /// Returns the name for reports.
    pub fn name(self) -> &'static str {
        self.row().3
    }

    /// Returns the group in which it is counted.
    pub fn group(self) -> Group {
        self.row().1
    }

    fn row(self) -> Row {
        let found = KINDS.into_iter().find(|(kind, ..)| *kind == self);
        found.unwrap_or_else(|| panic!("{self:?} is not in the table"))
    }

    /// Whether it needs disk images.
    pub(super) fn needs_images(self) -> bool {
        matches!(self, Kind::DiskFull | Kind::PowerCut | Kind::PowerCutAll)
    }

    /// Whether it needs the preloaded library.
    pub(super) fn needs_library(self) -> bool {
        matches!(self, Kind::SyncFails | Kind::SyncSlow | Kind::Clock)
    }
}

impl Group {
    /// Returns all groups.
    pub fn all() -> impl Iterator<Item = Group> {
        GROUPS.iter().map(|(group, _)| *group)
    }

    /// Returns the kinds of the group.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        KINDS.iter().filter(move |(_, group, ..)| *group == self).map(|(kind, ..)| *kind)
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
        for (kind, group, times, _) in KINDS {
            assert!(
                times > 0 && kind.group() == group && group.kinds().any(|other| other == kind),
                "{kind:?}"
            );
            assert!(GROUPS.iter().any(|(named, _)| *named == group), "{group:?}");
        }
    }
}
