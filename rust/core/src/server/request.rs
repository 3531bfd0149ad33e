//! A request in the compact form in which it crosses to user code: one block of bytes with offsets into itself, copied
//! as a whole and decoded on demand.
//!
//! All numbers are little endian:
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 8 | for the embedder (its name of the exchange) |
//! | 8 | 1 | [`KIND_REQUEST`] |
//! | 9 | 1 | index in [`crate::h1::head::METHODS`], or 255: the text at 24 |
//! | 10 | 1 | `FLAG_*` bits |
//! | 11 | 1 | length of the peer's address: 0 (none), 4 or 16 |
//! | 12 | 2 | peer's port |
//! | 14 | 2 | number of header fields |
//! | 16 | 2 | number of fields that came before the body (the others are trailers) |
//! | 20 | 4 | where the field table starts |
//! | 24 | 4+4 | start and length of the method's text |
//! | 32 | 4+4 | start and length of the target |
//! | 40 | 4+4 | start and length of the body |
//! | 48 | 16 | peer's address |
//! | 64 | 8 | when the head had arrived, see [`clock`] |
//! | 72 | 8 | with [`FLAG_STREAMED`]: length of the whole body, or -1 if unknown |
//!
//! A field table entry is: u16 index in [`crate::h1::head::KNOWN_HEADERS`] or 255, u16 length of the name,
//! u32 start of the name (lower case; only when the index is 255), u32 start and u32 length of the value.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::Instant;

use super::step;
use crate::h1::head::{EXTENSION_METHOD, Header, UNKNOWN_HEADER, known_header};
use crate::h1::proxy::{ProxyHeader, address_text};
use crate::h1::{RequestHead, Version};

/// First byte after the handle: this block is a request.
pub const KIND_REQUEST: u8 = 1;
/// HTTP/1.1 (otherwise 1.0).
pub const FLAG_HTTP11: u8 = 1;
/// The Upgrade header has the token websocket.
pub const FLAG_UPGRADE: u8 = 2;
/// The Connection header has the token close.
pub const FLAG_CLOSE: u8 = 4;
/// The method is HEAD.
pub const FLAG_HEAD: u8 = 8;
/// The peer's address was taken from a PROXY header.
pub const FLAG_PROXIED: u8 = 16;
/// It came through TLS, here or, as a PROXY header says, up to the balancer.
pub const FLAG_TLS: u8 = 32;

/// The block has only the start of the body; the rest is read as it arrives.
pub const FLAG_STREAMED: u8 = 64;

