//! Guards of writes, and settings, with the built command against a scripted node.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use gometa_proto::{
    ErrorKind,
    v1::{
        Deleted, Entry, Error, Guard, Page, Request, SetSetting, Setting, Settings, TxnAnswer, Written,
        request::Operation, response,
    },
};
use gometa_testkit::scripted_server::{Node, written};

use crate::common::{gometa, operation, run, run_with, text};

/// The answer to a request that succeeds; one key has the prefix of every range.
fn success(request: &Request) -> response::Result {
    match operation(request) {
        Operation::Delete(_) => response::Result::Deleted(Deleted { revision: 12, existed: true }),
        Operation::Range(_) => {
            let entries = vec![Entry { key: "p/1".into(), ..Entry::default() }];
            response::Result::Page(Page { entries, count: 1, revision: 11, ..Page::default() })
        }
        Operation::Txn(_) => {
            response::Result::Txn(TxnAnswer { revision: 12, succeeded: true, results: Vec::new() })
        }
        _ => written(12),
    }
}

#[tokio::test]
async fn every_write_may_have_a_guard() {
    for words in [
        "add k v",
        "set k v",
        "cas k 7 v",
        "delete k",
        "delete k --revision 7",
        "delete --prefix p/",
        "txn",
        "settings set HistoryAgeMinutes 5",
    ] {
        let mut arguments: Vec<&str> = words.split(' ').collect();
        arguments.extend(["--guard", "a@lock@7"]);
        let mut guards = Vec::new();
        let output = run(&arguments, b"then\nset k v\n", |request| {
            let guard = request.guard.clone();
            guards.push((operation(request).is_write(), guard));
            success(request)
        })
        .await;
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{words}: {output:?}");
        let expected = Some(Guard { key: "a@lock".into(), create_revision: 7 });
        assert!(guards.iter().any(|(is_write, _)| *is_write), "{words}: {guards:?}");
        for (is_write, guard) in guards {
            assert_eq!(guard, expected.clone().filter(|_| is_write), "{words}");
        }
    }
}

#[tokio::test]
async fn the_key_of_a_guard_is_bytes() {
    let node = Node::start().await;
    let mut command = gometa(&["set", "k", "v"]);
    command.arg(OsStr::from_bytes(b"--guard=-\xff@7")).env("GOMETA_PEERS", &node.address);
    let output = run_with(command, b"", &node, |request| {
        assert_eq!(request.guard, Some(Guard { key: b"-\xff"[..].into(), create_revision: 7 }));
        success(request)
    })
    .await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = run(&["shell"], b"set k v --guard \"lock \\xff@7\"\n", |request| {
        assert_eq!(request.guard, Some(Guard { key: b"lock \xff"[..].into(), create_revision: 7 }));
        success(request)
    })
    .await;
    assert_eq!(text(&output.stdout), "revision 12, version 1\n", "{output:?}");
}

#[tokio::test]
async fn a_failed_guard_has_an_exit_status_and_advice() {
    for (actual, message, advice) in [
        (0, "the key of the guard does not exist", "take it again"),
        (9, "the key of the guard was created at revision 9", "`gometa get KEY -o json` shows"),
    ] {
        let failed = |_: &Request| {
            let error = Error::not_applied(ErrorKind::GuardFailed, message);
            response::Result::Error(error.with_actual_revision(actual))
        };
        for arguments in [&["set", "k", "v"][..], &["cas", "k", "7", "v"], &["delete", "k"], &["txn"]] {
            let arguments = [arguments, &["--guard", "lock@7"]].concat();
            let output = run(&arguments, b"then\nset k v\n", failed).await;
            assert_eq!((output.status.code(), output.stdout.len()), (Some(4), 0), "{output:?}");
            let said = text(&output.stderr);
            assert!(said.contains(message) && said.contains(advice), "{said}");
        }
        let output = run(&["-o", "json", "set", "k", "v", "--guard", "lock@7"], b"", failed).await;
        let shown: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        let error = &shown["error"];
        assert_eq!((&error["kind"], &error["number"]), (&"GuardFailed".into(), &22.into()), "{shown}");
        assert_eq!((&error["actual_revision"], &error["outcome"]), (&actual.into(), &"not_applied".into()));
        assert_eq!(output.status.code(), Some(4), "{output:?}");
    }
    // The keys before the one whose guard has failed are deleted.
    let output =
        run(&["delete", "--prefix", "p/", "--guard", "lock@7"], b"", |request| match operation(request) {
            Operation::Delete(_) => {
                let error = Error::not_applied(ErrorKind::GuardFailed, "the key of the guard does not exist");
                response::Result::Error(error.with_actual_revision(0))
            }
            _ => success(request),
        })
        .await;
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(text(&output.stderr).contains("keys that were deleted before stay deleted"), "{output:?}");
}

