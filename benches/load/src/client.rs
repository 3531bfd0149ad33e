//! The load itself: many connections, one thread, no locks.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::answer::Counter;
use crate::wire::Wire;
use crate::workload::{Kind, Workload, handshake};

const READ: usize = 256 * 1024;
/// No response in this time is a failure.
pub const SILENCE: Duration = Duration::from_secs(20);
/// Local ports are used up per remote address: this many are taken in turn.
const ADDRESSES: usize = 16;

/// Responses that arrived in a measured slice.
#[derive(Debug, Default)]
pub struct Outcome {
    pub requests: u64,
    pub elapsed: Duration,
    /// Of each burst, or of what does not block; in nanoseconds, unordered.
    pub latencies: Vec<u32>,
}

struct Conn {
    stream: Wire<TcpStream>,
    counter: Counter,
    /// Answers to come until the burst is complete.
    due: usize,
    since: Instant,
    /// How much of what is to be sent has been.
    sent: usize,
    /// The handshake is what is to be sent.
    opening: bool,
}

/// Connections to one server under one workload.
pub struct Client<'a> {
    workload: &'a Workload,
    port: u16,
    tls: bool,
    burst: Vec<u8>,
    opening: Vec<u8>,
    poll: Poll,
    conns: Vec<Conn>,
    opened: usize,
    outcome: Outcome,
    buf: Vec<u8>,
}

impl<'a> Client<'a> {
    /// Connects; the first requests are on their way when it returns.
    pub fn open(workload: &'a Workload, port: u16, tls: bool) -> io::Result<Self> {
        let mut client = Self {
            workload,
            port,
            tls,
            burst: workload.burst(),
            opening: workload.websocket_path().map(handshake).unwrap_or_default(),
            poll: Poll::new()?,
            conns: Vec::new(),
            opened: 0,
            outcome: Outcome::default(),
            buf: vec![0; READ],
        };
        for i in 0..workload.connections {
            let conn = client.connect(i)?;
            client.conns.push(conn);
        }
        Ok(client)
    }

    fn connect(&mut self, token: usize) -> io::Result<Conn> {
        let mut stream = connect(self.port, self.opened)?;
        self.opened += 1;
        self.poll.registry().register(
            &mut stream,
            Token(token),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        let opening = !self.opening.is_empty();
        Ok(Conn {
            stream: Wire::new(stream, self.tls)?,
            counter: Counter::default(),
            due: if opening { 1 } else { self.workload.answers() },
            since: Instant::now(),
            sent: 0,
            opening,
        })
    }

    /// Works for `time` and says what was answered meanwhile.
    pub fn run(&mut self, time: Duration) -> io::Result<Outcome> {
        self.outcome = Outcome::default();
        let start = Instant::now();
        let mut events = Events::with_capacity(1024);
        while start.elapsed() < time {
            self.turn(&mut events)?;
        }
        self.outcome.elapsed = start.elapsed();
        Ok(std::mem::take(&mut self.outcome))
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, Some(SILENCE)) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        if events.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
        }
        for event in events.iter() {
            let Token(index) = event.token();
            if event.is_writable() {
                self.send(index)?;
            }
            if event.is_readable() {
                self.receive(index)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, index: usize) -> io::Result<()> {
        let conn = &mut self.conns[index];
        let bytes = if conn.opening {
            &self.opening
        } else {
            &self.burst
        };
        while conn.sent < bytes.len() {
            match conn.stream.write(&bytes[conn.sent..]) {
                Ok(written) => conn.sent += written,
                Err(e) if not_yet(&e) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        match conn.stream.flush() {
            Err(e) if !not_yet(&e) => Err(e),
            _ => Ok(()),
        }
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        loop {
            let conn = &mut self.conns[index];
            let n = match conn.stream.read(&mut self.buf) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(e) if not_yet(&e) => return Ok(()),
                Err(e) => return Err(e),
            };
            let ended = conn.counter.feed(&self.buf[..n])?;
            conn.due = conn
                .due
                .checked_sub(ended)
                .ok_or_else(|| io::Error::other("more answers than requests"))?;
            if conn.due == 0 {
                self.completed(index)?;
            }
            // A short read has emptied the socket; what comes later is a new event.
            if n < READ && self.conns[index].stream.is_plain() {
                return Ok(());
            }
        }
    }

    fn completed(&mut self, index: usize) -> io::Result<()> {
        let conn = &mut self.conns[index];
        if !conn.opening {
            let nanos = conn.since.elapsed().as_nanos();
            self.outcome.requests += self.workload.requests() as u64;
            self.outcome
                .latencies
                .push(u32::try_from(nanos).unwrap_or(u32::MAX));
        }
        if self.workload.kind == Kind::Fresh {
            self.conns[index] = self.connect(index)?;
            return Ok(());
        }
        conn.opening = false;
        conn.due = self.workload.answers();
        conn.since = Instant::now();
        conn.sent = 0;
        self.send(index)
    }
}

pub fn not_yet(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::NotConnected
    )
}

/// The address that the connection of this number is made to.
pub fn local(count: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, 1 + (count % ADDRESSES) as u8)
}

pub fn connect(port: u16, count: usize) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(SocketAddr::new(IpAddr::V4(local(count)), port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connections that have been used once and do nothing since.
#[derive(Debug)]
pub struct Idle(Vec<Wire<std::net::TcpStream>>);

impl Idle {
    /// Opens `count` connections, each with one request or, after a handshake, one message.
    pub fn open(port: u16, tls: bool, count: usize, websocket: bool) -> io::Result<Self> {
        let mut streams = Vec::with_capacity(count);
        for i in 0..count {
            let stream = std::net::TcpStream::connect((local(i), port))?;
            stream.set_read_timeout(Some(SILENCE))?;
            let mut stream = Wire::new(stream, tls)?;
            if websocket {
                exchange(
                    &mut stream,
                    &handshake("/ws"),
                    &crate::workload::message(32),
                )?;
            } else {
                exchange(
                    &mut stream,
                    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    b"",
                )?;
            }
            streams.push(stream);
        }
        Ok(Self(streams))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Sends `first`, reads an answer, and the same with `second` unless it is empty. What comes next is for the counter.
pub fn exchange(
    stream: &mut (impl Read + Write),
    first: &[u8],
    second: &[u8],
) -> io::Result<Counter> {
    let mut counter = Counter::default();
    let mut buf = [0; 4096];
    for request in [first, second] {
        if request.is_empty() {
            continue;
        }
        stream.write_all(request)?;
        stream.flush()?;
        loop {
            match stream.read(&mut buf)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n if counter.feed(&buf[..n])? > 0 => break,
                _ => {}
            }
        }
    }
    Ok(counter)
}

/// Asks for `target` once, on a connection of its own; returns the answer's body.
pub fn ask(port: u16, tls: bool, target: &str) -> io::Result<String> {
    let stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(SILENCE))?;
    let mut stream = Wire::new(stream, tls)?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(body.to_owned())
}
