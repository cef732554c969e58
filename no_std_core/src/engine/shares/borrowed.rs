//! Where memory is borrowed: it was taken before, so there is no ceiling.

use crate::config::{Config, Limits};
use crate::engine::Engine;
use crate::engine::deliver::Bound;
use crate::engine::memory::Tables;
use crate::engine::messages::{Message, Messages};
use crate::engine::sessions::Outbound;
use crate::mem::Handle;
use crate::topic::TopicName;

const UNBOUNDED: Bound = Bound { messages: u32::MAX, bytes: u32::MAX };

/// The configured limits, which hold always.
#[derive(Debug)]
pub(crate) struct LimitsInForce;

impl LimitsInForce {
    pub(crate) fn new(_limits: &Limits) -> Self {
        Self
    }

    #[inline(always)]
    pub(crate) fn limits<'a>(&'a self, configured: &'a Limits) -> &'a Limits {
        configured
    }
}

/// Nothing is known of the memory of messages.
#[derive(Debug, Default)]
pub(crate) struct MessageShares;

impl Messages<'_> {
    #[inline(always)]
    pub(crate) fn fair_bound(&self) -> Bound {
        UNBOUNDED
    }

    #[inline(always)]
    pub(crate) fn fair_bound_for(&self, _queue: &Outbound) -> Bound {
        UNBOUNDED
    }

    #[inline(always)]
    pub(crate) fn has_memory(&mut self, _len: usize) -> bool {
        true
    }

    #[inline(always)]
    pub(crate) fn count_retained(&mut self, _message: Handle<Message>) {}

    #[inline(always)]
    pub(crate) fn discount_retained(&mut self, _message: Handle<Message>) {}
}

impl Engine<'_> {
    #[inline(always)]
    pub(crate) fn look_at_memory(&mut self) {}

    #[inline(always)]
    pub(crate) fn look_at_memory_now(&mut self) {}

    #[inline(always)]
    pub(crate) fn has_share_for_retained(&self, _topic: TopicName<'_>, _cost: impl FnOnce() -> u32) -> bool {
        true
    }
}

impl Tables<'_> {
    #[inline(always)]
    pub(crate) fn claim_what_hangs_at_entries(&mut self, _config: &Config<'_>) {}
}
