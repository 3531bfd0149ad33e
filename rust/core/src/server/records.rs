//! Received records, opened where they were read, and the pieces of which records are sealed: what a session's state
//! (`tls.rs`) is not needed for.

use std::fs::File;
use std::io::{self, IoSlice};

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{Error, HandshakeKind};

use super::output::Chunk;
use super::socket::WriteHalf;
use crate::net::platform::read_at;

/// Most plaintext that is sealed before it is offered to the socket.
pub(super) const BATCH: usize = 64 * 1024;

pub(super) type ServerData = rustls::server::ServerConnectionData;

/// Writes to the socket: from any thread, or from the loop, which is then woken when the socket has room.
pub(super) type Write<'a> = &'a mut dyn FnMut(&WriteHalf, &Chunk<'_>) -> io::Result<usize>;

/// The outcome of received records, besides plaintext.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// The handshake is complete, as of now.
    pub(super) handshake: Option<HandshakeKind>,
    /// The peer has announced that it sends no more.
    pub(super) ended: bool,
    /// No more can be received or sent; an alert is among the unsent bytes.
    pub(super) failed: Option<Error>,
}

/// Processes all whole records of `bytes`; returns how many bytes are used up.
pub(super) fn open_records(
    session: &mut UnbufferedServerConnection,
    bytes: &mut [u8],
    plain: &mut Vec<u8>,
    unsent: &mut Vec<u8>,
    opened: &mut Opened,
) -> usize {
    let mut used = 0;
    loop {
        let UnbufferedStatus { discard, state } = session.process_tls_records(&mut bytes[used..]);
        let mut more = 0;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    plain.extend_from_slice(record.payload);
                    more += record.discard;
                }
            }
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, unsent),
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => opened.ended = true,
            // Early data is never offered, so there is none.
            Ok(_) => return used + discard,
            Err(error) => {
                opened.failed = Some(error);
                alert(session, &mut bytes[used + discard..], unsent);
                return bytes.len();
            }
        }
        used += discard + more;
    }
}

/// After an error, rustls has an alert for the peer. The failed bytes must not be processed again.
fn alert(session: &mut UnbufferedServerConnection, rest: &mut [u8], unsent: &mut Vec<u8>) {
    while session.wants_write()
        && let Ok(ConnectionState::EncodeTlsData(data)) = session.process_tls_records(rest).state
    {
        encode(data, unsent);
    }
}

pub(super) fn encode(mut data: EncodeTlsData<'_, ServerData>, unsent: &mut Vec<u8>) {
    let start = unsent.len();
    let mut written = data.encode(&mut []);
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) = written {
        unsent.resize(start + required_size, 0);
        written = data.encode(&mut unsent[start..]);
    }
    unsent.truncate(start + written.unwrap_or(0));
}

/// Writes until all is written, or an error; returns how much was.
pub(super) fn write_all(
    socket: &WriteHalf,
    bytes: &[u8],
    write: Write<'_>,
) -> (usize, io::Result<()>) {
    let mut sent = 0;
    while sent < bytes.len() {
        match write(socket, &Chunk::Bytes(&[IoSlice::new(&bytes[sent..])])) {
            Ok(0) => return (sent, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => sent += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (sent, Err(e)),
        }
    }
    (sent, Ok(()))
}

pub(super) fn gather(slices: &[IoSlice<'_>], mut skip: usize, to: &mut Vec<u8>) {
    to.clear();
    for slice in slices {
        let rest = &slice[skip.min(slice.len())..];
        skip -= slice.len() - rest.len();
        to.extend_from_slice(&rest[..rest.len().min(BATCH - to.len())]);
    }
}

pub(super) fn read(file: &File, at: u64, count: usize, to: &mut Vec<u8>) -> io::Result<()> {
    to.resize(count.min(BATCH), 0);
    let read = read_at(file, to, at)?;
    to.truncate(read);
    Ok(())
}
