//! An index that finds entries of a queue by their text.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::sync::Arc;

use crate::mem::Handle;

/// The places of the entries of one [`Fifo`](crate::mem::Fifo) by their text, and the entry before each. The index is made when the queue
/// is searched first, and is kept up to date while the queue has entries. So finding an entry takes time in the logarithm of their number.
#[derive(Debug)]
pub(crate) struct QueueIndex<T>(Option<Box<Places<T>>>);

type BeforeAndText<T> = (Option<Handle<T>>, Arc<[u8]>);

#[derive(Debug)]
struct Places<T> {
    /// For each entry, the entry before it and its text.
    entries: BTreeMap<Handle<T>, BeforeAndText<T>>,
    /// For each text, its entries in the order of the queue.
    by_text: BTreeMap<Arc<[u8]>, VecDeque<Handle<T>>>,
    /// The last entry of the queue.
    newest: Option<Handle<T>>,
}

impl<T> QueueIndex<T> {
    pub(crate) const NONE: Self = Self(None);

    /// Whether the index was made.
    #[inline]
    pub(crate) fn is_made(&self) -> bool {
        self.0.is_some()
    }

    /// Makes the index, from the entries of the queue and their texts.
    pub(crate) fn make<B: AsRef<[u8]>>(&mut self, entries: impl Iterator<Item = (Handle<T>, B)>) {
        self.0 = Some(Box::new(Places { entries: BTreeMap::new(), by_text: BTreeMap::new(), newest: None }));
        entries.for_each(|(entry, text)| self.push(entry, text.as_ref()));
    }

    /// Adds an entry that was put at the end of the queue.
    pub(crate) fn push(&mut self, entry: Handle<T>, text: &[u8]) {
        let Some(places) = &mut self.0 else { return };
        let known = places.by_text.get_key_value(text).map(|(text, _)| text.clone());
        let text = known.unwrap_or_else(|| text.into());
        places.by_text.entry(text.clone()).or_default().push_back(entry);
        places.entries.insert(entry, (places.newest.replace(entry), text));
    }

    /// Removes an entry that was removed from the queue. `next` was the entry behind it.
    #[inline]
    pub(crate) fn remove(&mut self, entry: Handle<T>, next: Option<Handle<T>>) {
        if self.is_made() {
            self.take_out(entry, next);
        }
    }

    #[cold]
    fn take_out(&mut self, entry: Handle<T>, next: Option<Handle<T>>) {
        let Some(places) = &mut self.0 else { return };
        let Some((before, text)) = places.entries.remove(&entry) else { return };
        match next {
            Some(next) => {
                if let Some((place, _)) = places.entries.get_mut(&next) {
                    *place = before;
                }
            }
            None => places.newest = before,
        }
        if let Some(same) = places.by_text.get_mut(&text) {
            // An entry that leaves the queue usually is the first with its text.
            if same.front() == Some(&entry) {
                same.pop_front();
            } else {
                same.retain(|other| *other != entry);
            }
            if same.is_empty() {
                places.by_text.remove(&text);
            }
        }
        if places.entries.is_empty() {
            self.0 = None;
        }
    }

    /// The first entry with this text, and the entry before it.
    pub(crate) fn first(&self, text: &[u8]) -> Option<(Option<Handle<T>>, Handle<T>)> {
        let places = self.0.as_ref()?;
        let entry = *places.by_text.get(text)?.front()?;
        let (before, _) = places.entries.get(&entry)?;
        Some((*before, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::testing::Random;
    use std::vec::Vec;

    /// The result of `QueueIndex::first`, found by a search of the queue.
    fn first(queue: &[(Handle<u8>, u8)], text: u8) -> Option<(Option<Handle<u8>>, Handle<u8>)> {
        let at = queue.iter().position(|(_, of)| *of == text)?;
        Some((at.checked_sub(1).map(|before| queue[before].0), queue[at].0))
    }

    #[test]
    fn an_index_finds_the_same_entry_as_a_search_of_the_queue() {
        let mut random = Random::new(3);
        let (mut queue, mut index, mut made) = (Vec::<(Handle<u8>, u8)>::new(), QueueIndex::NONE, 0);
        for step in 0..20_000 {
            // The queue gets longer for a while, and then shorter until it is empty.
            let pushes = if step % 400 < 200 { 5 } else { 3 };
            match random.below(10) {
                kind if kind < pushes => {
                    let free =
                        (0..).map(Handle::from_index).find(|entry| queue.iter().all(|(other, _)| other != entry));
                    let (entry, text) = (free.unwrap(), random.below(5) as u8);
                    queue.push((entry, text));
                    index.push(entry, &[text]);
                }
                5 if !index.is_made() && !queue.is_empty() => {
                    made += 1;
                    index.make(queue.iter().map(|(entry, text)| (*entry, [*text])));
                }
                _ if queue.is_empty() => {}
                6..=7 => {
                    let (entry, _) = queue.remove(0);
                    index.remove(entry, queue.first().map(|(next, _)| *next));
                }
                _ => {
                    let text = random.below(5) as u8;
                    if let Some(at) = queue.iter().position(|(_, of)| *of == text) {
                        let (entry, _) = queue.remove(at);
                        index.remove(entry, queue.get(at).map(|(next, _)| *next));
                    }
                }
            }
            for text in (0..5).filter(|_| index.is_made()) {
                assert_eq!(index.first(&[text]), first(&queue, text));
            }
            assert!(!queue.is_empty() || !index.is_made(), "an empty queue has none");
        }
        assert!(made > 10);
    }
}
