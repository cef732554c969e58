//! The sender's side of a Session: the queue, the deliveries in flight, and the QoS 1 and 2 handshakes (section 4.3).
//!
//! ```text
//!              start                acknowledge(PUBACK)
//!  queue ──────────────▶ in flight ─────────────────────▶ gone                        QoS 1
//!                        in flight ──receive(PUBREC)──▶ received ──complete(PUBCOMP)──▶ gone      QoS 2
//!        (QoS 0: gone as soon as it is written)
//! ```
//!
//! After a reconnection all deliveries in flight are sent again in their order: PUBLISH with DUP, or PUBREL if PUBREC
//! had come `[MQTT-4.4.0-1]`. Only then the queue goes on.
//!
//! A delivery that has to survive a restart gets its Packet Identifier as soon as it is sure to be transmitted soon,
//! usually when it is queued. So message and identifier are in one batch. A delivery in flight that waits for its batch is
//! transmitted in the same way as one that is sent again.

use super::outcome::{Acknowledged, Deadline, Started};
use crate::codec::QoS;
use crate::config::Overflow;
use crate::engine::messages::{Delivery, Messages, Residency};
use crate::mem::{Fifo, Handle, Linked, OWNED, QueueIndex};
use crate::seam::work::{self, Work};
use crate::topic::TopicName;

/// The deliveries to one client.
#[derive(Debug)]
pub(crate) struct Outbound {
    /// Deliveries that were never transmitted.
    pub(crate) queue: Fifo<Delivery>,
    /// The topics, Properties and payloads of the queue, in bytes.
    queued_bytes: u32,
    /// Finds deliveries in the queue by their topics.
    topics: QueueIndex<Delivery>,
    /// Deliveries of QoS 1 and 2 in flight, in the order of their first transmission.
    pub(crate) in_flight: Fifo<Delivery>,
    /// The first delivery in flight that is still to be sent on this connection, again or for the first time. All deliveries behind it are
    /// still to be sent, too.
    resend: Option<Handle<Delivery>>,
    /// How many deliveries in flight were transmitted on this connection: never more than the client's Receive Maximum `[MQTT-3.3.4-9]`.
    outstanding: u16,
    pub(crate) last_packet_id: u16,
    /// Whether Packet Identifiers have come round to one that is still in flight. Then the identifiers in flight are in no order.
    lapped: bool,
}

impl Outbound {
    pub(crate) const EMPTY: Self = Self {
        queue: Fifo::EMPTY,
        queued_bytes: 0,
        topics: QueueIndex::NONE,
        in_flight: Fifo::EMPTY,
        resend: None,
        outstanding: 0,
        last_packet_id: 0,
        lapped: false,
    };

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The number of deliveries that wait or are in flight.
    pub(crate) fn len(&self) -> usize {
        self.in_flight.len().saturating_add(self.queue.len())
    }

    pub(crate) fn queued_bytes(&self) -> u32 {
        self.queued_bytes
    }

