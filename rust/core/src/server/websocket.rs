//! Operations on a connection that has become a WebSocket.
//!
//! Not here: frames (`ws`), and the state between them (`session.rs`).

use std::sync::Arc;

use tokio::time::Instant;

use super::connection::{Conn, State};
use super::payload::Payload;
use super::phase::Phase;
use super::session::{GOING_AWAY, Session, Tick};
use super::sink::Notice;
use super::transport::{CORK_SIZE, with_buffer};
use super::types::{Event, Interest, Pings, Sent};
use crate::ws::{self, Opcode, close_payload};

/// Close code for "try again later" (RFC 6455 7.4.1, IANA registry).
const OVERLOADED: u16 = 1013;
const ABNORMAL: i32 = 1006;

impl Conn {
    pub(super) fn upgrade(
        self: &Arc<Self>,
        seq: u32,
        headers: &[u8],
        interest: Interest,
        pings: Option<Pings>,
    ) -> bool {
        let Some(mut state) = self.current(seq) else {
            return false;
        };
        // What follows a head with a body that is still arriving are no frames.
        if state.phase.due().is_none() || state.inbound.stream().is_some() {
            return false;
        }
        let mut head = Vec::with_capacity(256);
        crate::h1::response::status_line(&mut head, 101);
        head.extend_from_slice(headers);
        self.shared.own_fields(&mut head, false, true);
        head.extend_from_slice(b"\r\n");
        state.open_websocket(self, &head, interest, pings);
        true
    }

    pub(super) fn set_interest(&self, seq: u32, interest: Interest) {
        if let Some(mut state) = self.current(seq)
            && let Phase::WebSocket(session) = &mut state.phase
        {
            session.interest = interest;
        }
    }

    pub(super) fn send_frame(
        &self,
        seq: u32,
        opcode: Opcode,
        payload: Payload<'_>,
        flags: u32,
        limit: usize,
    ) -> Sent {
        let Some(mut state) = self.current(seq) else {
            return Sent::Closed;
        };
        match &state.phase {
            Phase::WebSocket(session) if !session.is_closing() => {}
            _ => return Sent::Closed,
        }
        if !state.room_or_await(self, limit) {
            return Sent::Full;
        }
        state.since = self.shared.clock.now();
        if payload.len() >= CORK_SIZE {
            let (head, len) = ws::header(opcode, payload.len() as u64);
            state.send_payload(&head[..len], payload, &[], flags);
        } else {
            with_buffer(|frame| {
                ws::encode(frame, opcode, &payload);
                state.send(frame, flags);
            });
        }
        self.shared.tally.note_written();
        Sent::Accepted
    }

    pub(super) fn close_ws(self: &Arc<Self>, seq: u32, code: u16, reason: &str) -> bool {
        let Some(mut state) = self.current(seq) else {
            return false;
        };
        state.start_closing(self, code, reason)
    }

    /// No thread can run the callbacks: drops queued events, and tells both sides.
    pub(super) fn overload(self: &Arc<Self>, seq: u32) {
        let mut state = self.lock();
        if state.seq != seq {
            return;
        }
        state.drop_messages(self);
        state.start_closing(self, OVERLOADED, "Server overloaded");
    }

    /// The server stops: tells a WebSocket's peer. False if it is not a WebSocket, or already closed.
    pub(super) fn go_away(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        let closes = state.start_closing(self, GOING_AWAY, "");
        if closes {
            // Do not wait for its close frame: the process is about to end. What it still sends is dropped.
            state.inbound.drop_input();
            state.finish_connection();
            self.shared.tally.note_written();
        }
        closes
    }
}

impl State {
    /// Sends the head of the 101, after which the connection is a WebSocket.
    pub(super) fn open_websocket(
        &mut self,
        conn: &Arc<Conn>,
        head: &[u8],
        interest: Interest,
        pings: Option<Pings>,
    ) {
        self.log_head(101, head.len());
        self.transport.write(head, &[]);
        let tally = &conn.shared.tally;
        tally.head(101, self.arrived, false);
        tally.note_written();
        self.sent_in_callback = true;
        self.channel(conn).held = true;
        let max_message = conn.shared.config.max_message;
        self.since = conn.shared.clock.now();
        self.phase = Phase::WebSocket(Session::new(max_message, interest, pings));
        let early = self.inbound.take();
        if !early.is_empty() {
            self.received_frames(conn, &early);
        }
        if self.eof {
            self.lost(conn);
        }
        self.transport.wake();
    }

