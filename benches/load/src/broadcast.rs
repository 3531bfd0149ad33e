//! One message for many: a member of a group says something, and the server passes it on to all of them.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::answer::Counter;
use crate::client::{Outcome, SILENCE, exchange, local, not_yet};
use crate::workload::{JOIN, Workload, handshake, message};

struct Member {
    stream: TcpStream,
    counter: Counter,
}

/// WebSockets to one server, the first of which speaks once everything said before has reached all of them.
pub struct Group<'a> {
    workload: &'a Workload,
    poll: Poll,
    members: Vec<Member>,
    /// Deliveries to come.
    due: usize,
    since: Instant,
    outcome: Outcome,
    buf: Vec<u8>,
}

impl<'a> Group<'a> {
    /// All have joined when it returns: the server has answered a message of each.
    pub fn open(workload: &'a Workload, port: u16) -> io::Result<Self> {
        let opening = handshake(workload.websocket_path().unwrap_or_default());
        let poll = Poll::new()?;
        let mut members = Vec::with_capacity(workload.connections);
        for i in 0..workload.connections {
            let mut stream = std::net::TcpStream::connect((local(i), port))?;
            stream.set_read_timeout(Some(SILENCE))?;
            stream.set_nodelay(true)?;
            let counter = exchange(&mut stream, &opening, &message(JOIN))?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(i), Interest::READABLE)?;
            members.push(Member { stream, counter });
        }
        Ok(Self {
            workload,
            poll,
            members,
            due: 0,
            since: Instant::now(),
            outcome: Outcome::default(),
            buf: vec![0; 64 * 1024],
        })
    }

    /// Works for `time` and says what arrived meanwhile: each delivery counts as a request.
    pub fn run(&mut self, time: Duration) -> io::Result<Outcome> {
        self.outcome = Outcome::default();
        let start = Instant::now();
        let mut events = Events::with_capacity(1024);
        while start.elapsed() < time {
            if self.due == 0 {
                self.speak()?;
            }
            match self.poll.poll(&mut events, Some(SILENCE)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            if events.is_empty() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no delivery"));
            }
            for event in events.iter() {
                let Token(index) = event.token();
                self.receive(index)?;
            }
        }
        self.outcome.elapsed = start.elapsed();
        Ok(std::mem::take(&mut self.outcome))
    }

    fn speak(&mut self) -> io::Result<()> {
        self.due = self.members.len();
        self.since = Instant::now();
        // So short a message always has room in the kernel.
        self.members[0].stream.write_all(&self.workload.request)
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        let member = &mut self.members[index];
        loop {
            let n = match member.stream.read(&mut self.buf) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(e) if not_yet(&e) => return Ok(()),
                Err(e) => return Err(e),
            };
            let arrived = member.counter.feed(&self.buf[..n])?;
            self.due = self
                .due
                .checked_sub(arrived)
                .ok_or_else(|| io::Error::other("more deliveries than members"))?;
            let nanos = u32::try_from(self.since.elapsed().as_nanos()).unwrap_or(u32::MAX);
            for _ in 0..arrived {
                self.outcome.requests += 1;
                self.outcome.latencies.push(nanos);
            }
        }
    }
}
