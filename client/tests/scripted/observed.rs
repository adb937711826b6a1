//! What an application observes: spans, counters; and what a node observes: bounded retries.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use gometa_client::{Client, ErrorKind};
use gometa_proto::v1::{Error, response};
use tracing_subscriber::fmt::MakeWriter;

use crate::node::{Node, client, written};

/// The logged lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        self.clone()
    }
}

#[tokio::test]
async fn a_call_is_a_span_with_its_attempts_and_counted() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let node = Node::start().await;
    let client = client(&[&node]);
    let serving = async {
        let mut link = node.accept().await;
        link.open_session(7).await;
        let busy = Error::not_applied(ErrorKind::ResourceExhausted, "busy for now");
        link.answer_next(response::Result::Error(busy)).await;
        link.answer_next(written(3)).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = client.set("colour", "red") => drop(result.unwrap()),
        () = serving => {}
    }
    let counters = client.counters();
    assert_eq!((counters.requests, counters.retries, counters.reconnects, counters.in_flight), (1, 1, 0, 0));
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let retry = text.lines().find(|line| line.contains("retrying")).unwrap();
    for part in ["gometa{operation=set key=colour}", "busy for now", &node.address] {
        assert!(retry.contains(part), "{part} is not in {retry}");
    }
    assert!(text.contains("connected") && text.contains("session opened"), "{text}");
}

#[tokio::test]
async fn a_node_that_closes_connections_is_dialed_with_backoff() {
    let node = Node::start().await;
    let client = Client::builder().timeout(Duration::from_millis(1500)).build([&node.address]).unwrap();
    let mut dials = 0;
    let hanging_up = async {
        loop {
            drop(node.accept_raw().await);
            dials += 1;
        }
    };
    tokio::select! {
        result = client.get("k") => assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable),
        () = hanging_up => {}
    }
    // Backoffs of 20, 40, 80, … 500 ms, each at least half of that: at most eleven dials in that time.
    assert!((3..=11).contains(&dials), "{dials} dials in 1.5 s");
}
