//! What a client is granted with its [`Verdict`](crate::Verdict): bounds of its own, and for how long.

#[cfg_attr(not(feature = "alloc"), path = "borrowed.rs")]
mod owned;

pub use owned::*;

impl Grant {
    /// The same for a bridge.
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
