//! `gometa export` and `gometa import` against scripted nodes.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use gometa_proto::{
    ErrorKind,
    v1::{Entry, Error, Page, Range, Request, Role, Set, request::Operation, response},
};
use gometa_testkit::scripted_server::{Link, Node, view, welcome, written};

use crate::common::{gometa, operation, run, run_beside, run_with, session, text};

/// The time in which a command would have sent a request that it must not send.
const QUIET: Duration = Duration::from_millis(200);

/// A node's keys.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Store {
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The number of writes.
    writes: u64,
    /// Where the page after the last one begins.
    next: Vec<u8>,
}

impl Store {
    fn of(pairs: &[(&[u8], &[u8])]) -> Store {
        let keys = pairs.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        Store { keys, ..Store::default() }
    }

    fn answer(&mut self, request: &Request) -> response::Result {
        match operation(request) {
            Operation::Set(set) => {
                self.writes += 1;
                self.keys.insert(set.key.to_vec(), set.value.to_vec());
                written(self.writes)
            }
            Operation::Add(add) => match self.keys.get(&add.key[..]) {
                Some(_) => {
                    let error = Error::not_applied(ErrorKind::AlreadyExists, "the key exists at revision 1");
                    response::Result::Error(error.with_actual_revision(1))
                }
                None => {
                    self.writes += 1;
                    self.keys.insert(add.key.to_vec(), add.value.to_vec());
                    written(self.writes)
                }
            },
            Operation::Range(range) => response::Result::Page(self.page(&range, 3)),
            other => panic!("{other:?}"),
        }
    }

    /// A page of at most `limit` entries, at revision 9.
    fn page(&mut self, range: &Range, limit: usize) -> Page {
        let is_first = self.next.is_empty() || range.start != self.next;
        assert_eq!(range.at_revision, if is_first { 0 } else { 9 }, "all pages are of one revision");
        let inside = |key: &&Vec<u8>| {
            key.starts_with(&range.prefix) && (range.end.is_empty() || key[..] < range.end[..])
        };
        let mut keys = self.keys.range(range.start.to_vec()..).filter(|(key, _)| inside(key));
        let entry = |(key, value): (&Vec<u8>, &Vec<u8>)| Entry {
            key: key.clone().into(),
            value: value.clone().into(),
            ..Entry::default()
        };
        let entries: Vec<Entry> = keys.by_ref().take(limit).map(entry).collect();
        self.next = keys.next().map_or_else(Vec::new, |(key, _)| key.clone());
        Page { count: entries.len() as u64, entries, next: self.next.clone().into(), revision: 9 }
    }
}

/// Keys and values of all kinds.
fn mixture() -> Store {
    Store::of(&[
        (b"a", b"b"),
        (b"binary", b"\0\xff\xfe"),
        (b"bin\xff\x01key", b"text"),
        (b"empty", b""),
        (b"escapes\t\"\\", b"two\nlines\r\n\x1b[2J"),
        ("schlüssel/日本\u{9b}\u{202e}".as_bytes(), "grün 🦀".as_bytes()),
        (b"\x00", b"\x00"),
        (b"\xff\xff", b"\xff"),
    ])
}

fn leaked(bytes: impl Into<Vec<u8>>) -> &'static [u8] {
    bytes.into().leak()
}

/// A file with this text.
fn file(directory: &Path, text: impl AsRef<[u8]>) -> String {
    let path = directory.join("data");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|found| found.unwrap().file_name().into_string().unwrap()).collect()
}

/// Runs the command with a store.
async fn run_on(store: &mut Store, arguments: &[&str], input: impl Into<Vec<u8>>) -> Output {
    run(arguments, leaked(input), |request| store.answer(request)).await
}

