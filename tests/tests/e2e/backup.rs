//! A backup, read under load and restored as a new ensemble, which other nodes join (docs/operations.md, "Backup and restore").

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gometa_client::{
    BackupInfo, BackupReader, Client, ErrorKind, HistoryOptions, Range, Role, SaveError, verify_backup,
};
use gometa_proto::v1::{self, request::Operation as Body, server_frame};
use gometa_tests::{data_directory::report, ensemble::Ensemble, program::program, random};

const TIMEOUT: Duration = Duration::from_secs(20);
const KEYS: usize = 2_000;

/// Sets and deletes keys until it is told to stop; some keys get a history.
async fn load(client: Client, stop: Arc<AtomicBool>) {
    let mut number = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        let key = format!("load/{:04}", number * 7 % 500);
        match number % 11 {
            0 => drop(client.delete(&key).await.unwrap()),
            _ => drop(client.set(&key, number.to_string()).await.unwrap()),
        }
        number += 1;
    }
}

/// Everything that clients can see at a revision: all entries, and the history of some keys.
async fn content(client: &Client, revision: u64) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let mut scan = client.scan(Range::all().at_revision(revision));
    let mut keys = Vec::new();
    while let Some(entry) = scan.next().await {
        let entry = entry.unwrap();
        writeln!(text, "{entry:?}").unwrap();
        keys.push(entry.key);
    }
    // Deleted keys have a history, too.
    keys.extend((0..500).map(|number| format!("load/{number:04}").into()));
    for key in keys.iter().rev().take(700) {
        let options = HistoryOptions::default().before_revision(revision + 1);
        let history = client.history_with(key, options).await.unwrap();
        writeln!(text, "{key:?}: {:?}", history.versions).unwrap();
    }
    text
}

fn restore(file: &Path, directory: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(program("gometa"));
    command.current_dir(directory).arg("restore").arg(file).args(["--config", "node.json"]).args(flags);
    command.stdin(Stdio::null()).output().expect("gometa can be run")
}

/// The last line of a refusal.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// Makes a backup through a node.
async fn backup(ensemble: &Ensemble, node: usize, path: &Path) -> BackupInfo {
    let client = ensemble.client(TIMEOUT);
    let mut backup = client.backup_of(&ensemble.request(node)).await.unwrap();
    backup.save(path, false, |_| {}).await.unwrap();
    backup.info().clone()
}

