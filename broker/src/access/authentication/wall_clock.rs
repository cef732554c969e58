//! Whether the clock of the system tells the time of day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2026-11-01, in seconds since 1970: before this was written. A machine without a clock of its own begins at 1970 or at the date of its firmware, until
/// it has asked others for the time.
const EARLIEST: u64 = 1_793_491_200;

/// The time since 1970; `None` if the clock cannot have been set.
pub(super) fn since_1970(now: SystemTime) -> Option<Duration> {
    let since = now.duration_since(UNIX_EPOCH).ok()?;
    (since.as_secs() >= EARLIEST).then_some(since)
}