#[tokio::test]
async fn what_is_exported_is_imported_again() {
    let mut source = mixture();
    let output = run_on(&mut source, &["export"], "").await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{output:?}");
    let lines = text(&output.stdout);
    assert_eq!(lines.lines().count(), 8, "{lines}");
    for line in [
        "{\"key\":\"a\",\"value\":\"b\"}\n",
        "{\"key\":\"binary\",\"value_base64\":\"AP/+\"}\n",
        "{\"key_base64\":\"Ymlu/wFrZXk=\",\"value\":\"text\"}\n",
        "{\"key\":\"empty\",\"value\":\"\"}\n",
    ] {
        assert!(lines.contains(line), "{line} in {lines}");
    }
    let mut target = Store::of(&[(b"a", b"old"), (b"other", b"kept")]);
    let imported = run_on(&mut target, &["import", "-"], output.stdout.clone()).await;
    assert_eq!(
        (imported.status.code(), text(&imported.stdout)),
        (Some(0), "8 keys imported\n"),
        "{imported:?}"
    );
    let mut expected = source.keys.clone();
    expected.insert(b"other".to_vec(), b"kept".to_vec());
    assert_eq!(target.keys, expected);
    assert_eq!(target.writes, 8);
}

#[tokio::test]
async fn a_range_is_exported() {
    for (arguments, expected) in [
        (&["--prefix", "b/"][..], &["b/1", "b/2"][..]),
        (&["--start", "b/2"], &["b/2", "c", "d"]),
        (&["--end", "b/2"], &["a", "b/1"]),
        (&["--start", "b/", "--end", "d"], &["b/1", "b/2", "c"]),
        (&["--prefix", "x"], &[]),
        (&["-"], &["a", "b/1", "b/2", "c", "d"]),
    ] {
        let mut store = Store::of(&[(b"a", b""), (b"b/1", b""), (b"b/2", b""), (b"c", b""), (b"d", b"")]);
        let output = run_on(&mut store, &[&["export"], arguments].concat(), "").await;
        let lines: Vec<String> =
            expected.iter().map(|key| format!("{{\"key\":\"{key}\",\"value\":\"\"}}\n")).collect();
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), &*lines.concat()), "{output:?}");
    }
    let output = gometa(&["export", "--prefix", "b", "--start", "b"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[tokio::test]
async fn an_exported_file_is_complete_and_private_and_replaces_no_other_unless_forced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.jsonl");
    let name = path.to_str().unwrap();
    let output = run_on(&mut mixture(), &["export", name], "").await;
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "8 keys exported at revision 9\n"),
        "{output:?}"
    );
    let first = fs::read(&path).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(
        (first.iter().filter(|byte| **byte == b'\n').count(), metadata.permissions().mode() & 0o777),
        (8, 0o600)
    );

    let mut other = Store::of(&[(b"k", b"v")]);
    let output = run(&["export", name], b"", |request| panic!("{request:?}")).await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
    assert!(
        text(&output.stderr).contains("keys.jsonl exists: name another file, or replace it with --force")
    );
    assert_eq!(fs::read(&path).unwrap(), first);
    let output = run_on(&mut other, &["-o", "json", "export", name, "--force"], "").await;
    assert_eq!(text(&output.stdout), "{\"bytes\":2,\"keys\":1,\"revision\":9}\n", "{output:?}");
    assert_eq!(fs::read(&path).unwrap(), b"{\"key\":\"k\",\"value\":\"v\"}\n");
    assert_eq!(names(directory.path()), ["keys.jsonl"]);

    // The file is created by another program while the keys are read.
    let late = directory.path().join("late");
    let output = run(&["export", late.to_str().unwrap()], b"", |request| {
        fs::write(&late, "of the other program").unwrap();
        other.answer(request)
    })
    .await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(fs::read(&late).unwrap(), b"of the other program");
    assert_eq!(names(directory.path()).len(), 2);
}

