//! Tasks that a loop runs for as long as it lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::shared::Shared;
use super::sink::Notice;

/// Runs `task`; again after `rest` if it panics, since what it does must go on. The embedder is told that `what`
/// panicked.
pub(super) async fn keep<F>(
    shared: Arc<Shared>,
    what: &'static str,
    rest: Duration,
    task: fn(Arc<Shared>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    while tokio::spawn(task(shared.clone()))
        .await
        .is_err_and(|e| e.is_panic())
    {
        shared.notice(Notice::LoopError(format!("{what} panicked")));
        sleep(rest).await;
    }
}
