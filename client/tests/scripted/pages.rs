//! Pages of ranges: what a scan asks for, and what its errors and cancelled calls leave.

use gometa_client::{Client, ErrorKind, Pages, Range, Reply, Request, SharedPages};
use gometa_proto::v1::{self, Entry, Error, request::Operation, response};

use crate::node::{Link, Node, client};

/// A page of one key, with where the next one begins.
fn page(key: &'static str, next: &'static str) -> response::Result {
    let entry = Entry { key: key.into(), ..Entry::default() };
    response::Result::Page(v1::Page { entries: vec![entry], count: 1, next: next.into(), revision: 7 })
}

/// Starts reading the next page of a scan and gives it up once the node has a request; returns that.
async fn cancelled(client: &Client, pages: &mut Pages, link: &mut Link) -> v1::Request {
    tokio::select! {
        page = pages.next(client) => panic!("it cannot have a page: {page:?}"),
        request = link.request() => request,
    }
}

fn start_of(request: &v1::Request) -> (&[u8], u64) {
    match &request.operation {
        Some(Operation::Range(range)) => (&range.start, range.at_revision),
        other => panic!("expected a Range, got {other:?}"),
    }
}

#[tokio::test]
async fn a_compacted_revision_comes_with_the_oldest_one() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let serving = async {
        let mut link = node.accept().await;
        let gone = Error::not_applied(ErrorKind::Compacted, "the history begins at revision 9");
        for _ in 0..2 {
            link.answer_next(response::Result::Error(gone.clone().with_actual_revision(9))).await;
        }
        std::future::pending::<()>().await;
    };
    let calls = async {
        let range = client.range(Range::all().at_revision(3)).await.unwrap_err();
        let get = client.get_at("k", 3).await.unwrap_err();
        for error in [range, get] {
            assert_eq!((error.kind(), error.actual_revision()), (ErrorKind::Compacted, Some(9)));
        }
    };
    tokio::select! {
        () = calls => {}
        () = serving => {}
    }
}

#[tokio::test]
async fn a_scan_reads_the_page_of_a_cancelled_call_again() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let mut pages = Pages::new(Range::all());
    let (mut link, ()) = tokio::join!(node.accept(), async {
        client.view().await.unwrap();
    });
    let request = cancelled(&client, &mut pages, &mut link).await;
    assert_eq!(start_of(&request), (&b""[..], 0));
    let (read, request) = tokio::join!(pages.next(&client), link.answer_next(page("a", "b")));
    assert_eq!(start_of(&request), (&b""[..], 0));
    assert_eq!(read.unwrap().unwrap().entries[0].key, "a");

    // The second page is on its way: a cancelled call does not request it again.
    let ahead = cancelled(&client, &mut pages, &mut link).await;
    assert_eq!(start_of(&ahead), (&b"b"[..], 7));
    let (read, ()) = tokio::join!(pages.next(&client), link.answer(&ahead, page("b", "")));
    assert_eq!(read.unwrap().unwrap().entries[0].key, "b");
    assert!(pages.next(&client).await.is_none());
}

#[tokio::test]
async fn a_page_that_nobody_takes_is_that_of_the_next_call() {
    let node = Node::start().await;
    let client = client(&[&node]);
    let pages = SharedPages::new(Range::all());
    let next = Request::NextPage(pages);
    let (mut link, ()) = tokio::join!(node.accept(), client.clone().deliver(Request::Members, |_| None));
    let mut refused = None;
    let refusing = client.clone().deliver(next.clone(), |result| {
        refused = Some(result.clone());
        Some(result)
    });
    tokio::join!(refusing, link.answer_next(page("a", "")));
    let mut taken = None;
    let taking = client.deliver(next, |result| {
        taken = Some(result);
        None
    });
    taking.await;
    assert!(
        matches!(&taken, Some(Ok(Reply::NextPage(Some(page)))) if page.entries[0].key == "a"),
        "{taken:?}"
    );
    assert_eq!(taken, refused);
}
