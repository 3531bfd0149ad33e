//! What the kernel's scheduler says of a thread: whether it works, waits for a processor, or is blocked. A clock on the
//! wall cannot tell these apart.
//!
//! Only Linux says so, in `/proc`. Reading that takes several microseconds. Where there is none, nothing is known.

use std::time::Duration;

/// A thread's id; 0 if it is unknown.
pub(crate) type ThreadId = u32;

/// A thread's past and present.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// How long it has had a processor.
    pub(crate) worked: Duration,
    /// It is not blocked: it works now, or waits for a processor.
    pub(crate) runnable: bool,
}

/// This thread's id.
pub(crate) fn this() -> ThreadId {
    thread_local! {
        // The link's text is `<process>/task/<thread>`.
        static THIS: ThreadId = std::fs::read_link("/proc/thread-self")
            .ok()
            .and_then(|link| link.file_name()?.to_str()?.parse().ok())
            .unwrap_or(0);
    }
    THIS.with(|this| *this)
}

/// The schedule of one of this process's threads.
pub(crate) fn of(thread: ThreadId) -> Option<Schedule> {
    let about = format!("/proc/self/task/{thread}");
    let times = std::fs::read_to_string(format!("{about}/schedstat")).ok()?;
    let worked = times.split_whitespace().next()?.parse().ok()?;
    let state = std::fs::read_to_string(format!("{about}/stat")).ok()?;
    // Its name is in parentheses, and may contain some.
    let (_, state) = state.rsplit_once(')')?;
    Some(Schedule {
        worked: Duration::from_nanos(worked),
        runnable: state.trim_start().starts_with('R'),
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_computes_is_runnable_and_one_that_is_parked_is_not() {
        let id = AtomicU32::new(0);
        let deadline = Instant::now() + Duration::from_secs(20);
        std::thread::scope(|scope| {
            let parked = scope.spawn(|| {
                id.store(this(), Ordering::SeqCst);
                while Instant::now() < deadline && id.load(Ordering::SeqCst) != 0 {
                    std::thread::park();
                }
            });
            loop {
                let thread = id.load(Ordering::SeqCst);
                if thread != 0 && of(thread).is_some_and(|schedule| !schedule.runnable) {
                    break;
                }
                assert!(Instant::now() < deadline, "it is not seen to be parked");
            }
            id.store(0, Ordering::SeqCst);
            parked.thread().unpark();
        });
        let own = of(this()).unwrap();
        assert!(own.runnable && !own.worked.is_zero());
    }

    #[test]
    fn nothing_is_known_of_threads_of_others() {
        assert!(of(0).is_none());
        assert!(of(u32::MAX).is_none());
    }
}
