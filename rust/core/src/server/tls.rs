//! TLS between a connection and its socket: records in, plaintext out, and back.
//!
//! rustls keeps the keys and the state of the handshake, and no buffers: received records are opened where they were
//! read, and sealed ones are written from a buffer of the thread. Kept are only an incomplete record, and sealed bytes
//! that the socket has not accepted. All of it is under the connection's lock, so records leave in the order in which
//! they were sealed, whichever thread did it.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::sync::{Arc, OnceLock};

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncryptError, WriteTraffic};
use rustls::{Error, ServerConfig};

use super::output::Chunk;
use super::records::{
    BATCH, Opened, ServerData, Write, encode, gather, open_records, read, write_all,
};
use super::socket::WriteHalf;
use crate::net::tls_server::{TlsServer, take_asked_for};

/// What sealing adds to a batch at most: heads and tags of its records, and a key update.
const OVERHEAD: usize = 1024;
/// A thread's buffer that has grown beyond this is dropped after use.
const MAX_KEPT: usize = BATCH + 4 * OVERHEAD;

/// A fatal alert in a record (RFC 8446 5.1, 6).
const DECODE_ERROR: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 50];

thread_local! {
    static PLAIN: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SEALED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A server's TLS: the settings, and where it is spoken.
#[derive(Debug, Default)]
pub(super) struct ServerTls {
    pub(super) settings: TlsServer,
    pub(super) port: OnceLock<u16>,
}

/// A connection's TLS, and the socket under it.
pub(super) struct Tls {
    pub(super) socket: WriteHalf,
    pub(super) stage: TlsStage,
    /// Received, and not yet a whole record or handshake message.
    pub(super) received: Vec<u8>,
    /// Sealed, and not yet accepted by the socket.
    pub(super) unsent: Vec<u8>,
    /// Bytes that sealing has added, all together.
    added: u64,
    /// The server name that the client asked for.
    pub(super) name: Option<Box<str>>,
    /// As [`Self::version`] says once the handshake is complete, also after the session's end.
    version: Option<u8>,
    /// What comes next is a hello whose response takes a slow signature.
    pub(super) slow_hello: bool,
}

pub(super) enum TlsStage {
    /// The peer's protocol is not known yet.
    New,
    Begun(Box<UnbufferedServerConnection>),
    /// Another thread signs its handshake.
    Away,
    /// No more records: after an error, or our close_notify.
    Over,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("socket", &self.socket)
            .field("unsent", &self.unsent.len())
            .finish_non_exhaustive()
    }
}

/// What user code may ask about the session.
#[derive(Debug, Clone)]
pub struct TlsInfo {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The suite's name in rustls, such as `TLS13_AES_128_GCM_SHA256`.
    pub cipher: String,
    /// The server name that the client asked for.
    pub name: Option<String>,
    /// The client's verified certificates in DER, leaf first; empty if it has none.
    pub peer_chain: Vec<Vec<u8>>,
}

impl Tls {
    pub(super) fn new(socket: WriteHalf) -> Self {
        Self {
            socket,
            stage: TlsStage::New,
            received: Vec::new(),
            unsent: Vec::new(),
            added: 0,
            name: None,
            version: None,
            slow_hello: false,
        }
    }

