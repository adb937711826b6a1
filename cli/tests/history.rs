//! `gometa history` against a scripted node.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::process::Stdio;

use gometa_proto::v1::{
    GetHistory, KeyHistory, KeyVersion, Request, Role, request::Operation, response::Result as Answer,
};
use gometa_testkit::scripted_server::{Node, view, welcome};

use crate::common::{gometa, operation, run, text};

fn asked(request: &Request) -> GetHistory {
    match operation(request) {
        Operation::GetHistory(get) => get.clone(),
        other => panic!("{other:?}"),
    }
}

/// Created at 2, changed at 3, deleted at 5, created at 7; read in pages of two at most.
fn history(request: &Request) -> Answer {
    let get = asked(request);
    assert_eq!(get.key, "k");
    let version = |revision, version, create_revision, value: &'static [u8]| KeyVersion {
        revision,
        deleted: false,
        version,
        create_revision,
        value: if get.keys_only { b"" } else { value }.into(),
        value_size: value.len() as u64,
    };
    let all = [
        version(7, 1, 7, b"new"),
        KeyVersion { revision: 5, deleted: true, ..KeyVersion::default() },
        version(3, 2, 2, b"\xff"),
        version(2, 1, 2, b""),
    ];
    let limit = if get.limit == 0 { 2 } else { get.limit.min(2) } as usize;
    let below = |version: &&KeyVersion| get.before_revision == 0 || version.revision < get.before_revision;
    let left: Vec<KeyVersion> = all.iter().filter(below).cloned().collect();
    let versions = left[..limit.min(left.len())].to_vec();
    let next_before = if left.len() > limit { versions[limit - 1].revision } else { 0 };
    Answer::KeyHistory(KeyHistory { versions, next_before, revision: 9, oldest_revision: 2 })
}

#[tokio::test]
async fn all_pages_are_printed_as_one_table() {
    let output = run(&["history", "k"], b"", history).await;
    let expected = b"REVISION  CHANGE   VERSION  SIZE  VALUE\n\
        7         created  1        3     new\n\
        5         deleted\n\
        3         changed  2        1     \xff\n\
        2         created  1        0\n\
        the history begins at revision 2\n";
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &expected[..]), "{output:?}");
    let output = run(&["history", "k", "--keys-only", "--before", "7", "--limit", "2"], b"", history).await;
    let expected = "REVISION  CHANGE   VERSION  SIZE\n\
        5         deleted\n\
        3         changed  2        1\n";
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), expected), "{output:?}");
}

#[tokio::test]
async fn a_limit_is_that_of_all_pages_together() {
    let mut limits = Vec::new();
    let output = run(&["history", "k", "--limit", "3"], b"", |request| {
        limits.push(asked(request).limit);
        history(request)
    })
    .await;
    assert_eq!(output.stdout.split(|byte| *byte == b'\n').count(), 5, "{output:?}");
    assert_eq!(limits, [3, 1]);
}

#[tokio::test]
async fn each_version_is_a_line_of_json() {
    let output = run(&["-o", "json", "history", "k"], b"", history).await;
    let expected = "\
{\"change\":\"created\",\"create_revision\":7,\"key\":\"k\",\"oldest_revision\":2,\"revision\":7,\"value\":\"new\",\"value_size\":3,\"version\":1}
{\"change\":\"deleted\",\"key\":\"k\",\"oldest_revision\":2,\"revision\":5}
{\"change\":\"changed\",\"create_revision\":2,\"key\":\"k\",\"oldest_revision\":2,\"revision\":3,\"value_base64\":\"/w==\",\"value_size\":1,\"version\":2}
{\"change\":\"created\",\"create_revision\":2,\"key\":\"k\",\"oldest_revision\":2,\"revision\":2,\"value\":\"\",\"value_size\":0,\"version\":1}
";
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), expected), "{output:?}");
    let output = run(&["-o", "json", "history", "k", "--keys-only", "--limit", "1"], b"", history).await;
    assert!(!text(&output.stdout).contains("\"value\""), "{output:?}");
}

#[tokio::test]
async fn a_key_without_versions_is_no_error() {
    for (oldest_revision, expected) in
        [(0, "no versions\n"), (9, "no versions; the history begins at revision 9\n")]
    {
        let answer = |_: &Request| {
            Answer::KeyHistory(KeyHistory { revision: 9, oldest_revision, ..KeyHistory::default() })
        };
        let output = run(&["history", "k"], b"", answer).await;
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), expected), "{output:?}");
        let output = run(&["history", "k", "-o", "json"], b"", answer).await;
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), ""), "{output:?}");
    }
}

#[tokio::test]
async fn local_reads_have_a_minimum_revision() {
    let output = run(&["history", "k", "--local", "--min-revision", "9"], b"", |request| {
        let get = asked(request);
        assert_eq!((get.consistency, get.min_revision), (1, 9));
        history(request)
    })
    .await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for (arguments, named) in [
        (&["history"][..], "KEY"),
        (&["history", "k", "--min-revision", "9"], "--local"),
        (&["history", ""], "empty"),
    ] {
        let output = gometa(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains(named), "{output:?}");
    }
}

#[tokio::test]
async fn a_closed_pipe_ends_it() {
    let node = Node::start().await;
    let mut command = gometa(&["history", "k"]);
    command.env("GOMETA_PEERS", &node.address).stderr(Stdio::piped());
    // Its reader is gone.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer);
    let running = tokio::task::spawn_blocking(move || command.spawn().unwrap().wait_with_output().unwrap());
    let leading = welcome(view(Role::Leading, &node.address, &[&node.address]));
    let mut link = node.accept_with(leading).await;
    let serving = async {
        while let Some(request) = link.next_request().await {
            link.answer(&request, history(&request)).await;
        }
    };
    let (output, ()) = tokio::join!(running, serving);
    let output = output.unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{output:?}");
}
