//! The yardstick of `benches/clients/run`: the crate's client with a sink that does nothing but ask again.
//!
//! bare_client <port>
//!
//! Prints a row per workload: microseconds of CPU and of time per request, median and best slice.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use httpkit_core::client::*;
use httpkit_core::net::foreign::{HostsNone, TransportId};

const SLICES: usize = 9;
const WORKLOADS: [(&str, &str, u64, u64); 3] = [
    ("C1 one after the other", "/", 1, 5_000),
    ("C2 64 at once, 2 KB", "/json", 64, 10_000),
    ("C3 4 at once, 1 MB", "/bytes", 4, 200),
];

struct Slice {
    cpu: f64,
    wall: f64,
}

/// Asks again at every answer, until a slice is full; then starts the next one.
struct Again {
    client: Arc<Client>,
    spec: CallSpec,
    at_once: u64,
    per_slice: u64,
    asked: AtomicU64,
    answered: AtomicU64,
    began: Mutex<(u64, Instant)>,
    slices: Mutex<Vec<Slice>>,
}

impl Again {
    fn ask(&self) {
        let call = self.asked.fetch_add(1, Relaxed) + 1;
        self.client.call(call, Box::new(self.spec.clone()));
    }

    fn answered(&self) {
        let answered = self.answered.fetch_add(1, Relaxed) + 1;
        if answered < self.per_slice {
            self.ask();
        } else if answered == self.per_slice + self.at_once - 1 {
            self.end_slice();
        }
    }

    fn end_slice(&self) {
        let (cpu, began) = *self.began.lock().unwrap();
        let requests = self.answered.load(Relaxed) as f64;
        let slice = Slice {
            cpu: (thread_cpu_nanos() - cpu) as f64 / 1e3 / requests,
            wall: began.elapsed().as_nanos() as f64 / 1e3 / requests,
        };
        let mut slices = self.slices.lock().unwrap();
        slices.push(slice);
        if slices.len() == SLICES {
            self.client.stop();
        } else {
            self.begin_slice();
        }
    }

    fn begin_slice(&self) {
        self.answered.store(0, Relaxed);
        *self.began.lock().unwrap() = (thread_cpu_nanos(), Instant::now());
        for _ in 0..self.at_once {
            self.ask();
        }
    }
}

impl HostsNone for Again {}

impl Sink for Again {
    fn on_response(&self, _: CallId, head: &Head<'_>, _: &[u8]) -> bool {
        assert_eq!(head.status, 200);
        self.answered();
        true
    }
    fn on_head(&self, _: CallId, _: &Head<'_>) -> bool {
        false
    }
    fn room(&self) -> u64 {
        u64::MAX
    }
    fn on_body(&self, _: CallId, _: &[u8]) -> bool {
        false
    }
    fn on_end(&self, _: CallId) -> bool {
        false
    }
    fn on_failure(&self, _: CallId, error: &CallError, _: Option<TransportId>) -> bool {
        panic!("{error:?}");
    }
    fn on_send_credit(&self, _: CallId, _: usize) -> bool {
        false
    }
}

/// CPU of this thread, which is the loop.
fn thread_cpu_nanos() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ')
        .next()
        .and_then(|nanos| nanos.parse().ok())
        .unwrap_or(0)
}

fn get(port: u16, path: &str) -> CallSpec {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: http-kit/2.0\r\nAccept-Encoding: gzip, deflate\r\n\r\n"
    );
    CallSpec {
        host: "127.0.0.1".to_owned(),
        addresses: vec![Address::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))],
        head: Bytes::from(head),
        ..CallSpec::default()
    }
}

fn measure(port: u16, path: &str, at_once: u64, per_slice: u64) -> std::io::Result<Vec<Slice>> {
    let client = Arc::new(Client::new(ClientConfig::default()));
    let again = Arc::new(Again {
        client: client.clone(),
        spec: get(port, path),
        at_once,
        per_slice,
        asked: AtomicU64::new(0),
        answered: AtomicU64::new(0),
        began: Mutex::new((0, Instant::now())),
        slices: Default::default(),
    });
    again.begin_slice();
    client.run(again.clone())?;
    Ok(std::mem::take(&mut *again.slices.lock().unwrap()))
}

/// Median and best.
fn summary(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0])
}

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port = port.ok_or_else(|| std::io::Error::other("usage: bare_client <port>"))?;
    for (name, path, at_once, per_slice) in WORKLOADS {
        let slices = measure(port, path, at_once, per_slice)?;
        let (cpu, best) = summary(slices.iter().map(|slice| slice.cpu).collect());
        let (wall, _) = summary(slices.iter().map(|slice| slice.wall).collect());
        println!("| {name} | bare core, no JVM | {cpu:.1} | {best:.1} | {wall:.1} |");
    }
    Ok(())
}
