//! The whole Goldcrest MQTT broker, sans-IO: a gateway, a microcontroller and a simulator run the same code.
//!
//! This crate never touches a socket, a clock, a file or a source of random numbers. Bytes and the time go in, bytes come
//! out. Where to begin:
//!
//! - [`Broker`] is the whole broker; its documentation lists its functions by who calls them.
//! - [`resources!`] names its memory on a microcontroller, `Memory::owned` (feature `alloc`) on a server. Nothing else is ever
//!   allocated: a message that does not fit is refused or dropped by the policy of the [`Config`], and counted in [`Counters`].
//! - [`Broker::publish`] and [`LocalClient`] let the embedder's own code publish and subscribe.
//! - [`Authorize`] and [`Verdict`] say who may do what.
//! - The module `guide` (feature `embedded-io-async`) leads from an empty crate to a broker in firmware; `io` drives the byte streams
//!   of `embedded-io`.
//! - [`codec`] reads and writes packets of both sides, for clients, bridges and tests too.
//!
//! # The loop
//!
//! An embedder repeats one loop: receive, then transmit. A "socket" here is two vectors of bytes.
//!
//! ```
//! use goldcrest_core::{AllowAll, Broker, Config, ConnectionId, Instant, Next, Then, resources};
//!
//! struct Socket {
//!     id: ConnectionId,
//!     /// Received bytes that the broker has not consumed.
//!     incoming: Vec<u8>,
//!     outgoing: Vec<u8>,
//!     closed: bool,
//! }
//!
//! fn turn(broker: &mut Broker<'_>, now: Instant, sockets: &mut [Socket]) {
//!     // 1. Receive: hand in the bytes that have arrived. Bytes that are not consumed are handed in again, before later ones.
//!     for socket in sockets.iter_mut().filter(|socket| !socket.incoming.is_empty()) {
//!         let received = broker.handle_bytes(now, socket.id, &socket.incoming);
//!         match received.next {
//!             // Bytes that are left are handed in again in the next turn; after Wait only when 3. has named the connection. After
//!             // Close step 3. says when to close.
//!             Next::Read | Next::Yield | Next::Wait | Next::Close => {}
//!             // With `Authentication::Ask` only: look the client up, and `broker.handle_verdict(..)`.
//!             Next::Ask(_) => unreachable!("this broker is open to everybody"),
//!         }
//!         let consumed = received.consumed;
//!         socket.incoming.drain(..consumed);
//!     }
//!
//!     // 2. Time: Keep Alive, Wills, the ends of Sessions.
//!     if broker.poll_timeout().is_some_and(|due| due <= now) {
//!         broker.handle_timeout(now);
//!     }
//!
//!     // 3. Transmit: the broker names the connections that have something to do, so the loop need not look at all sockets.
//!     let mut buffer = [0; 512];
//!     while let Some(id) = broker.poll_ready() {
//!         let Some(socket) = sockets.iter_mut().find(|socket| socket.id == id) else { continue };
//!         loop {
//!             let transmit = broker.poll_transmit(now, id, &mut buffer);
//!             socket.outgoing.extend_from_slice(&buffer[..transmit.written]);
//!             match transmit.then {
//!                 Then::More => continue,
//!                 Then::Idle => {}
//!                 Then::Close => {
//!                     socket.closed = true;
//!                     broker.handle_closed(now, id);
//!                 }
//!             }
//!             break;
//!         }
//!     }
//!
//!     // 4. Sleep until bytes arrive or `broker.poll_timeout()` is due.
//! }
//!
//! // Room for 4 clients, 8 subscriptions and 16 messages, all of it in this variable.
//! type Memory = resources! {
//!     connections: 4, sessions: 4, subscriptions: 8, levels: 16, messages: 16, deliveries: 16, blocks: 16
//! };
//! let mut resources = Memory::new();
//! let mut broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
//! let mut now = Instant::from_millis(0);
//!
//! let id = broker.handle_connected(now)?;
//! let mut sockets = [Socket { id, incoming: Vec::new(), outgoing: Vec::new(), closed: false }];
//!
//! // CONNECT of MQTT 3.1.1, SUBSCRIBE to "t" with QoS 0, PUBLISH of "hi" to it.
//! sockets[0].incoming.extend(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c");
//! sockets[0].incoming.extend(b"\x82\x06\0\x01\0\x01t\0");
//! sockets[0].incoming.extend(b"\x30\x05\0\x01thi");
//! turn(&mut broker, now, &mut sockets);
//! // CONNACK, SUBACK, and the message.
//! assert_eq!(sockets[0].outgoing, b"\x20\x02\0\0\x90\x03\0\x01\0\x30\x05\0\x01thi");
//!
//! // DISCONNECT: the broker asks for the socket to be closed, and nothing is left.
//! now = now.plus_secs(1);
//! sockets[0].incoming.extend(b"\xe0\0");
//! turn(&mut broker, now, &mut sockets);
//! assert!(sockets[0].closed);
//! assert_eq!((broker.counters().connections, broker.counters().bytes), (0, 0));
//! # Ok::<(), goldcrest_core::Full>(())
//! ```

#![no_std]
#![forbid(unsafe_code)]
// Some items are used by one neighbour alone, and are unused if it is left out. With all features every item is used.
#![cfg_attr(
    not(all(feature = "events", feature = "paging", feature = "shards")),
    allow(dead_code, unreachable_pub, unused_imports)
)]
// No input may cause a panic. Tests may panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::string_slice
    )
)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub use goldcrest_codec as codec;
use goldcrest_codec::topic;

#[cfg(feature = "embedded-io-async")]
#[doc = include_str!("../EMBED.md")]
pub mod guide {}
#[cfg(feature = "embedded-io")]
pub mod io;

mod api;
mod config;
#[cfg_attr(not(feature = "durable"), path = "durable/no_credit.rs")]
mod durable;
mod engine;
#[cfg_attr(not(feature = "events"), path = "events/none.rs")]
mod events;
#[doc(hidden)]
pub mod internals;
mod mem;
#[cfg_attr(not(feature = "paging"), path = "paging/none.rs")]
mod paging;
mod seam;
mod seed;
#[cfg_attr(not(feature = "shards"), path = "shards/none.rs")]
mod shards;
mod time;

pub use api::broker::Broker;
pub use api::budget::{Counts, Entries, EntryBytes, TABLES, Table};
pub use api::inspect::{DeliveryInfo, DeliveryState, MessageInfo, SubscriptionInfo};
pub use api::local::{LocalClient, LocalEvent};
#[cfg(feature = "alloc")]
pub use api::owned::{Capacity, MemoryCeiling, MemoryClaim, MemoryUse};
pub use api::resources::Resources;
pub use config::{
    Authentication, Config, EventSet, Lent, Limits, Overflow, OverflowRule, ResendExpired, Shard, ShareRule,
    ShareStrategy, Unchangeable,
};
pub use durable::*;
pub use engine::connections::ConnectionId;
pub use engine::info::{ConnectionInfo, SessionInfo, Shortage};
pub use engine::memory::Memory;
pub use engine::outcomes::{Full, LocalPublish, Next, Received, Then, Transmit};
pub use events::*;
pub use paging::*;
pub use seam::authorize::{AllowAll, Ask, Authorize, Permissions, Principal, Subject, Subscribable, Verdict};
pub use seam::counters::{Counters, DropReason, Dropped};
pub use seam::grant::*;
pub use seam::journal::Batch;
pub use seed::secret::derive_seed;
pub use shards::*;
pub use time::{Duration, Instant};
pub use topic::{Levels, TopicFilter, TopicFilterError, TopicName, TopicNameError};
