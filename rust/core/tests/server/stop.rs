use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use httpkit_core::server::{
    Encoded, Event, Exchange, GIVEN_CONNECTION, INLINE, Interest, Mode, Responded, ResponseHead,
    Sent, Until,
};
use httpkit_core::ws::Opcode;

use crate::support::{
    PATIENCE, Running, answer, any_port, closings, config, read_head, read_response, reply,
    wait_until,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// A peer with an open connection on which one request has been answered.
fn idle_peer(server: &Running) -> TcpStream {
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    answer(&exchange, b"first");
    assert_eq!(read_response(&mut peer), b"first");
    peer
}

/// The head of the last response on a connection, whose body is `last`.
fn last_head(peer: &mut TcpStream) -> String {
    let head = read_head(peer);
    let mut rest = String::new();
    peer.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("last"), "{head}{rest}");
    head
}

fn says_close(head: &str) -> bool {
    head.contains("Connection: Close\r\n")
}

#[test]
fn a_draining_server_answers_on_open_connections_and_says_that_they_end() {
    let ways: [fn(&Exchange); 3] = [
        |exchange| answer(exchange, b"last"),
        |exchange| {
            assert_eq!(exchange.stream(&reply(), b"last"), Sent::Accepted);
            assert_eq!(exchange.end_stream(), Sent::Accepted);
        },
        |exchange| {
            let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast";
            let sent = exchange.respond_encoded(bytes, 0, Interest::default());
            assert_eq!(sent, Encoded::Done);
        },
    ];
    for respond in ways {
        let server = Running::start(config(Mode::Pull));
        let mut peer = idle_peer(&server);
        server.server.drain();
        peer.write_all(GET).unwrap();
        let exchange = server.request();
        assert!(server.server.unfinished(Duration::ZERO, Until::Stopped) >= 1);
        respond(&exchange);
        assert!(says_close(&last_head(&mut peer)));
        drop(peer);
        wait_until("it is gone", || server.server.connections() == 0);
    }
}

#[test]
fn a_draining_server_leaves_a_given_connection_header_alone() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = idle_peer(&server);
    server.server.drain();
    peer.write_all(GET).unwrap();
    let given = ResponseHead {
        headers: b"Connection: keep-alive\r\n",
        flags: GIVEN_CONNECTION,
        ..reply()
    };
    let answered = server.request().respond(&given, b"kept", 4);
    assert!(matches!(answered, Responded::Done(None)), "{answered:?}");
    assert_eq!(read_response(&mut peer), b"kept");
    let encoded = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nkept";
    peer.write_all(GET).unwrap();
    let sent = server
        .request()
        .respond_encoded(encoded, 0, Interest::default());
    assert_eq!(sent, Encoded::Done);
    assert_eq!(read_response(&mut peer), b"kept");
}

#[test]
fn of_pipelined_requests_the_last_response_says_that_the_connection_ends() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(&GET.repeat(2)).unwrap();
    let first = server.request();
    server.server.drain();
    let flags = INLINE;
    let Responded::Done(Some(second)) =
        first.respond(&ResponseHead { flags, ..reply() }, b"first", 5)
    else {
        panic!("the second request was not handed on");
    };
    assert!(second.exchange.bind(7));
    answer(&second.exchange, b"last");
    let head = read_head(&mut peer);
    assert!(!says_close(&head), "{head}");
    let mut body = [0; 5];
    peer.read_exact(&mut body).unwrap();
    assert!(says_close(&last_head(&mut peer)));
}

#[test]
fn what_a_peer_sends_behind_the_last_response_does_not_reset_it() {
    const SIZE: usize = 1 << 20;
    let server = Running::start(config(Mode::Pull));
    let mut peer = idle_peer(&server);
    server.server.drain();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    let mut body = vec![b'x'; SIZE];
    body.extend_from_slice(b"last");
    answer(&exchange, &body);
    // A peer that does not wait: it has yet to read that there is no next response.
    peer.write_all(&GET.repeat(100)).unwrap();
    assert!(says_close(&last_head(&mut peer)));
}

#[test]
fn connections_that_the_kernel_has_accepted_are_served_by_a_server_that_stops_accepting() {
    for _ in 0..10 {
        let mut server = Running::bind(&any_port(), config(Mode::Pull));
        let mut peers: Vec<_> = (0..8).map(|_| server.connect()).collect();
        for peer in &mut peers {
            peer.write_all(GET).unwrap();
        }
        server.run();
        wait_until("the loop accepts", || {
            server.server.unfinished(PATIENCE, Until::Stopped) > 0
        });
        server.server.drain();
        for _ in 0..peers.len() {
            answer(&server.request(), b"last");
        }
        for peer in &mut peers {
            last_head(peer);
        }
    }
}

