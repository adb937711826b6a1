//! The results of a run: a table for people, JSON for programs.

use std::{
    collections::BTreeMap,
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{
    args::System,
    disk::Syncs,
    machine::{Machine, timestamp},
    stats::{Percentiles, Spread},
    workload::{Loop, Operation, Workload},
};

/// One workload on one system in one round.
pub(crate) struct Measurement {
    pub(crate) system: System,
    pub(crate) workload: Workload,
    pub(crate) keys: u32,
    pub(crate) round: u32,
    pub(crate) completed: u64,
    pub(crate) per_second: f64,
    pub(crate) latency: Option<Percentiles>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) not_started: u64,
    /// Processor time of the three processes for one operation.
    pub(crate) server_cpu_us: f64,
    /// Processor time of the load generator for one operation.
    pub(crate) generator_cpu_us: f64,
    /// Bytes that the three processes have written to the disk for one operation.
    pub(crate) disk_bytes: f64,
    /// Processors that were busy within the window: by the three processes, by the load generator, otherwise.
    pub(crate) server_cores: f64,
    pub(crate) generator_cores: f64,
    pub(crate) other_cores: f64,
    /// Whether another node led at the end.
    pub(crate) leader_changed: bool,
}

/// The memory of an ensemble's processes after all rounds with one number of keys.
pub(crate) struct Memory {
    pub(crate) keys: u32,
    pub(crate) system: System,
    pub(crate) resident_bytes: Vec<u64>,
}

/// What was run.
pub(crate) struct Version {
    pub(crate) system: System,
    pub(crate) version: String,
    pub(crate) command: String,
}

/// Everything about one run.
pub(crate) struct Report {
    pub(crate) command_line: String,
    pub(crate) begun: SystemTime,
    pub(crate) machine: Machine,
    pub(crate) settings: Settings,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) versions: Vec<Version>,
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) syncs: Vec<Syncs>,
    pub(crate) memory: Vec<Memory>,
    /// Whether the run ended before its last round.
    pub(crate) incomplete: bool,
}

/// The settings of a run that every table needs to be understood.
pub(crate) struct Settings {
    pub(crate) systems: Vec<System>,
    pub(crate) rounds: u32,
    pub(crate) seconds: u64,
    pub(crate) warm_up_seconds: u64,
    pub(crate) value_bytes: u32,
    pub(crate) placement: String,
    pub(crate) generator_threads: u32,
    pub(crate) zookeeper_heap_mib: u32,
    pub(crate) quick: bool,
}

/// A row of the table.
struct Metric {
    name: &'static str,
    decimals: usize,
    value: fn(&Measurement) -> Option<f64>,
    /// Whether quotients of systems mean something.
    compared: bool,
}

/// The rows of each workload.
const METRICS: [Metric; 8] = [
    Metric { name: "operations/s", decimals: 0, value: |one| Some(one.per_second), compared: true },
    Metric {
        name: "latency p50, ms",
        decimals: 3,
        value: |one| Some(one.latency?.p50_us / 1e3),
        compared: true,
    },
    Metric {
        name: "latency p99, ms",
        decimals: 3,
        value: |one| Some(one.latency?.p99_us / 1e3),
        compared: true,
    },
    Metric {
        name: "latency p99.9, ms",
        decimals: 3,
        value: |one| Some(one.latency?.p999_us / 1e3),
        compared: true,
    },
    Metric {
        name: "processor time/op, us",
        decimals: 1,
        value: |one| Some(one.server_cpu_us),
        compared: true,
    },
    Metric {
        name: "disk bytes/op",
        decimals: 0,
        value: |one| one.workload.operation.writes().then_some(one.disk_bytes),
        compared: true,
    },
    Metric {
        name: "generator time/op, us",
        decimals: 1,
        value: |one| Some(one.generator_cpu_us),
        compared: false,
    },
    Metric {
        name: "other load, processors",
        decimals: 2,
        value: |one| Some(one.other_cores),
        compared: false,
    },
];

