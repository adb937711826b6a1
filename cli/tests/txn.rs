//! Transactions with the built command against a scripted node.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use gometa_proto::{
    ErrorKind,
    v1::{
        self, Compare, Delete, Entry, Error, Get, Page, Range, Relation, Request, Set, Txn, TxnAnswer,
        TxnOperation, TxnResult, compare::Operand, request::Operation, response, txn_operation, txn_result,
    },
};
use gometa_testkit::scripted_server::Node;
use serde_json::json;

use crate::common::{gometa, operation, run, run_with, text};

const SCRIPT: &[u8] =
    b"when\n mod-revision a = 7\n value b != \"old \\xff\" # a comment\nthen\n set a 'new value'\n\
    delete b\n get c\n range d/ --limit 2\notherwise\n get a\n";

/// The request for [`SCRIPT`].
fn txn() -> Txn {
    let compare = |key: &'static str, relation: Relation, operand| Compare {
        key: key.into(),
        relation: relation.into(),
        operand: Some(operand),
    };
    let op = |operation| TxnOperation { operation: Some(operation) };
    let get =
        |key: &'static str| op(txn_operation::Operation::Get(Get { key: key.into(), ..Get::default() }));
    Txn {
        when: vec![
            compare("a", Relation::Equal, Operand::ModRevision(7)),
            compare("b", Relation::NotEqual, Operand::Value(b"old \xff"[..].into())),
        ],
        then: vec![
            op(txn_operation::Operation::Set(Set { key: "a".into(), value: "new value".into() })),
            op(txn_operation::Operation::Delete(Delete { key: "b".into(), revision: None })),
            get("c"),
            op(txn_operation::Operation::Range(Range { prefix: "d/".into(), limit: 2, ..Range::default() })),
        ],
        otherwise: vec![get("a")],
        ..Txn::default()
    }
}

fn answer(succeeded: bool, results: Vec<txn_result::Result>) -> response::Result {
    let results = results.into_iter().map(|result| TxnResult { result: Some(result) }).collect();
    response::Result::Txn(TxnAnswer { revision: 12, succeeded, results })
}

fn entry(key: &'static str, value: &'static [u8]) -> Entry {
    Entry {
        key: key.into(),
        value: value.into(),
        version: 1,
        create_revision: 3,
        mod_revision: 3,
        is_group: false,
    }
}

/// The results of `then`.
fn done() -> Vec<txn_result::Result> {
    let entries = vec![entry("d/1", b"1"), entry("d/2", b"\xff")];
    vec![
        txn_result::Result::Written(v1::Written { revision: 12, version: 2 }),
        txn_result::Result::Deleted(v1::Deleted { revision: 0, existed: false }),
        txn_result::Result::Error(Error::not_applied(ErrorKind::NotFound, "there is no such key")),
        txn_result::Result::Page(Page { entries, count: 2, next: "d/3".into(), revision: 11 }),
    ]
}

fn received(request: &Request) -> Txn {
    match operation(request) {
        Operation::Txn(txn) => txn,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_script_is_executed_and_the_results_of_its_branch_are_printed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.txn");
    std::fs::write(&file, SCRIPT).unwrap();
    for (arguments, input) in
        [(&["txn"][..], SCRIPT), (&["txn", "-"], SCRIPT), (&["txn", file.to_str().unwrap()], b"")]
    {
        let output = run(arguments, input, |request| {
            assert_eq!(received(request), txn());
            assert!(request.write.is_some());
            answer(true, done())
        })
        .await;
        let expected = b"executed then, revision 12\nset a: revision 12, version 2\ndelete b: there was no such key\n\
            get c: there is no such key\nrange d/: 2 keys, and there are more: gometa scan --start=d/3 --at=11 d/\n  d/1  1\n  d/2  \xff\n";
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &expected[..]), "{output:?}");
    }
}

