//! The shared runtime of programs without a runtime of their own: one per process, for all its [`OnSharedRuntime`]
//! values.
//!
//! The first value starts the runtime, the last one stops it. A forked child has the memory of its parent's runtime, but
//! not its threads, and locks in that memory may be held by these threads for ever. So the parent's values cannot be used
//! in the child: [`OnSharedRuntime::get`] returns [`ErrorKind::Forked`], and dropping a value leaks its memory. A new
//! value starts a runtime of the child's own.

use std::{
    mem, process,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gometa_proto::ErrorKind;
use tokio::runtime::{self, Handle, Runtime};

use crate::{
    client::Client,
    error::{Error, Operation},
};

/// Calls run on the threads of their callers; this thread runs connections and timers.
const THREADS: usize = 1;
/// The time limit for stopping the runtime.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of slots for the runtime of a process. A process takes another slot than its parent, as another thread may
/// have held the lock of the parent's slot during the fork.
const SLOTS: usize = 64;

static RUNTIMES: [Mutex<Weak<Runtime>>; SLOTS] = [const { Mutex::new(Weak::new()) }; SLOTS];
/// The process that chose its slot last, in the lower half; its slot, in the upper half.
static CHOSEN: AtomicU64 = AtomicU64::new(0);

/// The value of [`CHOSEN`] after `process` has chosen its slot.
fn chosen(known: u64, process: u32) -> u64 {
    let (slot, owner) = (known >> 32, known as u32);
    if owner == process { known } else { (slot + 1) % SLOTS as u64 * (1 << 32) + u64::from(process) }
}

fn slot(process: u32) -> usize {
    let before =
        CHOSEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, |known| Some(chosen(known, process)));
    let (Ok(known) | Err(known)) = before;
    (chosen(known, process) >> 32) as usize
}

fn current(process: u32) -> Result<Arc<Runtime>, Error> {
    let mut known = RUNTIMES[slot(process)].lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = known.upgrade() {
        return Ok(runtime);
    }
    let started = runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("gometa-client")
        .enable_all()
        .build();
    let runtime = Arc::new(started.map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            Operation::Build,
            format!("cannot start a thread for the client: {error}"),
        )
    })?);
    *known = Arc::downgrade(&runtime);
    Ok(runtime)
}

/// A value that uses the shared runtime of the process.
#[derive(Debug)]
pub struct OnSharedRuntime<T> {
    process: u32,
    /// None once it was released.
    held: Option<(T, Arc<Runtime>)>,
}

impl<T> OnSharedRuntime<T> {
    /// Starts the runtime of this process if it does not run.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if no thread can be started.
    pub fn new(value: T) -> Result<OnSharedRuntime<T>, Error> {
        let process = process::id();
        Ok(OnSharedRuntime { process, held: Some((value, current(process)?)) })
    }

    /// Another value on the same runtime, made from this one.
    pub fn map<U>(&self, copy: impl FnOnce(&T) -> U) -> OnSharedRuntime<U> {
        let held = self.held.as_ref().map(|(value, runtime)| (copy(value), Arc::clone(runtime)));
        OnSharedRuntime { process: self.process, held }
    }

    /// The value, and the runtime to spawn or to block on.
    ///
    /// # Errors
    /// [`ErrorKind::Forked`] in a forked child of the process that created the value.
    pub fn get(&self, operation: Operation) -> Result<(&T, &Handle), Error> {
        match &self.held {
            Some((value, runtime)) if !self.is_forked() => Ok((value, runtime.handle())),
            _ => Err(Error::new(
                ErrorKind::Forked,
                operation,
                "this process was forked after the client was created; create another one here",
            )),
        }
    }

    /// The same, to change the value.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_mut(&mut self, operation: Operation) -> Result<(&mut T, &Handle), Error> {
        // The error, if there is one.
        self.get(operation)?;
        match &mut self.held {
            Some((value, runtime)) => Ok((value, runtime.handle())),
            None => unreachable!("it is held"),
        }
    }

    /// Whether this is a forked child of the process that created the value.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        process::id() != self.process
    }
}

impl OnSharedRuntime<Client> {
    /// Closes the client; see [`Client::close`]. Waits for the end of the session, at most 200 ms; on a thread of a runtime
    /// it waits in the background. Does nothing in a forked child.
    pub fn close(&self) {
        if let (Some((client, runtime)), false) = (&self.held, self.is_forked()) {
            finish(client.close(), Arc::clone(runtime));
        }
    }

    /// Drops the client; closes it if this is its last handle and no call runs. Waits like [`close`](Self::close). The
    /// value cannot be used afterwards.
    pub fn release(&mut self) {
        if self.is_forked() {
            return;
        }
        let Some((client, runtime)) = self.held.take() else { return };
        match client.release() {
            Some(closing) => finish(closing, runtime),
            None => release(runtime),
        }
    }
}

/// Awaits the end of a client, then drops the runtime.
fn finish(closing: impl Future<Output = ()> + Send + 'static, runtime: Arc<Runtime>) {
    if Handle::try_current().is_err() {
        runtime.block_on(closing);
        return release(runtime);
    }
    let handle = runtime.handle().clone();
    handle.spawn(async move {
        closing.await;
        release(runtime);
    });
}

/// Drops the runtime, and stops it with its last value.
fn release(runtime: Arc<Runtime>) {
    let Some(runtime) = Arc::into_inner(runtime) else { return };
    if Handle::try_current().is_ok() {
        // A thread of a runtime, perhaps of this one, must not block.
        runtime.shutdown_background();
    } else {
        runtime.shutdown_timeout(STOP_TIMEOUT);
    }
}

impl<T: Clone> Clone for OnSharedRuntime<T> {
    fn clone(&self) -> OnSharedRuntime<T> {
        self.map(T::clone)
    }
}

impl<T> Drop for OnSharedRuntime<T> {
    fn drop(&mut self) {
        if self.is_forked() {
            mem::forget(self.held.take());
            return;
        }
        let Some((value, runtime)) = self.held.take() else { return };
        drop(value);
        release(runtime);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_values_of_a_process_share_one_runtime() {
        let first = OnSharedRuntime::new(1).unwrap();
        let second = first.map(|value| value + 1);
        let third = OnSharedRuntime::new(3).unwrap();
        let id = |value: &OnSharedRuntime<i32>| value.get(Operation::Get).unwrap().1.id();
        assert_eq!((id(&first), id(&first)), (id(&second), id(&third)));
        assert_eq!(*second.get(Operation::Get).unwrap().0, 2);
        drop(first);
        assert_eq!(id(&second), id(&third));
    }

    #[test]
    fn a_value_can_be_dropped_on_the_runtime() {
        let outer = OnSharedRuntime::new(()).unwrap();
        let inner = OnSharedRuntime::new(()).unwrap();
        let (_, handle) = outer.get(Operation::Get).unwrap();
        let task = handle.spawn(async move { drop(inner) });
        handle.block_on(task).unwrap();
    }

    #[test]
    fn a_child_has_another_slot_than_its_parent() {
        let parent = chosen(0, 100);
        assert_eq!(chosen(parent, 100), parent);
        let child = chosen(parent, 101);
        assert_ne!(child >> 32, parent >> 32);
        assert_eq!(child as u32, 101);
        let last = chosen((SLOTS as u64 - 1) << 32 | 7, 8);
        assert_eq!(last, 8, "slots are reused in turn");
    }
}
