//! The histories of an ensemble: what a client knows of the one in use, and the change to a newer one.
//!
//! An ensemble that has lost its quorum for ever is founded anew from the data of one node: it keeps its id and gets a
//! higher history id. Revisions and sessions of the old history are void, so a client keeps a [`History`] for each of
//! them. Every call belongs to one: it is not sent to a node of another. When the history changes, the calls in progress
//! fail with [`ErrorKind::HistoryChanged`], and so does every call that begins before one of them has returned that error: it may
//! use a revision of the old history.
//!
//! A node with a lower history id was left behind and is not used, so a client never returns to an old history.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use gometa_proto::{ErrorKind, v1::EnsembleRef};
use tokio::sync::Notify;

use crate::session::Sessions;

/// What a client knows of one history.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) sessions: Sessions,
    /// The highest revision in any response.
    seen_revision: AtomicU64,
    /// Set once another history is in use: the message of the calls that fail.
    end: OnceLock<String>,
    /// Notified when `end` is set.
    ended: Notify,
}

impl History {
    pub(crate) fn seen_revision(&self) -> u64 {
        self.seen_revision.load(Ordering::Relaxed)
    }

    /// Records a revision in a response.
    pub(crate) fn saw(&self, revision: u64) {
        self.seen_revision.fetch_max(revision, Ordering::Relaxed);
    }

    /// Why calls of this history fail, once another one is in use.
    pub(crate) fn end(&self) -> Option<&str> {
        self.end.get().map(String::as_str)
    }

    /// Waits until another history is in use; returns why the call fails.
    pub(crate) async fn ended(&self) -> &str {
        loop {
            let ended = self.ended.notified();
            if let Some(end) = self.end() {
                return end;
            }
            ended.await;
        }
    }
}

/// The history that a call, or several that belong together, began in.
#[derive(Clone)]
pub(crate) struct Scope {
    history: Arc<History>,
    /// Whether a caller waits: false for a page that is requested early.
    awaited: bool,
}

impl Scope {
    pub(crate) fn history(&self) -> &Arc<History> {
        &self.history
    }

    /// The same for a call for which no caller waits: if it fails, the application does not learn of it.
    pub(crate) fn unawaited(self) -> Self {
        Self { awaited: false, ..self }
    }

    /// Whether a caller waits for the result.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited
    }
}

/// The ensemble and its histories.
#[derive(Default)]
pub(crate) struct Histories {
    /// The ensemble that the client knows, with the newest history.
    ensemble: Option<EnsembleRef>,
    current: Arc<History>,
    /// The history that was in use before, until a call has failed for its end.
    unreported: Option<Arc<History>>,
}

impl Histories {
    pub(crate) fn ensemble(&self) -> Option<&EnsembleRef> {
        self.ensemble.as_ref()
    }

    /// The history in use.
    pub(crate) fn current(&self) -> &Arc<History> {
        &self.current
    }

    /// The scope of a call that begins.
    pub(crate) fn scope(&self) -> Scope {
        Scope { history: Arc::clone(&self.current), awaited: true }
    }

    /// Takes over the ensemble of a connection that is to be used. Returns whether the history has changed; then every
    /// earlier connection is of an old one.
    ///
    /// # Errors
    /// As [`check`].
    pub(crate) fn adopt(&mut self, found: Option<&EnsembleRef>) -> Result<bool, Refusal> {
        check(self.ensemble.as_ref(), found)?;
        let Some(found) = found else { return Ok(false) };
        let Some(known) = self.ensemble.replace(found.clone()).filter(|known| known != found) else {
            return Ok(false);
        };
        let old = std::mem::take(&mut self.current);
        let _ = old.end.set(format!(
            "the ensemble was founded anew from old data: its history is {} now, not {}; revisions that were read before are \
             void",
            found.history, known.history
        ));
        old.ended.notify_waiters();
        self.unreported = Some(old);
        Ok(true)
    }

    /// The history that was in use before, until a call has failed for its end: a call that begins now must fail.
    pub(crate) fn unreported(&self) -> Option<&Arc<History>> {
        self.unreported.as_ref()
    }

    /// A call has failed because this history has ended.
    pub(crate) fn reported(&mut self, ended: &Arc<History>) {
        self.unreported.take_if(|unreported| Arc::ptr_eq(unreported, ended));
    }
}

/// Why a node is not used: kind and message.
pub(crate) type Refusal = (ErrorKind, String);

/// Checks the ensemble of a node against the one that the client knows.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] for another ensemble, [`ErrorKind::Unavailable`] for an older history, and for a node that belongs to none
/// yet: it may join a newer one on this connection.
pub(crate) fn check(known: Option<&EnsembleRef>, found: Option<&EnsembleRef>) -> Result<(), Refusal> {
    let Some(known) = known else { return Ok(()) };
    let Some(found) = found else {
        return Err((ErrorKind::Unavailable, "belongs to no ensemble yet".to_owned()));
    };
    if found.id != known.id {
        let message =
            "belongs to another ensemble than the one this client knows; name only the peers of one";
        return Err((ErrorKind::InvalidArgument, message.to_owned()));
    }
    if found.history < known.history {
        let message = format!(
            "was left behind when the ensemble was founded anew: its history is {}, that of the ensemble {}",
            found.history, known.history
        );
        return Err((ErrorKind::Unavailable, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ensemble(id: u8, history: u64) -> EnsembleRef {
        EnsembleRef { id: vec![id; 16].into(), history }
    }

    #[test]
    fn a_higher_history_of_the_same_ensemble_replaces_the_known_one_and_a_lower_one_does_not() {
        let mut histories = Histories::default();
        assert_eq!(histories.adopt(None), Ok(false));
        let first = Arc::clone(histories.current());
        assert_eq!(histories.adopt(Some(&ensemble(1, 5))), Ok(false), "the first one is no change");
        assert_eq!(histories.adopt(Some(&ensemble(1, 5))), Ok(false));
        assert_eq!(histories.adopt(None).unwrap_err().0, ErrorKind::Unavailable, "it may join a newer one");
        assert!(Arc::ptr_eq(&first, histories.current()) && first.end().is_none());
        assert_eq!(histories.adopt(Some(&ensemble(1, 4))).unwrap_err().0, ErrorKind::Unavailable);
        assert_eq!(histories.adopt(Some(&ensemble(2, 6))).unwrap_err().0, ErrorKind::InvalidArgument);
        assert_eq!(histories.adopt(Some(&ensemble(1, 7))), Ok(true));
        assert!(first.end().is_some() && histories.current().end().is_none());
        assert_eq!(histories.ensemble(), Some(&ensemble(1, 7)));
    }

    #[test]
    fn calls_fail_until_one_has_reported_the_latest_change() {
        let mut histories = Histories::default();
        histories.adopt(Some(&ensemble(1, 1))).unwrap();
        assert!(histories.unreported().is_none());
        let first = Arc::clone(histories.current());
        histories.adopt(Some(&ensemble(1, 2))).unwrap();
        let second = Arc::clone(histories.current());
        assert!(histories.unreported().is_some_and(|ended| Arc::ptr_eq(ended, &first)));

        histories.adopt(Some(&ensemble(1, 3))).unwrap();
        histories.reported(&first);
        assert!(
            histories.unreported().is_some_and(|ended| Arc::ptr_eq(ended, &second)),
            "of an earlier change"
        );
        histories.reported(&second);
        assert!(histories.unreported().is_none());
    }
}
