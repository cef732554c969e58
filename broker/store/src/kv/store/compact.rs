//! Compaction: live records move from the segment that has the least of them to the end of the log, a few with each commit, so
//! that the segment can be used again.
//!
//! **Tombstones.** A key is deleted by a tombstone in a later segment than the records that it voids. The tombstone has to stay
//! for as long as any of these records exists, live or not: otherwise they would come back at the next start. They all stood in
//! segments up to the one in which the tombstone was first written. So the tombstone carries that segment's number, and goes when
//! all segments up to that number, besides its own, are gone. There is at most one tombstone for each slot that was ever used.

use super::LogStore;
use crate::Key;
use crate::log::format::{FrameHeader, HEADER, What, body_is_sound, heads_are_sound, records};
use crate::log::segment::State;
use std::io;

/// How many bytes of live records are copied with one commit, at least.
const SLICE: usize = 256 << 10;
/// How many bytes of a segment are read to find live records for one commit, at most.
const READ: usize = 4 << 20;
/// Compaction begins before the limit is reached: when so many segments are left.
const SEGMENTS_LEFT: u64 = 4;

pub(crate) struct Compaction {
    victim: u32,
    /// Tells whether the victim's index still belongs to the same segment.
    seq: u32,
    at: u64,
}

impl LogStore {
    /// Moves some records, at most about twice as many bytes as the `written` bytes of the batch. Returns whether any were moved.
    pub(crate) fn move_some(&mut self, written: usize) -> io::Result<bool> {
        let mut has_moved = false;
        if self.compaction.is_none() {
            self.compaction = self.choose_victim();
        }
        let (mut to_copy, mut to_read) = (SLICE.max(2 * written), READ);
        let before = self.draft.len();
        self.begin_batch();
        while to_copy > 0
            && to_read > 0
            && let Some(Compaction { victim, seq, at }) = self.compaction
        {
            let segment = self.contents.segments.get_if(victim, seq).filter(|segment| segment.state == State::Sealed);
            let frame = match segment {
                Some(segment) => next_frame(&*segment.file, at, segment.end, segment.header.nonce)?,
                None => None,
            };
            let Some((start, header)) = frame else {
                self.end_compaction(victim, seq);
                has_moved = true;
                break;
            };
            let len = header.len as usize;
            if !self.has_room_to_move(len) {
                break;
            }
            let copied = self.move_frame(victim, start, &header)?;
            self.compaction = Some(Compaction { victim, seq, at: start + (HEADER + len) as u64 });
            self.counts.moved_bytes += copied as u64;
            has_moved = true;
            to_copy = to_copy.saturating_sub(copied);
            to_read = to_read.saturating_sub(HEADER + len);
        }
        if self.draft.len() > before || self.draft.frame_len().is_some() {
            self.end_batch();
        }
        Ok(has_moved)
    }

    /// The sealed segment with the fewest live bytes, if more bytes are dead than may be.
    fn choose_victim(&self) -> Option<Compaction> {
        let sealed = || self.contents.segments.in_state(State::Sealed).filter(|(_, segment)| !segment.is_stuck);
        let damaged = sealed().find(|(_, segment)| segment.is_damaged);
        // The room for lists could not be gained by compaction.
        let overhead = self.segment_overhead() as u64;
        let usable = |segment: &crate::log::segment::Segment| segment.header.len.saturating_sub(overhead);
        let (bytes, live) =
            sealed().fold((0, 0), |(bytes, live), (_, segment)| (bytes + usable(segment), live + segment.live));
        let (dead, size) = (bytes - live.min(bytes), self.options.segment_bytes);
        let is_wasteful = dead > live + 2 * size;
        let spare = self.segments_left()
            + (self.contents.segments.in_state(State::Dead).count()
                + self.contents.segments.in_state(State::Free).count()) as u64;
        let is_tight = (self.space.is_short || spare < SEGMENTS_LEFT) && dead > size + size / 4;
        let emptiest = || {
            let worth_it = sealed().filter(|(_, segment)| segment.live < usable(segment) / 10 * 9);
            worth_it.min_by_key(|(_, segment)| segment.live).filter(|_| is_wasteful || is_tight)
        };
        let (victim, segment) = damaged.or_else(emptiest)?;
        Some(Compaction { victim, seq: segment.header.seq, at: HEADER as u64 })
    }

