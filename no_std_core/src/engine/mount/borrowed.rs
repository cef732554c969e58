//! Without the feature `alloc` no client has a mount: all clients see the whole topic tree.

use crate::codec::{Frame, Refusal, Window};
use crate::engine::Engine;
use crate::engine::connections::Connection;
use crate::engine::messages::Message;
use crate::engine::receive::Taken;
use crate::engine::sessions::Session;
use crate::mem::Handle;
use crate::seam::grant::Grant;
use crate::time::Instant;

/// The mounts of clients. There are none.
#[derive(Debug, Default)]
pub(crate) struct Mounts;

impl Engine<'_> {
    #[inline]
    pub(crate) fn take_below_mount<'b>(
        &mut self,
        _: Instant,
        _: Handle<Connection>,
        _: Frame<'b>,
    ) -> Option<Result<Taken<'b>, Refusal>> {
        None
    }

    #[inline]
    pub(crate) fn mount(&mut self, _: Handle<Connection>, _: &Grant) -> Result<(), Refusal> {
        Ok(())
    }

    #[inline]
    pub(crate) fn has_other_mount(&self, _: Handle<Connection>, _: &Grant) -> bool {
        false
    }

    #[inline]
    pub(crate) fn unmount(&mut self, _: Handle<Connection>) {}

    #[inline]
    pub(crate) fn keep_below_mount(&mut self, _: Handle<Connection>, _: Handle<Session>) {}

    #[inline]
    pub(crate) fn is_mounted(&self, _: Handle<Connection>) -> bool {
        false
    }

    #[inline]
    pub(crate) fn begins_with_mount(&self, _: Handle<Connection>, _: Handle<Message>) -> bool {
        true
    }

    #[inline]
    pub(crate) fn lengths_below_mount(&self, _: Handle<Connection>, message: &Message) -> (u16, u32) {
        (message.topic_len, message.properties_len)
    }

    #[inline]
    pub(crate) fn put_response_topic(&self, _: Handle<Connection>, message: &Message, _: &mut Window<'_>) -> usize {
        message.topic_len.into()
    }
}
