//! Restoring receipts of QoS 2.

use super::RestoreError;
use crate::durable::record;
use crate::engine::Engine;
use crate::engine::sessions::{Inbound, Receipt, Receipts, Session};
use crate::mem::Handle;

impl Engine<'_> {
    pub(super) fn restore_receipt(&mut self, slot: usize, value: record::ReceiptRecord) -> Result<(), RestoreError> {
        let session = self.restored_session(value.session)?;
        if value.packet_id == 0 {
            return Err(RestoreError::Invalid);
        }
        let inbound = &mut self.sessions[session].inbound;
        let restored = self.receipts.restore(slot, session, inbound, value.packet_id);
        if restored { Ok(()) } else { Err(RestoreError::NoRoom) }
    }
}

impl Receipts<'_> {
    /// Puts a receipt back into its slot after a restart; `false` if there is the same receipt already, or no room.
    fn restore(&mut self, slot: usize, session: Handle<Session>, inbound: &mut Inbound, packet_id: u16) -> bool {
        if self.contains(session, packet_id) {
            return false;
        }
        let hash = self.hash(session, packet_id);
        let restored = self.pool.restore(slot, Receipt::new(hash, session, packet_id));
        if let Some(handle) = restored {
            self.join(inbound, handle);
        }
        restored.is_some()
    }

    /// Ends the restoring of receipts: all free slots are known now.
    pub(super) fn end_restoring(&mut self) {
        self.pool.end_restoring();
    }
}
