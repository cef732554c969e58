//! A PUBLISH that is refused because of its topic, and can be answered.

use crate::codec::{AckKind, Frame, Publish, QoS, ReasonCode, Refusal};
use crate::engine::Engine;
use crate::engine::connections::{Connection, Owed, Phase, Reply};
use crate::engine::receive::Taken;
use crate::mem::{Handle, OWNED};
use crate::seam::counters::tally;

impl Engine<'_> {
    /// A PUBLISH was refused when it was decoded. If the topic is the cause, and the acknowledgement can say so, the client is told
    /// and stays connected. Otherwise the connection ends; in firmware it always does, because there is not enough flash for this
    /// code.
    #[cold]
    pub(crate) fn on_refused_publish<'b>(
        &mut self,
        handle: Handle<Connection>,
        frame: Frame<'b>,
        refusal: Refusal,
    ) -> Result<Taken<'b>, Refusal> {
        let Connection { version, phase, .. } = self.connections[handle];
        if !OWNED || refusal.code != ReasonCode::TopicNameInvalid || !version.is_v5() || phase != Phase::Open {
            return Err(refusal);
        }
        let publish = Publish::decode(version, frame.with_plain_text(false))?;
        self.check_publish(&publish)?;
        let Some(packet_id) = publish.packet_id else { return Err(refusal) };
        if publish.properties.topic_alias().is_some() {
            // The broker would not know the Topic Alias that the packet sets.
            return Err(refusal);
        }
        tally(&mut self.counters.publish_refused, 1);
        let kind = if publish.qos == QoS::AtLeastOnce { AckKind::PubAck } else { AckKind::PubRec };
        self.owe(handle, Owed::new(Reply::Ack(kind), packet_id.get(), refusal.code, refusal.why));
        Ok(Taken::Done)
    }
}
