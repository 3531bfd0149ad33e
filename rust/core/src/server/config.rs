//! A server's settings: a struct with defaults in Rust, numbers by name for other languages.
//!
//! A new numeric option needs a field, its default and a line in [`Config::set`] here. The code between the user's
//! option map and that line passes names through.

use std::io;
use std::time::Duration;

use super::half_closed::{HALF_CLOSE_TIME, max_half_closed};
use super::limits::Times;
use super::work::Mode;
use crate::h1::Limits;
use crate::h1::proxy::ProxyMode;
use crate::net::platform::{BorrowedSocket, CAN_SHARE_PORTS};

/// All settings of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Limits on requests.
    pub limits: Limits,
    /// PROXY protocol on new connections. Default: none.
    pub proxy: ProxyMode,
    /// Value of the `Server` field; `None`, the default, leaves it out.
    pub server_header: Option<Vec<u8>>,
    /// Bytes of a body that are read before user code gets the request. Longer bodies are read by user code as they
    /// arrive ([`Exchange::read_body`](super::Exchange::read_body)). Default: all bodies are read first.
    pub request_buffer: Option<usize>,
    /// Bytes of such a body received ahead of its reader at which its socket is no longer read. Default 256 KiB.
    pub body_window: usize,
    /// Bytes of one reassembled WebSocket message. Default 4 MiB.
    pub max_message: u64,
    /// Messages of one channel queued for user code at which its socket is no longer read. Default 256.
    pub max_pending_messages: usize,
    /// Connections that the kernel completes before we accept them. Default 1024.
    pub backlog: i32,
    /// Bytes of the kernel's receive buffer per connection; 0, the default, for the kernel's.
    pub receive_buffer: usize,
    /// Whether other sockets may listen on the same port (SO_REUSEPORT). Default: no.
    pub reuse_port: bool,
    /// Permissions of a Unix domain socket's file. Default: what the process's umask leaves.
    pub unix_socket_mode: Option<u32>,
    /// Whether the file of a Unix domain socket on which nothing listens any more is replaced. Default: no.
    pub unix_socket_replace: bool,
    /// How work reaches user code. Default: threads pull it.
    pub mode: Mode,
    /// Loops, which is how often [`Server::run`](super::Server::run) is called. Default 1.
    pub loops: usize,
    /// Requests and messages that may be queued for a thread. Default: unlimited.
    pub queue: usize,
    /// Most threads that pull work. One item per free thread does not count toward `queue`. Default 0.
    pub threads: usize,
    /// How many of them stay while idle. Default: all.
    pub kept: usize,
    /// The others return from [`Server::take`](super::Server::take) after being idle for this time. Default one minute.
    pub keep_alive: Duration,
    /// How long a peer that has ended its side keeps its connection while a response is due and nothing is
    /// sent. Default [`HALF_CLOSE_TIME`].
    pub half_close_time: Duration,
    /// How many connections are kept for such peers; the oldest are closed first. Default [`max_half_closed`].
    pub max_half_closed: usize,
    /// Whether user code is told of such a peer immediately: [`Event::HalfClosed`](super::Event::HalfClosed). Default:
    /// no.
    pub tell_half_close: bool,
    /// Open connections, at which idle ones are closed for new ones, or new ones wait. Default: any number.
    pub max_connections: Option<usize>,
    /// Open connections of one address, see [`Server::refused`](super::Server::refused). Default: any number.
    pub max_per_ip: Option<u32>,
    /// Requests on one connection, the last of which gets `Connection: Close`. Default: any number.
    pub max_requests: Option<u32>,
    /// Whether exchanges that are over are recorded for [`Server::take_access`](super::Server::take_access). Default:
    /// no.
    pub access_log: bool,
    /// Bytes that all connections together may hold in memory, see `budget.rs`. Default: any number.
    pub max_buffered: Option<u64>,
    /// Whether [`Sink::on_overdue`](super::Sink::on_overdue) is called. Default: no.
    pub interrupt: bool,
    /// Time limits.
    pub times: Times,
    /// How many written bytes of a socket the kernel still holds, because its peer has not taken them; 0, the default,
    /// if unknown.
    pub unsent: fn(BorrowedSocket<'_>) -> u64,
    /// Called before a TCP socket is bound, to keep other processes from its port; only Windows needs it. Default:
    /// nothing.
    pub claim: fn(BorrowedSocket<'_>) -> io::Result<()>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            proxy: ProxyMode::default(),
            server_header: None,
            request_buffer: None,
            body_window: 256 * 1024,
            max_message: 4 << 20,
            max_pending_messages: 256,
            backlog: 1024,
            receive_buffer: 0,
            reuse_port: false,
            unix_socket_mode: None,
            unix_socket_replace: false,
            mode: Mode::Pull,
            loops: 1,
            queue: usize::MAX,
            threads: 0,
            kept: usize::MAX,
            keep_alive: Duration::from_secs(60),
            half_close_time: HALF_CLOSE_TIME,
            max_half_closed: max_half_closed(),
            tell_half_close: false,
            max_connections: None,
            max_per_ip: None,
            max_requests: None,
            access_log: false,
            interrupt: false,
            max_buffered: None,
            times: Times::default(),
            unsent: |_| 0,
            claim: |_| Ok(()),
        }
    }
}

