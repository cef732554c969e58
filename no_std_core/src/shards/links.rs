//! Links between sibling brokers: what is on its way to each of them, and what they have answered.
//!
//! A gateway runs one broker on each core. Each Session lives on one of them, its home; messages go to the siblings that
//! have a matching subscription. The embedder carries [`Forward`]s from [`Broker::poll_forward`] to the sibling's
//! [`Broker::handle_forward`], in order and without loss; what they mean is told in `control/sibling.rs`.
//!
//! [`Broker::poll_forward`]: crate::Broker::poll_forward
//! [`Broker::handle_forward`]: crate::Broker::handle_forward

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::interests::Interests;
pub(crate) use super::questions::Asker;
use super::questions::Questions;
use crate::codec::QoS;
use crate::config::Shard;
use crate::engine::connections::ConnectionId;
use crate::engine::messages::Message;
use crate::engine::packets::publish::Fate;
use crate::engine::router::Subscription;
use crate::engine::sessions::Session;
use crate::mem::{Handle, Hasher, SharedBytes, SpareBuffers};
use crate::seam::journal::MAX_TRANSITS;
use crate::time::Instant;

/// A sibling confirms messages in portions of this many.
const CONFIRMED_AT_ONCE: u32 = 256;

/// Something for a sibling broker. All siblings' [`Instant`]s count from the same origin.
#[derive(Debug)]
pub struct Forward(pub(crate) Content);

impl Forward {
    /// Messages to one sibling that it has not confirmed. Beyond them publishers wait.
    pub const MAX_IN_TRANSIT: u32 = 8192;

    /// Bytes that a broker keeps for each Topic Filter without wildcards that has subscribers on a sibling. One with wildcards
    /// takes a subscription and its levels, as those of clients do.
    pub const FILTER_BYTES: usize = Interests::BYTES_EACH;
}

#[derive(Debug)]
pub(crate) enum Content {
    /// For the sibling's own subscribers; retained there too if it says so.
    Message(SharedMessage),
    /// So many messages were taken. With memory of bodies that ended there: where messages go in one direction alone, their
    /// sender would ask the allocator for each otherwise.
    Confirmed {
        count: u32,
        spares: SpareBuffers,
    },
    /// What became of the next so many messages that the sender was asked about.
    Answers {
        fate: Fate,
        count: u32,
    },
    /// All recorded messages up to this place are safe with the sender.
    Safe(u64),
    /// The sender has subscribers to this filter, or has none any more, however often it said so; `durable` if messages for them are recorded.
    Interest {
        filter: Box<str>,
        wanted: bool,
        durable: bool,
    },
    /// Have your subscribers room for such a message? Answered with [`Content::NoRoom`] or not at all.
    Room {
        topic: Box<str>,
        cost: u32,
        qos: QoS,
        fence: u64,
    },
    NoRoom {
        fence: u64,
    },
    /// Answer when everything before this was taken, and when those have heard of it who must.
    Fence(u64),
    Passed(u64),
    /// As [`Content::Fence`], but answered at once: so no two siblings wait for each other.
    Probe(u64),
    Probed(u64),
    /// Whatever the receiver retains from now on is newer than `stamp`. Answered behind all messages that it has for us.
    Round {
        round: u64,
        stamp: u64,
    },
    RoundDone(u64),
    /// A Session of the sender joined a group that the receiver owns.
    Join {
        filter: Box<str>,
        member: Member,
        online: bool,
        qos: QoS,
        retain_as_published: bool,
        identifier: u32,
        /// The Session survives a restart.
        durable: bool,
    },
    Leave {
        filter: Box<str>,
        member: Member,
    },
    /// A member connected or disconnected.
    Presence {
        member: Member,
        online: bool,
    },
    /// The queue of a member is full, and one message is on its way back; or it is empty again.
    Full {
        member: Member,
        is_full: bool,
    },
    /// For one member of a group that the sender owns. Which one it was for is not known any more after a restart.
    Deliver {
        member: Option<Member>,
        group: Arc<str>,
        message: SharedMessage,
        qos: QoS,
        retain: bool,
        identifier: u32,
    },
    /// The member could not be given it: for another one of this group.
    Returned {
        group: Arc<str>,
        message: SharedMessage,
    },
    /// A member has acknowledged so many messages.
    Settled {
        member: Member,
        count: u32,
    },
}

