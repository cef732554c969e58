//! The whole Goldcrest MQTT broker, sans-IO: a gateway, a microcontroller and a simulator run the same code.
//!
//! This crate never touches a socket, a clock, a file or a source of random numbers. Bytes and the time go in, bytes come
//! out. Where to begin:
//!
//! - [`Broker`] is everything; its documentation sorts its verbs.
//! - [`resources!`] names its memory on a microcontroller, `Memory::owned` (feature `alloc`) on a server. Nothing else is ever
//!   allocated: what does not fit is refused or dropped by the policy of the [`Config`], and counted in [`Counters`].
//! - [`Broker::publish`] and [`LocalClient`] make the code around the broker a participant.
//! - [`Authorize`] and [`Verdict`] say who may do what.
//! - The module `guide` (feature `embedded-io-async`) leads from an empty crate to a broker in firmware; `io` drives the byte streams
//!   of `embedded-io`.
//! - [`codec`] reads and writes packets of both sides, for clients, bridges and tests too.
//!
//! # The loop
//!
//! Who embeds the broker turns one crank: receive, then transmit. A "socket" here is two vectors of bytes.
//!
//! ```
//! use goldcrest_core::{AllowAll, Broker, Config, ConnectionId, Instant, Next, Then, resources};
//!
//! struct Socket {
//!     id: ConnectionId,
//!     /// Arrived, and not taken by the broker yet.
//!     incoming: Vec<u8>,
//!     outgoing: Vec<u8>,
//!     closed: bool,
//! }
//!
//! fn turn(broker: &mut Broker<'_>, now: Instant, sockets: &mut [Socket]) {
//!     // 1. Receive: hand in what has arrived. What is not consumed comes again, with what arrives next behind it.
//!     for socket in sockets.iter_mut().filter(|socket| !socket.incoming.is_empty()) {
//!         let received = broker.handle_bytes(now, socket.id, &socket.incoming);
//!         match received.next {
//!             // What is left comes again in the next turn; after Wait it need not before 3. has named the connection. Close: 3. says
//!             // when.
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
//!     // 3. Transmit: the broker names who has something to do, so nobody ever looks through all sockets.
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
// What is there for a neighbour alone is unused where that was left out. With all features nothing is.
#![cfg_attr(not(all(feature = "paging", feature = "shards")), allow(dead_code, unreachable_pub, unused_imports))]
// No input may reach a panic. Tests may.
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
#[cfg(feature = "durable")]
mod durable;
mod engine;
#[cfg(feature = "events")]
mod events;
#[doc(hidden)]
pub mod internals;
mod mem;
#[cfg(feature = "paging")]
mod paging;
mod seam;
mod seed;
#[cfg(feature = "shards")]
mod shards;
mod time;

pub use api::broker::Broker;
pub use api::budget::{Counts, Entries, EntryBytes, TABLES, Table};
#[cfg(feature = "alloc")]
pub use api::capacity::Capacity;
pub use api::inspect::{DeliveryInfo, DeliveryState, MessageInfo, SubscriptionInfo};
pub use api::local::{LocalClient, LocalEvent};
pub use api::resources::Resources;
pub use config::{
    Authentication, Config, EventSet, Lent, Limits, Overflow, OverflowRule, ResendExpired, Shard, ShareRule,
    ShareStrategy, Unchangeable,
};
#[cfg(feature = "durable")]
pub use durable::*;
pub use engine::connections::ConnectionId;
pub use engine::info::{ConnectionInfo, SessionInfo, Shortage};
pub use engine::memory::Memory;
pub use engine::outcomes::{Full, LocalPublish, Next, Received, Then, Transmit};
#[cfg(feature = "events")]
pub use events::Event;
#[cfg(feature = "alloc")]
pub use mem::{MemoryCeiling, MemoryClaim, MemoryUse};
#[cfg(feature = "paging")]
pub use paging::fetch::Fetch;
pub use seam::authorize::{AllowAll, Ask, Authorize, Permissions, Principal, Subject, Subscribable, Verdict};
pub use seam::counters::{Counters, DropReason, Dropped};
pub use seam::grant::Grant;
#[cfg(feature = "alloc")]
pub use seam::grant::{ClientLimits, Mount, MountError};
pub use seam::journal::Batch;
pub use seed::secret::derive_seed;
#[cfg(feature = "shards")]
pub use shards::forward::Forward;
pub use time::{Duration, Instant};
pub use topic::{Levels, TopicFilter, TopicFilterError, TopicName, TopicNameError};
