//! Settings of glibc's allocator, so that it returns freed memory to the system.
//!
//! By default glibc raises the mmap threshold, up to 32 MiB, when a block of that size is freed, and keeps an arena for
//! every few threads. Values of 1 MiB then lie among small blocks that live longer, and their memory stays resident: 325
//! MiB after a flood, instead of 108. The threshold can be fixed by the environment only (mallopt is unsafe), so the
//! process executes itself again with [`VARIABLE`] set: same process id, same arguments, before anything is opened. Other
//! allocators ignore the variable.

use std::{env, ffi::OsStr};

use tracing::debug;

use super::execute;

const VARIABLE: &str = "GLIBC_TUNABLES";
/// Blocks of 128 KiB and more are mapped; two arenas are enough for threads that mostly wait.
const TUNABLES: &str =
    "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=1048576:glibc.malloc.arena_max=2";
/// The prefix of other variables that configure an allocator; they take precedence.
const OTHER_PREFIX: &str = "MALLOC_";

/// Executes the process again with the allocator's settings, unless it has them, or others.
pub(crate) fn pin_sizes() {
    let sets =
        |name: &OsStr| name == VARIABLE || name.to_str().is_some_and(|name| name.starts_with(OTHER_PREFIX));
    let is_set = env::vars_os().any(|(name, value)| sets(&name) && !value.is_empty());
    if !cfg!(target_env = "gnu") || is_set {
        return;
    }
    // Returns only on failure; then the process goes on without the settings.
    let error = execute::again(&[(VARIABLE, TUNABLES)]);
    debug!(%error, "allocator settings not applied");
}
