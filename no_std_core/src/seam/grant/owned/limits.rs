//! Bounds of one client.

/// Bounds of one client; 0 is no bound. The lower bound counts, the one here or the one in [`Limits`](crate::Limits). The bounds
/// hold for the Session until its client connects the next time. After a restart a Session whose client is away has the bounds of
/// the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientLimits {
    /// Messages that wait for the client. At this limit the overflow policy of their topic decides.
    pub queued_messages: u32,
    /// Bytes of the messages that wait for the client.
    pub queued_bytes: u32,
    /// Messages of QoS 1 and 2 that the client has not acknowledged.
    pub inflight: u16,
    /// Subscriptions of the client. Any more get SUBACK 0x97 Quota exceeded.
    pub subscriptions: u32,
}

impl ClientLimits {
    /// No bounds but those of the broker.
    pub const NONE: Self = Self { queued_messages: 0, queued_bytes: 0, inflight: 0, subscriptions: 0 };
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self::NONE
    }
}
