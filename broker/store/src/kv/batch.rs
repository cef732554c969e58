//! What a shard hands to the store at once.

use crate::Key;
use crate::log::format::{FRAME, HEAD, HEADER, Head, What, padded, records};

/// Records that become safe together. The shard builds the batch in the layout of the log, so that the store has little to do.
/// The store gives the batch back emptied, so that its memory can be used again.
#[derive(Debug, Default)]
pub struct Batch {
    /// Longer than `used` where room was asked for: those bytes were zeroed once and need not be zeroed again.
    bytes: Vec<u8>,
    used: usize,
}

/// The memory of a batch grows in steps of so many bytes once it has as many, and no more is kept of it.
const LARGE: usize = 1 << 20;

impl Batch {
    /// Room of at least `len` bytes for the body of the next record. Write the body there before calling [`Batch::put`].
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        let start = self.used + HEAD;
        let needed = start + padded(len);
        if self.bytes.len() < needed {
            let all = if needed < LARGE { needed.next_power_of_two() } else { needed.next_multiple_of(LARGE) };
            self.bytes.reserve_exact(all - self.bytes.len());
            self.bytes.resize(all, 0);
        }
        &mut self.bytes[start..]
    }

    /// Puts the first `len` bytes of [`Batch::room`] under `key`.
    pub fn put(&mut self, key: Key, len: usize) {
        let body = &mut self.room(len)[..padded(len)];
        body[len..].fill(0);
        let crc = crc32fast::hash(&body[..len]);
        self.add(Head { key, what: What::Put { len: len as u32, crc } });
    }

    /// Copies `body` and puts it under `key`, as [`Batch::room`] and [`Batch::put`] do.
    pub fn put_bytes(&mut self, key: Key, body: &[u8]) {
        self.room(body.len())[..body.len()].copy_from_slice(body);
        self.put(key, body.len());
    }

    /// Deletes the record under `key`.
    pub fn delete(&mut self, key: Key) {
        self.room(0);
        self.add(Head { key, what: What::Delete { covers: 0 } });
    }

    /// Whether the batch has no record.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Forgets all records. Keeps the memory, unless it is large.
    pub fn clear(&mut self) {
        self.used = 0;
        if self.bytes.len() > LARGE {
            self.bytes.truncate(LARGE);
            self.bytes.shrink_to_fit();
        }
    }

    /// How many bytes of the log the batch takes, frame headers included.
    pub fn bytes_in_log(&self) -> usize {
        self.used + HEADER * (1 + self.used / FRAME)
    }

    /// How many bytes of the log the batch takes without frame headers.
    pub(crate) fn size(&self) -> usize {
        self.used
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = (Head, &[u8])> {
        records(&self.bytes[..self.used]).map(|(_, head, body)| (head, body))
    }

    fn add(&mut self, head: Head) {
        self.bytes[self.used..self.used + HEAD].copy_from_slice(&head.encode());
        self.used += head.size();
    }
}
