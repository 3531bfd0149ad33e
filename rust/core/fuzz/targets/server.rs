//! A whole server and one connection: whatever a peer sends, on whichever port, it gets a response or an end, and the
//! next peer is served.

use std::sync::OnceLock;

use httpkit_core::h1::proxy::ProxyMode;

use super::serving::{ASK, Serving, talk};

// The first byte chooses the server and the port, the second is the size of the writes.
pub fn run(data: &[u8]) {
    static SERVERS: OnceLock<[Serving; 2]> = OnceLock::new();
    let &[choice, size, ref bytes @ ..] = data else {
        return;
    };
    let modes = [ProxyMode::Disable, ProxyMode::Optional];
    let servers = SERVERS.get_or_init(|| modes.map(Serving::start));
    let server = &servers[usize::from(choice & 1)];
    let secure = choice & 2 != 0;
    let size = match size {
        0 => bytes.len(),
        // Not a million system calls for one input.
        size => usize::from(size).max(bytes.len() / 50),
    };
    let said = talk(server.connect(secure), bytes, size);
    // A port that speaks TLS answers with records, a plain request with HTTP.
    let speaks = said.is_empty() || said.starts_with(b"HTTP/1.1 ");
    let is_record = said.len() > 2 && (0x14..=0x17).contains(&said[0]) && said[1] == 3;
    assert!(speaks || secure && is_record, "{said:?}");
    let next = talk(server.connect(false), ASK, ASK.len());
    let served = next.starts_with(b"HTTP/1.1 200 ");
    assert!(served, "the next peer is served: {next:?}");
}
