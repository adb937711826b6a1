//! What the kernel counts of processes and of the machine.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// What processes have used since their start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Usage {
    /// Processor time in user and kernel mode, of all threads.
    pub(crate) cpu: Duration,
    /// Bytes that were to be written to a disk.
    pub(crate) written_bytes: u64,
}

impl Usage {
    /// The usage of one process.
    pub(crate) fn of(pid: u32) -> Result<Usage> {
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/{pid}/{name}")).with_context(|| format!("process {pid}"))
        };
        let stat = read("stat")?;
        let ticks = cpu_ticks(&stat).with_context(|| format!("/proc/{pid}/stat: {stat}"))?;
        let io = read("io")?;
        let written_bytes = field(&io, "write_bytes:").with_context(|| format!("/proc/{pid}/io: {io}"))?;
        Ok(Usage { cpu: time(ticks), written_bytes })
    }

    /// The sum over several processes.
    pub(crate) fn of_all(pids: impl IntoIterator<Item = u32>) -> Result<Usage> {
        pids.into_iter().try_fold(Usage::default(), |sum, pid| {
            let Usage { cpu, written_bytes } = Usage::of(pid)?;
            Ok(Usage { cpu: sum.cpu + cpu, written_bytes: sum.written_bytes + written_bytes })
        })
    }

    /// What was used since `earlier`.
    pub(crate) fn since(self, earlier: Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}

/// The resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let kib = field(&status, "VmRSS:").with_context(|| format!("/proc/{pid}/status has no VmRSS"))?;
    Ok(kib * 1024)
}

/// The time that all processors together have been busy, also with other virtual machines.
pub(crate) fn busy_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat")?;
    busy_ticks(&stat).map(time).with_context(|| "/proc/stat has no line of all processors".to_owned())
}

fn time(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The user and system time in `/proc/PID/stat`. The name of the program, which may contain anything, is in parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// The ticks in the first line of `/proc/stat` that are not idle: user, nice, system, irq, softirq, steal.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|tick| tick.parse().ok()).collect();
    [0, 1, 2, 5, 6, 7].into_iter().map(|at| ticks.get(at)).sum()
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_in_spite_of_its_name() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194304 1 0 0 0 250 50 7 7 20 0 1 0 5 1 1 184";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("12 (a) S 1"), None);
    }

    #[test]
    fn idle_and_iowait_are_not_busy() {
        let stat = "cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 9 9 9 9 9 9 9 9 9 9\n";
        assert_eq!(busy_ticks(stat), Some(63));
        assert_eq!(busy_ticks("intr 0"), None);
    }

    #[test]
    fn fields_are_found_by_their_names() {
        let io = "wchar: 5\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n";
        assert_eq!(field(io, "write_bytes:"), Some(4096));
        assert_eq!(field("VmRSS:\t  120 kB\n", "VmRSS:"), Some(120));
        assert_eq!(field("", "VmRSS:"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        let before = Usage::of(pid).expect("readable");
        assert!(resident_bytes(pid).expect("readable") > 0);
        let twice = Usage::of_all([pid, pid]).expect("readable");
        assert!(twice.cpu >= before.cpu && busy_time().expect("readable") > Duration::ZERO);
        assert_eq!(before.since(before), Usage::default());
    }
}
