//! Giving up a handle on the client.

use std::sync::Arc;

use gometa_client::{Client, OnSharedRuntime, Operation};

/// Drops a handle without blocking: neither for the end of the session, if it was the last handle, nor for the runtime,
/// which may end with it.
pub(crate) fn release(client: Arc<OnSharedRuntime<Client>>) {
    let Some(mut client) = Arc::into_inner(client) else { return };
    // Within a runtime its end is not waited for. A forked child has none to enter.
    let runtime = client.get(Operation::Build).ok().map(|(_, runtime)| runtime.clone());
    let _entered = runtime.as_ref().map(|runtime| runtime.enter());
    client.release();
}
