//! Items below the API that this project's own tests, fuzzers and benchmarks use. They are not part of the API: any version may
//! change them.

pub use crate::engine::connections::{Alias, Connection, Owed};
pub use crate::engine::groups::GroupQueue;
pub use crate::engine::memory::Tables;
pub use crate::engine::messages::{Delivery, Message};
pub use crate::engine::router::{
    Group, Match, Matches, Node, PickKeys, Retained, RetainedCursor, RetainedMatches, Router, RouterFull, RouterMemory,
    Subscribed, Subscriber, SubscriberSlot, Subscription, SubscriptionOptions, Unsubscribed,
};
pub use crate::engine::sessions::{Receipt, Replay, Session};
pub use crate::engine::timeout::TimerKey;
pub use crate::mem::{Block, Bytes, Handle, Hasher, HeapSlot, PoolSlot, Slots, TimerSlot};
pub use crate::seam::journal::JournalMemory;

pub use crate::engine::router::RouterLimits;
