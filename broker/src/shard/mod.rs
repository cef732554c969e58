//! Shards: each is a thread with a core broker, its sockets and its event loop.
//!
//! ```text
//! task             the thread with its runtime: one task runs the event loop, others accept, read CONNECT or close
//! shared           the state that the tasks of a shard share
//! connect          reads the first packet of a connection, and sends the connection to its home shard
//! doorstep         threads for what comes before CONNECT and takes long: TLS handshakes
//! event_loop       one turn: bytes in, forwards to other shards, bytes out
//! decisions        asks the embedding program whether a client may connect
//! events           events on their way to the embedding program
//! ready_queue      which sockets the next turn has to serve
//! forwards         forwards between the cores of shards, in queues
//! mailbox          all mail between shards, in batches
//! handshake        who wakes a shard that sleeps
//! persistence      the shard's side of the store: batches to it, answers from it
//! clock            the broker's time, which goes on across restarts
//! connection_ends  why connections ended
//! ```

mod clock;
mod connect;
mod connection_ends;
mod decisions;
mod doorstep;
mod event_loop;
mod events;
mod forwards;
mod handshake;
mod mailbox;
mod persistence;
mod ready_queue;
mod shared;
mod task;

pub(crate) use clock::Clock;
pub(crate) use doorstep::{Doorstep, DoorstepPlan, doorsteps_for};
pub(crate) use event_loop::EventLoop;
pub(crate) use events::{EventSender, event_channel};
pub use events::{EventStream, GatewayEvent, Happened};
#[cfg(test)]
pub(crate) use mailbox::Mail;
pub use mailbox::NoAnswer;
pub(crate) use mailbox::{KEPT_MAIL_BYTES, LocalConnection, Mailboxes, most_bytes_in_transit};
pub(crate) use persistence::{CREDIT_PARTS, OpenStore, StoreStartError, body_budget, describe_damage, kind_name};
pub(crate) use task::{SHUTDOWN_TIME, ShardPlan, ShardRules, run};
