//! The system's allocator, told to give memory back.
//!
//! glibc raises the size from which it takes memory from the system directly as soon as a block of that size is
//! freed, up to 32 MiB, and keeps a heap for every few threads. Once values of a mebibyte have passed through, they
//! lie among small blocks that live longer, and what was needed for a moment is resident for ever: after a flood
//! 325 MiB instead of 108. The sizes can be pinned only from the environment (there is a function, but no safe one), so the
//! process starts itself once more with [`VARIABLE`] in it: same process id, same arguments, before anything is
//! opened. Elsewhere than on glibc the variable means nothing.

use std::{
    env,
    ffi::OsStr,
    os::unix::process::CommandExt,
    process::{self, Command},
};

use tracing::debug;

const VARIABLE: &str = "GLIBC_TUNABLES";
/// Blocks of 128 KiB and more are the system's; two heaps are enough for threads that mostly wait.
const TUNABLES: &str =
    "glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=1048576:glibc.malloc.arena_max=2";
/// What people who know better set, instead of this or beside it.
const THEIRS: &str = "MALLOC_";

/// Starts the process anew with the allocator's settings, unless it has them, or others.
pub(crate) fn pin_sizes() {
    let sets = |name: &OsStr| name == VARIABLE || name.to_str().is_some_and(|name| name.starts_with(THEIRS));
    let is_set = env::vars_os().any(|(name, value)| sets(&name) && !value.is_empty());
    if !cfg!(target_env = "gnu") || is_set {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Comes back only if it fails, and then everything is as it was.
    let error = command.args(arguments).env(VARIABLE, TUNABLES).exec();
    debug!("process {} keeps the allocator's own settings: {error}", process::id());
}
