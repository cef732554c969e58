//! How a segment looks. All numbers are little-endian; all parts begin at a multiple of 8 bytes.
//!
//! ```text
//! segment   header 64 │ list │ frame │ frame │ ... │ end frame │ what the file held before
//! frame     header 64 │ record │ record │ ...
//! record    head 16 │ body │ up to 7 zeros
//! list      header 64 │ store 16 │ segment 8 │ segment 8 │ ...
//! ```
//!
//! A frame is a batch or a part of a batch; the frame of the last part is flagged. The frame's header has a checksum. The heads
//! of all records in a frame share one checksum, which stands in the frame's header. Each head has a checksum of its body, so
//! damage to a body costs that record alone.
//!
//! Segments are used again. Each time, a segment gets a new random nonce, which all its frames carry. So a frame that the file
//! held before is never taken for a current one.
//!
//! A list is a frame that names all segments that belong to the log at that point, see [`members`](crate::log::members).

use crate::{FORMAT, Key, ShardCount};

pub(crate) const UNIT: usize = 8;
/// The length of a segment's header and of a frame's header, in bytes.
pub(crate) const HEADER: usize = 64;
/// The length of a record's head, in bytes. A tombstone is a head alone.
pub(crate) const HEAD: usize = 16;
/// A frame grows to this size, unless it is a single record that is larger.
pub(crate) const FRAME: usize = 1 << 20;

const SEGMENT_MAGIC: [u8; 8] = *b"GCRSTLOG";
const FRAME_MAGIC: [u8; 4] = *b"GCRf";

/// What stands at the beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Later segments have greater numbers; the first is 1.
    pub(crate) seq: u32,
    pub(crate) nonce: u64,
    /// The length of the file in bytes.
    pub(crate) len: u64,
    /// How many shards the gateway had.
    pub(crate) shards: ShardCount,
    /// The store that the segment belongs to.
    pub(crate) store: StoreId,
    /// All frames up to this number were synced when the segment was made.
    pub(crate) reached: u64,
}

/// Drawn at random when a store is made.
pub(crate) type StoreId = u128;

/// Why a segment's header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Illegible {
    Damaged,
    /// The segment has this format, which is not the one of this program.
    Other(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        // These 16 bytes keep their layout in every later format.
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.seq.to_le_bytes());
        bytes[20..22].copy_from_slice(&self.shards.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.nonce.to_le_bytes());
        // No segment is larger than `Options::SEGMENT_MAX`.
        bytes[32..36].copy_from_slice(&u32::try_from(self.len).unwrap_or(u32::MAX).to_le_bytes());
        bytes[36..44].copy_from_slice(&self.reached.to_le_bytes());
        bytes[44..60].copy_from_slice(&self.store.to_le_bytes());
        let crc = crc32fast::hash(&bytes[16..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Illegible> {
        let bytes = bytes.get(..HEADER).ok_or(Illegible::Damaged)?;
        if bytes[..8] != SEGMENT_MAGIC || u32_at(bytes, 12) != crc32fast::hash(&bytes[..12]) {
            return Err(Illegible::Damaged);
        }
        let format = u32_at(bytes, 8);
        if format != FORMAT {
            return Err(Illegible::Other(format));
        }
        if u32_at(bytes, 60) != crc32fast::hash(&bytes[16..60]) {
            return Err(Illegible::Damaged);
        }
        Ok(Self {
            seq: u32_at(bytes, 16),
            shards: u16::from_le_bytes([bytes[20], bytes[21]]),
            nonce: u64_at(bytes, 24),
            len: u32_at(bytes, 32).into(),
            reached: u64_at(bytes, 36),
            store: u128_at(bytes, 44),
        })
    }
}

/// The offset in a frame's header of the byte that declares the frame void. The checksum leaves this byte out, so that the byte
/// can be written later: one byte is never torn.
pub(crate) const VOID_AT: usize = 6;
/// The value of a void frame's byte. No single flipped bit turns 0 into this value.
pub(crate) const VOID: u8 = 0xff;

fn frame_crc(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..VOID_AT]);
    hasher.update(&header[VOID_AT + 1..60]);
    hasher.finalize()
}

/// What stands at the beginning of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// No frame follows in this segment. If the log went on at once, `part` is the number of the segment where it did.
    pub(crate) is_end: bool,
    /// The frame is a list of segments, and belongs to no batch.
    pub(crate) is_list: bool,
    /// The frame is the last part of its batch.
    pub(crate) is_last: bool,
    /// The batch of this frame was not written to its end: the frame counts for nothing.
    pub(crate) is_void: bool,
    /// The nonce of the segment.
    pub(crate) nonce: u64,
    /// The number of this frame. Each frame's number is one above that of the frame before.
    pub(crate) number: u64,
    /// All frames up to this number were synced when this one was written.
    pub(crate) synced: u64,
    /// The broker's time in milliseconds.
    pub(crate) instant: u64,
    /// The time of day, in milliseconds since 1970.
    pub(crate) wall: u64,
    /// Which part of its batch the frame is, counted from 0.
    pub(crate) part: u32,
    /// The length of all records in bytes.
    pub(crate) len: u32,
    /// The checksum of all heads; in a list, of all bytes.
    pub(crate) heads_crc: u32,
}

