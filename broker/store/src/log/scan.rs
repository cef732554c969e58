//! Finds the frames of one segment, and tells damage from what a loss of power tore.
//!
//! Only bytes that were not synced can be torn. A frame says up to which frame all were synced when it was written, and a segment
//! is not begun before the one before it is synced and closed by an end frame. So a frame that is not whole was torn if it is in
//! the last segment and no later frame attests that it was synced. Then the log ends before that frame. Otherwise the frame was
//! whole once, and is damaged.

use crate::log::format::{FrameHeader, HEADER, UNIT, body_is_sound, heads_are_sound, records};
use std::ops::Range;

/// What a segment holds, from its header to the end of the log.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) items: Vec<Item>,
    /// The offset at which the frames that count end.
    pub(crate) end: usize,
    /// An end frame closes the segment.
    pub(crate) is_closed: bool,
    /// Something of this segment was written, whole or not.
    pub(crate) is_begun: bool,
    /// Frames from this offset on are not known to be synced.
    pub(crate) unsynced: Option<usize>,
    /// How many bytes were torn: their writing was begun, they were never synced, and they are not whole.
    pub(crate) torn: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Frame {
        header: FrameHeader,
        /// Where the records of the frame stand.
        area: Range<usize>,
        soundness: Soundness,
    },
    /// Frames were here, and cannot be read.
    Gap(Range<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Soundness {
    Sound,
    /// Some records are damaged, each known by its head.
    Bodies,
    /// The heads are damaged, so nobody knows which records were in the frame.
    Heads,
}

/// Whether there is any frame of the segment with `nonce` in `bytes`.
pub(crate) fn has_frames(bytes: &[u8], nonce: u64) -> bool {
    find_header(bytes, HEADER, nonce).is_some()
}

/// The nonce of a segment whose header is damaged: that of the first frame; failing that, of the latest frame in the file.
pub(crate) fn guess_nonce(bytes: &[u8]) -> Option<u64> {
    let nonce_at = |at: usize| bytes.get(at + 8..at + 16).map(|nonce| u64::from_le_bytes(nonce.try_into().unwrap()));
    let header_at = |at: usize| FrameHeader::decode(bytes.get(at..)?, nonce_at(at)?);
    let all = || (HEADER..bytes.len()).step_by(UNIT).filter_map(header_at);
    header_at(HEADER).or_else(|| all().max_by_key(|header| header.number)).map(|header| header.nonce)
}

/// Scans the segment with `nonce` that `bytes` holds from its beginning. `is_tail`: no later segment has frames.
pub(crate) fn scan(bytes: &[u8], nonce: u64, is_tail: bool) -> Scan {
    let mut scan = read_all(bytes, nonce);
    let ends_in_gap = !scan.is_closed && FrameHeader::is_hinted(bytes.get(scan.end..).unwrap_or_default(), nonce);
    scan.is_begun = ends_in_gap || !scan.items.is_empty();
    if is_tail {
        judge(&mut scan, bytes.len(), ends_in_gap);
    } else if !scan.is_closed && scan.is_begun {
        scan.items.push(Item::Gap(scan.end..bytes.len()));
        scan.end = bytes.len();
    }
    scan
}

/// Reads all frames. The end is where no readable frame follows.
fn read_all(bytes: &[u8], nonce: u64) -> Scan {
    let mut scan = Scan { end: HEADER, ..Scan::default() };
    while let Some(at) = find_header(bytes, scan.end, nonce) {
        let Some(header) = FrameHeader::decode(&bytes[at..], nonce) else { break };
        if at > scan.end {
            scan.items.push(Item::Gap(scan.end..at));
        }
        let start = at + HEADER;
        let area = start..(start + header.len as usize).min(bytes.len());
        scan.end = area.end;
        scan.is_closed = header.is_end;
        let soundness = soundness(&bytes[area.clone()], &header);
        scan.items.push(Item::Frame { header, area, soundness });
        if header.is_end {
            break;
        }
    }
    scan
}

/// Cuts off the torn end of the last segment.
fn judge(scan: &mut Scan, len: usize, ends_in_gap: bool) {
    // The highest number up to which the frames behind an item attest that all were synced.
    let mut attested = 0;
    let mut last_synced = vec![0; scan.items.len()];
    for (item, synced) in scan.items.iter().zip(&mut last_synced).rev() {
        *synced = attested;
        if let Item::Frame { header, .. } = item {
            attested = attested.max(header.synced);
        }
    }
    let mut before = None;
    for (index, &attested) in last_synced.iter().enumerate() {
        let (start, number, is_sound) = match &scan.items[index] {
            Item::Frame { header, area, soundness } => {
                before = Some(header.number);
                (area.start - HEADER, header.number, *soundness == Soundness::Sound)
            }
            Item::Gap(range) => {
                let next = match scan.items.get(index + 1) {
                    Some(Item::Frame { header, .. }) => header.number,
                    _ => u64::MAX,
                };
                (range.start, before.map_or(next.saturating_sub(1), |before: u64| before + 1), false)
            }
        };
        if attested >= number {
            continue;
        }
        scan.unsynced.get_or_insert(start);
        if !is_sound {
            scan.torn = scan.end.max(start + UNIT) - start;
            scan.items.truncate(index);
            scan.end = start;
            scan.is_closed = false;
            return;
        }
    }
    if ends_in_gap {
        scan.torn = len - scan.end;
    }
}

fn soundness(area: &[u8], header: &FrameHeader) -> Soundness {
    if header.is_list {
        let is_sound = area.len() == header.len as usize && crc32fast::hash(area) == header.heads_crc;
        return if is_sound { Soundness::Sound } else { Soundness::Heads };
    }
    if area.len() != header.len as usize || !heads_are_sound(area, header.heads_crc) {
        Soundness::Heads
    } else if records(area).any(|(_, head, body)| !body_is_sound(&head, body)) {
        Soundness::Bodies
    } else {
        Soundness::Sound
    }
}

/// The first whole frame header at `from` or behind it.
fn find_header(bytes: &[u8], from: usize, nonce: u64) -> Option<usize> {
    (from..bytes.len()).step_by(UNIT).find(|&at| FrameHeader::decode(&bytes[at..], nonce).is_some())
}
