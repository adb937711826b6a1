//! libgometa: the client for C, and for every language that calls C.
//!
//! A binding of [`gometa_client`]: it converts types and errors and has no logic of its own. `include/gometa.h` is
//! generated from this crate and is its documentation; docs/c.md is the guide.
//!
//! Invariants:
//!
//! - **No panic leaves the library**: every fallible function runs in [`guard`], which turns a panic into
//!   `GOMETA_INTERNAL`; [`client`] also closes the client in which it happened.
//! - **Every pointer is checked** before it is followed ([`input`], [`macros`]).
//! - **Inputs are copied** before a function returns.
//! - **A forked child does not touch** its parent's objects ([`gometa_client::OnSharedRuntime`]).
//!
//! Each operation is defined in [`operations`], [`range_operations`], [`history_options`], [`txn_operations`], [`member_operations`] or
//! [`settings_operations`], and a result type in a module of its own. Types have their C names. The order of the modules is that of the header.
#![deny(clippy::too_many_lines)]
#![expect(unsafe_code, reason = "this crate is the boundary to C")]
#![expect(non_camel_case_types, reason = "types have their C names")]
#![expect(
    clippy::missing_safety_doc,
    reason = "the header's conventions and each function's documentation are the contract"
)]

mod guard;
mod input;
mod macros;
mod mailbox;

pub mod version;

pub mod status;

pub mod error;

pub mod options;

pub mod client;

pub mod operations;

pub mod range_operations;

pub mod txn_operations;

pub mod transaction;

pub mod member_operations;

pub mod settings_operations;

pub mod read_options;

pub mod range;

pub mod txn;

pub mod txn_result;

pub mod types;

pub mod entry;

pub mod value;

pub mod page;

pub mod history_options;

pub mod history;

pub mod scan;

pub mod members;

pub mod membership;

pub mod node_status;

pub mod settings;

pub mod future;

pub mod future_results;

pub mod queue;

pub mod log;
