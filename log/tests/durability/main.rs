//! What the log promises, on a medium in memory that loses what a disk may lose, and on real files.
#![allow(missing_docs)]

mod crashes;
mod files;
mod model;
