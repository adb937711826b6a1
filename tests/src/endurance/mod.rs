//! Long loads on three nodes: whether directories and memory stay within their bounds, how followers come back, and how
//! members change.
//!
//! Everything shares one machine and one disk, the load generator too. Latencies are those of single sets.

mod growth;
mod joins;
mod load;
mod picture;
mod returns;

pub use growth::{Growth, growth};
pub use joins::{Joined, Joining, joins};
pub use returns::{Absence, Disk, Return, returns};
