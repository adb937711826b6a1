//! The contract under power cuts: a file system that stops at once, without writing its cached pages.
//!
//! An ext4 image is mounted through a loop device, and the file system's shutdown ioctl stops it during a plan. Synced writes
//! are in the image, others are lost. The test runs in a process with its own mount namespace, so that mounts and loop
//! devices are removed with that process.
//!
//! It takes root, a kernel with ext4 and loop devices, `unshare`, `mount`, `mkfs.ext4` and `python3`. Where one of
//! them is missing, the tests say so and pass.

use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use gometa_sim::{
    contract::{Directory, Ended, Invariant, Model, Plan, Report, Shape, State, Step, Violation, run},
    random::{Random, Stream},
};

use super::{
    super::support::{append, apply, founding, number, promise, rerun, truncate},
    Rocks, first_seed, times,
};

const CHILD_DIR: &str = "GOMETA_TEST_POWER_DIR";
const CHILD_CUTS: &str = "GOMETA_TEST_POWER_CUTS";
const IMAGE_BYTES: u64 = 512 << 20;
/// The number of openings of a directory before a new one is created.
const OPENINGS: u64 = 10;

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

/// A library that skips syncs of RocksDB's write-ahead log and returns success. Other files are synced.
const LIE: &str = r#"
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path);
    if (length > 4 && memcmp(path + length - 4, ".log", 4) == 0) return 0;
    return (int)syscall(SYS_fdatasync, file);
}
"#;

/// A file system whose power can be cut.
struct Machine {
    image: PathBuf,
    mounted: PathBuf,
    switch: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Machine {
    fn new(dir: &Path) -> Result<Machine, String> {
        let (image, mounted) = (dir.join("image"), dir.join("mounted"));
        let made = File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES));
        made.and_then(|()| std::fs::create_dir(&mounted)).map_err(|error| error.to_string())?;
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
    fn start(&self) -> Result<(), String> {
        let options = ["-t", "ext4", "-o", "loop,noatime"].map(OsStr::new);
        command("mount", &[&options[..], &[self.image.as_os_str(), self.mounted.as_os_str()]].concat())
    }

    fn cut(&mut self) -> Result<(), String> {
        let reported = writeln!(self.orders, "{}", self.mounted.display());
        reported.map_err(|error| error.to_string())?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(|error| error.to_string())?;
        if answer == "off\n" { Ok(()) } else { Err("the file system did not stop".to_owned()) }
    }

