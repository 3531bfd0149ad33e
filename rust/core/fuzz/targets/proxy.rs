//! PROXY headers: no panic, and a verdict that more bytes do not change.

use httpkit_core::h1::proxy::{ProxyMode, ProxyOutcome, parse};

pub fn run(data: &[u8]) {
    for mode in [ProxyMode::Disable, ProxyMode::Enable, ProxyMode::Optional] {
        let whole = parse(data, mode);
        if let Ok(ProxyOutcome::Header(header)) = whole {
            assert!(header.len <= data.len());
            assert_eq!(header.source.is_some(), header.destination.is_some());
        }
        for end in 0..data.len().min(300) {
            let early = parse(&data[..end], mode);
            assert!(
                early == whole || early == Ok(ProxyOutcome::NeedMore),
                "at {end}"
            );
        }
    }
}
