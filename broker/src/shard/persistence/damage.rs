//! Describes damage of a store in words, for the log at a start and for `goldcrest store`.

use crate::access;
use goldcrest_core::record::Kind;
use goldcrest_store::Damage;

/// Describes the losses and the damage that was found.
pub(crate) fn describe_damage(damage: &Damage) -> String {
    let Damage { places, bytes, records, frames, missing, frames_missing, foreign, misnamed } = damage;
    let mut parts = Vec::new();
    if *places > 0 {
        parts.push(format!("{places} places with {bytes} bytes in all"));
    }
    for (kind, count) in records {
        parts.push(format!("{count} records of kind {}", kind_name(*kind)));
    }
    if *frames > 0 {
        parts.push(format!("{frames} groups of records of which nobody knows what was in them"));
    }
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|seq| goldcrest_store::segment_name(*seq)).collect();
        parts.push(format!(
            "with what they held these files are missing, or there only as they were before: {}",
            names.join(" ")
        ));
    }
    if *frames_missing > 0 {
        parts.push(format!("the end is missing: the last {frames_missing} groups of records that were safe"));
    }
    if !foreign.is_empty() {
        parts.push(format!("files of another store, or of another time of this one: {}", foreign.join(" ")));
    }
    if *misnamed > 0 {
        parts.push(format!("{misnamed} files have the names of others"));
    }
    parts.join(", ")
}

pub(crate) fn kind_name(kind: u8) -> String {
    let known = Kind::ALL.iter().find(|known| **known as u8 == kind);
    match (known, access::kind_name(kind)) {
        (Some(kind), _) => format!("{kind:?}"),
        (None, Some(name)) => name.to_owned(),
        (None, None) => kind.to_string(),
    }
}
