//! How the log looks in flash: keys, frames, trailers, entries. All numbers are little-endian.
//!
//! ```text
//! area     entries (ENTRIES of them), then the snapshot, then batches up to the end of the area; what follows is erased
//! entry    generation u32, next generation u32, end of the snapshot u32, CRC-32 of these and of the format's version
//! batch    frames, trailer
//! frame    key u16, check and length u16, record; a frame with length 0 deletes its key
//! trailer  a frame of key 0: CRC-32 of the batch's frames, CRC-32 of that CRC-32 with generation and place
//! ```
//!
//! Each entry, frame and trailer is padded with 0xFF to a whole number of units.

/// The key of a record: a kind, and a slot among those of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u16);

impl Key {
    /// How many kinds there are: 1 to 14.
    pub const KINDS: usize = 14;
    /// How many slots a kind may have.
    pub const SLOTS: u32 = 1 << 12;
    const TRAILER: Self = Self(0);

    /// The key of this kind and slot. `None` if `kind` or `slot` is out of its range.
    pub const fn new(kind: u8, slot: u32) -> Option<Self> {
        if kind == 0 || kind as usize > Self::KINDS || slot >= Self::SLOTS {
            return None;
        }
        Some(Self((kind as u16) << 12 | slot as u16))
    }

    /// The kind, from 1 to 14.
    pub const fn kind(self) -> u8 {
        (self.0 >> 12) as u8
    }

    /// The slot, below 4,096.
    pub const fn slot(self) -> u16 {
        self.0 & 0xFFF
    }
}

/// The length of the longest record that a frame can hold, in bytes.
pub(crate) const RECORD_BYTES: usize = 0xFFF;
/// The length of the shortest record in bytes: a checksum and one byte.
pub(crate) const SHORTEST_RECORD: usize = 5;
pub(crate) const HEADER: usize = 4;
pub(crate) const TRAILER: usize = 12;
pub(crate) const ENTRY: usize = 16;
/// How many entries an area has. The commit of a snapshot writes [`COMMIT_ENTRIES`] of them. One more is written each time before
/// the other area is erased: once if all goes well, and once more for each power cut during that erasing.
pub(crate) const ENTRIES: u32 = 16;
/// How many entries the commit of a snapshot writes. The second is a spare in case that the first is damaged.
pub(crate) const COMMIT_ENTRIES: u32 = 2;

const VERSION: u32 = u32::from_le_bytes(*b"GCF1");

/// The first bytes of a frame: its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) key: Key,
    pub(crate) len: u16,
}

impl Header {
    const TRAILER: Self = Self { key: Key::TRAILER, len: (TRAILER - HEADER) as u16 };

    pub(crate) fn to_bytes(self) -> [u8; HEADER] {
        let length = self.len & 0xFFF;
        let [a, b] = self.key.0.to_le_bytes();
        let [c, d] = (self.check() << 12 | length).to_le_bytes();
        [a, b, c, d]
    }

    /// The header in these bytes. `None` if they are no header, for example if they are erased.
    pub(crate) fn from_bytes([a, b, c, d]: [u8; HEADER]) -> Option<Self> {
        let second = u16::from_le_bytes([c, d]);
        let header = Self { key: Key(u16::from_le_bytes([a, b])), len: second & 0xFFF };
        let fits = header.is_trailer() || Key::new(header.key.kind(), header.key.slot().into()).is_some();
        (fits && second >> 12 == header.check()).then_some(header)
    }

    pub(crate) fn is_trailer(self) -> bool {
        self == Self::TRAILER
    }

    /// A check of key and length. It differs if a single bit of them does, and is wrong for all zeros and for all ones.
    fn check(self) -> u16 {
        let mixed = self.key.0 ^ (self.len & 0xFFF);
        (mixed ^ (mixed >> 4) ^ (mixed >> 8) ^ (mixed >> 12) ^ 0xA) & 0xF
    }
}

/// The end of a batch, at place `at` in the area with this generation. The trailer has a checksum of itself, so that a batch that
/// was damaged later can be told from one that was never finished.
pub(crate) fn trailer(generation: u32, at: u32, batch: u32) -> [u8; TRAILER] {
    let [a, b, c, d] = Header::TRAILER.to_bytes();
    let [e, f, g, h] = batch.to_le_bytes();
    let own = Crc::NEW.with(&generation.to_le_bytes()).with(&at.to_le_bytes()).with(&[e, f, g, h]);
    let [i, j, k, l] = own.value().to_le_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// The checksum of the batch that ends here. `None` if the bytes are not the trailer of this place and generation.
pub(crate) fn read_trailer(generation: u32, at: u32, bytes: [u8; TRAILER]) -> Option<u32> {
    let [_, _, _, _, e, f, g, h, ..] = bytes;
    let batch = u32::from_le_bytes([e, f, g, h]);
    (trailer(generation, at, batch) == bytes).then_some(batch)
}

/// An entry makes its area valid. Any one entry is enough: all entries of an area have the same content except for `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) generation: u32,
    /// If this is above 0, the content of the other area is void unless its generation is `next` or later.
    pub(crate) next: u32,
    /// Where the snapshot ends.
    pub(crate) end: u32,
}

