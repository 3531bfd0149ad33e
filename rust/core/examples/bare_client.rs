//! The yardstick of `benches/clients/run`: the crate's client with a sink that does nothing but ask again, and with a
//! thread that waits for each response.
//!
//! bare_client <port> [<beginning of a workload's name>]
//!
//! Prints a row per workload: microseconds of CPU and of time per request, median and best slice.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::Instant;

use httpkit_core::client::*;
use httpkit_core::net::hosted::{HostsNone, TransportId};

const SLICES: usize = 9;
const WORKLOADS: [(&str, &str, u64, u64); 3] = [
    ("C1 one after the other", "/", 1, 5_000),
    ("C2 64 at once, 2 KB", "/json", 64, 10_000),
    ("C3 4 at once, 1 MB", "/bytes", 4, 200),
];
const WAITING: &str = "C4 one after the other, a thread waits";

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
            cpu: (cpu_nanos() - cpu) as f64 / 1e3 / requests,
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
        *self.began.lock().unwrap() = (cpu_nanos(), Instant::now());
        for _ in 0..self.at_once {
            self.ask();
        }
    }
}

/// A sink that is told of each response.
trait Hears: Send + Sync {
    fn hear(&self, call: CallId);
}

impl Hears for Again {
    fn hear(&self, _: CallId) {
        self.answered();
    }
}

/// A thread that waits for the response to each of its calls.
struct Waiting {
    caller: Thread,
    answered: AtomicU64,
}

impl Hears for Waiting {
    fn hear(&self, call: CallId) {
        self.answered.store(call, Release);
        self.caller.unpark();
    }
}

impl Waiting {
    fn slice(&self, client: &Client, spec: &CallSpec, first: CallId, requests: u64) -> Slice {
        let (cpu, began) = (cpu_nanos(), Instant::now());
        for call in first..first + requests {
            client.call(call, Box::new(spec.clone()));
            while self.answered.load(Acquire) != call {
                std::thread::park();
            }
        }
        Slice {
            cpu: (cpu_nanos() - cpu) as f64 / 1e3 / requests as f64,
            wall: began.elapsed().as_nanos() as f64 / 1e3 / requests as f64,
        }
    }
}

struct Ear<H>(Arc<H>);

impl<H: Hears> HostsNone for Ear<H> {}

impl<H: Hears> Sink for Ear<H> {
    fn on_response(&self, call: CallId, head: &Head<'_>, _: &[u8]) -> bool {
        assert_eq!(head.status, 200);
        self.0.hear(call);
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

/// CPU of all threads of this process.
fn cpu_nanos() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let nanos = threads.flatten().filter_map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    nanos.sum()
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
    client.run(Arc::new(Ear(again.clone())))?;
    Ok(std::mem::take(&mut *again.slices.lock().unwrap()))
}

fn measure_waiting(port: u16, requests: u64) -> std::io::Result<Vec<Slice>> {
    let client = Arc::new(Client::new(ClientConfig::default()));
    let waiting = Arc::new(Waiting {
        caller: std::thread::current(),
        answered: AtomicU64::new(0),
    });
    let (runs, sink) = (client.clone(), Arc::new(Ear(waiting.clone())));
    let looping = std::thread::spawn(move || runs.run(sink));
    let spec = get(port, "/");
    let firsts = (0..SLICES as u64).map(|nth| 1 + nth * requests);
    let slices = firsts.map(|first| waiting.slice(&client, &spec, first, requests));
    let slices = slices.collect();
    client.stop();
    looping.join().expect("the loop")?;
    Ok(slices)
}

fn report(name: &str, slices: &[Slice]) {
    let (cpu, best) = summary(slices.iter().map(|slice| slice.cpu).collect());
    let (wall, _) = summary(slices.iter().map(|slice| slice.wall).collect());
    println!("| {name} | bare core, no JVM | {cpu:.1} | {best:.1} | {wall:.1} | | |");
}

/// Median and best.
fn summary(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0])
}

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let port = args.next().and_then(|port| port.parse().ok());
    let port =
        port.ok_or_else(|| std::io::Error::other("usage: bare_client <port> [<workload>]"))?;
    let wanted = args.next().unwrap_or_default();
    for (name, path, at_once, per_slice) in WORKLOADS {
        if name.starts_with(&wanted) {
            report(name, &measure(port, path, at_once, per_slice)?);
        }
    }
    if WAITING.starts_with(&wanted) {
        report(WAITING, &measure_waiting(port, 5_000)?);
    }
    Ok(())
}
