//! A rolling upgrade between two programs that really differ: the second one has a further feature level, with the request
//! append and another record of keys.
//!
//! Needs the server of the further level, which `make e2e` builds below the target directory. Without it there is nothing to
//! test.

use std::{
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gometa_client::{Client, ErrorKind, Outcome};
use gometa_proto::v1::{Request, WriteContext, response, server_frame};
use gometa_tests::{ensemble::Ensemble, program::program, say};
use prost::Message;
use tokio::task::JoinSet;

use crate::wire::Wire;

const TIMEOUT: Duration = Duration::from_secs(20);
const WRITERS: usize = 3;
/// A pause between two writes of one writer: a light load.
const THINK: Duration = Duration::from_millis(2);
/// The number of the field `append` in the requests of the further level (`proto/build.rs`).
const APPEND_FIELD: u64 = 1_000;

/// The server of the further level.
fn next_level() -> Option<PathBuf> {
    let normal = program("gometa-server");
    let target = normal.parent()?.parent()?;
    Some(target.join("next-level").join("release").join("gometa-server")).filter(|path| path.exists())
}

/// Counts up a key of its own, by comparison; returns the count. Every call succeeds, so each is executed once.
async fn count(client: Client, writer: usize, stop: Arc<AtomicBool>) -> u64 {
    let key = format!("counter/{writer}");
    let mut revision = 0;
    for number in 1.. {
        revision =
            client.cas(key.as_str(), revision, number.to_string()).await.expect("no call fails").revision;
        if stop.load(Ordering::Relaxed) {
            return number;
        }
        tokio::time::sleep(THINK).await;
    }
    0
}

/// Appends a field to an encoded message.
fn put_field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    let mut varint = |mut value: u64| {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    };
    varint(number << 3 | 2);
    varint(bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Sends the request append, which these tests are not built with, and returns the answer.
async fn append(wire: &mut Wire, id: u64, context: WriteContext, value: &str) -> response::Result {
    let mut request =
        Request { id, deadline_ms: 20_000, write: Some(context), ..Request::default() }.encode_to_vec();
    let (mut operation, mut frame) = (Vec::new(), Vec::new());
    put_field(&mut operation, 1, b"appended");
    put_field(&mut operation, 2, value.as_bytes());
    put_field(&mut request, APPEND_FIELD, &operation);
    put_field(&mut frame, 2, &request);
    let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
    bytes.extend(frame);
    wire.send(&bytes).await;
    loop {
        match wire.hear().await {
            Some(server_frame::Body::Response(response)) if response.id == id => {
                return response.result.expect("a response has a result");
            }
            Some(_) => {}
            None => panic!("the node closes the connection"),
        }
    }
}

/// Stops each node in order, the leader last, and starts it with another program.
async fn replace_all(ensemble: &mut Ensemble, server: &PathBuf) {
    let leader = ensemble.leader().await;
    let mut order = ensemble.others(leader);
    order.push(leader);
    for node in order {
        assert!(ensemble.terminate(node).await.success());
        ensemble.spawn_with(node, Command::new(server));
        ensemble.ready(node).await;
        ensemble.converged(&ensemble.all()).await;
    }
}

async fn levels(ensemble: &Ensemble) -> Vec<(u32, u32)> {
    let statuses = ensemble.converged(&ensemble.all()).await;
    statuses.iter().map(|status| (status.level, status.level_max)).collect()
}

/// Runs `gometa upgrade` with arguments, and returns whether it succeeded, and what it printed.
fn upgrade(ensemble: &Ensemble, arguments: &[&str]) -> (bool, String) {
    let peers = ensemble.requests_from(0).join(",");
    let output = Command::new(program("gometa"))
        .args(["--peers", &peers, "upgrade"])
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

/// Every node refuses the request of the further level.
async fn append_is_refused(ensemble: &Ensemble, round: u8) {
    for node in ensemble.all() {
        let mut wire = Wire::connect(&ensemble.request(node)).await;
        let session = wire.open_session([16 * round + node as u8; 16]).await;
        let context = WriteContext { session, seq: 1, lowest: 1 };
        match append(&mut wire, 77, context, "x").await {
            response::Result::Error(error) => {
                assert_eq!(error.error_kind(), ErrorKind::Unsupported, "{error:?}");
                assert_eq!(error.error_outcome(), Outcome::NotApplied, "{error:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_is_upgraded_and_back_and_upgraded_again_under_load() {
    let Some(next) = next_level() else {
        say("not tested: the server of the further feature level is not built (make e2e)");
        return;
    };
    let normal = program("gometa-server");
    let mut ensemble = Ensemble::start(3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let client = ensemble.client_from(writer, TIMEOUT);
        let stop = stop.clone();
        writers.spawn(async move { (writer, count(client, writer, stop).await) });
    }
    append_is_refused(&ensemble, 1).await;
    for (round, server, highest) in [(2, &next, 2), (3, &normal, 1), (4, &next, 2)] {
        replace_all(&mut ensemble, server).await;
        assert_eq!(levels(&ensemble).await, [(1, highest); 3]);
        append_is_refused(&ensemble, round).await;
    }

    // With a member missing it is refused, and changes nothing.
    let leader = ensemble.leader().await;
    let missing = ensemble.others(leader)[0];
    ensemble.terminate(missing).await;
    ensemble.status_when(leader, "misses it", |status| status.peers.iter().any(|peer| !peer.connected)).await;
    let client = ensemble.client_from(ensemble.others(missing)[0], TIMEOUT);
    let error = client.finalize_upgrade(2).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::FailedPrecondition, Outcome::NotApplied),
        "{error}"
    );
    let address = ensemble.addresses(missing).message.to_string();
    assert!(error.message().contains(&address) && error.message().contains("not connected"), "{error}");
    let (_, shown) = upgrade(&ensemble, &["status"]);
    assert!(shown.contains(&format!("is refused until {address} is back or removed")), "{shown}");
    let (finalized, said) = upgrade(&ensemble, &["finalize"]);
    assert!(!finalized && said.contains("not connected"), "{said}");
    // With one that runs the earlier version, too.
    ensemble.spawn(missing);
    ensemble.ready(missing).await;
    ensemble.converged(&ensemble.all()).await;
    let error = client.finalize_upgrade(2).await.unwrap_err();
    assert!(error.message().contains(&format!("{address} supports feature level 1")), "{error}");
    let (_, shown) = upgrade(&ensemble, &["status"]);
    assert!(shown.contains(&format!("finalize is refused: upgrade {address} first")), "{shown}");
    let (finalized, said) = upgrade(&ensemble, &["finalize"]);
    assert!(!finalized && said.contains(&format!("{address} supports feature level 1")), "{said}");
    assert_eq!(client.membership().await.unwrap().level, 1);
    ensemble.terminate(missing).await;
    ensemble.spawn_with(missing, Command::new(&next));
    ensemble.ready(missing).await;
    ensemble.converged(&ensemble.all()).await;

    let (_, shown) = upgrade(&ensemble, &["status"]);
    assert!(shown.contains("finalize would raise it to 2, which adds:"), "{shown}");
    let finalized = upgrade(&ensemble, &["finalize"]);
    assert_eq!(finalized, (true, "the ensemble runs at feature level 2 now\n".to_owned()));
    let again = client.finalize_upgrade(2).await.unwrap();
    assert_eq!((again.changed, again.membership.level), (false, 2));
    assert_eq!(levels(&ensemble).await, [(2, 2); 3]);
    // Exactly once, over every node.
    let mut expected = String::new();
    for node in ensemble.all() {
        let mut wire = Wire::connect(&ensemble.request(node)).await;
        let session = wire.open_session([128 + node as u8; 16]).await;
        let context = WriteContext { session, seq: 1, lowest: 1 };
        let text = format!("by {node};");
        let first = append(&mut wire, 77, context, &text).await;
        assert!(matches!(first, response::Result::Written(_)), "{first:?}");
        assert_eq!(append(&mut wire, 78, context, &text).await, first);
        expected += &text;
    }
    assert_eq!(client.get("appended").await.unwrap().value, expected.as_bytes());

    stop.store(true, Ordering::Relaxed);
    for (writer, number) in writers.join_all().await {
        let value = client.get(format!("counter/{writer}")).await.unwrap().value;
        assert_eq!(value, number.to_string().as_bytes(), "every write was executed once");
    }
    let statuses = ensemble.converged(&ensemble.all()).await;
    assert!(statuses.iter().all(|status| status.state_hash == statuses[0].state_hash));

    // The earlier version starts no more, neither with its data nor without.
    ensemble.terminate(missing).await;
    ensemble.spawn(missing);
    let (status, line) = ensemble.end(missing).await;
    assert!(!status.success() && line.contains("feature level 2"), "{line}");
    ensemble.wipe(missing);
    ensemble.spawn(missing);
    ensemble.logged(missing, &["feature levels differ"]).await;
    ensemble.kill(missing);
    ensemble.wipe(missing);
    ensemble.spawn_with(missing, Command::new(&next));
    ensemble.status_when(missing, "is a voter again", |status| status.votes).await;
    assert_eq!(levels(&ensemble).await, [(2, 2); 3]);
}
