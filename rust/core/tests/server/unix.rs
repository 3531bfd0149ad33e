//! Unix domain sockets.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

use httpkit_core::server::{Address, Config, Mode, Server};

use crate::support::{PATIENCE, Recorder, Running, answer, config, join, wait_until};

/// A path that is deleted at the end.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("httpkit-unix-{}-{n}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_path_is_served_and_has_no_port_and_no_addresses() {
    let path = SocketPath::new();
    let server = Running::start_at(&Address::Unix(path.0.clone()), config(Mode::Pull));
    assert_eq!(server.server.port(), None);
    let mut peer = UnixStream::connect(&path.0).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..3 {
        peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
        let exchange = server.request();
        assert_eq!(exchange.addresses(), None);
        answer(&exchange, b"over a path");
        let mut bytes = [0; 1024];
        let n = peer.read(&mut bytes).unwrap();
        assert!(bytes[..n].ends_with(b"\r\n\r\nover a path"));
    }
    drop(peer);
    wait_until("the connection is given up", || {
        server.server.connections() == 0
    });
}

#[test]
fn a_taken_path_is_refused_and_stays() {
    let path = SocketPath::new();
    let address = Address::Unix(path.0.clone());
    let mut server = Running::start_at(&address, config(Mode::Pull));
    let second = Server::bind(&address, config(Mode::Pull), Arc::new(Recorder::default()));
    assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    server.stop();
    assert!(path.0.exists(), "the program that made the path deletes it");
    assert!(UnixStream::connect(&path.0).is_err(), "no server listens");
}

/// A configuration for a Unix domain socket.
fn replacing() -> Config {
    Config {
        unix_socket_replace: true,
        ..config(Mode::Pull)
    }
}

fn sink() -> Arc<Recorder> {
    Arc::new(Recorder::default())
}

#[test]
fn a_path_on_which_nothing_listens_is_replaced_and_one_with_a_server_is_not() {
    let path = SocketPath::new();
    let address = Address::Unix(path.0.clone());
    drop(std::os::unix::net::UnixListener::bind(&path.0).unwrap());
    let refused = Server::bind(&address, config(Mode::Pull), sink()).unwrap_err();
    assert_eq!(
        refused.kind(),
        std::io::ErrorKind::AddrInUse,
        "not asked for"
    );
    let server = Running::start_at(&address, replacing());
    let refused = Server::bind(&address, replacing(), sink()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse, "a server");
    UnixStream::connect(&path.0).unwrap();
    drop(server);
}

#[test]
fn of_servers_that_start_at_once_on_a_path_one_gets_it_and_keeps_it() {
    let path = SocketPath::new();
    let address = Address::Unix(path.0.clone());
    for round in 0..100 {
        let _ = std::fs::remove_file(&path.0);
        if round % 2 == 0 {
            drop(std::os::unix::net::UnixListener::bind(&path.0).unwrap());
        }
        let start = Arc::new(Barrier::new(4));
        let starts: Vec<_> = (0..4)
            .map(|_| {
                let (start, address) = (start.clone(), address.clone());
                std::thread::spawn(move || {
                    start.wait();
                    Server::bind(&address, replacing(), sink())
                })
            })
            .collect();
        let (started, refused): (Vec<_>, Vec<_>) =
            starts.into_iter().map(join).partition(Result::is_ok);
        assert_eq!(started.len(), 1, "round {round}");
        for refused in refused {
            assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        }
        UnixStream::connect(&path.0).unwrap();
    }
}

#[test]
fn a_folder_that_another_program_has_locked_delays_a_start_but_does_not_stop_it() {
    let folder = SocketPath::new();
    std::fs::create_dir(&folder.0).unwrap();
    let locked = std::fs::File::open(&folder.0).unwrap();
    locked.lock().unwrap();
    let path = SocketPath(folder.0.join("socket"));
    Running::start_at(&Address::Unix(path.0.clone()), replacing());
    // Without the lock, nothing is replaced.
    let refused = Server::bind(&Address::Unix(path.0.clone()), replacing(), sink()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
    drop(path);
    std::fs::remove_dir(&folder.0).unwrap();
}

#[test]
fn a_file_that_is_no_socket_stays() {
    let path = SocketPath::new();
    std::fs::write(&path.0, "precious").unwrap();
    for config in [replacing(), config(Mode::Pull)] {
        let refused = Server::bind(&Address::Unix(path.0.clone()), config, sink()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
        let said = refused.to_string();
        assert!(said.contains("exists and is no socket"), "{said}");
    }
    assert_eq!(std::fs::read(&path.0).unwrap(), b"precious");
}

#[test]
fn a_socket_has_the_permissions_that_were_given() {
    for mode in [0o600, 0o660, 0o666] {
        let path = SocketPath::new();
        let with_mode = Config {
            unix_socket_mode: Some(mode),
            ..config(Mode::Pull)
        };
        let _server = Running::start_at(&Address::Unix(path.0.clone()), with_mode);
        let found = std::fs::metadata(&path.0).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode);
    }
}
