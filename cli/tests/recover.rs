//! `gometa recover compare` on reports of data directories.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/command.rs"]
mod command;

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::command::{gometa, text};

/// What gometa-server 0.1.0 wrote of a follower of three nodes that was killed; without the members in force.
const INSPECTED: &str = include_str!("data/inspected.json");

fn member(node: u64) -> Value {
    json!({ "node": format!("{node:016x}"), "incarnation": format!("{node:032x}"), "request_address": format!("host{node}:5003") })
}

/// The configuration of these voters and learners.
fn members(voters: &[u64], learners: &[u64]) -> Value {
    let all = |nodes: &[u64]| nodes.iter().map(|node| member(*node)).collect::<Vec<_>>();
    json!({ "version": { "epoch": 0, "counter": 0 }, "voters": all(voters), "learners": all(learners) })
}

/// A sound report of a node of the voters 1 to 5, with this current epoch and last entry.
fn report(node: u64, current: u64, last: (u64, u64)) -> Value {
    json!({
        "directory": format!("/data/{node}"),
        "identity": { "node": format!("{node:016x}"), "incarnation": format!("{node:032x}"), "boot": 1 },
        "ensemble": { "id": "e1", "history": 1, "sealed": true, "voters": [] },
        "configuration": members(&[1, 2, 3, 4, 5], &[]),
        "hard_state": { "accepted_epoch": current.max(last.0), "accepted_leader": null, "current_epoch": current },
        "log": { "end": { "epoch": last.0, "counter": last.1 }, "released": last.1 },
        "state": { "applied": 1 },
        "notes": [],
        "damage": [],
        "sound": true,
    })
}

/// The report with one more change.
fn with(mut report: Value, pointer: &str, value: Value) -> Value {
    *report.pointer_mut(pointer).unwrap() = value;
    report
}

fn voters(report: Value, voters: &[u64], learners: &[u64]) -> Value {
    with(report, "/configuration", members(voters, learners))
}

