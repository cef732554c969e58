//! Bounds of one client.

/// Bounds of one client; 0 is no bound. What is lower counts, the bound here or that of [`Limits`](crate::Limits). They hold for the Session until its client
/// connects the next time; after a restart a Session whose client is away has those of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientLimits {
    /// Messages that wait for the client. At this limit the overflow policy of their topic decides.
    pub queued_messages: u32,
    /// The bytes of these.
    pub queued_bytes: u32,
    /// Messages of QoS 1 and 2 that the client has not acknowledged.
    pub inflight: u16,
    /// Subscriptions. Beyond them: SUBACK 0x97 Quota exceeded.
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