#[tokio::test]
async fn a_guard_that_cannot_be_is_refused() {
    let writes = &["set", "k", "v"][..];
    for (command, input, guard, expected) in [
        (writes, &b""[..], "lock", "there is no @"),
        (writes, b"", "@7", "the key is empty"),
        (writes, b"", "lock@", "is no revision"),
        (writes, b"", "lock@0", "no key is created at revision 0"),
        (&["get", "k"], b"", "lock@7", "unexpected argument '--guard'"),
        (
            &["txn"],
            b"then\nget k\n",
            "lock@7",
            "--guard is for transactions that write in one of their branches",
        ),
    ] {
        let arguments = [command, &["--guard", guard]].concat();
        let output = run(&arguments, input, |request| panic!("{request:?}")).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
        assert!(text(&output.stderr).contains(expected), "{expected}: {output:?}");
    }
}

/// Settings of a node, one of which has not its default; and a key that does not exist.
fn settings(request: &Request) -> response::Result {
    match operation(request) {
        Operation::ListSettings(_) => {}
        Operation::Get(_) => {
            return response::Result::Error(Error::not_applied(ErrorKind::NotFound, "there is no such key"));
        }
        other => panic!("{other:?}"),
    }
    let setting = |name: &str, value, default_value, min, max| Setting {
        name: name.to_owned(),
        value,
        default_value,
        min,
        max,
    };
    let settings = vec![
        setting("HistoryAgeMinutes", Some(5), 60, 0, 525_600),
        setting("HistoryRevisionsMin", None, 10_000, 1_000, 1_000_000_000),
    ];
    response::Result::Settings(Settings { settings })
}

#[tokio::test]
async fn settings_are_listed() {
    for arguments in [&["settings"][..], &["settings", "list"]] {
        let output = run(arguments, b"", settings).await;
        let expected = "\
NAME                 VALUE  DEFAULT  MIN   MAX         SET
HistoryAgeMinutes    5      60       0     525600      yes
HistoryRevisionsMin  10000  10000    1000  1000000000  no
";
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), expected), "{output:?}");
        let output = run(&[arguments, &["-o", "json"]].concat(), b"", settings).await;
        let expected = "\
{\"default\":60,\"is_set\":true,\"max\":525600,\"min\":0,\"name\":\"HistoryAgeMinutes\",\"value\":5}
{\"default\":10000,\"is_set\":false,\"max\":1000000000,\"min\":1000,\"name\":\"HistoryRevisionsMin\",\"value\":10000}
";
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), expected), "{output:?}");
    }
}

