//! Long loads on three nodes: whether directories and memory stay within their bounds, and how followers come back.
//!
//! Everything shares one machine and one disk, the load generator too. Latencies are those of single sets.

mod growth;
mod load;
mod picture;
mod returns;

pub use growth::{Growth, growth};
pub use returns::{Absence, Disk, Return, returns};
