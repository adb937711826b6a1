//! libgometa under valgrind: no errors, and no memory lost, directly or indirectly.
//!
//! Memory that is still reachable at the end is not lost: the runtime keeps some. A forked child abandons by
//! design what it inherited, so there is no forking here.

use std::{path::Path, process::Command, time::Duration};

use gometa_tests::{ensemble::Ensemble, impostors::Impostors};

use crate::c_client::{addresses, compile, run};

/// The factor of all timeouts of the programs.
const PATIENCE: &str = "3";
const RUN_MAX: Duration = Duration::from_secs(300);

/// Runs a program under valgrind, with these arguments.
async fn check(program: &Path, arguments: &[&str], rest: &[String]) -> String {
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--fair-sched=yes"]);
    command.args(["--errors-for-leak-kinds=definite,indirect", "--show-leak-kinds=definite,indirect"]);
    command.arg(program).args(arguments).args(rest);
    run(command, program.parent().unwrap(), "", RUN_MAX).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valgrind_finds_no_error_in_misuse() {
    let (ensemble, impostors) = (Ensemble::start(3).await, Impostors::start().await);
    let peers = ensemble.requests_from(0).join(",");
    let misuse = compile("ffi/c/misuse.c", ensemble.scratch());
    let said = check(&misuse, &[PATIENCE, &peers], &addresses(&impostors)).await;
    assert_eq!(said, "passed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valgrind_finds_no_error_in_ranges() {
    let ensemble = Ensemble::start(3).await;
    let ranges = compile("ffi/c/ranges.c", ensemble.scratch());
    let peers = ensemble.requests_from(0).join(",");
    assert_eq!(check(&ranges, &[PATIENCE, &peers], &[]).await, "passed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valgrind_finds_no_error_in_histories() {
    let ensemble = Ensemble::start(3).await;
    let history = compile("ffi/c/history.c", ensemble.scratch());
    let peers = ensemble.requests_from(0).join(",");
    assert_eq!(check(&history, &[PATIENCE, &peers], &[]).await, "passed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valgrind_finds_no_error_in_transactions() {
    let ensemble = Ensemble::start(3).await;
    let txns = compile("ffi/c/txns.c", ensemble.scratch());
    let peers = ensemble.requests_from(0).join(",");
    assert_eq!(check(&txns, &[PATIENCE, &peers], &[]).await, "passed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valgrind_finds_no_error_in_guards_and_settings() {
    let ensemble = Ensemble::start(3).await;
    let guards = compile("ffi/c/guards.c", ensemble.scratch());
    let peers = ensemble.requests_from(0).join(",");
    assert_eq!(check(&guards, &[PATIENCE, &peers], &[]).await, "passed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valgrind_finds_no_error_in_examples_threads_and_many_calls() {
    let (ensemble, impostors) = (Ensemble::start(3).await, Impostors::start().await);
    let (peers, dead) = (ensemble.requests_from(0).join(","), impostors.dead.to_string());
    let compiled = |source: &str| compile(source, ensemble.scratch());
    for example in ["examples/c/tour.c", "examples/c/event_loop.c"] {
        check(&compiled(example), &[&peers], &[]).await;
    }
    let said = check(&compiled("ffi/c/threads.c"), &[PATIENCE, &peers, &dead, "nofork"], &[]).await;
    assert_eq!(said, "passed\n");
    let said = check(&compiled("ffi/c/soak.c"), &["5000", "0", &peers, &dead], &[]).await;
    assert!(said.ends_with("passed\n"), "{said}");
}

#[test]
fn valgrind_finds_a_planted_leak() {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("lost.c");
    let text = "#include <gometa.h>\nint main(void)\n{\n    gometa_options_t *options = NULL;\n    \
                gometa_options_new(&options, NULL);\n    options = NULL;\n    return options != NULL;\n}\n";
    std::fs::write(&source, text).unwrap();
    let lost = compile(source.to_str().unwrap(), scratch.path());
    let mut command = Command::new("valgrind");
    command.args([
        "--quiet",
        "--error-exitcode=9",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite,indirect",
    ]);
    let ended = command.arg(&lost).env("LD_LIBRARY_PATH", scratch.path()).output().unwrap();
    assert_eq!(ended.status.code(), Some(9), "{}", String::from_utf8_lossy(&ended.stderr));
}
