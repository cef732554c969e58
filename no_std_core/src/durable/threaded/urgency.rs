//! What need not be recorded after all: a message that all who are to have it have taken, before its turn came.

use crate::codec::QoS;
use crate::engine::Engine;
use crate::engine::messages::{Delivery, Owner};
use crate::engine::siblings::SiblingRecords;
use crate::mem::Handle;
use crate::seam::journal::Journal;
use crate::seam::kind::Kind;

/// What [`Broker::poll_commit_urgency`](crate::Broker::poll_commit_urgency) has left to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitUrgency {
    /// Nothing that anybody waits for: if there are records they say that something is over, and have time.
    Clear,
    /// The same, and something waited that waits no more: for [`Broker::poll_forward`](crate::Broker::poll_forward) and [`Broker::poll_ready`](crate::Broker::poll_ready).
    Settled,
    /// Messages that may be over soon: they are on their way to clients that are connected, and to siblings, with QoS 1.
    Brief,
    /// Something that stays.
    Lasting,
}

impl Engine<'_> {
    pub(crate) fn commit_urgency(&mut self) -> CommitUrgency {
        // Whoever ends what is of these kinds may be promised that it stays so.
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
                // It is on its way, and not recorded first.
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
            // It is there for as long as what refers to it.
            _ => match self.messages.live(Handle::from_index(index)).filter(|message| message.is_durable()) {
                None => CommitUrgency::Clear,
                Some(_) => CommitUrgency::Brief,
            },
        }
    }
}
