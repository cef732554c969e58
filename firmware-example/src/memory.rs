//! How much the broker of this firmware serves. The conformance tests of the core include this file and run with exactly that.

use goldcrest_core::{Config, resources};

/// 12 clients at once: 8 by TCP, 3 by UART, and the board itself. 32 subscriptions, and 32 messages of 256 bytes on their way, beside
/// what the board keeps retained and a reserve for those who connect.
pub type Memory = resources! {
    connections: 12,
    sessions: 12,
    subscriptions: 32,
    levels: 40,
    messages: 44,
    deliveries: 40,
    blocks: 204,
};

/// The limits and policies, with a seed that outsiders must not know.
pub const fn config(seed: u128) -> Config<'static> {
    Config::firmware(seed)
}
