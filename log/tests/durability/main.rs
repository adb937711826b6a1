//! What the log promises, on a medium in memory that loses what a disk may lose, and on real files.
//!
//! In the instrumented build the same scenarios must detect every planted fault.
#![allow(missing_docs)]

mod crashes;
mod damage;
mod faults;
mod files;
mod layout;
mod model;
#[cfg(gometa_instrumented)]
mod planted;
