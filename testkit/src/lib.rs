//! Test support that more than one crate needs. Nothing that is shipped depends on it.
//!
//! [`ensemble`] is a trait of ensembles in memory, over a [`network`] that delivers one message at a time; [`nodes`] is
//! one of whole nodes without faults. [`one_node`] is a single member among arbitrary peers, [`disk`] a disk that also
//! checks *durable before send*, [`store`] a store and its model.
//!
//! Features: `scripts` has the interpreter of golden scripts, `script`; `scripted-server` has a node of the client port
//! whose answers a test writes itself, `scripted_server`.
#![forbid(unsafe_code)]
#![expect(missing_docs, reason = "support of tests: documented where the name does not say it")]
#![expect(clippy::new_without_default, reason = "tests call `new`")]
#![allow(clippy::unwrap_used, reason = "support of tests: a failure fails the test")]

pub mod disk;
pub mod ensemble;
pub mod network;
pub mod nodes;
pub mod one_node;
#[cfg(feature = "scripts")]
pub mod script;
#[cfg(feature = "scripted-server")]
pub mod scripted_server;
pub mod store;
pub mod text;
