//! rumqttc in 3.1.1 and 5. `tests/end_to_end/run` starts the broker and says where: `GOLDCREST_PORT`.

mod v3_1_1;
mod v5;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Requests that wait in the client.
const REQUESTS: usize = 16;
const LARGE: usize = 1 << 20;

fn port() -> u16 {
    let port = std::env::var("GOLDCREST_PORT").expect("start these tests by tests/end_to_end/run");
    port.parse().expect("GOLDCREST_PORT is a port")
}

/// A name that no other test has: they share a broker, which other suites use too.
fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("rumqttc-{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
