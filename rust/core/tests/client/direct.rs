//! Requests that the caller's own thread writes to an idle connection, while the task of that rests.

use crate::support::*;
use httpkit_core::client::*;
use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Keeps the loop's thread from its work until the sender is dropped.
pub fn hold_up(client: &Running) -> Sender<()> {
    let (release, released) = channel();
    let (held, holds) = channel();
    *client.log.first.lock().unwrap() = Some(Box::new(move || {
        held.send(()).unwrap();
        let _ = released.recv();
    }));
    let other = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    client.start(get(Server::answering(other).address));
    holds.recv_timeout(PATIENCE).unwrap();
    release
}

/// A client with an idle connection, which is the first of `server`.
fn with_idle(server: &Server) -> Running {
    let client = Running::new();
    client.run(patient(server.address, 0)).unwrap();
    until_idle(&client);
    client
}

/// A call whose timeouts come after all that a test waits for: they wake no task earlier.
fn patient(address: SocketAddr, number: u64) -> CallSpec {
    let mut spec = get_numbered(address, number);
    spec.timeouts.idle = Millis(600_000);
    spec
}

fn until_idle(client: &Running) {
    client.until_stats("idle", |s| s.idle.load(Ordering::Relaxed) == 1);
}

/// A server whose connections tell of each request, and never respond to those after the first.
fn telling() -> (Server, Receiver<String>) {
    let (told, requests) = channel();
    let told = Mutex::new(told);
    let server = Server::new(move |_, stream| {
        let mut nth = 0;
        while let Some((head, _)) = read_request(stream) {
            told.lock().unwrap().send(path(&head)).unwrap();
            if nth == 0 {
                stream.write_all(OK).unwrap();
            }
            nth += 1;
        }
    });
    (server, requests)
}

/// A call in progress whose request has arrived, and whose response never comes.
fn unanswered(client: &Running, server: &Server, requests: &Receiver<String>) -> CallId {
    assert_eq!(requests.recv_timeout(PATIENCE).unwrap(), "/0");
    let call = client.start(patient(server.address, 1));
    assert_eq!(requests.recv_timeout(PATIENCE).unwrap(), "/1");
    call
}

/// A server that tells of each request, and responds to the first one when it is let.
struct Gated {
    server: Server,
    requests: Receiver<String>,
    go: Sender<()>,
    /// The client's end of the connection whose response has left.
    gone: Receiver<SocketAddr>,
}

impl Gated {
    /// `closes`: it ends the connection behind the first response.
    fn new(closes: bool) -> Self {
        let (told, requests) = channel();
        let (go, going) = channel::<()>();
        let (left, gone) = channel();
        let told = Mutex::new(told);
        let gate = Mutex::new((going, left));
        let server = Server::new(move |nth, stream| {
            let mut gated = nth == 0;
            while let Some((head, _)) = read_request(stream) {
                told.lock().unwrap().send(path(&head)).unwrap();
                let (going, left) = &*gate.lock().unwrap();
                if gated {
                    let _ = going.recv();
                }
                stream.write_all(&response(&path(&head))).unwrap();
                if gated && closes {
                    stream.shutdown(Shutdown::Write).unwrap();
                }
                if std::mem::take(&mut gated) {
                    left.send(stream.peer_addr().unwrap()).unwrap();
                }
            }
        });
        Self {
            server,
            requests,
            go,
            gone,
        }
    }

    fn start(&self, client: &Running) -> CallId {
        let call = client.start(patient(self.server.address, 0));
        assert_eq!(self.request(), "/0");
        call
    }

    fn request(&self) -> String {
        self.requests.recv_timeout(PATIENCE).unwrap()
    }

    /// The client's system has the first response, and its loop, which is held up, has not read it.
    fn respond(&self) {
        self.go.send(()).unwrap();
        until_received(self.gone.recv_timeout(PATIENCE).unwrap());
    }
}

/// A client with at most one connection for each server.
fn one_each() -> Running {
    Running::with(ClientConfig {
        max_per_host: Some(1),
        ..ClientConfig::default()
    })
}

#[test]
fn no_call_overtakes_one_that_waits_for_the_loop() {
    let (earlier, server) = (Gated::new(false), Gated::new(false));
    let client = one_each();
    earlier.start(&client);
    server.start(&client);
    let release = hold_up(&client);
    // The loop finds both in one turn, and takes no call in between.
    earlier.respond();
    server.respond();
    let calls = [next_call(), next_call()];
    let [first, second] = [1, 2].map(|number| {
        let (caller, call) = (client.client.clone(), calls[number - 1]);
        let spec = Box::new(patient(server.server.address, number as u64));
        move || assert!(caller.call(call, spec))
    });
    let log = client.log.clone();
    // While the server's only connection is busy, and once it is idle.
    *client.log.first.lock().unwrap() = Some(Box::new(move || {
        first();
        *log.first.lock().unwrap() = Some(Box::new(second));
    }));
    drop(release);
    for call in calls {
        client.result(call).unwrap();
    }
    assert_eq!([server.request(), server.request()], ["/1", "/2"]);
}

