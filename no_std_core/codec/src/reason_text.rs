//! The reason of a refusal as a sentence.

use core::fmt;
use sentence::Sentence;

/// A sentence for people that says why something was refused, and that may be sent as a Reason String. May be empty, and is
/// always empty without the feature `reason-strings`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReasonText(Sentence);

impl ReasonText {
    /// No sentence.
    pub const NONE: Self = Self::new("");

    /// This sentence.
    #[inline]
    pub const fn new(sentence: &'static str) -> Self {
        Self(Sentence::new(sentence))
    }

    /// The sentence; empty if there is none.
    #[inline]
    pub const fn as_str(self) -> &'static str {
        self.0.as_str()
    }

    /// Whether there is no sentence.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.as_str().is_empty()
    }
}

impl fmt::Display for ReasonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(feature = "reason-strings")]
mod sentence {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    /// `None` for the empty sentence, not an empty `str`: tables of a firmware that are filled with it are all zeros and take
    /// no flash.
    pub(super) struct Sentence(Option<&'static str>);

    impl Sentence {
        #[inline]
        pub(super) const fn new(sentence: &'static str) -> Self {
            Self(if sentence.is_empty() { None } else { Some(sentence) })
        }

        #[inline]
        pub(super) const fn as_str(self) -> &'static str {
            match self.0 {
                Some(sentence) => sentence,
                None => "",
            }
        }
    }
}

/// Takes no memory, so that no sentence stands in the image of a firmware.
#[cfg(not(feature = "reason-strings"))]
mod sentence {
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(super) struct Sentence;

    impl Sentence {
        #[inline]
        pub(super) const fn new(_: &'static str) -> Self {
            Self
        }

        #[inline]
        pub(super) const fn as_str(self) -> &'static str {
            ""
        }
    }
}