thread_local! {
    /// A buffer for the field table of the next request.
    static TABLE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// A buffer for its block.
    static BLOCK: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Larger table buffers are not kept.
const KEPT_TABLE: usize = 4096;
/// Nor larger blocks: the next one may be short and wait in the queue.
const KEPT_BLOCK: usize = 1024;

const FIXED: usize = 80;
const ENTRY: usize = 16;

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since a fixed time before the first request.
pub fn clock() -> u64 {
    EPOCH.elapsed().as_nanos() as u64
}

/// What [`clock`] returned at that time.
pub(super) fn clock_at(time: Instant) -> u64 {
    time.saturating_duration_since(*EPOCH).as_nanos() as u64
}

/// Takes back a block that has been copied: its memory is used for the next request that this thread parses.
pub fn recycle(mut block: Vec<u8>) {
    if block.capacity() <= KEPT_BLOCK {
        block.clear();
        BLOCK.set(block);
    }
}

/// Completes a block with the embedder's `name` of its exchange.
pub(super) fn put_name(block: &mut [u8], name: i64) {
    block[0..8].copy_from_slice(&name.to_le_bytes());
}

/// A request whose head is complete and whose body may still be arriving.
#[derive(Debug)]
pub(crate) struct Draft {
    block: Vec<u8>,
    table: Vec<u8>,
    count: u16,
    before_body: u16,
    arrived: Instant,
}

impl Draft {
    /// Copies a head out of the connection's buffer.
    ///
    /// `expected` is how much of the body has already been received: memory is reserved for received bytes only.
    pub(crate) fn new(
        head: &RequestHead,
        buf: &[u8],
        peer: Option<SocketAddr>,
        proxy: Option<&ProxyHeader>,
        expected: usize,
    ) -> Self {
        let text: usize = head.headers.iter().map(|h| h.value.len() + 8).sum();
        let table = head.headers.len() * ENTRY;
        let mut block = BLOCK.take();
        block.reserve(FIXED + head.target.len() + text + table + expected);
        block.resize(FIXED, 0);
        let mut draft = Self {
            block,
            table: TABLE.take(),
            count: 0,
            before_body: 0,
            arrived: step::now(),
        };
        draft.fixed(head, buf, proxy.and_then(|p| p.source).or(peer), proxy);
        for header in &head.headers {
            let name = header.name.of(buf);
            if proxy.is_some_and(|p| p.source.is_some()) && replaced_by_proxy(name) {
                continue;
            }
            draft.field(header.id, name, header.value.of(buf));
        }
        if let Some(proxy) = proxy {
            draft.proxy_fields(proxy);
        }
        draft.before_body = draft.count;
        draft.put_u32(40, draft.block.len());
        draft
    }

    fn fixed(
        &mut self,
        head: &RequestHead,
        buf: &[u8],
        peer: Option<SocketAddr>,
        proxy: Option<&ProxyHeader>,
    ) {
        let method = head.method.of(buf);
        self.block[8] = KIND_REQUEST;
        self.block[9] = head.method_id;
        self.block[10] = flags(head, proxy);
        if head.method_id == EXTENSION_METHOD {
            self.put_u32(24, self.block.len());
            self.put_u32(28, method.len());
            self.block.extend_from_slice(method);
        }
        let target = head.target.of(buf);
        self.put_u32(32, self.block.len());
        self.put_u32(36, target.len());
        self.block.extend_from_slice(target);
        if let Some(peer) = peer {
            self.peer(peer);
        }
    }

    fn peer(&mut self, peer: SocketAddr) {
        self.block[12..14].copy_from_slice(&peer.port().to_le_bytes());
        let (length, octets) = octets(peer.ip());
        self.block[11] = length;
        self.block[48..64].copy_from_slice(&octets);
    }

    fn proxy_fields(&mut self, proxy: &ProxyHeader) {
        let (Some(source), Some(destination)) = (proxy.source, proxy.destination) else {
            return;
        };
        self.named_field(b"x-forwarded-for", address_text(source.ip()).as_bytes());
        self.named_field(
            b"x-forwarded-port",
            destination.port().to_string().as_bytes(),
        );
        match destination.port() {
            _ if proxy.tls => self.named_field(b"x-forwarded-proto", b"https"),
            80 => self.named_field(b"x-forwarded-proto", b"http"),
            443 => self.named_field(b"x-forwarded-proto", b"https"),
            _ => {}
        }
    }

    fn named_field(&mut self, name: &[u8], value: &[u8]) {
        self.field(known_header(name).unwrap_or(UNKNOWN_HEADER), name, value);
    }

    fn field(&mut self, id: u8, name: &[u8], value: &[u8]) {
        let start = self.block.len();
        if id == UNKNOWN_HEADER {
            self.block.extend(name.iter().map(u8::to_ascii_lowercase));
        }
        let value_start = self.block.len();
        self.block.extend_from_slice(value);
        self.table.extend_from_slice(&u16::from(id).to_le_bytes());
        self.table
            .extend_from_slice(&(name.len() as u16).to_le_bytes());
        self.table.extend_from_slice(&(start as u32).to_le_bytes());
        self.table
            .extend_from_slice(&(value_start as u32).to_le_bytes());
        self.table
            .extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.count += 1;
    }

    /// Marks the request as one that came through TLS.
    pub(crate) fn secured(&mut self) {
        self.block[10] |= FLAG_TLS;
    }

    /// Where body bytes are appended.
    pub(crate) fn body(&mut self) -> &mut Vec<u8> {
        &mut self.block
    }

    /// Bytes of body so far.
    pub(crate) fn body_len(&self) -> usize {
        self.block.len() - self.get_u32(40)
    }

    /// The block gets only the start of the body, whose whole length is this.
    pub(crate) fn body_follows(&mut self, whole: Option<u64>) {
        self.block[10] |= FLAG_STREAMED;
        let whole = whole.map_or(-1, u64::cast_signed);
        self.block[72..80].copy_from_slice(&whole.to_le_bytes());
    }

    /// Ends the body, and adds trailers and the field table. Returns the block, not yet named, and when the head had
    /// arrived.
    pub(crate) fn finish(mut self, trailers: &[Header], buf: &[u8]) -> (Vec<u8>, Instant) {
        self.put_u32(44, self.body_len());
        let proxied = self.block[10] & FLAG_PROXIED != 0;
        for trailer in trailers {
            let name = trailer.name.of(buf);
            if !(proxied && replaced_by_proxy(name)) {
                self.field(trailer.id, name, trailer.value.of(buf));
            }
        }
        self.put_u32(20, self.block.len());
        self.block[14..16].copy_from_slice(&self.count.to_le_bytes());
        self.block[16..18].copy_from_slice(&self.before_body.to_le_bytes());
        self.block.append(&mut self.table);
        if self.table.capacity() <= KEPT_TABLE {
            TABLE.set(self.table);
        }
        self.block[64..72].copy_from_slice(&clock_at(self.arrived).to_le_bytes());
        (self.block, self.arrived)
    }

    fn put_u32(&mut self, at: usize, value: usize) {
        self.block[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
    }

    fn get_u32(&self, at: usize) -> usize {
        get_u32(&self.block, at)
    }
}

/// The length of an address, and its octets, to which zeros may be added.
pub(super) fn octets(ip: IpAddr) -> (u8, [u8; 16]) {
    let mut octets = [0; 16];
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            octets[..4].copy_from_slice(&ip.octets());
            (4, octets)
        }
        IpAddr::V6(ip) => (16, ip.octets()),
    }
}

