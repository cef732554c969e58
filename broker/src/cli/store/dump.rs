//! `goldcrest store dump`: prints each record as one line of JSON.

use super::record_line::{Times, line};
use goldcrest_store::{Examined, Key};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

/// Prints all records, those that belong to no shard first. If the reader stops reading, that is no failure.
pub(super) fn write(store: &Examined) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let times = Times { instant_ms: store.report.instant_ms, wall_ms: store.report.wall_ms };
    for shard in std::iter::once(Key::COMMON).chain(0..store.report.shards) {
        store.each(shard, |key, sealed| {
            written = out.write_all(line(key, sealed, times).as_bytes());
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if written.is_err() {
            break;
        }
    }
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(io::Error::other(format!("cannot write standard output: {error}")))
        }
        _ => Ok(()),
    }
}
