//! Work on its way to Java: requests and channel events, encoded as blocks of bytes.

use httpkit_core::server::{Event, Exchange, Work, request};
use jni::Env;
use jni::objects::JByteArray;

use super::exchanges::EXCHANGES;
use crate::border::abi;
use crate::border::arrays::array_of;
use crate::border::error::Result;

/// Work on its way to Java. If it cannot be delivered (a panic, or no memory for its array), its connection is cut, so
/// that no peer waits for a response that never comes.
pub(crate) struct Handover(Option<Exchange>);

impl Handover {
    pub(crate) fn of(work: &Work) -> Self {
        Self(Some(match work {
            Work::Request(request) => request.exchange.clone(),
            Work::Events(exchange) => exchange.clone(),
        }))
    }

    pub(crate) fn arrived(mut self) {
        self.0 = None;
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if let Some(exchange) = &self.0 {
            give_up(exchange);
        }
    }
}

/// Cuts the connection of work that will not be done.
pub(crate) fn give_up(exchange: &Exchange) {
    // Ends the chain of events, if this was part of one, so that the close event begins a new one.
    while events_block(exchange).is_some() {}
    exchange.abort();
}

/// The work as a Java array; `None` if its exchange is already over.
pub(crate) fn hand_over<'local>(
    env: &mut Env<'local>,
    work: Work,
) -> Result<Option<JByteArray<'local>>> {
    let handover = Handover::of(&work);
    let Some(block) = block(work) else {
        handover.arrived();
        return Ok(None);
    };
    let array = array_of(env, &block)?;
    handover.arrived();
    request::recycle(block);
    Ok(Some(array))
}

/// The work as a block of bytes; `None` if its exchange is already over.
pub(crate) fn block(work: Work) -> Option<Vec<u8>> {
    match work {
        Work::Request(request) => {
            let handle = EXCHANGES.insert(request.exchange.clone());
            if request.exchange.bind(handle) {
                return Some(request.into_block(handle));
            }
            EXCHANGES.remove(handle);
            None
        }
        Work::Events(exchange) => events_block(&exchange),
    }
}

pub(crate) fn events_block(exchange: &Exchange) -> Option<Vec<u8>> {
    let events = exchange.take_events();
    if events.is_empty() {
        return None;
    }
    let handle = exchange.name();
    let mut block = Vec::with_capacity(64);
    block.extend_from_slice(&handle.to_le_bytes());
    block.push(abi::KIND_EVENTS);
    for event in &events {
        let (kind, code, bytes): (u8, Option<i32>, &[u8]) = match event {
            Event::Text(bytes) => (abi::EVENT_TEXT, None, bytes),
            Event::Binary(bytes) => (abi::EVENT_BINARY, None, bytes),
            Event::Ping(bytes) => (abi::EVENT_PING, None, bytes),
            Event::Pong(bytes) => (abi::EVENT_PONG, None, bytes),
            Event::HalfClosed => (abi::EVENT_HALF_CLOSED, None, &[]),
            Event::Closing(code, reason) => (abi::EVENT_CLOSING, Some(*code), reason.as_bytes()),
            Event::Closed(code, reason) => (abi::EVENT_CLOSED, Some(*code), reason.as_bytes()),
        };
        let code = code.map(i32::to_le_bytes);
        let code = code.as_ref().map_or(&[][..], |code| &code[..]);
        block.push(kind);
        block.extend_from_slice(&((code.len() + bytes.len()) as u32).to_le_bytes());
        block.extend_from_slice(code);
        block.extend_from_slice(bytes);
        if kind == abi::EVENT_CLOSED {
            EXCHANGES.remove(handle);
        }
    }
    Some(block)
}
