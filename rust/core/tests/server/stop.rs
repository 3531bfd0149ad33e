use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use httpkit_core::server::Event;
use httpkit_core::server::queue::Mode;

use crate::support::{Running, closings, config, wait_until};

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
            assert!(exchange.hold());
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