    /// Unmounting discards the cached pages.
    fn unmount(&self) -> Result<(), String> {
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

fn command(program: &str, arguments: &[&OsStr]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

#[derive(Default)]
struct Counts {
    writes: u64,
    reported: u64,
    lost: u64,
    /// The number of cuts during writes.
    amid: u64,
}

/// A prefix of the plan of a seed.
fn part_of_plan(seed: u64, found: &State) -> Vec<Step> {
    let shape = if seed.is_multiple_of(8) { Shape::BULKY } else { Shape::SMALL };
    let mut steps = Plan::new(seed, found, shape).steps;
    let mut random = Random::new(seed, Stream::Machine);
    steps.truncate(random.index(steps.len() + 1));
    steps
}

/// One opening, which ends with a cut after these steps. Returns its writes, for the check at the next opening.
fn cut(
    machine: &mut Machine,
    dir: &Path,
    steps: &dyn Fn(&State) -> Vec<Step>,
    before: Option<&Model>,
    directory: &mut Directory,
    counts: &mut Counts,
) -> Result<Model, Violation> {
    let (mut rocks, found) = Rocks::open(dir, directory)?;
    check_recovered(before, &found, counts)?;
    let steps = steps(&found);
    let mut model = Model::new(found);
    let ended = run(&mut rocks, &mut model, &steps, &mut |_| {})?;
    if ended != Ended::Done {
        return Err(Violation::new(Invariant::Opens, format!("before the cut: {ended:?}")));
    }
    machine.cut().unwrap();
    // The writer ends; everything that it has reported must be synced.
    let Rocks { opened, received } = rocks;
    for report in opened.close().into_iter().skip(received) {
        match report {
            Report::Persisted(token) => model.report(token)?,
            Report::Stored(number) => model.report_stored(number)?,
            Report::Failed(_) | Report::Nothing => {}
        }
    }
    machine.unmount().unwrap();
    machine.start().unwrap();
    counts.amid += u64::from(model.reported() < model.submitted());
    Ok(model)
}

fn check_recovered(model: Option<&Model>, found: &State, counts: &mut Counts) -> Result<(), Violation> {
    let Some(model) = model else { return Ok(()) };
    let outcome = model.check_recovered(found)?;
    counts.writes += model.submitted() as u64;
    counts.reported += model.reported() as u64;
    counts.lost += outcome.lost as u64;
    Ok(())
}

/// Cuts the power repeatedly, with a new directory after every [`OPENINGS`] openings.
fn cuts(machine: &mut Machine, cuts: u64) -> (Counts, Result<(), String>) {
    let mut counts = Counts::default();
    let (mut before, mut directory) = (None, Directory::default());
    for (round, seed) in (first_seed()..).take(cuts as usize).enumerate() {
        let generation = round as u64 / OPENINGS;
        let dir = machine.mounted.join(format!("data-{generation}"));
        if (round as u64).is_multiple_of(OPENINGS) {
            (before, directory) = (None, Directory::default());
            if generation > 0 {
                std::fs::remove_dir_all(machine.mounted.join(format!("data-{}", generation - 1))).unwrap();
            }
        }
        let steps = |found: &State| part_of_plan(seed, found);
        match cut(machine, &dir, &steps, before.as_ref(), &mut directory, &mut counts) {
            Ok(model) => before = Some(model),
            Err(violation) => {
                return (counts, Err(format!("power cut with seed {seed}, round {round}: {violation}")));
            }
        }
    }
    (counts, Ok(()))
}

/// A truncation to the end of the log writes nothing, but is reported: the table's writes before it must be synced. A
/// regression: they were reported and marked in `SYNCED` without a sync.
fn cut_after_an_idle_truncation(machine: &mut Machine) -> Result<(), Violation> {
    let steps = |_: &State| {
        let writes = [founding(true), promise(1, 1), append(1, 1..=3), apply(2), truncate(1, 3)];
        let each =
            writes.into_iter().zip(1..).flat_map(|(write, count)| [Step::Write(write), Step::Settle(count)]);
        each.collect()
    };
    let (mut directory, mut counts) = (Directory::default(), Counts::default());
    let dir = machine.mounted.join("idle-truncation");
    let model = cut(machine, &dir, &steps, None, &mut directory, &mut counts)?;
    check_recovered(Some(&model), &Rocks::open(&dir, &mut directory)?.1, &mut counts)
}

/// Not a test: the process with its own mount namespace.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Some(dir) = env::var_os(CHILD_DIR) else { return };
    let wanted = env::var(CHILD_CUTS).unwrap().parse().unwrap();
    let mut machine = match Machine::new(Path::new(&dir)) {
        Ok(machine) => machine,
        Err(reason) => {
            println!("\nunable {}", reason.replace('\n', " "));
            return;
        }
    };
    let (counts, result) = cuts(&mut machine, wanted);
    let result = result.and_then(|()| {
        let idle = cut_after_an_idle_truncation(&mut machine);
        idle.map_err(|violation| format!("power cut behind an idle truncation: {violation}"))
    });
    match result {
        Ok(()) => println!(
            "\nkept {wanted} power cuts, {} of them amid writes: {} writes, {} reported, {} others lost",
            counts.amid, counts.writes, counts.reported, counts.lost
        ),
        Err(violation) => println!("\nbroken {violation}"),
    }
    println!("amid {}", counts.amid);
    println!("lost {}", counts.lost);
}

/// The output of the child with its own mount namespace, or why there can be none.
fn in_own_mounts(cuts: u64, environment: &[(&str, &OsStr)]) -> Result<Vec<String>, String> {
    command("unshare", &["--mount", "--propagation", "private", "true"].map(OsStr::new))?;
    let dir = tempfile::tempdir().unwrap();
    let cuts = cuts.to_string();
    let mut all = vec![(CHILD_DIR, dir.path().as_os_str()), (CHILD_CUTS, OsStr::new(&cuts))];
    all.extend_from_slice(environment);
    let wrapper = ["unshare", "--mount", "--propagation", "private", "--"];
    let (mut child, lines) = rerun(&wrapper, "contract::power::child", &all);
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
fn say(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "\n    {text}"));
}

fn say_skipped(reason: String) {
    say(&format!("SKIPPED, no power to cut here (it takes root, ext4, loop): {reason}"));
}

#[test]
fn the_data_directory_keeps_the_contract_without_power() {
    let lines = in_own_mounts(times("GOMETA_TEST_POWER_CUTS", 40), &[]);
    let Ok(lines) = lines.map_err(say_skipped) else { return };
    let found = |word| lines.iter().find_map(|line| number(line, word));
    let kept = lines.iter().find(|line| line.starts_with("kept "));
    say(kept.unwrap_or_else(|| panic!("{}", lines.join("\n"))));
    // Cuts without lost writes prove nothing.
    assert!(found("amid ") > Some(0) && found("lost ") > Some(0), "{}", lines.join("\n"));
}

#[test]
fn a_sync_that_does_nothing_is_detected() {
    let dir = tempfile::tempdir().unwrap();
    let (source, shim) = (dir.path().join("lie.c"), dir.path().join("lie.so"));
    std::fs::write(&source, LIE).unwrap();
    let flags = ["-shared", "-fPIC", "-o"].map(OsStr::new);
    let built = command("cc", &[&flags[..], &[shim.as_os_str(), source.as_os_str()]].concat());
    let lines = built.and_then(|()| in_own_mounts(30, &[("LD_PRELOAD", shim.as_os_str())]));
    let Ok(lines) = lines.map_err(say_skipped) else { return };
    let broken = lines.iter().find(|line| line.starts_with("broken "));
    say(&format!(
        "without syncs: {}",
        broken.unwrap_or_else(|| panic!("not detected: {}", lines.join("\n")))
    ));
}
