//! The wire protocol: generated messages, framing, limits, operations, errors.
//!
//! - [`v1`]: the messages, generated from `proto/gometa/v1/*.proto`, which document them.
//! - [`frame`]: messages in a stream of bytes.
//! - [`check`]: decoding of messages from outside, with bounds on memory and time.
//! - [`from_node`]: checks of what a client receives.
//! - [`limits`]: all sizes that programs agree upon.
//! - [`Operation`]: name, key, value and checks of each operation.
//! - [`Bounds`]: the keys of a range.
//! - [`added_by`]: what each feature level adds.
//! - [`Setting`]: name and bounds of each setting of the ensemble.
//! - [`ErrorKind`], [`Outcome`]: the table of errors.
//!
//! The crate does no IO. The contents of nodes' messages are checked in `codec/`.
#![forbid(unsafe_code)]

pub mod check;
mod error;
pub mod frame;
pub mod from_node;
mod levels;
pub mod limits;
mod operation;
mod range;
mod settings;
mod txn;

pub use error::{ErrorKind, Outcome};
pub use levels::added_by;
pub use operation::{Arguments, Operation};
pub use range::{Bounds, end_of_prefix};
pub use settings::Setting;

/// The generated messages, version 1 of the protocol. `proto/gometa/v1/*.proto` documents them.
#[allow(missing_docs, clippy::all, reason = "generated from the schemas, which carry the documentation")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/gometa.v1.rs"));
}