    /// Sends our close frame, and queues the close event as the last one: user code that asked for it knows already,
    /// but earlier events must still be delivered. False if the channel was closed or is not a WebSocket.
    pub(super) fn start_closing(&mut self, conn: &Arc<Conn>, code: u16, reason: &str) -> bool {
        let Phase::WebSocket(session) = &mut self.phase else {
            return false;
        };
        if !session.close() {
            return false;
        }
        self.send_control(Opcode::Close, &close_payload(code, reason));
        conn.shared.tally.note_written();
        self.report(conn, Event::Closed(0, String::new()));
        self.transport.wake();
        true
    }

    /// Nothing was received for the session's `patience`, which ended at `deadline`.
    pub(super) fn tick(&mut self, conn: &Arc<Conn>, deadline: Instant) {
        let Phase::WebSocket(session) = &mut self.phase else {
            return;
        };
        match session.tick(deadline) {
            Tick::Nothing => {}
            Tick::Ping => self.send_control(Opcode::Ping, &[]),
            Tick::GiveUp => {
                self.report(
                    conn,
                    Event::Closed(ABNORMAL, "no response to a ping".into()),
                );
                self.reset(conn);
            }
        }
    }

    fn send_control(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut frame = Vec::with_capacity(payload.len() + 10);
        ws::encode(&mut frame, opcode, payload);
        if self.transport.is_corked() {
            self.transport.push(&frame);
            self.flush();
        } else {
            self.transport.write(&frame, &[]);
        }
    }

    pub(super) fn received_frames(&mut self, conn: &Arc<Conn>, fresh: &[u8]) {
        if let Phase::WebSocket(session) = &mut self.phase {
            session.heard();
        }
        self.log_received(fresh.len());
        self.since = conn.shared.clock.now();
        // Bytes left undecoded by an earlier read come first.
        let kept = self.inbound.take();
        let joined;
        let mut bytes = fresh;
        if !kept.is_empty() {
            joined = [&kept, fresh].concat();
            bytes = &joined;
        }
        while let Phase::WebSocket(session) = &mut self.phase {
            match session.decode(bytes) {
                Ok((used, event)) => {
                    bytes = &bytes[used..];
                    match event {
                        Some(event) => self.frame_event(conn, event),
                        None if used == 0 || bytes.is_empty() => break,
                        None => {}
                    }
                }
                Err(fault) => {
                    bytes = &[];
                    self.fault(conn, fault);
                }
            }
        }
        if matches!(self.phase, Phase::WebSocket(_)) && !bytes.is_empty() {
            self.inbound.keep(bytes);
        }
    }

    fn frame_event(&mut self, conn: &Arc<Conn>, event: ws::Event) {
        let Phase::WebSocket(session) = &mut self.phase else {
            return;
        };
        let interest = session.interest;
        if session.is_closing() && !matches!(event, ws::Event::Close { .. }) {
            return;
        }
        match event {
            ws::Event::Text(text) => self.report(conn, Event::Text(text)),
            ws::Event::Binary(bytes) => self.report(conn, Event::Binary(bytes)),
            ws::Event::Ping(bytes) => {
                if !interest.manual_pong {
                    self.pong(&bytes);
                }
                if interest.pings {
                    self.report(conn, Event::Ping(bytes));
                }
            }
            ws::Event::Pong(bytes) if interest.pongs => self.report(conn, Event::Pong(bytes)),
            ws::Event::Pong(_) => {}
            ws::Event::Close {
                code,
                reason,
                payload,
            } => {
                self.peer_closed(conn, code.map_or(1005, i32::from), reason, &payload);
            }
        }
    }

    fn pong(&mut self, payload: &[u8]) {
        self.send_control(Opcode::Pong, payload);
        let all_written = self.transport.all_is_written();
        if let Phase::WebSocket(session) = &mut self.phase {
            session.note_pong(payload.len() + 2, all_written);
        }
    }

    fn peer_closed(&mut self, conn: &Arc<Conn>, code: i32, reason: String, payload: &[u8]) {
        let Phase::WebSocket(session) = &mut self.phase else {
            return;
        };
        let (respond, report) = session.closed_by_peer();
        if respond {
            self.send_control(Opcode::Close, payload);
        }
        if report {
            self.report(conn, Event::Closed(code, reason));
        }
        self.finish_connection();
    }

    fn fault(&mut self, conn: &Arc<Conn>, fault: ws::Fault) {
        let Phase::WebSocket(session) = &mut self.phase else {
            return;
        };
        if !session.close() {
            return self.finish_connection();
        }
        self.send_control(Opcode::Close, &close_payload(fault.code, ""));
        self.report(
            conn,
            Event::Closed(i32::from(fault.code), fault.message.clone()),
        );
        self.inbound.drop_input();
        self.finish_connection();
        conn.shared.notice(Notice::Frame {
            code: fault.code,
            message: fault.message,
        });
    }
}