/// Compares files with these contents, which are named 1.json, 2.json and so on.
fn compare_files(contents: &[&str], options: &[&str]) -> Output {
    let directory = TempDir::new().unwrap();
    let mut arguments = vec!["recover".to_owned(), "compare".to_owned()];
    for (index, content) in contents.iter().enumerate() {
        let file = format!("{}.json", index + 1);
        fs::write(directory.path().join(&file), content).unwrap();
        arguments.push(file);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(options.iter().copied()).collect();
    gometa(&arguments).current_dir(directory.path()).output().unwrap()
}

fn compare(reports: &[Value], options: &[&str]) -> Output {
    let contents: Vec<String> = reports.iter().map(Value::to_string).collect();
    compare_files(&contents.iter().map(String::as_str).collect::<Vec<_>>(), options)
}

/// The result in JSON, and the exit status.
fn compared(reports: &[Value]) -> (Value, Option<i32>) {
    let output = compare(reports, &["-o", "json"]);
    assert!(output.stderr.is_empty(), "{output:?}");
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
}

/// The message of an error, which has no result.
fn refused(output: &Output) -> &str {
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{output:?}");
    text(&output.stderr).strip_prefix("gometa: ").unwrap()
}

/// The reason of each file that is no candidate.
fn reasons(result: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let reasons = result["reasons"].as_array().unwrap().iter();
    reasons.map(|reason| (word(&reason["file"]), word(&reason["reason"]))).collect()
}

#[test]
fn the_best_has_the_highest_epoch_and_then_the_last_entry() {
    for (first, second, best) in [
        ((3, (3, 7)), (3, (3, 8)), "2.json"),
        ((3, (3, 8)), (3, (3, 7)), "1.json"),
        // An epoch counts before a revision.
        ((3, (3, 7)), (3, (2, 90)), "1.json"),
        // An entry of an epoch counts as that epoch, if it was not recorded any more; a promise does not count.
        ((2, (3, 90)), (3, (2, 7)), "1.json"),
        ((2, (3, 90)), (4, (2, 7)), "2.json"),
        ((9, (9, 1)), (10, (9, 1)), "2.json"),
        ((3, (3, 7)), (3, (3, 7)), "1.json"),
    ] {
        let reports = [report(1, first.0, first.1), report(2, second.0, second.1)];
        let (result, status) = compared(&reports);
        assert_eq!((result["best"]["file"].as_str(), status), (Some(best), Some(0)), "{result}");
        let equal = if first == second { json!(["2.json"]) } else { json!([]) };
        assert_eq!(result["best"]["equal"], equal, "{first:?} {second:?}");
    }
    let promised = with(report(1, 3, (3, 7)), "/hard_state/accepted_epoch", 90.into());
    assert_eq!(compared(&[promised, report(2, 3, (3, 8))]).0["best"]["file"], "2.json");
}

#[test]
fn without_a_quorum_the_commands_of_a_recovery_are_shown() {
    let output = compare(&[report(1, 3, (3, 7)), report(2, 3, (3, 120))], &[]);
    assert_eq!(
        text(&output.stdout),
        "\
FILE    NODE              ROLE   HISTORY  ACCEPTED  CURRENT  LAST      BEHIND  RESULT
1.json  0000000000000001  voter  1        3         3        (3, 7)    113     candidate
2.json  0000000000000002  voter  1        3         3        (3, 120)  0       best
best: node 0000000000000002 (host2:5003), directory /data/2
2 of 5 voters can be used, quorum 3
missing voters: 0000000000000003 (host3:5003), 0000000000000004 (host4:5003), 0000000000000005 (host5:5003)
writes that were acknowledged by the missing voters alone may be lost
note: entries of the other candidates that node 0000000000000002 lacks are of epochs below 3, and were never acknowledged
make sure that the missing voters never start again with their old directories; then, on the best node:
  gometa-server -recover=yes-lose-unreplicated-writes -config=node.json
once it serves, on each other node, with an empty directory and its own configuration file:
  gometa-server -config=node.json -join=host2:5003 -voter
"
    );
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn a_quorum_needs_no_recovery() {
    let reports = [1, 2, 3].map(|node| report(node, 3, (3, node)));
    let output = compare(&reports, &[]);
    assert_eq!(output.status.code(), Some(4));
    let shown = text(&output.stdout);
    for part in [
        "3 of 5 voters can be used, quorum 3\n",
        "no acknowledged write is lost",
        "do not recover: a quorum is left",
        "start these nodes with their own directories and configuration files: 0000000000000001 (host1:5003), \
         0000000000000002 (host2:5003), 0000000000000003 (host3:5003)\n  gometa-server -config=node.json\n",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(!shown.contains("-recover="), "{shown}");
    let (result, status) = compared(&reports);
    assert_eq!((&result["quorum_present"], status), (&true.into(), Some(4)), "{result}");
    assert_eq!(result["next"], json!(["gometa-server -config=node.json"]));
}

#[test]
fn the_quorum_is_that_of_the_members_in_force() {
    for (all, present, quorum_present, writes) in [
        (1, 1, true, "kept"),
        (2, 1, false, "kept_unless_members_changed"),
        (2, 2, true, "kept"),
        (3, 1, false, "may_be_lost"),
        (3, 2, true, "kept"),
        (4, 1, false, "may_be_lost"),
        (4, 2, false, "kept_unless_members_changed"),
        (4, 3, true, "kept"),
        (5, 2, false, "may_be_lost"),
        (5, 3, true, "kept"),
    ] {
        let ids: Vec<u64> = (1..=all).collect();
        let reports: Vec<Value> =
            (1..=present).map(|node| voters(report(node, 1, (1, 4)), &ids, &[])).collect();
        let (result, status) = compared(&reports);
        let name = format!("{present} of {all}");
        assert_eq!(
            (&result["quorum_present"], &result["voters"]),
            (&quorum_present.into(), &all.into()),
            "{name}"
        );
        assert_eq!(
            (&result["quorum"], &result["acknowledged_writes"]),
            (&(all / 2 + 1).into(), &writes.into()),
            "{name}"
        );
        assert_eq!(status, Some(if quorum_present { 4 } else { 0 }), "{name}");
        let count = |field: &str| result[field].as_array().unwrap().len() as u64;
        assert_eq!((count("present"), count("missing")), (present, all - present), "{name}");
    }
}

#[test]
fn directories_that_cannot_be_used_are_no_candidates_and_the_reason_is_named() {
    let all = [1, 2, 3, 4, 5];
    let damage = json!([
        { "file": "log-1", "what": "not needed", "repaired": true },
        { "file": "log-1/7", "what": "batch 9 is lost", "repaired": false },
    ]);
    let damaged = with(with(report(2, 9, (9, 9)), "/sound", false.into()), "/damage", damage);
    let empty = json!({ "directory": "/e", "identity": null, "ensemble": null, "hard_state": null, "log": null, "state": null, "damage": [], "sound": true });
    let other = with(report(5, 9, (9, 9)), "/identity/incarnation", "ff".into());
    let (result, status) = compared(&[
        report(1, 3, (3, 7)),
        damaged,
        voters(report(6, 3, (3, 7)), &all, &[6]),
        other,
        voters(report(8, 3, (3, 7)), &all, &[]),
        with(report(3, 9, (9, 9)), "/ensemble/sealed", false.into()),
        empty,
        with(report(4, 3, (3, 7)), "/log/end", Value::Null),
        with(voters(report(9, 3, (3, 7)), &all, &[9]), "/identity/incarnation", "ff".into()),
    ]);
    let expected = [
        ("2.json", "damaged: log-1/7: batch 9 is lost"),
        ("3.json", "it is a learner"),
        ("4.json", "it has no vote: "),
        ("5.json", "it is no member"),
        ("6.json", "founding of its ensemble was not completed"),
        ("7.json", "it belongs to no ensemble"),
        ("8.json", "its identity, epochs or last entry are missing"),
        ("9.json", "it has no vote: "),
    ];
    let reasons = reasons(&result);
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for ((file, reason), (expected_file, words)) in reasons.iter().zip(expected) {
        assert!(file == expected_file && reason.contains(words), "{file}: {reason}");
    }
    assert_eq!((&result["best"]["file"], status), (&"1.json".into(), Some(0)), "{result}");
    assert_eq!(result["candidates"].as_array().map(Vec::len), Some(1), "{result}");
    assert_eq!(result["present"].as_array().map(Vec::len), Some(1), "none of these counts: {result}");
}

#[test]
fn only_the_newest_history_is_compared() {
    let older = [report(1, 9, (9, 90)), report(2, 9, (9, 90)), report(3, 9, (9, 90))];
    let newer = voters(with(report(4, 1, (1, 2)), "/ensemble/history", 2.into()), &[4, 5, 6], &[]);
    let (result, status) = compared(&[older[0].clone(), older[1].clone(), older[2].clone(), newer.clone()]);
    assert_eq!((&result["best"]["file"], &result["history"], status), (&"4.json".into(), &2.into(), Some(0)));
    assert_eq!((&result["quorum_present"], &result["lost_at_least"]), (&false.into(), &0.into()), "{result}");
    assert!(
        reasons(&result).iter().all(|(_, reason)| reason.contains("history 1 was given up when history 2")),
        "{result}"
    );
    // Nothing is recovered silently from before a recovery.
    let unsound = with(newer, "/sound", false.into());
    let (result, status) = compared(&[older[0].clone(), unsound]);
    assert_eq!((&result["best"], status), (&Value::Null, Some(4)), "{result}");
}

#[test]
fn a_voter_that_was_removed_or_promoted_since_is_judged_by_the_best_one() {
    // Nodes 1 and 4 know that 3 was removed and 4 promoted, and 3 does not; nor does 2.
    let late = |report| voters(report, &[1, 2, 4], &[]);
    let early = |report| voters(report, &[1, 2, 3], &[4]);
    let removed = early(report(3, 2, (2, 9)));
    let (result, _) = compared(&[late(report(1, 3, (3, 7))), removed.clone()]);
    assert_eq!(reasons(&result).len(), 1, "{result}");
    assert!(
        reasons(&result)[0].1.contains("no voter of the later configuration that node 0000000000000001 has")
    );
    assert_eq!(
        (&result["quorum_present"], &result["missing"][1]["node"]),
        (&false.into(), &"0000000000000004".into())
    );
    let promoted = early(report(4, 3, (3, 5)));
    let (result, status) = compared(&[late(report(1, 3, (3, 7))), promoted]);
    assert_eq!((&result["quorum_present"], status), (&true.into(), Some(4)), "{result}");
    // Without node 1 the configuration of node 3 is the last one.
    assert_eq!(compared(&[removed]).0["best"]["node"], "0000000000000003");
}

#[test]
fn what_is_known_about_lost_writes_is_told() {
    let notes = |reports: &[Value]| compared(reports).0["notes"].to_string();
    let best = || report(1, 3, (3, 7));
    let all = [1, 2, 3, 4, 5];
    let below = "lacks are of epochs below 3, and were never acknowledged";

    assert_eq!(notes(&[best()]), "[]");
    assert!(notes(&[best(), report(2, 2, (2, 90))]).contains(below));
    // A learner knows of more, of which a part was committed.
    let learner = with(voters(report(6, 3, (3, 12)), &all, &[6]), "/log/released", 9.into());
    let (result, _) = compared(&[best(), learner]);
    let told = result["notes"].to_string();
    assert_eq!(result["lost_at_least"], 2, "{result}");
    assert!(told.contains("at least 2 committed revisions will be lost"), "{told}");
    assert!(told.contains("node 0000000000000006 has entries through (3, 12)"), "{told}");
    // Entries of an epoch that the current epoch does not name yet.
    let told = notes(&[best(), voters(report(6, 2, (4, 6)), &all, &[6])]);
    assert!(told.contains("has entries through (4, 6)") && !told.contains(below), "{told}");
    // A later epoch that ends before.
    let told = notes(&[best(), voters(report(6, 4, (2, 5)), &all, &[6])]);
    assert!(told.contains("which ends at (2, 5), was in a later epoch"), "{told}");
    let promised = with(best(), "/hard_state/accepted_epoch", 8.into());
    assert!(notes(std::slice::from_ref(&promised)).contains("epochs through 8 were proposed"));
    // With a quorum all of it is decided by an election.
    assert_eq!(notes(&[promised, report(2, 3, (3, 6)), report(3, 2, (4, 6))]), "[]");
}

#[test]
fn a_real_report_is_read_and_says_that_it_does_not_tell_the_members() {
    let output = compare_files(&[INSPECTED], &[]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{output:?}");
    let shown = text(&output.stdout);
    for part in [
        "1.json  1bc2777064af17b3  voter  1        1         1        (1, 6)  0       best\n",
        "best: node 1bc2777064af17b3 (127.0.0.1:31003), directory /var/lib/gometa\n1 of 3 voters can be used, quorum 2\n",
        "note: some reports do not tell the members",
        "  gometa-server -config=node.json -join=127.0.0.1:31003 -voter\n",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    // As earlier versions name only the founders, a later member is none of them.
    let mut joined: Value = serde_json::from_str(INSPECTED).unwrap();
    joined["identity"]["node"] = "0000000000000009".into();
    assert!(reasons(&compared(&[joined]).0)[0].1.contains("no voter when the ensemble was founded"));
}

#[test]
fn reports_of_several_ensembles_are_refused() {
    let other = with(report(3, 3, (3, 7)), "/ensemble/id", "e2".into());
    let output = compare(&[report(1, 3, (3, 7)), other, report(2, 3, (3, 7))], &[]);
    assert!(
        refused(&output).contains("different ensembles: 1.json, 3.json of e1; 2.json of e2"),
        "{output:?}"
    );
}

#[test]
fn two_reports_of_one_directory_are_refused() {
    let output = compare(&[report(1, 3, (3, 7)), report(2, 3, (3, 7)), report(1, 3, (3, 9))], &[]);
    let message = refused(&output);
    assert!(
        message.starts_with("1.json and 3.json are reports of one data directory, or of a copy of it"),
        "{message}"
    );
    // The same node with another incarnation is another directory.
    let emptied = with(report(1, 3, (3, 9)), "/identity/incarnation", "ff".into());
    assert_eq!(compare(&[report(1, 3, (3, 7)), emptied], &[]).status.code(), Some(0));
}

#[test]
fn files_that_are_no_reports_are_refused_by_name() {
    let sound = report(1, 3, (3, 7)).to_string();
    for (content, words) in [
        ("", "2.json is no JSON: EOF"),
        ("directory  /data\n", "2.json is no JSON: expected value at line 1 column 1"),
        (&sound[..sound.len() / 2], "2.json is no JSON: EOF"),
        (
            "{\"epoch\":1,\"counter\":3,\"kind\":\"command\"}\n",
            "2.json is no report of gometa-server -inspect: missing field",
        ),
        ("[]", "2.json is no report"),
    ] {
        let output = compare_files(&[&sound, content], &[]);
        let message = refused(&output);
        assert!(message.starts_with(words) && message.contains("-inspect-format=json > FILE"), "{message}");
    }
    let output = gometa(&["recover", "compare", "/nowhere/a.json", "-o", "json"]).output().unwrap();
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(
        error["error"]["message"].as_str().unwrap().starts_with("cannot read /nowhere/a.json: "),
        "{error}"
    );
    let output = gometa(&["recover", "compare", env!("CARGO_MANIFEST_DIR")]).output().unwrap();
    assert!(refused(&output).contains("directory"), "{output:?}");
    let output = gometa(&["recover", "compare"]).output().unwrap();
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("<FILE>"), "{output:?}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/inspected.json");
    let file = file.to_str().unwrap();
    let output = gometa(&["recover", "compare", file, file]).output().unwrap();
    assert!(refused(&output).contains("inspected.json is named twice"), "{output:?}");
}

#[test]
fn texts_of_a_report_cannot_control_the_terminal() {
    let output = compare(&[with(report(1, 3, (3, 7)), "/directory", "/a\u{1b}[2J".into())], &[]);
    assert!(text(&output.stdout).contains("directory /a\\x1b[2J\n"), "{output:?}");
    assert!(!output.stdout.contains(&0x1b), "{output:?}");
}

#[test]
fn no_peer_is_needed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/inspected.json");
    let mut command = gometa(&["recover", "compare", file.to_str().unwrap()]);
    let output = command.env("GOMETA_PEERS", "no address").output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{output:?}");
    let script = gometa(&["completion", "bash"]).output().unwrap();
    assert!(text(&script.stdout).contains("gometa__subcmd__recover__subcmd__compare"), "not completed");
}
