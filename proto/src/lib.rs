//! What gometa says on the wire: the generated messages, their framing, their limits, the table of errors.
//!
//! - [`v1`]: the messages, generated from `proto/gometa/v1/*.proto`, which document them.
//! - [`frame`]: how they are cut out of a stream of bytes.
//! - [`check`]: how foreign bytes become a message without taking more memory than they should.
//! - [`from_node`]: what a client receives, before it is trusted.
//! - [`limits`]: every size that is agreed upon between programs.
//! - [`ErrorKind`], [`Outcome`]: what can go wrong, and whether it may have happened all the same.
//!
//! Nothing here does IO. What a message may say, beyond being one, is checked by those who take it in: nodes'
//! messages in `codec/`, clients' requests in `node/` and `server/`.
#![forbid(unsafe_code)]

pub mod check;
mod error;
pub mod frame;
pub mod from_node;
pub mod limits;
mod operation;

pub use error::{ErrorKind, Outcome};
pub use operation::Operation;

/// The generated messages, version 1 of the protocol. `proto/gometa/v1/*.proto` documents them.
#[allow(missing_docs, clippy::all, reason = "generated from the schemas, which carry the documentation")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/gometa.v1.rs"));
}
