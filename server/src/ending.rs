//! How the process comes to its end: the first reason given counts.

use std::sync::{Condvar, Mutex, PoisonError};

/// Why the process ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// Somebody asked for it; exit status 0.
    Asked(String),
    /// It cannot go on; one line with cause and remedy. Exit status not 0.
    Failed(String),
}

/// Where reasons are given, from any thread, and waited for, by the main one.
#[derive(Default)]
pub(crate) struct Ending {
    reason: Mutex<Option<Reason>>,
    given: Condvar,
}

impl Ending {
    /// Ends the process, unless it is ending already.
    pub(crate) fn end(&self, reason: Reason) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.given.notify_all();
    }

    /// Waits for a reason.
    pub(crate) fn wait(&self) -> Reason {
        let mut reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(reason) = &*reason {
                return reason.clone();
            }
            reason = self.given.wait(reason).unwrap_or_else(PoisonError::into_inner);
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
        assert_eq!(ending.wait(), Reason::Failed("the disk".to_owned()));
    }
}