#[tokio::test]
async fn what_cannot_become_a_file_is_refused_before_keys_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    for (name, expected) in [
        ("/dev/null", "/dev/null is no regular file"),
        (link.to_str().unwrap(), "link is no regular file"),
        (directory.path().to_str().unwrap(), "is no regular file"),
        ("/nowhere/keys", "cannot write /nowhere/keys: No such file"),
    ] {
        let output = run(&["export", name, "--force"], b"", |request| panic!("{request:?}")).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
}

/// A node that has dropped its history by the second page.
fn forgetful(request: &Request) -> response::Result {
    let Operation::Range(range) = operation(request) else { panic!("{request:?}") };
    if range.at_revision == 0 {
        return response::Result::Page(mixture().page(&range, 2));
    }
    let error = Error::not_applied(ErrorKind::Compacted, "the history begins at revision 500");
    response::Result::Error(error.with_actual_revision(500))
}

#[tokio::test]
async fn an_export_whose_revision_is_dropped_meanwhile_fails_and_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let output = run(&["export", path.to_str().unwrap()], b"", forgetful).await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    let said = text(&output.stderr);
    let expected = "export: not complete: the ensemble has dropped revision 9, at which the keys are read: the history \
                    begins at revision 500";
    assert!(said.contains(expected) && said.contains("HistoryAgeMinutes"), "{said}");
    assert_eq!(names(directory.path()), Vec::<String>::new());
    let output = run(&["-o", "json", "export"], b"", forgetful).await;
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(1), 2), "{output:?}");
    let shown: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let error = &shown["error"];
    assert_eq!((&error["kind"], &error["actual_revision"]), (&"Compacted".into(), &500.into()), "{shown}");
    assert!(error["message"].as_str().unwrap().contains("not complete"), "{shown}");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_an_error_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start().await;
    let mut command = Command::new("bash");
    // One block of 1,024 bytes; without the signal the write fails.
    let limited = "trap '' XFSZ; ulimit -f 1; exec \"$0\" export keys";
    command.args(["-c", limited, env!("CARGO_BIN_EXE_gometa")]);
    command.env("GOMETA_PEERS", &node.address).current_dir(directory.path());
    let mut store = Store::of(&[(b"k", &[b'v'; 5000])]);
    let output = run_with(command, b"", &node, |request| store.answer(request)).await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("/keys: File too large") && said.contains("cannot write /"), "{said}");
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_reader_that_closes_the_pipe_ends_an_export() {
    let node = Node::start().await;
    let mut command = Command::new("bash");
    let piped = "\"$0\" export | head -n 1; exit ${PIPESTATUS[0]}";
    command.args(["-c", piped, env!("CARGO_BIN_EXE_gometa")]).env("GOMETA_PEERS", &node.address);
    // More than pipe and buffer hold; the export would not end by itself.
    let mut pages = 0;
    let output = run_with(command, b"", &node, |request| {
        let Operation::Range(_) = operation(request) else { panic!("{request:?}") };
        pages += 1;
        let key = format!("{pages:020}");
        let entry = Entry { key: key.clone().into(), value: vec![b'v'; 50_000].into(), ..Entry::default() };
        let next = (key + "0").into();
        response::Result::Page(Page { entries: vec![entry], count: 1, next, revision: 9 })
    })
    .await;
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{output:?}");
    assert!(output.stdout.starts_with(b"{\"key\":\"00000000000000000001\""));
    assert_eq!(text(&output.stdout).lines().count(), 1);
}

