//! A file system of a test's own, which can be full, and whose power can be cut.
//!
//! An ext4 image is mounted through a loop device; the file system's shutdown ioctl stops it without writing its cached
//! pages. A test runs in a process with its own mount namespace, so that mounts and loop devices are removed with that
//! process.
//!
//! It takes root, a kernel with ext4 and loop devices, `unshare`, `mount`, `mkfs.ext4` and `python3`. Where one of
//! them is missing, the tests say so and pass.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use super::{shim::command, support::rerun};

const CHILD_DIR: &str = "GOMETA_TEST_MACHINE_DIR";
const IMAGE_BYTES: u64 = 512 << 20;

/// Shuts file systems down: reads a path from each line, and answers when it is done. In Python, because the ioctl needs
/// `unsafe`, which this crate forbids.
const SWITCH: &str = "
import fcntl, os, struct, sys
FS_IOC_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
for line in sys.stdin:
    root = os.open(line.rstrip('\\n'), os.O_RDONLY)
    fcntl.ioctl(root, FS_IOC_SHUTDOWN, struct.pack('I', NO_LOG_FLUSH))
    os.close(root)
    print('off', flush=True)
";

/// A file system whose power can be cut.
pub(crate) struct Machine {
    image: PathBuf,
    pub(crate) mounted: PathBuf,
    switch: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Machine {
    /// The machine of a child of [`in_own_mounts`]; `None` in any other process. The child prints the error behind the word
    /// "unable".
    pub(crate) fn of_child() -> Option<Result<Machine, String>> {
        let dir = env::var_os(CHILD_DIR)?;
        Some(Machine::new(Path::new(&dir)).map_err(|reason| reason.replace('\n', " ")))
    }

    fn new(dir: &Path) -> Result<Machine, String> {
        let (image, mounted) = (dir.join("image"), dir.join("mounted"));
        let made = File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES));
        made.and_then(|()| fs::create_dir(&mounted)).map_err(|error| error.to_string())?;
        command("mkfs.ext4", &[OsStr::new("-qF"), image.as_os_str()])?;
        let mut switch = Command::new("python3");
        switch.args(["-c", SWITCH]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut switch = switch.spawn().map_err(|error| format!("python3: {error}"))?;
        let (orders, answers) = (switch.stdin.take().unwrap(), switch.stdout.take().unwrap());
        let machine = Machine { image, mounted, switch, orders, answers: BufReader::new(answers) };
        machine.start()?;
        Ok(machine)
    }

    /// Mounts the image again.
    pub(crate) fn start(&self) -> Result<(), String> {
        let options = ["-t", "ext4", "-o", "loop,noatime"].map(OsStr::new);
        command("mount", &[&options[..], &[self.image.as_os_str(), self.mounted.as_os_str()]].concat())
    }

    /// Stops the file system at once.
    pub(crate) fn cut(&mut self) -> Result<(), String> {
        let reported = writeln!(self.orders, "{}", self.mounted.display());
        reported.map_err(|error| error.to_string())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(|error| error.to_string())?;
        if answer == "off\n" { Ok(()) } else { Err("the file system did not stop".to_owned()) }
    }

    /// Unmounting discards the cached pages.
    pub(crate) fn unmount(&self) -> Result<(), String> {
        command("umount", &[self.mounted.as_os_str()])
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.unmount());
        drop(self.switch.kill());
        drop(self.switch.wait());
    }
}

/// The output of an ignored test, run in a process with its own mount namespace; or why it cannot be run.
pub(crate) fn in_own_mounts(test: &str, environment: &[(&str, &OsStr)]) -> Result<Vec<String>, String> {
    command("unshare", &["--mount", "--propagation", "private", "true"].map(OsStr::new))?;
    let dir = tempfile::tempdir().unwrap();
    let mut all = vec![(CHILD_DIR, dir.path().as_os_str())];
    all.extend_from_slice(environment);
    let wrapper = ["unshare", "--mount", "--propagation", "private", "--"];
    let (mut child, lines) = rerun(&wrapper, test, &all);
    let lines: Vec<String> = lines.collect();
    let status = child.wait().unwrap();
    match lines.iter().find_map(|line| line.strip_prefix("unable ")) {
        Some(reason) => Err(reason.to_owned()),
        None => {
            assert!(status.success(), "{}", lines.join("\n"));
            Ok(lines)
        }
    }
}

/// Printed even if the test passes.
pub(crate) fn say(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "\n    {text}"));
}

pub(crate) fn say_skipped(reason: String) {
    say(&format!("SKIPPED, no file system of its own (it takes root, ext4, loop): {reason}"));
}
