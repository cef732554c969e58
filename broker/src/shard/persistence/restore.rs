//! Gives a core broker back its state from before a restart.

use super::key_in_store;
use crate::access::{Principals, RecordError, is_gateway_kind};
use goldcrest_core::record::{self, Record, Unreadable, Value};
use goldcrest_core::{Broker, Instant, Principal};
use goldcrest_store::{LogStore, Store as _};
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Gives the core back its state from before the restart. Returns how many records the core did not accept. From then on no new
/// name gets the number of a principal that has a Session here.
pub(crate) fn restore(
    broker: &mut Broker<'static>,
    shard: u16,
    log: &LogStore,
    principals: &Principals,
    now: Instant,
    gives_up: &AtomicBool,
) -> io::Result<u64> {
    let (left_out, greatest_principal) = restore_records(broker, shard, log, gives_up)?;
    principals.reserve_up_to(greatest_principal);
    // The core asks for bodies that it has to send to other shards at once: it had no memory to keep them while it restored.
    let mut sealed = Vec::new();
    while let Some(fetch) = broker.poll_fetch() {
        unless_given_up(gives_up)?;
        match log.fetch(key_in_store(shard, fetch.key()), &mut sealed) {
            Ok(true) => broker.handle_fetched(fetch, &sealed),
            Ok(false) | Err(_) => broker.handle_fetch_failed(fetch),
        }
    }
    let restored = broker.finish_restore(now);
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

/// Returns how many records the core did not accept, and the greatest number of a principal that has a Session.
fn restore_records(
    broker: &mut Broker<'static>,
    shard: u16,
    log: &LogStore,
    gives_up: &AtomicBool,
) -> io::Result<(u64, Principal)> {
    let mut refusal = None;
    let (mut taken, mut left_out) = (0_u64, 0_u64);
    let mut greatest_principal = Principal::ANONYMOUS;
    let mut told = std::time::Instant::now();
    broker.expect_retained(log.slots(shard, record::Kind::Retained as u8));
    log.each(shard, &mut |key, sealed| match record::open(sealed) {
        // The gateway's own records belong to no shard, as far as this program knows them: this record is of a newer program.
        _ if is_gateway_kind(key.kind) => {
            refusal = Some(RecordError::UnknownKind(key.kind).to_string());
            ControlFlow::Break(())
        }
        Ok(record) => {
            if let Record::Put(_, Value::Session(session)) = record {
                greatest_principal.0 = greatest_principal.0.max(session.principal);
            }
            left_out += u64::from(broker.restore(record).is_err());
            taken += 1;
            if taken.is_multiple_of(1024) && told.elapsed() > Duration::from_secs(1) {
                told = std::time::Instant::now();
                tracing::info!(shard, "restoring: {taken} records so far");
            }
            if gives_up.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
        Err(error @ Unreadable::Newer(_)) => {
            refusal = Some(format!("{error}; nothing was changed"));
            ControlFlow::Break(())
        }
        Err(Unreadable::Damaged) => {
            left_out += 1;
            ControlFlow::Continue(())
        }
    })?;
    unless_given_up(gives_up)?;
    match refusal {
        Some(refusal) => Err(io::Error::other(refusal)),
        None => Ok((left_out, greatest_principal)),
    }
}

fn unless_given_up(gives_up: &AtomicBool) -> io::Result<()> {
    if gives_up.load(Ordering::Relaxed) { Err(io::Error::other("restoring was given up")) } else { Ok(()) }
}
