//! The checksum of a record, CRC-32/ISO-HDLC, where speed counts. Without the feature `alloc` `small_checksum.rs` stands here.

pub(super) use crc32fast::hash as checksum;
