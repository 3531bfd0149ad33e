//! What an idle TLS connection takes beyond a plain one. Alone in its process, whose memory is measured.

#[allow(dead_code)] // The client's and the server's tests use all of these.
#[path = "../client/certificates.rs"]
mod certificates;
#[allow(dead_code)]
#[path = "../server/support.rs"]
mod support;
#[allow(dead_code)]
#[path = "../server/tls_support.rs"]
mod tls_support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use httpkit_core::server::Mode;
use support::{answer, config, read_response};
use tls_support::{Secure, VERSIONS};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const COUNT: usize = 600;

/// Bytes of memory that this process has.
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let resident = pages.split(' ').nth(1).unwrap();
    resident.parse::<usize>().unwrap() * 4096
}

fn exchange(server: &Secure, peer: &mut (impl Read + Write)) {
    peer.write_all(GET).unwrap();
    answer(&server.running.request(), b"hello");
    assert_eq!(read_response(peer), b"hello");
}

/// Bytes for each connection that has served a request and waits for the next, without what its client takes. They are
/// added to `open`, since the next measurement must not find their memory free.
fn per_connection(open: &mut Vec<TcpStream>, mut connect: impl FnMut() -> TcpStream) -> usize {
    // Whatever grows with the first connections is there before the measurement.
    open.extend((0..50).map(|_| connect()));
    let before = memory();
    open.extend((0..COUNT).map(|_| connect()));
    memory().saturating_sub(before) / COUNT
}

#[test]
fn an_idle_tls_connection_takes_at_most_six_kilobytes_more_than_a_plain_one() {
    let server = Secure::start(config(Mode::Pull));
    let mut open = Vec::new();
    let plain = per_connection(&mut open, || {
        let mut peer = server.running.connect();
        exchange(&server, &mut peer);
        peer
    });
    for version in VERSIONS {
        let client = Arc::new(server.client(&[version]));
        let secured = per_connection(&mut open, || {
            let mut peer = server.connect_with(client.clone());
            exchange(&server, &mut peer);
            peer.sock
        });
        let name = version.version;
        println!("{name:?}: {secured} bytes, plain {plain}");
        assert!(
            secured < plain + 6 * 1024,
            "{name:?}: {secured}, plain {plain}"
        );
    }
}
