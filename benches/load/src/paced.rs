//! Requests at a fixed rate, whatever becomes of the earlier ones: some of them block, and what counts is how long
//! the others take beside them.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::answer::Counter;
use crate::client::{Outcome, SILENCE, connect, not_yet};
use crate::workload::{Pace, Workload};

struct Conn {
    stream: TcpStream,
    counter: Counter,
    since: Instant,
    /// Its latency is recorded.
    counts: bool,
}

/// Connections to one server, of which one that is free gets the next request when its time has come.
pub struct Paced<'a> {
    workload: &'a Workload,
    pace: &'a Pace,
    poll: Poll,
    conns: Vec<Conn>,
    free: Vec<usize>,
    sent: usize,
    outcome: Outcome,
    buf: Vec<u8>,
}

impl<'a> Paced<'a> {
    pub fn open(workload: &'a Workload, pace: &'a Pace, port: u16) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut conns = Vec::new();
        for i in 0..workload.connections {
            let mut stream = connect(port, i)?;
            poll.registry()
                .register(&mut stream, Token(i), Interest::READABLE)?;
            conns.push(Conn {
                stream,
                counter: Counter::default(),
                since: Instant::now(),
                counts: false,
            });
        }
        Ok(Self {
            workload,
            pace,
            poll,
            free: (0..conns.len()).collect(),
            conns,
            sent: 0,
            outcome: Outcome::default(),
            buf: vec![0; 64 * 1024],
        })
    }

    /// Works for `time` and says what was answered meanwhile.
    pub fn run(&mut self, time: Duration) -> io::Result<Outcome> {
        self.outcome = Outcome::default();
        let start = Instant::now();
        let mut heard = start;
        let mut due = start;
        let mut events = Events::with_capacity(1024);
        while start.elapsed() < time {
            let now = Instant::now();
            while due <= now
                && let Some(index) = self.free.pop()
            {
                self.send(index)?;
                due += self.pace.interval;
            }
            if heard.elapsed() > SILENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
            }
            let left = due.saturating_duration_since(Instant::now());
            // In milliseconds, rounded up: what is late by that goes out together with the next.
            match self.poll.poll(&mut events, Some(left)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in events.iter() {
                heard = Instant::now();
                let Token(index) = event.token();
                self.receive(index)?;
            }
        }
        self.outcome.elapsed = start.elapsed();
        Ok(std::mem::take(&mut self.outcome))
    }

    fn send(&mut self, index: usize) -> io::Result<()> {
        let blocks = self.sent.is_multiple_of(self.pace.blocking_one_in);
        self.sent += 1;
        let conn = &mut self.conns[index];
        conn.since = Instant::now();
        conn.counts = !blocks;
        // So short a request always has room in the kernel.
        conn.stream.write_all(if blocks {
            &self.pace.blocking
        } else {
            &self.workload.request
        })
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        let conn = &mut self.conns[index];
        loop {
            let n = match conn.stream.read(&mut self.buf) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => n,
                Err(e) if not_yet(&e) => return Ok(()),
                Err(e) => return Err(e),
            };
            if conn.counter.feed(&self.buf[..n])? == 0 {
                continue;
            }
            self.free.push(index);
            self.outcome.requests += 1;
            if conn.counts {
                let nanos = conn.since.elapsed().as_nanos();
                self.outcome
                    .latencies
                    .push(u32::try_from(nanos).unwrap_or(u32::MAX));
            }
        }
    }
}
