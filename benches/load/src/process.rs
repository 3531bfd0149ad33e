//! What the kernel says about a process.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::time::Duration;

/// Clock ticks of `/proc/<pid>/stat`, which Linux fixes for user space.
const TICK: Duration = Duration::from_millis(10);

/// A reading of a process's processor time.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// Per thread, in nanoseconds.
    threads: HashMap<String, u64>,
    user: Duration,
    system: Duration,
}

/// Processor time between two readings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// Exact, without threads that have ended.
    pub total: Duration,
    /// In ticks.
    pub user: Duration,
    /// In ticks.
    pub system: Duration,
}

impl Reading {
    pub fn of(pid: u32) -> io::Result<Self> {
        let mut threads = HashMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            // A thread may end between the listing and the look.
            if let Ok(text) = fs::read_to_string(task.path().join("schedstat")) {
                let nanos = number(text.split(' ').next())?;
                threads.insert(task.file_name().to_string_lossy().into_owned(), nanos);
            }
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The command's name, in parentheses, may have blanks.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let mut fields = fields.split_ascii_whitespace().skip(11);
        let user = number(fields.next())? as u32 * TICK;
        let system = number(fields.next())? as u32 * TICK;
        Ok(Self {
            threads,
            user,
            system,
        })
    }

    /// What was spent since `earlier`.
    pub fn since(&self, earlier: &Self) -> Spent {
        let nanos = self
            .threads
            .iter()
            .map(|(tid, now)| now.saturating_sub(earlier.threads.get(tid).copied().unwrap_or(0)))
            .sum();
        Spent {
            total: Duration::from_nanos(nanos),
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// Resident memory, in bytes.
pub fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Rss:"));
    let kilobytes = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    Ok(number(kilobytes)? * 1024)
}

fn number(text: Option<&str>) -> io::Result<u64> {
    text.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| io::Error::other("/proc is not as expected"))
}
