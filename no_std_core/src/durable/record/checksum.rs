//! The checksum of a record, CRC-32/ISO-HDLC, in a fast form. Without the feature `alloc` `small_checksum.rs` takes the place of
//! this file.

pub(super) use crc32fast::hash as checksum;
