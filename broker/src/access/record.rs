//! The gateway's own records in the store. All other records there are the core's.
//!
//! ```text
//! format │ a serde type
//! 1 byte │ postcard
//! ```
//!
//! The kind of record stands in its [`Key`]. A kind of the core is smaller than [`FIRST_KIND`]; a kind of the gateway is not. The records
//! stand under [`Key::COMMON`], not under a shard, so another number of shards leaves them as they are. The store itself has a checksum
//! for each record.
//!
//! A later program may add fields at the end of a type, and this program does not read these fields. For any other change a later program
//! uses a new format or a new kind. Then this program refuses to start, because it would lose data that it does not know.

use goldcrest_store::{Batch, Key};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The smallest kind of a record of the gateway.
const FIRST_KIND: u8 = 0x40;
const PRINCIPAL: u8 = 0x40;
/// The format that is written, and the newest format that is read, of each kind.
const FORMAT: u8 = 1;

/// A record of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GatewayRecord<'a> {
    Principal(PrincipalRecord<'a>),
}

/// A principal with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrincipalRecord<'a> {
    /// The principal's number. It is not the slot, because numbers may have gaps.
    pub(crate) number: u32,
    pub(crate) name: &'a str,
}

/// Why a record of the gateway cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordError {
    /// A newer program wrote records of this kind.
    UnknownKind(u8),
    /// A newer program wrote this format of this kind.
    NewerFormat(u8, u8),
    /// The bytes are not what any program wrote.
    Damaged,
}

impl GatewayRecord<'_> {
    /// Adds the record to a batch.
    pub(crate) fn put(&self, slot: u32, batch: &mut Batch) {
        let (kind, encoded) = match self {
            Self::Principal(principal) => (PRINCIPAL, postcard::to_allocvec(&(FORMAT, principal))),
        };
        let bytes = encoded.expect("numbers and texts can always be encoded into a vector");
        batch.put_bytes(Key { shard: Key::COMMON, kind, slot }, &bytes);
    }
}

impl<'a> GatewayRecord<'a> {
    /// Reads the record that stands under a key of this kind.
    ///
    /// # Errors
    /// This program does not know the kind or the format, or the bytes are damaged.
    pub(crate) fn open(kind: u8, bytes: &'a [u8]) -> Result<Self, RecordError> {
        if kind != PRINCIPAL {
            return Err(RecordError::UnknownKind(kind));
        }
        match bytes.split_first() {
            Some((&FORMAT, value)) => {
                postcard::from_bytes(value).map(Self::Principal).map_err(|_| RecordError::Damaged)
            }
            Some((&format, _)) if format > FORMAT => Err(RecordError::NewerFormat(kind, format)),
            _ => Err(RecordError::Damaged),
        }
    }
}

/// Whether records of this kind are the gateway's.
pub(crate) fn is_gateway_kind(kind: u8) -> bool {
    kind >= FIRST_KIND
}

/// The name of a kind of the gateway's records, for operators; `None` if this program does not know the kind.
pub(crate) fn kind_name(kind: u8) -> Option<&'static str> {
    (kind == PRINCIPAL).then_some("Principal")
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind(kind) => write!(
                f,
                "it holds records of kind {kind}, which this program does not know: a newer one wrote them; nothing was changed"
            ),
            Self::NewerFormat(kind, format) => write!(
                f,
                "it holds a record of kind {kind} in format {format}, and this program knows format {FORMAT}: a newer one wrote it; \
                 nothing was changed"
            ),
            Self::Damaged => write!(f, "the record is damaged"),
        }
    }
}

impl std::error::Error for RecordError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records in today's stores must be readable for ever.
    #[test]
    fn a_principal_record_has_format_number_and_name() {
        let bytes = [1, 0xac, 2, 3, b'a', b'n', b'n'];
        let principal = PrincipalRecord { number: 300, name: "ann" };
        assert_eq!(postcard::to_allocvec(&(FORMAT, &principal)).unwrap(), bytes);
        assert_eq!(GatewayRecord::open(0x40, &bytes), Ok(GatewayRecord::Principal(principal)));
    }

    #[test]
    fn fields_added_by_a_later_program_are_ignored() {
        let bytes = [1, 7, 3, b'a', b'n', b'n', 1, 2, 3];
        let principal = PrincipalRecord { number: 7, name: "ann" };
        assert_eq!(GatewayRecord::open(0x40, &bytes), Ok(GatewayRecord::Principal(principal)));
    }

    #[test]
    fn records_of_a_newer_program_are_told_apart_from_damaged_ones() {
        assert_eq!(GatewayRecord::open(0x41, &[1, 7, 0]), Err(RecordError::UnknownKind(0x41)));
        assert_eq!(GatewayRecord::open(0x40, &[2, 7, 0]), Err(RecordError::NewerFormat(0x40, 2)));
        for damaged in [
            &[][..],
            &[0],
            &[1],
            &[1, 7],
            &[1, 7, 3, b'a'],
            &[1, 7, 2, 0xc3, 0x28],
            &[1, 0xff, 0xff, 0xff, 0xff, 0x7f, 0],
        ] {
            assert_eq!(GatewayRecord::open(0x40, damaged), Err(RecordError::Damaged), "{damaged:?}");
        }
    }
}
