//! Sibling brokers: the shards of one gateway, which together behave as one broker.
//!
//! Each Session lives on one shard, the home of its Client Identifier (`Shard::home_of`). Siblings exchange `Forward`s, in order and without loss. The results
//! are the same with one shard and with many; the conformance, property and power tests run with both.
//!
//! - **Interest.** The first subscriber to a Topic Filter makes the filter known to all siblings, which keep about three bytes of its hash, and for filters with
//!   wildcards their shapes: which levels are wildcards. A message may go to a sibling in vain, and none is missed. A SUBSCRIBE is taken only after all siblings have answered a fence: whoever has seen
//!   SUBACK gets what is published from then on, and sees every retained message that was acknowledged before, on whichever shard.
//! - **Messages** go once to each sibling with interest; the body is shared, not copied. Unconfirmed messages are bounded; beyond that bound publishers wait.
//! - **Answers.** A sibling answers what became of each message of QoS 1 or 2. A PUBACK or PUBREC of MQTT 5.0 waits for the answer where nobody keeps the
//!   message here.
//! - **Retained messages** go to all siblings with a Lamport stamp. The greater stamp stays, so all siblings end with the same message. A removed or expired
//!   one leaves a tombstone, so that an older message that is late does not come back on one shard alone. A tombstone goes after a round: each sibling answers
//!   behind all messages that it has for us, and stamps what it retains from then on as newer. Where 8,192 tombstones wait, publishers wait.
//! - **Shared subscriptions.** A group is owned by the home shard of its filter. Members elsewhere stand in the owner's group as remote Sessions. The owner selects
//!   the member, keeps the group's queue and redistributes. A member whose queue is full says so and gives the message back; it is given no
//!   more until its queue is empty.
//! - **What must survive on a sibling** is recorded on the shard where it arrived, as a Transit, in the batch that PUBACK waits for. A QoS 1 message that is not
//!   retained is handed over at once. Any other message, and those behind it, are handed over once that batch is safe: otherwise a crash could leave it known on
//!   the sibling alone, and its publisher would send it again. The sibling records the message together with how far it has taken ours, and says so when that is
//!   safe; then the Transit goes. After a crash siblings first tell each other how far they have taken, Transits are handed over again, and what was
//!   taken before is left out. Messages that a group gives a member elsewhere, and those that the member gives back, are Transits that name the group.
//! - **After a restart** siblings tell each other of their restored subscriptions. Until all have answered a fence behind that, a shard takes nothing
//!   from clients, sets messages of siblings aside and lets no timer come: nobody is told that nobody subscribed.
//! - **The overflow policy `refuse`** asks siblings for room before the message is taken. With a full store siblings are asked whether they have to record the
//!   message.

mod answers;
mod fences;
mod filters;
pub(crate) mod forward;
mod greeting;
mod groups_elsewhere;
mod groups_here;
mod home;
mod interest;
mod links;
mod messages;
mod promises;
mod questions;
mod retained;
mod room;
mod set;
mod siblings;
mod take;
mod transits;
mod waits;

pub use forward::Forward;
