//! A server's statistics as an array of numbers.

use httpkit_core::server::{BUCKETS, Stats};
use jni::Env;
use jni::objects::{JClass, JLongArray};
use jni::sys::{jboolean, jlong, jsize};

use super::SERVERS;
use crate::border::abi;
use crate::border::allocated::allocated;
use crate::border::error::Result;

const _: () = assert!(BUCKETS == abi::STAT_BUCKETS);

/// False for a server that has been freed: then there is only what all servers have together.
pub(crate) fn stats<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    server: jlong,
    out: JLongArray<'local>,
) -> Result<jboolean> {
    let Some(server) = SERVERS.get(server) else {
        let native = [allocated() as jlong];
        out.set_region(env, abi::SERVER_STAT_NATIVE as jsize, &native)?;
        return Ok(false);
    };
    let numbers = numbers(&server.stats());
    out.set_region(env, 0, &numbers)?;
    Ok(true)
}

fn numbers(stats: &Stats) -> [jlong; abi::SERVER_STATS] {
    let totals = &stats.totals;
    let single = [
        (abi::SERVER_STAT_OPEN, stats.open as u64),
        (abi::SERVER_STAT_WEBSOCKETS, stats.websockets as u64),
        (abi::SERVER_STAT_ACTIVE, stats.active as u64),
        (abi::SERVER_STAT_ACCEPTED, stats.accepted),
        (abi::SERVER_STAT_REQUESTS, totals.requests),
        (abi::SERVER_STAT_REJECTED, totals.rejected),
        (abi::SERVER_STAT_RECEIVED, totals.received),
        (abi::SERVER_STAT_WRITTEN, totals.written),
        (abi::SERVER_STAT_MICROS, totals.micros),
        (abi::SERVER_STAT_PENDING, stats.pending),
        (abi::SERVER_STAT_BUFFERED, stats.buffered),
        (abi::SERVER_STAT_WAITING, stats.waiting as u64),
        (abi::SERVER_STAT_OLDEST, stats.oldest.as_millis() as u64),
        (abi::SERVER_STAT_THREADS, stats.threads as u64),
        (abi::SERVER_STAT_NATIVE, allocated()),
        (abi::SERVER_STAT_HELD, stats.held),
        (abi::SERVER_STAT_TLS, stats.tls as u64),
        (abi::SERVER_STAT_REFUSED, stats.refused),
    ];
    let several = [
        (abi::SERVER_STAT_STATUSES, &totals.statuses[..]),
        (abi::SERVER_STAT_TIMEOUTS, &stats.timeouts[..]),
        (abi::SERVER_STAT_HANDLER, &totals.handler[..]),
        (abi::SERVER_STAT_WHOLE, &totals.whole[..]),
        (abi::SERVER_STAT_HANDSHAKES, &stats.handshakes[..]),
        (abi::SERVER_STAT_LOGGED, &stats.logged[..]),
    ];
    let mut numbers = [0; abi::SERVER_STATS];
    for (place, number) in single {
        numbers[place] = number as jlong;
    }
    for (place, values) in several {
        for (i, value) in values.iter().enumerate() {
            numbers[place + i] = *value as jlong;
        }
    }
    numbers
}