#[tokio::test]
async fn otherwise_has_an_exit_status() {
    for format in ["table", "json"] {
        let output = run(&["txn", "-o", format], SCRIPT, |_| {
            answer(false, vec![txn_result::Result::Entry(entry("a", b"v"))])
        })
        .await;
        let expected = match format {
            "table" => "executed otherwise, revision 12\nget a: v\n",
            _ => {
                "{\"results\":[{\"create_revision\":3,\"exists\":true,\"key\":\"a\",\"mod_revision\":3,\"operation\":\"get\",\
                 \"value\":\"v\",\"version\":1}],\"revision\":12,\"succeeded\":false}\n"
            }
        };
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(4), expected), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[tokio::test]
async fn json_is_executed_and_printed() {
    let input = br#"{
        "when": [{"key": "a", "mod_revision": 7}, {"key": "b", "relation": "!=", "value_base64": "b2xkIP8="}],
        "then": [{"set": {"key": "a", "value": "new value"}}, {"delete": {"key": "b"}}, {"get": {"key": "c"}},
                 {"range": {"prefix": "d/", "limit": 2}}],
        "otherwise": [{"get": {"key": "a"}}]}"#;
    let output = run(&["-o", "json", "txn"], input, |request| {
        assert_eq!(received(request), txn());
        answer(true, done())
    })
    .await;
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(0), 1), "{output:?}");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let facts = json!({"version": 1, "create_revision": 3, "mod_revision": 3});
    let with = |fields: serde_json::Value| {
        let (facts, fields) = (facts.as_object().unwrap().clone(), fields.as_object().unwrap().clone());
        facts.into_iter().chain(fields).collect::<serde_json::Map<_, _>>()
    };
    assert_eq!(
        shown,
        json!({
            "succeeded": true,
            "revision": 12,
            "results": [
                {"operation": "set", "key": "a", "revision": 12, "version": 2},
                {"operation": "delete", "key": "b", "existed": false, "revision": 0},
                {"operation": "get", "key": "c", "exists": false},
                {
                    "operation": "range",
                    "prefix": "d/",
                    "entries": [
                        with(json!({"key": "d/1", "value": "1"})),
                        with(json!({"key": "d/2", "value_base64": "/w=="})),
                    ],
                    "next": "d/3",
                    "revision": 11,
                },
            ],
        })
    );
}

#[tokio::test]
async fn a_result_that_is_not_in_the_answer_says_where_to_read_it() {
    let script = b"then\nget large\nget k\nset l v\n";
    let results = || {
        let full = Error::not_applied(ErrorKind::TooLarge, "no room").with_actual_revision(11);
        let compacted = Error::not_applied(ErrorKind::Compacted, "too old").with_actual_revision(14);
        let written = v1::Written { revision: 12, version: 1 };
        let errors = [full, compacted].map(txn_result::Result::Error);
        errors.into_iter().chain([txn_result::Result::Written(written)]).collect()
    };
    let output = run(&["txn"], script, |_| answer(true, results())).await;
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (
            Some(0),
            "executed then, revision 12\nget large: the answer is full; read it with: gometa get large --at=11\n\
             get k: executed, without its result: too old\nset l: revision 12, version 1\n"
        )
    );
    let output = run(&["-o", "json", "txn"], script, |_| answer(true, results())).await;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = &shown["results"][0]["error"];
    assert_eq!((&error["kind"], &error["actual_revision"]), (&"TooLarge".into(), &11.into()), "{shown}");
}

#[tokio::test]
async fn a_transaction_that_writes_nothing_may_be_a_local_read() {
    let output = run(&["txn", "--local", "--min-revision", "9"], b"then\nget a\n", |request| {
        let txn = received(request);
        assert_eq!((txn.consistency, txn.min_revision, request.write.is_some()), (1, 9, false));
        answer(true, vec![txn_result::Result::Entry(entry("a", b"v"))])
    })
    .await;
    assert_eq!(text(&output.stdout), "executed then, revision 12\nget a: v\n", "{output:?}");
    let output = run(&["txn", "--local"], SCRIPT, |request| panic!("{request:?}")).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("--local is for transactions that write in neither branch"));
}

#[tokio::test]
async fn a_text_that_is_no_transaction_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let directory = std::fs::canonicalize(directory.path()).unwrap();
    let file = directory.join("a.txn");
    std::fs::write(&file, "then\n  set k\n").unwrap();
    let file = file.to_str().unwrap();
    let missing = directory.join("none").display().to_string();
    for (arguments, input, expected) in [
        (&["txn"][..], &b"get k"[..], "standard input: line 1, column 1: expected the section".to_owned()),
        (&["txn"], b"{\"them\": []}", "standard input: line 1, column 7: unknown field `them`".to_owned()),
        (&["txn"], b"", "standard input: the transaction is empty".to_owned()),
        (&["txn", file], b"", format!("{file}: line 2, column 8: expected a value: set KEY VALUE")),
        (&["txn", &missing], b"", format!("cannot read {missing}: No such file")),
        (&["shell"], b"txn", "standard input is the source of the shell's lines: name a file".to_owned()),
        (&["txn"], b"then\nset k 1\ndelete k", "writes the key k twice".to_owned()),
    ] {
        let output = run(arguments, input, |request| panic!("{request:?}")).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
        assert!(text(&output.stderr).contains(&expected), "{expected}: {output:?}");
    }
    let output = gometa(&["txn", "/dev/zero"]).output().unwrap();
    assert!(text(&output.stderr).contains("cannot read /dev/zero: it exceeds 16777216 bytes"), "{output:?}");
}

#[tokio::test]
async fn an_unknown_outcome_has_advice() {
    let node = Node::start().await;
    let mut command = gometa(&["txn"]);
    command.env("GOMETA_PEERS", &node.address);
    let output = run_with(command, SCRIPT, &node, |_| {
        response::Result::Error(Error::not_applied(ErrorKind::Forgotten, "forgotten"))
    })
    .await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(6), 0), "{output:?}");
    assert!(text(&output.stderr).contains("read its keys before repeating the transaction"), "{output:?}");
}
