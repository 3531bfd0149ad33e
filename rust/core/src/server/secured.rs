//! A connection on a TLS port: its first bytes, its records, and handshakes that fail. And plain requests that are not
//! served, there or on a port that only redirects.
//!
//! Not here: the records themselves (`tls.rs`), certificates (`net/tls_server.rs`).

use std::sync::Arc;

use parking_lot::MutexGuard;
use rustls::HandshakeKind;

use super::connection::{Conn, State};
use super::exchange::Request;
use super::phase::{Phase, Responding};
use super::records::Opened;
use super::shared::Shared;
use super::signing::Verdict;
use super::sink::Notice;
use super::tls::{Tls, TlsInfo, with_plain};
use crate::grammar::letters_digits_and;
use crate::h1::RequestHead;
use crate::h1::authority::{self, Authority};
use crate::h1::response::{CONNECTION_CLOSE, content_length, header, status_line};
use crate::net::tls_server::Handshakes;

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;
/// Longest head of a plain request on a TLS port that is read to its end.
const MAX_PLAIN_HEAD: usize = 8 * 1024;

impl Shared {
    fn handshake_complete(&self, kind: HandshakeKind) {
        let resumed = kind == HandshakeKind::Resumed;
        self.tls.settings.handshakes.complete(resumed);
    }

    fn handshake_failed(&self, reason: String) {
        Handshakes::count(&self.tls.settings.handshakes.failed);
        self.notice(Notice::Handshake(reason));
    }
}

impl Conn {
    /// Bytes have arrived on a TLS port.
    pub(super) fn received_sealed<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
        fresh: &mut [u8],
    ) {
        let mut first = Vec::new();
        let is_new = state.transport.tls().is_some_and(Tls::is_new);
        if is_new {
            match state.first_bytes(self, fresh) {
                Some(bytes) => first = bytes,
                None => return,
            }
        }
        let fresh = if is_new { &mut first[..] } else { fresh };
        let Some(tls) = state.transport.tls_mut() else {
            return;
        };
        match tls.next(fresh) {
            Verdict::Open => {}
            Verdict::Wait => return,
            Verdict::Sign(handshake) => {
                drop(state);
                return self.sign(handshake);
            }
            Verdict::Refuse => return state.lost(self),
        }
        with_plain(|plain| {
            let Some(tls) = state.transport.tls_mut() else {
                return;
            };
            let in_handshake = tls.is_in_handshake();
            let held = tls.incomplete();
            let opened = tls.open(fresh, plain);
            self.opened(state, (in_handshake, held), opened, plain);
        });
    }

    /// Acts on records that have been opened, with this content. Before that, the connection was `in_handshake` or not,
    /// and `held` bytes of an incomplete record.
    pub(super) fn opened<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
        (in_handshake, held): (bool, usize),
        opened: Opened,
        plain: &[u8],
    ) {
        if let Some(kind) = opened.handshake {
            self.shared.handshake_complete(kind);
        }
        let holds = match state.transport.tls() {
            Some(tls) if !tls.is_in_handshake() => tls.incomplete(),
            _ => 0,
        };
        if !plain.is_empty() {
            // Parts of records have counted when they arrived.
            let came = (plain.len() + holds).saturating_sub(held);
            self.deliver(state, plain, came);
            state = self.lock();
        } else if holds > held {
            state.note_part(self, holds - held, held == 0);
        }
        state.inbound.set_record_begun(holds > 0);
        if let Some(error) = opened.failed {
            if in_handshake {
                self.shared.handshake_failed(error.to_string());
            }
            state.session_failed(self);
        } else if opened.ended && !state.eof {
            state.ended(self);
        }
    }

    pub(super) fn tls_info(&self, seq: u32) -> Option<TlsInfo> {
        self.current(seq)?.transport.tls()?.info()
    }
}

impl State {
    /// Decides by its first bytes what the peer speaks. If it is TLS, the session has begun, and these are returned.
    fn first_bytes(&mut self, conn: &Arc<Conn>, fresh: &[u8]) -> Option<Vec<u8>> {
        let bytes = self.transport.tls_mut()?.first_bytes(fresh);
        match self.inbound.proxy.take(conn.shared.config.proxy, bytes) {
            Ok(Some(len)) => drop(bytes.drain(..len)),
            Ok(None) => return None,
            Err(violation) => {
                conn.shared.notice(Notice::Violation(violation));
                self.lost(conn);
                return None;
            }
        }
        // Not after the handshake, which is the expensive part.
        if !self.admit_source(conn) {
            self.lost(conn);
            return None;
        }
        let tls = self.transport.tls_mut()?;
        let bytes = tls.first_bytes(&[]);
        match bytes.first() {
            None => {}
            Some(&HANDSHAKE) => {
                let bytes = std::mem::take(bytes);
                let config = conn.shared.tls.settings.config();
                if config.is_some_and(|(config, slow)| tls.begin(config, slow).is_ok()) {
                    self.inbound.secured();
                    return Some(bytes);
                }
                self.lost(conn);
            }
            Some(b'A'..=b'Z') => self.plain_on_tls_port(conn),
            Some(_) => self.lost(conn),
        }
        None
    }

    /// A plain request on a TLS port.
    fn plain_on_tls_port(&mut self, conn: &Arc<Conn>) {
        let Some(tls) = self.transport.tls_mut() else {
            return;
        };
        let bytes = tls.first_bytes(&[]);
        let mut head = self.inbound.take_head();
        let parsed = head.parse(bytes, &conn.shared.config.limits);
        if parsed == Ok(false) && bytes.len() < MAX_PLAIN_HEAD {
            return self.inbound.keep_head(head);
        }
        let bytes = std::mem::take(bytes);
        self.transport.plain();
        self.refer(conn, &head.head, parsed == Ok(true), &bytes, true);
    }

