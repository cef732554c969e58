//! Making the draft safe: writing, syncing, sealing a segment and going on in the next one.

use super::LogStore;
use crate::kv::contents::Contents;
use crate::log::format::{FrameHeader, HEADER, StoreId};
use crate::log::members::{List, list_size};
use crate::log::reached::{self, Reached};
use crate::log::segment::State;
use crate::{Stats, Store as _, Sync};
use std::io;
use std::time::{Duration, Instant};

impl LogStore {
    /// Closes the active segment and goes on in the next one. The active segment is synced in every mode: a frame in a later
    /// segment attests that everything in the earlier ones is synced.
    pub(super) fn roll(&mut self) -> io::Result<()> {
        let next =
            self.space.next_prepared(&self.contents).ok_or_else(|| io::Error::other("no segment is prepared"))?;
        self.seal(Some(next))?;
        let segment = self.contents.segments.get_mut(next);
        segment.state = State::Active;
        segment.end = HEADER as u64;
        self.active = Some(next);
        self.push_list(next);
        Ok(())
    }

    /// Appends a list of all segments that are needed. When the list is synced the other segments are free.
    pub(super) fn push_list(&mut self, active: u32) {
        self.number += 1;
        let (instant, wall) = (self.options.time)();
        let header = FrameHeader {
            is_list: true,
            nonce: self.contents.segments.get(active).header.nonce,
            number: self.number,
            synced: self.synced,
            instant,
            wall,
            ..FrameHeader::default()
        };
        let dead = self.contents.segments.in_state(State::Dead).map(|(index, _)| index);
        self.unlisted = dead.collect();
        self.draft.push_frame(header, &list(&self.contents, self.store, &[]));
    }

    /// Makes a list without the dead segments safe. Returns whether there was room for it.
    pub(crate) fn free_dead(&mut self) -> io::Result<bool> {
        let needed = list_size(self.contents.segments.len());
        // If there is no other room, the room that is kept for a last list may be used for this list.
        let has_room = |active: &u32| {
            let segment = self.contents.segments.get(*active);
            segment.end + (self.draft.len() + needed + HEADER) as u64 <= segment.header.len
        };
        match self.active.filter(has_room) {
            Some(active) => self.push_list(active),
            None if self.space.next_prepared(&self.contents).is_some() => self.roll()?,
            None => return Ok(false),
        }
        if let Some(active) = self.active {
            self.write(active)?;
            self.sync()?;
        }
        Ok(true)
    }

    pub(super) fn seal(&mut self, next: Option<u32>) -> io::Result<()> {
        let Some(active) = self.active.take() else { return Ok(()) };
        // The process that opens the store next may have no room in another segment for a list of what is free.
        let needed = (self.draft.len() + 2 * HEADER + list_size(self.contents.segments.len())) as u64;
        let segment = self.contents.segments.get(active);
        if next.is_none() && segment.end + needed <= segment.header.len {
            self.push_list(active);
        }
        self.write(active)?;
        self.number += 1;
        let (instant, wall) = (self.options.time)();
        let (number, synced) = (self.number, self.synced);
        let next = next.map_or(0, |next| self.contents.segments.get(next).header.seq);
        let segment = self.contents.segments.get_mut(active);
        let end = end_frame(segment.header.nonce, number, synced, (instant, wall), next);
        segment.file.write_all_at(&end, segment.end)?;
        segment.end += HEADER as u64;
        self.sync_segment(active)?;
        let segment = self.contents.segments.get_mut(active);
        self.synced = self.number;
        self.unsynced_since = None;
        segment.state = State::Sealed;
        segment.file.hold_open(false)?;
        self.bury(self.dying_before_batch);
        // The records that emptied the segment may belong to a batch that is not whole yet.
        if self.contents.segments.get(active).live == 0 {
            self.note_emptied(Some(active));
        }
        Ok(())
    }

    /// Writes to the file `reached` how far the log is safe. Only the next start uses this, and only if the end of the log is
    /// missing.
    pub(super) fn note_reached(&mut self) {
        match Reached::write(self.reached, self.store, self.synced, &*self.contents.disk) {
            Ok(reached) => self.reached = Some(reached),
            Err(error) => {
                tracing::warn!(%error, "how far the store is safe could not be written to its file {}", reached::NAME)
            }
        }
    }

    pub(super) fn write(&mut self, active: u32) -> io::Result<()> {
        if self.draft.len() > 0 {
            self.unsynced_since.get_or_insert_with(|| (self.options.time)().0);
            let segment = self.contents.segments.get_mut(active);
            segment.file.write_all_at(self.draft.bytes(), segment.end)?;
            segment.end += self.draft.len() as u64;
            self.counts.written_bytes += self.draft.len() as u64;
            self.draft.clear();
        }
        Ok(())
    }

    /// Writes the draft, and syncs it if a sync is due.
    pub(crate) fn commit(&mut self) -> io::Result<()> {
        if let Some(active) = self.active {
            self.write(active)?;
        }
        let is_due = match self.options.sync {
            Sync::Always => self.unsynced_since.is_some(),
            Sync::Interval(_) => self.sync_due_in() == Some(Duration::ZERO),
            Sync::Never => false,
        };
        if is_due { self.sync() } else { Ok(()) }
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Some(active) = self.active {
            self.sync_segment(active)?;
        }
        self.synced = self.number;
        self.unsynced_since = None;
        self.bury(self.dying.len());
        Ok(())
    }

    pub(super) fn sync_segment(&mut self, segment: u32) -> io::Result<()> {
        let begun = (self.options.time)().0;
        let file = &self.contents.segments.get(segment).file;
        timed(&mut self.counts, || file.sync())?;
        for index in self.unlisted.drain(..) {
            self.contents.segments.get_mut(index).state = State::Free;
        }
        let took = (self.options.time)().0.saturating_sub(begun);
        // A slow sync counts for some syncs after it.
        self.sync_ms = Some(self.sync_ms.map_or(took, |before| took.max(before - before.div_ceil(8))));
        Ok(())
    }

    /// The records that replace those of the first `count` dying segments are safe.
    pub(super) fn bury(&mut self, count: usize) {
        for index in self.dying.drain(..count) {
            self.contents.segments.get_mut(index).state = State::Dead;
        }
        self.dying_before_batch = 0;
    }
}

fn timed(counts: &mut Stats, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let started = Instant::now();
    let synced = sync();
    counts.syncs.note(started.elapsed());
    synced
}

/// The log goes on at once in the segment with number `next`, or is closed if that is 0.
pub(super) fn end_frame(nonce: u64, number: u64, synced: u64, (instant, wall): (u64, u64), next: u32) -> [u8; HEADER] {
    let header =
        FrameHeader { is_end: true, nonce, number, synced, instant, wall, part: next, ..FrameHeader::default() };
    header.encode()
}

/// A list of all segments that are needed, and of the segments in `besides`.
pub(super) fn list(contents: &Contents, store: StoreId, besides: &[u32]) -> Vec<u8> {
    let is_needed =
        |index: &u32, state| !matches!(state, State::Dead | State::Free | State::Leaving) || besides.contains(index);
    let needed = contents.segments.iter().filter(|(index, segment)| is_needed(index, segment.state));
    List::encode(store, needed.map(|(_, segment)| &segment.header))
}
