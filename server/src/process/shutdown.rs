//! How the process comes to its end: the first reason given counts.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::process::logging;

/// Why the process ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// Somebody asked for it; exit status 0.
    Asked(String),
    /// It cannot go on; one line with cause and remedy. Exit status not 0.
    Failed(String),
}

/// The reason that counts, and the node whose thread has given it, if it was one's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ended {
    pub(crate) node: Option<Arc<str>>,
    pub(crate) reason: Reason,
}

/// Where reasons are given, from any thread, and waited for, by the main one.
#[derive(Default)]
pub(crate) struct Ending {
    ended: Mutex<Option<Ended>>,
    given: Condvar,
}

impl Ending {
    /// Ends the process, unless it is ending already.
    pub(crate) fn end(&self, reason: Reason) {
        let ended = Ended { node: logging::thread_node(), reason };
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(ended);
        self.given.notify_all();
    }

    /// Waits for a reason.
    pub(crate) fn wait(&self) -> Ended {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(ended) = &*ended {
                return ended.clone();
            }
            ended = self.given.wait(ended).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_counts() {
        let ending = Ending::default();
        ending.end(Reason::Failed("the disk".to_owned()));
        ending.end(Reason::Asked("SIGTERM".to_owned()));
        assert_eq!(ending.wait().reason, Reason::Failed("the disk".to_owned()));
    }
}
