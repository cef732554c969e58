//! Finds changes that need no record after all: a message that all its receivers have acknowledged before its record was
//! polled.

use crate::codec::QoS;
use crate::engine::Engine;
use crate::engine::messages::{Delivery, Owner};
use crate::engine::siblings::SiblingRecords;
use crate::mem::Handle;
use crate::seam::journal::Journal;
use crate::seam::kind::Kind;

/// How urgent the records are that [`Broker::poll_commit_urgency`](crate::Broker::poll_commit_urgency) found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitUrgency {
    /// Nothing waits for a record. If there are any, they are about the end of things, and have time.
    Clear,
    /// As [`CommitUrgency::Clear`], but something waited until now and may go on: see
    /// `Broker::poll_forward` and [`Broker::poll_ready`](crate::Broker::poll_ready).
    Settled,
    /// Messages that may be completed soon: QoS 1 messages on their way to connected clients, and to other shards.
    Brief,
    /// Records of things that stay.
    Lasting,
}

impl Engine<'_> {
    pub(crate) fn commit_urgency(&mut self) -> CommitUrgency {
        // A client may be promised even the end of such a thing, for example by UNSUBACK.
        const LASTING: [Kind; 5] = [Kind::Session, Kind::Group, Kind::Subscription, Kind::Retained, Kind::Receipt];
        if self.messages.journal.is_under_way()
            || !self.messages.journal.lists_what_is_dirty()
            || LASTING.iter().any(|kind| self.messages.journal.dirty(*kind) > 0)
        {
            return CommitUrgency::Lasting;
        }
        let mut urgency = CommitUrgency::Clear;
        for kind in Journal::PASSING {
            let mut place: usize = 0;
            while let Some(slot) = self.messages.journal.dirty_at(kind, place) {
                match self.urgency_of(kind, slot) {
                    CommitUrgency::Lasting => return CommitUrgency::Lasting,
                    CommitUrgency::Brief => urgency = CommitUrgency::Brief,
                    _ if self.messages.journal.is_stored(kind, slot) => {}
                    _ => {
                        self.messages.journal.forget(kind, place);
                        continue;
                    }
                }
                place = place.saturating_add(1);
            }
        }
        if urgency == CommitUrgency::Clear && self.messages.journal.release() {
            self.go_on_after_batch();
            return CommitUrgency::Settled;
        }
        urgency
    }

    fn urgency_of(&self, kind: Kind, slot: u32) -> CommitUrgency {
        let index = slot as usize;
        match kind {
            Kind::Transit => match self.transit(index) {
                None => CommitUrgency::Clear,
                // The message goes to the other shard without being recorded here first.
                Some(transit) if self.goes_unrecorded(&transit) => CommitUrgency::Brief,
                Some(_) => CommitUrgency::Lasting,
            },
            Kind::Delivery => {
                let handle = Handle::from_index(index);
                if !self.messages.deliveries.is_live(handle) {
                    return CommitUrgency::Clear;
                }
                let delivery = &self.messages.deliveries[handle];
                match delivery.owner().filter(|_| delivery.is(Delivery::DURABLE)) {
                    None => CommitUrgency::Clear,
                    Some(Owner::Session(session))
                        if delivery.qos == QoS::AtLeastOnce && self.sessions[session].connection.is_some() =>
                    {
                        CommitUrgency::Brief
                    }
                    Some(_) => CommitUrgency::Lasting,
                }
            }
            // A message exists for as long as something refers to it.
            _ => match self.messages.live(Handle::from_index(index)).filter(|message| message.is_durable()) {
                None => CommitUrgency::Clear,
                Some(_) => CommitUrgency::Brief,
            },
        }
    }
}
