//! Records of what has changed, and what waits until they are safe.

use crate::broker::Broker;
use crate::journal::Batch;
use crate::record::Key;

/// What [`Broker::poll_record`] gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// A record, of so many bytes.
    Record {
        /// What it is about.
        key: Key,
        /// The thing is gone.
        delete: bool,
        /// Bytes of the buffer.
        len: usize,
    },
    /// The buffer is too short for the next record: so many bytes are enough. Nothing is lost.
    TooSmall(usize),
    /// There is nothing to be recorded.
    Nothing,
}

impl Broker<'_> {
    pub(crate) fn next_record(&mut self, out: &mut [u8]) -> Polled {
        let _ = (out, self.messages.journal.next());
        Polled::Nothing
    }

    pub(crate) fn on_persisted(&mut self, batch: Batch) {
        self.messages.journal.persisted(batch);
    }
}
