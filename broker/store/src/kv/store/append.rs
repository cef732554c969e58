//! Appending records: frames are drafted, and go to the active segment.

use super::LogStore;
use crate::Key;
use crate::kv::index::Place;
use crate::log::format::{FRAME, FrameHeader, HEADER, Head, What};
use crate::log::members::{SEGMENTS_MADE_MEANWHILE, list_size};
use crate::log::segment::State;
use std::io;

impl LogStore {
    pub(crate) fn begin_batch(&mut self) {
        self.part = 0;
        self.dying_before_batch = self.dying.len();
    }

    pub(crate) fn end_batch(&mut self) {
        self.end_frame(true);
    }

    pub(super) fn take_record(&mut self, head: &Head, body: &[u8]) -> io::Result<()> {
        match head.what {
            What::Put { crc, .. } => self.place(self.contents.on_disk(head.key), Some((body, crc)), None),
            What::Delete { .. } => match self.contents.index.get(self.contents.on_disk(head.key)) {
                // No segment holds a record of the key, or the key is deleted already.
                None => Ok(()),
                Some(place) if place.is_tombstone() => Ok(()),
                Some(_) => self.place(self.contents.on_disk(head.key), None, None),
            },
        }
    }

    /// Appends a record; or, if `put` is `None`, a tombstone. A tombstone covers the segments up to `covers`, or up to the active
    /// one by default.
    pub(crate) fn place(&mut self, key: Key, put: Option<(&[u8], u32)>, covers: Option<u32>) -> io::Result<()> {
        let body = put.map_or(&[][..], |(body, _)| body);
        let delete = What::Delete { covers: covers.unwrap_or(0) };
        let what = put.map_or(delete, |(body, crc)| What::Put { len: body.len() as u32, crc });
        let mut head = Head { key, what };
        let segment = self.make_room(head.size())?;
        let active = self.contents.segments.get(segment);
        if put.is_none() && covers.is_none() {
            head.what = What::Delete { covers: active.header.seq };
        }
        let offset = active.end as u32 + self.draft.push(&head, body) as u32;
        let emptied = self.contents.set(key, Place { segment, offset, size: head.size() as u32 });
        self.note_emptied(emptied);
        Ok(())
    }

    pub(crate) fn note_emptied(&mut self, emptied: Option<u32>) {
        let Some(index) = emptied else { return };
        let segment = self.contents.segments.get_mut(index);
        if segment.state == State::Sealed {
            segment.state = State::Dying;
            self.dying.push(index);
        }
    }

    /// Opens a frame with room for `size` bytes. Returns the segment that the frame is in.
    pub(super) fn make_room(&mut self, size: usize) -> io::Result<u32> {
        if self.draft.frame_len().is_some_and(|len| len > 0 && len + size > FRAME) {
            self.end_frame(false);
        }
        let header = if self.draft.frame_len().is_some() { 0 } else { HEADER };
        if self.capacity_left() < header + size {
            self.end_frame(false);
            self.roll()?;
        }
        if self.draft.frame_len().is_none() {
            self.draft.begin_frame();
        }
        self.active.ok_or_else(|| io::Error::other("no segment is active"))
    }

    /// How many bytes of records fit into the active segment, leaving room for its end frame.
    pub(crate) fn capacity_left(&self) -> usize {
        let Some(active) = self.active else { return 0 };
        let segment = self.contents.segments.get(active);
        (segment.header.len as usize).saturating_sub(segment.end as usize + self.draft.len() + self.end_size())
    }

    /// How many bytes are kept free at the end of a segment, for a last list and the end frame.
    pub(crate) fn end_size(&self) -> usize {
        list_size(self.contents.segments.len() + SEGMENTS_MADE_MEANWHILE) + HEADER
    }

    /// How many bytes of a segment are not for batches.
    pub(crate) fn segment_overhead(&self) -> usize {
        HEADER + list_size(self.contents.segments.len() + SEGMENTS_MADE_MEANWHILE) + self.end_size()
    }

    pub(super) fn end_frame(&mut self, is_last: bool) {
        let (Some(active), Some(_)) = (self.active, self.draft.frame_len()) else { return };
        self.number += 1;
        let (instant, wall) = (self.options.time)();
        self.draft.end_frame(FrameHeader {
            is_end: false,
            is_last,
            nonce: self.contents.segments.get(active).header.nonce,
            number: self.number,
            synced: self.synced,
            instant,
            wall,
            part: self.part,
            ..FrameHeader::default()
        });
        self.part += 1;
        self.marked = Some((instant, wall));
    }

    /// Records the time if that is due. Each frame carries the time, and the clock goes on from there after a restart. A frame is
    /// written for the time alone at the start, now and then, and when the time of day was set. Otherwise the next start would
    /// take a jump of the clock for time that has passed.
    pub(super) fn mark_time(&mut self) -> io::Result<()> {
        const PAUSE_MS: u64 = 60_000;
        const JUMP_MS: u64 = 1_000;
        let (instant, wall) = (self.options.time)();
        let is_first = self.marked.is_none();
        let is_due = match self.marked {
            // In an empty store nothing can expire.
            None => self.number > 0,
            Some((last, last_wall)) => {
                let passed = instant.saturating_sub(last);
                passed >= PAUSE_MS || wall.abs_diff(last_wall.saturating_add(passed)) >= JUMP_MS
            }
        };
        // The last prepared segment is not used for this, unless this write frees another one.
        let free = self.contents.segments.in_state(State::Prepared).count() + usize::from(!self.dying.is_empty());
        let has_room =
            self.capacity_left() >= HEADER || (free > 1 && self.space.next_prepared(&self.contents).is_some());
        if !is_due || !has_room {
            return Ok(());
        }
        self.begin_batch();
        let active = self.make_room(0)?;
        self.end_batch();
        if is_first {
            // The time is synced in every mode, since the segment that held the time before may be used again.
            self.write(active)?;
            self.sync()?;
        }
        self.note_reached();
        Ok(())
    }
}
