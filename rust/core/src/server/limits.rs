//! How long a peer or a handler may take: values. Who enforces them: `sweep.rs`, and for peers that do not read,
//! `timers.rs`.

use std::time::Duration;

/// A time limit that has ended a request or connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// The head of a request did not arrive in time.
    Header,
    /// No further request arrived.
    Idle,
    /// The body of a request did not arrive, or too slowly.
    Body,
    /// The peer did not read what was sent, or too slowly.
    Write,
    /// The handler did not begin its response.
    Handler,
    /// Nothing was sent on a WebSocket, by either side.
    Ws,
}

impl Timeout {
    /// All of them, each at its own number.
    pub const ALL: [Self; 6] = [
        Self::Header,
        Self::Idle,
        Self::Body,
        Self::Write,
        Self::Handler,
        Self::Ws,
    ];

    /// Its name in the event that is counted for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Idle => "idle",
            Self::Body => "body",
            Self::Write => "write",
            Self::Handler => "handler",
            Self::Ws => "ws",
        }
    }
}

/// The time limits of a server; `None` for no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// From accepting a connection, or from the first byte of a later request, to the end of a request's head; then
    /// 408, or nothing if no byte of it has arrived. Default 30 s.
    pub header: Option<Duration>,
    /// Between the end of a response and the first byte of the next request. Default 75 s, more than the 60 s for which
    /// load balancers keep idle connections: they must be the ones to close.
    pub idle: Option<Duration>,
    /// In which 1 KiB of a request's body must arrive, or the rest of it; else 408. Default 30 s.
    pub body: Option<Duration>,
    /// In which the peer must take 1 KiB of a response, or of what a channel has queued, or the rest of it; else its
    /// connection is reset. Default 60 s.
    pub write: Option<Duration>,
    /// From a request's arrival to the beginning of its response; then 503, and its channel is closed. If its body is
    /// read as it arrives, each read restarts the time, and waiting for the peer does not count. Default: no limit.
    pub handler: Option<Duration>,
    /// In which one side of a WebSocket must send something, pings of this side excepted; then it is closed with 1001.
    /// Default: no limit.
    pub ws_idle: Option<Duration>,
}

impl Default for Times {
    fn default() -> Self {
        let seconds = |n| Some(Duration::from_secs(n));
        Self {
            header: seconds(30),
            idle: seconds(75),
            body: seconds(30),
            write: seconds(60),
            handler: None,
            ws_idle: None,
        }
    }
}

impl Times {
    /// No limits.
    pub const NONE: Self = Self {
        header: None,
        idle: None,
        body: None,
        write: None,
        handler: None,
        ws_idle: None,
    };

    /// The limit with the user's name for it.
    pub(super) fn named(&mut self, name: &str) -> Option<&mut Option<Duration>> {
        Some(match name {
            "header-timeout" => &mut self.header,
            "idle-timeout" => &mut self.idle,
            "body-timeout" => &mut self.body,
            "write-timeout" => &mut self.write,
            "handler-timeout" => &mut self.handler,
            "ws-idle-timeout" => &mut self.ws_idle,
            _ => return None,
        })
    }

    /// Whether connections have to be checked for any limit other than `write`, which has timers.
    pub(super) fn are_checked(&self) -> bool {
        let checked = Self {
            write: None,
            ..self.clone()
        };
        checked != Self::NONE
    }
}
