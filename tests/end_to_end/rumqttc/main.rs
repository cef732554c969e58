//! Tests the broker with the client rumqttc in 3.1.1 and 5. `tests/end_to_end/run` starts the broker, and passes its
//! port in `GOLDCREST_PORT`.

mod v3_1_1;
mod v5;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// The length of the client's queue of requests.
const REQUESTS: usize = 16;
const LARGE: usize = 1 << 20;

fn port() -> u16 {
    let port = std::env::var("GOLDCREST_PORT").expect("start these tests by tests/end_to_end/run");
    port.parse().expect("GOLDCREST_PORT is a port")
}

/// A name that no other test uses, because all tests and other suites share one broker.
fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("rumqttc-{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
