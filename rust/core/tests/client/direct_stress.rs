//! Many threads whose calls meet on few connections, which close at any moment, as does the client: each call ends once,
//! and with its own response.

use crate::support::*;
use httpkit_core::client::*;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

const CALLERS: u64 = 6;

/// Responds with the path, and often closes the connection: before the response, in the middle of it, right after it,
/// or later.
fn fickle() -> Server {
    Server::new(|nth, stream| {
        let mut dice = Dice(nth as u64 + 77);
        while let Some((head, _)) = read_request(stream) {
            let response = match head.starts_with("HEAD") {
                true => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_vec(),
                false => response(&path(&head)),
            };
            let end = match dice.below(150) {
                0 => return,
                1 => return reset(stream),
                2 => response.len() - 1,
                3 => 0,
                _ => response.len(),
            };
            if stream.write_all(&response[..end]).is_err() {
                return;
            }
            match dice.below(150) {
                0 => return,
                1 => std::thread::sleep(Duration::from_micros(dice.below(2000))),
                2 => return reset(stream),
                _ if end < response.len() => return,
                _ => {}
            }
        }
    })
}

/// What a caller asked for, by call: the path, or `None` for a HEAD.
type Asked = Vec<(CallId, Option<String>)>;

struct Caller<'a> {
    client: &'a Running,
    address: SocketAddr,
    cancel: Sender<CallId>,
    dice: Dice,
    asked: Asked,
}

impl Caller<'_> {
    fn spec(&mut self, call: CallId) -> CallSpec {
        let mut spec = get_numbered(self.address, call);
        match self.dice.below(8) {
            0 => {
                spec.method = Method::Head;
                spec.head = format!("HEAD /{call} HTTP/1.1\r\nHost: h\r\n\r\n").into();
            }
            1 => {
                spec.method = Method::Other;
                spec.head = format!("POST /{call} HTTP/1.1\r\nContent-Length: 3\r\n\r\n").into();
                spec.body = "abc".into();
            }
            2 => spec.streamed = true,
            _ => {}
        }
        // Far apart, so that some calls have to wake the loop to move its timer.
        spec.timeouts.idle = Millis(20_000 + self.dice.below(2) as i32 * 600_000);
        spec
    }

    /// Calls until the client refuses, with up to three calls at a time.
    fn call_until(mut self, end: Instant) -> Asked {
        while Instant::now() < end {
            let mut calls = Vec::new();
            for _ in 0..=self.dice.below(3) {
                let call = next_call();
                let spec = self.spec(call);
                let cancels = self.dice.below(30) == 0;
                if cancels && self.dice.below(2) == 0 {
                    self.cancel.send(call).unwrap();
                }
                let path = (spec.method != Method::Head).then(|| format!("/{call}"));
                if !self.client.client.call(call, Box::new(spec)) {
                    return self.asked;
                }
                if cancels {
                    self.cancel.send(call).unwrap();
                }
                self.asked.push((call, path));
                calls.push(call);
            }
            for call in calls {
                self.client.until(call, |said| ends(said).next().cloned());
            }
        }
        self.asked
    }
}

fn ends(said: &[Said]) -> impl Iterator<Item = &Said> {
    said.iter()
        .filter(|one| matches!(one, Said::Response(_) | Said::End | Said::Failure(..)))
}

/// What arrived of the body.
fn body(said: &[Said]) -> Vec<u8> {
    let pieces = said.iter().map(|one| match one {
        Said::Response(seen) => &seen.body[..],
        Said::Body(piece) => piece,
        _ => &[],
    });
    pieces.collect::<Vec<_>>().concat()
}

fn check(said: &[Said], path: Option<&str>) {
    assert_eq!(ends(said).count(), 1, "{said:?}");
    let body = body(said);
    match ends(said).next() {
        Some(Said::Failure(error, _)) => {
            let lost = [ErrorKind::Timeout, ErrorKind::Internal].contains(&error.kind);
            assert!(!lost, "{error:?}");
            assert!(path.unwrap_or_default().as_bytes().starts_with(&body));
        }
        _ => assert_eq!(body, path.unwrap_or_default().as_bytes()),
    }
}

/// Calls for at most `length`; the client is stopped after `stop`.
fn round(seed: u64, length: Duration, stop: Duration) -> usize {
    let server = fickle();
    let client = Running::with(ClientConfig {
        max_connections: [None, Some(3)][seed as usize % 2],
        ..ClientConfig::default()
    });
    let (cancel, cancelled) = channel();
    let end = Instant::now() + length;
    let asked: Vec<Asked> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|nth| {
                let caller = Caller {
                    client: &client,
                    address: server.address,
                    cancel: cancel.clone(),
                    dice: Dice(seed * CALLERS + nth + 1),
                    asked: Vec::new(),
                };
                scope.spawn(move || caller.call_until(end))
            })
            .collect();
        drop(cancel);
        let cancels = client.client.clone();
        let canceller = scope.spawn(move || cancelled.iter().for_each(|call| cancels.cancel(call)));
        std::thread::sleep(stop);
        client.client.stop();
        canceller.join().unwrap();
        callers
            .into_iter()
            .map(|caller| caller.join().unwrap())
            .collect()
    });
    let mut client = client;
    client.stop();
    let stats = client.client.stats();
    for (name, left) in [
        ("open", &stats.open),
        ("active", &stats.active),
        ("buffered", &stats.buffered),
    ] {
        assert_eq!(left.load(Ordering::Relaxed), 0, "{name}");
    }
    let said = client.log.calls.lock().unwrap();
    let asked: Asked = asked.into_iter().flatten().collect();
    for (call, path) in &asked {
        check(&said[call], path.as_deref());
    }
    assert_eq!(said.len(), asked.len(), "a refused call was told an end");
    asked.len()
}

#[test]
fn every_call_ends_once_with_its_own_response() {
    // A call that is lost shows by its timeout, and the test then takes that long.
    let length = Duration::from_millis(400);
    let calls = round(1, length, length) + round(2, length, length);
    for seed in 3..30 {
        round(seed, length, Duration::from_millis(5 + seed));
    }
    println!("{calls} calls");
}
