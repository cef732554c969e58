//! The other shards of a gateway, the siblings of this one, which together behave as one broker.
//!
//! Each Session has a home shard, which its Client Identifier determines (`Shard::home_of`). Shards send each other `Forward`s, in order
//! and without loss. The results are the same with one shard and with many; the conformance, property and power tests run with both.
//!
//! - **Interest.** When a Topic Filter gets its first subscriber on a shard, all other shards are told. They keep about three bytes of the
//!   hash of each filter, and for filters with wildcards their shapes: which levels are wildcards. A shard tells few shapes, of each Session a
//!   quarter of them at most; a filter of one more shape is told as a shorter filter that covers it. So a message may go to another shard in
//!   vain: that costs some work, but no shard that wants the message is left out. All shards must have the same seed; it is checked. A
//!   SUBSCRIBE is handled only after all other shards have answered a fence. So a client that has received SUBACK gets all messages that are
//!   published from then on, and all retained messages that were acknowledged before, on whichever shard.
//! - **Messages** go once to each shard that wants them. The body is shared, not copied. The number of unconfirmed messages is bounded,
//!   by fewer if they are much work for the other shard; beyond the bound publishers wait.
//! - **Answers.** A shard answers whether it keeps a message of QoS 1 or 2. If the publisher's shard does not keep the message, a PUBACK or
//!   PUBREC of MQTT 5.0 waits for the answers.
//! - **Retained messages.** The owner of a topic keeps its retained message (`Shard::owner_of_topic`), records it and removes it when it expires. A
//!   message with RETAIN goes to the owner and to the shards with interest. All changes to a topic reach its owner, so the owner's order
//!   counts. The PUBACK or PUBREC for a message that another shard keeps waits for the owner's answer, in each version of MQTT.
//! - **Replays.** A new subscription gets the retained messages of its own shard, and then those of the other owners. Each owner is asked, searches
//!   its tree, and sends one message at first and then portions of 16, as the client reads them. The replays of other shards have places
//!   in the tree as those of Sessions here.
//! - **Stamps.** Each shard counts the messages with RETAIN that are published on it; the number is the stamp of the message. The answer to a fence
//!   says how far a shard has counted, and goes behind its messages. So at the SUBSCRIBE the subscriber's shard knows a number for each other
//!   shard: messages up to that number have come, or will never come, and the replay must have them; later ones come live, and the replay leaves
//!   them out. The subscriber's shard sends the numbers to the owner. If the owner has heard less of a third shard, it asks that
//!   shard, which answers behind its messages for the owner: otherwise the owner could find a message older than one that was acknowledged. After a restart
//!   shards tell each other their numbers before they answer fences, and no stamp is given twice. Replays that the restart has interrupted begin
//!   anew behind all that was under way.
//! - **Limits of retained messages** hold for all shards together. Shards tell each other how many messages they retain, when the number has
//!   changed by a 256th of the limit, divided by the number of shards. Where a limit or memory may be short the publisher's shard asks the owner
//!   before it accepts a message; the owner checks once more when it has the message.
//! - **Shared subscriptions.** The home of a group is the home shard of its filter. Members with another home are remote Sessions there. The
//!   home of the group selects the member, keeps the group's queue, and gives a message to another member if needed. A member whose queue is
//!   full says so and gives the message back; it gets no more messages until its queue is empty.
//! - **Transits.** A message that must survive on another shard is recorded on the shard where it arrived, as a Transit, in the batch for
//!   which PUBACK waits. A QoS 1 message is sent to the other shard at once. Any other message, and the messages behind
//!   it, are sent once that batch is safe: otherwise after a crash the other shard alone could know the message, and its publisher would
//!   send it again. The other shard records the message together with the sequence number up to which it has received messages, and says so
//!   when this is safe; then the Transit is deleted. After a crash shards first tell each other these sequence numbers and send their Transits
//!   again; messages that were received before are dropped. Messages to members of a group on other shards, and messages that such members
//!   give back, are Transits that name the group.
//! - **After a restart** shards tell each other their restored subscriptions. Until all others have answered a fence behind that, a shard reads
//!   nothing from clients, sets messages of other shards aside and lets no timer fire. So no client is told that there are no subscribers.
//! - **The overflow policy `refuse`**: a shard asks the others for room before it accepts a message. With a full store it asks them whether
//!   they have to record the message. A Will or a message of the embedder can't wait for answers: with a full store it goes unrecorded to other
//!   shards, and each shard that has to record it refuses it and counts it as lost.

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
mod replay_state;
mod replays;
mod retained;
mod room;
mod served_replays;
mod set;
mod siblings;
mod stamps;
mod take;
mod transits;
mod waits;

pub use forward::{Forward, SeedMismatch};
