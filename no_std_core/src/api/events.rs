//! Events for the embedder.

use super::broker::Broker;
use crate::events::Event;

impl Broker<'_> {
    /// The next event, of the kinds that [`Config::events`](crate::Config::events) names. Poll until there is none, in each turn: the queue
    /// holds [`Config::event_bytes`](crate::Config::event_bytes), and an event without room is lost.
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        self.engine.observers.poll()
    }

    /// How many events were lost for lack of room since the broker was made.
    pub fn lost_events(&self) -> u64 {
        self.engine.observers.lost()
    }
}
