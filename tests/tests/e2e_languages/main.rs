//! gometa from other languages: libgometa in C, the installation, the clients without a library, the
//! pages of the documentation.
//!
//! Needs the built programs beside it (`make e2e` builds them). Tests here mostly wait, so two of them run at a time
//! (`--test-threads=2`), each with its own ensemble.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod c_client;
mod c_install;
mod c_memory;
mod page;
mod pages;
mod raw;