    fn end_compaction(&mut self, victim: u32, seq: u32) {
        self.compaction = None;
        let is_left =
            |segment: &&mut crate::log::segment::Segment| segment.header.seq == seq && segment.state == State::Sealed;
        if let Some(segment) = self.contents.segments.find_mut(victim).filter(is_left) {
            // Some of the segment's records could not be read again. The segment stays, so that nothing is made worse.
            tracing::error!(segment = seq, bytes = segment.live, "records of the store cannot be read any more");
            segment.is_stuck = true;
        }
    }

    fn has_room_to_move(&self, len: usize) -> bool {
        let needed = len + 2 * HEADER;
        let prepared = self.space.next_prepared(&self.contents);
        let fits_next = || {
            let len = prepared.map_or(0, |next| self.contents.segments.get(next).header.len);
            // When there were fewer segments lists were shorter, so a large frame of that time may take the room of the last list
            // now.
            len as usize >= needed + self.segment_overhead() - self.end_size()
        };
        self.capacity_left() >= needed || fits_next()
    }

    /// Moves the live records of a frame. Returns how many bytes they took.
    fn move_frame(&mut self, victim: u32, start: u64, header: &FrameHeader) -> io::Result<usize> {
        let first = start + HEADER as u64;
        let mut area = std::mem::take(&mut self.move_buffer);
        area.resize(header.len as usize, 0);
        let filled = self.contents.segments.get(victim).file.read_all_at(&mut area, first)?;
        let mut copied = 0;
        if !header.is_list && filled == area.len() && heads_are_sound(&area, header.heads_crc) {
            let oldest = self.contents.segments.oldest_besides(victim);
            for (at, head, body) in records(&area) {
                let is_latest = |place: &crate::kv::index::Place| {
                    place.segment == victim && u64::from(place.offset) == first + at as u64
                };
                let Some(place) = self.contents.index.get(head.key).filter(is_latest) else { continue };
                copied += match head.what {
                    What::Put { crc, .. } if !place.is_tombstone() && body_is_sound(&head, body) => {
                        self.place(head.key, Some((body, crc)), None)?;
                        head.size()
                    }
                    // A damaged record makes the older records of its key void.
                    What::Put { .. } => {
                        if !place.is_tombstone() {
                            *self.counts.damage.records.entry(head.key.kind).or_default() += 1;
                            tracing::error!(kind = head.key.kind, "a record of the store is damaged");
                        }
                        self.move_tombstone(head.key, self.contents.segments.get(victim).header.seq, oldest)?
                    }
                    What::Delete { covers } => self.move_tombstone(head.key, covers, oldest)?,
                };
            }
        }
        self.move_buffer = area;
        Ok(copied)
    }

    fn move_tombstone(&mut self, key: Key, covers: u32, oldest: Option<u32>) -> io::Result<usize> {
        if oldest.is_some_and(|oldest| oldest <= covers) {
            self.place(key, None, Some(covers))?;
            return Ok(crate::log::format::HEAD);
        }
        let emptied = self.contents.remove(key);
        self.note_emptied(emptied);
        Ok(0)
    }
}

/// The first readable frame at or behind `from`, and the offset at which it begins.
fn next_frame(file: &dyn crate::DiskFile, from: u64, end: u64, nonce: u64) -> io::Result<Option<(u64, FrameHeader)>> {
    let mut bytes = [0; HEADER];
    let mut at = from;
    // Frames stand one behind the other, unless something between them is damaged.
    while at + HEADER as u64 <= end {
        let filled = file.read_all_at(&mut bytes, at)?;
        match FrameHeader::decode(&bytes[..filled], nonce) {
            Some(header) if header.is_end => return Ok(None),
            Some(header) => return Ok(Some((at, header))),
            None => at += crate::log::format::UNIT as u64,
        }
    }
    Ok(None)
}
