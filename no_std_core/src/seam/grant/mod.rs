//! What a client is granted with its [`Verdict`](crate::Verdict): its own bounds, an expiry, a mount, and whether it is a bridge.

#[cfg_attr(not(feature = "alloc"), path = "borrowed.rs")]
mod owned;

pub use owned::*;

impl Grant {
    /// The same grant for a bridge.
    pub const fn as_bridge(mut self) -> Self {
        self.is_bridge = true;
        self
    }
}

impl Default for Grant {
    fn default() -> Self {
        Self::NOTHING_SPECIAL
    }
}
