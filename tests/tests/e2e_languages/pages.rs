//! The user documentation: the commands in `docs/cli.md` and `docs/members.md` print what these show, and the examples in
//! `docs/rust.md` run.

use std::path::Path;

use gometa_tests::{
    data_directory::{DATA_BLOCK, Segment, copy, flip, report, tables_with},
    ensemble::{Addresses, Ensemble},
    program::program,
    wait::PATIENCE,
};
use serde_json::Value;

/// How often a node is founded until its state has all keys when it stops.
const ATTEMPTS: usize = 50;

/// Returns the terminal sessions of a page: commands, each with its output.
fn conversations(page: &str) -> Vec<Vec<(String, Vec<String>)>> {
    let blocks = page.split("```console\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
    blocks
        .map(|block| {
            let mut commands: Vec<(String, Vec<String>)> = Vec::new();
            for line in block.lines() {
                match (line.strip_prefix("$ "), commands.last_mut()) {
                    (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
                    (None, Some((_, printed))) => printed.push(line.to_owned()),
                    (None, None) => panic!("printed by no command: {line}"),
                }
            }
            commands
        })
        .collect()
}

/// Replaces numbers and the width of gaps, which may differ.
fn plain(line: &str) -> String {
    let mut plain = String::new();
    for sign in line.chars() {
        let sign = if sign.is_ascii_digit() { '0' } else { sign };
        if !(plain.ends_with(sign) && (sign == '0' || sign == ' ')) {
            plain.push(sign);
        }
    }
    plain
}

/// Whether a line matches the page, where "…" stands for any text.
fn is_as_shown(printed: &str, shown: &str) -> bool {
    let (printed, shown) = (plain(printed), plain(shown));
    let mut parts = shown.split('…');
    let Some(mut rest) = printed.strip_prefix(parts.next().unwrap()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// Removes the leader's address from an error: only a follower adds it.
fn without_leader(line: &str) -> String {
    match line.split_once("\"leader\":\"") {
        Some((before, rest)) if line.starts_with("{\"error\"") => {
            before.to_owned() + rest.split_once("\",").map_or("", |(_, behind)| behind)
        }
        _ => line.to_owned(),
    }
}

/// Whether lines match the page, where a line "…" stands for any number of lines.
fn are_as_shown(printed: &[&str], shown: &[String]) -> bool {
    match (printed, shown) {
        ([], []) => true,
        (_, [line, shown @ ..]) if line == "…" => {
            (0..=printed.len()).any(|skipped| are_as_shown(&printed[skipped..], shown))
        }
        ([first, printed @ ..], [line, shown @ ..]) => {
            is_as_shown(first, line) && are_as_shown(printed, shown)
        }
        _ => false,
    }
}

/// Runs the terminal sessions of a page, at least this many, in a directory.
async fn run_page(page: &str, blocks_min: usize, ensemble: &Ensemble, directory: &Path) {
    run_page_with(page, blocks_min, ensemble, directory, &[]).await;
}

/// Runs the terminal sessions of a page with further variables. What a session has begun ends with it.
async fn run_page_with(
    page: &str,
    blocks_min: usize,
    ensemble: &Ensemble,
    directory: &Path,
    variables: &[(&str, String)],
) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let conversations = conversations(&std::fs::read_to_string(page).unwrap());
    assert!(conversations.len() >= blocks_min, "only {} blocks found", conversations.len());
    let programs = program("gometa").parent().unwrap().to_path_buf();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    for conversation in conversations {
        // One shell for each block, as in a terminal; a marker line ends the output of each command.
        let mut script = String::from("exec 2>&1; trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n");
        for (command, _) in &conversation {
            script += &format!("{command}\nstatus=$?; echo \"-- end\"; (exit $status)\n");
        }
        let running = tokio::process::Command::new("bash")
            .args(["--norc", "-c", &script])
            .env("PATH", &path)
            .env("HOSTNAME", "here")
            .env("GOMETA_PEERS", ensemble.requests_from(0).join(","))
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir(directory)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, running).await.expect("it does not end").unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let mut printed = said.split("-- end\n");
        for (command, shown) in &conversation {
            let printed: Vec<String> = printed.next().unwrap().lines().map(without_leader).collect();
            let printed: Vec<&str> = printed.iter().map(String::as_str).collect();
            assert!(are_as_shown(&printed, shown), "$ {command}\n{printed:#?}\nis not\n{shown:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_on_the_page_print_its_output() {
    let ensemble = Ensemble::start(3).await;
    run_page("cli.md", 10, &ensemble, ensemble.scratch()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspections_print_what_the_page_shows() {
    let ensemble = stopped_with_two_keys().await;
    let directory = ensemble.scratch().join("inspected");
    for name in ["data", "torn", "damaged", "altered"] {
        copy(&ensemble.data(0), &directory.join(name));
    }
    let log = Segment::last(&directory.join("data"));
    // A write that was cut off, a damaged batch, and damaged records.
    log.of(&directory.join("torn")).write(log.used, b"cut off");
    log.of(&directory.join("damaged")).damage_last_batch();
    let damaged = tables_with(&directory.join("altered"), b"colour");
    assert!(!damaged.is_empty(), "no table has the key");
    damaged.iter().for_each(|table| flip(table, DATA_BLOCK));
    run_page("operations.md", 1, &ensemble, &directory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_change_as_the_page_shows() {
    let ensemble = Ensemble::start(3).await;
    let fourth = Addresses::free(ensemble.addresses(0).message.ip());
    let Value::Object(host) = fourth.json() else { panic!("an object") };
    let host: Vec<String> = ["ElectionAddr", "MessageAddr", "RequestAddr"]
        .iter()
        .map(|name| format!("\"{name}\": {}", host[*name]))
        .collect();
    let directory = ensemble.scratch();
    std::fs::write(directory.join("4.json"), format!("{{\"Host\": {{{}}}}}\n", host.join(", "))).unwrap();
    let node = ("NODE_4", fourth.request.to_string());
    let third = ("NODE_3", ensemble.addresses(2).request.to_string());
    run_page_with("members.md", 4, &ensemble, directory, &[third, node]).await;
}

/// A node that has stopped in order, with two keys in its durable state.
async fn stopped_with_two_keys() -> Ensemble {
    for _ in 0..ATTEMPTS {
        let mut ensemble = Ensemble::start(1).await;
        let client = ensemble.client(PATIENCE);
        client.set("colour", "green").await.unwrap();
        client.set("shape", "round").await.unwrap();
        client.close().await;
        assert!(ensemble.terminate(0).await.success());
        // The state may lack what was written last: the log has it.
        if report(&ensemble.data(0), &[])["state"]["keys"] == 2 {
            return ensemble;
        }
    }
    panic!("no state has both keys");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_in_rust_succeed() {
    let ensemble = Ensemble::start(3).await;
    let peers = ensemble.requests_from(0).join(",");
    for example in ["examples/tour", "examples/recipes"] {
        let status = tokio::process::Command::new(program(example)).arg(&peers).status().await.unwrap();
        assert!(status.success(), "{example}: {status}");
    }
}

#[test]
fn output_is_compared_with_the_page() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (printed, shown, same) in [
        ("revision 12", "revision 3", true),
        ("revision x", "revision 3", false),
        ("a 1\nb\nc", "a …\n…", true),
        ("a\nb\nc", "a\nc", false),
        ("a\nb\nc", "…\nc", true),
        ("a  b, c", "a … c", true),
        ("a  b, d", "a … c", false),
        ("", "x", false),
    ] {
        let printed: Vec<&str> = printed.lines().collect();
        assert_eq!(are_as_shown(&printed, &lines(shown)), same, "{printed:?} {shown:?}");
    }
}
