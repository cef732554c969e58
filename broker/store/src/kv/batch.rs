//! What a shard hands to the store at once.

use crate::Key;
use crate::log::format::{FRAME, HEAD, HEADER, Head, What, padded, records};

/// Records that become safe together. It is built in the layout of the log, by the shard, so that the store has little
/// to do; and given back emptied, for its memory.
#[derive(Debug, Default)]
pub struct Batch {
    /// Longer than `used` where room was asked for: it was zeroed once and need not be again.
    bytes: Vec<u8>,
    used: usize,
}

impl Batch {
    /// Room for the body of the next record, of at least `len` bytes; write it there before [`Batch::put`].
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        let start = self.used + HEAD;
        let needed = start + padded(len);
        if self.bytes.len() < needed {
            self.bytes.resize(needed.next_power_of_two(), 0);
        }
        &mut self.bytes[start..]
    }

    /// The first `len` bytes of [`Batch::room`] are what stands under `key` from now on.
    pub fn put(&mut self, key: Key, len: usize) {
        let body = &mut self.room(len)[..padded(len)];
        body[len..].fill(0);
        let crc = crc32fast::hash(&body[..len]);
        self.add(Head { key, what: What::Put { len: len as u32, crc } });
    }

    /// As [`Batch::room`] and [`Batch::put`] for bytes that stand elsewhere.
    pub fn put_bytes(&mut self, key: Key, body: &[u8]) {
        self.room(body.len())[..body.len()].copy_from_slice(body);
        self.put(key, body.len());
    }

    /// Nothing stands under `key` from now on.
    pub fn delete(&mut self, key: Key) {
        self.room(0);
        self.add(Head { key, what: What::Delete { covers: 0 } });
    }

    /// Whether there is no record in it.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Forgets all records and keeps the memory, unless it is much.
    pub fn clear(&mut self) {
        const KEPT: usize = 4 << 20;
        self.used = 0;
        if self.bytes.len() > KEPT {
            self.bytes.truncate(KEPT);
            self.bytes.shrink_to_fit();
        }
    }

    /// How much of the log it takes.
    pub fn bytes_in_log(&self) -> usize {
        self.used + HEADER * (1 + self.used / FRAME)
    }

    /// The same without frame headers.
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
