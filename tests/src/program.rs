//! The programs under test and their processes.

use std::{
    env, fs,
    fs::File,
    io::{self, PipeReader, PipeWriter, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::Mutex,
    time::Duration,
};

use rustix::{
    io::ioctl_fionbio,
    process::{Pid, Signal, kill_process},
};

use crate::{lock, wait::until};

/// Returns the path of a program that was built together with the running one: beside it, or beside the directory of
/// tests that contains it.
pub fn program(name: &str) -> PathBuf {
    let running =
        env::current_exe().unwrap_or_else(|error| panic!("this program's path is not known: {error}"));
    let places = running.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    places.filter(|place| place.is_file()).last().unwrap_or_else(|| {
        panic!(
            "{name} is not built beside {}: run `cargo build --release --workspace --bins --examples` first, or the \
             make target, which does",
            running.display()
        )
    })
}

/// A running program. Dropping it kills the process.
///
/// Its standard input is a pipe that the test holds open: a server that watches it ends with the test process,
/// even if that is killed.
pub struct Process {
    /// Locked while its status is read.
    child: Mutex<Child>,
    id: u32,
    stdin: Option<ChildStdin>,
    out: PathBuf,
    err: PathBuf,
    /// The end of a pipe from which nothing is read, while both outputs are blocked.
    blocked: Option<PipeReader>,
}

impl Process {
    /// Starts `command` with its output in files `{name}.out` and `{name}.err` of `directory`.
    pub fn start(command: &mut Command, directory: &Path, name: &str) -> Process {
        let (out, err) = (directory.join(format!("{name}.out")), directory.join(format!("{name}.err")));
        let mut process = Process::spawn(command.stdout(create(&out)).stderr(create(&err)));
        (process.out, process.err) = (out, err);
        process
    }

    /// Starts `command` with both of its outputs blocked: a full pipe from which nothing is read.
    pub fn start_blocked(command: &mut Command) -> Process {
        let pipe = full_pipe().and_then(|(reader, writer)| Ok((reader, writer.try_clone()?, writer)));
        let (reader, out, err) = pipe.unwrap_or_else(|error| panic!("no pipe: {error}"));
        let mut process = Process::spawn(command.stdout(out).stderr(err));
        // The command holds the other end as well, so its outputs are replaced.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        process.blocked = Some(reader);
        process
    }

    fn spawn(command: &mut Command) -> Process {
        let mut child = command
            .stdin(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", command.get_program().display()));
        let stdin = child.stdin.take();
        let (out, err) = (PathBuf::new(), PathBuf::new());
        Process { id: child.id(), child: Mutex::new(child), stdin, out, err, blocked: None }
    }

    /// Returns the pipe of a process that was started with blocked outputs, for reading. If it is dropped, writes to
    /// the outputs fail.
    pub fn unblock(&mut self) -> PipeReader {
        self.blocked.take().unwrap_or_else(|| panic!("the outputs of process {} are not blocked", self.id))
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Returns its id, for system calls.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&lock(&self.child))
    }

    /// Returns the standard output so far.
    pub fn out(&self) -> String {
        read(&self.out)
    }

    /// Returns the standard error so far.
    pub fn err(&self) -> String {
        read(&self.err)
    }

    /// Returns the exit status, `None` while it is running.
    pub fn ended(&self) -> Option<ExitStatus> {
        let looked = lock(&self.child).try_wait();
        looked.unwrap_or_else(|error| panic!("cannot look at process {}: {error}", self.id))
    }

    /// Waits for its exit.
    pub async fn end(&self, patience: Duration) -> ExitStatus {
        let what = format!("the end of process {}", self.id);
        until(&what, patience, || async { self.ended().ok_or_else(|| "it runs".to_owned()) }).await
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let sent = kill_process(self.pid(), signal);
        sent.unwrap_or_else(|error| panic!("process {} got no {signal:?}: {error}", self.id()));
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Kills it with SIGKILL, paused or not, and waits for its exit.
    pub fn kill(&self) {
        let mut child = lock(&self.child);
        drop(child.kill());
        drop(child.wait());
    }

    /// Returns the resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// Returns the highest resident memory so far, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, label: &str) -> u64 {
        memory_kib(self.id(), label)
    }
}

/// Returns a figure of a process's memory, in KiB: `VmRSS:` or `VmHWM:`.
pub(crate) fn memory_kib(id: u32, label: &str) -> u64 {
    let status = read(Path::new(&format!("/proc/{id}/status")));
    let line = status.lines().find_map(|line| line.strip_prefix(label));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or_else(|| panic!("process {id} has no {label} {status}"))
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Creates a pipe that is full.
fn full_pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, mut writer) = io::pipe()?;
    ioctl_fionbio(&writer, true)?;
    // Whole pages fill it completely.
    let page = [b'\n'; 4_096];
    loop {
        match writer.write(&page) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    // The process shares this setting: its writes block, as with any pipe.
    ioctl_fionbio(&writer, false)?;
    Ok((reader, writer))
}

fn create(path: &Path) -> File {
    File::create(path).unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()))
}

/// Returns a file's content so far; nothing if it does not exist.
fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
