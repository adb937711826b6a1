//! A file system for each node, mounted from an image.
//!
//! A test that uses them runs in a process with its own mount namespace, so that the mounts and loop devices are removed
//! with that process and its servers, however they end.
//!
//! This needs root, `unshare`, `mount`, `mkfs.ext4` and loop devices. If one is missing, the test prints SKIPPED with the
//! reason, and passes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use gometa_tests::{ensemble::Ensemble, say};
use rustix::process::{Signal, set_parent_process_death_signal};

/// Set for the process with its own mount namespace.
const CHILD: &str = "GOMETA_TEST_OWN_MOUNTS";

/// Runs an ignored test of this program in a process with its own mount namespace.
pub(crate) fn in_own_mounts(test: &str) {
    let unshare = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--"]).arg(program);
        command
    };
    if let Err(reason) = run(&mut unshare(Path::new("true"))) {
        return say_skipped(&reason);
    }
    let mut child = unshare(&env::current_exe().unwrap());
    child.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    // What the child says, and why it fails, is on standard error.
    let status = child.env(CHILD, "").stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{test}: {status}");
}

/// Whether this process was started by [`in_own_mounts`]. It ends with the process that started it.
pub(crate) fn are_own_mounts() -> bool {
    let own = env::var_os(CHILD).is_some();
    if own {
        // The servers end with this process, and with the last of them the mounts.
        set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    }
    own
}

fn say_skipped(reason: &str) {
    say(&format!("SKIPPED, no file systems of its own (needs root, ext4, loop devices): {reason}"));
}

/// Mounted file systems, unmounted when dropped: before the ensemble, whose directory can be removed then.
pub(crate) struct Mounts(Vec<PathBuf>);

/// Mounts a file system of this size as the data directory of each node; `None`, and says why, if that is not possible.
pub(crate) fn mount(ensemble: &Ensemble, bytes: u64) -> Option<Mounts> {
    let mut mounts = Mounts(Vec::new());
    for node in ensemble.all() {
        let image = ensemble.directory(node).join("disk.ext4");
        if let Err(reason) = mounts.mount(&image, &ensemble.data(node), bytes) {
            say_skipped(&reason);
            return None;
        }
    }
    Some(mounts)
}

impl Mounts {
    /// Creates a file system in an image, and mounts it.
    fn mount(&mut self, image: &Path, place: &Path, bytes: u64) -> Result<(), String> {
        let made = fs::File::create(image).and_then(|file| file.set_len(bytes));
        made.and_then(|()| fs::create_dir_all(place)).map_err(|error| error.to_string())?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(place))?;
        self.0.push(place.to_owned());
        Ok(())
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for place in &self.0 {
            // Servers may still use it.
            let _ = run(Command::new("umount").arg("-l").arg(place));
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
