//! The end of a client: a request ends its session, so that sessions of clients that came and went do not add up.
//!
//! Best effort: the request is sent on the connection in use or not at all, and its response is awaited for
//! [`CLOSE_TIMEOUT`] at most. A session that is not ended in this way ends by its timeout.

use std::{future::Future, sync::Arc, time::Duration};

use gometa_proto::v1::{self, Response, request::Operation as Body, response};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    call::{Shared, request},
    connection::Connection,
    retry::Backoff,
    session::UnendedSession,
};

/// The time for which closing a client waits for the end of its session.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(200);
/// The deadline of the request on the node: longer, so that a slow node ends the session, too.
const NODE_DEADLINE: Duration = Duration::from_secs(5);

/// A session to end, and the request that is queued for it.
struct SessionEnd {
    connection: Arc<Connection>,
    session: UnendedSession,
    response: Option<oneshot::Receiver<Response>>,
}

impl Shared {
    /// Closes the client at once. The result waits for the end of its session.
    pub(crate) fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        let connection = self.router.close();
        let session = self.router.history().sessions.end();
        let end = connection.zip(session).map(|(connection, session)| SessionEnd::new(connection, session));
        async {
            if let Some(end) = end {
                // After that time the session timeout ends the session.
                let _ = tokio::time::timeout(CLOSE_TIMEOUT, end.run()).await;
            }
        }
    }
}

impl Drop for Shared {
    /// Closes the client without waiting: the last handle was dropped, and no call runs.
    fn drop(&mut self) {
        drop(self.close());
    }
}

impl SessionEnd {
    fn new(connection: Arc<Connection>, session: UnendedSession) -> Self {
        let mut end = Self { connection, session, response: None };
        // Only a caller that waits can learn whether a session was opened: the request may open it.
        if matches!(end.session, UnendedSession::Open(_)) {
            end.send();
        }
        end
    }

    /// Queues the next request.
    fn send(&mut self) {
        let body = match &self.session {
            UnendedSession::Open(session) => Body::EndSession(v1::EndSession { session: *session }),
            // Idempotent: a nonce opens one session, however often it is sent.
            UnendedSession::Opening(nonce) => Body::OpenSession(v1::OpenSession { nonce: nonce.clone() }),
        };
        let deadline = Instant::now() + NODE_DEADLINE;
        self.response = self.connection.send_final(|id| request(id, deadline, body));
    }

    /// Returns when the session has ended, or cannot be ended.
    async fn run(mut self) {
        let mut backoff = Backoff::default();
        if self.response.is_none() {
            self.send();
        }
        while let Some(response) = self.response.take() {
            let Ok(response) = response.await else { return };
            match response.result {
                Some(response::Result::SessionOpened(opened)) => {
                    self.session = UnendedSession::Open(opened.session);
                }
                Some(response::Result::Error(error)) if error.error_kind().retryable() => {
                    tokio::time::sleep(backoff.pause()).await;
                }
                _ => return,
            }
            self.send();
        }
    }
}
