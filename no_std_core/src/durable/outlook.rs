//! What need not be recorded after all: a message that all who are to have it have taken, before its turn came.

use crate::codec::QoS;
use crate::engine::Engine;
use crate::engine::messages::{Delivery, Owner};
use crate::mem::Handle;
use crate::seam::journal::Journal;
use crate::seam::kind::Kind;
use crate::shards::sibling::goes_unrecorded;

/// What [`Broker::record_outlook`](crate::Broker::record_outlook) has left to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
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
    pub(crate) fn outlook(&mut self) -> Outlook {
        // Whoever ends what is of these kinds may be promised that it stays so.
        const LASTING: [Kind; 5] = [Kind::Session, Kind::Group, Kind::Subscription, Kind::Retained, Kind::Receipt];
        if self.messages.journal.is_under_way()
            || !self.messages.journal.lists_what_is_dirty()
            || LASTING.iter().any(|kind| self.messages.journal.dirty(*kind) > 0)
        {
            return Outlook::Lasting;
        }
        let mut outlook = Outlook::Clear;
        for kind in Journal::PASSING {
            let mut place = 0;
            while let Some(slot) = self.messages.journal.dirty_at(kind, place) {
                match self.outlook_of(kind, slot) {
                    Outlook::Lasting => return Outlook::Lasting,
                    Outlook::Brief => outlook = Outlook::Brief,
                    _ if self.messages.journal.is_stored(kind, slot) => {}
                    _ => {
                        self.messages.journal.forget(kind, place);
                        continue;
                    }
                }
                place += 1;
            }
        }
        if outlook == Outlook::Clear && self.messages.journal.release() {
            self.go_on_after_batch();
            return Outlook::Settled;
        }
        outlook
    }

    fn outlook_of(&self, kind: Kind, slot: u32) -> Outlook {
        let index = slot as usize;
        match kind {
            Kind::Transit => match self.mesh.transit(index) {
                None => Outlook::Clear,
                // It is on its way, and not recorded first.
                Some(transit) if transit.group.is_none() => {
                    let message = self.messages.get(transit.message);
                    if goes_unrecorded(message.qos, message.stamp) { Outlook::Brief } else { Outlook::Lasting }
                }
                Some(_) => Outlook::Lasting,
            },
            Kind::Delivery => {
                let handle = Handle::from_index(index);
                if !self.messages.deliveries.is_live(handle) {
                    return Outlook::Clear;
                }
                let delivery = &self.messages.deliveries[handle];
                match delivery.owner().filter(|_| delivery.is(Delivery::DURABLE)) {
                    None => Outlook::Clear,
                    Some(Owner::Session(session))
                        if delivery.qos == QoS::AtLeastOnce && self.sessions[session].connection.is_some() =>
                    {
                        Outlook::Brief
                    }
                    Some(_) => Outlook::Lasting,
                }
            }
            // It is there for as long as what refers to it.
            _ => match self.messages.live(Handle::from_index(index)).filter(|message| message.is_durable()) {
                None => Outlook::Clear,
                Some(_) => Outlook::Brief,
            },
        }
    }
}