#[test]
fn once_nothing_is_left_to_drain_no_peer_can_connect_any_more_and_be_reset() {
    // A listener that has not ended ignores the attempt, and the kernel repeats it after a second.
    const BEFORE_THE_NEXT: Duration = Duration::from_millis(900);
    for _ in 0..5 {
        let server = Running::start(config(Mode::Pull));
        drop(idle_peer(&server));
        server.server.drain();
        wait_until("nothing is left", || {
            server.server.unfinished(PATIENCE, Until::Drained) == 0
        });
        let connected = TcpStream::connect_timeout(&server.address(), BEFORE_THE_NEXT);
        assert_eq!(connected.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn idle_connections_are_cut_once_they_have_been_silent_for_the_grace() {
    const GRACE: Duration = Duration::from_millis(300);
    let server = Running::start(config(Mode::Pull));
    let mut silent = idle_peer(&server);
    let mut unused = server.connect();
    let mut begun = idle_peer(&server);
    begun.write_all(b"GET / HT").unwrap();
    server.server.drain();
    wait_until("all are accepted", || server.server.connections() == 3);
    assert!(
        server.server.unfinished(GRACE, Until::Stopped) >= 3,
        "nothing is cut at once"
    );
    wait_until("two are gone", || {
        server.server.unfinished(GRACE, Until::Stopped) <= 1
    });
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    assert_eq!(unused.read(&mut [0]).unwrap(), 0);
    wait_until("nothing is waited for", || {
        server.server.unfinished(GRACE, Until::Stopped) == 0
    });
    // No longer waited for, but served if it comes.
    begun.write_all(b"TP/1.1\r\nHost: h\r\n\r\n").unwrap();
    answer(&server.request(), b"last");
    assert!(says_close(&last_head(&mut begun)));
}

#[test]
fn a_request_whose_body_pauses_is_waited_for_and_one_without_a_whole_head_is_not() {
    const GRACE: Duration = Duration::from_millis(50);
    for until in [Until::Stopped, Until::Drained] {
        let server = Running::start(config(Mode::Pull));
        let mut uploading = server.connect();
        uploading
            .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
            .unwrap();
        let mut begun = server.connect();
        begun.write_all(b"POST / HT").unwrap();
        wait_until("both have begun", || server.server.stats().buffered == 11);
        server.server.drain();
        // Both have been silent since the same call.
        wait_until("one is waited for", || {
            server.server.unfinished(GRACE, until) == 1
        });
        uploading.write_all(b"dy").unwrap();
        answer(&server.request(), b"last");
        assert!(says_close(&last_head(&mut uploading)));
        drop(uploading);
        wait_until("nothing is waited for", || {
            server.server.unfinished(GRACE, until) == 0
        });
    }
}

#[test]
fn a_request_that_the_kernel_holds_keeps_its_connection_from_being_cut() {
    let server = Running::start(config(Mode::Push));
    let mut peer = server.connect();
    let mut other = server.connect();
    wait_until("both are accepted", || server.server.connections() == 2);
    server.server.drain();
    // The loop hangs in its upcall as long as this is locked.
    let work = server.sink.work.lock();
    other.write_all(GET).unwrap();
    wait_until("the loop hangs", || !server.sink.batches.lock().is_empty());
    peer.write_all(GET).unwrap();
    for _ in 0..2 {
        assert!(server.server.unfinished(Duration::ZERO, Until::Stopped) >= 1);
    }
    drop(work);
    for _ in 0..2 {
        answer(&server.pushed_request(), b"last");
    }
    assert!(says_close(&last_head(&mut peer)));
    assert!(says_close(&last_head(&mut other)));
}

#[test]
fn channels_are_not_waited_for() {
    let server = Running::start(config(Mode::Pull));
    let mut peers: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for peer in &mut peers {
        peer.write_all(GET).unwrap();
    }
    let [unanswered, streaming] = [server.request(), server.request()];
    server.server.drain();
    assert!(server.server.unfinished(PATIENCE, Until::Stopped) >= 2);
    assert!(unanswered.watch_peer());
    assert!(streaming.watch_peer());
    assert_eq!(streaming.stream(&reply(), b"first"), Sent::Accepted);
    wait_until("nothing is waited for", || {
        server.server.unfinished(PATIENCE, Until::Stopped) == 0
    });
    let (_socket, _exchange) = (peers, unanswered);
}

#[test]
fn channels_are_waited_for_on_request_and_counted_when_they_are_cut() {
    let server = Running::start(config(Mode::Pull));
    let mut peers: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for peer in &mut peers {
        peer.write_all(GET).unwrap();
    }
    let [ending, held, streaming] = [server.request(), server.request(), server.request()];
    server.server.drain();
    for exchange in [&held, &streaming] {
        assert!(exchange.watch_peer());
    }
    assert_eq!(streaming.stream(&reply(), b"first"), Sent::Accepted);
    answer(&ending, b"last");
    wait_until("only the channels are left", || {
        server.server.unfinished(Duration::ZERO, Until::Drained) == 2
    });
    assert_eq!(server.server.unfinished(Duration::ZERO, Until::Stopped), 0);
    assert_eq!(streaming.end_stream(), Sent::Accepted);
    wait_until("one is left", || {
        server.server.unfinished(Duration::ZERO, Until::Drained) == 1
    });
    assert_eq!(server.server.served(), 2);
    assert_eq!(server.server.close(), 1);
}

#[test]
fn a_websocket_is_open_until_it_is_told_to_go_away() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    assert!(exchange.upgrade(b"", Interest::default(), None));
    read_head(&mut peer);
    server.server.drain();
    wait_until("it alone is waited for", || {
        server.server.unfinished(Duration::ZERO, Until::Drained) == 1
    });
    assert_eq!(server.server.go_away(), 1);
    assert_eq!(server.server.go_away(), 0, "once");
    let mut frame = [0; 4];
    peer.read_exact(&mut frame).unwrap();
    assert_eq!(frame, [0x88, 2, 0x03, 0xe9]);
    wait_until("nothing is left", || {
        server.server.unfinished(Duration::ZERO, Until::Drained) == 0
    });
    assert_eq!(server.server.close(), 0, "it was not cut");
}

#[test]
fn a_draining_server_refuses_connections() {
    let server = Running::start(config(Mode::Pull));
    let mut busy = server.connect();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let _exchange = server.request();
    server.server.drain();
    wait_until("connections are refused", || {
        TcpStream::connect(server.address())
            .is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
    });
    assert_eq!(server.server.connections(), 1, "the busy one goes on");
}

#[test]
fn closings_that_a_stop_causes_are_handed_over_in_either_mode() {
    for mode in [Mode::Push, Mode::Pull] {
        // Often enough to meet the end of the loop before and after it looked at the queue.
        for _ in 0..20 {
            let mut server = Running::start(config(mode));
            let mut peer = server.connect();
            peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
                .unwrap();
            let exchange = match mode {
                Mode::Pull => server.request(),
                Mode::Push => server.pushed_request(),
            };
            assert!(exchange.watch_peer());
            server.stop();
            let work = std::mem::take(&mut *server.sink.work.lock());
            assert_eq!(
                closings(work),
                [Event::Closed(-1, String::new())],
                "{mode:?}"
            );
            let _ = peer.read(&mut [0]);
        }
    }
}

#[test]
fn what_a_stop_writes_is_counted() {
    let server = Running::start(config(Mode::Push));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    let exchange = server.pushed_request();
    assert!(exchange.upgrade(b"", Interest::default(), None));
    let head = read_head(&mut peer).len();
    let mut other = server.connect();
    wait_until("both are accepted", || server.server.connections() == 2);
    // The loop hangs in its upcall as long as this is locked.
    let work = server.sink.work.lock();
    server.sink.batches.lock().clear();
    other.write_all(GET).unwrap();
    wait_until("the loop hangs", || !server.sink.batches.lock().is_empty());
    let long = vec![b'x'; 12 << 20];
    let sent = exchange.send_frame(Opcode::Binary, &long, 0, usize::MAX);
    assert_eq!(sent, Sent::Accepted);
    let before = server.server.stats();
    assert!(before.pending > 0, "the peer has yet to read");
    let mut sent = vec![0; before.totals.written as usize - head];
    peer.read_exact(&mut sent).unwrap();
    // Now there is room.
    assert_eq!(server.server.go_away(), 1);
    let after = server.server.stats();
    assert!(after.pending < before.pending, "nothing was written");
    let all = head + 10 + long.len() + 4;
    assert_eq!(after.totals.written + after.pending, all as u64);
    drop(work);
}
