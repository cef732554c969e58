//! The events of all shards, on their way to the program that embeds the gateway.

use goldcrest_core::codec::{QoS, ReasonCode};
use goldcrest_core::{Broker, DropReason, Event};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// The most events that wait for the program.
const MOST_WAITING: usize = 1_024;

/// An event of the gateway. [`Config::events`](goldcrest_core::Config::events) selects which kinds of events come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayEvent {
    /// The Client Identifier of the client that the event is about; `None` if it is about no client.
    pub client_id: Option<String>,
    /// The Topic Name, or the Topic Filter of a subscription; `None` if there is none, or it is not in memory.
    pub topic: Option<String>,
    /// What has happened.
    pub what: Happened,
}

/// What has happened. [`Event`] describes each of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the variants and fields are those of `Event`, which describes them")]
pub enum Happened {
    Connected { session_present: bool },
    Disconnected { code: Option<ReasonCode> },
    SessionMade,
    SessionEnded,
    Subscribed { qos: QoS },
    Unsubscribed,
    Accepted { qos: QoS, retain: bool, payload_len: u32 },
    Routed { is_kept: bool },
    Delivered { qos: QoS },
    Acknowledged { packet_id: u16, qos: QoS },
    Dropped { reason: DropReason },
    Retained,
    Cleared,
}

impl GatewayEvent {
    /// `None` for a kind of event that this gateway does not know.
    fn of(event: Event<'_>) -> Option<Self> {
        let (client_id, topic, what) = match event {
            Event::Connected { client_id, session_present } => {
                (Some(client_id), None, Happened::Connected { session_present })
            }
            Event::Disconnected { client_id, code } => (Some(client_id), None, Happened::Disconnected { code }),
            Event::SessionMade { client_id } => (Some(client_id), None, Happened::SessionMade),
            Event::SessionEnded { client_id } => (Some(client_id), None, Happened::SessionEnded),
            Event::Subscribed { client_id, filter, qos } => {
                (Some(client_id), Some(filter), Happened::Subscribed { qos })
            }
            Event::Unsubscribed { client_id, filter } => (Some(client_id), Some(filter), Happened::Unsubscribed),
            Event::Accepted { client_id, topic, qos, retain, payload_len } => {
                (Some(client_id), Some(topic), Happened::Accepted { qos, retain, payload_len })
            }
            Event::Routed { topic, is_kept } => (None, Some(topic), Happened::Routed { is_kept }),
            Event::Delivered { client_id, topic, qos } => (Some(client_id), Some(topic), Happened::Delivered { qos }),
            Event::Acknowledged { client_id, packet_id, qos } => {
                (Some(client_id), None, Happened::Acknowledged { packet_id, qos })
            }
            Event::Dropped { client_id, topic, reason } => (client_id, topic, Happened::Dropped { reason }),
            Event::Retained { topic } => (None, Some(topic), Happened::Retained),
            Event::Cleared { topic } => (None, Some(topic), Happened::Cleared),
            _ => return None,
        };
        Some(Self { client_id: client_id.map(str::to_owned), topic: topic.map(str::to_owned), what })
    }
}

/// The events of a gateway, for the embedding program. At most 1,024 events wait for the program; further events are lost and counted.
/// Events of one shard keep their order.
#[derive(Debug)]
pub struct EventStream {
    waiting: mpsc::Receiver<GatewayEvent>,
    lost: Arc<AtomicU64>,
}

impl EventStream {
    /// Waits for the next event; `None` after the last one, when the gateway has stopped.
    pub async fn next(&mut self) -> Option<GatewayEvent> {
        self.waiting.recv().await
    }

    /// How many events were lost, because the program did not receive earlier events in time, or because a shard had too many in one
    /// turn: see [`Config::event_bytes`](goldcrest_core::Config::event_bytes).
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The sending end, with which a shard puts its events into the queue for the program.
#[derive(Clone, Debug)]
pub(crate) struct EventSender {
    waiting: mpsc::Sender<GatewayEvent>,
    lost: Arc<AtomicU64>,
    /// How many events the broker of this shard has lost, as far as they are counted in `lost`.
    lost_in_broker: u64,
}

/// Makes the queue for the events of a gateway. Returns its two ends; each shard has a clone of the sender.
pub(crate) fn event_channel() -> (EventSender, EventStream) {
    let ((sender, waiting), lost) = (mpsc::channel(MOST_WAITING), Arc::<AtomicU64>::default());
    (EventSender { waiting: sender, lost: lost.clone(), lost_in_broker: 0 }, EventStream { waiting, lost })
}

impl EventSender {
    /// Sends the events of the broker. Never waits.
    pub(super) fn send_all(&mut self, broker: &mut Broker<'static>) {
        let mut lost = 0;
        while let Some(event) = broker.poll_event() {
            if let Some(event) = GatewayEvent::of(event) {
                lost += u64::from(self.waiting.try_send(event).is_err());
            }
        }
        let lost_in_broker = broker.lost_events();
        lost += lost_in_broker - std::mem::replace(&mut self.lost_in_broker, lost_in_broker);
        if lost > 0 {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }
}
