//! Waiting for a future on the caller's thread.
//!
//! The runtime's `block_on` can only be interrupted by timers, and a timer for each call would wake the runtime's thread
//! for each call. Here the caller's thread parks, in intervals if it must check for signals, at no cost for a quick call.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static WAKER: Waker = Waker::from(Arc::new(Unpark(thread::current())));
}

/// Runs a future on this thread, with the runtime's timers and sockets. `check` is called each `interval`, if there is
/// one, and its error ends the wait.
pub(crate) fn wait<F: Future, E>(
    runtime: &Handle,
    future: F,
    interval: Option<Duration>,
    mut check: impl FnMut() -> Result<(), E>,
) -> Result<F::Output, E> {
    let _entered = runtime.enter();
    let waker = WAKER.with(Waker::clone);
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let mut next_check = interval.map(|interval| Instant::now() + interval);
    loop {
        // Polled after each check too: a wait within `check` may have consumed the wake-up.
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return Ok(result);
        }
        let (Some(interval), Some(at)) = (interval, next_check) else {
            thread::park();
            continue;
        };
        let now = Instant::now();
        if now < at {
            thread::park_timeout(at - now);
        } else {
            check()?;
            next_check = Some(Instant::now() + interval);
        }
    }
}
