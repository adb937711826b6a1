//! The end of a client: its session is ended by a request, so that sessions of clients that came and went do not add up.
//!
//! Best effort: the request goes out on the connection in use, or not at all, and its answer is awaited for
//! [`CLOSE_MAX`] at most. What is not ended so ends by the session timeout.

use std::{future::Future, sync::Arc, time::Duration};

use gometa_proto::v1::{self, Response, request::Operation as Body, response};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    call::{Shared, request},
    connection::Connection,
    retry::Backoff,
    session::Last,
};

/// How long closing a client waits for the end of its session.
pub(crate) const CLOSE_MAX: Duration = Duration::from_millis(200);
/// The deadline that the node is given. Longer, for a node that is slow shall end the session all the same.
const NODE_DEADLINE: Duration = Duration::from_secs(5);

/// A session that is to be ended, and the request that is queued for it.
struct Farewell {
    connection: Arc<Connection>,
    last: Last,
    answered: Option<oneshot::Receiver<Response>>,
}

impl Shared {
    /// Closes the client, at once; has its session ended, for which the result waits.
    pub(crate) fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        let connection = self.router.close();
        let last = self.sessions.end();
        let farewell = connection.zip(last).map(|(connection, last)| Farewell::new(connection, last));
        async {
            if let Some(farewell) = farewell {
                // What is left to do after that time is done by the session timeout.
                let _ = tokio::time::timeout(CLOSE_MAX, farewell.run()).await;
            }
        }
    }
}

impl Drop for Shared {
    /// The last handle was dropped, and no call runs: as closing, without waiting for the answer.
    fn drop(&mut self) {
        drop(self.close());
    }
}

impl Farewell {
    fn new(connection: Arc<Connection>, last: Last) -> Self {
        let mut farewell = Self { connection, last, answered: None };
        // Whether an attempt to open a session succeeded is asked only by one who waits for the answer: asking may open it.
        if matches!(farewell.last, Last::Open(_)) {
            farewell.ask();
        }
        farewell
    }

    /// Queues the request that comes next.
    fn ask(&mut self) {
        let body = match &self.last {
            Last::Open(session) => Body::EndSession(v1::EndSession { session: *session }),
            // Whether it was opened is not known; a nonce opens one session, however often it is sent.
            Last::Opening(nonce) => Body::OpenSession(v1::OpenSession { nonce: nonce.clone() }),
        };
        let deadline = Instant::now() + NODE_DEADLINE;
        self.answered = self.connection.ask_last(|id| request(id, deadline, None, body));
    }

    /// Ends when the session has ended, or nothing more can be done about it.
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        if self.answered.is_none() {
            self.ask();
        }
        while let Some(answered) = self.answered.take() {
            let Ok(response) = answered.await else { return };
            match response.result {
                Some(response::Result::SessionOpened(opened)) => self.last = Last::Open(opened.session),
                Some(response::Result::Error(error)) if error.error_kind().retryable() => {
                    tokio::time::sleep(backoff.pause()).await;
                }
                _ => return,
            }
            self.ask();
        }
    }
}