#[test]
fn a_queued_call_gets_no_connection_that_its_peer_has_left() {
    let server = Gated::new(true);
    let client = one_each();
    server.start(&client);
    let call = client.start(CallSpec {
        method: Method::Other,
        ..patient(server.server.address, 1)
    });
    client.until_stats("queued", |s| s.queued.load(Ordering::Relaxed) == 1);
    let release = hold_up(&client);
    server.respond();
    drop(release);
    let seen = client.result(call).unwrap();
    assert_eq!((seen.text().as_str(), seen.reused), ("/1", false));
}

#[test]
fn a_queued_call_whose_connection_is_lost_keeps_its_place() {
    let server = Gated::new(true);
    let client = one_each();
    server.start(&client);
    let calls = [1, 2].map(|number| client.start(patient(server.server.address, number)));
    client.until_stats("queued", |s| s.queued.load(Ordering::Relaxed) == 2);
    let release = hold_up(&client);
    server.respond();
    drop(release);
    for call in calls {
        client.result(call).unwrap();
    }
    assert_eq!([server.request(), server.request()], ["/1", "/2"]);
    assert_eq!(server.server.connections(), 2);
}

/// A client with an idle connection, whose peer will leave when it is let, and a call of another host in the queue.
struct Leaving {
    client: Running,
    server: Server,
    go: Sender<()>,
    gone: Receiver<SocketAddr>,
    queued: CallId,
}

impl Leaving {
    /// It never responds to more than its first request.
    fn new() -> Self {
        let (go, going) = channel::<()>();
        let (left, gone) = channel();
        let gate = Mutex::new((going, left));
        let server = Server::new(move |nth, stream| {
            read_request(stream);
            if nth > 0 {
                return hang(stream);
            }
            stream.write_all(OK).unwrap();
            let (going, left) = &*gate.lock().unwrap();
            let _ = going.recv();
            stream.shutdown(Shutdown::Write).unwrap();
            left.send(stream.peer_addr().unwrap()).unwrap();
        });
        let client = one_each();
        client.run(patient(server.address, 0)).unwrap();
        until_idle(&client);
        let busy = Server::new(|_, stream| hang(stream));
        let [_, queued] = [0, 1].map(|number| client.start(patient(busy.address, number)));
        client.until_stats("queued", |s| s.queued.load(Ordering::Relaxed) == 1);
        Self {
            client,
            server,
            go,
            gone,
            queued,
        }
    }

    /// Keeps the loop from its work while it takes a command, so that it takes others before its tasks run.
    fn hold_up(&self) -> Sender<()> {
        let (release, released) = channel();
        let (held, holds) = channel();
        *self.client.log.first.lock().unwrap() = Some(Box::new(move || {
            held.send(()).unwrap();
            let _ = released.recv();
        }));
        self.client.client.cancel(self.queued);
        holds.recv_timeout(PATIENCE).unwrap();
        release
    }

    fn leave(&self) {
        self.go.send(()).unwrap();
        until_received(self.gone.recv_timeout(PATIENCE).unwrap());
    }
}

#[test]
fn a_call_that_is_cancelled_before_its_connection_turns_out_dead_is_not_queued() {
    let leaving = Leaving::new();
    let client = &leaving.client;
    let release = leaving.hold_up();
    leaving.leave();
    let call = client.start(CallSpec {
        upload: Upload::Chunked,
        ..patient(leaving.server.address, 1)
    });
    // It takes the place, and is never responded to.
    client.start(patient(leaving.server.address, 2));
    client.client.cancel(call);
    drop(release);
    assert_eq!(client.result(call).unwrap_err().kind, ErrorKind::Cancelled);
}

#[test]
fn nothing_is_sent_after_a_stop() {
    let (server, requests) = telling();
    let mut client = with_idle(&server);
    assert_eq!(requests.recv_timeout(PATIENCE).unwrap(), "/0");
    let release = hold_up(&client);
    client.client.stop();
    let call = client.start(patient(server.address, 1));
    drop(release);
    client.stop();
    let said = client.log.calls.lock().unwrap();
    let stopped = CallError::new(ErrorKind::Stopped, "HTTP client is stopped");
    assert_eq!(said[&call], [Said::Failure(stopped, None)]);
    let next = requests.recv_timeout(Duration::from_millis(100));
    assert!(next.is_err(), "{next:?}");
}

#[test]
fn a_request_leaves_while_the_loop_is_held_up() {
    let (told, requests) = channel();
    let told = Mutex::new(told);
    let server = Server::echoing_paths(move |_, path, _| {
        told.lock().unwrap().send(path.to_owned()).unwrap();
    });
    let client = with_idle(&server);
    let release = hold_up(&client);
    let call = client.start(get_numbered(server.address, 1));
    for path in ["/0", "/1"] {
        assert_eq!(requests.recv_timeout(PATIENCE).unwrap(), path);
    }
    let stats = client.client.stats();
    let (idle, calls) = (stats.idle.load(Ordering::Relaxed), &stats.calls);
    assert_eq!((idle, calls.load(Ordering::Relaxed)), (0, 3));
    drop(release);
    let seen = client.result(call).unwrap();
    assert_eq!((seen.text().as_str(), seen.reused), ("/1", true));
    assert_eq!(stats.reused.load(Ordering::Relaxed), 1);
    assert_eq!(server.connections(), 1);
}