#[tokio::test]
async fn an_interrupted_export_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::start().await;
    let mut command = gometa(&["export", "keys"]);
    command.env("GOMETA_PEERS", &node.address).current_dir(directory.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let waiting = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
    let mut link = node.accept_with(welcome(view(Role::Leading, &node.address, &[&node.address]))).await;
    let request = link.request().await;
    let Operation::Range(range) = operation(&request) else { panic!("{request:?}") };
    link.answer(&request, response::Result::Page(mixture().page(&range, 2))).await;
    // The second page is never answered.
    link.request().await;
    let left = names(directory.path());
    assert!(left.len() == 1 && left[0].starts_with(".keys.") && left[0].ends_with(".partial"), "{left:?}");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = waiting.await.unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(130), 0), "{output:?}");
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_bad_line_is_named_and_nothing_behind_it_is_sent() {
    let value = "v".repeat((1 << 20) + 1);
    let key = "k".repeat(4097);
    for (line, expected) in [
        ("hello", "line 4: expected an object with key and value"),
        ("{\"key\":\"b\",\"value\":\"cut o", "line 4: column 25: EOF while parsing a string"),
        ("{\"value\":\"v\"}", "line 4: missing field `key`"),
        ("{\"key\":\"b\",\"value\":\"v\",\"lease\":1}", "line 4: column 30: unknown field `lease`"),
        ("{\"key\":\"b\",\"value_base64\":\"*\"}", "line 4: `value_base64` is no base64 with padding"),
        ("{\"key\":\"\",\"value\":\"v\"}", "line 4: set \"\": the key is empty"),
        (
            &format!("{{\"key\":\"{key}\",\"value\":\"\"}}"),
            "a key of 4097 bytes exceeds the limit of 4096 bytes",
        ),
        (
            &format!("{{\"key\":\"b\",\"value\":\"{value}\"}}"),
            "line 4: set \"b\": a value of 1048577 bytes exceeds the limit",
        ),
    ] {
        let mut store = Store::default();
        let input = format!(
            "{{\"key\":\"a\",\"value\":\"1\"}}\n\n{{\"key\":\"aa\",\"value\":\"2\"}}\n{line}\n{{\"key\":\"z\",\"value\":\"\"}}\n"
        );
        let output = run_on(&mut store, &["import", "-"], input).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.starts_with("gometa: standard input: line 4: ") && said.contains(expected), "{said}");
        assert!(said.contains("; lines 1 to 3 are imported\n"), "{said}");
        assert_eq!(store, Store { writes: 2, ..Store::of(&[(b"a", b"1"), (b"aa", b"2")]) });
    }
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let whole = run_on(&mut mixture(), &["export"], "").await.stdout;
    let name = file(directory.path(), &whole[..whole.len() - 3]);
    let mut store = Store::default();
    let output = run_on(&mut store, &["-o", "json", "import", &name], "").await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
    let shown: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let error = &shown["error"];
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("/data: line 8: ") && message.contains("EOF while parsing"), "{shown}");
    assert!(message.ends_with("; lines 1 to 7 are imported"), "{shown}");
    assert_eq!((&error["position"], &error["imported_through"]), (&8.into(), &7.into()), "{shown}");
    assert_eq!(
        (&error["possibly_through"], &error["kind"]),
        (&7.into(), &"InvalidArgument".into()),
        "{shown}"
    );
    assert_eq!(store.keys.len(), 7);
}

/// The connection of a command, and the set of each session's request.
async fn connected(node: &Node) -> Link {
    let mut link = node.accept_with(welcome(view(Role::Leading, &node.address, &[&node.address]))).await;
    link.open_session(1).await;
    link
}

fn set_of(request: &Request) -> Set {
    match operation(request) {
        Operation::Set(set) => set,
        other => panic!("{other:?}"),
    }
}

/// The next requests, which are sets.
async fn sets(link: &mut Link, count: usize) -> Vec<Request> {
    let mut requests = Vec::new();
    while requests.len() < count {
        let request = link.request().await;
        set_of(&request);
        requests.push(request);
    }
    requests
}

/// Asserts that the command sends nothing before it has another answer.
async fn assert_quiet(link: &mut Link) {
    if let Ok(request) = tokio::time::timeout(QUIET, link.next_request()).await {
        panic!("it was to wait for an answer: {request:?}");
    }
}

/// Answers the requests about sessions until the command has closed the connection.
async fn serve_end(mut link: Link) {
    while let Some(request) = link.next_request().await {
        link.answer(&request, session(&request).unwrap()).await;
    }
    std::future::pending().await
}

