//! The shards that the records belong to. A store can be written again for another number of shards; then the whole new layout
//! replaces the whole old one at once.
//!
//! On disk the shards of a layout are numbered from its base. A layout that is being written has the other base. It counts for
//! nothing until one record adopts it. The remains of the layout that does not count are deleted, after a crash too. Records
//! under [`Key::COMMON`] belong to no layout, and a change of layout does not touch them.

use crate::kv::contents::{LAYOUT_KEY, LAYOUT_KIND, OTHER_BASE};
use crate::{Batch, Failure, Key, LogStore, Store as _};
use std::io;
use std::time::{Duration, Instant};

impl LogStore {
    /// Calls `write` to fill a new layout of `shards`; meanwhile the store reads and writes the new layout. Adopts the new layout
    /// unless `write` fails.
    ///
    /// # Errors
    /// The errors of `write`, or there is no room. After an error the store is as before.
    pub fn change_layout<E: From<Failure> + From<io::Error>>(
        &mut self,
        shards: u16,
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let old = self.contents.base;
        let new = OTHER_BASE - old;
        self.clear(new)?;
        self.contents.base = new;
        let adopted = write(self).and_then(|()| {
            self.contents.base = 0;
            let mut batch = Batch::default();
            batch.put_bytes(LAYOUT_KEY, &[new.to_le_bytes(), shards.to_le_bytes()].concat());
            Ok(self.append_patiently(batch)?)
        });
        self.contents.base = if adopted.is_ok() { new } else { old };
        self.clear(OTHER_BASE - self.contents.base)?;
        adopted
    }

    /// While a layout is being written: reads the record of `key` in the layout before into `out`. False if there is no such
    /// record.
    ///
    /// # Errors
    /// The device fails, or the record is damaged.
    pub fn fetch_before(&self, key: Key, out: &mut Vec<u8>) -> io::Result<bool> {
        let base = OTHER_BASE - self.contents.base;
        self.contents.fetch_on_disk(Key { shard: base + key.shard, ..key }, out)
    }

    /// Appends `batch`, and waits for room if there is none.
    ///
    /// # Errors
    /// There is no room to be had, or the device fails.
    pub fn append_patiently(&mut self, batch: Batch) -> Result<(), Failure> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let started = Instant::now();
        let batches = [batch];
        loop {
            match self.append(&batches) {
                Err(Failure::NoRoom) if started.elapsed() < PATIENCE => {
                    self.upkeep(Duration::from_millis(5))?;
                }
                done => return done,
            }
        }
    }

    /// Deletes all records of the layout with this base.
    fn clear(&mut self, base: u16) -> Result<(), Failure> {
        const MANY: usize = 4096;
        let kept = std::mem::replace(&mut self.contents.base, 0);
        let mut keys: Vec<Key> = Vec::new();
        for shard in base..base + OTHER_BASE {
            for kind in LAYOUT_KIND + 1..=u8::MAX {
                let places = self.contents.index.places(shard, kind);
                keys.extend(places.filter(|(_, place)| !place.is_tombstone()).map(|(key, _)| key));
            }
        }
        let cleared = keys.chunks(MANY).try_for_each(|keys| {
            let mut batch = Batch::default();
            keys.iter().for_each(|&key| batch.delete(key));
            self.append_patiently(batch)
        });
        self.contents.base = kept;
        cleared
    }
}