impl Entry {
    pub(crate) fn to_bytes(self) -> [u8; ENTRY] {
        let [a, b, c, d] = self.generation.to_le_bytes();
        let [e, f, g, h] = self.next.to_le_bytes();
        let [i, j, k, l] = self.end.to_le_bytes();
        let crc = Crc::NEW.with(&VERSION.to_le_bytes()).with(&[a, b, c, d, e, f, g, h, i, j, k, l]);
        let [m, n, o, p] = crc.value().to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    pub(crate) fn from_bytes(bytes: [u8; ENTRY]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = bytes;
        let entry = Self {
            generation: u32::from_le_bytes([a, b, c, d]),
            next: u32::from_le_bytes([e, f, g, h]),
            end: u32::from_le_bytes([i, j, k, l]),
        };
        (entry.to_bytes() == bytes).then_some(entry)
    }
}

/// CRC-32 ISO-HDLC, computed four bits at a time with a table of 64 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crc(u32);

impl Crc {
    pub(crate) const NEW: Self = Self(u32::MAX);

    pub(crate) fn with(self, bytes: &[u8]) -> Self {
        Self(bytes.iter().fold(self.0, |crc, byte| step(step(crc ^ u32::from(*byte)))))
    }

    pub(crate) fn value(self) -> u32 {
        !self.0
    }
}

fn step(crc: u32) -> u32 {
    crc >> 4 ^ TABLE.get((crc & 0xF) as usize).copied().unwrap_or(0)
}

const TABLE: [u32; 16] = [
    0x0000_0000,
    0x1db7_1064,
    0x3b6e_20c8,
    0x26d9_30ac,
    0x76dc_4190,
    0x6b6b_51f4,
    0x4db2_6158,
    0x5005_713c,
    0xedb8_8320,
    0xf00f_9344,
    0xd6d6_a3e8,
    0xcb61_b38c,
    0x9b64_c2b0,
    0x86d3_d2d4,
    0xa00a_e278,
    0xbdbd_f21c,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_records_is_crc_32_iso_hdlc() {
        assert_eq!(Crc::NEW.with(b"1234").with(b"56789").value(), 0xcbf4_3926);
    }

    #[test]
    fn a_header_is_read_as_written_and_a_flipped_bit_is_noticed() {
        for (kind, slot, len) in [(1, 0, 0), (14, 4095, 4095), (4, 77, 300)] {
            let header = Header { key: Key::new(kind, slot).unwrap(), len };
            let bytes = header.to_bytes();
            assert_eq!(Header::from_bytes(bytes), Some(header));
            for bit in 0..32 {
                let damaged = (u32::from_le_bytes(bytes) ^ 1 << bit).to_le_bytes();
                assert_eq!(Header::from_bytes(damaged), None);
            }
        }
        assert_eq!(Header::from_bytes([0xFF; 4]), None);
        assert_eq!(Header::from_bytes([0; 4]), None);
    }

    #[test]
    fn keys_beyond_their_ranges_are_refused() {
        assert_eq!(Key::new(0, 0), None);
        assert_eq!(Key::new(15, 0), None);
        assert_eq!(Key::new(1, 4096), None);
        let key = Key::new(9, 4095).unwrap();
        assert_eq!((key.kind(), key.slot()), (9, 4095));
    }

    #[test]
    fn a_trailer_of_a_batch_is_valid_only_for_its_generation_and_offset() {
        let bytes = trailer(3, 400, 0xdead_beef);
        assert_eq!(read_trailer(3, 400, bytes), Some(0xdead_beef));
        assert_eq!(read_trailer(3, 404, bytes), None);
        assert_eq!(read_trailer(4, 400, bytes), None);
    }

    #[test]
    fn an_entry_of_an_area_with_a_wrong_checksum_is_refused() {
        let entry = Entry { generation: 8, next: 9, end: 1024 };
        let mut bytes = entry.to_bytes();
        assert_eq!(Entry::from_bytes(bytes), Some(entry));
        bytes[5] ^= 0x10;
        assert_eq!(Entry::from_bytes(bytes), None);
        assert_eq!(Entry::from_bytes([0xFF; 16]), None);
        assert_eq!(Entry::from_bytes([0; 16]), None);
    }
}
