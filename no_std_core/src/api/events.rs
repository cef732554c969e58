//! What happened.

use super::broker::Broker;
use crate::events::Event;

impl Broker<'_> {
    /// The next thing that has happened, of those that [`Config::events`](crate::Config::events) names. To be polled until there is no more, in each
    /// turn: the queue holds [`Config::event_bytes`](crate::Config::event_bytes), and what finds no room is lost.
    pub fn poll_event(&mut self) -> Option<Event<'_>> {
        self.engine.observers.poll()
    }

    /// Events that found no room, since the broker was made.
    pub fn lost_events(&self) -> u64 {
        self.engine.observers.lost()
    }
}
