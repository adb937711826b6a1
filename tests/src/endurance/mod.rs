//! Long loads on three nodes: whether directories and memory stay within their bounds, how followers come back, how
//! members change, and how scans go beside sets.
//!
//! Everything shares one machine and one disk, the load generator too. Latencies are those of single sets.

mod growth;
mod joins;
mod load;
mod picture;
mod returns;
mod scans;

pub use growth::{Growth, growth};
pub use joins::{Joined, joins};
pub use load::UnderLoad;
pub use returns::{Absence, Disk, Return, returns};
pub use scans::{SCANNING, Scanned, Scans, scans};
