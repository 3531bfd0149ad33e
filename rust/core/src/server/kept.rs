//! Tasks that a loop runs for as long as it lives.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::shared::Shared;
use super::sink::Notice;

/// Of one type for all of them: each type that is spawned makes the library some KB longer.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs `task` for the loop with this number; again after `rest` if it panics, since what it does must go on. The
/// embedder is told that `what` panicked.
pub(super) async fn keep(
    shared: Arc<Shared>,
    what: &'static str,
    rest: Duration,
    event_loop: usize,
    task: fn(Arc<Shared>, usize) -> Task,
) {
    while tokio::spawn(task(shared.clone(), event_loop))
        .await
        .is_err_and(|e| e.is_panic())
    {
        shared.notice(Notice::LoopError(format!("{what} panicked")));
        sleep(rest).await;
    }
}
