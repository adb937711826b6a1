//! Disks that writes fill: refused in time, and accepted again by themselves.
//!
//! Each node has a file system of its own; see [`disks`](crate::disks).

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gometa_client::{Client, Error, ErrorKind, Outcome};
use gometa_tests::{ensemble::Ensemble, say, wait};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tokio::task::JoinSet;

use crate::disks;

/// The deadline of a call whose refusal is not expected.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The time for which a refused write is tried again.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(3);
/// The time in which deletes and compactions make space.
const PATIENCE: Duration = Duration::from_secs(90);
/// The time after which a session without contact ends (`SessionTimeoutMs`).
const SESSION_TIMEOUT: Duration = Duration::from_secs(15);
const DISK_BYTES: u64 = 256 << 20;
/// What other files leave of it, in MiB: less than the reserve, a fifth, and more than half of that.
const LEFT_MB: u64 = 30;
const VALUE_BYTES: usize = 64 << 10;
/// The number of concurrent writes.
const TOGETHER: usize = 8;

fn free_mb(ensemble: &Ensemble, node: usize) -> u64 {
    let space = statvfs(ensemble.data(node)).unwrap();
    (space.f_bavail * space.f_frsize) >> 20
}

fn all_free_mb(ensemble: &Ensemble) -> Vec<u64> {
    ensemble.all().into_iter().map(|node| free_mb(ensemble, node)).collect()
}

/// Writes new keys until one is refused; returns the number of keys and the reason.
async fn fill(client: &Client, name: &'static str) -> (usize, Error) {
    let mut lanes = JoinSet::new();
    for lane in 0..TOGETHER {
        let client = client.clone();
        lanes.spawn(async move {
            for number in 0.. {
                let key = format!("{name}/{lane}/{number}");
                if let Err(error) = client.set(key, vec![b'x'; VALUE_BYTES]).await {
                    return (number, error);
                }
            }
            unreachable!("a disk is finite");
        });
    }
    let ended = lanes.join_all().await;
    (ended.iter().map(|(count, _)| count).max().copied().unwrap(), ended.into_iter().next().unwrap().1)
}

fn is_refusal(error: &Error) -> bool {
    // A client tries a refused write again until its deadline, and names the refusal then.
    matches!(error.kind(), ErrorKind::ResourceExhausted | ErrorKind::DeadlineExceeded)
        && error.outcome() == Outcome::NotApplied
        && error.to_string().contains("nearly full")
}

/// Makes a file longer by what is free on its node's disk, but for less than the reserve.
fn take_space(ensemble: &Ensemble, node: usize, filler: &Path) {
    let bytes = free_mb(ensemble, node).saturating_sub(LEFT_MB) << 20;
    let file = fs::File::options().create(true).append(true).open(filler).unwrap();
    if bytes > 0 {
        let end = file.metadata().unwrap().len();
        fallocate(&file, FallocateFlags::empty(), end, bytes).unwrap();
    }
}

async fn accepts_writes(client: &Client, why: &str) {
    let begun = Instant::now();
    wait::until(why, PATIENCE, || async {
        client.set("after", "x").await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
    say(&format!("{why}: after {} ms", begun.elapsed().as_millis()));
}

fn no_process_ended(ensemble: &Ensemble) {
    for node in ensemble.all() {
        assert!(ensemble.process(node).ended().is_none(), "node {node} ended: {}", ensemble.log(node));
    }
}

async fn has_sessions(ensemble: &Ensemble, count: u64) {
    wait::until(&format!("the number of sessions is {count}"), PATIENCE, || async {
        let status = ensemble.status(ensemble.leader().await).await.map_err(|error| error.to_string())?;
        if status.sessions == count { Ok(()) } else { Err(format!("it is {}", status.sessions)) }
    })
    .await;
}

/// A client that connects only while writes are refused opens a session, deletes a key, and ends its session.
async fn a_new_client_deletes_and_ends_its_session(ensemble: &Ensemble, key: &str) {
    // Those of earlier clients end with them.
    has_sessions(ensemble, 0).await;
    let client = ensemble.client(TIMEOUT);
    assert_eq!(client.get(key).await.unwrap().value.len(), VALUE_BYTES);
    assert!(client.delete(key).await.unwrap().existed);
    has_sessions(ensemble, 1).await;
    let begun = Instant::now();
    client.close().await;
    has_sessions(ensemble, 0).await;
    assert!(begun.elapsed() < SESSION_TIMEOUT, "the session has ended only by its timeout");
}

#[test]
fn writes_fill_the_disks_and_are_refused_until_deletes_or_new_space() {
    disks::in_own_mounts("space::child");
}

/// Not a test: the process with its own mount namespace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other test"]
async fn child() {
    if !disks::are_own_mounts() {
        return;
    }
    let mut ensemble = Ensemble::prepare(3);
    // A refused client may have no connection on which it could end its session: then the timeout ends it.
    ensemble.configure_all("SessionTimeoutMs", &(SESSION_TIMEOUT.as_millis() as u64).into());
    let Some(_mounts) = disks::mount(&ensemble, DISK_BYTES) else { return };
    ensemble.start_all().await;

    // Two rounds: what the first one leaves behind is deleted too.
    for (round, name) in ["first", "second"].into_iter().enumerate() {
        let client = ensemble.client(REFUSED_TIMEOUT);
        let (count, error) = fill(&client, name).await;
        client.close().await;
        say(&format!(
            "round {round}: {count} x {TOGETHER} keys, {:?} MiB free; {error}",
            all_free_mb(&ensemble)
        ));
        assert!(is_refusal(&error), "{error:?}");
        no_process_ended(&ensemble);

        a_new_client_deletes_and_ends_its_session(&ensemble, &format!("{name}/0/0")).await;
        let client = ensemble.client(TIMEOUT);
        assert_eq!(client.get(format!("{name}/0/1")).await.unwrap().value.len(), VALUE_BYTES);
        for lane in 0..TOGETHER {
            for number in 0..count {
                client.delete(format!("{name}/{lane}/{number}")).await.unwrap();
            }
        }
        accepts_writes(&ensemble.client(TIMEOUT), "writes are accepted after deletes").await;
        say(&format!("{:?} MiB free", all_free_mb(&ensemble)));
        no_process_ended(&ensemble);
    }

    // Other files take the space on two nodes, and go again.
    let fillers: Vec<PathBuf> = [0, 1].map(|node| ensemble.data(node).join("lost+found/filler")).into();
    let client = ensemble.client(REFUSED_TIMEOUT);
    wait::until("writes are refused", PATIENCE, || async {
        // The nodes free what they can, so more than once.
        for (node, filler) in fillers.iter().enumerate() {
            take_space(&ensemble, node, filler);
        }
        match client.set("after", "x").await {
            Err(error) if is_refusal(&error) => Ok(()),
            // Accepted, or without a leader: the leadership goes to the node with space.
            other => Err(format!("{other:?}, {:?} MiB free", all_free_mb(&ensemble))),
        }
    })
    .await;
    say(&format!("writes are refused: {:?} MiB free", all_free_mb(&ensemble)));
    assert_eq!(client.get("after").await.unwrap().value, "x");
    fillers.iter().for_each(|filler| fs::remove_file(filler).unwrap());
    accepts_writes(&ensemble.client(TIMEOUT), "writes are accepted with new space").await;
    no_process_ended(&ensemble);
    ensemble.converged(&ensemble.all()).await;
}
