//! From slices to the tables that people read.

use std::fmt::Write;

use crate::process::Spent;

/// One slice of one server under one workload.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    pub requests: u64,
    pub seconds: f64,
    pub spent: Spent,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
}

impl Slice {
    fn cpu(&self) -> f64 {
        self.spent.total.as_secs_f64() * 1e6 / self.requests.max(1) as f64
    }

    fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

/// All slices of one server under one workload.
#[derive(Debug)]
pub struct Series {
    pub server: String,
    pub slices: Vec<Slice>,
}

impl Series {
    fn median(&self, of: impl Fn(&Slice) -> f64) -> f64 {
        median(self.slices.iter().map(of).collect())
    }

    fn best_cpu(&self) -> f64 {
        self.slices
            .iter()
            .map(Slice::cpu)
            .fold(f64::INFINITY, f64::min)
    }

    fn kernel_share(&self) -> f64 {
        let user: f64 = self.slices.iter().map(|s| s.spent.user.as_secs_f64()).sum();
        let system: f64 = self
            .slices
            .iter()
            .map(|s| s.spent.system.as_secs_f64())
            .sum();
        system / (user + system)
    }
}

/// The middle one; of an even number the upper.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value that `share` of the sorted `values` do not exceed, in microseconds.
pub fn quantile(sorted: &[u32], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .map_or(f64::NAN, |&nanos| f64::from(nanos) / 1000.0)
}

/// A Markdown table; ratios are to the first server's medians.
pub fn table(title: &str, series: &[Series]) -> String {
    let mut out = format!(
        "### {title}\n\n| server | CPU us/req, median | best | kernel | x {} | req/s | p50 us | p99 us |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
        series.first().map_or("", |s| &s.server)
    );
    let base = series.first().map_or(f64::NAN, |s| s.median(Slice::cpu));
    for s in series {
        let cpu = s.median(Slice::cpu);
        let _ = writeln!(
            out,
            "| {} | {cpu:.2} | {:.2} | {:.0} % | {:.2} | {:.0} | {:.0} | {:.0} |",
            s.server,
            s.best_cpu(),
            s.kernel_share() * 100.0,
            cpu / base,
            s.median(Slice::rate),
            s.median(|s| s.p50),
            s.median(|s| s.p99),
        );
    }
    out
}

/// One line per slice, tab-separated.
pub fn raw(workload: &str, series: &[Series]) -> String {
    let mut out = String::new();
    for s in series {
        for (i, slice) in s.slices.iter().enumerate() {
            let _ = writeln!(
                out,
                "{workload}\t{}\t{i}\t{}\t{:.4}\t{:.3}\t{:.1}\t{:.1}",
                s.server,
                slice.requests,
                slice.seconds,
                slice.cpu(),
                slice.p50,
                slice.p99
            );
        }
    }
    out
}

/// Head of [`raw`]'s columns.
pub const RAW_HEAD: &str =
    "workload\tserver\tslice\trequests\tseconds\tcpu_us_per_request\tp50_us\tp99_us\n";
