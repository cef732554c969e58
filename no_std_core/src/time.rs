//! Time, as the embedder tells it. The core never reads a clock.

pub use core::time::Duration;

/// A point on the embedder's monotonic clock, in milliseconds since an origin of the embedder's choice.
///
/// The clock must never run backwards; a jump of the wall clock must not move it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// A moment that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment `millis` milliseconds later; [`Instant::NEVER`] if that is out of range.
    #[must_use]
    #[cfg_attr(not(feature = "alloc"), inline(never))]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The moment `seconds` seconds later; [`Instant::NEVER`] if that is out of range.
    #[must_use]
    #[cfg_attr(not(feature = "alloc"), inline(never))]
    pub const fn plus_secs(self, seconds: u64) -> Self {
        self.plus_millis(seconds.saturating_mul(1000))
    }

    /// Milliseconds from `earlier` to `self`; 0 if `earlier` is later.
    #[cfg_attr(not(feature = "alloc"), inline(never))]
    pub const fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