    /// Whether the peer's protocol is not known yet.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.stage, TlsStage::New)
    }

    /// Keeps bytes that do not yet show what the peer speaks, and returns all of them.
    pub(super) fn first_bytes(&mut self, fresh: &[u8]) -> &mut Vec<u8> {
        self.received.extend_from_slice(fresh);
        &mut self.received
    }

    /// The peer speaks TLS. `slow`: the server's signature takes too long for a loop.
    pub(super) fn begin(&mut self, config: Arc<ServerConfig>, slow: bool) -> Result<(), Error> {
        self.slow_hello = slow;
        self.stage = TlsStage::Begun(Box::new(UnbufferedServerConnection::new(config)?));
        Ok(())
    }

    /// The negotiated version, 2 or 3 for TLS 1.2 or 1.3.
    pub(super) fn version(&self) -> Option<u8> {
        match &self.stage {
            TlsStage::Begun(session) => version_of(session),
            _ => self.version,
        }
    }

    /// Whether the handshake has begun and is not complete.
    pub(super) fn is_in_handshake(&self) -> bool {
        match &self.stage {
            TlsStage::Begun(session) => session.is_handshaking(),
            TlsStage::Away => true,
            TlsStage::New | TlsStage::Over => false,
        }
    }

    /// How many bytes of an incomplete record or handshake message have arrived.
    pub(super) fn incomplete(&self) -> usize {
        self.received.len()
    }

    /// How many bytes are sealed and not yet accepted by the socket.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Bytes that sealing has added, all together.
    pub(super) fn added(&self) -> u64 {
        self.added
    }

    /// No more is to be sent: forgets what is sealed.
    pub(super) fn give_up(&mut self) {
        self.stage = TlsStage::Over;
        self.unsent = Vec::new();
        self.received = Vec::new();
    }

    /// Opens received records, appending their content to `plain`.
    pub(super) fn open(&mut self, fresh: &mut [u8], plain: &mut Vec<u8>) -> Opened {
        let mut opened = Opened::default();
        let TlsStage::Begun(session) = &mut self.stage else {
            return opened;
        };
        let mut kept = std::mem::take(&mut self.received);
        let is_kept = !kept.is_empty();
        if is_kept {
            kept.extend_from_slice(fresh);
        }
        let bytes = if is_kept { &mut kept[..] } else { fresh };
        let was_in_handshake = session.is_handshaking();
        let used = open_records(session, bytes, plain, &mut self.unsent, &mut opened);
        if was_in_handshake {
            if let Some(name) = take_asked_for() {
                self.name = Some(name);
            }
            if !session.is_handshaking() {
                self.version = version_of(session);
                if opened.failed.is_none() {
                    opened.handshake = session.handshake_kind();
                }
            }
        }
        if opened.failed.is_some() {
            // rustls has no alert for a hello that it cannot read.
            if self.unsent.is_empty() && session.protocol_version().is_none() {
                self.unsent.extend_from_slice(&DECODE_ERROR);
            }
            self.stage = TlsStage::Over;
        } else if is_kept {
            kept.drain(..used);
            if !kept.is_empty() {
                self.received = kept;
            }
        } else {
            self.received = bytes[used..].to_vec();
        }
        opened
    }

    /// Writes sealed bytes that the socket has not accepted so far; `WouldBlock` if it does not accept all.
    pub(super) fn flush(&mut self, write: Write<'_>) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let (sent, result) = write_all(&self.socket, &self.unsent, write);
        match sent == self.unsent.len() {
            true => self.unsent = Vec::new(),
            false => drop(self.unsent.drain(..sent)),
        }
        result
    }

    /// Seals batches of `chunk` and writes them, until the socket does not accept all of one, or `most` bytes are
    /// sealed. What the socket does not accept is kept, and counts as written. `WouldBlock` while earlier bytes are
    /// kept.
    pub(super) fn write(
        &mut self,
        chunk: &Chunk<'_>,
        most: usize,
        write: Write<'_>,
    ) -> io::Result<usize> {
        self.flush(write)?;
        match chunk {
            Chunk::Probe => write(&self.socket, chunk),
            Chunk::Bytes(slices) => {
                let mut written = 0;
                loop {
                    let batch = self.seal_batch(slices, written, write)?;
                    written += batch;
                    if batch == 0 || written >= most || !self.unsent.is_empty() {
                        return Ok(written);
                    }
                }
            }
            Chunk::File(file, at, count) => GATHERED.with_borrow_mut(|gathered| {
                read(file, *at, *count, gathered)?;
                self.seal(gathered, write)
            }),
        }
    }

    /// Seals what follows the first `skip` bytes of `slices`.
    fn seal_batch(
        &mut self,
        slices: &[IoSlice<'_>],
        skip: usize,
        write: Write<'_>,
    ) -> io::Result<usize> {
        if let [bytes] = slices {
            let rest = &bytes[skip..];
            return self.seal(&rest[..rest.len().min(BATCH)], write);
        }
        GATHERED.with_borrow_mut(|gathered| {
            gather(slices, skip, gathered);
            self.seal(gathered, write)
        })
    }

    fn seal(&mut self, plain: &[u8], write: Write<'_>) -> io::Result<usize> {
        if plain.is_empty() {
            return Ok(0);
        }
        SEALED.with_borrow_mut(|sealed| {
            let len = self.sealed(sealed, |traffic, to| traffic.encrypt(plain, to))?;
            self.added += (len - plain.len().min(len)) as u64;
            let mut sent = 0;
            // What rustls had to say first has to leave first.
            if self.unsent.is_empty() {
                let result;
                (sent, result) = write_all(&self.socket, &sealed[..len], write);
                if let Err(e) = result
                    && e.kind() != io::ErrorKind::WouldBlock
                {
                    return Err(e);
                }
            }
            self.unsent.extend_from_slice(&sealed[sent..len]);
            if sealed.len() > MAX_KEPT {
                *sealed = Vec::new();
            }
            Ok(plain.len())
        })
    }

    /// Says that we send no more. `WouldBlock` if the socket does not accept it now; then it is among the unsent bytes.
    pub(super) fn close(&mut self, write: Write<'_>) -> io::Result<()> {
        if matches!(&self.stage, TlsStage::Begun(session) if !session.is_handshaking()) {
            // Large enough for one call: a second one would find the notice queued, and report the end.
            let mut notice = vec![0; OVERHEAD];
            if let Ok(len) = self.sealed(&mut notice, |traffic, to| traffic.queue_close_notify(to))
            {
                self.unsent.extend_from_slice(&notice[..len]);
            }
        }
        self.stage = TlsStage::Over;
        self.flush(write)
    }

    /// Runs `seal` on a buffer that is large enough, and returns how much it has put there.
    fn sealed(
        &mut self,
        to: &mut Vec<u8>,
        seal: impl Fn(&mut WriteTraffic<'_, ServerData>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        let session = match &mut self.stage {
            TlsStage::Begun(session) => session,
            TlsStage::Away => return Err(io::ErrorKind::WouldBlock.into()),
            TlsStage::New | TlsStage::Over => return Err(io::ErrorKind::NotConnected.into()),
        };
        // The received bytes are those of an incomplete record or message, of which rustls has noted the parts.
        loop {
            let status = session.process_tls_records(&mut self.received);
            match status.state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => match seal(&mut traffic, to) {
                    Ok(len) => return Ok(len),
                    Err(EncryptError::InsufficientSize(size)) => {
                        to.resize(size.required_size, 0);
                    }
                    Err(EncryptError::EncryptExhausted) => {
                        return Err(io::Error::other("the keys have sealed all that they may"));
                    }
                },
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.unsent),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                Ok(_) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    /// What user code may ask about the session, once the handshake is complete.
    pub(super) fn info(&self) -> Option<TlsInfo> {
        let TlsStage::Begun(session) = &self.stage else {
            return None;
        };
        let suite = session.negotiated_cipher_suite()?.suite();
        Some(TlsInfo {
            version: match session.protocol_version()? {
                rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
                _ => "TLSv1.2",
            },
            cipher: suite.as_str().unwrap_or("unknown").to_owned(),
            name: self.name.as_deref().map(str::to_owned),
            peer_chain: session
                .peer_certificates()
                .unwrap_or_default()
                .iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
        })
    }
}

fn version_of(session: &UnbufferedServerConnection) -> Option<u8> {
    match session.protocol_version()? {
        rustls::ProtocolVersion::TLSv1_3 => Some(3),
        _ => Some(2),
    }
}

/// Runs `open` with an empty buffer of this thread.
pub(super) fn with_plain<R>(open: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut plain = PLAIN.take();
    plain.clear();
    let result = open(&mut plain);
    if plain.capacity() <= 2 * MAX_KEPT {
        PLAIN.set(plain);
    }
    result
}
