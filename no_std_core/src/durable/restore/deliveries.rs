//! Restoring deliveries, and the order in which they are transmitted.

use super::RestoreError;
use crate::codec::QoS;
use crate::durable::record::{self, Identifiers, Receiver, Through};
use crate::engine::Engine;
use crate::engine::messages::{Beside, Delivery, Messages, Owner, Residency};
use crate::engine::router::Group;
use crate::engine::sessions::Outbound;
use crate::mem::{Fifo, Handle, OWNED};
use crate::seam::counters::DropReason;

impl Engine<'_> {
    pub(super) fn restore_delivery(
        &mut self,
        slot: usize,
        value: &record::DeliveryRecord<'_>,
    ) -> Result<(), RestoreError> {
        let owner = match value.to {
            Receiver::Session(session) => Owner::Session(self.restored_session(session)?),
            Receiver::Group(group) => {
                let group = Handle::from_index(group as usize);
                let waits = self.router.is_live_group(group) && value.packet_id == 0;
                Owner::Group(Some(group).filter(|_| waits).ok_or(RestoreError::Invalid)?)
            }
        };
        let qos = QoS::from_bits(value.qos).filter(|qos| *qos > QoS::AtMostOnce).ok_or(RestoreError::Invalid)?;
        let message = value.message.filter(|_| !value.received).map(|message| Handle::from_index(message as usize));
        let is_there = match message {
            Some(message) => self.messages.live(message).is_some(),
            None => value.received && value.packet_id != 0 && qos == QoS::ExactlyOnce,
        };
        if !is_there {
            return Err(RestoreError::Invalid);
        }
        let mut delivery = Delivery { message, packet_id: value.packet_id, qos, ..Delivery::default() };
        delivery.set(Delivery::RETAIN, value.retain);
        delivery.set(Delivery::RECEIVED, value.received);
        match (value.through, owner) {
            (_, Owner::Group(group)) => delivery.set_beside(Beside::Group(group)),
            (Through::Group(group), Owner::Session(session)) => {
                let group = Handle::from_index(group as usize);
                if self.router.is_member(group, self.subscriber_of(session)) {
                    delivery.set_beside(Beside::Group(group));
                }
            }
            (Through::Foreign(subscription), Owner::Session(session)) if OWNED => {
                let subscription = Handle::from_index(subscription as usize);
                if self.router.holds(subscription, self.subscriber_of(session)) {
                    delivery.set_beside(Beside::GroupElsewhere(subscription));
                }
            }
            _ => {}
        }
        let restored = self.messages.restore_delivery(slot, delivery, owner, value.identifiers);
        restored.map(|_| ()).ok_or(RestoreError::NoRoom)
    }

    /// Puts each restored delivery into its queue or in flight, and sorts both.
    pub(super) fn queue_restored(&mut self) {
        for slot in 0..self.messages.deliveries.slots() {
            let delivery = Handle::from_index(slot);
            if !self.messages.deliveries.is_live(delivery) {
                continue;
            }
            match self.messages.deliveries[delivery].owner() {
                Some(Owner::Session(session)) => {
                    self.sessions[session].outbound.restore(&mut self.messages, delivery);
                }
                Some(Owner::Group(group)) => self.restore_to_group(group, delivery),
                None => {}
            }
        }
        for slot in 0..self.sessions.slots() {
            let session = Handle::from_index(slot);
            if !self.sessions.is_live(session) {
                continue;
            }
            let mut twice = self.sessions[session].outbound.end_restoring(&mut self.messages);
            while let Some(delivery) = twice.pop_front(&mut self.messages.deliveries) {
                self.messages.end_delivery(delivery);
                self.left_out = self.left_out.saturating_add(1);
            }
        }
        self.sort_group_queues();
    }

    /// Puts a message back into the group that kept it before the restart.
    fn restore_to_group(&mut self, group: Handle<Group>, delivery: Handle<Delivery>) {
        match self.group_queue(group) {
            Some(queue) => self.group_queues[queue].queue.restore(&mut self.messages, delivery),
            None => {
                self.drop_delivery(None, delivery, DropReason::OutOfMemory);
            }
        }
    }

    fn sort_group_queues(&mut self) {
        for slot in 0..self.group_queues.slots() {
            let queue = Handle::from_index(slot);
            if self.group_queues.is_live(queue) {
                self.group_queues[queue].queue.end_restoring(&mut self.messages);
            }
        }
    }
}

