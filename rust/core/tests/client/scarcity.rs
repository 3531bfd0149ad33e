//! An embedder that cannot take what it is told, as a JVM without memory.

use crate::support::*;
use httpkit_core::client::*;
use std::sync::atomic::Ordering;

fn deafen(client: &Running, deaf: bool) {
    client.log.deaf.store(deaf, Ordering::SeqCst);
}

fn refused(client: &Running) -> usize {
    client.log.refused.load(Ordering::SeqCst)
}

/// What was said to a call, less credit for its upload.
fn ends(client: &Running, call: CallId) -> usize {
    let calls = client.log.calls.lock().unwrap();
    let is_end = |said: &&Said| matches!(said, Said::Response(_) | Said::End | Said::Failure(..));
    calls
        .get(&call)
        .map_or(0, |said| said.iter().filter(is_end).count())
}

/// Answers nothing until the test lets it, then ends the connection.
fn ending() -> (Server, std::sync::Arc<std::sync::Barrier>) {
    let gate = std::sync::Arc::new(std::sync::Barrier::new(2));
    let waiting = gate.clone();
    let server = Server::new(move |nth, stream| {
        read_request(stream);
        if nth == 0 {
            waiting.wait();
        }
    });
    (server, gate)
}

#[test]
fn a_failure_that_was_not_taken_is_told_again_until_it_is() {
    let client = Running::new();
    let (server, gate) = ending();
    let call = client.start(get(server.address));
    client.until_stats("connected", |stats| stats.open.load(Ordering::Relaxed) == 1);
    deafen(&client, true);
    gate.wait();
    eventually("told in vain, twice", || refused(&client) > 1);
    assert_eq!(ends(&client, call), 0);
    deafen(&client, false);
    assert_eq!(client.result(call).unwrap_err().kind, ErrorKind::Protocol);
    assert_eq!(
        client
            .run(get(Server::answering(OK).address))
            .unwrap()
            .text(),
        "ok"
    );
    assert_eq!(ends(&client, call), 1);
}

#[test]
fn many_ends_that_were_not_taken_all_come_once() {
    let client = Running::new();
    let server = Server::answering(OK);
    let gone = "127.0.0.1:1".parse().unwrap();
    deafen(&client, true);
    let calls: Vec<_> = (0..50)
        .map(|n| match n % 3 {
            0 => client.start(get(server.address)),
            1 => client.start(get(gone)),
            _ => client.start(CallSpec {
                streamed: true,
                ..get(server.address)
            }),
        })
        .collect();
    client.until_stats("over", |stats| {
        stats.calls.load(Ordering::Relaxed) == 50 && stats.active.load(Ordering::Relaxed) == 0
    });
    eventually("told in vain", || refused(&client) > 1);
    deafen(&client, false);
    for call in &calls {
        client.result(*call).unwrap_err();
    }
    assert!(calls.iter().all(|call| ends(&client, *call) == 1));
}

#[test]
fn a_stop_tells_what_was_not_taken_before_it_ends() {
    let mut client = Running::new();
    let (server, _gate) = ending();
    let call = client.start(get(server.address));
    client.until_stats("connected", |stats| stats.open.load(Ordering::Relaxed) == 1);
    deafen(&client, true);
    client.client.stop();
    eventually("told in vain", || refused(&client) > 1);
    deafen(&client, false);
    client.stop();
    assert_eq!(client.result(call).unwrap_err().kind, ErrorKind::Stopped);
}

#[test]
fn a_transport_whose_opening_was_not_heard_does_not_wait_for_its_timeout() {
    let client = Running::new();
    deafen(&client, true);
    let call = client.start(CallSpec {
        hosted: true,
        addresses: Vec::new(),
        ..get("127.0.0.1:1".parse().unwrap())
    });
    eventually("the call has failed", || refused(&client) > 0);
    deafen(&client, false);
    assert_eq!(client.result(call).unwrap_err().kind, ErrorKind::Hosted);
}

#[test]
fn an_upload_whose_credit_was_not_heard_ends() {
    let client = Running::new();
    let server = Server::new(|_, stream| {
        hang(stream);
    });
    deafen(&client, true);
    let call = client.start(CallSpec {
        upload: Upload::Chunked,
        ..post(server.address, "")
    });
    eventually("the call has failed", || refused(&client) > 0);
    deafen(&client, false);
    assert_eq!(client.result(call).unwrap_err().kind, ErrorKind::Internal);
}