#[tokio::test]
async fn the_last_line_of_a_key_wins() {
    let node = Node::start().await;
    let mut command = gometa(&["import", "-"]);
    command.env("GOMETA_PEERS", &node.address);
    let line = |key: &str, value: &str| format!("{{\"key\":\"{key}\",\"value\":\"{value}\"}}\n");
    let input = [line("a", "1"), line("b", "1"), line("a", "2"), line("c", "1")].concat();
    let serving = async {
        let mut link = connected(&node).await;
        let first = sets(&mut link, 2).await;
        link.answer(&first[1], written(1)).await;
        // The first value of `a` may still be set: the second one waits.
        assert_quiet(&mut link).await;
        link.answer(&first[0], written(2)).await;
        let rest = sets(&mut link, 2).await;
        let all: Vec<Set> = first.iter().chain(&rest).map(set_of).collect();
        let set = |key: &'static str, value: &'static str| Set { key: key.into(), value: value.into() };
        assert_eq!(all, [set("a", "1"), set("b", "1"), set("a", "2"), set("c", "1")]);
        for request in &rest {
            link.answer(request, written(3)).await;
        }
        serve_end(link).await;
    };
    let output = run_beside(command, leaked(input), serving).await;
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "4 keys imported\n"), "{output:?}");
}

/// Lines with the keys from `k1` on.
fn numbered(count: usize) -> String {
    (1..=count).map(|number| format!("{{\"key\":\"k{number}\",\"value\":\"\"}}\n")).collect()
}

#[tokio::test]
async fn a_failure_ends_the_sending_and_tells_how_far_the_import_came() {
    let node = Node::start().await;
    let mut command = gometa(&["import", "-"]);
    command.env("GOMETA_PEERS", &node.address);
    let refused = || response::Result::Error(Error::not_applied(ErrorKind::PermissionDenied, "not today"));
    let serving = async {
        let mut link = connected(&node).await;
        let requests = sets(&mut link, 64).await;
        assert_quiet(&mut link).await;
        // The fifth and the third line fail, in this order; the others are acknowledged after it.
        link.answer(&requests[4], refused()).await;
        link.answer(&requests[2], refused()).await;
        for (index, request) in requests.iter().enumerate().filter(|(index, _)| ![2, 4].contains(index)) {
            link.answer(request, written(index as u64 + 1)).await;
        }
        // No line behind the failure is sent.
        serve_end(link).await;
    };
    let output = run_beside(command, leaked(numbered(100)), serving).await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    let said = text(&output.stderr);
    let expected = "gometa: standard input: line 3: set \"k3\": not today; lines 1 to 2 are imported, of lines 3 to 64 some \
                    may be\n";
    assert_eq!(said, expected);
}

#[tokio::test]
async fn large_values_are_in_flight_up_to_a_number_of_bytes() {
    let node = Node::start().await;
    let mut command = gometa(&["import", "-"]);
    command.env("GOMETA_PEERS", &node.address);
    let value = "v".repeat(1 << 20);
    let input: String =
        (1..=9).map(|number| format!("{{\"key\":\"k{number}\",\"value\":\"{value}\"}}\n")).collect();
    let serving = async {
        let mut link = connected(&node).await;
        let requests = sets(&mut link, 7).await;
        assert_quiet(&mut link).await;
        for request in &requests {
            link.answer(request, written(1)).await;
        }
        for request in sets(&mut link, 2).await {
            link.answer(&request, written(2)).await;
        }
        serve_end(link).await;
    };
    let output = run_beside(command, leaked(input), serving).await;
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "9 keys imported\n"), "{output:?}");
}

#[tokio::test]
async fn an_unknown_outcome_is_told() {
    let mut writes = 0;
    let output = run(&["import", "-"], leaked(numbered(1)), |_| {
        writes += 1;
        response::Result::Error(Error::not_applied(ErrorKind::Forgotten, "forgotten"))
    })
    .await;
    assert_eq!((output.status.code(), writes), (Some(6), 1), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("line 1: set \"k1\": ") && said.contains("; line 1 may be imported\n"), "{said}");
    assert!(said.contains("repeat the import"), "{said}");
}

