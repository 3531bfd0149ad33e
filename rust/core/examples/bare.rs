//! The yardstick of `./dev bench`: one loop with this crate's parser and constant answers, and nothing behind it.
//!
//! bare [port]
//!
//! Prints `port <n>` once it listens. Answers `/`, `/json`, `/bytes` and `/gc` like the benchmark's Ring handlers.
//! Each answer is built anew; nothing is shared between threads, and no thread is woken.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::SystemTime;

use httpkit_core::h1::{HeadParser, Limits, RequestHead, date, response};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

const READ: usize = 64 * 1024;
const JSON: usize = 2048;
const BYTES: usize = 1_000_000;

/// What all connections of the loop use in turn.
struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
    head: RequestHead,
    json: Vec<u8>,
    bytes: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; READ],
        output: Vec::new(),
        head: RequestHead::default(),
        json: vec![b'j'; JSON],
        bytes: vec![b'b'; BYTES],
    });
}

#[derive(Default)]
struct Connection {
    /// A head that has arrived in part.
    kept: Vec<u8>,
    parser: HeadParser,
    close: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let port = match std::env::args().nth(1) {
        Some(port) => port.parse().map_err(io::Error::other)?,
        None => 0,
    };
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    println!("port {}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // A peer that leaves is no event here.
            let _ = serve(stream).await;
        });
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut connection = Connection::default();
    loop {
        let rest = poll_fn(|cx| connection.turn(cx, &mut stream)).await?;
        match rest {
            None => return Ok(()),
            Some(rest) if rest.is_empty() => {}
            Some(rest) => stream.write_all(&rest).await?,
        }
        if connection.close {
            return Ok(());
        }
    }
}

impl Connection {
    /// Reads, answers, and returns what the socket did not take; `None` at the peer's end.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut TcpStream,
    ) -> Poll<io::Result<Option<Vec<u8>>>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(&mut scratch.input);
            match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(result) => result?,
            }
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(None));
            }
            let len = buf.filled().len();
            let input = std::mem::take(&mut scratch.input);
            let answered = self.answer(&input[..len], scratch);
            scratch.input = input;
            answered?;
            if scratch.output.is_empty() {
                return Poll::Ready(Ok(Some(Vec::new())));
            }
            let written = match stream.try_write(&scratch.output) {
                Ok(written) => written,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
                Err(e) => return Poll::Ready(Err(e)),
            };
            let rest = scratch.output[written..].to_vec();
            scratch.output.clear();
            Poll::Ready(Ok(Some(rest)))
        })
    }

    fn answer(&mut self, fresh: &[u8], scratch: &mut Scratch) -> io::Result<()> {
        let kept = std::mem::take(&mut self.kept);
        let joined;
        let mut input = fresh;
        if !kept.is_empty() {
            joined = [&kept, fresh].concat();
            input = &joined;
        }
        while !input.is_empty() {
            let head = &mut scratch.head;
            match self.parser.parse(input, &Limits::default(), head) {
                Ok(true) => {}
                Ok(false) => {
                    self.kept = input.to_vec();
                    break;
                }
                Err(violation) => return Err(io::Error::other(format!("{violation:?}"))),
            }
            self.close = head.close;
            let body = match head.target.of(input) {
                target if target.starts_with(b"/json") => &scratch.json[..],
                b"/bytes" => &scratch.bytes,
                _ => b"Hello, World!",
            };
            write_answer(&mut scratch.output, body, body.len() == JSON);
            input = &input[head.len..];
        }
        Ok(())
    }
}

fn write_answer(out: &mut Vec<u8>, body: &[u8], json: bool) {
    response::status_line(out, 200);
    if json {
        response::header(out, b"Content-Type", b"application/json; charset=utf-8");
        response::header(out, b"Cache-Control", b"no-cache");
        response::header(out, b"X-Frame-Options", b"DENY");
        response::header(
            out,
            b"X-Request-Id",
            b"5c0a6a1e-6a1b-4a43-9a3c-2f1f9d7a1b7e",
        );
    } else {
        response::header(out, b"Content-Type", b"text/plain");
    }
    response::content_length(out, body.len() as u64);
    response::server_and_date(out, Some(b"http-kit"), &now());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// The value of Date, made once a second.
fn now() -> [u8; 29] {
    thread_local! {
        static DATE: RefCell<[u8; 29]> = const { RefCell::new([0; 29]) };
    }
    static SECOND: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|date| {
        if SECOND.swap(now, Ordering::Relaxed) != now {
            *date = date::imf_fixdate(now);
        }
        *date
    })
}
