//! What is wrong, in words.

use core::fmt;

/// A sentence for people, fit to be a Reason String; or none, as always without the feature `reason-strings`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Why(#[cfg(feature = "reason-strings")] Option<&'static str>);

impl Why {
    /// No sentence.
    pub const NONE: Self = Self(
        #[cfg(feature = "reason-strings")]
        None,
    );

    /// That sentence.
    pub const fn new(sentence: &'static str) -> Self {
        let _ = sentence;
        Self(
            #[cfg(feature = "reason-strings")]
            Some(sentence),
        )
    }

    /// The sentence; empty if there is none.
    pub const fn as_str(self) -> &'static str {
        #[cfg(feature = "reason-strings")]
        if let Some(sentence) = self.0 {
            return sentence;
        }
        ""
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.as_str().is_empty()
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