#[tokio::test]
async fn keys_that_exist_are_refused_on_request() {
    let mut store = Store::of(&[(b"k3", b"old")]);
    let output = run_on(&mut store, &["import", "-", "--only-new"], numbered(3)).await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(4), 0), "{output:?}");
    let said = text(&output.stderr);
    assert!(
        said.contains("line 3: add \"k3\": the key exists at revision 1; lines 1 to 2 are imported\n"),
        "{said}"
    );
    assert!(said.contains("without --only-new"), "{said}");
    assert_eq!(store, Store { writes: 2, ..Store::of(&[(b"k1", b""), (b"k2", b""), (b"k3", b"old")]) });
    let output =
        run_on(&mut Store::default(), &["-o", "json", "import", "-", "--only-new"], numbered(3)).await;
    assert_eq!(text(&output.stdout), "{\"imported\":3}\n", "{output:?}");
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_str().unwrap();
    for (name, expected) in
        [("/nowhere/keys", "cannot read /nowhere/keys: No such file"), (directory, ": is a directory")]
    {
        let output = run(&["import", name], b"", |request| panic!("{request:?}")).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
    let closed = "exec \"$0\" import - <&-";
    let output = Command::new("sh").args(["-c", closed, env!("CARGO_BIN_EXE_gometa")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("cannot read standard input: it is closed"), "{output:?}");
    let output = run(&["import", "-"], b"", |request| panic!("{request:?}")).await;
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "0 keys imported\n"), "{output:?}");
}

#[tokio::test]
async fn the_shell_exports_and_imports_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let lines = format!("import -\nexport '{0}'\nimport '{0}'\nexport --prefix empty\n", path.display());
    let mut store = mixture();
    let output = run_on(&mut store, &["shell"], lines).await;
    assert_eq!(
        text(&output.stdout),
        "8 keys exported at revision 9\n8 keys imported\n{\"key\":\"empty\",\"value\":\"\"}\n",
        "{output:?}"
    );
    assert_eq!((output.status.code(), store), (Some(2), Store { writes: 8, ..mixture() }), "{output:?}");
    assert!(text(&output.stderr).contains("standard input is the source of the shell's lines"), "{output:?}");
}

/// What etcd 3.7.3 stored when the fixtures were recorded: by `etcdctl put`, `etcdctl get --prefix "" -w json`, and a request
/// to `/v3/kv/range`, whose numbers are strings. Without `long`.
fn recorded() -> Store {
    let mut store = Store::of(&[
        (b"/registry/pods/default/web", b"{\"kind\":\"Pod\"}"),
        (b"/registry/services/web", b"{\"kind\":\"Service\"}"),
        (b"a", b"1"),
        (b"binary-value", b"\0\x01\xff\xfe"),
        (b"bin\xff\x01key", b"text"),
        (b"empty", b""),
        (b"leases/worker", b"here"),
        (b"quotes/\"and\\back", b"{\"json\": true}"),
        ("schlüssel/日本".as_bytes(), "grün 🦀".as_bytes()),
        (b"text/lines", b"two\nlines\n"),
        (b"z", b"26"),
    ]);
    for number in 1..=8 {
        let value = if number == 2 { "changed".to_owned() } else { format!("value {number}") };
        store.keys.insert(format!("config/service-{number}").into_bytes(), value.into_bytes());
    }
    store
}

