//! HTTP/1.1 and WebSocket, server and client: bytes, sockets and time.
//!
//! This crate knows neither the JVM nor Ring. Its embedder implements [`server::Sink`] and its twin [`client::Sink`],
//! through which it receives requests, messages, responses and close events. It calls down with plain function calls.
//!
//! # A tour
//!
//! [`h1`] and [`ws`] are protocols as functions of bytes: no sockets, no clock, no threads. They take the bytes
//! received so far, and the result does not depend on how those were split. A head is a set of spans into the buffer
//! that holds it:
//!
//! ```
//! use httpkit_core::h1::{BodyFraming, HeadParser, Limits, RequestHead};
//!
//! let mut parser = HeadParser::new();
//! let mut head = RequestHead::default();
//! let limits = Limits::default();
//! let bytes = b"POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
//!
//! assert_eq!(parser.parse(&bytes[..30], &limits, &mut head), Ok(false), "more is needed");
//! assert_eq!(parser.parse(bytes, &limits, &mut head), Ok(true));
//! assert_eq!(head.target.of(bytes), b"/a?b");
//! assert_eq!(head.framing, BodyFraming::Length(2));
//! assert_eq!(&bytes[head.len..], b"hi");
//!
//! let broken = b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
//! assert!(parser.parse(broken, &limits, &mut head).is_err());
//! ```
//!
//! WebSocket bytes become whole messages, or name the rule that the peer broke:
//!
//! ```
//! use httpkit_core::ws::{Decoder, Event};
//!
//! let mut decoder = Decoder::new(1 << 20);
//! // Final, text; masked, five bytes; a mask of zeros.
//! let frame = [&[0x81, 0x80 | 5, 0, 0, 0, 0], "hello".as_bytes()].concat();
//! let (used, event) = decoder.decode(&frame)?;
//! assert_eq!((used, event), (frame.len(), Some(Event::Text(b"hello".to_vec()))));
//!
//! let unmasked = [0x81, 1, b'x'];
//! assert_eq!(decoder.decode(&unmasked).unwrap_err().code, 1002);
//! # Ok::<(), httpkit_core::ws::Fault>(())
//! ```
//!
//! [`server`] and [`client`] put them on sockets, in single-threaded tokio runtimes on threads that the embedder lends.
//! Neither knows the other. A [`server::Server`] is bound with a [`server::Config`]; its requests are queued for
//! threads of the embedder ([`server::Server::take`]), which respond through a [`server::Exchange`]. A
//! [`client::Client`] is given calls, each with its [`client::CallSpec`].
//!
//! [`net`] carries the client's bytes: TCP, Unix domain sockets, TLS, and transports that the embedder hosts. It also
//! sets up TLS for both sides, and covers the differences between operating systems. [`error`] lists the rules that a
//! peer can break, and the server's response to each.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]
// Standard error may be closed, and then these macros panic.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod client;
pub mod error;
mod grammar;
pub mod h1;
pub mod net;
mod scheduled;
pub mod server;
mod sync;
pub mod ws;
