//! Every wait has its end, and says which one it was.

use crate::support::*;
use httpkit_core::client::*;
use httpkit_core::net::tls::TlsMode;
use std::cell::Cell;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn timeout(message: &str) -> Result<Seen, CallError> {
    Err(CallError::new(ErrorKind::Timeout, message.to_owned()))
}

/// Runs a call and checks that it ended between `least` and 800 ms later.
fn timed(client: &Running, spec: CallSpec, least: u64) -> Result<Seen, CallError> {
    let start = Instant::now();
    let result = client.run(spec);
    let took = start.elapsed();
    let least = Duration::from_millis(least);
    assert!(took + Duration::from_millis(2) >= least, "{took:?}");
    assert!(took < least + Duration::from_millis(800), "{took:?}");
    client.until_stats("freed", |stats| {
        stats.active.load(Ordering::Relaxed) == 0 && stats.open.load(Ordering::Relaxed) == 0
    });
    result
}

/// An address whose connects hang: its listener's queue is full.
pub struct FullBacklog {
    pub address: SocketAddr,
    pub listener: TcpListener,
    _fillers: Vec<TcpStream>,
}

impl FullBacklog {
    pub fn new() -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let listener: TcpListener = socket.into();
        let address = listener.local_addr().unwrap();
        let mut fillers = Vec::new();
        while let Ok(filler) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            fillers.push(filler);
        }
        Self {
            address,
            listener,
            _fillers: fillers,
        }
    }
}

#[test]
fn a_connect_that_hangs_ends_with_the_connect_timeout() {
    let full = FullBacklog::new();
    let client = Running::new();
    for millis in [50, 300] {
        let mut spec = get(full.address);
        spec.timeouts.connect = Millis(millis);
        assert_eq!(
            timed(&client, spec, millis as u64),
            timeout(&format!("connect timeout: {millis}ms"))
        );
    }
}

#[test]
fn a_negative_timeout_ends_the_call_at_once_and_zero_after_a_moment() {
    let full = FullBacklog::new();
    let client = Running::new();
    for (millis, waits) in [(-1, 0), (0, 200)] {
        let mut spec = get(full.address);
        spec.timeouts.connect = Millis(millis);
        assert_eq!(
            timed(&client, spec, waits),
            timeout(&format!("connect timeout: {millis}ms"))
        );
    }
}

#[test]
fn timeouts_of_zero_let_quick_responses_through() {
    let server = Server::new(|_, stream| {
        while read_request(stream).is_some() {
            stream.write_all(OK).unwrap();
        }
        hang(stream);
    });
    let silent = Server::new(|_, stream| {
        read_request(stream);
        hang(stream);
    });
    let client = Running::new();
    let eager = |address| {
        let mut spec = get(address);
        spec.timeouts.connect = Millis(0);
        spec.timeouts.idle = Millis(0);
        spec
    };
    // On a machine under load one may well be late.
    let through = (0..20).any(|_| client.run(eager(server.address)).is_ok());
    assert!(through);
    let late = timed(&Running::new(), eager(silent.address), 200);
    assert_eq!(late, timeout("idle timeout: 0ms"));
}

#[test]
fn silence_ends_with_the_idle_timeout_wherever_it_falls() {
    for said in [
        "",
        "HTTP/1.1 20",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n\r\nok",
    ] {
        let server = Server::new(move |_, stream| {
            read_request(stream);
            stream.write_all(said.as_bytes()).unwrap();
            hang(stream);
        });
        let mut spec = get(server.address);
        spec.timeouts.idle = Millis(150);
        assert_eq!(
            timed(&Running::new(), spec, 150),
            timeout("idle timeout: 150ms"),
            "{said}"
        );
    }
}

#[test]
fn bytes_start_the_idle_timeout_anew() {
    let server = Server::new(|_, stream| {
        read_request(stream);
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
        stream.write_all(head).unwrap();
        for byte in b"abcdef" {
            std::thread::sleep(Duration::from_millis(150));
            stream.write_all(&[*byte]).unwrap();
        }
    });
    let mut spec = get(server.address);
    spec.timeouts.idle = Millis(700);
    assert_eq!(Running::new().run(spec).unwrap().text(), "abcdef");
}

