//! Each order in which a task and a thread with a call can meet at a seat.

use super::super::connect::Conn;
use super::super::key::PoolKey;
use super::super::permit::Permit;
use super::super::pool::{Limits, Pool};
use super::super::shared::Shared;
use super::super::spec::{CallSpec, ClientConfig, Millis, Timeouts};
use super::super::{CallError, CallId, Head, Sink};
use super::*;
use crate::net::hosted::{HostsNone, TransportId};
use crate::net::stream::{Meter, Metered, Stream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::Wake;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

struct Deaf;

impl HostsNone for Deaf {}

impl Sink for Deaf {
    fn on_response(&self, _: CallId, _: &Head<'_>, _: &[u8]) -> bool {
        true
    }
    fn on_head(&self, _: CallId, _: &Head<'_>) -> bool {
        true
    }
    fn room(&self) -> u64 {
        0
    }
    fn on_body(&self, _: CallId, _: &[u8]) -> bool {
        true
    }
    fn on_end(&self, _: CallId) -> bool {
        true
    }
    fn on_failure(&self, _: CallId, _: &CallError, _: Option<TransportId>) -> bool {
        true
    }
    fn on_send_credit(&self, _: CallId, _: usize) -> bool {
        true
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A parked connection whose task is polled by hand.
struct Bench {
    shared: Arc<Shared>,
    parked: Parked,
    wakes: Arc<Wakes>,
    peer: Option<TcpStream>,
}

impl Bench {
    async fn new() -> Self {
        let shared = Shared::new(Arc::new(Deaf), Arc::default(), ClientConfig::default());
        let limits = Limits::default();
        let pool = SharedPool::new(Pool::new(limits), shared.stats.clone());
        let key = Arc::new(PoolKey::of(&CallSpec::default()));
        pool.with(|pool| pool.reserve(&key));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap());
        let (socket, peer) = (socket.await.unwrap(), listener.accept().await.unwrap().0);
        let (meter, permit) = (Meter::default(), Permit::new(pool.clone(), key));
        let stream = Stream::Tcp(Metered::new(socket, meter.clone()));
        let conn = Conn::new(stream, None, meter, permit);
        let expiry = Instant::now() + Duration::from_secs(100);
        Self {
            shared,
            parked: Parked::new(pool, Box::new(conn), expiry),
            wakes: Arc::default(),
            peer: Some(peer),
        }
    }

    fn poll(&mut self) -> Poll<Option<Woken>> {
        let waker = Waker::from(self.wakes.clone());
        self.parked.poll(&mut Context::from_waker(&waker))
    }

    fn rest(&mut self) {
        assert!(self.poll().is_pending());
    }

    fn seat(&self) -> Arc<Seat> {
        self.parked.seat.clone()
    }

    fn call(&self, idle: i32) -> Call {
        let spec = CallSpec {
            head: "GET / HTTP/1.1\r\n\r\n".into(),
            timeouts: Timeouts {
                idle: Millis(idle),
                ..Timeouts::default()
            },
            ..CallSpec::default()
        };
        Call::new(self.shared.clone(), 1, Box::new(spec), Instant::now())
    }

    fn woken(&self) -> usize {
        self.wakes.0.swap(0, SeqCst)
    }

    /// Whether the task now has the call, and how much of its request was written.
    fn served(&mut self) -> Option<usize> {
        match self.poll() {
            Poll::Ready(Some((Ok(_), next))) => Some(next.sent.map_or(0, |sent| sent.bytes)),
            _ => None,
        }
    }
}

/// Longer than what the timer of a new connection is set to.
const LONG: i32 = 100_000;

#[tokio::test]
async fn a_resting_task_is_woken_only_for_a_limit_before_its_timer() {
    for (idle, woken) in [(LONG, 0), (50_000, 1)] {
        let mut bench = Bench::new().await;
        bench.rest();
        assert!(bench.seat().serve(bench.call(idle)).is_ok());
        assert_eq!(bench.woken(), woken);
        assert_eq!(bench.served(), Some(18));
    }
}

#[tokio::test]
async fn a_task_that_finds_its_connection_claimed_is_woken_again() {
    let mut bench = Bench::new().await;
    bench.rest();
    let claim = bench.seat().claim().unwrap();
    bench.rest();
    assert!(claim.write(bench.call(LONG)).is_ok());
    assert_eq!(bench.woken(), 1);
    assert_eq!(bench.served(), Some(18));
}

#[tokio::test]
async fn a_task_that_is_about_to_rest_finds_what_was_given_meanwhile() {
    for closed in [false, true] {
        let mut bench = Bench::new().await;
        bench.rest();
        let waker = Waker::from(bench.wakes.clone());
        assert!(matches!(bench.parked.enter(), Phase::Open));
        match closed {
            true => bench.seat().close(),
            false => assert!(bench.seat().serve(bench.call(LONG)).is_ok()),
        }
        let found = bench.parked.rest(&Context::from_waker(&waker), true);
        match closed {
            true => assert!(matches!(found, Phase::Closed)),
            false => assert!(matches!(found, Phase::Given(Handed { sent: None, .. }))),
        }
        assert_eq!(bench.woken(), 0);
    }
}

#[tokio::test]
async fn a_cancel_wakes_the_task_of_a_call_in_its_seat() {
    for early in [false, true] {
        let mut bench = Bench::new().await;
        bench.rest();
        let call = bench.call(LONG);
        let cancel = |bench: &Bench| {
            let calls = &bench.shared.calls;
            calls.change(1, |control| control.cancelled.store(true, SeqCst));
        };
        if early {
            cancel(&bench);
        }
        assert!(bench.seat().serve(call).is_ok());
        if !early {
            assert_eq!(bench.woken(), 0);
            cancel(&bench);
        }
        assert_eq!(bench.woken(), 1);
    }
}

#[tokio::test]
async fn a_seat_that_is_closed_or_has_a_call_gives_others_back() {
    let mut bench = Bench::new().await;
    bench.rest();
    bench.seat().close();
    assert_eq!(bench.woken(), 1);
    assert!(bench.seat().serve(bench.call(LONG)).is_err());
    assert!(matches!(bench.poll(), Poll::Ready(None)));

    let mut bench = Bench::new().await;
    bench.rest();
    assert!(bench.seat().serve(bench.call(LONG)).is_ok());
    bench.seat().close();
    assert!(bench.seat().serve(bench.call(LONG)).is_err());
    assert_eq!(bench.served(), Some(18));
}

#[tokio::test]
async fn a_connection_whose_peer_spoke_or_left_gets_no_request_and_closes() {
    for speaks in [true, false] {
        let mut bench = Bench::new().await;
        bench.rest();
        let claim = bench.seat().claim().unwrap();
        let peer = bench.peer.take().unwrap();
        if speaks {
            assert_eq!(peer.try_write(b"x").unwrap(), 1);
            bench.peer = Some(peer);
        } else {
            drop(peer);
        }
        let socket = claim.conn.as_ref().unwrap().socket().unwrap();
        while socket.is_silent() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(claim.write(bench.call(LONG)).is_err());
        assert_eq!(bench.woken(), 1);
        assert!(matches!(bench.poll(), Poll::Ready(None)));
    }
}
