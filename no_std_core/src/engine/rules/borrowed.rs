//! Firmware has not the flash to look at subscriptions anew. A Session that was there when the rules changed is asked about for each message from then on.

use crate::engine::Engine;
use crate::seam::grant::WhollyGranted;
use crate::seam::work::Work;
use crate::time::Instant;

/// Which rules hold: nothing is remembered of those before.
#[derive(Debug)]
pub(crate) struct Rules;

impl Rules {
    pub(crate) const NEW: Self = Self;

    pub(crate) fn all_granted(&self) -> WhollyGranted {
        WhollyGranted::YES
    }

    /// What was granted under older rules is not granted wholly, so it does not matter when a message came.
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

    /// Sessions come back as ones that are asked about.
    pub(crate) fn begin_rules_after_restart(&mut self) {}

    pub(crate) fn review_sessions(&mut self, _: Instant, _: Work) {}
}