impl Messages<'_> {
    /// Puts a delivery back into its slot, and keeps all Subscription Identifiers but the first in their recorded form until
    /// all slots of deliveries are known. The delivery is durable, holds its message, and is in no list.
    fn restore_delivery(
        &mut self,
        slot: usize,
        delivery: Delivery,
        owner: Owner,
        identifiers: Identifiers<'_>,
    ) -> Option<Handle<Delivery>> {
        let handle = self.deliveries.restore(slot, delivery)?;
        if let Some(message) = delivery.message {
            self.hold_times(message, delivery.holds());
            if delivery.is_shared() {
                self.request_body(message);
            }
        }
        // `make_durable` leaves its mark in the field for the Subscription Identifiers, so they are set after the call.
        self.make_durable(handle, owner);
        let mut rest = identifiers;
        self.deliveries[handle].identifier = rest.next().unwrap_or(0);
        if !delivery.is_shared()
            && !rest.0.is_empty()
            && let Some(text) = self.bytes.store(&[rest.0])
        {
            self.deliveries[handle].keep_recorded_identifiers(text);
        }
        Some(handle)
    }

    /// Called when all slots are known: the Subscription Identifiers get slots of their own.
    pub(super) fn end_restoring(&mut self) {
        self.pool.end_restoring();
        self.deliveries.end_restoring();
        for slot in 0..self.deliveries.slots() {
            let handle = Handle::from_index(slot);
            if !self.deliveries.is_live(handle) {
                continue;
            }
            let Some(text) = self.deliveries[handle].take_recorded_identifiers() else { continue };
            // A few bytes are copied at a time, because the identifiers stand in memory that may move while it grows.
            let (mut at, mut piece, mut last) = (0_usize, [0; 64], handle);
            while at < text.len() {
                let len = self.bytes.copy(text, at, &mut piece);
                let mut some = Identifiers(piece.get(..len).unwrap_or(&[]));
                let Some(identifier) = some.next() else { break };
                at = at.saturating_add(len.saturating_sub(some.0.len()));
                let extra = Delivery { identifier, ..Delivery::default() };
                if identifier != 0
                    && let Some(extra) = self.deliveries.insert(extra)
                {
                    self.deliveries[last].set_beside(Beside::Identifiers(extra));
                    last = extra;
                }
            }
            self.bytes.release(text);
        }
    }
}

impl Outbound {
    /// Restores a delivery, in any order. [`Outbound::end_restoring`] has to follow after the last delivery.
    fn restore(&mut self, messages: &mut Messages<'_>, delivery: Handle<Delivery>) {
        if messages.deliveries[delivery].packet_id == 0 {
            self.push(messages, delivery);
        } else {
            self.in_flight.push_back(&mut messages.deliveries, delivery);
        }
    }

    /// Sets the last Packet Identifier that had been given out when messages were dropped before the restart.
    pub(super) fn restore_last_packet_id(&mut self, last: u16) {
        self.last_packet_id = last;
    }

    /// Puts the restored deliveries in order. The queue gets the order of the messages. Deliveries in flight get the order of
    /// their Packet Identifiers on the circle, which begins behind the largest gap. All deliveries in flight may have been
    /// transmitted before.
    ///
    /// Returns the deliveries with the Packet Identifier of another delivery; these are in no list.
    fn end_restoring(&mut self, messages: &mut Messages<'_>) -> Fifo<Delivery> {
        let mut twice = Fifo::EMPTY;
        self.sort(messages);

        let deliveries = &mut messages.deliveries;
        self.in_flight.sort_by_key(deliveries, &|deliveries, delivery| deliveries[delivery].packet_id.into());
        let mut sorted = core::mem::take(&mut self.in_flight);
        let mut last = sorted.back().map_or(self.last_packet_id, |last| deliveries[last].packet_id);
        // The distance on the circle from the last Packet Identifier to the first.
        let mut largest = sorted.front().map_or(0, |first| deliveries[first].packet_id.wrapping_sub(last));
        let (mut before, mut behind) = (Fifo::EMPTY, Fifo::EMPTY);
        while let Some(delivery) = sorted.pop_front(deliveries) {
            let previous = behind.back().or(before.back()).map(|before: Handle<Delivery>| deliveries[before].packet_id);
            deliveries[delivery].set(Delivery::SENT, true);
            let packet_id = deliveries[delivery].packet_id;
            match previous {
                Some(previous) if previous == packet_id => twice.push_back(deliveries, delivery),
                Some(previous) if packet_id.wrapping_sub(previous) > largest => {
                    largest = packet_id.wrapping_sub(previous);
                    last = previous;
                    before.append(deliveries, &mut behind);
                    behind.push_back(deliveries, delivery);
                }
                _ => behind.push_back(deliveries, delivery),
            }
        }
        behind.append(deliveries, &mut before);
        self.in_flight = behind;
        // The recorded Packet Identifier counts only if it is a little ahead on the circle; otherwise it was recorded long ago.
        if !OWNED || self.last_packet_id.wrapping_sub(last) > u16::MAX / 4 {
            self.last_packet_id = last;
        }
        twice
    }
}
