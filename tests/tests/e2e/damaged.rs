//! Damaged data directories: the node exits with a message, or the damage has no effect. It never hangs, and
//! never serves other data than was written.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use gometa_tests::{ensemble::Ensemble, say, wait::until};

const TIMEOUT: Duration = Duration::from_secs(20);
const KEYS: usize = 50;
const DAMAGED_BYTE: u64 = 8;

/// Returns all non-empty files below a directory, except RocksDB's own logs.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        if metadata.is_dir() {
            found.append(&mut files(&path));
        } else if metadata.len() > 0 && !entry.file_name().to_string_lossy().starts_with("LOG") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Flips the bits of one byte. In RocksDB's files it belongs to the first block of data, which is not read when
/// the file is opened.
fn damage(path: &Path) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let at = DAMAGED_BYTE.min(file.metadata().unwrap().len() - 1);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[!byte[0]], at).unwrap();
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&path, target).unwrap();
    }
    fs::write(to.join("LOCK"), "").unwrap();
}

// Found by `gometa-chaos`: a node read its table before any thread waited for errors, and waited for ever for its own
// exit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_any_damaged_file_ends_or_serves_what_was_written() {
    let mut ensemble = Ensemble::start(1).await;
    let client = ensemble.client(TIMEOUT);
    for key in 0..KEYS {
        client.set(format!("k/{key}"), format!("value {key}")).await.unwrap();
    }
    // An orderly end writes the state to table files.
    for _ in 0..2 {
        assert!(ensemble.terminate(0).await.success());
        ensemble.restart(0).await;
    }
    client.set("last", "x").await.unwrap();
    ensemble.kill(0);
    let (data, whole) = (ensemble.data(0), ensemble.scratch().join("whole"));
    copy(&data, &whole);
    let all = files(&whole);
    assert!(
        all.iter().filter(|path| path.extension().is_some_and(|ending| ending == "sst")).count() >= 4,
        "{all:?}"
    );
    let mut said = Vec::new();
    for path in all {
        fs::remove_dir_all(&data).unwrap();
        copy(&whole, &data);
        damage(&data.join(path.strip_prefix(&whole).unwrap()));
        ensemble.spawn(0);
        let ended = until(&format!("{} is noticed or does not matter", path.display()), TIMEOUT, || async {
            let process = ensemble.process(0);
            let ready = process.out().contains("GOMETA READY").then_some(None);
            process.ended().map(Some).or(ready).ok_or_else(|| ensemble.log(0))
        })
        .await;
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let mut outcome = "ends";
        if ended.is_none() {
            outcome = "serves";
            for key in 0..KEYS {
                let name = format!("k/{key}");
                tokio::select! {
                    read = client.get(&name) => assert_eq!(read.unwrap().value, format!("value {key}"), "{name}"),
                    _ = ensemble.process(0).end(2 * TIMEOUT) => {
                        outcome = "ends later";
                        break;
                    }
                }
            }
        }
        if outcome == "serves" {
            ensemble.kill(0);
        } else {
            let (status, last) = ensemble.end(0).await;
            assert!(status.code().is_some_and(|code| code != 0), "{name}: {status}, {last}");
            assert!(last.starts_with("gometa-server: ") && last.contains("data"), "{name}: {last}");
        }
        said.push(format!("{name}: {outcome}"));
    }
    say(&said.join(", "));
    assert!(said.iter().any(|said| said.contains("sst: ends")), "no table was ever read");
}