/// Waits until the socket of `local`, which is this process's, has received something, or its peer's end.
pub fn until_received(local: SocketAddr) {
    let Ok(_) = std::fs::read_to_string("/proc/net/tcp") else {
        // No other system tells; the bytes need no time to speak of.
        return std::thread::sleep(Duration::from_millis(200));
    };
    let port = format!(":{:04X}", local.port());
    eventually("received", || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        sockets.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let close_wait = fields[3] == "08";
            fields[1].ends_with(&port) && (close_wait || !fields[4].ends_with(":00000000"))
        })
    });
}

#[test]
fn what_came_before_a_request_is_not_its_response() {
    let strays: [&'static [u8]; 2] = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray", b""];
    for (stray, method) in strays
        .iter()
        .flat_map(|stray| [(*stray, Method::Get), (*stray, Method::Other)])
    {
        let (go, going) = channel::<()>();
        let (told, ready) = channel();
        let (going, told) = (Mutex::new(going), Mutex::new(told));
        let server = Server::echoing_paths(move |nth, _, stream| {
            if nth == 0 {
                let _ = going.lock().unwrap().recv();
                stream.write_all(stray).unwrap();
                if stray.is_empty() {
                    stream.shutdown(Shutdown::Write).unwrap();
                }
                let client = stream.peer_addr().unwrap();
                told.lock().unwrap().send(client).unwrap();
            }
        });
        let client = with_idle(&server);
        let release = hold_up(&client);
        go.send(()).unwrap();
        until_received(ready.recv_timeout(PATIENCE).unwrap());
        let call = client.start(CallSpec {
            method,
            ..get_numbered(server.address, 1)
        });
        drop(release);
        let seen = client.result(call).unwrap();
        assert_eq!((seen.text().as_str(), seen.reused), ("/1", false));
        assert_eq!(server.connections(), 2);
        assert_eq!(client.client.stats().retries.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn an_expired_connection_gets_no_request() {
    let server = Server::echoing_paths(|_, _, _| {});
    let client = Running::new();
    let mut spec = get_numbered(server.address, 0);
    spec.timeouts.keepalive = Millis(300);
    client.run(spec).unwrap();
    until_idle(&client);
    let release = hold_up(&client);
    std::thread::sleep(Duration::from_millis(300));
    let call = client.start(get_numbered(server.address, 1));
    drop(release);
    assert!(!client.result(call).unwrap().reused);
}

#[test]
fn a_call_is_cancelled_while_its_connection_rests() {
    let (server, requests) = telling();
    let client = with_idle(&server);
    let call = unanswered(&client, &server, &requests);
    client.client.cancel(call);
    assert_eq!(client.result(call).unwrap_err().kind, ErrorKind::Cancelled);
    client.until_stats("closed", |s| s.open.load(Ordering::Relaxed) == 0);
}

#[test]
fn a_stop_ends_a_call_whose_connection_rests() {
    let (server, requests) = telling();
    let mut client = with_idle(&server);
    let call = unanswered(&client, &server, &requests);
    client.stop();
    let said = client.log.calls.lock().unwrap();
    let stopped = CallError::new(ErrorKind::Stopped, "HTTP client is stopped");
    assert_eq!(said[&call], [Said::Failure(stopped, None)]);
    let stats = client.client.stats();
    assert_eq!(stats.active.load(Ordering::Relaxed), 0);
    assert_eq!(stats.open.load(Ordering::Relaxed), 0);
}

#[test]
fn the_loop_itself_may_call() {
    let server = Server::echoing_paths(|_, _, _| {});
    let client = with_idle(&server);
    let call = next_call();
    let (caller, spec) = (client.client.clone(), get_numbered(server.address, 1));
    *client.log.first.lock().unwrap() = Some(Box::new(move || {
        assert!(caller.call(call, Box::new(spec)));
    }));
    client.run(get(Server::answering(OK).address)).unwrap();
    let seen = client.result(call).unwrap();
    assert_eq!((seen.text().as_str(), seen.reused), ("/1", true));
}

#[test]
fn the_loop_writes_what_the_socket_did_not_accept() {
    let server = Server::new(|_, stream| {
        while let Some((_, body)) = read_request(stream) {
            let sum = body.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            let answer = response(&format!("{} {sum}", body.len()));
            stream.write_all(&answer).unwrap();
        }
    });
    let client = with_idle(&server);
    for length in [20_000_000, 1, 20_000_000] {
        let body: Vec<u8> = (0..length).map(|nth| (nth % 251) as u8).collect();
        let sum = body.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        let seen = client.run(post(server.address, body)).unwrap();
        assert_eq!(
            (seen.text(), seen.reused),
            (format!("{length} {sum}"), true)
        );
        until_idle(&client);
    }
}
