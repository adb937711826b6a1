//! The clients without a library: their demonstrations, and their tables of errors.
//!
//! `gometa-clients` plays the scenarios of `tests/conformance/` to them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use gometa_proto::ErrorKind;
use gometa_tests::{ensemble::Ensemble, wait::PATIENCE};

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples").join(path)
}

/// Runs a command in a scratch directory.
async fn run(command: &mut Command, directory: &Path) -> Output {
    // It writes neither compiled Python nor Erlang's crash dumps into the repository.
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("ERL_CRASH_DUMP", "/dev/null").current_dir(directory);
    let mut command = tokio::process::Command::from(std::mem::replace(command, Command::new("true")));
    let running = command.kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, running).await.expect("it does not end").unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the output of a demonstration without its first line, which has a revision.
async fn demonstrated(program: &str, demo: &str) -> Vec<String> {
    let ensemble = Ensemble::start(3).await;
    let peers = ensemble.requests_from(0).join(",");
    let output = run(Command::new(program).arg(example(demo)).arg(peers), ensemble.scratch()).await;
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    let mut lines = said.lines().map(str::to_owned);
    assert!(lines.next().unwrap().starts_with("set at revision "), "{said}");
    lines.collect()
}

/// Checks that invalid addresses and addresses without a node end a demonstration with a plain error.
async fn refused(program: &str, demo: &str, nonsense: &str, nobody: &str) {
    let scratch = tempfile::tempdir().unwrap();
    // The discard port is reserved and has no listener.
    for (peers, kind) in
        [("nonsense", nonsense), ("", nonsense), ("http://a:1", nonsense), ("127.0.0.1:9", nobody)]
    {
        let output = run(Command::new(program).arg(example(demo)).arg(peers), scratch.path()).await;
        let errors = text(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty(), "{peers}: {errors}");
        assert!(errors.starts_with(kind) && errors.lines().count() == 1, "{peers}: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_plain_python_prints_its_results() {
    let lines = demonstrated("python3", "python-raw/demo.py").await;
    let (last, lines) = lines.split_last().unwrap();
    assert_eq!(
        lines,
        [
            "value red, version 1",
            "CasMismatch: the key was changed",
            "AlreadyExists, outcome not_applied",
            "local value green",
            "scanned raw/colour: green",
            "before red",
            "moved: True",
            "deleted: True",
            "GuardFailed, actual revision 0",
            "HistoryAgeMinutes: 60, from 0 to 525600",
            "NotFound, number 2",
        ]
    );
    assert!(
        last.starts_with("the connected node is ") && last.ends_with("one of 3, and votes: True"),
        "{last}"
    );
    refused("python3", "python-raw/demo.py", "InvalidArgument: ", "Unavailable: ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_in_stock_erlang_prints_its_results() {
    let lines = demonstrated("escript", "erlang/demo.escript").await;
    let (last, lines) = lines.split_last().unwrap();
    assert_eq!(
        lines,
        [
            "value red",
            "the key was changed: true",
            "the key exists, outcome not_applied",
            "local value green",
            "scanned erlang/colour: green",
            "before red",
            "moved: true",
            "deleted: true",
            "the guard has failed, actual revision 0",
            "HistoryAgeMinutes: 60, from 0 to 525600",
            "not_found, number 2",
        ]
    );
    assert!(
        last.starts_with("the connected node is ") && last.ends_with("one of 3, and votes: true"),
        "{last}"
    );
    refused("escript", "erlang/demo.escript", "invalid_argument: ", "unavailable: ").await;
}

#[tokio::test]
async fn both_know_every_kind_of_error() {
    let scratch = tempfile::tempdir().unwrap();
    let expected: Vec<String> = (ErrorKind::ALL.iter())
        .map(|kind| format!("{} {} {}", kind.number(), kind.name().to_lowercase(), kind.retryable()))
        .collect();
    let program = "import gometa_raw\n\
                   for number, (name, retryable) in gometa_raw.KINDS.items():\n    \
                   print(number, name.lower(), str(retryable).lower())";
    let mut python = Command::new("python3");
    python.args(["-c", program]).env("PYTHONPATH", example("python-raw"));
    let known = text(&run(&mut python, scratch.path()).await.stdout);
    assert_eq!(known.lines().collect::<Vec<_>>(), expected);

    let program = format!(
        "{{ok, gometa_raw, Code}} = compile:file({:?}, [binary, report, warnings_as_errors]), \
         {{module, _}} = code:load_binary(gometa_raw, \"gometa_raw\", Code), \
         [io:format(\"~b ~s ~s~n\", [Number, [Sign || Sign <- atom_to_list(Kind), Sign =/= $_], Retryable]) \
          || {{Number, Kind, Retryable}} <- gometa_raw:kinds()], halt().",
        example("erlang/gometa_raw.erl")
    );
    let output = run(Command::new("erl").args(["-noshell", "-eval", &program]), scratch.path()).await;
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), expected, "{output:?}");
}
