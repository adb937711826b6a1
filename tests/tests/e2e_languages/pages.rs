//! The user documentation: the commands in `docs/cli.md`, `docs/members.md`, `docs/operations.md`, `docs/recovery.md` and
//! `docs/moving-data.md` print what these show, and the examples in `docs/rust.md` run.

use gometa_tests::{
    data_directory::{DATA_BLOCK, Segment, copy, flip, report, tables_with},
    ensemble::{Addresses, Ensemble},
    program::program,
    wait::PATIENCE,
};
use serde_json::Value;

use crate::page::Page;

/// How often a node is founded until its state has all keys when it stops.
const ATTEMPTS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_on_the_page_print_its_output() {
    let ensemble = Ensemble::start(3).await;
    Page::of("cli.md", 10).with(&ensemble).run(ensemble.scratch()).await;
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
    Page::of("operations.md", 1).run(&directory).await;
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
    let page = Page::of("members.md", 4).with(&ensemble);
    let page = page.variable("NODE_3", ensemble.request(2)).variable("NODE_4", fourth.request.to_string());
    page.run(directory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_that_has_lost_a_majority_is_founded_anew_as_the_page_shows() {
    let scratch = scratch();
    Page::of("recovery.md", 8).in_one_session().run(scratch.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_is_moved_as_the_page_shows() {
    let scratch = scratch();
    Page::of("moving-data.md", 8).in_one_session().run(scratch.path()).await;
}

/// An empty directory for a page whose commands start their own nodes.
fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("gometa-e2e-").tempdir().unwrap()
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
