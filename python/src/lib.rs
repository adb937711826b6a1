//! The native part of the Python package `gometa`: `gometa._gometa`.
//!
//! A binding of [`gometa_client`]: it converts arguments to requests and results to objects, and waits. The classes in
//! `gometa/` are the public interface. An operation is defined in `request`, its result in `reply`.
//!
//! Invariants:
//!
//! - **No wait holds the interpreter.** A blocking call polls its future on the caller's thread (`wait`), and checks for
//!   signals every few tens of milliseconds on the main thread.
//! - **The runtime's thread never touches Python**: no object, no reference count, no interpreter lock. It queues
//!   results for `asyncio` and records for `log`, which Python's own threads take. So a busy interpreter cannot stall the
//!   connection, and neither fork nor the interpreter's shutdown can deadlock.
//! - **Locks are taken with the interpreter held, and not held during a call into Python.** `os.fork` holds the
//!   interpreter too, so a child finds every lock free. Locks that the runtime's thread takes belong to one process.
//! - **Nothing is initialised on first use.** A thread that initialises does not hold the interpreter all the time, so a child
//!   could wait for it for ever: the package calls `prepare` when it is imported, and names are not interned.
//!
//! Tests use the Python package; they are in `tests/`.
#![deny(unsafe_code)]

mod arguments;
mod asyncio;
mod core;
mod error;
mod log;
mod own;
mod release;
mod reply;
mod request;
mod txn;
mod wait;

use pyo3::prelude::*;

/// Private: use the package.
#[pymodule]
mod _gometa {
    #[pymodule_export]
    use super::asyncio::{LoopCalls, ReadyLoops};
    #[pymodule_export]
    use super::core::Core;
    #[pymodule_export]
    use super::request::Pages;
    #[pymodule_export]
    use super::txn::Attempts;

    use super::*;

    /// Looks up what the results of calls need. To be called when the package is imported.
    #[pyfunction]
    fn prepare(py: Python<'_>) -> PyResult<()> {
        error::maker(py)?;
        reply::prepare(py)
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
        module.add("ERROR_KINDS", error::table())?;
        log::install();
        Ok(())
    }
}
