//! A server of the core for targets that talk to it through sockets, and the thread that is its user code.

use std::io::{ErrorKind, Read as _, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use httpkit_core::h1::proxy::ProxyMode;
use httpkit_core::net::tls_server::{ClientAuth, Identity, TlsMaterial};
use httpkit_core::server::request::{FLAG_STREAMED, FLAG_UPGRADE};
use httpkit_core::server::{
    Address, Config, Event, Exchange, Interest, Notice, Read, Request, ResponseHead, Server, Sink,
    Work,
};
use httpkit_core::ws::Opcode;
use rcgen::{CertificateParams, KeyPair};

/// How long a peer waits.
pub const PATIENCE: Duration = Duration::from_secs(20);
const NAME: i64 = 7;
/// Bodies beyond this are read as they arrive.
const REQUEST_BUFFER: usize = 64;
pub const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/// Servers run until the process ends, so they need not be stopped.
pub struct Serving {
    plain: SocketAddr,
    tls: SocketAddr,
}

#[derive(Debug)]
struct Quiet;

impl Sink for Quiet {
    fn on_work(&self, _: Vec<Work>) {}
    fn on_starved(&self, _: usize) {}
    fn on_drained(&self, _: i64, _: bool) {}
    fn on_body(&self, _: i64) {}
    fn on_closing(&self, _: i64, _: i32, _: &str) {}
    fn on_notice(&self, notice: Notice) {
        if let Notice::LoopError(error) = notice {
            eprintln!("a loop failed: {error}");
            // A panic on this thread would be caught; the fuzzer has to see it.
            std::process::abort();
        }
    }
}

impl Serving {
    pub fn start(proxy: ProxyMode) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = Config {
            proxy,
            max_message: 1 << 16,
            request_buffer: Some(REQUEST_BUFFER),
            threads: 1,
            kept: 1,
            ..Config::default()
        };
        let server = Server::bind(&Address::Inet(any), config, Arc::new(Quiet)).unwrap();
        let server = Arc::new(server);
        server.tls().set(material()).unwrap();
        let tls = server.listen_tls(&Address::Inet(any)).unwrap().unwrap();
        let plain = server.port().unwrap();
        let [running, working] = [server.clone(), server];
        std::thread::spawn(move || running.run(true).unwrap());
        std::thread::spawn(move || {
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| serve(&working)));
            eprintln!("the worker ended: {result:?}");
            std::process::abort();
        });
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            plain: at(plain),
            tls: at(tls),
        }
    }

    pub fn connect(&self, secure: bool) -> TcpStream {
        let stream = TcpStream::connect(if secure { self.tls } else { self.plain }).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        // A reset leaves no port behind in TIME_WAIT, of which there are too few for a fuzzer.
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        stream
    }
}

/// With an RSA key, no loop signs: it waits for whole hellos.
fn material() -> TlsMaterial {
    let rsa = include_str!("../../tests/server/keys/rsa2048.pem");
    let keys = [KeyPair::generate(), KeyPair::from_pem(rsa)].map(Result::unwrap);
    let identity = |key: KeyPair| {
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        Identity {
            chain: vec![params.self_signed(&key).unwrap().der().to_vec()],
            key: key.serialize_der(),
            ocsp: None,
        }
    };
    TlsMaterial {
        identities: keys.map(identity).into(),
        anchors: vec![],
        crls: vec![],
        client_auth: ClientAuth::None,
        tls12: true,
        tls13: true,
        redirect: false,
    }
}

/// Sends `pieces` and ends its side; returns what the server says until it ends its own.
pub fn talk(mut peer: TcpStream, bytes: &[u8], size: usize) -> Vec<u8> {
    for piece in bytes.chunks(size.max(1)) {
        if peer.write_all(piece).is_err() {
            break; // refused: what it said can still be read, or is gone with a reset
        }
    }
    // The server may have reset the connection.
    let _ = peer.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    match peer.read_to_end(&mut said) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("the server never ended the connection")
        }
        _ => said,
    }
}

/// User code: echoes bodies and messages.
fn serve(server: &Server) {
    while let Some(work) = server.take() {
        match work {
            Work::Request(request) => respond(request),
            Work::Events(exchange) => echo(&exchange),
        }
    }
}

fn respond(request: Request) {
    let exchange = request.exchange.clone();
    if !exchange.bind(NAME) {
        return;
    }
    let block = request.into_block(NAME);
    let flags = block[10];
    if flags & FLAG_UPGRADE != 0 && exchange.upgrade(b"", Interest::default(), None) {
        return;
    }
    let body = match flags & FLAG_STREAMED {
        0 => Vec::new(),
        _ => read_body(&exchange),
    };
    let head = ResponseHead {
        status: 200,
        headers: b"",
        flags: 0,
        declared: -1,
    };
    exchange.respond(&head, &body, body.len() as u64);
}

/// As much of it as has arrived, or arrives soon.
fn read_body(exchange: &Exchange) -> Vec<u8> {
    let (mut body, mut piece, mut waits) = (Vec::new(), [0; 100], 0);
    loop {
        match exchange.read_body(&mut piece) {
            Read::Data(n) => body.extend_from_slice(&piece[..n]),
            Read::Later if waits < 10 => {
                waits += 1;
                std::thread::sleep(Duration::from_micros(50));
            }
            Read::Later | Read::End | Read::Failed(_) => return body,
        }
    }
}

fn echo(exchange: &Exchange) {
    loop {
        let events = exchange.take_events();
        if events.is_empty() {
            return;
        }
        for event in events {
            match event {
                Event::Text(text) => {
                    assert!(std::str::from_utf8(&text).is_ok());
                    exchange.send_frame(Opcode::Text, &text[..], 0, usize::MAX);
                }
                Event::Binary(bytes) => {
                    exchange.send_frame(Opcode::Binary, &bytes[..], 0, usize::MAX);
                }
                _ => {}
            }
        }
    }
}
