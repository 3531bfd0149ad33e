//! A client on its own loop thread whose sink writes everything down, and raw
//! servers that follow a script.

use bytes::Bytes;
use httpkit_core::client::*;
use httpkit_core::net::hosted::{TransportHost, TransportId};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub status: u16,
    pub version: Version,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: bool,
    pub decoded: bool,
    pub reused: bool,
    pub tls: bool,
}

impl Seen {
    fn of(head: &Head<'_>, body: &[u8]) -> Self {
        let text = |bytes: &[u8]| bytes.iter().map(|b| *b as char).collect();
        Self {
            status: head.status,
            version: head.version,
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            body: body.to_vec(),
            trailers: head.trailers,
            decoded: head.decoded,
            reused: head.reused,
            tls: head.tls,
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Response(Seen),
    Head(Seen),
    Body(Vec<u8>),
    End,
    Failure(CallError, Option<TransportId>),
    SendCredit(usize),
}

/// What a hosted transport was told, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    Open(CallId),
    StartTls(CallId, u8),
    Write(Vec<u8>),
    ReadCredit(usize),
    Close,
}

#[derive(Default)]
pub struct Log {
    pub calls: Mutex<HashMap<CallId, Vec<Said>>>,
    pub transports: Mutex<Vec<(TransportId, Asked)>>,
    /// Longest piece that the sink takes, 0 = any.
    pub most: AtomicUsize,
    /// What it has room for, and how often it was asked.
    pub room: AtomicU64,
    pub rooms_asked: AtomicUsize,
    /// The sink takes nothing at all, as without memory.
    pub deaf: AtomicBool,
    /// Failures that it did not take.
    pub refused: AtomicUsize,
    /// Run by the loop, once, before it writes down what it says next.
    pub first: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    changed: Condvar,
}

struct Recorder(Arc<Log>);

impl Recorder {
    fn hears(&self) -> bool {
        !self.0.deaf.load(Ordering::SeqCst)
    }

    fn takes(&self, length: usize) -> bool {
        let most = self.0.most.load(Ordering::SeqCst);
        self.hears() && (most == 0 || length <= most)
    }

    fn say_if(&self, heard: bool, call: CallId, said: impl FnOnce() -> Said) -> bool {
        if heard {
            self.say(call, said());
        }
        heard
    }

    fn say(&self, call: CallId, said: Said) {
        let first = self.0.first.lock().unwrap().take();
        if let Some(first) = first {
            first();
        }
        self.0
            .calls
            .lock()
            .unwrap()
            .entry(call)
            .or_default()
            .push(said);
        self.0.changed.notify_all();
    }

    fn ask(&self, transport: TransportId, asked: Asked) -> bool {
        let heard = self.hears();
        if heard {
            self.0.transports.lock().unwrap().push((transport, asked));
        }
        heard
    }
}

impl Sink for Recorder {
    fn on_response(&self, call: CallId, head: &Head<'_>, body: &[u8]) -> bool {
        let said = || Said::Response(Seen::of(head, body));
        self.say_if(self.takes(body.len()), call, said)
    }
    fn on_head(&self, call: CallId, head: &Head<'_>) -> bool {
        self.say_if(self.hears(), call, || Said::Head(Seen::of(head, &[])))
    }
    fn room(&self) -> u64 {
        self.0.rooms_asked.fetch_add(1, Ordering::SeqCst);
        self.0.room.load(Ordering::SeqCst)
    }
    fn on_body(&self, call: CallId, data: &[u8]) -> bool {
        self.say_if(self.takes(data.len()), call, || Said::Body(data.to_vec()))
    }
    fn on_end(&self, call: CallId) -> bool {
        self.say_if(self.hears(), call, || Said::End)
    }
    fn on_failure(&self, call: CallId, error: &CallError, transport: Option<TransportId>) -> bool {
        let heard = self.say_if(self.hears(), call, || {
            Said::Failure(error.clone(), transport)
        });
        if !heard {
            self.0.refused.fetch_add(1, Ordering::SeqCst);
        }
        heard
    }
    fn on_send_credit(&self, call: CallId, n: usize) -> bool {
        self.say_if(self.hears(), call, || Said::SendCredit(n))
    }
}

impl TransportHost for Recorder {
    fn transport_open(&self, transport: TransportId, call: u64) -> bool {
        self.ask(transport, Asked::Open(call))
    }
    fn transport_start_tls(&self, transport: TransportId, call: u64, level: u8) -> bool {
        self.ask(transport, Asked::StartTls(call, level))
    }
    fn transport_write(&self, transport: TransportId, data: &[u8]) -> bool {
        self.ask(transport, Asked::Write(data.to_vec()))
    }
    fn transport_read_credit(&self, transport: TransportId, n: usize) -> bool {
        self.ask(transport, Asked::ReadCredit(n))
    }
    fn transport_close(&self, transport: TransportId) {
        self.ask(transport, Asked::Close);
    }
}

/// A running client; dropping it stops it.
pub struct Running {
    pub client: Arc<Client>,
    pub log: Arc<Log>,
    thread: Option<JoinHandle<()>>,
}

static NEXT_CALL: AtomicU64 = AtomicU64::new(1);

pub fn next_call() -> CallId {
    NEXT_CALL.fetch_add(1, Ordering::Relaxed)
}

impl Running {
    pub fn new() -> Self {
        Self::with(ClientConfig::default())
    }

