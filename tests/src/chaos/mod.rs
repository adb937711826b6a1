//! Chaos tests: one fault after the other on real processes, checked by the simulator's checkers.
//!
//! Three `gometa-server`s with the network of [`network`](crate::network) between them, each on a disk image of its
//! own; four to eight clients that write, read and retry all the time; faults from a random schedule. A fault lasts,
//! is removed, and the ensemble has to recover before the next one. In the end the clients stop and
//! everything is compared: every acknowledged write is on every node, all nodes have the same state, every shared
//! key's history is linearizable, no write was executed twice. The seed determines the order of the faults and their
//! sizes, not the timing of the processes.
//!
//! A fault without an observable effect (a partition that held no packet, a failing sync that was never requested)
//! or with too little load is *invalid*, a history that is too hard to check is *unverified*;
//! both are printed. Kinds of faults that a machine does not allow (disk images need root) are printed as not tried.
//!
//! An ensemble that fails before its final check adds its violation and its finished faults, but no operations.
//!
//! A run lasts for a time, or until enough faults of each kind were valid, or until its limit. The last fault of an ensemble damages the
//! files of one node until it refuses to start; then it gets an empty directory, and comes back and votes again.
//!
//! With blocked outputs, standard output and standard error of every node are full pipes that are not read, in every
//! start: nothing here then depends on what a node prints.
//!
//! [`self_check`] shows that the checks find violations; [`failover`] measures how long the ensemble is
//! without a leader when the leader is killed, and [`plot`] draws that.
//!
//! Left out: partitions below TCP (a cut line holds bytes back, but the proxies' kernel acknowledges them), more than
//! one kind of fault at a time, nodes on different machines.
//!
//! Reading order: `run` (one ensemble from start to verdict), `schedule`, `kinds`, `cluster`, `faults`,
//! `network_faults`, `disk_faults`, `changes`, `workload`, `judge`, then `images`, `preload`, `tally`.

mod changes;
mod cluster;
mod disk_faults;
pub mod failover;
mod faults;
mod images;
mod judge;
mod kinds;
mod network_faults;
pub mod plot;
pub mod preload;
mod run;
mod schedule;
pub mod self_check;
mod tally;
mod task;
mod workload;

pub use cluster::Outputs;
pub use kinds::{Group, Kind};
pub use run::run;
pub use schedule::{Counts, Plan};
pub(crate) use tally::percentile;
pub use tally::{FaultCounts, SharedTally, Tally};
