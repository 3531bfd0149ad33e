//! A caller that waits for its call runs the loop meanwhile, and nothing else suffers from that.

use crate::support::*;
use httpkit_core::client::*;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn a_caller_that_waits_for_each_call_at_once_comes_to_run_the_loop() {
    let (server, client) = (Server::answering(OK), Running::new());
    client.until_led(|| get(server.address));
    assert_eq!(server.connections(), 1);
    assert_eq!(client.lead(get(server.address)).unwrap().text(), "ok");
}

#[test]
fn a_call_that_its_caller_does_not_lead_is_served_by_the_loops_thread() {
    let (server, client) = (Server::answering(OK), Running::new());
    client.until_led(|| get(server.address));
    let call = client.start_to_lead(get(server.address));
    assert_eq!(client.result(call).unwrap().text(), "ok");
    client.until_led(|| get(server.address));
    let calls = [0; 8].map(|_| client.start_to_lead(get(server.address)));
    for call in calls {
        assert_eq!(client.result(call).unwrap().text(), "ok");
    }
    client.until_led(|| get(server.address));
    assert_eq!(client.run(get(server.address)).unwrap().text(), "ok");
}

/// A server that keeps the response to `/slow` until it may send it.
fn server_with_a_gate() -> (Server, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let opened = gate.clone();
    let server = Server::new(move |_, stream| {
        while let Some((head, _)) = read_request(stream) {
            if head.starts_with("GET /slow") {
                eventually("the gate opens", || opened.load(Ordering::SeqCst));
            }
            if stream.write_all(OK).is_err() {
                return;
            }
        }
    });
    (server, gate)
}

fn slow(server: &Server) -> CallSpec {
    CallSpec {
        head: Bytes::from_static(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"),
        ..get(server.address)
    }
}

#[test]
fn a_caller_leads_for_a_moment_only() {
    let (server, gate) = server_with_a_gate();
    let client = Running::new();
    client.until_led(|| get(server.address));
    let call = client.start_to_lead(slow(&server));
    // It returns, although the response never comes.
    client.client.lead(call);
    gate.store(true, Ordering::SeqCst);
    assert_eq!(client.result(call).unwrap().text(), "ok");
}

#[test]
fn other_calls_are_served_while_a_caller_waits_for_a_slow_one() {
    let (server, gate) = server_with_a_gate();
    let client = Running::new();
    for _ in 0..5 {
        client.until_led(|| get(server.address));
        gate.store(false, Ordering::SeqCst);
        let call = client.start_to_lead(slow(&server));
        std::thread::scope(|scope| {
            scope.spawn(|| client.client.lead(call));
            assert_eq!(client.run(get(server.address)).unwrap().text(), "ok");
            gate.store(true, Ordering::SeqCst);
        });
        assert_eq!(client.result(call).unwrap().text(), "ok");
    }
}

#[test]
fn a_stop_ends_the_call_of_a_caller_that_leads() {
    for pause in [0, 1, 3] {
        let (server, gate) = server_with_a_gate();
        let mut client = Running::new();
        client.until_led(|| get(server.address));
        let call = client.start_to_lead(slow(&server));
        let stopped = client.client.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| client.client.lead(call));
            std::thread::sleep(Duration::from_millis(pause));
            stopped.stop();
        });
        let error = client.result(call).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Stopped);
        client.stop();
        client.client.lead(call);
        assert!(
            !client
                .client
                .call_to_lead(1 << 40, Box::new(get(server.address)))
        );
        gate.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_cancelled_call_ends_while_its_caller_leads() {
    let (server, gate) = server_with_a_gate();
    let client = Running::new();
    client.until_led(|| get(server.address));
    let call = client.start_to_lead(slow(&server));
    std::thread::scope(|scope| {
        scope.spawn(|| client.client.lead(call));
        client.client.cancel(call);
    });
    let error = client.result(call).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled);
    gate.store(true, Ordering::SeqCst);
}

#[test]
fn a_connection_that_was_closed_between_two_led_calls_is_not_used_again() {
    // Each connection serves a few requests and is then closed without notice: a POST must not be lost to that.
    let server = Server::new(|_, stream| {
        for _ in 0..3 {
            if read_request(stream).is_none() || stream.write_all(OK).is_err() {
                return;
            }
        }
    });
    let client = Running::new();
    client.until_led(|| get(server.address));
    let end = Instant::now() + Duration::from_millis(500);
    let mut calls = 0;
    while Instant::now() < end {
        assert_eq!(client.lead(post(server.address, "x")).unwrap().text(), "ok");
        calls += 1;
        // The close is a step of the server's own, which has to come first.
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(calls > 3);
}

#[test]
fn a_runtime_on_the_callers_thread_prevents_that_it_leads() {
    let (server, client) = (Server::answering(OK), Running::new());
    client.until_led(|| get(server.address));
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    let seen = runtime.block_on(async { client.lead(get(server.address)) });
    assert_eq!(seen.unwrap().text(), "ok");
}

#[test]
fn time_limits_hold_while_callers_lead() {
    let (server, gate) = server_with_a_gate();
    let client = Running::new();
    client.until_led(|| get(server.address));
    let mut spec = slow(&server);
    spec.timeouts.idle = Millis(50);
    let start = Instant::now();
    let error = client.lead(spec).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(5));
    gate.store(true, Ordering::SeqCst);
}

#[test]
fn every_call_has_one_end_however_callers_wait_for_it() {
    let server = Server::new(|nth, stream| {
        let mut left = 5 + nth % 50;
        while read_request(stream).is_some() {
            if left == 0 || stream.write_all(OK).is_err() {
                return;
            }
            left -= 1;
        }
    });
    let client = Running::new();
    let (ended, left) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (client, server, ended, left) = (&client, &server, &ended, &left);
            scope.spawn(move || {
                let mut random = thread + 1;
                for nth in 0..1000 {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    // The threads come one after the other, then all at once.
                    if nth % 500 < 400 && nth % 4 != thread {
                        continue;
                    }
                    let call = match random >> 60 {
                        0 => client.start(get(server.address)),
                        _ => client.start_to_lead(get(server.address)),
                    };
                    match (random >> 56) & 15 {
                        0 => left.lock().unwrap().push(call),
                        1 => client.client.cancel(call),
                        2 => std::thread::sleep(Duration::from_millis(3)),
                        _ => client.client.lead(call),
                    }
                    let _ = client.result(call);
                    ended.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert!(ended.load(Ordering::SeqCst) > 500);
    for call in left.into_inner().unwrap() {
        let _ = client.result(call);
    }
    client.until_stats("no call is active", |stats| {
        stats.active.load(Ordering::SeqCst) == 0
    });
    for said in client.log.calls.lock().unwrap().values() {
        assert_eq!(said.len(), 1, "{said:?}");
    }
}