    pub fn with(config: ClientConfig) -> Self {
        let client = Arc::new(Client::new(config));
        let log = Arc::new(Log::default());
        log.room.store(u64::MAX, Ordering::SeqCst);
        let (looping, recorder) = (client.clone(), log.clone());
        let thread = std::thread::spawn(move || {
            looping.run(Arc::new(Recorder(recorder))).unwrap();
        });
        Self {
            client,
            log,
            thread: Some(thread),
        }
    }

    pub fn start(&self, spec: CallSpec) -> CallId {
        let call = next_call();
        assert!(self.client.call(call, Box::new(spec)));
        call
    }

    /// Waits until `want` finds what it looks for in the log of `call`.
    pub fn until<T>(&self, call: CallId, mut want: impl FnMut(&[Said]) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        let mut calls = self.log.calls.lock().unwrap();
        loop {
            let said = calls.get(&call).map_or(&[][..], |said| &said[..]);
            if let Some(found) = want(said) {
                return found;
            }
            let now = Instant::now();
            assert!(now < end, "waited in vain: {said:?}");
            calls = self.log.changed.wait_timeout(calls, end - now).unwrap().0;
        }
    }

    /// The call's end: its response, or its error.
    pub fn result(&self, call: CallId) -> Result<Seen, CallError> {
        self.until(call, |said| {
            said.iter().find_map(|one| match one {
                Said::Response(seen) => Some(Ok(seen.clone())),
                Said::Failure(error, _) => Some(Err(error.clone())),
                _ => None,
            })
        })
    }

    pub fn run(&self, spec: CallSpec) -> Result<Seen, CallError> {
        let call = self.start(spec);
        self.result(call)
    }

    /// The whole body of a streamed call, with a window given back at once.
    pub fn collect(&self, call: CallId) -> Result<Vec<u8>, CallError> {
        let mut seen = 0;
        let mut body = Vec::new();
        loop {
            let pieces = self.until(call, |said| {
                let new: Vec<Said> = said[seen..].to_vec();
                (!new.is_empty()).then_some(new)
            });
            seen += pieces.len();
            for piece in pieces {
                match piece {
                    Said::Body(data) => {
                        self.client.credit(call, data.len());
                        body.extend(data);
                    }
                    Said::End => return Ok(body),
                    Said::Failure(error, _) => return Err(error),
                    _ => {}
                }
            }
        }
    }

    /// Waits for a condition on the counters.
    pub fn until_stats(&self, what: &str, want: impl Fn(&Stats) -> bool) {
        eventually(what, || want(self.client.stats()));
    }

    pub fn stop(&mut self) {
        self.client.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.client.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn eventually(what: &str, mut want: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !want() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn get(address: SocketAddr) -> CallSpec {
    CallSpec {
        timeouts: Timeouts {
            connect: Millis(10_000),
            idle: Millis(10_000),
            ..Timeouts::default()
        },
        host: "127.0.0.1".to_owned(),
        addresses: vec![Address::Inet(address)],
        head: Bytes::from_static(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n"),
        ..CallSpec::default()
    }
}

/// A GET whose path is a number.
pub fn get_numbered(address: SocketAddr, number: u64) -> CallSpec {
    CallSpec {
        head: Bytes::from(format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n")),
        ..get(address)
    }
}

pub fn post(address: SocketAddr, body: impl Into<Bytes>) -> CallSpec {
    let body = body.into();
    let length = body.len();
    CallSpec {
        method: Method::Other,
        head: Bytes::from(format!(
            "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n"
        )),
        body,
        ..get(address)
    }
}

/// A raw server: each accepted connection runs the script with its number.
pub struct Server {
    pub address: SocketAddr,
    pub accepted: Arc<AtomicUsize>,
}

impl Server {
    pub fn new(script: impl Fn(usize, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (counter, script) = (accepted.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                stream.set_nodelay(true).unwrap();
                let nth = counter.fetch_add(1, Ordering::SeqCst);
                let script = script.clone();
                std::thread::spawn(move || script(nth, &mut stream));
            }
        });
        Self { address, accepted }
    }

    /// Answers each request of each connection with the same bytes.
    pub fn answering(answer: &'static [u8]) -> Self {
        Self::new(move |_, stream| {
            while read_request(stream).is_some() {
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers each request with its path, and with what `then` appends.
    pub fn echoing_paths(
        then: impl Fn(usize, &str, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |nth, stream| {
            while let Some((head, _)) = read_request(stream) {
                let path = path(&head);
                if stream.write_all(&response(&path)).is_err() {
                    return;
                }
                then(nth, &path, stream);
            }
        })
    }

    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

pub fn path(head: &str) -> String {
    head.split(' ').nth(1).unwrap().to_owned()
}

pub fn response(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// Reads one request with a body of known length; `None` at the end.
pub fn read_request(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// Holds the connection open until the peer leaves.
pub fn hang(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer), Ok(n) if n > 0) {}
}

/// Closes with RST.
pub fn reset(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

/// A small generator: the same numbers on every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}
