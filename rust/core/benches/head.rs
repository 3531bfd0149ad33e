//! How many heads per second, by size and by how they arrive.
//!
//! cargo bench -p httpkit-core --bench head
//!
//! An argument chooses the rows that contain it. Best of five; httparse parses the same bytes once, without the checks of
//! the contract, as a yardstick.

use std::hint::black_box;
use std::time::{Duration, Instant};

use httpkit_core::h1::{HeadParser, Limits, RequestHead};

const SMALL: &[u8] = b"GET /plaintext HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";

const BROWSER: &[u8] = b"GET /shop/items?page=2&sort=price HTTP/1.1\r\n\
Host: www.example.com\r\n\
Connection: keep-alive\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Accept-Encoding: gzip, deflate, br\r\n\
Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
Cache-Control: max-age=0\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\
Referer: https://www.example.com/shop/items?page=1&sort=price\r\n\
Sec-Fetch-Dest: document\r\n\
Sec-Fetch-Mode: navigate\r\n\
Upgrade-Insecure-Requests: 1\r\n\r\n";

fn main() {
    report("small, whole", SMALL, SMALL.len());
    report("browser, whole", BROWSER, BROWSER.len());
    report("browser, in packets of 256", BROWSER, 256);
    // The slow-peer case: cost must stay linear in the head, see LineScanner.
    report("browser, byte by byte", BROWSER, 1);
    let long = [
        b"GET /",
        "a".repeat(8000).as_bytes(),
        b" HTTP/1.1\r\nHost: h\r\n\r\n",
    ]
    .concat();
    report("8 kB target, byte by byte", &long, 1);
    yardstick("small, httparse", SMALL);
    yardstick("browser, httparse", BROWSER);
}

fn report(name: &str, bytes: &[u8], step: usize) {
    let (mut parser, mut head) = (HeadParser::new(), RequestHead::default());
    let limits = Limits::default();
    measure(name, bytes.len(), || {
        let mut end = 0;
        let mut complete = false;
        while !complete {
            end = (end + step).min(bytes.len());
            let parsed = parser.parse(black_box(&bytes[..end]), &limits, &mut head);
            complete = parsed.expect("a good head");
        }
        black_box(&head);
    });
}

fn yardstick(name: &str, bytes: &[u8]) {
    measure(name, bytes.len(), || {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        black_box(request.parse(black_box(bytes)).expect("a good head"));
    });
}

fn measure(name: &str, len: usize, mut once: impl FnMut()) {
    if std::env::args()
        .skip(1)
        .any(|wanted| !wanted.starts_with('-') && !name.contains(&wanted))
    {
        return;
    }
    let best = (0..5)
        .map(|_| slice(&mut once))
        .fold(f64::INFINITY, f64::min);
    println!(
        "{name:28} {best:9.1} ns/head {:8.2} ns/byte",
        best / len as f64
    );
}

/// Nanoseconds per call, over a tenth of a second.
fn slice(once: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut calls = 0u32;
    while start.elapsed() < Duration::from_millis(100) {
        for _ in 0..50 {
            once();
        }
        calls += 50;
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}
