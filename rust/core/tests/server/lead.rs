//! Threads that run the loops themselves: whatever blocks, whichever thread pushes, and whenever the server stops.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use httpkit_core::server::{Config, Exchange, Mode, Server, Work};

use crate::support::{PATIENCE, Running, any_port, config, join, read_response, reply};

const SHORT: &str = "/short";
/// Takes longer than a loop may stand still.
const LONG: &str = "/long";
/// Blocks until [`TOGETHER`] of them are being handled.
const MEET: &str = "/meet";
/// Responded by a thread that pulls no work.
const ELSEWHERE: &str = "/elsewhere";

const TOGETHER: usize = 2;

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

/// A server with `loops` loops, and `workers` threads that pull its work. From eight loops on they form several teams,
/// as if there were eight threads for each: some of the teams have one, or none.
struct Staffed {
    running: Running,
    workers: Vec<JoinHandle<usize>>,
    answerer: JoinHandle<()>,
}

#[derive(Default)]
struct Meeting {
    come: Mutex<usize>,
    changed: Condvar,
}

impl Meeting {
    /// True once as many as meet have come; false when the others do not in good time.
    fn attend(&self) -> bool {
        let mut come = self.come.lock().unwrap();
        *come += 1;
        let all = come.next_multiple_of(TOGETHER);
        self.changed.notify_all();
        let (_come, wait) = self
            .changed
            .wait_timeout_while(come, PATIENCE, |come| *come < all)
            .unwrap();
        !wait.timed_out()
    }
}

impl Staffed {
    fn start(loops: usize, workers: usize) -> Self {
        let mut running = Running::bind(
            &any_port(),
            Config {
                queue: 1000,
                loops,
                threads: loops * 2,
                ..config(Mode::Pull)
            },
        );
        let meeting = Arc::new(Meeting::default());
        let (elsewhere, exchanges) = channel();
        let workers = (0..workers)
            .map(|_| {
                let (server, meeting) = (running.server.clone(), meeting.clone());
                let elsewhere = elsewhere.clone();
                std::thread::spawn(move || work(&server, &meeting, &elsewhere))
            })
            .collect();
        for _ in 0..loops {
            running.run();
        }
        Self {
            running,
            workers,
            answerer: std::thread::spawn(move || answer_all(&exchanges)),
        }
    }

    /// Stops the server, and returns how many requests its workers have taken.
    fn stop(mut self) -> usize {
        self.running.stop();
        let taken = self.workers.into_iter().map(join).sum();
        join(self.answerer);
        taken
    }
}

fn work(server: &Server, meeting: &Meeting, elsewhere: &Sender<Exchange>) -> usize {
    let mut taken = 0;
    while let Some(work) = server.take() {
        let Work::Request(request) = work else {
            continue;
        };
        taken += 1;
        let exchange = request.exchange.clone();
        if !exchange.bind(1) {
            continue;
        }
        match target(&request.into_block(1)).as_str() {
            MEET => assert!(meeting.attend(), "the other was left waiting"),
            LONG => std::thread::sleep(Duration::from_millis(3)),
            ELSEWHERE => {
                elsewhere.send(exchange).unwrap();
                continue;
            }
            _ => {}
        }
        let _ = exchange.respond(&reply(), b"x", 1);
    }
    taken
}

fn answer_all(exchanges: &Receiver<Exchange>) {
    while let Ok(exchange) = exchanges.recv() {
        let _ = exchange.respond(&reply(), b"x", 1);
    }
}

fn target(block: &[u8]) -> String {
    let number = |at: usize| u32::from_le_bytes(block[at..at + 4].try_into().unwrap()) as usize;
    let (start, len) = (number(32), number(36));
    String::from_utf8(block[start..start + len].to_vec()).unwrap()
}

/// Numbers without a pattern, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % n
    }
}

/// A peer that asks for `targets` in bursts, and waits for each burst's answers, until `stop`.
fn ask(peer: &mut TcpStream, targets: &[&str], seed: u64, stop: &AtomicBool) -> usize {
    let mut random = Random(seed);
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        let burst: Vec<String> = (0..=random.below(4))
            .map(|_| get(targets[random.below(targets.len())]))
            .collect();
        peer.write_all(burst.concat().as_bytes()).unwrap();
        for _ in &burst {
            assert_eq!(read_response(peer), b"x");
        }
        asked += burst.len();
        if random.below(3) == 0 {
            std::thread::sleep(Duration::from_micros(random.below(3000) as u64));
        }
    }
    asked
}

