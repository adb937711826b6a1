//! The history of a key: what is asked for, and what a page becomes.

use bytes::Bytes;
use gometa_client::{ErrorKind, HistoryOptions, ReadOptions};
use gometa_proto::v1::{self, GetHistory, request::Operation, response};

use crate::node::{Node, client};

#[tokio::test]
async fn a_page_has_its_versions_and_where_the_next_one_begins() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let deletion = v1::KeyVersion { revision: 9, deleted: true, ..Default::default() };
    let version = v1::KeyVersion {
        revision: 7,
        deleted: false,
        version: 2,
        create_revision: 5,
        value: "v".into(),
        value_size: 1,
    };
    let versions = vec![deletion, version];
    let page = v1::KeyHistory { versions, next_before: 7, revision: 11, oldest_revision: 3 };
    let asked = |limit, before_revision, keys_only, consistency, min_revision| {
        let key = Bytes::from_static(b"k");
        let get = GetHistory { key, before_revision, limit, keys_only, consistency, min_revision };
        Some(Operation::GetHistory(get))
    };
    let serving = async {
        let mut link = node.accept().await;
        let request = link.request().await;
        assert_eq!(request.operation, asked(0, 0, false, 0, 0));
        link.answer(&request, response::Result::KeyHistory(page.clone())).await;
        let request = link.request().await;
        assert_eq!(request.operation, asked(5, 7, true, 1, 20));
        link.answer(&request, response::Result::KeyHistory(v1::KeyHistory::default())).await;
        link
    };
    let calls = async {
        let page = client.history("k").await.unwrap();
        assert_eq!((page.next_before, page.revision, page.oldest_revision), (Some(7), 11, 3));
        let shown = page.versions.iter().map(|version| {
            (version.revision, version.deleted, version.version, version.create_revision, version.value_size)
        });
        assert_eq!(shown.collect::<Vec<_>>(), [(9, true, 0, 0, 0), (7, false, 2, 5, 1)]);
        assert_eq!(page.versions[1].value, "v");
        let local = ReadOptions::local().with_min_revision(20);
        let options = HistoryOptions::default().limit(5).before_revision(7).keys_only().options(local);
        let last = client.history_with("k", options).await.unwrap();
        assert_eq!((last.versions, last.next_before), (vec![], None));
    };
    let _link = tokio::join!(serving, calls).0;
    let error = client.history("").await.unwrap_err();
    assert_eq!((error.kind(), error.operation().name()), (ErrorKind::InvalidArgument, "get history"));
}