fn get_u32(block: &[u8], at: usize) -> usize {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]) as usize
}

/// When the head of a finished block had arrived, see [`clock`].
pub(super) fn arrival(block: &[u8]) -> u64 {
    u64::from(get_u32(block, 64) as u32) | (get_u32(block, 68) as u64) << 32
}

/// The text of a finished block whose start and length are at `at`.
pub(super) fn text(block: &[u8], at: usize) -> &[u8] {
    let start = get_u32(block, at);
    &block[start..start + get_u32(block, at + 4)]
}

/// The length of a finished block's body, as far as it has arrived.
pub(super) fn body_len(block: &[u8]) -> u64 {
    get_u32(block, 44) as u64
}

/// Numbers and values of the header fields of a finished block, without trailers.
pub(super) fn fields(block: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let before_body = usize::from(u16::from_le_bytes([block[16], block[17]]));
    let table = &block[get_u32(block, 20)..];
    table.chunks_exact(ENTRY).take(before_body).map(|entry| {
        // The second byte of the number is 0.
        let start = get_u32(entry, 8);
        (entry[0], &block[start..start + get_u32(entry, 12)])
    })
}

fn flags(head: &RequestHead, proxy: Option<&ProxyHeader>) -> u8 {
    let bit = |set: bool, flag: u8| if set { flag } else { 0 };
    bit(head.version == Version::Http11, FLAG_HTTP11)
        | bit(head.upgrade_websocket, FLAG_UPGRADE)
        | bit(head.close, FLAG_CLOSE)
        | bit(head.is_head(), FLAG_HEAD)
        | bit(proxy.is_some_and(|p| p.source.is_some()), FLAG_PROXIED)
        | bit(proxy.is_some_and(|p| p.tls), FLAG_TLS)
}

/// The client's own claims must not appear beside the proxy's.
fn replaced_by_proxy(name: &[u8]) -> bool {
    [
        &b"x-forwarded-for"[..],
        b"x-forwarded-port",
        b"x-forwarded-proto",
    ]
    .iter()
    .any(|own| name.eq_ignore_ascii_case(own))
}
