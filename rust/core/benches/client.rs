//! What a call costs on loopback: one after the other, 64 at a time, and with
//! bodies of 1 MB; a bare blocking socket is the yardstick.
//!
//! cargo bench -p httpkit-core --bench client
//!
//! Best of five. Wall time per call, server thread included: both share the
//! machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use httpkit_core::client::*;
use httpkit_core::net::hosted::{HostsNone, TransportId};

const REQUEST: &[u8] = b"GET /p HTTP/1.1\r\nHost: localhost\r\nUser-Agent: http-kit/2.0\r\nAccept-Encoding: gzip, deflate\r\n\r\n";

fn main() {
    for (name, body, outstanding, calls) in [
        ("small, one after the other", 2, 1, 20_000),
        ("2 KB, 64 at a time", 2048, 64, 40_000),
        ("1 MB, 8 at a time", 1_000_000, 8, 400),
    ] {
        let server = serve(body);
        if outstanding == 1 {
            report(name, "bare socket", || bare(server, calls));
        }
        let client = Looping::new();
        report(name, "client", || client.run(server, outstanding, calls));
    }
}

fn report(name: &str, who: &str, run: impl Fn() -> f64) {
    let best = (0..5).map(|_| run()).fold(f64::MAX, f64::min);
    println!("{name:<30} {who:<12} {best:>8.2} us/call");
}

/// A server with one thread per connection that answers each request.
fn serve(body: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {body}\r\n\r\n");
    let answer = Arc::new([head.as_bytes(), &vec![b'x'; body]].concat());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer_all(stream, &answer));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream, answer: &[u8]) {
    let mut request = [0; REQUEST.len()];
    while stream.read_exact(&mut request).is_ok() {
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}

/// The least that a call can be: write, read, no protocol.
fn bare(server: SocketAddr, calls: u32) -> f64 {
    let mut stream = TcpStream::connect(server).expect("a connection");
    let mut answer = [0; 4096];
    let start = Instant::now();
    for _ in 0..calls {
        stream.write_all(REQUEST).expect("written");
        assert!(stream.read(&mut answer).expect("read") > 0);
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}

struct Ends(Sender<bool>);

impl Sink for Ends {
    fn on_response(&self, _: CallId, head: &Head<'_>, _: &[u8]) -> bool {
        self.0.send(head.status == 200).is_ok()
    }
    fn on_head(&self, _: CallId, _: &Head<'_>) -> bool {
        true
    }
    fn room(&self) -> u64 {
        u64::MAX
    }
    fn on_body(&self, _: CallId, _: &[u8]) -> bool {
        true
    }
    fn on_end(&self, _: CallId) -> bool {
        true
    }
    fn on_failure(&self, _: CallId, error: &CallError, _: Option<TransportId>) -> bool {
        eprintln!("{error:?}");
        self.0.send(false).is_ok()
    }
    fn on_send_credit(&self, _: CallId, _: usize) -> bool {
        true
    }
}

impl HostsNone for Ends {}

/// A client on its own thread.
struct Looping {
    client: Arc<Client>,
    ends: Receiver<bool>,
}

impl Looping {
    fn new() -> Self {
        let client = Arc::new(Client::new(ClientConfig::default()));
        let (sender, ends) = channel();
        let looping = client.clone();
        std::thread::spawn(move || looping.run(Arc::new(Ends(sender))));
        Self { client, ends }
    }

    fn run(&self, server: SocketAddr, outstanding: u32, calls: u32) -> f64 {
        let start = Instant::now();
        for nth in 0..calls {
            if nth >= outstanding {
                assert!(self.ends.recv().expect("an end"));
            }
            self.client.call(u64::from(nth), Box::new(spec(server)));
        }
        for _ in 0..outstanding {
            assert!(self.ends.recv().expect("an end"));
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
    }
}

impl Drop for Looping {
    fn drop(&mut self) {
        self.client.stop();
    }
}

fn spec(server: SocketAddr) -> CallSpec {
    CallSpec {
        host: "localhost".to_owned(),
        addresses: vec![Address::Inet(server)],
        head: Bytes::from_static(REQUEST),
        ..CallSpec::default()
    }
}