#[tokio::test]
async fn settings_are_not_older_than_the_call_unless_they_are_read_locally() {
    for (arguments, expected) in [
        (&["settings"][..], &["get", "list settings"][..]),
        (&["settings", "--local"], &["list settings"]),
        (&["settings", "list"], &["get", "list settings"]),
        (&["settings", "list", "--local"], &["list settings"]),
        (&["settings", "get", "HistoryAgeMinutes"], &["get", "list settings"]),
        (&["settings", "get", "HistoryAgeMinutes", "--local"], &["list settings"]),
    ] {
        let mut requests = Vec::new();
        let output = run(arguments, b"", |request| {
            requests.push(operation(request).kind().name());
            if let Operation::Get(get) = operation(request) {
                assert_eq!(get.consistency, 0);
            }
            settings(request)
        })
        .await;
        assert_eq!((output.status.code(), &requests[..]), (Some(0), expected), "{output:?}");
    }
    let output = run(&["settings"], b"", |request| match operation(request) {
        Operation::Get(_) => response::Result::Error(Error::not_applied(ErrorKind::Internal, "a fault")),
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
}

#[tokio::test]
async fn the_value_of_a_setting_is_printed() {
    for (name, value) in [("HistoryAgeMinutes", "5\n"), ("HistoryRevisionsMin", "10000\n")] {
        let output = run(&["settings", "get", name], b"", settings).await;
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), value), "{output:?}");
    }
    let output = run(&["-o", "json", "settings", "get", "HistoryAgeMinutes"], b"", settings).await;
    let expected = "{\"default\":60,\"is_set\":true,\"max\":525600,\"min\":0,\"name\":\"HistoryAgeMinutes\",\"value\":5}\n";
    assert_eq!(text(&output.stdout), expected, "{output:?}");
    let output = run(&["shell"], b"settings get HistoryAgeMinutes\n", settings).await;
    assert_eq!(text(&output.stdout), "5\n", "{output:?}");
}

#[tokio::test]
async fn a_setting_is_changed() {
    for (argument, value) in [("0", Some(0)), ("5", Some(5)), ("default", None)] {
        for (format, expected) in [("table", "revision 12\n"), ("json", "{\"revision\":12}\n")] {
            let arguments = ["settings", "set", "HistoryAgeMinutes", argument, "-o", format];
            let output = run(&arguments, b"", |request| {
                let name = "HistoryAgeMinutes".to_owned();
                assert_eq!(operation(request), Operation::SetSetting(SetSetting { name, value }));
                response::Result::Written(Written { revision: 12, version: 0 })
            })
            .await;
            assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), expected), "{output:?}");
        }
    }
    let output = run(&["settings", "set", "HistoryAgeMinutes", "5"], b"", |_| {
        response::Result::Error(Error::not_applied(ErrorKind::Forgotten, "forgotten"))
    })
    .await;
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(text(&output.stderr).contains("`gometa settings` shows its value"), "{output:?}");
}

#[tokio::test]
async fn an_unknown_setting_is_answered_with_those_there_are() {
    for arguments in [&["settings", "get", "HistoryAge"][..], &["settings", "set", "HistoryAge", "5"]] {
        let output = run(arguments, b"", settings).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
        let said = text(&output.stderr);
        let names = "there is no setting HistoryAge; there are HistoryAgeMinutes, ";
        assert!(said.contains(names), "{said}");
    }
    for (value, expected) in [
        ("5m", "write a number, or default"),
        ("-1", "'-1'"),
        ("525601", "HistoryAgeMinutes is at most 525600, not 525601"),
    ] {
        let arguments = ["settings", "set", "HistoryAgeMinutes", value];
        let output = run(&arguments, b"", |request| panic!("{request:?}")).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
        assert!(text(&output.stderr).contains(expected), "{output:?}");
    }
}

#[tokio::test]
async fn a_changed_history_has_an_exit_status_and_advice() {
    let changed = |_: &Request| {
        response::Result::Error(Error::not_applied(
            ErrorKind::HistoryChanged,
            "the ensemble was founded anew",
        ))
    };
    let output = run(&["get", "k"], b"", changed).await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("was founded anew") && said.contains("read again"), "{said}");
    let output = run(&["-o", "json", "get", "k"], b"", changed).await;
    let shown: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let error = &shown["error"];
    assert_eq!((&error["kind"], &error["number"]), (&"HistoryChanged".into(), &23.into()), "{shown}");
    assert_eq!((&error["retryable"], &error["outcome"]), (&false.into(), &"not_applied".into()), "{shown}");
}