/// Why [`Config::set`] did nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionError {
    /// No option has this name.
    Unknown(String),
    /// This option cannot have this value.
    Value(String, i64),
    /// This option does not exist on the system that we run on.
    Unsupported(String),
}

impl std::fmt::Display for OptionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "{name} is no option of a server"),
            Self::Value(name, value) => write!(f, "option {name} cannot be {value}"),
            Self::Unsupported(name) => write!(f, "option {name} is not supported on this system"),
        }
    }
}

impl std::error::Error for OptionError {}

impl Config {
    /// Sets the option with the user's `name` for it (without a colon), or one of the embedder's own. Flags are 0 or 1,
    /// times are in milliseconds; a limit below 0 means 0.
    pub fn set(&mut self, name: &str, value: i64) -> Result<(), OptionError> {
        let given = Given { name, value };
        let limits = &self.limits;
        match name {
            "max-line" => self.limits = limits.clone().with_max_line(given.line()),
            "max-body" => self.limits.body = given.limit(),
            // Below 0: none.
            "request-buffer-size" => self.request_buffer = usize::try_from(value).ok(),
            "body-window" => self.body_window = given.size()?,
            "max-headers" => self.limits = limits.clone().with_fields(given.size_or_none()?),
            "max-header-bytes" => self.limits = limits.clone().with_head(given.size_or_none()?),
            "max-connections" => self.max_connections = given.size_or_none()?,
            "max-connections-per-ip" => self.max_per_ip = given.count_or_none()?,
            "max-requests-per-connection" => self.max_requests = given.count_or_none()?,
            "max-ws" => self.max_message = given.limit(),
            "max-pending-messages" => self.max_pending_messages = given.size()?,
            "backlog" => self.backlog = i32::try_from(given.size()?).unwrap_or(i32::MAX),
            "proxy-protocol" => self.proxy = given.proxy_mode()?,
            "io-threads" => self.loops = given.size()?,
            "queue-size" => self.queue = given.size()?,
            "n-min-threads" => self.kept = given.size()?,
            "n-max-threads" => self.threads = given.size()?,
            "keep-alive-msecs" => self.keep_alive = given.msecs()?,
            "receive-buffer" => self.receive_buffer = given.size()?,
            "reuse-port?" => self.reuse_port = given.flag_if(CAN_SHARE_PORTS)?,
            "unix-socket-mode" => self.unix_socket_mode = Some(given.number()?),
            "unix-socket-replace?" => self.unix_socket_replace = given.flag(),
            "push" => self.mode = if value == 0 { Mode::Pull } else { Mode::Push },
            "max-buffered-bytes" => self.max_buffered = Some(given.limit()).filter(|&n| n > 0),
            "interrupt-handlers?" => self.interrupt = given.flag(),
            "access-log" => self.access_log = given.flag(),
            "tell-half-close" => self.tell_half_close = given.flag(),
            _ => match self.times.named(name) {
                Some(limit) => *limit = Some(given.msecs()?).filter(|limit| !limit.is_zero()),
                None => return Err(OptionError::Unknown(name.to_owned())),
            },
        }
        Ok(())
    }
}

/// An option's number, and what it may mean.
struct Given<'a> {
    name: &'a str,
    value: i64,
}

