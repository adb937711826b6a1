//! The runtime of programs that have none: one per process, for everything [`OnSharedRuntime`] in it.
//!
//! The first value starts it, the last one ends it. A process that was forked has the memory of its parent's runtime
//! and none of its threads, and some of that memory may be locked for ever by threads that it does not have. So in a
//! child a value of the parent's is of no use: [`OnSharedRuntime::get`] says [`ErrorKind::Forked`], and dropping it touches
//! nothing and gives its memory up. A new value starts a runtime of the child's own.

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

/// The callers' own threads run their calls; this one reads, writes and keeps time.
const THREADS: usize = 1;
/// How long the end of the last value waits for the runtime's thread.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// Places for the process's runtime: a process takes another one than its parent, whose lock another thread may have
/// held when it forked.
const PLACES: usize = 64;

static RUNTIMES: [Mutex<Weak<Runtime>>; PLACES] = [const { Mutex::new(Weak::new()) }; PLACES];
/// The process that last looked for its place, in the lower half; its place, in the upper one.
static PLACE: AtomicU64 = AtomicU64::new(0);

/// What [`PLACE`] holds once `process` has looked for its place, which is not that of its parent.
fn claimed(known: u64, process: u32) -> u64 {
    let (place, owner) = (known >> 32, known as u32);
    if owner == process { known } else { (place + 1) % PLACES as u64 * (1 << 32) + u64::from(process) }
}

fn place(process: u32) -> usize {
    let before =
        PLACE.fetch_update(Ordering::AcqRel, Ordering::Acquire, |known| Some(claimed(known, process)));
    let (Ok(known) | Err(known)) = before;
    (claimed(known, process) >> 32) as usize
}

fn current(process: u32) -> Result<Arc<Runtime>, Error> {
    let mut known = RUNTIMES[place(process)].lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = known.upgrade() {
        return Ok(runtime);
    }
    let started = runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("gometa-client")
        .enable_all()
        .build();
    let runtime = Arc::new(started.map_err(|error| {
        Error::new(ErrorKind::Internal, Operation::Build, format!("no thread for the client: {error}"))
    })?);
    *known = Arc::downgrade(&runtime);
    Ok(runtime)
}

/// A value that lives on the process's runtime.
#[derive(Debug)]
pub struct OnSharedRuntime<T> {
    process: u32,
    /// Until it is dropped.
    held: Option<(T, Arc<Runtime>)>,
}

impl<T> OnSharedRuntime<T> {
    /// A value on this process's runtime, which is started if it does not run.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if no thread can be started.
    pub fn new(value: T) -> Result<OnSharedRuntime<T>, Error> {
        let process = process::id();
        Ok(OnSharedRuntime { process, held: Some((value, current(process)?)) })
    }

    /// Another value on the same runtime, copied from this one.
    pub fn map<U>(&self, copy: impl FnOnce(&T) -> U) -> OnSharedRuntime<U> {
        let held = self.held.as_ref().map(|(value, runtime)| (copy(value), Arc::clone(runtime)));
        OnSharedRuntime { process: self.process, held }
    }

    /// The value, and the runtime to spawn or to block on.
    ///
    /// # Errors
    /// [`ErrorKind::Forked`] in a child of the process that this value belongs to.
    pub fn get(&self, operation: Operation) -> Result<(&T, &Handle), Error> {
        match &self.held {
            Some((value, runtime)) if !self.is_forked() => Ok((value, runtime.handle())),
            _ => Err(Error::new(
                ErrorKind::Forked,
                operation,
                "this process was forked after the client was made; make another one here",
            )),
        }
    }

    /// Whether this is a child of the process that the value belongs to.
    #[must_use]
    pub fn is_forked(&self) -> bool {
        process::id() != self.process
    }
}

impl OnSharedRuntime<Client> {
    /// Closes the client; see [`Client::close`]. Waits for the end of the session, 200 ms at most, but not on a thread
    /// that drives a runtime: there it is awaited in the background. In a forked child there is nothing to close.
    pub fn close(&self) {
        if let (Some((client, runtime)), false) = (&self.held, self.is_forked()) {
            finish(client.close(), Arc::clone(runtime));
        }
    }

    /// Gives the client up: closes it if this is its last handle and no call runs. Waits as [`close`](Self::close).
    /// Nothing else may be done with it afterwards.
    pub fn release(&mut self) {
        if self.is_forked() {
            return;
        }
        let Some((client, runtime)) = self.held.take() else { return };
        match client.release() {
            Some(closing) => finish(closing, runtime),
            None => end(runtime),
        }
    }
}

/// Runs what is left to do for a client, then gives the runtime up.
fn finish(closing: impl Future<Output = ()> + Send + 'static, runtime: Arc<Runtime>) {
    if Handle::try_current().is_err() {
        runtime.block_on(closing);
        return end(runtime);
    }
    let handle = runtime.handle().clone();
    handle.spawn(async move {
        closing.await;
        end(runtime);
    });
}

/// Gives the runtime up, and ends it with its last value.
fn end(runtime: Arc<Runtime>) {
    let Some(runtime) = Arc::into_inner(runtime) else { return };
    if Handle::try_current().is_ok() {
        // A thread that drives a runtime, perhaps this one, must not wait.
        runtime.shutdown_background();
    } else {
        runtime.shutdown_timeout(END_TIMEOUT);
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
        end(runtime);
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
    fn a_value_may_be_dropped_on_the_runtime() {
        let outer = OnSharedRuntime::new(()).unwrap();
        let inner = OnSharedRuntime::new(()).unwrap();
        let (_, handle) = outer.get(Operation::Get).unwrap();
        let task = handle.spawn(async move { drop(inner) });
        handle.block_on(task).unwrap();
    }

    #[test]
    fn a_child_has_another_place_than_its_parent() {
        let parent = claimed(0, 100);
        assert_eq!(claimed(parent, 100), parent);
        let child = claimed(parent, 101);
        assert_ne!(child >> 32, parent >> 32);
        assert_eq!(child as u32, 101);
        let last = claimed((PLACES as u64 - 1) << 32 | 7, 8);
        assert_eq!(last, 8, "places are taken in turn");
    }
}
