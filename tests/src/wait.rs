//! Waiting for conditions with deadlines.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// The usual deadline: far more than any condition takes on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// Checks a condition until it holds, and returns its value. An `Err` says what is still missing.
///
/// # Panics
/// After `patience`, with the last error.
pub async fn until<T, F>(what: &str, patience: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let begun = Instant::now();
    loop {
        let missing = match condition().await {
            Ok(value) => return value,
            Err(missing) => missing,
        };
        assert!(begun.elapsed() < patience, "waited {patience:?} in vain: {what}; {missing}");
        sleep(PAUSE).await;
    }
}