impl Given<'_> {
    fn wrong(&self) -> OptionError {
        OptionError::Value(self.name.to_owned(), self.value)
    }

    fn number<T: TryFrom<i64>>(&self) -> Result<T, OptionError> {
        T::try_from(self.value).map_err(|_| self.wrong())
    }

    fn size(&self) -> Result<usize, OptionError> {
        self.number()
    }

    /// 0 means no limit.
    fn size_or_none(&self) -> Result<Option<usize>, OptionError> {
        self.number().map(|n| Some(n).filter(|&n| n > 0))
    }

    /// 0 means no limit.
    fn count_or_none(&self) -> Result<Option<u32>, OptionError> {
        self.number().map(|n| Some(n).filter(|&n| n > 0))
    }

    fn msecs(&self) -> Result<Duration, OptionError> {
        self.number().map(Duration::from_millis)
    }

    /// Below 0 means 0.
    fn limit(&self) -> u64 {
        u64::try_from(self.value).unwrap_or(0)
    }

    /// As [`Self::limit`], at most what memory can hold.
    fn line(&self) -> usize {
        usize::try_from(self.limit()).unwrap_or(usize::MAX)
    }

    fn flag(&self) -> bool {
        self.value != 0
    }

    fn flag_if(&self, supported: bool) -> Result<bool, OptionError> {
        match self.flag() && !supported {
            true => Err(OptionError::Unsupported(self.name.to_owned())),
            false => Ok(self.flag()),
        }
    }

    fn proxy_mode(&self) -> Result<ProxyMode, OptionError> {
        let modes = [ProxyMode::Disable, ProxyMode::Enable, ProxyMode::Optional];
        let given = modes.into_iter().find(|mode| *mode as i64 == self.value);
        given.ok_or_else(|| self.wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_refused_and_named() {
        let error = Config::default().set("max-bodies", 1).unwrap_err();
        assert_eq!(error, OptionError::Unknown("max-bodies".into()));
        assert_eq!(error.to_string(), "max-bodies is no option of a server");
    }

    #[test]
    fn a_value_that_an_option_cannot_have_is_refused_and_changes_nothing() {
        let mut config = Config::default();
        for (name, value) in [
            ("max-pending-messages", -1),
            ("proxy-protocol", 3),
            ("keep-alive-msecs", -1),
            ("max-headers", -1),
            ("header-timeout", -1),
            ("max-header-bytes", -1),
            ("max-requests-per-connection", -1),
            ("max-connections", -1),
            ("max-connections-per-ip", -1),
        ] {
            let error = config.set(name, value).unwrap_err();
            assert_eq!(error, OptionError::Value(name.into(), value));
        }
        assert_eq!(config.max_pending_messages, 256);
        assert_eq!(config.proxy, ProxyMode::Disable);
    }

    #[test]
    fn a_limit_below_zero_is_zero() {
        let mut config = Config::default();
        for name in ["max-line", "max-body", "max-ws"] {
            config.set(name, -5).unwrap();
        }
        let limits = &config.limits;
        assert_eq!((limits.line, limits.body, config.max_message), (0, 0, 0));
        assert_eq!(limits.head, 65536, "all lines together");
    }

    #[test]
    fn no_limit_of_header_lines_is_the_highest_there_is() {
        let mut config = Config::default();
        config.set("max-headers", 0).unwrap();
        assert_eq!(config.limits.fields, Limits::MOST_FIELDS);
    }

    #[test]
    fn a_time_limit_of_zero_is_none() {
        let mut config = Config::default();
        for name in [
            "header-timeout",
            "idle-timeout",
            "body-timeout",
            "write-timeout",
        ] {
            config.set(name, 0).unwrap();
        }
        assert_eq!(config.times, Times::NONE);
        config.set("idle-timeout", 250).unwrap();
        assert_eq!(config.times.idle, Some(Duration::from_millis(250)));
    }

    #[test]
    fn a_given_limit_of_all_header_lines_does_not_follow_that_of_one() {
        for order in [
            [("max-header-bytes", 1000), ("max-line", 100_000)],
            [("max-line", 100_000), ("max-header-bytes", 1000)],
        ] {
            let mut config = Config::default();
            for (name, value) in order {
                config.set(name, value).unwrap();
            }
            assert_eq!((config.limits.line, config.limits.head), (100_000, 1000));
            config.set("max-header-bytes", 0).unwrap();
            assert_eq!(config.limits.head, i32::MAX as usize, "no limit");
        }
    }

    #[test]
    fn options_may_be_set_in_any_order() {
        let mut config = Config::default();
        config.set("max-headers", 7).unwrap();
        config.set("max-body", 9).unwrap();
        config.set("max-line", 100_000).unwrap();
        let limits = &config.limits;
        assert_eq!(
            (limits.line, limits.head, limits.body, limits.fields),
            (100_000, 100_000, 9, 7)
        );
    }
}