/// The processors that other programs and the kernel's own threads may use in a measurement that counts.
const OTHER_LOAD_MAX: f64 = 0.3;

/// A number with commas between thousands.
pub(crate) fn digits(number: f64, decimals: usize) -> String {
    let plain = format!("{number:.decimals$}");
    let (whole, fraction) =
        plain.split_once('.').map_or((&*plain, None), |(whole, rest)| (whole, Some(rest)));
    let mut text = String::new();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// A median with its range in parentheses.
fn spread(spread: Option<Spread>, decimals: usize) -> String {
    let Some(Spread { median, min, max }) = spread else { return "-".to_owned() };
    let [median, min, max] = [median, min, max].map(|number| digits(number, decimals));
    if min == max { median } else { format!("{median} ({min}-{max})") }
}

/// Lays rows out in columns: the first one on the left, the others on the right.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match at {
                0 => write!(line, "{cell:<width$}"),
                _ => write!(line, "   {cell:>width$}"),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

impl Report {
    /// The values of one metric by round.
    fn values(
        &self,
        keys: u32,
        workload: Workload,
        system: System,
        value: fn(&Measurement) -> Option<f64>,
    ) -> BTreeMap<u32, f64> {
        let measurements = self.select(keys, workload).filter(|one| one.system == system);
        measurements.filter_map(|one| Some((one.round, value(one)?))).collect()
    }

    fn select(&self, keys: u32, workload: Workload) -> impl Iterator<Item = &Measurement> {
        self.measurements.iter().filter(move |one| one.keys == keys && one.workload == workload)
    }

    /// The numbers of keys that were measured.
    fn key_counts(&self) -> Vec<u32> {
        let mut keys: Vec<u32> = self.measurements.iter().map(|one| one.keys).collect();
        keys.dedup();
        keys
    }

    /// The systems that gometa is compared with; none without gometa.
    fn others(&self) -> Vec<System> {
        let systems = &self.settings.systems;
        let compared = systems.contains(&System::Gometa);
        systems.iter().copied().filter(|system| compared && *system != System::Gometa).collect()
    }

    fn heading(&self, title: &str) -> Vec<String> {
        let names = self.settings.systems.iter().map(|system| system.name().to_owned());
        let ratios = self.others().into_iter().map(|other| format!("gometa/{}", other.name()));
        [title.to_owned()].into_iter().chain(names).chain(ratios).collect()
    }

    /// The report for people.
    pub(crate) fn table(&self) -> String {
        let mut text = self.preamble();
        for keys in self.key_counts() {
            for &workload in
                self.workloads.iter().filter(|workload| self.select(keys, **workload).next().is_some())
            {
                let title = format!("{}; {} keys", workload.description(), digits(keys.into(), 0));
                let mut rows = vec![self.heading(&title)];
                rows.extend(METRICS.iter().filter_map(|metric| self.row(keys, workload, metric)));
                let _ = write!(text, "\n{}{}", columns(&rows), self.notes(keys, workload));
            }
        }
        text.push_str(&self.memory_table());
        text.push_str(&self.sync_table());
        text
    }

    fn row(&self, keys: u32, workload: Workload, metric: &Metric) -> Option<Vec<String>> {
        let values = |system| self.values(keys, workload, system, metric.value);
        let mut row = vec![format!("  {}", metric.name)];
        for system in &self.settings.systems {
            row.push(spread(Spread::of(values(*system).into_values()), metric.decimals));
        }
        if metric.compared {
            for other in self.others() {
                row.push(spread(Spread::of_ratios(&values(System::Gometa), &values(other)), 2));
            }
        }
        row.iter().skip(1).any(|cell| cell != "-").then_some(row)
    }

    /// What makes the measurements of a workload doubtful, one line each.
    fn notes(&self, keys: u32, workload: Workload) -> String {
        let mut text = String::new();
        for one in self.select(keys, workload) {
            let place = format!("  note: {}, round {}:", one.system.name(), one.round);
            if one.errors > 0 {
                let first = one.first_error.as_deref().unwrap_or_default();
                let _ = writeln!(text, "{place} {} errors, the first: {first}", one.errors);
            }
            if one.not_started > 0 {
                let _ = writeln!(text, "{place} overloaded, {} operations not started", one.not_started);
            }
            if one.leader_changed {
                let _ = writeln!(text, "{place} the leader changed");
            }
        }
        text
    }

    fn preamble(&self) -> String {
        let Report { machine, settings, .. } = self;
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line(format!("{}, {}", timestamp(self.begun), self.command_line));
        line(format!(
            "{} processors ({}), {} MiB, {}, Linux {}; data on {} ({}); load average at the start {}",
            machine.processors,
            machine.processor,
            digits(machine.memory_mib as f64, 0),
            machine.system,
            machine.kernel,
            machine.file_system.kind,
            machine.file_system.options,
            machine.load,
        ));
        for Version { system, version, .. } in &self.versions {
            line(format!("{}: {version}", system.name()));
        }
        line(format!(
            "Medians of {} rounds of {} s (ranges in parentheses) after {} s of warm-up; values of {} bytes; clients at {}",
            settings.rounds,
            settings.seconds,
            settings.warm_up_seconds,
            settings.value_bytes,
            settings.placement,
        ));
        let other = self.measurements.iter().map(|one| one.other_cores).fold(0.0, f64::max);
        if other > OTHER_LOAD_MAX {
            line(format!(
                "Other programs used up to {other:.2} processors meanwhile: do not compare rates and latencies."
            ));
        }
        if self.incomplete {
            line("INCOMPLETE: the run ended before its last round.".to_owned());
        }
        if settings.quick {
            line("A quick run: too short for a comparison.".to_owned());
        }
        text
    }

    fn memory_table(&self) -> String {
        if self.memory.is_empty() {
            return String::new();
        }
        let mut rows = vec![self.heading("resident memory of a node, MiB (mean of three)")];
        for keys in self.key_counts() {
            let of = |system| {
                let found =
                    self.memory.iter().find(|memory| memory.keys == keys && memory.system == system)?;
                let sum: u64 = found.resident_bytes.iter().sum();
                Some(sum as f64 / found.resident_bytes.len().max(1) as f64 / f64::from(1 << 20))
            };
            let mut row = vec![format!("  {} keys", digits(keys.into(), 0))];
            let shown =
                |value: Option<f64>, decimals| value.map_or("-".to_owned(), |value| digits(value, decimals));
            row.extend(self.settings.systems.iter().map(|system| shown(of(*system), 0)));
            let ratio = |other| Some(of(System::Gometa)? / of(other)?);
            row.extend(self.others().into_iter().map(|other| shown(ratio(other), 2)));
            rows.push(row);
        }
        format!("\n{}", columns(&rows))
    }

    fn sync_table(&self) -> String {
        let of = |value: fn(&Syncs) -> f64| Spread::of(self.syncs.iter().map(value));
        let Some(three) = of(|syncs| syncs.three_p50_us) else { return String::new() };
        let rows = [
            vec!["one fdatasync into preallocated space, p50, us".to_owned()],
            vec!["  alone".to_owned(), spread(of(|syncs| syncs.alone_p50_us), 0)],
            vec!["  while three processes sync at once".to_owned(), spread(Some(three), 0)],
        ];
        let mut text = format!("\n{}", columns(&rows));
        for keys in self.key_counts() {
            let lone = |workload: &&Workload| {
                let one_caller =
                    workload.pacing == Loop::Closed { in_flight: 1 } && workload.connections == 1;
                workload.operation == Operation::Set && one_caller
            };
            let Some(workload) = self.workloads.iter().find(lone) else { continue };
            let p50 = |one: &Measurement| Some(one.latency?.p50_us);
            let multiple = |system: &System| {
                let lone = Spread::of(self.values(keys, *workload, *system, p50).into_values())?;
                Some(format!("{} {:.2}", system.name(), lone.median / three.median))
            };
            let multiples: Vec<String> = self.settings.systems.iter().filter_map(multiple).collect();
            let keys = digits(keys.into(), 0);
            let _ = writeln!(
                text,
                "  p50 of a lone set, {keys} keys, as a multiple of the latter: {}",
                multiples.join(", ")
            );
        }
        text
    }

    /// The report for programs, with every measurement.
    pub(crate) fn to_json(&self) -> Value {
        let Report { machine, settings, .. } = self;
        json!({
            "command_line": self.command_line,
            "begun": timestamp(self.begun),
            "seconds": self.begun.elapsed().map_or(0, |took| took.as_secs()),
            "begun_unix": self.begun.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            "incomplete": self.incomplete,
            "machine": {
                "processors": machine.processors,
                "processor": machine.processor,
                "memory_mib": machine.memory_mib,
                "system": machine.system,
                "kernel": machine.kernel,
                "file_system": machine.file_system.kind,
                "device": machine.file_system.device,
                "mount_options": machine.file_system.options,
                "load_average": machine.load,
            },
            "settings": {
                "rounds": settings.rounds,
                "seconds": settings.seconds,
                "warm_up_seconds": settings.warm_up_seconds,
                "value_bytes": settings.value_bytes,
                "placement": settings.placement,
                "generator_threads": settings.generator_threads,
                "zookeeper_heap_mib": settings.zookeeper_heap_mib,
                "quick": settings.quick,
            },
            "systems": self.versions.iter().map(|one| json!({
                "name": one.system.name(), "version": one.version, "command": one.command,
            })).collect::<Vec<_>>(),
            "measurements": self.measurements.iter().map(Measurement::to_json).collect::<Vec<_>>(),
            "ratios": self.ratios(),
            "memory": self.memory.iter().map(|one| json!({
                "system": one.system.name(), "keys": one.keys, "resident_bytes": one.resident_bytes,
            })).collect::<Vec<_>>(),
            "syncs": self.syncs.iter().map(|syncs| syncs.to_json()).collect::<Vec<_>>(),
        })
    }

    /// The quotients of the table, for programs.
    fn ratios(&self) -> Vec<Value> {
        let mut found = Vec::new();
        for keys in self.key_counts() {
            for &workload in &self.workloads {
                for metric in METRICS.iter().filter(|metric| metric.compared) {
                    for other in self.others() {
                        let values = |system| self.values(keys, workload, system, metric.value);
                        let ratio = Spread::of_ratios(&values(System::Gometa), &values(other));
                        found.extend(ratio.map(|Spread { median, min, max }| {
                            json!({
                                "keys": keys, "workload": workload.to_string(), "metric": metric.name,
                                "gometa_to": other.name(), "median": median, "min": min, "max": max,
                            })
                        }));
                    }
                }
            }
        }
        found
    }
}

impl Measurement {
    fn to_json(&self) -> Value {
        let latency = self.latency.map(|latency| {
            let Percentiles { p50_us, p90_us, p99_us, p999_us, max_us } = latency;
            json!({ "p50": p50_us, "p90": p90_us, "p99": p99_us, "p99.9": p999_us, "max": max_us })
        });
        json!({
            "system": self.system.name(),
            "workload": self.workload.to_string(),
            "keys": self.keys,
            "round": self.round,
            "operations": self.completed,
            "operations_per_second": self.per_second,
            "latency_us": latency,
            "errors": self.errors,
            "first_error": self.first_error,
            "not_started": self.not_started,
            "server_cpu_us_per_operation": self.server_cpu_us,
            "generator_cpu_us_per_operation": self.generator_cpu_us,
            "disk_bytes_per_operation": self.disk_bytes,
            "server_processors": self.server_cores,
            "generator_processors": self.generator_cores,
            "other_processors": self.other_cores,
            "leader_changed": self.leader_changed,
        })
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