/// A member of a group of a shared subscription, as the sibling on which it lives knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// The Session's number, which is never used again.
    pub(crate) number: u32,
    pub(crate) session: Handle<Session>,
    /// Its subscription there.
    pub(crate) subscription: Handle<Subscription>,
}

/// A message as siblings hand it to each other: the body is shared, not copied. As small as it can be, since each is moved a
/// few times on its way: it fills one line of the caches.
#[derive(Clone, Debug)]
pub(crate) struct SharedMessage {
    body: SharedBytes,
    properties_len: u32,
    topic_len: u16,
    pub(crate) qos: QoS,
    flags: u8,
    expires: Instant,
    /// [`Message::stamp`]; of a message for one group alone its place among all messages of the group's owner, by which it finds its
    /// place in the group's queue if it comes back.
    pub(crate) stamp: u64,
    /// Its place among those that the sender has recorded; 0 if it has not.
    pub(crate) sequence: u64,
    pub(crate) publisher_key: u32,
}

/// A message that is recorded until it is safe with a sibling.
#[derive(Clone, Debug)]
pub(crate) struct Transit {
    pub(crate) to: u16,
    pub(crate) sequence: u64,
    /// Held by this reference.
    pub(crate) message: Handle<Message>,
    pub(crate) publisher_key: u32,
    /// The shared subscription that it is for alone: for one of its members if we own it, and else for its owner.
    pub(crate) group: Option<Arc<str>>,
}

/// How a member that lives on a sibling is subscribed.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    /// Its subscription there.
    pub(crate) there: Handle<Subscription>,
    /// The shared subscription's filter.
    pub(crate) group: Arc<str>,
}

/// All links of one broker.
pub(crate) struct Mesh {
    shard: Shard,
    siblings: Vec<Sibling>,
    /// Filters of theirs without wildcards.
    pub(crate) interests: Interests,
    /// Messages whose publishers are told what became of them there.
    pub(crate) questions: Questions,
    /// Counts fences; the last one that was asked for.
    fence: u64,
    /// Connections that wait for a fence, in its order.
    waiting: VecDeque<(u64, ConnectionId)>,
    /// Filters that siblings were told of for a SUBSCRIBE that waits, by the generation of its connection.
    promises: BTreeMap<u32, Vec<Box<str>>>,
    /// How often each filter stands in `promises`.
    promised: BTreeMap<Box<str>, u32>,
    /// Groups of siblings that an UNSUBSCRIBE which waits has left, by the generation of its connection.
    left: BTreeMap<u32, BTreeSet<Box<str>>>,
    /// Connections that wait until siblings have confirmed more.
    congested: Vec<ConnectionId>,
    /// Counts probes; the last one.
    probe: u64,
    /// Answers that wait until a probe of ours was answered: to whom, which fence, and the probe.
    held: VecDeque<(u16, u64, u64)>,
    /// A Lamport clock that orders retained messages.
    clock: u64,
    /// Topics whose retained messages were removed, in that order: the round that ends it, and the hash of the topic, of which
    /// the message consists. An older message may be late, and must not bring one back.
    tombstones: VecDeque<(u64, u32, Handle<Message>)>,
    /// Their stamps, by hash and message.
    removed: BTreeMap<(u32, Handle<Message>), u64>,
    /// The round that was begun last: when all siblings have answered it, no message is late that was stamped before.
    round: u64,
    /// The fence behind which all siblings have told of their subscribers after a restart; 0: that is long ago.
    pub(crate) greeting: u64,
    /// Messages that came before that: who is to get them is not known yet.
    pub(crate) early: VecDeque<(u16, Forward)>,
    /// Recorded messages on their way, by their slots.
    transits: Vec<Option<Transit>>,
    free_transits: Vec<u32>,
    /// What siblings are told to be safe with us once this batch is: to whom, and which place.
    unsafe_yet: VecDeque<(u32, u16, u64)>,
    /// Some sibling gets everything.
    everything: bool,
    /// The route that is being walked: a sibling gets a message once, however many of its filters match.
    route: u64,
    /// Members of our groups that live on siblings, by shard and number.
    pub(crate) remotes: BTreeMap<(u16, u32), Handle<Session>>,
    /// By their subscriptions here.
    pub(crate) memberships: BTreeMap<Handle<Subscription>, Membership>,
    /// Which sibling owns the group of a subscription here.
    pub(crate) owners: BTreeMap<Handle<Subscription>, u16>,
    /// Where filters are put together.
    pub(crate) filter_space: Vec<u8>,
}

