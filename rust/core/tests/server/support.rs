//! A server on a thread of its own, and plain sockets as its peers.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use httpkit_core::server::{
    Address, Config, Event, Exchange, Interest, Mode, Notice, Pings, Responded, ResponseHead,
    Server, Sink, Times, Work,
};
use parking_lot::Mutex;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Names given to exchanges: any but 0.
const NAME: i64 = 7;

/// Keeps what comes up.
#[derive(Debug, Default)]
pub struct Recorder {
    pub work: Mutex<Vec<Work>>,
    /// How much came up at once, each time.
    pub batches: Mutex<Vec<usize>>,
    pub drained: Mutex<Vec<(i64, bool)>>,
    pub bodies: Mutex<Vec<i64>>,
    pub closings: Mutex<Vec<(i64, i32, String)>>,
    pub notices: Mutex<Vec<Notice>>,
    /// How much waited when help was called for the last time.
    pub starved: AtomicUsize,
    /// What waits then is handed over by this server.
    pub helps: OnceLock<Weak<Server>>,
}

impl Sink for Recorder {
    fn on_work(&self, work: Vec<Work>) {
        self.batches.lock().push(work.len());
        self.work.lock().extend(work);
    }
    fn on_starved(&self, waiting: usize) {
        self.starved.store(waiting, Ordering::Relaxed);
        if let Some(server) = self.helps.get().and_then(Weak::upgrade) {
            server.push_all();
        }
    }
    fn on_drained(&self, name: i64, written: bool) {
        self.drained.lock().push((name, written));
    }
    fn on_body(&self, name: i64) {
        self.bodies.lock().push(name);
    }
    fn on_closing(&self, name: i64, code: i32, reason: &str) {
        self.closings.lock().push((name, code, reason.to_owned()));
    }
    fn on_notice(&self, notice: Notice) {
        self.notices.lock().push(notice);
    }
}

pub struct Running {
    pub server: Arc<Server>,
    pub sink: Arc<Recorder>,
    threads: Vec<JoinHandle<()>>,
}

/// As the only time limit: how long a peer may take next to nothing of what it is sent.
pub fn write_timeout(limit: Duration) -> Times {
    Times {
        write: Some(limit),
        ..Times::NONE
    }
}

pub fn config(mode: Mode) -> Config {
    Config {
        mode,
        max_message: 1 << 20,
        max_pending_messages: 4,
        backlog: 16,
        queue: 100,
        half_close_time: PATIENCE,
        times: Times::NONE,
        max_half_closed: 100,
        keep_alive: PATIENCE,
        ..Config::default()
    }
}

impl Running {
    pub fn start(config: Config) -> Self {
        Self::start_at(&any_port(), config)
    }

    pub fn start_at(address: &Address, config: Config) -> Self {
        let mut bound = Self::bind(address, config);
        bound.run();
        bound
    }

    /// A server that listens and does not accept before [`Self::run`].
    pub fn bind(address: &Address, config: Config) -> Self {
        let sink = Arc::new(Recorder::default());
        let server = Arc::new(Server::bind(address, config, sink.clone()).unwrap());
        Self {
            server,
            sink,
            threads: Vec::new(),
        }
    }

    /// Starts one more loop.
    pub fn run(&mut self) {
        let running = self.server.clone();
        let first = self.threads.is_empty();
        let thread = std::thread::Builder::new()
            .name(self.loop_name())
            .spawn(move || running.run(first).unwrap())
            .unwrap();
        self.threads.push(thread);
    }

