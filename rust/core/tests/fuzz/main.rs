//! The fuzz targets on the stable toolchain: their seeds, and mutations of these for a few seconds each. `./dev fuzz` is
//! the long run, which is guided by coverage.
//!
//! `FUZZ_SECONDS` (default 2) is the time of each target, `FUZZ_SEED` a number that a failed run has printed: the inputs
//! are then the same.

#[path = "../../fuzz/targets/mod.rs"]
mod targets;

mod mutation;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use mutation::Mutator;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut files: Vec<_> = std::fs::read_dir(folder.join(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

/// What is tried when a target panics, so that it can be tried again.
struct Trying<'a> {
    target: &'a str,
    input: &'a [u8],
}

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}: b\"{}\"", self.target, self.input.escape_ascii());
        }
    }
}

fn run(target: &str, run: fn(&[u8])) {
    let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = from_environment("FUZZ_SEED").unwrap_or_else(clock);
    let time = Duration::from_secs(from_environment("FUZZ_SECONDS").unwrap_or(2));
    let seeds = seeds(target);
    for input in &seeds {
        let _trying = Trying { target, input };
        run(input);
    }
    let mut mutator = Mutator::new(seed, seeds);
    let (start, mut inputs) = (Instant::now(), 0);
    while start.elapsed() < time {
        let input = mutator.next();
        let _trying = Trying {
            target,
            input: &input,
        };
        run(&input);
        inputs += 1;
    }
    println!("{target}: {inputs} inputs, FUZZ_SEED={seed}");
}

#[test]
fn request_heads_mean_the_same_however_they_are_cut() {
    run("head", targets::head::run);
}

#[test]
fn chunks_and_trailers_mean_the_same_however_they_are_cut() {
    run("chunked", targets::chunked::run);
}

#[test]
fn proxy_headers_have_a_verdict_that_more_bytes_do_not_change() {
    run("proxy", targets::proxy::run);
}

#[test]
fn frames_mean_the_same_however_they_are_cut() {
    run("ws", targets::ws::run);
}

#[test]
fn responses_mean_the_same_however_they_are_cut() {
    run("response", targets::response::run);
}

#[test]
fn content_codings_give_the_same_bytes_however_they_are_cut() {
    run("coding", targets::coding::run);
}

#[test]
fn a_hello_is_whole_once_and_certificates_say_the_same_whatever_follows_them() {
    run("handshake", targets::handshake::run);
}

#[test]
fn a_server_ends_what_any_peer_begins_and_serves_the_next() {
    run("server", targets::server::run);
}

#[test]
fn damaged_tls_records_end_the_connection_and_never_become_other_bytes() {
    run("tls", targets::tls::run);
}

#[test]
fn a_call_ends_once_whatever_the_peer_or_a_proxy_responds() {
    run("client", targets::client::run);
}
