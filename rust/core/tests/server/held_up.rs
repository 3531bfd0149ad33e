//! A loop that is held up within a turn, as by a slow disk: the peers of other loops do not notice.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use httpkit_core::server::{Config, Kept, Mode, Notice, Responded, Server, Source, Work};
use parking_lot::{Condvar, Mutex};

use crate::support::{PATIENCE, Running, any_port, config, join, read_response, reply, wait_until};

const SIZE: usize = 20_000_000;
const WORKERS: usize = 6;
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
/// Its response is a [`Gated`] source.
const GET_GATED: &[u8] = b"GET /gated HTTP/1.1\r\nHost: h\r\n\r\n";

/// Zeros; copying them blocks while the gate is shut.
#[derive(Debug, Default)]
struct Gated {
    shut: Mutex<bool>,
    opened: Condvar,
    holding: AtomicUsize,
}

impl Source for Gated {
    fn copy(&self, _: usize, to: &mut [u8]) -> io::Result<()> {
        let mut shut = self.shut.lock();
        self.holding.fetch_add(1, Ordering::SeqCst);
        self.opened
            .wait_while_for(&mut shut, |shut| *shut, PATIENCE);
        self.holding.fetch_sub(1, Ordering::SeqCst);
        to.fill(0);
        Ok(())
    }
}

impl Gated {
    fn shut(&self) {
        *self.shut.lock() = true;
    }

    fn open(&self) {
        *self.shut.lock() = false;
        self.opened.notify_all();
    }

    fn holds(&self) -> bool {
        self.holding.load(Ordering::SeqCst) > 0
    }
}

/// Responds to `/` with a byte, to each `/gated` with the next of `sources`.
fn work(server: &Server, sources: &Mutex<Vec<Arc<Gated>>>) {
    while let Some(work) = server.take() {
        let Work::Request(request) = work else {
            continue;
        };
        let exchange = request.exchange.clone();
        assert!(exchange.bind(1));
        if !request
            .into_block(1)
            .windows(6)
            .any(|text| text == b"/gated")
        {
            let _ = exchange.respond(&reply(), b"x", 1);
            continue;
        }
        let source = sources.lock().remove(0);
        let begun = exchange.respond(&reply(), &[], SIZE as u64);
        assert!(matches!(begun, Responded::More), "{begun:?}");
        let (at, len) = (0, SIZE);
        exchange.send_rest(Kept { source, at, len }, 0);
    }
}

/// A peer that has been accepted.
fn acquainted(server: &Running) -> TcpStream {
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    assert_eq!(read_response(&mut peer), b"x");
    peer
}

/// Reads until `done`, or until nothing is there to be read.
fn read_on(mut peer: &TcpStream, done: impl Fn() -> bool) {
    let mut piece = [0; 65536];
    peer.set_nonblocking(true).unwrap();
    while !done() {
        match peer.read(&mut piece) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            read => assert!(read.unwrap() > 0),
        }
    }
    peer.set_nonblocking(false).unwrap();
}

#[test]
fn peers_of_other_loops_are_served_while_a_loop_is_held_up() {
    let mut server = Running::bind(&any_port(), config(Mode::Pull));
    let sources: Arc<Mutex<Vec<Arc<Gated>>>> = Arc::default();
    let workers: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (server, sources) = (server.server.clone(), sources.clone());
            std::thread::spawn(move || work(&server, &sources))
        })
        .collect();
    // These three are the first loop's.
    server.run();
    let mut waiting = acquainted(&server);
    let (first, second) = (Arc::new(Gated::default()), Arc::new(Gated::default()));
    let [reading, next] = [&first, &second].map(|source| {
        let mut peer = acquainted(&server);
        sources.lock().push(source.clone());
        peer.write_all(GET_GATED).unwrap();
        wait_until("it is being sent", || {
            Arc::strong_count(source) == 2 && sources.lock().is_empty()
        });
        peer
    });
    server.run();
    // The second holds the loop up in a turn that has brought a request before.
    first.shut();
    wait_until("the first holds its loop up", || {
        read_on(&reading, || first.holds());
        first.holds()
    });
    second.shut();
    waiting.write_all(GET).unwrap();
    read_on(&next, || false);
    first.open();
    wait_until("the second holds the loop up", || {
        read_on(&next, || second.holds());
        second.holds()
    });
    for _ in 0..20 {
        acquainted(&server);
    }
    assert_eq!(read_response(&mut waiting), b"x", "what the turn brought");
    assert!(second.holds(), "all of it happened meanwhile");
    second.open();
    server.stop();
    workers.into_iter().for_each(join);
}

#[test]
fn the_notices_that_wait_for_a_loop_that_is_held_up_are_bounded() {
    let mut server = Running::bind(
        &any_port(),
        Config {
            queue: 1,
            ..config(Mode::Push)
        },
    );
    server.run();
    let mut held = server.connect();
    held.write_all(GET).unwrap();
    drop(server.pushed_request());
    let mut holding = server.connect();
    let sink = server.sink.clone();
    // Its thread waits for this, as for a handler that a user's pool runs on it.
    let holds_up = sink.work.lock();
    holding.write_all(GET).unwrap();
    wait_until("the loop is held up", || sink.batches.lock().len() == 2);
    server.run();
    let mut queued = server.connect();
    queued.write_all(GET).unwrap();
    wait_until("the queue is full", || server.server.stats().waiting == 1);
    let peer = server.connect();
    let mut responses = io::BufReader::new(&peer);
    let refused = 12_000;
    for _ in 0..refused / 100 {
        (&peer).write_all(&GET.repeat(100)).unwrap();
        for _ in 0..100 {
            let text = read_response(&mut responses);
            assert_eq!(text, b"Server unavailable, please try again");
        }
    }
    drop(holds_up);
    let (mut reported, mut warning) = (0, String::new());
    wait_until("all are reported, or accounted for", || {
        for notice in sink.notices.lock().drain(..) {
            match notice {
                Notice::RequestRefused => reported += 1,
                Notice::Warning(text) => warning = text,
                other => panic!("{other:?}"),
            }
        }
        reported == refused || !warning.is_empty()
    });
    assert_eq!(reported, 10_000);
    assert_eq!(
        warning,
        "2000 messages about peers were dropped: a loop was held up"
    );
}
