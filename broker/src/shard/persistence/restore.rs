//! Giving a core broker back what it had before a restart.

use super::key_in_store;
use goldcrest_core::record::{self, Unreadable};
use goldcrest_core::{Broker, Instant};
use goldcrest_store::{LogStore, Store as _};
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Gives the core back what it had before the restart. How many records it did not take.
pub(crate) fn restore(
    broker: &mut Broker<'static>,
    shard: u16,
    log: &LogStore,
    now: Instant,
    gives_up: &AtomicBool,
) -> io::Result<u64> {
    let mut newer = None;
    let (mut taken, mut left_out) = (0_u64, 0_u64);
    let mut told = std::time::Instant::now();
    broker.expect_retained(log.slots(shard, record::Kind::Retained as u8));
    log.each(shard, &mut |_, sealed| match record::open(sealed) {
        Ok(record) => {
            left_out += u64::from(broker.restore(now, record).is_err());
            taken += 1;
            if taken.is_multiple_of(1024) && told.elapsed() > Duration::from_secs(1) {
                told = std::time::Instant::now();
                tracing::info!(shard, "restoring: {taken} records so far");
            }
            if gives_up.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        Err(error @ Unreadable::Newer(_)) => {
            newer = Some(error);
            ControlFlow::Break(())
        }
        Err(Unreadable::Damaged) => {
            left_out += 1;
            ControlFlow::Continue(())
        }
    })?;
    unless_given_up(gives_up)?;
    if let Some(error) = newer {
        return Err(io::Error::other(format!("{error}; nothing was changed")));
    }
    // What shards are to hand to each other at once was too much to be kept in memory.
    let mut sealed = Vec::new();
    while let Some(fetch) = broker.poll_fetch() {
        unless_given_up(gives_up)?;
        match log.fetch(key_in_store(shard, fetch.key()), &mut sealed) {
            Ok(true) => broker.fetched(now, fetch, &sealed),
            Ok(false) | Err(_) => broker.fetch_failed(now, fetch),
        }
    }
    let restored = broker.restored(now);
    tracing::info!(
        shard,
        sessions = restored.sessions,
        subscriptions = restored.subscriptions,
        retained = restored.retained,
        deliveries = restored.deliveries,
        "restored"
    );
    let left_out = left_out.max(restored.dropped.into());
    if left_out > 0 {
        tracing::error!(shard, records = left_out, "records of the store were left out");
    }
    Ok(left_out)
}

fn unless_given_up(gives_up: &AtomicBool) -> io::Result<()> {
    if gives_up.load(Ordering::Relaxed) { Err(io::Error::other("restoring was given up")) } else { Ok(()) }
}
