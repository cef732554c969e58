//! Memory that is used again and again.

/// Memory that the layers of all connections of a thread use, one after the other.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) bytes: Vec<u8>,
    pub(super) used: usize,
}

impl Scratch {
    /// At least `count` bytes behind those that are used.
    pub(super) fn room(&mut self, count: usize) -> &mut [u8] {
        let wanted = self.used + count;
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
        &mut self.bytes[self.used..]
    }

    /// Notes that `count` bytes of the room are used.
    pub(super) fn add(&mut self, count: usize) {
        self.used += count;
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.add(bytes.len());
    }

    pub(super) fn used(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}