    pub(crate) fn iter_in_flight<'a>(
        &self,
        messages: &'a Messages<'_>,
    ) -> impl Iterator<Item = Handle<Delivery>> + use<'a> {
        self.in_flight.iter(&messages.deliveries)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The delivery that was queued last, if it still waits.
    pub(crate) fn newest(&self) -> Option<Handle<Delivery>> {
        self.queue.back()
    }

    /// All deliveries in the queue; the one that waits longest comes first.
    pub(crate) fn iter<'a>(&self, messages: &'a Messages<'_>) -> impl Iterator<Item = Handle<Delivery>> + use<'a> {
        self.queue.iter(&messages.deliveries)
    }

    /// The delivery that waits longest.
    pub(crate) fn oldest(&self) -> Option<Handle<Delivery>> {
        self.queue.front()
    }

    /// The Session leaves groups: their deliveries in the queue will not go back to them.
    pub(crate) fn forget_group(&mut self, messages: &mut Messages<'_>, left: impl Fn(&Delivery) -> bool) {
        for start in [self.queue.front(), self.in_flight.front()] {
            let mut at = start;
            while let Some(delivery) = at {
                let entry = &messages.deliveries[delivery];
                at = entry.next();
                if left(entry) {
                    messages.forget_share(delivery);
                }
            }
        }
    }

    /// Queues a delivery. The caller has checked that there is room.
    #[inline]
    pub(crate) fn push(&mut self, messages: &mut Messages<'_>, delivery: Handle<Delivery>) {
        self.queued_bytes = self.queued_bytes.saturating_add(messages.cost(delivery));
        self.queue.push_back(&mut messages.deliveries, delivery);
        if self.topics.is_made() {
            self.note_topic(messages, delivery);
        }
    }

    #[cold]
    fn note_topic(&mut self, messages: &Messages<'_>, delivery: Handle<Delivery>) {
        self.topics.push(delivery, &messages.topic_of(delivery));
    }

    /// Removes the longest-waiting delivery from the queue, and returns it.
    pub(crate) fn pop(&mut self, messages: &mut Messages<'_>) -> Option<Handle<Delivery>> {
        let delivery = self.queue.pop_front(&mut messages.deliveries)?;
        self.queued_bytes = self.queued_bytes.saturating_sub(messages.cost(delivery));
        self.topics.remove(delivery, self.queue.front());
        Some(delivery)
    }

    /// Removes from the queue the delivery that `policy` drops for a message to `topic`. When there is no older message of that topic left,
    /// changes `policy` to the one that drops the oldest.
    #[inline(never)]
    pub(crate) fn pop_by(
        &mut self,
        policy: &mut Overflow,
        messages: &mut Messages<'_>,
        topic: TopicName<'_>,
        work: &mut Work,
    ) -> Option<Handle<Delivery>> {
        if *policy == Overflow::KeepLatest {
            if let Some(same) = self.pop_topic(messages, topic, work) {
                return Some(same);
            }
            *policy = Overflow::DropOldest;
        }
        if *policy == Overflow::DropOldest { self.pop(messages) } else { None }
    }

    /// Removes the longest-waiting delivery of `topic` from the queue. The short queues of firmware are searched for it. Other queues are
    /// searched once, and then have an index until they are empty.
    pub(crate) fn pop_topic(
        &mut self,
        messages: &mut Messages<'_>,
        topic: TopicName<'_>,
        work: &mut Work,
    ) -> Option<Handle<Delivery>> {
        let (previous, delivery) = if OWNED {
            if !self.topics.is_made() {
                work.count(work::DELIVERY, self.queued());
                self.topics.make(self.queue.iter(&messages.deliveries).map(|waits| (waits, messages.topic_of(waits))));
            }
            work.count(work::DELIVERY, 1);
            self.topics.first(topic.as_str().as_bytes())?
        } else {
            work.count(work::DELIVERY, self.queued());
            self.look_through(messages, topic)?
        };
        let next = messages.deliveries[delivery].next();
        self.queue.unlink_after(&mut messages.deliveries, previous, delivery);
        self.queued_bytes = self.queued_bytes.saturating_sub(messages.cost(delivery));
        self.topics.remove(delivery, next);
        Some(delivery)
    }

    /// The longest-waiting delivery of `topic`, and the one before it.
    fn look_through(
        &self,
        messages: &Messages<'_>,
        topic: TopicName<'_>,
    ) -> Option<(Option<Handle<Delivery>>, Handle<Delivery>)> {
        let mut previous = None;
        for delivery in self.queue.iter(&messages.deliveries) {
            if messages.deliveries[delivery].message.is_some_and(|message| messages.has_topic(message, topic)) {
                return Some((previous, delivery));
            }
            previous = Some(delivery);
        }
        None
    }

    /// Removes the next delivery to transmit from the queue. If its QoS is above 0 it is in flight from now on. `None` if there is none, or
    /// if the client has not acknowledged `window` messages.
    #[inline]
    pub(crate) fn start(
        &mut self,
        messages: &mut Messages<'_>,
        window: u16,
        deadline: Deadline,
    ) -> Option<Handle<Delivery>> {
        loop {
            let front = self.queue.front()?;
            let is_at_most_once = messages.deliveries[front].qos == QoS::AtMostOnce;
            let must_wait = if is_at_most_once { self.resend.is_some() } else { !self.has_window(window) };
            if must_wait || requests_body(messages, front, window, deadline) {
                return None;
            }
            if is_at_most_once {
                return self.pop(messages);
            }
            let packet_id = match messages.deliveries[front].packet_id {
                0 => self.next_packet_id(messages)?,
                reserved => reserved,
            };
            let delivery = self.pop(messages)?;
            if self.put_in_flight(messages, delivery, packet_id) {
                return Some(delivery);
            }
        }
    }

    /// Gives a delivery that is about to be queued the Packet Identifier for its transmission, if no earlier delivery would make it wait.
    pub(crate) fn reserve(&mut self, messages: &mut Messages<'_>, delivery: Handle<Delivery>, window: u16) {
        // So only the first deliveries of the queue have identifiers, and the identifiers are in order.
        let all_have = self.queue.back().is_none_or(|newest| messages.deliveries[newest].packet_id != 0);
        if !all_have || self.len() >= usize::from(window) {
            return;
        }
        if let Some(packet_id) = self.next_packet_id(messages) {
            self.last_packet_id = packet_id;
            messages.deliveries[delivery].packet_id = packet_id;
        }
    }

    /// As [`Outbound::start`], for a delivery that was never in the queue.
    pub(crate) fn start_unqueued(
        &mut self,
        messages: &mut Messages<'_>,
        delivery: Handle<Delivery>,
        window: u16,
    ) -> Started {
        if messages.deliveries[delivery].qos == QoS::AtMostOnce {
            return Started::Now;
        }
        if !self.has_window(window) {
            return Started::Not;
        }
        let Some(packet_id) = self.next_packet_id(messages) else {
            return Started::Not;
        };
        if self.put_in_flight(messages, delivery, packet_id) { Started::Now } else { Started::Later }
    }

    /// Whether one more QoS 1 or 2 message may be put in flight now.
    pub(crate) fn has_window(&self, window: u16) -> bool {
        self.outstanding < window && (self.resend.is_none() || self.in_flight.len() < usize::from(window))
    }

    /// Whether the delivery that is to be transmitted first waits for its batch, or for its body.
    pub(crate) fn waits(&self, messages: &Messages<'_>, window: u16) -> bool {
        match self.resend {
            Some(delivery) => messages.must_wait(delivery) || messages.lacks_body(delivery),
            None => self.queue.front().is_some_and(|front| messages.lacks_body(front)) && self.has_window(window),
        }
    }

    /// Whether the delivery that is to be transmitted first need not wait any more.
    pub(crate) fn may_go_on(&self, messages: &Messages<'_>, window: u16) -> bool {
        match self.resend {
            Some(delivery) => !messages.must_wait(delivery) && !messages.awaits_body(delivery),
            None => {
                OWNED && self.queue.front().is_some_and(|front| !messages.awaits_body(front)) && self.has_window(window)
            }
        }
    }

    /// Puts a delivery in flight. Returns whether it may be transmitted now. If not, it and all deliveries behind it wait like those that
    /// are sent again.
    fn put_in_flight(&mut self, messages: &mut Messages<'_>, delivery: Handle<Delivery>, packet_id: u16) -> bool {
        self.in_flight.push_back(&mut messages.deliveries, delivery);
        let entry = &mut messages.deliveries[delivery];
        if entry.is(Delivery::DURABLE) && !self.put_durably_in_flight(messages, delivery, packet_id) {
            return false;
        }
        let entry = &mut messages.deliveries[delivery];
        if entry.packet_id == 0 {
            self.last_packet_id = packet_id;
            entry.packet_id = packet_id;
        }
        entry.set(Delivery::OUTSTANDING, true);
        self.outstanding = self.outstanding.saturating_add(1);
        true
    }

    #[inline(never)]
    fn put_durably_in_flight(
        &mut self,
        messages: &mut Messages<'_>,
        delivery: Handle<Delivery>,
        packet_id: u16,
    ) -> bool {
        if messages.deliveries[delivery].packet_id == 0 {
            self.last_packet_id = packet_id;
            messages.deliveries[delivery].packet_id = packet_id;
            messages.note(delivery);
        }
        let waits = self.resend.is_some() || messages.must_wait(delivery);
        if waits {
            self.resend.get_or_insert(delivery);
        }
        !waits
    }

    /// The next Packet Identifier. Identifiers are used in a circle, and deliveries in flight are in this order. So only the identifier of
    /// the oldest delivery in flight can be the next one. If a client has held that identifier back for a whole circle, all identifiers in
    /// flight are compared, until none is in flight.
    fn next_packet_id(&mut self, messages: &Messages<'_>) -> Option<u16> {
        let next = match self.last_packet_id.wrapping_add(1) {
            0 => 1,
            id => id,
        };
        let reserved = |delivery: &Handle<Delivery>| messages.deliveries[*delivery].packet_id != 0;
        let oldest = match self.in_flight.front() {
            Some(oldest) => Some(oldest),
            None => self.queue.front().filter(reserved),
        };
        let Some(oldest) = oldest else {
            self.lapped = false;
            return Some(next);
        };
        self.lapped |= messages.deliveries[oldest].packet_id == next;
        if !self.lapped {
            return Some(next);
        }
        if self.in_flight.len() >= usize::from(u16::MAX) {
            return None;
        }
        // The search takes 64 identifiers in each step, so that few walks through the deliveries in flight are needed.
        (0..=u16::MAX / 64).find_map(|step| {
            let first = next.wrapping_add(step.wrapping_mul(64));
            let bit = |id: u16| 1_u64.checked_shl(u32::from(id.wrapping_sub(first))).unwrap_or(0);
            let queued = self.queue.iter(&messages.deliveries).take_while(reserved);
            let in_use = self.in_flight.iter(&messages.deliveries).chain(queued);
            let taken = in_use.fold(bit(0), |taken, delivery| taken | bit(messages.deliveries[delivery].packet_id));
            (taken != u64::MAX).then(|| first.wrapping_add((!taken).trailing_zeros() as u16))
        })
    }

    /// A new Network Connection resumes this Session: all deliveries in flight are to be sent again.
    pub(crate) fn resume(&mut self, messages: &mut Messages<'_>) {
        self.outstanding = 0;
        self.resend = self.in_flight.front();
        let mut at = self.resend;
        while let Some(delivery) = at {
            messages.deliveries[delivery].set(Delivery::OUTSTANDING, false);
            at = messages.deliveries[delivery].next();
        }
    }

    /// Sorts the queue by the sequence numbers of the messages.
    pub(crate) fn sort(&mut self, messages: &mut Messages<'_>) {
        self.topics = QueueIndex::NONE;
        let mut queue = core::mem::take(&mut self.queue);
        messages.sort_by_order(&mut queue);
        self.queue = queue;
    }

    pub(crate) fn last_packet_id(&self) -> u16 {
        self.last_packet_id
    }

    pub(crate) fn is_resending(&self) -> bool {
        self.resend.is_some()
    }

    /// The next delivery to send again. `None` if there is none, if it waits for its batch, or if the client has not acknowledged `window`
    /// messages.
    pub(crate) fn start_resend(
        &mut self,
        messages: &mut Messages<'_>,
        window: u16,
        deadline: Deadline,
    ) -> Option<Handle<Delivery>> {
        let delivery = self.resend?;
        if messages.must_wait(delivery) || requests_body(messages, delivery, window, deadline) {
            return None;
        }
        let entry = &mut messages.deliveries[delivery];
        if !entry.is(Delivery::RECEIVED) {
            if self.outstanding >= window {
                return None;
            }
            self.outstanding = self.outstanding.saturating_add(1);
            entry.set(Delivery::OUTSTANDING, true);
        }
        self.resend = entry.next();
        Some(delivery)
    }

    /// PUBACK for QoS 1, or a PUBREC with an error for QoS 2: removes the delivery, which is now in no list.
    pub(crate) fn acknowledge(
        &mut self,
        messages: &mut Messages<'_>,
        packet_id: u16,
        qos: QoS,
    ) -> Acknowledged<Handle<Delivery>> {
        self.take(messages, packet_id, |delivery| delivery.qos == qos && !delivery.is(Delivery::RECEIVED))
    }

    /// PUBREC without an error: the client has the message, and PUBREL follows. PUBREC may come again until PUBCOMP.
    pub(crate) fn receive(&mut self, messages: &mut Messages<'_>, packet_id: u16) -> Acknowledged<()> {
        let deliveries = &messages.deliveries;
        let found = self.in_flight.iter(deliveries).find(|delivery| deliveries[*delivery].packet_id == packet_id);
        let Some(delivery) = found else {
            return Acknowledged::Unknown;
        };
        if messages.deliveries[delivery].qos != QoS::ExactlyOnce {
            return Acknowledged::OutOfStep;
        }
        if !messages.deliveries[delivery].is(Delivery::RECEIVED) {
            messages.deliveries[delivery].set(Delivery::RECEIVED, true);
            messages.drop_message_of(delivery);
            messages.note(delivery);
        }
        Acknowledged::Done(())
    }

    /// PUBCOMP: removes the delivery, which is now in no list.
    pub(crate) fn complete(&mut self, messages: &mut Messages<'_>, packet_id: u16) -> Acknowledged<Handle<Delivery>> {
        self.take(messages, packet_id, |delivery| delivery.is(Delivery::RECEIVED))
    }

    /// Removes a delivery that can't be sent from those in flight.
    pub(crate) fn abandon(&mut self, messages: &mut Messages<'_>, delivery: Handle<Delivery>) {
        let packet_id = messages.deliveries[delivery].packet_id;
        let taken = self.take(messages, packet_id, |_| true);
        debug_assert_eq!(taken, Acknowledged::Done(delivery));
    }

    /// Removes and returns any delivery that is left; those in flight come first.
    pub(crate) fn take_any(&mut self, messages: &mut Messages<'_>) -> Option<Handle<Delivery>> {
        self.resend = None;
        let taken = self.in_flight.pop_front(&mut messages.deliveries);
        taken.or_else(|| self.pop(messages))
    }

    /// Removes the delivery in flight with this Packet Identifier. Honest clients acknowledge messages in their order, so the first step
    /// finds it.
    fn take(
        &mut self,
        messages: &mut Messages<'_>,
        packet_id: u16,
        expected: impl Fn(&Delivery) -> bool,
    ) -> Acknowledged<Handle<Delivery>> {
        let mut previous = None;
        let mut at = self.in_flight.front();
        while let Some(delivery) = at {
            let entry = &messages.deliveries[delivery];
            let next = entry.next();
            if entry.packet_id == packet_id {
                if !expected(entry) {
                    return Acknowledged::OutOfStep;
                }
                if entry.is(Delivery::OUTSTANDING) {
                    self.outstanding = self.outstanding.saturating_sub(1);
                }
                if self.resend == at {
                    self.resend = next;
                }
                self.in_flight.unlink_after(&mut messages.deliveries, previous, delivery);
                return Acknowledged::Done(delivery);
            }
            previous = at;
            at = next;
        }
        Acknowledged::Unknown
    }
}

/// Whether the body of a delivery has to be fetched first: then it is requested, with those behind it that the client may be sent soon. A
/// delivery that comes too late needs no body.
#[inline(always)]
fn requests_body(messages: &mut Messages<'_>, delivery: Handle<Delivery>, window: u16, deadline: Deadline) -> bool {
    if !messages.lacks_body(delivery) {
        return false;
    }
    let entry = &messages.deliveries[delivery];
    let is_late = entry.message.is_some_and(|message| deadline.is_past(entry, messages.get(message)));
    if !is_late {
        messages.request_bodies(delivery, window);
    }
    !is_late
}
