//! The size of this firmware's broker. The conformance tests of the core include this file, and run in exactly this memory.

use goldcrest_core::{Config, resources};

/// Room for 12 clients at once: 8 by TCP, 3 by UART, and the board itself. There are 32 subscriptions, and 32 messages of 256 bytes
/// may wait for clients, beside the board's own retained messages and a reserve for CONNECT.
pub type Memory = resources! {
    connections: 12,
    sessions: 12,
    subscriptions: 32,
    levels: 40,
    messages: 44,
    deliveries: 40,
    blocks: 204,
};

/// The limits and policies. Outsiders must not know the seed.
pub const fn config(seed: u128) -> Config<'static> {
    Config::firmware(seed)
}
