//! Durable state: records of changes, restoring from records after a restart, and the room that the store grants.
//!
//! **A change is recorded later.** The engine marks the slot of each durable thing that changes (`seam/journal.rs`, one byte for each slot). When the
//! embedder polls, a record is made of each marked thing *as it is at that moment*: a put while the thing lives and is durable, a delete when the thing
//! is gone and the store has a record of it. A message that came and went between two polls costs no record, and any record can be
//! made again from the state alone (`record_all`). To a store a record is a key and bytes.
//!
//! **What is durable.** Sessions whose Session Expiry Interval is above 0, with their subscriptions, their QoS 2 receipts and their deliveries of QoS 1 and
//! 2; the Wills of all clients; retained messages; the messages that a group of a shared subscription keeps; and each message that one of these
//! refers to.
//!
//! **A promise waits for its batch.** All records that are polled between two calls of `end_batch` are one batch. A store shows a
//! batch whole or not at all, and shows no batch without all batches before it. A reply or a delivery carries the number of the
//! batch that must be safe before it is transmitted. PUBACK and PUBREC carry one if passing the message on left a mark. So do
//! PUBCOMP, PUBREL, SUBACK, UNSUBACK and CONNACK of a durable Session, and a PUBLISH of QoS 2 to a durable Session. A PUBLISH of
//! QoS 1 waits for no batch, because a duplicate is allowed. Batch numbers lie on a circle. Only the numbers between the last
//! safe batch and the one that is being gathered are unsafe, so a delivery with a very old number waits for no batch.
//!
//! **A message that ends before its batch needs no record.** The marks of a message that came and went are forgotten before they
//! are polled, and replies that waited for these marks alone go on at once. While all new messages are QoS 1 to connected
//! clients, the gateway holds the batch back for about as long as a sync takes. So a message that its subscribers acknowledge
//! sooner than the disk could costs no sync.
//!
//! **A Packet Identifier is part of what QoS 2 promises.** A delivery at the head of its queue gets its Packet Identifier when it
//! is queued, so that message and identifier are in one batch.
//!
//! **Restoring** puts each thing into the slot that it had, so that keys and references keep their meaning. Then queues get their
//! order from the messages. Deliveries in flight get theirs from the Packet Identifiers on their circle, beginning behind the
//! largest gap. A record that refers to nothing is dropped, counted and deleted. No sequence of records does harm, whatever is in
//! it (`tests/simulation/power.rs`).
//!
//! **A full store refuses before it accepts.** The store grants room, and a broker promises no more than that. A message that may
//! need more room waits unread until the store grants more, or until the store is known to be full; then the message is refused
//! with 0x97. The room for the records that other shards will make of a message is counted with it, and goes to them with the
//! message.

mod persist;
pub mod record;
mod restore;
#[cfg_attr(not(feature = "alloc"), path = "no_credit.rs")]
mod threaded;

pub use persist::Polled;
pub use restore::{RestoreError, Restored};
pub use threaded::*;
