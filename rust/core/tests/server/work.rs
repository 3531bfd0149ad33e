//! The work queue between loops and threads: bounds, wake-ups, cries for help.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use httpkit_core::server::{Config, Exchange, Mode, Notice, Work};

use crate::support::{
    PATIENCE, Running, answer, any_port, config, join, read_head, read_response, wait_until,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn peers(server: &Running, n: usize) -> Vec<TcpStream> {
    let mut peers: Vec<_> = (0..n).map(|_| server.connect()).collect();
    wait_until("all are accepted", || server.server.connections() == n);
    for peer in &mut peers {
        peer.write_all(GET).unwrap();
    }
    peers
}

/// Threads that answer until the queue is shut, and count what they took.
fn workers(server: &Running, n: usize) -> Vec<JoinHandle<usize>> {
    (0..n)
        .map(|_| {
            let server = server.server.clone();
            std::thread::spawn(move || {
                let mut taken = 0;
                while let Some(work) = server.take() {
                    if let Work::Request(request) = work {
                        assert!(request.exchange.bind(1));
                        answer(&request.exchange, b"x");
                        taken += 1;
                    }
                }
                taken
            })
        })
        .collect()
}

fn refusals(server: &Running) -> usize {
    let notices = server.sink.notices.lock();
    notices
        .iter()
        .filter(|notice| matches!(notice, Notice::RequestRefused))
        .count()
}

#[test]
fn a_full_queue_answers_503_and_keeps_the_connection() {
    let server = Running::start(Config {
        queue: 2,
        ..config(Mode::Pull)
    });
    let mut peers = peers(&server, 5);
    wait_until("three are refused", || refusals(&server) == 3);
    let exchanges: Vec<Exchange> = (0..2).map(|_| server.request()).collect();
    for exchange in &exchanges {
        answer(exchange, b"served");
    }
    let mut served = 0;
    for peer in &mut peers {
        let head = read_head(peer);
        served += usize::from(head.starts_with("HTTP/1.1 200 "));
        assert!(
            head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.1 503 "),
            "{head}"
        );
    }
    assert_eq!(served, 2);
    assert_eq!(server.server.connections(), 5, "all are still there");
}

#[test]
fn pipelined_requests_are_refused_one_by_one() {
    let server = Running::start(Config {
        queue: 0,
        ..config(Mode::Pull)
    });
    let mut peer = server.connect();
    peer.write_all(&GET.repeat(50)).unwrap();
    for _ in 0..50 {
        assert_eq!(
            read_response(&mut peer),
            b"Server unavailable, please try again"
        );
    }
    wait_until("each is reported", || refusals(&server) == 50);
    assert_eq!(server.server.stats().totals.rejected, 50);
}

#[test]
fn a_request_that_comes_once_the_queue_is_shut_is_not_counted_as_rejected() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let running = server.request();
    server.server.shut_queue();
    peer.write_all(GET).unwrap();
    answer(&running, b"x");
    assert_eq!(read_response(&mut peer), b"x");
    assert!(read_head(&mut peer).starts_with("HTTP/1.1 503 "));
    assert_eq!(server.server.stats().totals.rejected, 0);
}

#[test]
fn every_request_is_taken_once_whichever_threads_sleep() {
    let server = Running::start(config(Mode::Pull));
    let workers = workers(&server, 3);
    let rounds = 200;
    let clients: Vec<_> = (0..4)
        .map(|i| {
            let mut peer = server.connect();
            std::thread::spawn(move || {
                for round in 0..rounds {
                    // Bursts and single requests: threads are parked, woken and busy in turn.
                    let burst = 1 + (i + round) % 5;
                    peer.write_all(&GET.repeat(burst)).unwrap();
                    for _ in 0..burst {
                        assert_eq!(read_response(&mut peer), b"x");
                    }
                }
                (0..rounds).map(|round| 1 + (i + round) % 5).sum::<usize>()
            })
        })
        .collect();
    let sent: usize = clients.into_iter().map(|c| c.join().unwrap()).sum();
    server.server.shut_queue();
    let taken: usize = workers.into_iter().map(|w| w.join().unwrap()).sum();
    assert_eq!(taken, sent);
}

/// How many threads of this process are named so and sleep.
fn sleeping(name: &str) -> usize {
    let stats = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    stats
        .filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok())
        .filter(|stat| stat.contains(&format!("({name}) S ")))
        .count()
}

