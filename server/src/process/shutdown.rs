//! The shutdown of the process. The first request counts.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::process::threads;

/// Why the process ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// By a signal or standard input; exit status 0.
    Requested(String),
    /// To start again as the same process; the line says why.
    Again(String),
    /// By a failure: one line with cause and remedy. The exit status is not 0.
    Failed(String),
}

/// A request, and the node of the thread that made it, if it works for one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    pub(crate) node: Option<Arc<str>>,
    pub(crate) reason: Reason,
}

/// Passes the first request from any thread to the main one.
#[derive(Default)]
pub(crate) struct Shutdown {
    first: Mutex<Option<Request>>,
    requested: Condvar,
}

impl Shutdown {
    /// Ends the process, unless it is ending already.
    pub(crate) fn request(&self, reason: Reason) {
        let request = Request { node: threads::node(), reason };
        self.first.lock().get_or_insert(request);
        self.requested.notify_all();
    }

    /// Waits for the first request.
    pub(crate) fn wait(&self) -> Request {
        let mut first = self.first.lock();
        loop {
            if let Some(request) = &*first {
                return request.clone();
            }
            self.requested.wait(&mut first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_counts() {
        let shutdown = Shutdown::default();
        shutdown.request(Reason::Failed("the disk".to_owned()));
        shutdown.request(Reason::Requested("SIGTERM".to_owned()));
        assert_eq!(shutdown.wait().reason, Reason::Failed("the disk".to_owned()));
    }
}
