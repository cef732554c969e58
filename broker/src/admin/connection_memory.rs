//! Memory of connections for HTTP, which is claimed from the ceiling as that of clients is.

use goldcrest_core::{MemoryCeiling, MemoryClaim, MemoryUse};
use std::sync::{Arc, Mutex};

/// The bytes that are claimed for each connection: buffers for the head of the request, its parsed headers, the task, and an answer with the
/// metrics.
pub(super) const CONNECTION_BYTES: usize = 48 << 10;

/// The memory of one connection and of the answer to its request. It is given back when the connection and its request are gone.
#[derive(Clone)]
pub(super) struct ConnectionMemory(Arc<Mutex<MemoryClaim>>);

impl ConnectionMemory {
    /// Claims the memory of a connection, from the reserve if need be: operators look when memory is short. `None` if even the reserve is used up.
    pub(super) fn claim(ceiling: &Arc<MemoryCeiling>) -> Option<Self> {
        let claim = ceiling.claim_reserved(MemoryUse::Http, CONNECTION_BYTES)?;
        Some(Self(Arc::new(Mutex::new(claim))))
    }

    /// Makes room for `more` bytes behind `text`, if the memory for that is granted. Returns whether there is room.
    pub(super) fn make_room(&self, text: &mut String, more: usize) -> bool {
        let before = text.capacity();
        let needed = text.len().saturating_add(more);
        if needed <= before {
            return true;
        }
        let capacity = needed.max(before.saturating_mul(2));
        let mut claim = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // While the text is copied both its old memory and its new memory are there.
        if !claim.resize(CONNECTION_BYTES.saturating_add(before).saturating_add(capacity)) {
            return false;
        }
        text.reserve_exact(capacity.saturating_sub(text.len()));
        // Less than before is never refused.
        let _ = claim.resize(CONNECTION_BYTES.saturating_add(text.capacity()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_grows_while_its_memory_is_granted() {
        let ceiling = MemoryCeiling::new(3 << 20);
        let memory = ConnectionMemory::claim(&ceiling).unwrap();
        let mut text = String::new();
        while memory.make_room(&mut text, 1000) {
            text.extend(std::iter::repeat_n('x', 1000));
            assert_eq!(ceiling.taken(MemoryUse::Http), CONNECTION_BYTES + text.capacity());
        }
        // The next step would be to twice as much, with the text beside it.
        assert!((500_000..1_500_000).contains(&text.len()), "{}", text.len());
        drop(memory);
        assert_eq!(ceiling.taken_in_all(), 0);
    }

    #[test]
    fn a_connection_is_refused_when_the_reserve_is_used_up() {
        let ceiling = MemoryCeiling::new(64 << 20);
        ceiling.take_anyway(MemoryUse::Other, 62 << 20);
        let all: Vec<_> = std::iter::from_fn(|| ConnectionMemory::claim(&ceiling)).collect();
        assert_eq!(all.len(), (1 << 20) / CONNECTION_BYTES);
        assert!(ceiling.refused(MemoryUse::Http) > 0);
    }
}