#[test]
fn a_burst_that_parked_threads_cannot_take_calls_for_help() {
    for _ in 0..20 {
        let mut server = Running::bind(&any_port(), config(Mode::Pull));
        // Two threads that take one piece of work each, and are stuck with it.
        let stuck: Vec<_> = (0..2)
            .map(|_| {
                let server = server.server.clone();
                std::thread::Builder::new()
                    .name("taker".into())
                    .spawn(move || server.take())
                    .unwrap()
            })
            .collect();
        wait_until("both are parked", || sleeping("taker") == 2);
        // The requests are there before the loop is: it meets them all in one turn.
        let mut peers: Vec<_> = (0..3).map(|_| server.connect()).collect();
        for peer in &mut peers {
            peer.write_all(GET).unwrap();
        }
        server.run();
        for thread in stuck {
            assert!(matches!(thread.join().unwrap(), Some(Work::Request(_))));
        }
        // Nobody else comes along: the call must come by itself.
        wait_until("help is called for", || {
            server.sink.starved.load(Ordering::Relaxed) == 1
        });
        server.server.push_all();
        assert_eq!(server.sink.work.lock().len(), 1);
    }
}

/// Whoever ran the loop is stuck with what that brought: the loop must go on without it.
#[test]
fn a_thread_that_blocks_does_not_hold_up_the_sockets() {
    let server = Running::start(config(Mode::Pull));
    let (tx, stuck) = mpsc::channel();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let server = server.server.clone();
            let tx = tx.clone();
            std::thread::spawn(move || {
                while let Some(Work::Request(request)) = server.take() {
                    assert!(request.exchange.bind(1));
                    let (release, released) = mpsc::channel::<()>();
                    tx.send((request.exchange.clone(), release)).unwrap();
                    // Blocks until the test lets go.
                    let _ = released.recv();
                    answer(&request.exchange, b"x");
                }
            })
        })
        .collect();
    let mut first = server.connect();
    let mut second = server.connect();
    for _ in 0..50 {
        first.write_all(GET).unwrap();
        let (_, release_first) = stuck.recv_timeout(PATIENCE).expect("the first is taken");
        second.write_all(GET).unwrap();
        let (_, release_second) = stuck.recv_timeout(PATIENCE).expect("the second is taken");
        let third = server.connect();
        wait_until("a third is accepted while both threads are stuck", || {
            server.server.connections() == 3
        });
        drop(third);
        wait_until("and its end is noticed", || {
            server.server.connections() == 2
        });
        drop((release_first, release_second));
        assert_eq!(read_response(&mut first), b"x");
        assert_eq!(read_response(&mut second), b"x");
    }
    server.server.shut_queue();
    for worker in workers {
        worker.join().unwrap();
    }
}

#[test]
fn a_shut_queue_gives_out_what_it_has_and_then_nothing() {
    let server = Running::start(config(Mode::Pull));
    let mut peers = peers(&server, 3);
    wait_until("all three wait", || {
        server.sink.starved.load(Ordering::Relaxed) == 3
    });
    server.server.shut_queue();
    let mut late = server.connect();
    late.write_all(GET).unwrap();
    assert!(read_head(&mut late).starts_with("HTTP/1.1 503 "));
    for _ in 0..3 {
        answer(&server.request(), b"x");
    }
    assert!(server.server.take().is_none());
    for peer in &mut peers {
        assert_eq!(read_response(peer), b"x");
    }
}

/// A server that has enough loops and threads for two teams.
fn two_teams(mode: Mode, queue: usize) -> Running {
    let mut server = Running::start(Config {
        queue,
        loops: 8,
        threads: 16,
        ..config(mode)
    });
    (1..8).for_each(|_| server.run());
    server
}

#[test]
fn a_limit_on_queued_work_is_that_of_all_teams_together() {
    for limit in [0, 5, 200] {
        let server = two_teams(Mode::Pull, limit);
        // A piece for each free thread does not count, and no thread is busy.
        let room = limit + 16;
        let mut peers: Vec<_> = (0..room).map(|_| server.connect()).collect();
        for round in 0..3 {
            for peer in &mut peers {
                peer.write_all(GET).unwrap();
            }
            wait_until("all wait", || server.server.stats().waiting == room);
            for _ in 0..5 {
                let mut late = server.connect();
                late.write_all(GET).unwrap();
                let head = read_head(&mut late);
                assert!(head.starts_with("HTTP/1.1 503 "), "{limit}, {round}");
            }
            let taking = server.server.clone();
            let taker = std::thread::spawn(move || {
                for _ in 0..room {
                    let Some(Work::Request(request)) = taking.take() else {
                        panic!("no request");
                    };
                    assert!(request.exchange.bind(1));
                    answer(&request.exchange, b"x");
                }
            });
            join(taker);
            for peer in &mut peers {
                assert_eq!(read_response(peer), b"x");
            }
        }
    }
}

#[test]
fn threads_of_one_team_serve_what_comes_to_another() {
    let server = two_teams(Mode::Pull, 1000);
    // Fewer than loops: most loops' connections are another team's.
    let workers = workers(&server, 1);
    let mut peers = peers(&server, 40);
    for _ in 0..50 {
        for peer in &mut peers {
            assert_eq!(read_response(peer), b"x");
            peer.write_all(GET).unwrap();
        }
    }
    for peer in &mut peers {
        assert_eq!(read_response(peer), b"x");
    }
    server.server.shut_queue();
    assert_eq!(workers.into_iter().map(join).sum::<usize>(), 40 * 51);
}

