//! How much the broker of this firmware serves. The conformance tests of the core include this file and run with exactly that.

use goldcrest_core::{Config, Resources};

/// 12 clients at once: 8 by TCP, 3 by UART, and the board itself. 32 subscriptions, and 32 messages of 256 bytes on their way, beside
/// what the board keeps retained and a reserve for those who connect.
pub type Memory = Resources<12, 12, 32, 40, 44, 40, 204>;

/// The limits and policies, with a seed that outsiders must not know.
pub const fn config(seed: u128) -> Config<'static> {
    Config::firmware(seed)
}
