//! Statistics of a store.

use crate::shard::kind_name;
use goldcrest_core::record::{self, Kind, Record, Value};
use goldcrest_store::{Examined, Key};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

/// The table that is printed.
pub(super) fn table(store: &Examined) -> io::Result<String> {
    let stats = store.stats();
    let mut text = format!(
        "segments         {} ({} of use to nothing)\nbytes of files   {}\nbytes in use     {}\nbytes of garbage {}\n\
         written last     {}, at {} ms of the broker's own time\n\n",
        stats.segments,
        stats.dead,
        stats.bytes,
        stats.live_bytes,
        stats.bytes - stats.live_bytes,
        time_of_day(store.report.wall_ms),
        store.report.instant_ms,
    );
    let _ = writeln!(text, "{:>5}  {:<12}  {:>10}  {:>12}", "shard", "kind", "records", "bytes");
    for shard in 0..store.report.shards {
        rows(&mut text, store, shard, &shard.to_string())?;
    }
    rows(&mut text, store, Key::COMMON, "all")?;
    Ok(text)
}

/// Adds a row for each kind of record that a shard has, and one for the messages that are queued there. Records that belong to all shards
/// have rows only if there are any.
fn rows(text: &mut String, store: &Examined, shard: u16, name: &str) -> io::Result<()> {
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
        let _ = writeln!(text, "{name:>5}  {:<12}  {records:>10}  {bytes:>12}", kind_name(kind));
    }
    if shard != Key::COMMON {
        let _ = writeln!(text, "{name:>5}  {:<12}  {queued:>10}", "queued");
    }
    Ok(())
}

/// Milliseconds since 1970 as RFC 3339 has them.
pub(super) fn time_of_day(ms: u64) -> String {
    /// The last time whose year has four digits.
    const LAST: u64 = 253_402_300_799_999;
    if ms == 0 {
        return "never".to_owned();
    }
    if ms > LAST {
        return format!("{ms} ms after the beginning of 1970");
    }
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_rfc_3339_has_them() {
        assert_eq!(time_of_day(1_795_907_782_326), "2026-11-28T23:16:22.326Z");
        assert_eq!(time_of_day(1), "1970-01-01T00:00:00.001Z");
        assert_eq!(time_of_day(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
        assert_eq!(time_of_day(u64::MAX), "18446744073709551615 ms after the beginning of 1970");
    }
}
