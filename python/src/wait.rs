//! Waiting for a future on the thread that wants its result.
//!
//! The runtime's own `block_on` has no way to be interrupted but by timers, and a timer for each call would wake the
//! runtime's thread for each call. Here the caller's thread parks, for a while at a time where somebody wants to look
//! around meanwhile, which costs a quick answer nothing.

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

/// The result of `future`, which finds the runtime's timers and sockets. `look` is called each time that `every` has passed
/// since the last time, and ends the wait by an error; without `every` it is never called.
pub(crate) fn wait<F: Future, E>(
    runtime: &Handle,
    future: F,
    every: Option<Duration>,
    mut look: impl FnMut() -> Result<(), E>,
) -> Result<F::Output, E> {
    let _entered = runtime.enter();
    let waker = WAKER.with(Waker::clone);
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let mut due = every.map(|every| Instant::now() + every);
    loop {
        // Also when nobody has said so: what `look` does may be waiting as well, and take our wake-up for its own.
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return Ok(result);
        }
        let (Some(every), Some(looking)) = (every, due) else {
            thread::park();
            continue;
        };
        let now = Instant::now();
        if now < looking {
            thread::park_timeout(looking - now);
        } else {
            look()?;
            due = Some(Instant::now() + every);
        }
    }
}
