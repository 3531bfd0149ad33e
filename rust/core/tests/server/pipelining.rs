use std::io::Write;

use httpkit_core::server::{INLINE, Mode, Responded, ResponseHead, Work};

use crate::support::{Running, config, reply};

#[test]
fn a_thread_that_answers_one_deep_pipeline_lets_others_in() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(200))
        .unwrap();
    let reply = ResponseHead {
        flags: INLINE,
        ..reply()
    };
    let mut exchange = server.request();
    for _ in 0..100 {
        match exchange.respond(&reply, b"", 0) {
            Responded::Done(Some(next)) => exchange = next.exchange,
            Responded::Done(None) => {
                let next = server.server.take();
                assert!(matches!(next, Some(Work::Request(_))), "{next:?}");
                return;
            }
            other => panic!("{other:?}"),
        }
        assert!(exchange.bind(1));
    }
    panic!("a hundred in a row");
}
