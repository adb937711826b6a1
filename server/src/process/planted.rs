//! Planted faults in real processes, for tests. Only the instrumented build has them.

use std::{env, fs};

/// The variable with the path of the file.
const VARIABLE: &str = "GOMETA_PLANTED";

/// Activates the planted fault that a file names, and removes the file: the next process is sound.
pub(crate) fn activate() {
    let Some(path) = env::var_os(VARIABLE) else { return };
    let Ok(name) = fs::read_to_string(&path) else { return };
    if fs::remove_file(&path).is_ok() {
        gometa_node::activate_planted(name.trim());
    }
}
