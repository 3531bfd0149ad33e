//! The process is stopped, and continues past a limit. What came before the limit is a response, and no timeout.
//!
//! The client is in a process of its own: this binary, started again.

use crate::support::*;
use crate::timeouts::FullBacklog;
use httpkit_core::client::*;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LIMIT: Millis = Millis(1000);
/// Longer than the kernel takes to repeat a SYN.
const CONNECT_LIMIT: Millis = Millis(2500);
const TARGET: &str = "HTTPKIT_PAUSED_TARGET";
const WAY: &str = "HTTPKIT_PAUSED_WAY";

fn spawn(way: &str, target: SocketAddr) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "paused::client", "--nocapture"])
        .env(TARGET, target.to_string())
        .env(WAY, way)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Whether the client ends as it should.
fn ends_well(mut client: Child) -> bool {
    let mut ended = None;
    eventually("ended", || {
        ended = client.try_wait().unwrap();
        ended.is_some()
    });
    ended.unwrap().success()
}

/// Stops the client, does `meanwhile`, and lets the client continue once its limit, which runs, has passed.
fn pause(client: Pid, limit: Millis, meanwhile: impl FnOnce()) {
    let start = Instant::now();
    let limit = Duration::from_millis(limit.0 as u64);
    // Its loop has to wait for the peer by then.
    std::thread::sleep(Duration::from_millis(200));
    kill_process(client, Signal::STOP).unwrap();
    let (_, status) = waitpid(Some(client), WaitOptions::UNTRACED)
        .unwrap()
        .unwrap();
    assert!(status.stopped() && start.elapsed() < limit, "{status:?}");
    meanwhile();
    let end = start + limit + Duration::from_millis(500);
    std::thread::sleep(end.duration_since(Instant::now()));
    kill_process(client, Signal::CONT).unwrap();
}

/// Whether a client that calls in this way ends as it should, and how many requests it sent, without CONNECT.
fn ends(way: &str) -> (bool, usize) {
    let pid = Arc::new(Mutex::new(None));
    let sent = Arc::new(AtomicUsize::new(0));
    let (client, seen) = (pid.clone(), sent.clone());
    let server = Server::new(move |_, stream| {
        while let Some((head, _)) = read_request(stream) {
            let tunnels = head.starts_with("CONNECT");
            seen.fetch_add(usize::from(!tunnels), SeqCst);
            let mut answer = || match tunnels {
                true => stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap(),
                false => stream.write_all(OK).unwrap(),
            };
            if tunnels || path(&head) == "/p" {
                let client = *client.lock().unwrap();
                pause(client.unwrap(), LIMIT, answer);
            } else {
                answer();
            }
        }
    });
    let mut held = pid.lock().unwrap();
    let client = spawn(way, server.address);
    *held = Some(Pid::from_child(&client));
    drop(held);
    (ends_well(client), sent.load(SeqCst))
}

/// The client's process; otherwise there is nothing to do.
#[test]
fn client() {
    let Ok(way) = std::env::var(WAY) else { return };
    let address: SocketAddr = std::env::var(TARGET).unwrap().parse().unwrap();
    let client = Running::new();
    let mut spec = get(address);
    spec.timeouts.idle = LIMIT;
    match way.as_str() {
        "new" => {}
        "kept" => {
            let warm = client.run(get_numbered(address, 1)).unwrap();
            assert!(!warm.reused);
            client.until_stats("parked", |stats| stats.idle.load(SeqCst) == 1);
        }
        "deadline" => {
            spec.timeouts.idle = Millis(60_000);
            spec.timeouts.deadline = Some((LIMIT, LIMIT));
        }
        "post" => {
            spec = CallSpec {
                timeouts: spec.timeouts,
                ..post(address, "body")
            }
        }
        "streamed" => {
            spec.streamed = true;
            spec.window = 1000;
            let call = client.start(spec);
            assert_eq!(client.collect(call).unwrap(), b"ok");
            return;
        }
        "connect" => {
            spec.timeouts.connect = CONNECT_LIMIT;
            println!("calls");
        }
        "tunnel" | "tunnel-deadline" => {
            spec.head = get_numbered(address, 1).head;
            spec.route = Route::Tunnel {
                tls: None,
                host: "h".to_owned(),
                port: 1,
                authorization: String::new(),
            };
            if way == "tunnel-deadline" {
                spec.timeouts.deadline = Some((LIMIT, LIMIT));
                let error = CallError::new(ErrorKind::Timeout, "deadline: 1000ms");
                assert_eq!(client.run(spec), Err(error));
                return;
            }
        }
        _ => unreachable!(),
    }
    let response = client.run(spec).unwrap();
    assert_eq!(
        (response.text().as_str(), response.reused),
        ("ok", way == "kept")
    );
}

#[test]
fn a_response_that_came_in_time_is_no_timeout() {
    let ways = ["new", "kept", "deadline", "post", "streamed", "tunnel"];
    let runs = ways.map(|way| (way, std::thread::spawn(move || ends(way))));
    let lost: Vec<&str> = runs
        .into_iter()
        .filter_map(|(way, run)| (!run.join().unwrap().0).then_some(way))
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn a_connection_that_came_in_time_is_no_timeout() {
    let full = FullBacklog::new();
    let mut client = spawn("connect", full.address);
    let mut said = BufReader::new(client.stdout.take().unwrap());
    let calls = |line: &Result<String, _>| matches!(line, Ok(line) if line.ends_with("calls"));
    assert!(said.by_ref().lines().any(|line| calls(&line)));
    pause(Pid::from_child(&client), CONNECT_LIMIT, || {
        std::thread::spawn(move || {
            for stream in full.listener.incoming() {
                let mut stream = stream.unwrap();
                // The first ones have filled the queue, and say nothing.
                std::thread::spawn(move || {
                    if read_request(&mut stream).is_some() {
                        stream.write_all(OK).unwrap();
                    }
                });
            }
        });
    });
    assert!(ends_well(client));
}

#[test]
fn nothing_is_sent_once_the_deadline_has_passed() {
    assert_eq!(ends("tunnel-deadline"), (true, 0));
}
