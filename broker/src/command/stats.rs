//! How much is in a store.

use super::kind_name;
use crate::store::Examined;
use goldcrest_core::record::{self, Kind, Record, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::ops::ControlFlow;

/// The table that is printed.
pub(super) fn table(store: &Examined) -> io::Result<String> {
    let stats = store.stats();
    let mut text = format!(
        "segments         {} ({} of use to nothing)\nbytes of files   {}\nbytes in use     {}\nbytes of garbage {}\n\
         written last     at {} ms of the broker's time, {} ms after the beginning of 1970\n\n",
        stats.segments,
        stats.dead,
        stats.bytes,
        stats.live_bytes,
        stats.bytes - stats.live_bytes,
        store.report.instant_ms,
        store.report.wall_ms,
    );
    let _ = writeln!(text, "{:>5}  {:<12}  {:>10}  {:>12}", "shard", "kind", "records", "bytes");
    for shard in 0..store.report.shards {
        let (mut by_kind, mut queued) = (BTreeMap::<u8, (u64, u64)>::new(), 0_u64);
        store.each(shard, |key, sealed| {
            let (records, bytes) = by_kind.entry(key.kind).or_default();
            *records += 1;
            *bytes += sealed.len() as u64;
            if key.kind == Kind::Delivery as u8
                && let Ok(Record::Put(_, Value::Delivery(delivery))) = record::open(sealed)
            {
                queued += u64::from(delivery.message.is_some());
            }
            ControlFlow::Continue(())
        })?;
        for (kind, (records, bytes)) in by_kind {
            let _ = writeln!(text, "{shard:>5}  {:<12}  {records:>10}  {bytes:>12}", kind_name(kind));
        }
        let _ = writeln!(text, "{shard:>5}  {:<12}  {queued:>10}", "queued");
    }
    Ok(text)
}