#[test]
fn bytes_of_a_transports_own_are_no_silence() {
    let client = Running::new();
    let mut spec = CallSpec {
        hosted: true,
        tls: Some(TlsMode::TrustAll),
        addresses: Vec::new(),
        ..get("127.0.0.1:1".parse().unwrap())
    };
    spec.timeouts.idle = Millis(600);
    let start = Instant::now();
    let call = client.start(spec);
    let asked = |what: &str, want: &dyn Fn(&Asked) -> bool| {
        let mut found = 0;
        eventually(what, || {
            let transports = client.log.transports.lock().unwrap();
            let one = transports.iter().find(|(_, asked)| want(asked));
            one.inspect(|(id, _)| found = *id).is_some()
        });
        found
    };
    let transport = asked("opened", &|asked| *asked == Asked::Open(call));
    client.client.transport_ready(transport);
    asked("secured", &|asked| *asked == Asked::StartTls(call, 0));
    let drip = || {
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(200));
            client.client.transport_written(transport, 0);
        }
    };
    drip();
    client.client.transport_ready(transport);
    asked("written", &|asked| matches!(asked, Asked::Write(_)));
    drip();
    client
        .client
        .transport_received(transport, OK.to_vec().into());
    assert_eq!(client.result(call).unwrap().text(), "ok");
    assert!(start.elapsed() > Duration::from_millis(2 * 600));
}

#[test]
fn a_peer_that_stops_reading_ends_with_the_idle_timeout() {
    let server = Server::new(|_, stream| {
        std::thread::sleep(Duration::from_secs(3));
        drop(stream.try_clone());
    });
    let mut spec = post(server.address, vec![b'x'; 20_000_000]);
    spec.timeouts.idle = Millis(200);
    let start = Instant::now();
    assert_eq!(Running::new().run(spec), timeout("idle timeout: 200ms"));
    assert!(start.elapsed() < Duration::from_secs(2));
}

/// A client that believes its sockets to hold this many bytes, one less each time that it looks, down to 1.
#[cfg(unix)]
fn draining(from: u64) -> Running {
    static FROM: AtomicU64 = AtomicU64::new(0);
    thread_local!(static QUEUE: Cell<Option<u64>> = const { Cell::new(None) });
    fn unsent(_: std::os::fd::BorrowedFd<'_>) -> u64 {
        let held = QUEUE.get().unwrap_or_else(|| FROM.load(Ordering::SeqCst));
        QUEUE.set(Some((held - 1).max(1)));
        held
    }
    FROM.store(from, Ordering::SeqCst);
    Running::with(ClientConfig {
        unsent: Some(unsent),
        ..ClientConfig::default()
    })
}

#[cfg(unix)]
#[test]
fn a_peer_is_not_silent_while_it_takes_what_the_system_holds() {
    let server = silent_at_last();
    let head = "POST /silent HTTP/1.1\r\nHost: h\r\n";
    let posts = |at: &str| {
        let length = if at == "chunked" {
            "Transfer-Encoding: chunked"
        } else {
            "Content-Length: 2"
        };
        CallSpec {
            method: Method::Other,
            head: Bytes::from(format!("{head}{length}\r\n\r\n")),
            ..get(server.address)
        }
    };
    for kind in ["whole", "chunked", "on a kept connection"] {
        // Eight looks in an idle timeout: this takes four times as long, and then one more.
        let client = draining(32);
        let mut spec = posts(kind);
        match kind {
            "chunked" => spec.upload = Upload::Chunked,
            _ => spec.body = Bytes::from("ok"),
        }
        if kind == "on a kept connection" {
            client.run(get(server.address)).unwrap();
            client.until_stats("parked", |stats| stats.idle.load(Ordering::Relaxed) == 1);
        }
        spec.timeouts.idle = Millis(200);
        let begun = Instant::now();
        let call = client.start(spec);
        if kind == "chunked" {
            client.client.send_body(call, Bytes::from("ok"), true);
        }
        assert_eq!(
            client.result(call),
            timeout("idle timeout: 200ms"),
            "{kind}"
        );
        assert!(
            begun.elapsed() > Duration::from_millis(900),
            "{kind}: {:?}",
            begun.elapsed()
        );
    }
    // A request without a body has nothing that a peer could be slow to take.
    let mut spec = silent(server.address, Timeouts::default());
    spec.timeouts.idle = Millis(200);
    assert_eq!(
        timed(&draining(32), spec, 200),
        timeout("idle timeout: 200ms")
    );
    // A peer that takes nothing is silent.
    let mut spec = posts("whole");
    spec.body = Bytes::from("ok");
    spec.timeouts.idle = Millis(200);
    assert_eq!(
        timed(&draining(1), spec, 200),
        timeout("idle timeout: 200ms")
    );
}

#[test]
fn waiting_in_the_queue_counts_as_connecting() {
    let server = Server::new(|_, stream| hang(stream));
    let client = Running::with(ClientConfig {
        max_connections: Some(1),
        ..ClientConfig::default()
    });
    let first = client.start(get(server.address));
    eventually("connected", || server.connections() == 1);
    let mut spec = get(server.address);
    spec.timeouts.connect = Millis(150);
    assert_eq!(client.run(spec), timeout("connect timeout: 150ms"));
    let mut spec = get(server.address);
    spec.timeouts.pool = Some(Millis(100));
    assert_eq!(client.run(spec), timeout("pool timeout: 100ms"));
    client.client.cancel(first);
}

