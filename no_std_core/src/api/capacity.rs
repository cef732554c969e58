//! Limits of a broker that owns its memory.

/// How much a broker that owns its memory may hold: upper limits, nothing is taken before it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Network Connections.
    pub connections: usize,
    /// Sessions, connected or not.
    pub sessions: usize,
    /// Subscriptions of all Sessions.
    pub subscriptions: usize,
    /// Levels of all Topic Filters and retained topics.
    pub topic_levels: usize,
    /// Stored Application Messages.
    pub messages: usize,
    /// Messages on their way to Sessions.
    pub deliveries: usize,
    /// Bytes of bodies and texts.
    pub bytes: usize,
}

impl Capacity {
    /// For a gateway.
    pub const GATEWAY: Self = Self {
        connections: 65_536,
        sessions: 262_144,
        subscriptions: 4_194_304,
        topic_levels: 8_388_608,
        messages: 4_194_304,
        deliveries: 16_777_216,
        bytes: 1 << 30,
    };
}
