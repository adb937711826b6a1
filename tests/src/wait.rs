//! Waiting for conditions, never for time to pass.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// What anything may take before a test gives up: far more than it ever does on a machine that has time.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks at a condition until it holds, and gives what it gives. An `Err` says what is still missing.
///
/// # Panics
/// When `patience` is at an end, with what was still missing at the last look.
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