#[test]
fn parked_threads_are_woken_by_a_shut_queue() {
    let server = Running::start(config(Mode::Pull));
    let workers = workers(&server, 4);
    server.server.shut_queue();
    for worker in workers {
        assert_eq!(worker.join().unwrap(), 0);
    }
}

#[test]
fn work_that_comes_while_all_threads_are_stuck_is_handed_over_without_a_tick() {
    let server = Running::start(config(Mode::Pull));
    let (tx, stuck) = mpsc::channel();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (server, tx) = (server.server.clone(), tx.clone());
            std::thread::spawn(move || {
                let Some(Work::Request(request)) = server.take() else {
                    panic!("no request");
                };
                let (release, released) = mpsc::channel::<()>();
                tx.send(release).unwrap();
                let _ = released.recv();
                drop(request);
            })
        })
        .collect();
    let _blocking = peers(&server, 2);
    let releases: Vec<_> = (0..2)
        .map(|_| stuck.recv_timeout(PATIENCE).expect("both are taken"))
        .collect();
    server
        .sink
        .helps
        .set(Arc::downgrade(&server.server))
        .unwrap();
    let mut peer = server.connect();
    let fastest = (0..300)
        .map(|_| {
            let begin = Instant::now();
            peer.write_all(GET).unwrap();
            while server.sink.work.lock().is_empty() {
                assert!(begin.elapsed() < PATIENCE, "it waits");
                std::thread::yield_now();
            }
            let time = begin.elapsed();
            answer(&server.pushed_request(), b"x");
            assert_eq!(read_response(&mut peer), b"x");
            time
        })
        .min();
    // No timer of the loop's is faster, and one of three hundred is not held up by other programs.
    assert!(fastest < Some(Duration::from_millis(1)), "{fastest:?}");
    drop(releases);
    workers.into_iter().for_each(join);
}

#[test]
fn one_turn_pushes_one_batch() {
    let server = Running::start(config(Mode::Push));
    let mut first = server.connect();
    let mut others: Vec<_> = (0..6).map(|_| server.connect()).collect();
    wait_until("all are accepted", || server.server.connections() == 7);
    // The loop hangs in its upcall as long as this is locked, and then finds six requests at once.
    let work = server.sink.work.lock();
    first.write_all(GET).unwrap();
    wait_until("the loop hangs", || server.sink.batches.lock().len() == 1);
    for peer in &mut others {
        peer.write_all(GET).unwrap();
    }
    drop(work);
    wait_until("all are pushed", || server.sink.work.lock().len() == 7);
    let batches = server.sink.batches.lock();
    // One, unless the kernel has delivered a request late.
    assert!((2..=4).contains(&batches.len()), "{batches:?}");
}

#[test]
fn each_loop_pushes_what_comes_to_it() {
    let server = two_teams(Mode::Push, 1000);
    let mut peers = peers(&server, 40);
    for _ in 0..50 {
        for _ in 0..peers.len() {
            answer(&server.pushed_request(), b"x");
        }
        for peer in &mut peers {
            assert_eq!(read_response(peer), b"x");
            peer.write_all(GET).unwrap();
        }
    }
}

#[test]
fn threads_beyond_those_that_are_kept_leave_when_nothing_comes_for_them() {
    let server = Running::start(Config {
        kept: 2,
        keep_alive: Duration::from_millis(50),
        ..config(Mode::Pull)
    });
    let workers = workers(&server, 6);
    wait_until("four have left", || {
        workers.iter().filter(|worker| worker.is_finished()).count() == 4
    });
    std::thread::sleep(Duration::from_millis(200));
    let stay = workers.iter().filter(|worker| !worker.is_finished());
    assert_eq!(stay.count(), 2, "these are kept");
    let mut peers = peers(&server, 10);
    for peer in &mut peers {
        assert_eq!(read_response(peer), b"x");
    }
    server.server.shut_queue();
    assert_eq!(workers.into_iter().map(join).sum::<usize>(), 10);
}

#[test]
fn a_thread_that_ends_in_the_middle_of_its_work_leaves_the_count() {
    let server = Running::start(Config {
        queue: 0,
        threads: 1,
        ..config(Mode::Pull)
    });
    // What a thread is free for is taken in.
    let mut first = server.connect();
    first.write_all(GET).unwrap();
    let exchange = std::thread::scope(|scope| scope.spawn(|| server.request()).join().unwrap());
    let mut second = server.connect();
    second.write_all(GET).unwrap();
    let next = server.request();
    answer(&exchange, b"first");
    answer(&next, b"second");
    assert_eq!(read_response(&mut first), b"first");
    assert_eq!(read_response(&mut second), b"second");
    assert_eq!(refusals(&server), 0);
}
