//! In firmware the flash does not suffice for checking subscriptions again. For a Session that existed when the rules changed, `Authorize`
//! is asked about each message from then on.

use crate::engine::Engine;
use crate::seam::grant::WhollyGranted;
use crate::seam::work::Work;
use crate::time::Instant;

/// Which rules hold. Earlier rules are not remembered.
#[derive(Debug)]
pub(crate) struct Rules;

impl Rules {
    pub(crate) const NEW: Self = Self;

    pub(crate) fn all_granted(&self) -> WhollyGranted {
        WhollyGranted::YES
    }

    /// A Session that was granted subscriptions under older rules is not granted wholly, so it does not matter when a message came.
    #[inline]
    pub(crate) fn permit(&self, granted: WhollyGranted, _: u64) -> bool {
        granted.is_so()
    }

    #[inline]
    pub(crate) fn due(&self) -> Instant {
        Instant::NEVER
    }
}

impl Engine<'_> {
    pub(crate) fn begin_rules(&mut self) {
        for slot in 0..self.sessions.slots() {
            if let Some(session) = self.sessions.at(slot) {
                self.sessions[session].wholly_granted = WhollyGranted::NO;
            }
        }
    }

    /// Restored Sessions are not granted wholly anyway.
    pub(crate) fn begin_rules_after_restart(&mut self) {}

    pub(crate) fn review_sessions(&mut self, _: Instant, _: Work) {}
}