#[derive(Debug, Default)]
struct Sibling {
    outgoing: VecDeque<Forward>,
    /// Messages that must not be taken there before a batch is safe here, and those behind them, with their batches.
    held: VecDeque<(u32, Forward)>,
    /// Messages it has not confirmed.
    in_transit: u32,
    /// Messages from it that we have not confirmed.
    unconfirmed: u32,
    /// Questions that it has not answered, in order.
    asked: VecDeque<u64>,
    /// The last fence it has passed.
    passed: u64,
    /// The last probe it has answered.
    probed: u64,
    /// The last round it has answered.
    rounded: u64,
    last_route: u64,
    /// The last route whose topic it has exactly this filter for; and the last one for which that is durable.
    wanted_route: u64,
    wanted_durable_route: u64,
    /// The last route on which messages for it are recorded.
    durable_route: u64,
    /// Recorded messages to it that are not safe there: their places and slots, in order.
    transits: VecDeque<(u64, u32)>,
    /// The last place given out, and the last one that was taken from it.
    sent: u64,
    taken: u64,
    /// Our table had no room for a filter of its: it gets everything.
    wants_everything: bool,
}

impl Mesh {
    /// With room for so many filters of siblings.
    pub(crate) fn new(shard: Shard, filters: usize, hasher: Hasher) -> Self {
        let siblings = if shard.count > 1 { usize::from(shard.count) } else { 0 };
        Self {
            shard,
            siblings: (0..siblings).map(|_| Sibling::default()).collect(),
            interests: Interests::new(filters, hasher),
            questions: Questions::default(),
            fence: 0,
            waiting: VecDeque::new(),
            promises: BTreeMap::new(),
            promised: BTreeMap::new(),
            left: BTreeMap::new(),
            congested: Vec::new(),
            probe: 0,
            held: VecDeque::new(),
            clock: 0,
            tombstones: VecDeque::new(),
            removed: BTreeMap::new(),
            round: 0,
            greeting: 0,
            early: VecDeque::new(),
            transits: Vec::new(),
            free_transits: Vec::new(),
            unsafe_yet: VecDeque::new(),
            everything: false,
            route: 0,
            remotes: BTreeMap::new(),
            memberships: BTreeMap::new(),
            owners: BTreeMap::new(),
            filter_space: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn has_siblings(&self) -> bool {
        !self.siblings.is_empty()
    }

    /// The siblings' indexes.
    pub(crate) fn others(&self) -> impl Iterator<Item = u16> + use<> {
        let Shard { index, count } = self.shard;
        (0..if count > 1 { count } else { 0 }).filter(move |other| *other != index)
    }

    pub(crate) fn send(&mut self, to: u16, content: Content) {
        if let Some(sibling) = self.siblings.get_mut(usize::from(to)) {
            if content.message().is_some() {
                sibling.in_transit = sibling.in_transit.saturating_add(1);
                if !sibling.held.is_empty() {
                    // Messages keep their order.
                    sibling.held.push_back((0, Forward(content)));
                    return;
                }
            }
            sibling.outgoing.push_back(Forward(content));
        }
    }

    /// Tells the owner of a group that a member has acknowledged one more message: with those that it is about to be told of.
    pub(crate) fn settle(&mut self, owner: u16, member: Member) {
        let last = self.siblings.get_mut(usize::from(owner)).and_then(|sibling| sibling.outgoing.back_mut());
        match last {
            Some(Forward(Content::Settled { member: same, count })) if *same == member => *count += 1,
            _ => self.send(owner, Content::Settled { member, count: 1 }),
        }
    }

    /// A message that goes to `to` is about to be sent, and it is asked what becomes of it.
    pub(crate) fn ask(&mut self, to: u16) {
        if let Some(sibling) = self.siblings.get_mut(usize::from(to)) {
            sibling.asked.push_back(self.questions.ask());
        }
    }

    /// A sibling has answered its next question. Who is to hear what became of the message, once that is known.
    pub(crate) fn answered(&mut self, by: u16, fate: Fate) -> Option<(Asker, Fate)> {
        let number = self.siblings.get_mut(usize::from(by))?.asked.pop_front()?;
        self.questions.answer(number, fate)
    }

    /// Answers a sibling what became of its message: with those that it is about to be told of.
    pub(crate) fn answer(&mut self, to: u16, fate: Fate) {
        let last = self.siblings.get_mut(usize::from(to)).and_then(|sibling| sibling.outgoing.back_mut());
        match last {
            Some(Forward(Content::Answers { fate: same, count })) if *same == fate => *count += 1,
            _ => self.send(to, Content::Answers { fate, count: 1 }),
        }
    }

    /// Sends a message that is recorded in `batch`, once that is safe: otherwise the sibling could pass on what nobody here
    /// knows of after a crash, and the publisher sends again.
    pub(crate) fn send_when_safe(&mut self, to: u16, batch: u32, content: Content) {
        if let Some(sibling) = self.siblings.get_mut(usize::from(to)) {
            sibling.in_transit = sibling.in_transit.saturating_add(1);
            sibling.held.push_back((batch, Forward(content)));
        }
    }

    pub(crate) fn poll(&mut self) -> Option<(u16, Forward)> {
        self.siblings.iter_mut().enumerate().find_map(|(to, sibling)| Some((to as u16, sibling.outgoing.pop_front()?)))
    }

    #[inline]
    pub(crate) fn is_congested(&self) -> bool {
        let limit = Forward::MAX_IN_TRANSIT;
        self.tombstones.len() >= limit as usize
            || self
                .siblings
                .iter()
                .any(|sibling| sibling.in_transit >= limit || sibling.transits.len() >= limit as usize)
    }

    pub(crate) fn wait_for_room(&mut self, id: ConnectionId) {
        if !self.congested.contains(&id) {
            self.congested.push(id);
        }
    }

    /// A message from a sibling was taken. With what confirms it go the spare bodies that `spare_buffers` gives.
    pub(crate) fn confirm(&mut self, from: u16, spare_buffers: impl FnOnce() -> SpareBuffers) {
        let Some(sibling) = self.siblings.get_mut(usize::from(from)) else {
            return;
        };
        sibling.unconfirmed += 1;
        if sibling.unconfirmed == CONFIRMED_AT_ONCE {
            sibling.unconfirmed = 0;
            let confirmed = Content::Confirmed { count: CONFIRMED_AT_ONCE, spares: spare_buffers() };
            sibling.outgoing.push_back(Forward(confirmed));
        }
    }

    /// A sibling confirmed messages; those that waited for that.
    pub(crate) fn confirmed(&mut self, by: u16, count: u32) -> Vec<ConnectionId> {
        if let Some(sibling) = self.siblings.get_mut(usize::from(by)) {
            sibling.in_transit = sibling.in_transit.saturating_sub(count);
        }
        if self.is_congested() { Vec::new() } else { core::mem::take(&mut self.congested) }
    }

    /// Begins to hand out a message of this topic; whether some sibling is to get it, whatever matches in the tree.
    #[inline]
    pub(crate) fn begin_route(&mut self, topic: &str) -> bool {
        self.route += 1;
        let Self { siblings, interests, route, everything, .. } = self;
        let mut anybody = *everything;
        interests.visit(topic, |sibling, is_durable| {
            if let Some(sibling) = siblings.get_mut(usize::from(sibling)) {
                anybody = true;
                sibling.wanted_route = *route;
                if is_durable {
                    sibling.wanted_durable_route = *route;
                }
            }
        });
        anybody
    }

    /// Whether a sibling is to get the message that is being handed out, whatever matches in the tree.
    #[inline]
    pub(crate) fn wants_on_route(&self, to: u16) -> bool {
        let wants = |sibling: &Sibling| sibling.wants_everything || sibling.wanted_route == self.route;
        self.siblings.get(usize::from(to)).is_some_and(wants)
    }

    /// Whether it has exactly this filter for a Session that survives a restart.
    pub(crate) fn wants_durably_on_route(&self, to: u16) -> bool {
        self.siblings.get(usize::from(to)).is_some_and(|sibling| sibling.wanted_durable_route == self.route)
    }

    /// Whether `to` has not got the message that is being handed out.
    pub(crate) fn first_on_route(&mut self, to: u16) -> bool {
        let route = self.route;
        self.siblings.get_mut(usize::from(to)).is_some_and(|sibling| {
            let first = sibling.last_route != route;
            sibling.last_route = route;
            first
        })
    }

    /// The message that is being handed out is to be recorded if it goes to `to`.
    pub(crate) fn set_durable_on_route(&mut self, to: u16) {
        let route = self.route;
        if let Some(sibling) = self.siblings.get_mut(usize::from(to)) {
            sibling.durable_route = route;
        }
    }

    pub(crate) fn is_durable_on_route(&self, to: u16) -> bool {
        self.siblings.get(usize::from(to)).is_some_and(|sibling| sibling.durable_route == self.route)
    }

    /// Notes a message for `to`: its slot and place. `None` if there are too many.
    pub(crate) fn begin_transit(
        &mut self,
        to: u16,
        message: Handle<Message>,
        publisher_key: u32,
        group: Option<Arc<str>>,
    ) -> Option<(usize, u64)> {
        let sibling = self.siblings.get_mut(usize::from(to))?;
        let slot = match self.free_transits.pop() {
            Some(slot) => slot,
            None if self.transits.len() < MAX_TRANSITS => {
                self.transits.push(None);
                self.transits.len() as u32 - 1
            }
            None => return None,
        };
        sibling.sent += 1;
        let sequence = sibling.sent;
        sibling.transits.push_back((sequence, slot));
        *self.transits.get_mut(slot as usize)? = Some(Transit { to, sequence, message, publisher_key, group });
        Some((slot as usize, sequence))
    }

    /// Takes a message out that is safe with `by`, where all up to `sequence` are; its slot.
    pub(crate) fn end_transit(&mut self, by: u16, sequence: u64) -> Option<(usize, Transit)> {
        let sibling = self.siblings.get_mut(usize::from(by))?;
        let (_, slot) = *sibling.transits.front().filter(|(first, _)| *first <= sequence)?;
        sibling.transits.pop_front();
        self.free_transits.push(slot);
        Some((slot as usize, self.transits.get_mut(slot as usize)?.take()?))
    }

    pub(crate) fn transit(&self, slot: usize) -> Option<&Transit> {
        self.transits.get(slot)?.as_ref()
    }

    pub(crate) fn transit_slots(&self) -> usize {
        self.transits.len()
    }

    /// Whether a recorded message is new, and not one that was taken before a restart.
    pub(crate) fn take_sequence(&mut self, from: u16, sequence: u64) -> bool {
        let Some(sibling) = self.siblings.get_mut(usize::from(from)) else { return false };
        let is_new = sequence > sibling.taken;
        sibling.taken = sibling.taken.max(sequence);
        is_new
    }

    /// The last place that was taken from a sibling, and the last one that was sent to it.
    pub(crate) fn progress(&self, sibling: usize) -> Option<(u64, u64)> {
        let sibling = self.siblings.get(sibling)?;
        (sibling.taken > 0 || sibling.sent > 0).then_some((sibling.taken, sibling.sent))
    }

    /// After a restart: siblings hear what was taken from them, as it is recorded here.
    pub(crate) fn tell_taken(&mut self) {
        for other in self.others() {
            if let Some(taken) =
                self.siblings.get(usize::from(other)).map(|sibling| sibling.taken).filter(|taken| *taken > 0)
            {
                self.send(other, Content::Safe(taken));
            }
        }
    }

    /// A sibling has taken all up to that place, which may not be known here any more after a restart: what it gets from now on
    /// has its place behind.
    pub(crate) fn note_taken(&mut self, by: u16, sequence: u64) {
        if let Some(sibling) = self.siblings.get_mut(usize::from(by)) {
            sibling.sent = sibling.sent.max(sequence);
        }
    }

    /// A sibling is told that its messages up to `sequence` are safe, once `batch` is.
    pub(crate) fn confirm_when_safe(&mut self, batch: u32, from: u16, sequence: u64) {
        match self.unsafe_yet.iter_mut().rev().find(|(_, to, _)| *to == from) {
            Some(last) if last.0 == batch => last.2 = sequence,
            _ => self.unsafe_yet.push_back((batch, from, sequence)),
        }
    }

    /// Another batch is safe: siblings are told, and get what waited for it.
    pub(crate) fn on_safe(&mut self, is_unsafe: impl Fn(u32) -> bool) {
        for sibling in &mut self.siblings {
            while sibling.held.front().is_some_and(|(batch, _)| !is_unsafe(*batch)) {
                sibling.outgoing.extend(sibling.held.pop_front().map(|(_, forward)| forward));
            }
        }
        while let Some((_, from, sequence)) = self.unsafe_yet.front().copied().filter(|(batch, ..)| !is_unsafe(*batch))
        {
            self.unsafe_yet.pop_front();
            self.send(from, Content::Safe(sequence));
        }
    }

    /// Puts a message back into its slot after a restart; whether it can be there.
    pub(crate) fn restore_transit(&mut self, slot: usize, transit: Transit) -> bool {
        let (to, sequence) = (transit.to, transit.sequence);
        let is_other = to != self.shard.index && usize::from(to) < self.siblings.len();
        if !is_other || slot >= MAX_TRANSITS || sequence == u64::MAX {
            return false;
        }
        if slot >= self.transits.len() {
            self.transits.resize_with(slot + 1, || None);
        }
        match self.transits.get_mut(slot) {
            Some(place @ None) => *place = Some(transit),
            _ => return false,
        }
        if let Some(sibling) = self.siblings.get_mut(usize::from(to)) {
            sibling.transits.push_back((sequence, slot as u32));
        }
        true
    }

    pub(crate) fn restore_progress(&mut self, slot: usize, taken: u64, sent: u64) -> bool {
        let Some(sibling) = self.siblings.get_mut(slot).filter(|_| taken != u64::MAX && sent != u64::MAX) else {
            return false;
        };
        (sibling.taken, sibling.sent) = (taken, sent);
        true
    }

    /// What was restored gets its order; the slots, in the order in which the messages are to be sent again.
    pub(crate) fn end_restoring(&mut self) -> Vec<u32> {
        let vacant = self.transits.iter().enumerate().filter(|(_, transit)| transit.is_none());
        self.free_transits = vacant.map(|(slot, _)| slot as u32).collect();
        for sibling in &mut self.siblings {
            sibling.transits.make_contiguous().sort_unstable();
            sibling.sent = sibling.transits.back().map_or(0, |(last, _)| *last).max(sibling.sent);
        }
        self.siblings.iter().flat_map(|sibling| sibling.transits.iter().map(|(_, slot)| *slot)).collect()
    }

    pub(crate) fn set_wants_everything(&mut self, from: u16) {
        if let Some(sibling) = self.siblings.get_mut(usize::from(from)) {
            sibling.wants_everything = true;
            self.everything = true;
        }
    }

    pub(crate) fn wants_everything(&self, to: u16) -> bool {
        self.siblings.get(usize::from(to)).is_some_and(|sibling| sibling.wants_everything)
    }

    /// The number that the next fence will have.
    pub(crate) fn next_fence(&self) -> u64 {
        self.fence + 1
    }

    /// Asks all siblings to answer when they have taken what was sent so far.
    pub(crate) fn raise_fence(&mut self) -> u64 {
        self.fence += 1;
        let fence = self.fence;
        for other in self.others() {
            self.send(other, Content::Fence(fence));
        }
        fence
    }

    pub(crate) fn wait_for(&mut self, fence: u64, id: ConnectionId) {
        self.waiting.push_back((fence, id));
    }

    /// The connection that waits for a fence.
    pub(crate) fn waiter_of(&self, fence: u64) -> Option<ConnectionId> {
        self.waiting.iter().find(|(waited_for, _)| *waited_for == fence).map(|(_, id)| *id)
    }

    /// Whether all siblings have passed a fence.
    pub(crate) fn has_passed(&self, fence: u64) -> bool {
        self.others().all(|other| self.siblings.get(usize::from(other)).is_none_or(|sibling| sibling.passed >= fence))
    }

    /// A sibling passed a fence; the connections that waited for it.
    pub(crate) fn passed(&mut self, by: u16, fence: u64) -> Vec<ConnectionId> {
        if let Some(sibling) = self.siblings.get_mut(usize::from(by)) {
            sibling.passed = sibling.passed.max(fence);
        }
        let mut done = Vec::new();
        while let Some((fence, id)) = self.waiting.front().copied() {
            if !self.has_passed(fence) {
                break;
            }
            self.waiting.pop_front();
            done.push(id);
        }
        done
    }

    /// Siblings are told of a filter for the SUBSCRIBE that a connection waits with.
    pub(crate) fn promise(&mut self, generation: u32, filter: &str) {
        self.promises.entry(generation).or_default().push(filter.into());
        *self.promised.entry(filter.into()).or_default() += 1;
    }

    /// Whether some connection waits to subscribe to the filter.
    pub(crate) fn is_promised(&self, filter: &str) -> bool {
        self.promised.contains_key(filter)
    }

    /// A connection leaves a group, and waits with its UNSUBSCRIBE.
    pub(crate) fn leave(&mut self, generation: u32, filter: &str) {
        self.left.entry(generation).or_default().insert(filter.into());
    }

    /// Whether the connection has left this group, and has not been told so.
    pub(crate) fn has_left(&mut self, generation: u32, filter: &str) -> bool {
        let Some(left) = self.left.get_mut(&generation) else { return false };
        let has_left = left.remove(filter);
        if left.is_empty() {
            self.left.remove(&generation);
        }
        has_left
    }

    /// The connection does not wait any more; the filters it waited for.
    pub(crate) fn end_promise(&mut self, generation: u32) -> Vec<Box<str>> {
        self.left.remove(&generation);
        let filters = self.promises.remove(&generation).unwrap_or_default();
        for filter in &filters {
            if let Some(count) = self.promised.get_mut(filter) {
                *count -= 1;
                if *count == 0 {
                    self.promised.remove(filter);
                }
            }
        }
        filters
    }

    /// Has all siblings take note of what was sent so far; fences of others are answered only after that.
    pub(crate) fn raise_probe(&mut self) {
        self.probe += 1;
        let probe = self.probe;
        for other in self.others() {
            self.send(other, Content::Probe(probe));
        }
    }

    /// A sibling answered a probe.
    pub(crate) fn probed(&mut self, by: u16, probe: u64) {
        if let Some(sibling) = self.siblings.get_mut(usize::from(by)) {
            sibling.probed = sibling.probed.max(probe);
        }
        while let Some((to, fence, ours)) = self.held.front().copied() {
            if !self.all_probed(ours) {
                break;
            }
            self.held.pop_front();
            self.send(to, Content::Passed(fence));
        }
    }

    /// Answers a fence: at once, or when our last probe was answered.
    pub(crate) fn answer_fence(&mut self, from: u16, fence: u64) {
        if self.held.is_empty() && self.all_probed(self.probe) {
            self.send(from, Content::Passed(fence));
        } else {
            self.held.push_back((from, fence, self.probe));
        }
    }

    fn all_probed(&self, probe: u64) -> bool {
        self.others().all(|other| self.siblings.get(usize::from(other)).is_none_or(|sibling| sibling.probed >= probe))
    }

    /// The stamp of a message that is retained now: later ones are greater, and no two are equal.
    pub(crate) fn stamp(&mut self) -> u64 {
        if self.siblings.is_empty() {
            return 0;
        }
        self.clock += 1;
        self.clock << 16 | u64::from(self.shard.index)
    }

    /// A sibling's stamp: ours will be greater from now on.
    pub(crate) fn see(&mut self, stamp: u64) {
        self.clock = self.clock.max(stamp >> 16);
    }

    /// The retained message of a topic was removed at `stamp`; the tombstone's body is the topic, and the caller holds it.
    pub(crate) fn bury(&mut self, topic_hash: u32, stamp: u64, tombstone: Handle<Message>) {
        self.tombstones.push_back((self.round + 1, topic_hash, tombstone));
        self.removed.insert((topic_hash, tombstone), stamp);
    }

    /// Tombstones of topics with this hash that are newer than `stamp`.
    pub(crate) fn removed_since(&self, topic_hash: u32, stamp: u64) -> impl Iterator<Item = Handle<Message>> {
        let first = Handle::from_index(0);
        let of_hash = self.removed.range((topic_hash, first)..).take_while(move |((hash, _), _)| *hash == topic_hash);
        of_hash.filter(move |(_, removed)| **removed > stamp).map(|((_, tombstone), _)| *tombstone)
    }

    /// Asks siblings whether older messages are still on their way, where there are tombstones and nothing is asked yet.
    pub(crate) fn begin_round(&mut self) {
        if self.tombstones.is_empty() || !self.all_rounded() {
            return;
        }
        self.round += 1;
        let (round, stamp) = (self.round, self.clock << 16);
        for other in self.others() {
            self.send(other, Content::Round { round, stamp });
        }
    }

    fn all_rounded(&self) -> bool {
        self.others()
            .all(|other| self.siblings.get(usize::from(other)).is_none_or(|sibling| sibling.rounded >= self.round))
    }

    /// Answers a sibling's round behind all messages that it has not got, also those that wait for a batch.
    pub(crate) fn answer_round(&mut self, from: u16, round: u64) {
        if let Some(sibling) = self.siblings.get_mut(usize::from(from)) {
            let answer = Forward(Content::RoundDone(round));
            if sibling.held.is_empty() {
                sibling.outgoing.push_back(answer);
            } else {
                sibling.held.push_back((0, answer));
            }
        }
    }

    /// A sibling has answered a round.
    pub(crate) fn rounded(&mut self, by: u16, round: u64) {
        if let Some(sibling) = self.siblings.get_mut(usize::from(by)) {
            sibling.rounded = sibling.rounded.max(round);
        }
    }

    /// A tombstone that is needed no more, which is forgotten.
    pub(crate) fn exhume(&mut self) -> Option<Handle<Message>> {
        if !self.all_rounded() {
            return None;
        }
        let (_, hash, tombstone) = *self.tombstones.front().filter(|(round, ..)| *round <= self.round)?;
        self.tombstones.pop_front();
        self.removed.remove(&(hash, tombstone));
        Some(tombstone)
    }
}

impl Content {
    /// The message that is on its way with it.
    pub(crate) fn message(&self) -> Option<&SharedMessage> {
        match self {
            Self::Message(message) | Self::Deliver { message, .. } | Self::Returned { message, .. } => Some(message),
            _ => None,
        }
    }
}

/// In [`SharedMessage::flags`], beside [`Message::RETAIN`].
const ASKS: u8 = 2;

impl SharedMessage {
    /// Not recorded.
    pub(crate) fn new(body: SharedBytes, message: &Message, publisher_key: u32) -> Self {
        let Message { properties_len, topic_len, qos, flags, expires, stamp, .. } = *message;
        let flags = flags & Message::RETAIN;
        Self { body, properties_len, topic_len, qos, flags, expires, stamp, sequence: 0, publisher_key }
    }

    /// The message as it is to be stored, with its body.
    pub(crate) fn into_parts(self) -> (Message, SharedBytes) {
        let Self { body, properties_len, topic_len, qos, flags, expires, stamp, .. } = self;
        (Message { properties_len, topic_len, qos, flags, expires, stamp, ..Message::EMPTY }, body)
    }

    /// The same with another [`stamp`](Self::stamp).
    pub(crate) fn stamped(self, stamp: u64) -> Self {
        Self { stamp, ..self }
    }

    /// At its place among those that are recorded.
    pub(crate) fn at(self, sequence: u64) -> Self {
        Self { sequence, ..self }
    }

    /// The same, and the sender asks what becomes of it.
    pub(crate) fn asking(self, asks: bool) -> Self {
        Self { flags: if asks { self.flags | ASKS } else { self.flags }, ..self }
    }

    /// Whether the sender asks what becomes of it.
    pub(crate) fn asks(&self) -> bool {
        self.flags & ASKS != 0
    }

    pub(crate) fn body_len(&self) -> usize {
        self.body.len()
    }

    pub(crate) fn topic(&self) -> &[u8] {
        self.body.get(..usize::from(self.topic_len)).unwrap_or(&[])
    }

    pub(crate) fn has_expired(&self, now: Instant) -> bool {
        self.expires <= now
    }
}

const _: () = assert!(size_of::<SharedMessage>() <= 64);
