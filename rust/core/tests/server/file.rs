//! Files as bodies: sent by the loop as the peer takes them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use httpkit_core::server::{CLOSE, Mode, Notice, Responded, ResponseHead};

use crate::support::{Running, answer, config, read_head, read_response, reply, wait_until};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// More than the sockets' buffers hold on both sides.
const LONG: usize = 24 * 1024 * 1024;

/// A file that is removed with it.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("httpkit-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn open(&self) -> File {
        File::open(&self.0).unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// Reads the head of an answer of [`LONG`] bytes, and asserts that it says so.
fn read_long_head(peer: &mut TcpStream) {
    let head = read_head(peer).to_ascii_lowercase();
    assert!(
        head.contains(&format!("content-length: {LONG}\r\n")),
        "{head}"
    );
}

#[test]
fn files_of_any_length_arrive_whole_and_the_connection_goes_on() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    for len in [0, 1, 1000, 256 * 1024, 1024 * 1024, 3_000_001] {
        let file = Temporary::new("any", &content(len));
        peer.write_all(GET).unwrap();
        let answered = server
            .request()
            .respond_file(&reply(), file.open(), 0, len as u64);
        assert!(
            matches!(answered, Responded::Done(None)),
            "{len}: {answered:?}"
        );
        assert!(read_response(&mut peer) == content(len), "{len} bytes");
    }
    assert_eq!(server.server.accepted(), 1);
}

#[test]
fn a_file_for_a_peer_that_does_not_read_holds_no_thread_and_its_successor_waits() {
    let server = Running::start(config(Mode::Pull));
    let file = Temporary::new("slow", &content(LONG));
    let mut peer = server.connect();
    peer.write_all(&GET.repeat(2)).unwrap();
    // Returns although next to nothing of it has been read.
    let answered = server
        .request()
        .respond_file(&reply(), file.open(), 0, LONG as u64);
    assert!(matches!(answered, Responded::Done(None)), "{answered:?}");
    let mut other = server.connect();
    other.write_all(GET).unwrap();
    answer(&server.request(), b"meanwhile");
    assert_eq!(read_response(&mut other), b"meanwhile");

    read_long_head(&mut peer);
    let mut body = vec![0; LONG];
    peer.read_exact(&mut body).unwrap();
    assert!(body == content(LONG));
    answer(&server.request(), b"second");
    assert_eq!(read_response(&mut peer), b"second");
}

#[test]
fn the_last_response_of_a_connection_may_be_a_file() {
    let server = Running::start(config(Mode::Pull));
    let file = Temporary::new("last", &content(LONG));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let last = ResponseHead {
        flags: CLOSE,
        ..reply()
    };
    server
        .request()
        .respond_file(&last, file.open(), 0, LONG as u64);
    read_long_head(&mut peer);
    let mut body = Vec::new();
    peer.read_to_end(&mut body).unwrap();
    assert!(body == content(LONG));
}

#[test]
fn a_response_to_head_has_the_length_of_the_file_and_nothing_of_it() {
    let server = Running::start(config(Mode::Pull));
    let file = Temporary::new("head", b"content");
    let mut peer = server.connect();
    peer.write_all(b"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .unwrap();
    server.request().respond_file(&reply(), file.open(), 0, 7);
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    assert!(
        all.to_ascii_lowercase().contains("content-length: 7\r\n"),
        "{all}"
    );
    assert!(all.ends_with("\r\n\r\n"), "{all}");
}

#[test]
fn a_file_that_becomes_shorter_cuts_the_connection_and_is_reported() {
    let server = Running::start(config(Mode::Pull));
    let file = Temporary::new("shrinking", &content(LONG));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    server
        .request()
        .respond_file(&reply(), file.open(), 0, LONG as u64);
    File::options()
        .write(true)
        .open(&file.0)
        .unwrap()
        .set_len(1000)
        .unwrap();
    read_long_head(&mut peer);
    let mut body = Vec::new();
    let end = peer.read_to_end(&mut body);
    assert!(
        end.is_err() && body.len() < LONG,
        "{end:?} after {} bytes",
        body.len()
    );
    wait_until("that is reported", || {
        let notices = server.sink.notices.lock();
        notices
            .iter()
            .any(|notice| matches!(notice, Notice::File(why) if why.contains("shorter")))
    });
    wait_until("the connection is given up", || {
        server.server.connections() == 0
    });
}

#[test]
fn a_peer_that_leaves_in_the_middle_of_a_file_is_no_error() {
    let server = Running::start(config(Mode::Pull));
    let file = Temporary::new("left", &content(LONG));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    server
        .request()
        .respond_file(&reply(), file.open(), 0, LONG as u64);
    read_long_head(&mut peer);
    drop(peer);
    wait_until("the connection is given up", || {
        server.server.connections() == 0
    });
    assert!(server.sink.notices.lock().is_empty(), "nothing is reported");
}
