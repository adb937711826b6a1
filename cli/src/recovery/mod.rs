//! The choice of the data directory to recover from, after a majority of the voters is lost.
//!
//! [`report`] reads what `gometa-server -inspect` has written of each directory, [`comparison`] orders them as recovery
//! does, and tells what may be lost.

mod comparison;
mod report;

pub(crate) use self::{
    comparison::{Best, Comparison, Row, Writes, compare},
    report::{Member, read},
};
