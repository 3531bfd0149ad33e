//! A whole client and one call: whatever the peer, or a proxy, responds, the call ends once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};

use httpkit_core::client::{
    Address, Bytes, CallError, CallId, CallSpec, Client, ClientConfig, Head, Millis, Route, Sink,
    Timeouts,
};
use httpkit_core::net::hosted::{HostsNone, TransportId};

use super::serving::PATIENCE;

/// More than that of a body is a bomb, which the client refuses.
const MOST: u64 = 1 << 20;

/// Tells of the ends of calls.
struct Ends(Sender<CallId>);

impl Ends {
    fn tell(&self, call: CallId) -> bool {
        self.0.send(call).is_ok()
    }
}

impl Sink for Ends {
    fn on_response(&self, call: CallId, head: &Head<'_>, body: &[u8]) -> bool {
        assert!(head.status >= 200 || head.status == 101);
        assert!(body.len() as u64 <= MOST);
        self.tell(call)
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
    fn on_end(&self, call: CallId) -> bool {
        self.tell(call)
    }
    fn on_failure(&self, call: CallId, _: &CallError, _: Option<TransportId>) -> bool {
        self.tell(call)
    }
    fn on_send_credit(&self, _: CallId, _: usize) -> bool {
        true
    }
}

impl HostsNone for Ends {}

/// What the peer says, and in pieces of which size.
type Script = Arc<Mutex<(Vec<u8>, usize)>>;

struct Calling {
    client: Arc<Client>,
    ends: Receiver<CallId>,
    last: CallId,
    peer: SocketAddr,
    script: Script,
}

impl Calling {
    fn start() -> Self {
        let client = Arc::new(Client::new(ClientConfig::default()));
        let (tell, ends) = channel();
        let running = client.clone();
        std::thread::spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                running.run(Arc::new(Ends(tell)))
            }));
            eprintln!("the client's loop ended: {result:?}");
            std::process::abort();
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        let script = Script::default();
        let said = script.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (bytes, size) = said.lock().unwrap().clone();
                say(stream.unwrap(), &bytes, size);
            }
        });
        Self {
            client,
            ends,
            last: 0,
            peer,
            script,
        }
    }

    /// A call that takes this route.
    fn call(&mut self, route: Route, streamed: bool) {
        self.last += 1;
        let spec = CallSpec {
            timeouts: Timeouts {
                connect: Millis(10_000),
                idle: Millis(10_000),
                ..Timeouts::default()
            },
            streamed,
            window: 1 << 24,
            max_decoded: Some(MOST),
            max_body: Some(MOST),
            host: "127.0.0.1".to_owned(),
            addresses: vec![Address::Inet(self.peer)],
            head: Bytes::from_static(b"GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n"),
            route,
            ..CallSpec::default()
        };
        assert!(self.client.call(self.last, Box::new(spec)));
        match self.ends.recv_timeout(PATIENCE) {
            Ok(call) => assert_eq!(call, self.last, "an earlier call ended twice"),
            Err(RecvTimeoutError::Timeout) => panic!("the call never ended"),
            Err(RecvTimeoutError::Disconnected) => panic!("the client ended"),
        }
    }
}

/// Waits for a request, says its piece, and leaves.
fn say(mut stream: TcpStream, bytes: &[u8], size: usize) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    // The client may be gone: it has heard enough.
    let _ = stream.read(&mut [0; 1024]);
    for piece in bytes.chunks(size.max(1)) {
        if stream.write_all(piece).is_err() {
            return;
        }
    }
}

// The first byte chooses the route and whether the body is streamed, the second is the size of the writes.
pub fn run(data: &[u8]) {
    static CALLING: OnceLock<Mutex<Calling>> = OnceLock::new();
    let &[choice, size, ref bytes @ ..] = data else {
        return;
    };
    let mut calling = CALLING
        .get_or_init(|| Mutex::new(Calling::start()))
        .lock()
        .unwrap();
    let size = match size {
        0 => bytes.len(),
        // Not a million system calls for one input.
        size => usize::from(size).max(bytes.len() / 50),
    };
    *calling.script.lock().unwrap() = (bytes.to_vec(), size);
    let (host, port) = ("target.test".to_owned(), 80);
    let route = match choice & 3 {
        0 | 1 => Route::Direct,
        2 => Route::Tunnel {
            host,
            port,
            authorization: String::new(),
            tls: None,
        },
        _ => Route::Socks5 {
            host,
            port,
            credentials: (choice & 8 != 0).then(|| ("user".to_owned(), "word".to_owned())),
        },
    };
    calling.call(route, choice & 4 != 0);
}
