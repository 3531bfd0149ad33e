//! What the hot paths cost in instructions, for a guard that a busy machine cannot trip.
//!
//! counts [path times]
//!
//! Without arguments, the names of the paths. `./dev counts` runs each of them under valgrind, twice: the second run
//! does more of the same, and the difference is what that costs. A server path is a closed loop on one thread, peer
//! included: the loop pushes each request to the sink, which answers, reads that as the peer, and sends the next one.
//! So no thread waits for another, and no clock decides anything.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock, Weak};

use httpkit_core::client::{Decoder, Event as Decoded};
use httpkit_core::server::request::recycle;
use httpkit_core::server::{
    Address, CORK, Config, Event, Exchange, INLINE, Interest, Mode, Notice, Request, Responded,
    ResponseHead, Server, Sink, Times, Work,
};
use httpkit_core::ws::Opcode;
use parking_lot::Mutex;

const HELLO: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:8090\r\n\r\n";
const BROWSER: &[u8] = b"GET /json?user=42&page=7 HTTP/1.1\r\nHost: localhost:8090\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: http://localhost:8090/list\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
    Priority: u=0, i\r\n\r\n";
const CHUNKED: &[u8] =
    b"POST /in HTTP/1.1\r\nHost: localhost:8090\r\nTransfer-Encoding: chunked\r\n\r\n";
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:8090\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const FIELDS: &[u8] = b"Content-Type: text/plain\r\n";
/// Any but 0.
const NAME: i64 = 1;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let paths = paths();
    let Some(path) = arguments.next() else {
        return paths.iter().for_each(|(name, _)| println!("{name}"));
    };
    let times = arguments.next().and_then(|times| times.parse().ok());
    let run = paths.iter().find(|(name, _)| *name == path);
    run.expect("a path").1(times.expect("how often"));
}

type Run = Box<dyn Fn(usize)>;

fn paths() -> Vec<(&'static str, Run)> {
    fn served(request: Vec<u8>, requests: usize, body: usize) -> Run {
        Box::new(move |times| serve(Peer::new(&request, requests, body), plain(), times))
    }
    let chunks = [
        CHUNKED,
        &b"10\r\n0123456789abcdef\r\n".repeat(16),
        b"0\r\n\r\n",
    ]
    .concat();
    vec![
        ("hello", served(HELLO.to_vec(), 1, 13)),
        // With the limits that a server of Clojure's has by default: what they cost is the difference.
        (
            "hello-limited",
            Box::new(|times| serve(Peer::new(HELLO, 1, 13), limited(), times)),
        ),
        ("browser", served(BROWSER.to_vec(), 1, 2048)),
        ("pipelined-10", served(HELLO.repeat(10), 10, 13)),
        ("chunked-16", served(chunks, 1, 13)),
        (
            "ws-echo",
            Box::new(|times| serve(Peer::websocket(), plain(), times)),
        ),
        (
            "client-length",
            Box::new(|times| decode(&response(false), times)),
        ),
        (
            "client-chunked-16",
            Box::new(|times| decode(&response(true), times)),
        ),
    ]
}

/// What the client receives.
fn response(chunked: bool) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nCache-Control: no-cache\r\n\
        X-Frame-Options: DENY\r\nServer: http-kit\r\nDate: Sat, 28 Nov 2026 18:00:00 GMT\r\n";
    let (framing, body) = match chunked {
        true => (
            "Transfer-Encoding: chunked",
            b"10\r\n0123456789abcdef\r\n".repeat(16),
        ),
        false => ("Content-Length: 2048", vec![b'j'; 2048]),
    };
    let end: &[u8] = if chunked { b"0\r\n\r\n" } else { b"" };
    [head.as_bytes(), framing.as_bytes(), b"\r\n\r\n", &body, end].concat()
}

fn decode(response: &[u8], times: usize) {
    for _ in 0..times {
        let mut decoder = Decoder::new(false);
        let mut input = black_box(response);
        while !matches!(decoder.next(&mut input), Ok(Decoded::End)) {}
        assert!(decoder.reusable());
    }
}

/// The only client of a server, and its handler.
#[derive(Debug)]
struct Peer {
    socket: Option<TcpStream>,
    request: Vec<u8>,
    /// Requests in it.
    requests: usize,
    body: Vec<u8>,
    upgrades: bool,
    buffer: Vec<u8>,
    /// Bytes of the response to it, once known.
    due: usize,
    left: usize,
}

impl Peer {
    fn new(request: &[u8], requests: usize, body: usize) -> Self {
        Self {
            socket: None,
            request: request.to_vec(),
            requests,
            body: vec![b'x'; body],
            upgrades: false,
            buffer: vec![0; 16 * 1024],
            due: 0,
            left: 0,
        }
    }

