//! End-to-end tests of shrinking; they need the instrumented program, which has planted faults.
#![cfg(gometa_instrumented)]

use std::process::Command;

use serde_json::Value;

/// Runs the simulator. Returns whether it has succeeded, and its report.
fn simulate(arguments: &[&str]) -> (bool, Value) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_gometa-sim")).args(arguments).arg("--json").output().unwrap();
    let report = serde_json::from_slice(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    (output.status.success(), report.unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// The options of a command that repeats a run, without the trace.
fn options(command: &Value) -> Vec<&str> {
    let mut words: Vec<&str> = command.as_str().unwrap().split(' ').collect();
    assert_eq!((words.remove(0), words.pop()), ("gometa-sim", Some("--trace")));
    words
}

#[test]
fn a_shrunk_run_is_smaller_and_violates_the_same_invariant() {
    let mut shorter = 0;
    for mutant in ["M12", "M13", "M35"] {
        // With the whole budget: the default one is 30 s, which a busy machine may need.
        let (good, report) = simulate(&["--seeds", "2000", "--mutant", mutant, "--shrink"]);
        assert!(!good, "{mutant} is not detected");
        let (failure, shrunk) = (&report["violations"][0], &report["shrunk"]);
        assert_eq!(shrunk["seed"], failure["seed"], "{mutant}");
        assert_eq!(shrunk["invariant"], failure["invariant"], "{mutant}");
        let size = |of: &str, what: &str| shrunk[of][what].as_u64().unwrap();
        let sizes = |of| ["kinds", "until_us", "nodes", "clients"].map(|what| size(of, what));
        let (from, to) = (sizes("from"), sizes("to"));
        assert!(from.iter().zip(to).all(|(from, to)| *from >= to), "{mutant}: {shrunk}");
        assert!(to[0] * 2 < from[0], "{mutant}: {shrunk}");
        // A fault that needs the whole time for its effect leaves nothing to cut.
        shorter += u64::from(to[1] < from[1]);
        // The shrunk command violates the same invariant as the original one.
        for command in [&shrunk["replay"], &failure["replay"]] {
            let (good, again) = simulate(&options(command));
            assert!(!good, "{command}");
            assert_eq!(again["violations"][0]["invariant"], failure["invariant"], "{command}");
        }
        let (_, again) = simulate(&options(&shrunk["replay"]));
        assert_eq!(again["violations"][0]["detail"], shrunk["detail"], "{mutant}: not the same run");
    }
    assert!(shorter > 0, "no run is shorter");
}

#[test]
fn a_successful_run_is_not_shrunk() {
    let (good, report) = simulate(&["--seed", "1", "--shrink"]);
    assert!(good && report["shrunk"].is_null(), "{report}");
    assert_eq!(report["probes"].as_object().map(|probes| probes.len() >= 60), Some(true));
}
