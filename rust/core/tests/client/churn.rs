//! Many calls that end in every possible way: each has one end, and nothing
//! is left behind.

use crate::support::*;
use httpkit_core::client::*;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Answers well, late, cut, wrongly or not at all.
fn moody() -> Server {
    Server::new(|nth, stream| {
        let mut dice = Dice(nth as u64 + 77);
        while read_request(stream).is_some() {
            let answer: &[u8] = match dice.below(12) {
                0 => b"",
                1 => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut",
                2 => b"garbage\r\n",
                3 => return,
                4 => {
                    reset(stream);
                    return;
                }
                5 => {
                    std::thread::sleep(Duration::from_millis(30));
                    OK
                }
                6 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                7 => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
                _ => OK,
            };
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    })
}

/// A call whose body is a source.
fn uploading(address: SocketAddr) -> CallSpec {
    let head = b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    CallSpec {
        method: Method::Other,
        upload: Upload::Chunked,
        head: Bytes::from_static(head),
        ..get(address)
    }
}

fn ends(said: &[Said]) -> usize {
    said.iter()
        .filter(|one| matches!(one, Said::Response(_) | Said::End | Said::Failure(..)))
        .count()
}

fn churn(client: &Running, server: &Server, count: u64) -> Vec<CallId> {
    let mut dice = Dice(4711);
    (0..count)
        .map(|_| {
            let mut spec = match dice.below(4) {
                0 => post(server.address, vec![b'x'; dice.below(100_000) as usize]),
                1 => uploading(server.address),
                _ => get(server.address),
            };
            let uploads = spec.upload == Upload::Chunked;
            spec.streamed = dice.below(3) == 0;
            spec.window = 1 + dice.below(4) as usize;
            spec.timeouts.idle = Millis(50 + dice.below(100) as i32);
            spec.timeouts.connect = Millis(dice.below(400) as i32);
            spec.timeouts.keepalive = Millis(dice.below(40) as i32 - 5);
            if dice.below(4) == 0 {
                let millis = Millis(dice.below(60) as i32);
                spec.timeouts.deadline = Some((millis, millis));
            }
            let call = client.start(spec);
            match dice.below(3) {
                _ if !uploads => {}
                0 => client.client.send_failed(call),
                n => {
                    let piece = vec![b'x'; n as usize * 1000];
                    client.client.send_body(call, piece.into(), true);
                }
            }
            match dice.below(6) {
                0 => client.client.cancel(call),
                1..4 => client.client.credit(call, 1000),
                _ => {}
            }
            if dice.below(20) == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            call
        })
        .collect()
}

#[test]
fn every_call_has_one_end_and_nothing_is_left() {
    let server = moody();
    let client = Running::with(ClientConfig {
        max_connections: Some(12),
        max_per_host: Some(10),
        ..ClientConfig::default()
    });
    let calls = churn(&client, &server, 1500);
    client.until_stats("all end", |stats| {
        for call in &calls {
            client.client.credit(*call, 1000);
        }
        stats.active.load(Ordering::Relaxed) == 0
    });
    client.until_stats("all is closed", |stats| {
        stats.open.load(Ordering::Relaxed) == 0 && stats.idle.load(Ordering::Relaxed) == 0
    });
    let stats = client.client.stats();
    assert_eq!(stats.buffered.load(Ordering::Relaxed), 0);
    assert_eq!(stats.connecting.load(Ordering::Relaxed), 0);
    assert_eq!(stats.queued.load(Ordering::Relaxed), 0);
    let said = client.log.calls.lock().unwrap();
    for call in calls {
        assert_eq!(ends(&said[&call]), 1, "{:?}", said[&call]);
        let internal = |one: &Said| matches!(one, Said::Failure(error, _) if error.kind == ErrorKind::Internal);
        assert!(!said[&call].iter().any(internal), "{:?}", said[&call]);
    }
}

#[test]
fn a_stop_in_the_middle_ends_every_call_once() {
    for nth in 0..10 {
        let server = moody();
        let mut client = Running::with(ClientConfig {
            max_connections: Some(5),
            ..ClientConfig::default()
        });
        let calls = churn(&client, &server, 100 + nth);
        client.stop();
        let stats = client.client.stats();
        assert_eq!(stats.open.load(Ordering::Relaxed), 0);
        assert_eq!(stats.active.load(Ordering::Relaxed), 0);
        let said = client.log.calls.lock().unwrap();
        for call in calls {
            assert_eq!(ends(&said[&call]), 1, "{:?}", said[&call]);
        }
    }
}
