//! libgometa: the client for C, and for every language that calls C.
//!
//! A face over [`gometa_client`]: it converts types and errors and holds no logic of its own. `include/gometa.h` is
//! made from this crate, and says what a caller must know; docs/c.md leads through it.
//!
//! What holds:
//!
//! - **No panic leaves**: every entry point runs in [`guard`], which turns one into `GOMETA_INTERNAL` and closes the
//!   client that it happened in.
//! - **Every pointer is looked at** before it is followed ([`input`]): NULL is an error, or nothing where that is said.
//! - **Nothing is borrowed** from the caller beyond a call.
//! - **A forked child touches nothing** of its parent's ([`gometa_client::OnSharedRuntime`]).
//!
//! Reading order: [`status`] and [`error`], [`input`] and [`guard`], [`options`] and [`client`], [`future`], [`mailbox`]
//! with [`queue`] and [`log`], and the results: [`entry`], [`node_status`], [`members`]. What can be asked, whether the caller blocks or not, is
//! [`gometa_client::Request`].
//!
//! Types have their C names, so that there is one name for one thing.
#![expect(unsafe_code, reason = "this crate is where pointers come in from C")]
#![expect(non_camel_case_types, reason = "types have their C names")]
#![expect(
    clippy::missing_safety_doc,
    reason = "the header's conventions, and each function's comment, say it in C's words"
)]

pub mod client;
pub mod entry;
pub mod error;
pub mod future;
pub mod guard;
pub mod input;
pub mod log;
pub mod mailbox;
pub mod members;
pub mod node_status;
pub mod options;
pub mod queue;
pub mod status;
pub mod text;
pub mod version;
