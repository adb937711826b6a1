use super::*;
use crate::machine::FileSystem;

fn measurement(system: System, round: u32, per_second: f64) -> Measurement {
    Measurement {
        system,
        workload: "set-1".parse().expect("a workload"),
        keys: 1000,
        round,
        completed: 10,
        per_second,
        latency: Some(Percentiles {
            p50_us: 1e6 / per_second,
            p90_us: 1e6,
            p99_us: 2e6,
            p999_us: 3e6,
            max_us: 4e6,
        }),
        errors: 0,
        first_error: None,
        not_started: 0,
        server_cpu_us: 12.5,
        generator_cpu_us: 1.0,
        disk_bytes: 4096.0,
        server_cores: 1.0,
        generator_cores: 0.5,
        other_cores: 0.25,
        leader_changed: false,
    }
}

fn report() -> Report {
    let file_system =
        FileSystem { kind: "ext4".to_owned(), device: "/dev/vda".to_owned(), options: "rw".to_owned() };
    let rates =
        [(System::Gometa, 2000.0), (System::Etcd, 500.0), (System::Gometa, 3000.0), (System::Etcd, 500.0)];
    Report {
        command_line: "gometa-bench --quick".to_owned(),
        begun: UNIX_EPOCH,
        machine: Machine {
            processors: 2,
            processor: "a processor".to_owned(),
            memory_mib: 24_000,
            system: "Linux".to_owned(),
            kernel: "6.1".to_owned(),
            file_system,
            load: "0, 0, 0".to_owned(),
        },
        settings: Settings {
            systems: vec![System::Gometa, System::Etcd],
            rounds: 2,
            seconds: 2,
            warm_up_seconds: 4,
            value_bytes: 128,
            placement: "leader".to_owned(),
            generator_threads: 2,
            zookeeper_heap_mib: 1000,
            quick: true,
        },
        workloads: vec!["set-1".parse().expect("a workload"), "get-64".parse().expect("a workload")],
        versions: Vec::new(),
        measurements: (2..)
            .zip(rates)
            .map(|(at, (system, rate))| measurement(system, at / 2, rate))
            .collect(),
        syncs: vec![Syncs { alone_p50_us: 100.0, alone_p99_us: 1.0, three_p50_us: 200.0, three_p99_us: 1.0 }],
        memory: [(System::Gometa, 10_u64), (System::Etcd, 40)]
            .map(|(system, mib)| Memory { keys: 1000, system, resident_bytes: vec![mib << 20; 3] })
            .into(),
        incomplete: false,
    }
}

#[test]
fn thousands_are_separated() {
    for (number, decimals, text) in [
        (0.0, 0, "0"),
        (999.4, 0, "999"),
        (1000.0, 0, "1,000"),
        (1_234_567.891, 2, "1,234,567.89"),
        (-123_456.0, 0, "-123,456"),
        (0.5, 3, "0.500"),
    ] {
        assert_eq!(digits(number, decimals), text);
    }
}

#[test]
fn a_table_shows_medians_ranges_and_ratios() {
    let table = report().table();
    let words = |start: &str| {
        let line = table.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("{start} is missing in {table}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(words("set, 1 connection;"), "set, 1 connection; 1,000 keys gometa etcd gometa/etcd");
    assert_eq!(words("  operations/s"), "operations/s 2,500 (2,000-3,000) 500 5.00 (4.00-6.00)");
    assert_eq!(words("  disk bytes/op"), "disk bytes/op 4,096 4,096 1.00");
    assert_eq!(words("  other load"), "other load, processors 0.25 0.25");
    assert_eq!(words("  1,000 keys"), "1,000 keys 10 40 0.25");
    assert_eq!(words("  while three"), "while three processes sync at once 200");
    assert!(words("  p50 of a lone set").ends_with("gometa 2.08, etcd 10.00"), "{table}");
    assert!(!table.contains("linearizable get"), "a workload without measurements has no table");
}

#[test]
fn doubtful_measurements_have_notes() {
    let mut report = report();
    assert!(!report.table().contains("Other programs"));
    let one = &mut report.measurements[1];
    one.other_cores = 1.5;
    (one.errors, one.first_error, one.not_started, one.leader_changed) =
        (3, Some("lost".to_owned()), 7, true);
    let table = report.table();
    for note in [
        "used up to 1.50 processors",
        "etcd, round 1: 3 errors, the first: lost",
        "7 operations not started",
        "the leader changed",
    ] {
        assert!(table.contains(note), "{note}: {table}");
    }
}

#[test]
fn json_has_every_measurement() {
    let json = report().to_json();
    assert_eq!(json["measurements"].as_array().map(Vec::len), Some(4));
    assert_eq!(json["measurements"][0]["latency_us"]["p50"], 500.0);
    assert_eq!(json["begun"], "1970-01-01T00:00:00Z");
    assert_eq!(json["ratios"][0]["median"], 5.0);
    assert_eq!(json["memory"][0]["resident_bytes"][2], 10 << 20);
}

#[test]
fn a_run_without_gometa_has_no_ratios() {
    let mut report = report();
    report.settings.systems = vec![System::Etcd];
    assert!(!report.table().contains("gometa/"));
}