/// As many threads are there as are needed: no call for help may be necessary, nor a further request.
#[test]
fn requests_that_wait_for_one_another_all_get_threads() {
    for (loops, workers) in [
        (1, 2),
        (1, 3),
        (2, 2),
        (2, 3),
        (3, 4),
        (8, 2),
        (8, 5),
        (12, 3),
    ] {
        let server = Staffed::start(loops, workers);
        let mut peers: Vec<_> = (0..TOGETHER).map(|_| server.running.connect()).collect();
        let mut random = Random(loops as u64);
        for round in 0..150 {
            for peer in &mut peers {
                peer.write_all(get(MEET).as_bytes()).unwrap();
            }
            for peer in &mut peers {
                assert_eq!(read_response(peer), b"x", "{loops} loops, round {round}");
            }
            // Short work in between has the workers lead, pauses end their rests.
            for _ in 0..random.below(20) {
                peers[0].write_all(get(SHORT).as_bytes()).unwrap();
                assert_eq!(read_response(&mut peers[0]), b"x");
            }
            std::thread::sleep(Duration::from_micros(random.below(4000) as u64));
        }
        assert!(server.stop() >= 150 * TOGETHER);
    }
}

#[test]
fn every_request_gets_its_response_whatever_else_blocks_and_whichever_thread_responds() {
    for (loops, workers) in [
        (1, 1),
        (1, 4),
        (2, 1),
        (2, 3),
        (3, 2),
        (8, 1),
        (8, 5),
        (12, 3),
    ] {
        let server = Staffed::start(loops, workers);
        let stop = Arc::new(AtomicBool::new(false));
        let mut meeting: Vec<_> = (0..TOGETHER).map(|_| server.running.connect()).collect();
        let askers: Vec<_> = (0..4)
            .map(|i| {
                let (mut peer, stop) = (server.running.connect(), stop.clone());
                let targets: &[&str] = match i {
                    0 => &[SHORT],
                    1 => &[SHORT, ELSEWHERE],
                    2 => &[ELSEWHERE],
                    _ => &[SHORT, SHORT, SHORT, LONG, ELSEWHERE],
                };
                std::thread::spawn(move || ask(&mut peer, targets, i, &stop))
            })
            .collect();
        for _ in 0..150 {
            if workers < TOGETHER {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            for peer in &mut meeting {
                peer.write_all(get(MEET).as_bytes()).unwrap();
            }
            for peer in &mut meeting {
                assert_eq!(
                    read_response(peer),
                    b"x",
                    "{loops} loops, {workers} workers"
                );
            }
        }
        stop.store(true, Ordering::Relaxed);
        let asked: usize = askers.into_iter().map(join).sum();
        let met = if workers < TOGETHER {
            0
        } else {
            150 * TOGETHER
        };
        assert_eq!(server.stop(), asked + met, "each is taken once");
    }
}

#[test]
fn a_stop_at_any_moment_ends_all_threads() {
    let mut random = Random(1);
    for _ in 0..150 {
        let loops = [1, 2, 3, 8, 12][random.below(5)];
        let server = Staffed::start(loops, 1 + random.below(4));
        let mut peers: Vec<_> = (0..3).map(|_| server.running.connect()).collect();
        for peer in &mut peers {
            let targets = [SHORT, SHORT, LONG, ELSEWHERE];
            let burst: Vec<_> = (0..1 + random.below(5))
                .map(|_| get(targets[random.below(targets.len())]))
                .collect();
            peer.write_all(burst.concat().as_bytes()).unwrap();
        }
        std::thread::sleep(Duration::from_micros(random.below(6000) as u64));
        // The steps of a stop, in any order and from two threads at once.
        let other = server.running.server.clone();
        let order = random.below(3);
        let helper = std::thread::spawn(move || match order {
            0 => other.drain(),
            1 => other.shut_queue(),
            _ => drop(other.close()),
        });
        server.stop();
        join(helper);
    }
}