#[tokio::test]
async fn keys_of_etcd_are_imported() {
    for name in ["etcd-3.7.3.json", "etcd-3.7.3-gateway.json"] {
        let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
        for (from, input) in [(&*path, Vec::new()), ("-", fs::read(&path).unwrap())] {
            let mut store = Store::default();
            let output = run_on(&mut store, &["import", "--from-etcd-json", from], input).await;
            assert_eq!(
                (output.status.code(), text(&output.stdout)),
                (Some(0), "20 keys imported\n"),
                "{output:?}"
            );
            let warning = "gometa: leases are not imported: 1 key had one in etcd\n";
            assert_eq!(text(&output.stderr), warning);
            let long = store.keys.remove(&b"long"[..]).unwrap();
            assert!(long.len() == 400 && long.starts_with(b"VPKTvC3DM23JtnAQLuawCWT9bFq3x10p"), "{long:?}");
            assert_eq!(store.keys, recorded().keys);
        }
    }
}

#[tokio::test]
async fn an_output_of_etcd_that_is_cut_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let recorded = |name| fs::read(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (whole, limited) = (recorded("etcd-3.7.3.json"), recorded("etcd-3.7.3-limited.json"));
    let limit = "it has 3 of 20 keys (\"more\" is true): write it without --limit";
    let arguments = ["import", "--from-etcd-json"];
    for (text_of_file, expected) in [
        (&limited[..], limit),
        (&whole[..400], "kvs[2]: line 1, column 400: EOF while parsing"),
        (
            b"{\"key\":\"a\",\"value\":\"b\"}\n",
            "line 1, column 7: unknown field `key`, expected one of `header`",
        ),
    ] {
        // A file is checked before the first key is set.
        let name = file(directory.path(), text_of_file);
        let output = run(&[&arguments[..], &[&name]].concat(), b"", |request| panic!("{request:?}")).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(expected) && said.ends_with("; nothing is imported\n"), "{said}");
    }
    let mut store = Store::default();
    let output = run_on(&mut store, &[&arguments[..], &["-"]].concat(), limited).await;
    assert_eq!((output.status.code(), store.writes), (Some(2), 3), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains(limit) && said.ends_with("; kvs[0] to kvs[2] are imported\n"), "{said}");
}

#[tokio::test]
async fn an_output_of_etcd_without_values_replaces_none() {
    let directory = tempfile::tempdir().unwrap();
    let output_of_etcd = b"{\"header\":{},\"kvs\":[{\"key\":\"YQ==\"},{\"key\":\"Yg==\"}],\"count\":2}";
    let name = file(directory.path(), output_of_etcd);
    let arguments = ["import", "--from-etcd-json"];
    let output = run(&[&arguments[..], &[&name]].concat(), b"", |request| panic!("{request:?}")).await;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        said.contains("write it without --keys-only") && said.ends_with("; nothing is imported\n"),
        "{said}"
    );
    // Without the option, it is named.
    let output = run(&["import", &name], b"", |request| panic!("{request:?}")).await;
    assert!(
        text(&output.stderr).ends_with("\n  for the output of etcdctl, add --from-etcd-json\n"),
        "{output:?}"
    );
    // Standard input is sent while it is read: its keys may have empty values.
    let mut store = Store::default();
    let output = run_on(&mut store, &[&arguments[..], &["-"]].concat(), &output_of_etcd[..]).await;
    assert_eq!((output.status.code(), store.writes), (Some(0), 2), "{output:?}");
    let warning = "gometa: no value in 2 keys: an output of etcdctl with --keys-only has none\n";
    assert_eq!(text(&output.stderr), warning);
}

#[tokio::test]
async fn an_error_of_a_key_of_etcd_names_index_and_key() {
    let path = format!("{}/tests/data/etcd-3.7.3.json", env!("CARGO_MANIFEST_DIR"));
    let output = run(&["import", "--from-etcd-json", &path], b"", |request| match operation(request) {
        Operation::Set(set) if set.key == "config/service-1" => {
            response::Result::Error(Error::not_applied(ErrorKind::PermissionDenied, "not today"))
        }
        _ => written(1),
    })
    .await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    let expected = "kvs[5]: set \"config/service-1\": not today; kvs[0] to kvs[4] are imported";
    assert!(said.contains(expected), "{said}");
}