#[test]
fn the_deadline_holds_in_every_phase() {
    let full = FullBacklog::new();
    let silent = Server::new(|_, stream| hang(stream));
    let dripping = Server::new(|_, stream| {
        read_request(stream);
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
        stream.write_all(head).unwrap();
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let client = Running::new();
    for address in [full.address, silent.address, dripping.address] {
        let mut spec = get(address);
        spec.timeouts.deadline = Some((Millis(190), Millis(200)));
        assert_eq!(timed(&client, spec, 190), timeout("deadline: 200ms"));
    }
    let mut spec = get(silent.address);
    spec.timeouts.deadline = Some((Millis(200), Millis(200)));
    spec.tls = Some(TlsMode::TrustAll);
    spec.tls_name = "localhost".to_owned();
    let tls = httpkit_core::net::tls::TlsContext::new(vec![], vec![], vec![]).unwrap();
    client.client.set_tls(tls);
    assert_eq!(
        timed(&client, spec.clone(), 200),
        timeout("deadline: 200ms")
    );
    spec.timeouts.deadline = None;
    spec.timeouts.idle = Millis(200);
    assert_eq!(timed(&client, spec, 200), timeout("idle timeout: 200ms"));
}

#[test]
fn a_stale_retry_starts_the_connect_clock_anew() {
    let server = Server::new(|nth, stream| {
        while read_request(stream).is_some() {
            stream.write_all(OK).unwrap();
            if nth == 0 {
                read_request(stream);
                std::thread::sleep(Duration::from_millis(300));
                return;
            }
        }
    });
    let client = Running::new();
    client.run(get(server.address)).unwrap();
    let mut spec = get(server.address);
    spec.timeouts.connect = Millis(200);
    assert_eq!(client.run(spec).unwrap().status, 200);
}

/// Responds to all requests but those for `/silent`.
fn silent_at_last() -> Server {
    Server::new(|_, stream| {
        while let Some((head, _)) = read_request(stream) {
            match path(&head).as_str() {
                "/silent" => hang(stream),
                _ => stream.write_all(OK).unwrap(),
            }
        }
    })
}

fn silent(address: SocketAddr, timeouts: Timeouts) -> CallSpec {
    CallSpec {
        head: Bytes::from_static(b"GET /silent HTTP/1.1\r\nHost: h\r\n\r\n"),
        timeouts,
        ..get(address)
    }
}

#[test]
fn calls_before_one_on_its_connection_neither_lengthen_nor_shorten_its_limits() {
    let idle = |millis| Timeouts {
        idle: Millis(millis),
        ..Timeouts::default()
    };
    let deadline = |millis| Timeouts {
        deadline: Some((Millis(millis), Millis(millis))),
        ..Timeouts::default()
    };
    let server = silent_at_last();
    for (before, last, least, error) in [
        (idle(60_000), idle(300), 300, "idle timeout: 300ms"),
        (idle(1000), idle(1000), 1000, "idle timeout: 1000ms"),
        (idle(60_000), deadline(300), 300, "deadline: 300ms"),
        (deadline(300), deadline(900), 900, "deadline: 900ms"),
    ] {
        let client = Running::new();
        for nth in 0..50 {
            let spec = CallSpec {
                timeouts: before,
                ..get(server.address)
            };
            assert_eq!(client.run(spec).unwrap().reused, nth > 0);
            client.until_stats("parked", |stats| stats.idle.load(Ordering::Relaxed) == 1);
        }
        let spec = silent(server.address, last);
        assert_eq!(timed(&client, spec, least), timeout(error));
    }
}

#[test]
fn a_reader_that_pauses_before_the_last_chunk_has_all_its_time() {
    let (go, gate) = std::sync::mpsc::channel();
    let gate = std::sync::Mutex::new(gate);
    let server = Server::new(move |_, stream| {
        read_request(stream);
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n";
        stream.write_all(head).unwrap();
        gate.lock().unwrap().recv().unwrap();
        stream.write_all(b"0\r\n\r\n").unwrap();
        hang(stream);
    });
    let client = Running::new();
    let mut spec = get(server.address);
    spec.streamed = true;
    spec.window = 4;
    spec.timeouts.idle = Millis(1000);
    let call = client.start(spec);
    client.until(call, |said| {
        said.contains(&Said::Body(b"body".to_vec())).then_some(())
    });
    // Longer than the timeout: it counts from the credit on.
    std::thread::sleep(Duration::from_millis(1500));
    client.client.credit(call, 4);
    std::thread::sleep(Duration::from_millis(100));
    go.send(()).unwrap();
    client.until_stats("whole", |s| s.idle.load(Ordering::Relaxed) == 1);
}
