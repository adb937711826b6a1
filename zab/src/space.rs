//! Free disk space: the levels that nodes report, and what they permit a leader to propose (protocol.md 6.11).

/// How much space is free on the disk of a node, compared with its reserve.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum DiskSpace {
    /// The reserve or more.
    #[default]
    Ample,
    /// Less than the reserve: only what frees space is written.
    Low,
    /// Less than half of the reserve: nothing is written but what an election and its initial history need.
    Critical,
}
