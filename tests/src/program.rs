//! The programs under test, and a running one of them.

use std::{
    env, fs,
    fs::{File, OpenOptions},
    io::{self, PipeReader, PipeWriter, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    io::ioctl_fionbio,
    process::{Pid, Signal, kill_process},
};

use crate::wait::until;

/// Where a program lies that was built together with the one that runs: beside it, or beside the directory of
/// tests that it is in.
///
/// # Panics
/// If it is not there.
pub fn program(name: &str) -> PathBuf {
    let running =
        env::current_exe().unwrap_or_else(|error| panic!("this program's path is not known: {error}"));
    let places = running.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    places.filter(|place| place.is_file()).last().unwrap_or_else(|| {
        panic!(
            "{name} is not built beside {}: run `cargo build --release -p gometa-server -p gometa-cli` first, or the \
             make target, which does",
            running.display()
        )
    })
}

/// A program that runs. Killed with its value.
///
/// Its standard input is a pipe that is held open here: a server that watches it ends when the test process does,
/// however that ends.
pub struct Process {
    /// Locked for as long as a look takes.
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
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command, directory: &Path, name: &str) -> Process {
        let (out, err) = (directory.join(format!("{name}.out")), directory.join(format!("{name}.err")));
        let mut process = Process::spawn(command.stdout(create(&out)).stderr(create(&err)));
        (process.out, process.err) = (out, err);
        process
    }

    /// Starts `command` with both of its outputs blocked: a pipe that is full, and from which nothing is read.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_blocked(command: &mut Command) -> Process {
        let pipe = full_pipe().and_then(|(reader, writer)| Ok((reader, writer.try_clone()?, writer)));
        let (reader, out, err) = pipe.unwrap_or_else(|error| panic!("no pipe: {error}"));
        let mut process = Process::spawn(command.stdout(out).stderr(err));
        // The command holds the other end as well; in its place it gets what nobody looks at.
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

    /// The pipe of a process that was started with blocked outputs, for reading after all. If it is dropped, writes to
    /// the outputs fail.
    ///
    /// # Panics
    /// If it was not, or the pipe was taken before.
    pub fn unblock(&mut self) -> PipeReader {
        self.blocked.take().unwrap_or_else(|| panic!("the outputs of process {} are not blocked", self.id))
    }

    /// The id of the process.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What it has written to standard output.
    pub fn out(&self) -> String {
        read(&self.out)
    }

    /// What it has written to standard error.
    pub fn err(&self) -> String {
        read(&self.err)
    }

    /// Where it writes its standard error.
    pub fn err_file(&self) -> &Path {
        &self.err
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// If the system does not say.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child()
            .try_wait()
            .unwrap_or_else(|error| panic!("cannot look at process {}: {error}", self.id()))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end within `patience`.
    pub async fn end(&self, patience: Duration) -> ExitStatus {
        let what = format!("the end of process {}", self.id);
        until(&what, patience, || async { self.ended().ok_or_else(|| "it runs".to_owned()) }).await
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process has ended already.
    pub fn signal(&self, signal: Signal) {
        let sent = kill_process(self.pid(), signal);
        sent.unwrap_or_else(|error| panic!("process {} got no {signal:?}: {error}", self.id()));
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Kills it (SIGKILL), stopped or not, and waits until it is gone.
    pub fn kill(&self) {
        let mut child = self.child();
        drop(child.kill());
        drop(child.wait());
    }

    /// Resident memory, in KiB, as the system tells it.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The most that it ever was, in KiB.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, label: &str) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.id())));
        let line = status.lines().find_map(|line| line.strip_prefix(label));
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
            .unwrap_or_else(|| panic!("process {} has no {label} {status}", self.id()))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A pipe into which nothing more goes.
fn full_pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, mut writer) = io::pipe()?;
    ioctl_fionbio(&writer, true)?;
    // Whole pages leave no room in the last one.
    let page = [b'\n'; 4_096];
    loop {
        match writer.write(&page) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    // The process shares this setting, and is to wait in a write, as with any pipe.
    ioctl_fionbio(&writer, false)?;
    Ok((reader, writer))
}

fn create(path: &Path) -> File {
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(path);
    file.unwrap_or_else(|error: io::Error| panic!("cannot create {}: {error}", path.display()))
}

/// What is in a file so far; nothing if it is not there.
fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