    fn websocket() -> Self {
        let mut peer = Self::new(UPGRADE, 1, 0);
        peer.upgrades = true;
        peer
    }

    fn send(&mut self) {
        let socket = self.socket.as_mut().expect("connected");
        socket.write_all(&self.request).expect("written");
    }

    /// Reads the whole response. True once there have been enough.
    fn receive(&mut self) -> bool {
        let socket = self.socket.as_mut().expect("connected");
        if self.due == 0 {
            // All of it, since it went out in one write.
            self.due = socket.read(&mut self.buffer).expect("read");
        } else {
            socket
                .read_exact(&mut self.buffer[..self.due])
                .expect("read");
        }
        self.left -= 1;
        self.left == 0
    }
}

#[derive(Debug)]
struct Loop {
    peer: Mutex<Peer>,
    server: OnceLock<Weak<Server>>,
}

fn plain() -> Config {
    Config {
        mode: Mode::Push,
        server_header: Some(b"http-kit".to_vec()),
        times: Times::NONE,
        ..Config::default()
    }
}

fn limited() -> Config {
    Config {
        times: Times::default(),
        max_buffered: Some(1 << 30),
        ..plain()
    }
}

fn serve(mut peer: Peer, config: Config, times: usize) {
    peer.left = times + usize::from(peer.upgrades);
    let served = Arc::new(Loop {
        peer: Mutex::new(peer),
        server: OnceLock::new(),
    });
    let any = Address::Inet(([127, 0, 0, 1], 0).into());
    let server = Arc::new(Server::bind(&any, config, served.clone()).expect("a port"));
    let port = server.port().expect("its number");
    let socket = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    socket.set_nodelay(true).expect("an option");
    served
        .server
        .set(Arc::downgrade(&server))
        .expect("set once");
    served.peer.lock().socket = Some(socket);
    served.peer.lock().send();
    server.run(true).expect("it runs");
    assert_eq!(served.peer.lock().left, 0);
}

impl Loop {
    /// One round is over: the next, or the end.
    fn next_round(&self, peer: &mut Peer) {
        if peer.receive() {
            let server = self.server.get().and_then(Weak::upgrade);
            server.expect("it runs").close();
        } else {
            peer.send();
        }
    }

    fn answer(&self, request: Request) {
        let peer = &mut *self.peer.lock();
        let mut next = Some(request);
        let mut requests = 0;
        while let Some(request) = next {
            let exchange = request.exchange.clone();
            assert!(exchange.bind(NAME));
            recycle(black_box(request.into_block(NAME)));
            requests += 1;
            if peer.upgrades {
                assert!(exchange.upgrade(b"", Interest::default(), None));
                self.next_message(peer);
                return;
            }
            let head = ResponseHead {
                status: 200,
                headers: FIELDS,
                flags: INLINE,
                declared: -1,
            };
            next = match exchange.respond(&head, &peer.body, peer.body.len() as u64) {
                Responded::Done(next) => next,
                other => panic!("{other:?}"),
            };
        }
        assert_eq!(requests, peer.requests);
        self.next_round(peer);
    }

    /// The connection is a WebSocket now: a masked text of 32 bytes, to be echoed.
    fn next_message(&self, peer: &mut Peer) {
        peer.receive();
        let payload = [b'e'; 32];
        peer.request = [&[0x81, 0x80 | 32, 1, 2, 3, 4], &payload[..]].concat();
        let masked = peer
            .request
            .iter_mut()
            .skip(6)
            .zip([1, 2, 3, 4].iter().cycle());
        masked.for_each(|(byte, mask)| *byte ^= mask);
        peer.due = 0;
        peer.send();
    }

    fn echo(&self, exchange: &Exchange) {
        let peer = &mut *self.peer.lock();
        loop {
            let events = exchange.take_events();
            if events.is_empty() {
                break;
            }
            for event in events {
                match event {
                    Event::Text(text) => {
                        exchange.send_frame(Opcode::Text, &text, CORK, usize::MAX);
                    }
                    Event::Closed(..) => return,
                    other => panic!("{other:?}"),
                }
            }
        }
        self.next_round(peer);
    }
}

impl Sink for Loop {
    fn on_work(&self, work: Vec<Work>) {
        for work in work {
            match work {
                Work::Request(request) => self.answer(request),
                Work::Events(exchange) => self.echo(&exchange),
            }
        }
    }
    fn on_starved(&self, _: usize) {}
    fn on_drained(&self, _: i64, _: bool) {}
    fn on_body(&self, _: i64) {}
    fn on_closing(&self, _: i64, _: i32, _: &str) {}
    fn on_notice(&self, notice: Notice) {
        panic!("{notice:?}");
    }
}
