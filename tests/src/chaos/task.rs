//! Tasks whose panics are results.

/// Runs a future in a task of its own, and returns the text of its panic as an error. Dropping the returned future
/// aborts the task.
pub(super) async fn caught<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(task);
    match tasks.join_next().await {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(match error.try_into_panic() {
            Ok(payload) => panic_text(payload.as_ref()),
            Err(error) => error.to_string(),
        }),
        None => unreachable!("a task was spawned"),
    }
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a failure without a word".to_owned())
}
