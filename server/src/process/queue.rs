//! The queue of a thread: anybody puts, the thread takes.
//!
//! It has no bound of its own: its users bound what is in flight.

use std::{collections::VecDeque, mem, time::Instant};

use parking_lot::{Condvar, Mutex};

/// A queue with one reader.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

/// The result of [`Queue::take`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// There were items.
    Items,
    /// There were none until the given time.
    Nothing,
    /// There are none, and there will be none.
    Closed,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Queue<T> {
        Queue { state: Mutex::new(State { items: VecDeque::new(), closed: false }), wake: Condvar::new() }
    }

    /// Puts an item; discards it if the queue is closed. Never waits.
    pub(crate) fn put(&self, item: T) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        state.items.push_back(item);
        let first = state.items.len() == 1;
        drop(state);
        if first {
            self.wake.notify_one();
        }
    }

    /// Accepts no more items. Those that were put are still taken.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
    }

    /// Discards all items that were not taken.
    pub(crate) fn clear(&self) {
        self.state.lock().items.clear();
    }

    /// Takes all items into `items`, which must be empty. Waits for the first, until `until` if given.
    pub(crate) fn take(&self, items: &mut VecDeque<T>, until: Option<Instant>) -> Taken {
        let mut state = self.state.lock();
        loop {
            if !state.items.is_empty() {
                mem::swap(&mut state.items, items);
                return Taken::Items;
            }
            if state.closed {
                return Taken::Closed;
            }
            match until {
                None => self.wake.wait(&mut state),
                Some(until) if until <= Instant::now() => return Taken::Nothing,
                Some(until) => {
                    self.wake.wait_until(&mut state, until);
                }
            }
        }
    }

    /// Takes one item; waits for it. `None` if there will be none.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Some(item);
            }
            if state.closed {
                return None;
            }
            self.wake.wait(&mut state);
        }
    }
}
