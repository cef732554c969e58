//! Bodies of messages that are read from the store.

use super::broker::Broker;

impl Broker<'_> {
    /// Names, before [`Broker::restore`], all messages that are retained: by the slots of the records of
    /// [`Kind::Retained`](crate::durable::record::Kind::Retained). Then the bodies of other messages that were published with RETAIN, and
    /// only wait for Sessions, may be left to the store, see [`Config::body_budget`](crate::Config::body_budget).
    pub fn expect_retained(&mut self, slots: impl Iterator<Item = u32>) {
        self.engine.messages.expect_retained(slots);
    }

    /// A body that is in the store alone and will be transmitted soon: read its record, and answer with [`Broker::handle_fetched`] or
    /// [`Broker::handle_fetch_failed`], in the order of polling. Meanwhile the client waits, and others do not. To be polled until there is
    /// none, in each turn and once before [`Broker::finish_restore`].
    pub fn poll_fetch(&mut self) -> Option<crate::Fetch> {
        self.engine.messages.next_fetch()
    }

    /// The record that was asked for. If it differs from what was recorded the message is lost, as after [`Broker::handle_fetch_failed`].
    /// [`Broker::poll_ready`] names the connections that waited.
    pub fn handle_fetched(&mut self, fetch: crate::Fetch, sealed: &[u8]) {
        self.engine.on_fetched(fetch, sealed);
    }

    /// The record that was asked for is missing or can't be read: the message is lost to all Sessions that should get it, and counted as
    /// [`DropReason::Unreadable`](crate::DropReason::Unreadable) when its turn comes.
    pub fn handle_fetch_failed(&mut self, fetch: crate::Fetch) {
        self.engine.on_fetch_failed(fetch);
    }
}
