//! The machine that a run was made on.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};

/// The facts about the machine that a report names.
pub(crate) struct Machine {
    pub(crate) processors: usize,
    pub(crate) processor: String,
    pub(crate) memory_mib: u64,
    pub(crate) system: String,
    pub(crate) kernel: String,
    pub(crate) file_system: FileSystem,
    /// The load averages at the start of the run.
    pub(crate) load: String,
}

/// A mounted file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FileSystem {
    pub(crate) kind: String,
    pub(crate) device: String,
    pub(crate) options: String,
}

impl FileSystem {
    /// The file system of an existing directory.
    pub(crate) fn of(directory: &Path) -> Result<FileSystem> {
        let path = fs::canonicalize(directory).with_context(|| directory.display().to_string())?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
        find(&mounts, &path).with_context(|| format!("no mounted file system contains {}", path.display()))
    }

    /// Whether its files are in memory, so that a sync does nothing.
    pub(crate) fn is_in_memory(&self) -> bool {
        ["tmpfs", "ramfs"].contains(&self.kind.as_str())
    }
}

/// The last mounted file system among those with the longest mount point that contains `path`.
fn find(mounts: &str, path: &Path) -> Option<FileSystem> {
    let parsed = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(4);
        let (point, options) = (unescaped(before.next()?), before.next()?);
        let mut after = after.split(' ');
        let (kind, device) = (after.next()?.to_owned(), unescaped(after.next()?));
        let length = point.len();
        path.starts_with(point).then(|| (length, FileSystem { kind, device, options: options.to_owned() }))
    });
    parsed.max_by_key(|(length, _)| *length).map(|(_, found)| found)
}

/// A name in which spaces and the like are octal numbers after a backslash.
fn unescaped(name: &str) -> String {
    let mut parts = name.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(code) => {
                text.push(code.into());
                text.push_str(&part[3..]);
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

impl Machine {
    /// Describes this machine, and the file system of the data.
    pub(crate) fn describe(data: &Path) -> Result<Machine> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim_matches([' ', '\t', ':', '=', '"']).to_owned()
        };
        let kib = value(&read("/proc/meminfo"), "MemTotal");
        let load: Vec<_> = read("/proc/loadavg").split_whitespace().take(3).map(str::to_owned).collect();
        Ok(Machine {
            processors: std::thread::available_parallelism()?.get(),
            processor: value(&read("/proc/cpuinfo"), "model name"),
            memory_mib: kib.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024,
            system: value(&read("/etc/os-release"), "PRETTY_NAME"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: FileSystem::of(data)?,
            load: load.join(", "),
        })
    }
}

/// The date and time in UTC, as in `2026-11-28T03:04:05Z`.
pub(crate) fn timestamp(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(day);
    format!("{year}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar. Counts from the 1st of March of the year 0,
/// so that a leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let month_day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, month_day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_799), "2000-02-29T23:59:59Z");
        assert_eq!(at(1_795_788_245), "2026-11-27T14:04:05Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                      2 1 0:5 / /tmp rw - tmpfs none rw\n\
                      3 1 8:2 / /srv/my\\040data rw,noatime - xfs /dev/vdb rw\n";
        let kind = |path: &str| find(mounts, Path::new(path)).map(|found| found.kind);
        assert_eq!(kind("/var/lib").as_deref(), Some("ext4"));
        assert_eq!(kind("/tmp/a").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/tmpfiles").as_deref(), Some("ext4"));
        let found = find(mounts, Path::new("/srv/my data/a")).expect("found");
        let expected = FileSystem {
            kind: "xfs".to_owned(),
            device: "/dev/vdb".to_owned(),
            options: "rw,noatime".to_owned(),
        };
        assert_eq!(found, expected);
        assert!(find("", Path::new("/")).is_none() && !found.is_in_memory());
        assert_eq!(unescaped("a\\b\\040"), "a\\b ");
    }

    #[test]
    fn this_machine_can_be_described() {
        let machine = Machine::describe(Path::new(".")).expect("describable");
        assert!(machine.processors > 0 && !machine.kernel.is_empty());
    }
}
