//! The part of the Python package `gometa` that is written in Rust: `gometa._gometa`.
//!
//! It sits between `gometa-client`, which does all the work, and the classes in `gometa/`, which give it the shape that
//! Python's users expect and its documentation. Here arguments become requests, replies become Python's objects, and
//! waiting is done.
//!
//! What holds:
//!
//! - **Nobody waits with the interpreter held.** A blocking call polls its future on the caller's thread (`wait`); the main
//!   thread looks for signals every few tens of milliseconds meanwhile.
//! - **The runtime's thread never touches Python**: no object, no reference count, no interpreter lock. Results for
//!   asyncio are left in an `inbox`, records for `logging` in `log`, and threads of Python's own take them from there.
//!   So a busy interpreter cannot stall the connection, and neither fork nor the interpreter's end can lock up.
//! - **Locks are taken with the interpreter held and never kept over a call into Python**: `os.fork` holds the interpreter
//!   too, so a child finds all of them open. What the runtime's thread may lock belongs to one process.
//!
//! Tests go through the Python package, in `tests/`.
#![deny(unsafe_code)]

mod arguments;
mod core;
mod error;
mod inbox;
mod log;
mod reply;
mod wait;

use pyo3::prelude::*;

/// What `gometa/` is built on. Private: use the package.
#[pymodule]
mod _gometa {
    #[pymodule_export]
    use super::core::Core;
    #[pymodule_export]
    use super::inbox::{Courier, Inbox};

    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
        module.add("ERROR_KINDS", error::table())?;
        log::install();
        Ok(())
    }
}
