//! Close codes and payloads (RFC 6455 5.5.1, 7.4).

use super::{Event, Fault};

/// Most bytes of a close reason: the payload of a control frame minus the code.
pub const MAX_REASON: usize = 123;

/// Whether a close frame may carry `code`: those of RFC 6455 7.4.1 and its registry that are not
/// for local use only, and those of libraries and applications, 3000-4999.
///
/// The rest below 3000 is for later versions of the protocol, which a peer cannot use here.
pub fn valid_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Payload of a close frame. A reason over [`MAX_REASON`] bytes is cut between characters.
///
/// A caller that must report a bad code or a long reason as an error checks first.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    payload
}

/// Reads the payload of a close frame, which may be empty.
pub(super) fn parse(payload: Vec<u8>) -> Result<Event, Fault> {
    let (code, reason) = match payload.as_slice() {
        [] => (None, ""),
        [_] => return Err(Fault::protocol("close payload of 1 byte")),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !valid_close_code(code) {
                return Err(Fault::protocol(format!("close code {code}")));
            }
            let reason =
                std::str::from_utf8(reason).map_err(|_| Fault::not_utf8("close reason"))?;
            (Some(code), reason)
        }
    };
    let reason = reason.to_owned();
    Ok(Event::Close {
        code,
        reason,
        payload,
    })
}
