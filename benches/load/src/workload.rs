//! What is asked of a server: the workloads of the results' tables.

use std::fmt::Write;
use std::time::Duration;

/// How requests and answers follow each other on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `depth` requests are written at once; when all are answered, the next ones.
    Http { depth: usize },
    /// Each request on a connection of its own.
    Fresh,
    /// After a handshake each message is answered by this many.
    WebSocket { answers: usize },
    /// Requests come at a fixed rate: [`Workload::pace`].
    Paced,
    /// After a handshake, a message of [`JOIN`] bytes is answered; a longer one is passed on to all connections.
    Broadcast,
}

/// Length of the message with which a connection of [`Kind::Broadcast`] begins.
pub const JOIN: u8 = 1;

/// A fixed rate of requests, some of which block.
#[derive(Debug)]
pub struct Pace {
    pub interval: Duration,
    /// Every how many requests one is [`Self::blocking`].
    pub blocking_one_in: usize,
    pub blocking: Vec<u8>,
}

/// One kind of load.
#[derive(Debug)]
pub struct Workload {
    /// As on the command line and in the tables.
    pub name: &'static str,
    pub about: &'static str,
    pub kind: Kind,
    pub connections: usize,
    /// Part of `quick` runs.
    pub quick: bool,
    /// Bytes that ask for one answer.
    pub request: Vec<u8>,
    pub pace: Option<Pace>,
}

/// Bytes that open a WebSocket.
pub fn handshake(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    .into_bytes()
}

/// A masked text message of `len` bytes, at most 125.
pub fn message(len: u8) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![0x81, 0x80 | len];
    frame.extend_from_slice(&MASK);
    frame.extend((0..usize::from(len)).map(|i| b'a' ^ MASK[i % 4]));
    frame
}

/// A request with this many header fields in all.
fn get(target: &str, fields: usize) -> Vec<u8> {
    const MORE: [&str; 11] = [
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        "Accept: application/json, text/plain;q=0.9, */*;q=0.8",
        "Accept-Language: en-GB,en;q=0.7,de;q=0.3",
        "Accept-Encoding: gzip, deflate, br",
        "Referer: http://localhost/shop/items?page=1&sort=price",
        "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark",
        "Cache-Control: no-cache",
        "X-Request-Id: 5c0a6a1e-6a1b-4a43-9a3c-2f1f9d7a1b7e",
        "X-Forwarded-Proto: https",
        "Sec-Fetch-Mode: cors",
        "Sec-Fetch-Site: same-origin",
    ];
    let mut text = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n");
    for field in MORE.iter().take(fields - 1) {
        let _ = write!(text, "{field}\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn post(target: &str, len: usize) -> Vec<u8> {
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\n\r\n");
    let mut request = head.into_bytes();
    request.resize(request.len() + len, b'p');
    request
}

fn http(name: &'static str, about: &'static str, target: &str, connections: usize) -> Workload {
    Workload {
        name,
        about,
        kind: Kind::Http { depth: 1 },
        connections,
        quick: false,
        request: get(target, 1),
        pace: None,
    }
}

/// All of them, in the order in which they run.
pub fn all() -> Vec<Workload> {
    let hello = || http("hello", "W1: GET, 13 bytes of text", "/", 64);
    let hello_on =
        |name, connections| http(name, "W1 on more or fewer connections", "/", connections);
    vec![
        Workload {
            quick: true,
            ..hello()
        },
        Workload {
            name: "json",
            about: "W3: 12 fields and a query up, 2 KB JSON string and 4 fields down, two middlewares that assoc",
            request: get("/json?page=2&sort=price&q=blue%20shoes", 12),
            quick: true,
            ..hello()
        },
        Workload {
            name: "single",
            about: "W1 on one connection",
            connections: 1,
            quick: true,
            ..hello()
        },
        hello_on("hello-8", 8),
        hello_on("hello-512", 512),
        hello_on("hello-2000", 2000),
        Workload {
            name: "pipelined",
            about: "W2: W1 16 deep",
            kind: Kind::Http { depth: 16 },
            quick: true,
            ..hello()
        },
        Workload {
            name: "fresh",
            about: "W7: W1, a new connection for each request",
            kind: Kind::Fresh,
            request: b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_vec(),
            ..hello()
        },
        Workload {
            name: "post",
            about: "POST of 16 KB, which the handler reads",
            request: post("/post", 16 * 1024),
            ..hello()
        },
        http("bytes", "W5a: 1 MB byte[]", "/bytes", 64),
        http("file", "W5b: 1 MB File", "/file", 64),
        http("stream", "W5c: 1 MB InputStream", "/stream", 64),
        http("chunks", "W6: ten chunks through a channel", "/chunks", 64),
        Workload {
            name: "ws-echo",
            about: "W8a: WebSocket echo, 32 bytes",
            kind: Kind::WebSocket { answers: 1 },
            connections: 256,
            request: message(32),
            ..hello()
        },
        Workload {
            name: "ws-twice",
            about: "two sends for each message, one connection",
            kind: Kind::WebSocket { answers: 2 },
            connections: 1,
            request: message(32),
            quick: true,
            pace: None,
        },
        Workload {
            name: "broadcast",
            about: "W8b: 100 bytes of one WebSocket passed on to all; each delivery is a request",
            kind: Kind::Broadcast,
            connections: 500,
            request: message(100),
            ..hello()
        },
        http(
            "blocking",
            "a handler that blocks for 5 ms",
            "/blocking",
            256,
        ),
        Workload {
            name: "beside",
            about: "600 requests/s, one in ten blocks for 50 ms; latency of the others, which are W1",
            kind: Kind::Paced,
            connections: 128,
            pace: Some(Pace {
                interval: Duration::from_secs(1) / 600,
                blocking_one_in: 10,
                blocking: get("/long", 1),
            }),
            ..hello()
        },
    ]
}

impl Workload {
    /// What goes out at once.
    pub fn burst(&self) -> Vec<u8> {
        self.request.repeat(self.requests())
    }

    /// Requests or messages in one burst.
    pub fn requests(&self) -> usize {
        match self.kind {
            Kind::Http { depth } => depth,
            Kind::Fresh | Kind::WebSocket { .. } | Kind::Paced | Kind::Broadcast => 1,
        }
    }

    /// Answers to one [`Self::burst`].
    pub fn answers(&self) -> usize {
        match self.kind {
            Kind::Http { depth } => depth,
            Kind::Fresh | Kind::Paced | Kind::Broadcast => 1,
            Kind::WebSocket { answers } => answers,
        }
    }

    /// Where its WebSockets are opened.
    pub fn websocket_path(&self) -> Option<&'static str> {
        match self.kind {
            Kind::WebSocket { answers: 1 } => Some("/ws"),
            Kind::WebSocket { .. } => Some("/ws-twice"),
            Kind::Broadcast => Some("/ws-all"),
            _ => None,
        }
    }
}
