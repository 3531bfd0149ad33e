use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use httpkit_core::server::Sent;
use httpkit_core::server::queue::Mode;

use crate::support::{Running, answer, config, reply, wait_until};

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

#[test]
fn a_half_closed_connection_costs_no_processor_time_while_its_answer_is_made() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    peer.shutdown(Shutdown::Write).unwrap();
    let name = server.loop_name();
    let before = processor_time(&name);
    let during = Duration::from_secs(1);
    std::thread::sleep(during); // What is measured, not a wait for something.
    let used = Duration::from_nanos(processor_time(&name) - before);
    assert!(used < during / 20, "used {used:?} of {during:?}");
    answer(&exchange, b"late");
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("late"), "{answer}");
}

#[test]
fn a_stream_that_nobody_holds_goes_on_after_a_half_close() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    assert_eq!(exchange.stream(&reply(), b"first"), Sent::Accepted);
    peer.shutdown(Shutdown::Write).unwrap();
    // Long enough for the loop to have seen it: the stream must not end by then.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(exchange.chunk(b"second", 0, 1000), Sent::Accepted);
    assert_eq!(exchange.end(), Sent::Accepted);
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("6\r\nsecond\r\n0\r\n\r\n"), "{answer}");
}

#[test]
fn a_stream_to_a_peer_that_is_gone_ends_although_it_had_half_closed_before() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    peer.shutdown(Shutdown::Write).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(exchange.stream(&reply(), b"first"), Sent::Accepted);
    drop(peer);
    wait_until("the stream is refused", || {
        exchange.chunk(b"more", 0, 1000) != Sent::Accepted
    });
}

#[test]
fn an_answer_that_still_waits_is_read_to_its_end_after_a_half_close() {
    const SIZE: usize = 20_000_000;
    for fields in ["", "Connection: close\r\n"] {
        let server = Running::start(config(Mode::Pull));
        let mut peer = server.connect();
        write!(peer, "GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").unwrap();
        answer(&server.request(), &vec![b'x'; SIZE]);
        // The answer is complete for us, and most of it waits in our queue.
        peer.shutdown(Shutdown::Write).unwrap();
        std::thread::sleep(Duration::from_millis(100)); // The end must have been seen.
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert!(bytes.len() > SIZE, "{} bytes, {fields:?}", bytes.len());
    }
}