    /// Bytes have arrived on a port that only redirects.
    pub(super) fn redirect(&mut self, conn: &Arc<Conn>, fresh: &[u8]) -> Option<Request> {
        let config = &conn.shared.config;
        self.inbound.keep(fresh);
        match self.inbound.take_proxy_header(config) {
            Ok(true) if !self.inbound.proxy.came_through_tls() => {}
            Ok(false) => return None,
            _ => return self.as_on_a_plain_port(conn),
        }
        let is_tls = self.inbound.unparsed(&[]).first() == Some(&HANDSHAKE);
        if is_tls || !self.admit_source(conn) {
            self.lost(conn);
            return None;
        }
        match self.inbound.peek_head(&config.limits) {
            Ok(Some(head)) => {
                let bytes = self.inbound.take();
                self.refer(conn, &head.head, true, &bytes, false);
                None
            }
            Ok(None) => None,
            Err(_) => self.as_on_a_plain_port(conn),
        }
    }

    /// What is not redirected is served, or finds the same rule broken again.
    fn as_on_a_plain_port(&mut self, conn: &Arc<Conn>) -> Option<Request> {
        self.inbound.redirected = false;
        self.next_request(conn, &[], 0)
    }

    /// Responds to a plain request where only https is served. `valid`: the head is.
    fn refer(
        &mut self,
        conn: &Arc<Conn>,
        head: &RequestHead,
        valid: bool,
        bytes: &[u8],
        on_tls_port: bool,
    ) {
        let url = match valid {
            true => https_url(conn, head, bytes, on_tls_port),
            false => None,
        };
        // A balancer that has ended TLS would send the redirected request here again.
        let redirects =
            conn.shared.tls.settings.redirects() && !self.inbound.proxy.came_through_tls();
        let status = if url.is_some() && redirects { 308 } else { 400 };
        let port = match on_tls_port {
            true => "This port speaks HTTPS",
            false => "This port redirects to HTTPS",
        };
        let response = plain_response(&conn.shared, status, port, url, head.is_head());
        self.log_plain(conn, valid.then_some(head), bytes);
        // Its body, if it has one, must not cause a reset.
        self.inbound.drop_input();
        conn.shared.tally.request();
        conn.shared.tally.status(status);
        self.log_response(status, &response);
        self.transport.write(&response, &[]);
        self.finish_connection();
    }

    /// The session is over. Its alert, and a response that the peer may still read, are sent first.
    fn session_failed(&mut self, conn: &Arc<Conn>) {
        if let Phase::Http(_, Responding::Idle) = self.phase {
            self.log_partial(conn);
            // The peer may still send, which must not cause a reset.
            self.inbound.drop_input();
            self.finish_connection();
        } else {
            self.flush();
            self.lost(conn);
        }
    }

    /// Counts a handshake that ends with its connection.
    pub(super) fn note_cut_handshake(&self, conn: &Conn) {
        if self.transport.tls().is_some_and(Tls::is_in_handshake) {
            let reason = "the connection ended during the handshake";
            conn.shared.handshake_failed(reason.to_owned());
        }
    }
}

/// What a path with a query may have without percent-encoding (RFC 3986 3.3, 3.4).
const OF_PATH: [bool; 256] = letters_digits_and(b"-._~!$&'()*+,;=:@/?");

/// Where a plain request should have gone: on a TLS port, to the same authority. That of an absolute target comes
/// before `Host` (RFC 9112 3.2.2). `None` if no URL can have its name.
fn https_url(conn: &Conn, head: &RequestHead, bytes: &[u8], on_tls_port: bool) -> Option<String> {
    let target = head.target.of(bytes);
    let (name, port, path) = match authority::split(target) {
        Some((authority, path)) => {
            let parsed = Authority::parse(authority, 0)?;
            (parsed.name.of(authority), parsed.port, path)
        }
        None => {
            let authority = head.authority?;
            // Other forms, such as `*`, have no path.
            let path = if matches!(target, [b'/' | b'?', ..]) {
                target
            } else {
                b""
            };
            (authority.name.of(bytes), authority.port, path)
        }
    };
    let name = std::str::from_utf8(name).ok()?;
    // Only an address in brackets has colons (RFC 3986 3.2.2).
    if name.contains(':') && !name.starts_with('[') {
        return None;
    }
    let slash = if path.starts_with(b"/") { "" } else { "/" };
    let path = encoded(path);
    let port = match on_tls_port {
        true => port,
        false => conn.shared.tls.port.get().copied(),
    };
    let port = port.filter(|port| *port != 443);
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("https://{name}{port}{slash}{path}"))
}

/// `path` with what no URL has there percent-encoded, as are percent signs that encode nothing.
fn encoded(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for (at, &b) in path.iter().enumerate() {
        let encodes = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
        if OF_PATH[b as usize] || b == b'%' && path.get(at + 1..at + 3).is_some_and(encodes) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

fn plain_response(
    shared: &Shared,
    status: u16,
    port: &str,
    url: Option<String>,
    is_head: bool,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    status_line(&mut out, status);
    let text = match &url {
        Some(url) if status == 308 => {
            header(&mut out, b"Location", url.as_bytes());
            String::new()
        }
        url => {
            header(&mut out, b"Content-Type", b"text/plain; charset=utf-8");
            let hint = url.as_ref().map(|url| format!(": use {url}"));
            format!("{port}{}", hint.unwrap_or_default())
        }
    };
    content_length(&mut out, text.len() as u64);
    out.extend_from_slice(CONNECTION_CLOSE);
    shared.own_fields(&mut out, true, true);
    out.extend_from_slice(b"\r\n");
    if !is_head {
        out.extend_from_slice(text.as_bytes());
    }
    out
}