    /// The name of this server's loop, and of no other's.
    pub fn loop_name(&self) -> String {
        format!("loop-{}", self.server.port().unwrap_or_default())
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.server.port().unwrap()))
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Ends a peer's side, and waits until the server has seen that.
    pub fn end(&self, peer: &TcpStream) {
        let before = self.server.ended();
        peer.shutdown(Shutdown::Write).unwrap();
        wait_until("the end is seen", || self.server.ended() > before);
    }

    /// The next request's exchange, bound as an embedder binds it.
    pub fn request(&self) -> Exchange {
        match self.server.take() {
            Some(Work::Request(request)) => {
                assert!(request.exchange.bind(NAME));
                request.exchange
            }
            other => panic!("{other:?}"),
        }
    }

    /// Like [`Self::request`], when work is pushed.
    pub fn pushed_request(&self) -> Exchange {
        wait_until("a request is pushed", || !self.sink.work.lock().is_empty());
        match self.sink.work.lock().pop() {
            Some(Work::Request(request)) => {
                assert!(request.exchange.bind(NAME));
                request.exchange
            }
            other => panic!("{other:?}"),
        }
    }

    /// Holds the loop up, if work is pushed, while `during` runs and for `time` after that.
    pub fn hold_up(&self, time: Duration, during: impl FnOnce()) {
        let mut peer = self.connect();
        let before = self.sink.batches.lock().len();
        let holds_up = self.sink.work.lock();
        peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
        wait_until("the loop is held up", || {
            self.sink.batches.lock().len() > before
        });
        during();
        std::thread::sleep(time); // What is tested, not a wait for something.
        drop(holds_up);
    }

    /// Fails if the loop uses a twentieth of a processor.
    pub fn assert_idle(&self, during: Duration) {
        let name = self.loop_name();
        let before = processor_time(&name);
        std::thread::sleep(during); // What is measured, not a wait for something.
        let used = Duration::from_nanos(processor_time(&name) - before);
        assert!(used < during / 20, "used {used:?} of {during:?}");
    }

    /// A peer, and its connection after the handshake.
    pub fn websocket(&self, pings: Option<Pings>) -> (TcpStream, Exchange) {
        let mut peer = self.connect();
        peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n")
            .unwrap();
        let exchange = self.request();
        assert!(exchange.upgrade(b"", Interest::default(), pings));
        read_head(&mut peer);
        (peer, exchange)
    }

    pub fn stop(&mut self) {
        self.server.close();
        for thread in self.threads.drain(..) {
            join(thread);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        // Work refers to the server, which refers to the sink.
        drop(std::mem::take(&mut *self.sink.work.lock()));
    }
}

/// Nanoseconds of processor time that the threads of this process named `name` have used.
fn processor_time(name: &str) -> u64 {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter(|task| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
        })
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

pub fn any_port() -> Address {
    Address::Inet("127.0.0.1:0".parse().unwrap())
}

/// A masked frame with the mask 0.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

/// A ping after this much silence, and as much patience for the answer.
pub fn pings_after(time: Duration) -> Pings {
    Pings {
        interval: time,
        timeout: time,
    }
}

pub fn read_head(peer: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        peer.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Waits until `ready` is true, and fails saying what did not become so.
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What a thread returns, which must end soon.
pub fn join<T>(thread: JoinHandle<T>) -> T {
    if !std::thread::panicking() {
        let name = thread.thread().name().unwrap_or("a thread").to_owned();
        wait_until(&format!("{name} ends"), || thread.is_finished());
    }
    thread.join().unwrap()
}

pub fn reply() -> ResponseHead<'static> {
    ResponseHead {
        status: 200,
        headers: b"",
        flags: 0,
        declared: -1,
    }
}

pub fn answer(exchange: &Exchange, body: &[u8]) {
    let answered = exchange.respond(&reply(), body, body.len() as u64);
    assert!(matches!(answered, Responded::Done(None)), "{answered:?}");
}

/// The closings among `work`.
pub fn closings(work: Vec<Work>) -> Vec<Event> {
    let mut closings = Vec::new();
    for item in work {
        if let Work::Events(exchange) = item {
            let mut events = exchange.take_events();
            while !events.is_empty() {
                closings.extend(
                    events
                        .into_iter()
                        .filter(|e| matches!(e, Event::Closed(..))),
                );
                events = exchange.take_events();
            }
        }
    }
    closings
}

/// The body of the next answer, which has a Content-Length.
pub fn read_response(peer: &mut impl Read) -> Vec<u8> {
    let head = read_head(peer).to_ascii_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.split("\r\n").next()?.parse().ok())
        .unwrap_or_else(|| panic!("no length: {head}"));
    let mut body = vec![0; length];
    peer.read_exact(&mut body).unwrap();
    body
}