async fn join(ensemble: &mut Ensemble, node: usize, member: usize) {
    let mut command = Command::new(program("gometa-server"));
    command.args([format!("-join={}", ensemble.request(member)), "-voter".to_owned()]);
    ensemble.spawn_with(node, command);
    ensemble.status_when(node, "is a voter", |status| status.votes && status.role != Role::Looking).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_restored_and_two_nodes_join_with_the_same_keys_and_history() {
    let source = Ensemble::start(3).await;
    let client = source.client(TIMEOUT);
    for number in 0..KEYS {
        client.set(format!("k/{number:05}"), vec![b'v'; 100]).await.unwrap();
    }
    let acknowledged = client.seen_revision();
    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> = (0..4).map(|_| tokio::spawn(load(source.client(TIMEOUT), stop.clone()))).collect();
    let leader = source.leader().await;
    let follower = source.others(leader)[0];
    let path = source.scratch().join("a.backup");
    let info = backup(&source, follower, &path).await;
    // What was acknowledged before is in it, whichever node is asked.
    let mut second = client.backup().await.unwrap();
    assert!(second.info().revision() >= acknowledged && second.address() != source.request(leader));
    let other = source.scratch().join("b.backup");
    second.save(&other, false, |_| {}).await.unwrap();
    assert!(matches!(second.save(&other, false, |_| {}).await, Err(SaveError::Exists { .. })));
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
    assert!(info.keys() >= KEYS as u64 && info.members().len() == 3 && info.sessions() >= 4, "{info:?}");
    let before = content(&client, info.revision()).await;
    let old = client.status().await.unwrap().ensemble.unwrap();

    let mut restored = Ensemble::prepare(3);
    // Its file lists the two other nodes, which have nothing yet.
    let output = restore(&path, restored.directory(0), &["--data-dir", "gometa-data"]);
    assert!(output.status.success(), "{output:?}");
    let inspected = report(&restored.data(0), &["-verify"]);
    assert_eq!(inspected["sound"], true, "{inspected}");
    restored.spawn(0);
    restored.ready(0).await;
    let status = restored.status_when(0, "leads", |status| status.role == Role::Leading).await;
    assert!(status.ensemble.unwrap().id != old.id && status.sessions == 0);
    for node in [1, 2] {
        join(&mut restored, node, 0).await;
    }
    let new = restored.client(TIMEOUT);
    let set = new.set("after", "x").await.unwrap();
    assert!(set.revision > info.revision());
    restored.converged(&restored.all()).await;
    for node in restored.all() {
        let client = restored.client_of(node, TIMEOUT);
        assert!(content(&client, info.revision()).await == before, "node {node} has something else");
    }
    // It goes on without the node that was restored, and starts again as any other.
    for node in restored.all() {
        restored.kill(node);
        new.set("after", "y").await.unwrap();
        restored.restart(node).await;
        restored.converged(&restored.all()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_backups_and_directories_are_refused_before_anything_changes() {
    let source = Ensemble::start(1).await;
    let client = source.client(TIMEOUT);
    for number in 0..500 {
        client.set(format!("k/{number:05}"), vec![b'v'; 1_000]).await.unwrap();
    }
    let path = source.scratch().join("a.backup");
    backup(&source, 0, &path).await;
    let good = fs::read(&path).unwrap();
    verify_backup(&*good).unwrap();
    let mut random = random::seeded(9);
    for _ in 0..200 {
        let mut bad = good.clone();
        let bit = random.below(good.len() as u64 * 8) as usize;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(verify_backup(&*bad).is_err(), "bit {bit}");
        let cut = random.below(good.len() as u64) as usize;
        assert!(verify_backup(&good[..cut]).is_err(), "cut at {cut}");
    }

    let target = Ensemble::prepare(1);
    let directory = target.directory(0).to_owned();
    let bad = |name: &str, change: &dyn Fn(&mut Vec<u8>)| -> PathBuf {
        let mut bytes = good.clone();
        change(&mut bytes);
        let path = source.scratch().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    for (file, said) in [
        (bad("cut", &|bytes| bytes.truncate(bytes.len() - 100)), "it is cut"),
        (bad("bit", &|bytes| bytes[5_000] ^= 1), "it is damaged"),
        (bad("version", &|bytes| bytes[15] = 9), "version 9"),
        (bad("other", &|bytes| *bytes = b"{}".to_vec()), "not a backup"),
        (source.scratch().join("missing"), "No such file"),
    ] {
        let line = refused(&restore(&file, &directory, &[]));
        assert!(line.contains(said), "{said}: {line}");
        assert!(!target.data(0).exists(), "{line}");
        let verified =
            Command::new(program("gometa")).args(["backup", "verify"]).arg(&file).output().unwrap();
        assert_eq!(verified.status.code(), Some(1), "{verified:?}");
        assert!(String::from_utf8_lossy(&verified.stderr).contains(said), "{verified:?}");
    }
    // In use; not empty; and an empty one.
    let flag = source.data(0).display().to_string();
    let line = refused(&restore(&path, &directory, &["--data-dir", &flag]));
    assert!(line.contains("in use"), "{line}");
    fs::create_dir(target.data(0)).unwrap();
    fs::write(target.data(0).join("mine"), "x").unwrap();
    let line = refused(&restore(&path, &directory, &[]));
    assert!(line.contains("not empty") && line.contains("nothing was changed"), "{line}");
    assert_eq!(fs::read_dir(target.data(0)).unwrap().count(), 1);
    fs::remove_file(target.data(0).join("mine")).unwrap();
    assert!(restore(&path, &directory, &[]).status.success());
    let line = refused(&restore(&path, &directory, &[]));
    assert!(line.contains("not empty"), "{line}");
}

/// The error with which a node answers a request.
async fn refusal(wire: &mut crate::wire::Wire, body: Body) -> v1::Error {
    wire.ask(None, Some(body)).await;
    loop {
        match wire.hear().await {
            Some(server_frame::Body::Response(v1::Response {
                result: Some(v1::response::Result::Error(error)),
                ..
            })) => return error,
            Some(server_frame::Body::View(_) | server_frame::Body::Ping(_)) => {}
            other => panic!("the node answers {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_asked_for_parts_that_it_has_not_refuses_them() {
    let mut ensemble = Ensemble::start(1).await;
    let client = ensemble.client(TIMEOUT);
    client.set("k", "v").await.unwrap();
    let path = ensemble.scratch().join("a.backup");
    let info = backup(&ensemble, 0, &path).await;
    let reader = BackupReader::new(fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(reader.info(), &info);

    let mut wire = crate::wire::Wire::connect(&ensemble.request(0)).await;
    let read = |id, offset, length| Body::ReadBackup(v1::ReadBackup { id, offset, length });
    for (body, kind) in [
        (read(info.id(), info.length(), 1), ErrorKind::InvalidArgument),
        (read(info.id(), u64::MAX, 1 << 18), ErrorKind::InvalidArgument),
        (read(info.id(), 0, 0), ErrorKind::InvalidArgument),
        (read(info.id(), 0, (1 << 18) + 1), ErrorKind::InvalidArgument),
        (read(info.id() + 1, 0, 1), ErrorKind::FailedPrecondition),
        (Body::BeginBackup(v1::BeginBackup { min_revision: u64::MAX }), ErrorKind::Unavailable),
    ] {
        let error = refusal(&mut wire, body.clone()).await;
        assert_eq!(error.error_kind(), kind, "{body:?}: {error:?}");
    }
    // A restarted node keeps none.
    ensemble.kill(0);
    ensemble.restart(0).await;
    let mut wire = crate::wire::Wire::connect(&ensemble.request(0)).await;
    let error = refusal(&mut wire, read(info.id(), 0, 1)).await;
    assert_eq!(error.error_kind(), ErrorKind::FailedPrecondition);
    client.set("k", "w").await.unwrap();
}