impl FrameHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[4] = self.is_end.into();
        bytes[5] = self.is_last.into();
        bytes[VOID_AT] = if self.is_void { VOID } else { 0 };
        bytes[7] = self.is_list.into();
        bytes[8..16].copy_from_slice(&self.nonce.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.synced.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.instant.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.wall.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.part.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.len.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.heads_crc.to_le_bytes());
        let crc = frame_crc(&bytes);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the beginning of `bytes`. `None` if no whole header of the segment with `nonce` is there.
    pub(crate) fn decode(bytes: &[u8], nonce: u64) -> Option<Self> {
        let bytes = bytes.get(..HEADER)?;
        let is_ours = bytes[..4] == FRAME_MAGIC && u64_at(bytes, 8) == nonce;
        if !is_ours || !matches!(bytes[VOID_AT], 0 | VOID) || u32_at(bytes, 60) != frame_crc(bytes) {
            return None;
        }
        Some(Self {
            is_end: bytes[4] == 1,
            is_list: bytes[7] == 1,
            is_last: bytes[5] == 1,
            is_void: bytes[VOID_AT] == VOID,
            nonce,
            number: u64_at(bytes, 16),
            synced: u64_at(bytes, 24),
            instant: u64_at(bytes, 32),
            wall: u64_at(bytes, 40),
            part: u32_at(bytes, 48),
            len: u32_at(bytes, 52),
            heads_crc: u32_at(bytes, 56),
        })
    }

    /// Whether the writing of a header of this segment was begun here, though the header may not be whole.
    pub(crate) fn is_hinted(bytes: &[u8], nonce: u64) -> bool {
        // Older frames in the file have another nonce, which differs in about half of its bits.
        const FEW_BITS: u32 = 8;
        let Some(found) = bytes.get(..16).map(|bytes| u64_at(bytes, 8)) else { return false };
        found == nonce || (bytes[..4] == FRAME_MAGIC && (found ^ nonce).count_ones() <= FEW_BITS)
    }
}

/// What stands before the body of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) key: Key,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Put {
        len: u32,
        crc: u32,
    },
    /// All records of the key in segments up to number `covers` are void. No later segment held one when the tombstone was first
    /// written.
    Delete {
        covers: u32,
    },
}

impl Head {
    pub(crate) fn encode(&self) -> [u8; HEAD] {
        let (number, crc, flags) = match self.what {
            What::Put { len, crc } => (len, crc, 0),
            What::Delete { covers } => (covers, 0, 1),
        };
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&self.key.slot.to_le_bytes());
        bytes[4..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.key.shard.to_le_bytes());
        bytes[14] = self.key.kind;
        bytes[15] = flags;
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEAD)?;
        let key = Key { shard: u16::from_le_bytes([bytes[12], bytes[13]]), kind: bytes[14], slot: u32_at(bytes, 0) };
        let what = match bytes[15] {
            0 => What::Put { len: u32_at(bytes, 4), crc: u32_at(bytes, 8) },
            1 => What::Delete { covers: u32_at(bytes, 4) },
            _ => return None,
        };
        Some(Self { key, what })
    }

    /// How many bytes the whole record takes.
    pub(crate) fn size(&self) -> usize {
        match self.what {
            What::Put { len, .. } => HEAD + padded(len as usize),
            What::Delete { .. } => HEAD,
        }
    }
}

/// The records of a frame, each with its offset in `area`. The iteration ends early at a record that does not fit.
pub(crate) fn records(area: &[u8]) -> impl Iterator<Item = (usize, Head, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let head = Head::decode(area.get(start..)?)?;
        at = start.checked_add(head.size()).filter(|&end| end <= area.len())?;
        let body = match head.what {
            What::Put { len, .. } => area.get(start + HEAD..start + HEAD + len as usize)?,
            What::Delete { .. } => &[],
        };
        Some((start, head, body))
    })
}

/// Whether `area` consists of records from end to end, and the checksum of their heads is right.
pub(crate) fn heads_are_sound(area: &[u8], heads_crc: u32) -> bool {
    let mut hasher = crc32fast::Hasher::new();
    let mut end = 0;
    for (at, head, _) in records(area) {
        hasher.update(&area[at..at + HEAD]);
        end = at + head.size();
    }
    end == area.len() && hasher.finalize() == heads_crc
}

/// Whether the checksum of the body is right.
pub(crate) fn body_is_sound(head: &Head, body: &[u8]) -> bool {
    match head.what {
        What::Put { len, crc } => body.len() == len as usize && crc32fast::hash(body) == crc,
        What::Delete { .. } => true,
    }
}

/// How many bytes a body takes with its padding. An empty body takes some too, so that no record is as small as a tombstone.
pub(crate) fn padded(len: usize) -> usize {
    len.max(1).next_multiple_of(UNIT)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from(u64_at(bytes, at)) | u128::from(u64_at(bytes, at + 8)) << 64
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
