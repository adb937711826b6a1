//! The session, which makes writes idempotent: each happens once, however often it is sent.
//!
//! All clones of a client share one session. Each write takes the next sequence number, `seq`, and keeps it over all its
//! attempts. `lowest`, the smallest seq whose answer is awaited, is the bound below which the ensemble drops recorded
//! outcomes; so a seq counts as awaited from the moment it is assigned until its [`Ticket`] is dropped, by success,
//! failure or cancellation. A write waits for its seq while the window is full.

use std::{
    collections::BTreeSet,
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use gometa_proto::v1::WriteContext;
use tokio::sync::Notify;

/// The session in use, or the one that is being opened.
#[derive(Default, Debug)]
pub(crate) struct Sessions {
    current: Mutex<Current>,
    /// Held by the call that opens a session; others wait for it.
    opening: tokio::sync::Mutex<()>,
    /// The id of the session in use, 0 for none, for the Pings of connections.
    id: AtomicU64,
}

/// The session of a client that is closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum UnendedSession {
    /// An open session, by its id.
    Open(u64),
    /// An attempt to open one whose outcome is not known, by its nonce.
    Opening(Bytes),
}

#[derive(Default, Debug)]
struct Current {
    session: Option<Arc<Session>>,
    /// The process that opened it: a forked child must not end its parent's session.
    process: u32,
    /// The nonce of the session that is being opened. Kept if the call that opens it fails, so that the next call opens
    /// the same one.
    nonce: Option<Bytes>,
}

impl Sessions {
    /// The id of the session in use, 0 for none.
    pub(crate) fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session in use.
    pub(crate) fn current(&self) -> Option<Arc<Session>> {
        self.lock().session.clone()
    }

    /// Waits until no other call opens a session.
    pub(crate) async fn opening(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.opening.lock().await
    }

    /// The nonce of the next session. The caller holds `opening`.
    pub(crate) fn nonce(&self) -> Result<Bytes, getrandom::Error> {
        let mut current = self.lock();
        if let Some(nonce) = &current.nonce {
            return Ok(nonce.clone());
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let nonce = Bytes::copy_from_slice(&random);
        current.nonce = Some(nonce.clone());
        current.process = process::id();
        Ok(nonce)
    }

    /// Takes over the session that was opened with that nonce.
    pub(crate) fn opened(&self, id: u64) -> Arc<Session> {
        let session = Arc::new(Session::new(id));
        let mut current = self.lock();
        current.nonce = None;
        current.session = Some(Arc::clone(&session));
        self.id.store(id, Ordering::Relaxed);
        session
    }

    /// Takes the session out, to be ended; None if this process has not opened one.
    pub(crate) fn end(&self) -> Option<UnendedSession> {
        let mut current = self.lock();
        let (session, nonce) = (current.session.take(), current.nonce.take());
        self.id.store(0, Ordering::Relaxed);
        let unended =
            session.map(|session| UnendedSession::Open(session.id)).or(nonce.map(UnendedSession::Opening));
        unended.filter(|_| current.process == process::id())
    }

    /// Session `id` has expired: the next write opens another.
    pub(crate) fn expired(&self, id: u64) {
        let mut current = self.lock();
        if current.session.as_ref().is_some_and(|session| session.id == id) {
            current.session = None;
            self.id.store(0, Ordering::Relaxed);
        }
    }
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    id: u64,
    window: Mutex<Window>,
    /// Held by the write that waits for the window; others queue behind it, in order.
    turn: tokio::sync::Mutex<()>,
    /// Notified when a ticket is dropped.
    released: Notify,
}

#[derive(Debug)]
struct Window {
    /// The next seq, from 1.
    next: u64,
    /// Assigned and awaited; at most the size of the window.
    awaited: BTreeSet<u64>,
}

impl Window {
    fn lowest(&self) -> u64 {
        self.awaited.first().copied().unwrap_or(self.next)
    }
}

impl Session {
    fn new(id: u64) -> Self {
        Self {
            id,
            window: Mutex::new(Window { next: 1, awaited: BTreeSet::new() }),
            turn: tokio::sync::Mutex::default(),
            released: Notify::new(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Assigns the next seq, once seq - lowest is below `window_max`.
    pub(crate) async fn reserve(self: &Arc<Self>, window_max: u64) -> Ticket {
        let _turn = self.turn.lock().await;
        loop {
            {
                let mut window = self.lock();
                if window.next - window.lowest() < window_max.max(1) {
                    let seq = window.next;
                    window.next += 1;
                    window.awaited.insert(seq);
                    return Ticket { session: Arc::clone(self), seq };
                }
            }
            // A ticket dropped since the check has stored a permit, so no wake-up is missed.
            self.released.notified().await;
        }
    }
}

/// A seq that is awaited until this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    session: Arc<Session>,
    seq: u64,
}

impl Ticket {
    /// The context of an attempt that is sent now.
    pub(crate) fn context(&self) -> WriteContext {
        WriteContext { session: self.session.id, seq: self.seq, lowest: self.session.lock().lowest() }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.session.lock().awaited.remove(&self.seq);
        self.session.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::Future, pin::pin, task::Poll};

    async fn is_pending(future: impl Future) -> bool {
        let mut future = pin!(future);
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn lowest_is_the_smallest_seq_awaited() {
        let session = Arc::new(Session::new(7));
        let first = session.reserve(4).await;
        let second = session.reserve(4).await;
        assert_eq!(first.context(), WriteContext { session: 7, seq: 1, lowest: 1 });
        assert_eq!(second.context(), WriteContext { session: 7, seq: 2, lowest: 1 });
        drop(first);
        assert_eq!(second.context().lowest, 2);
        drop(second);
        assert_eq!(session.reserve(4).await.context(), WriteContext { session: 7, seq: 3, lowest: 3 });
    }

    #[tokio::test]
    async fn window_bounds_the_distance_from_lowest() {
        let session = Arc::new(Session::new(7));
        let mut tickets = Vec::new();
        for _ in 0..4 {
            tickets.push(session.reserve(4).await);
        }
        drop(tickets.pop());
        assert!(is_pending(session.reserve(4)).await, "seq 5 is 4 away from lowest 1");
        let waiting = tokio::spawn({
            let session = Arc::clone(&session);
            async move { session.reserve(4).await.context().seq }
        });
        drop(tickets.remove(0));
        assert_eq!(waiting.await.unwrap(), 5);
    }

    #[tokio::test]
    async fn nonce_is_kept_until_its_session_is_open() {
        let sessions = Sessions::default();
        let nonce = sessions.nonce().unwrap();
        assert_eq!(nonce.len(), 16);
        assert_eq!(sessions.nonce().unwrap(), nonce);
        sessions.opened(3);
        assert_ne!(sessions.nonce().unwrap(), nonce);
        sessions.expired(2);
        assert!(sessions.current().is_some());
        sessions.expired(3);
        assert!(sessions.current().is_none());
        assert_eq!(sessions.id(), 0);
    }

    #[tokio::test]
    async fn a_session_is_ended_once_and_only_by_the_process_that_opened_it() {
        let sessions = Sessions::default();
        assert_eq!(sessions.end(), None);
        let nonce = sessions.nonce().unwrap();
        assert_eq!(sessions.end(), Some(UnendedSession::Opening(nonce)));
        sessions.nonce().unwrap();
        sessions.opened(3);
        assert_eq!((sessions.end(), sessions.end()), (Some(UnendedSession::Open(3)), None));
        sessions.nonce().unwrap();
        sessions.opened(4);
        sessions.lock().process += 1;
        assert_eq!(sessions.end(), None);
    }
}
