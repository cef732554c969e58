//! Parsers for the values of options. Each error says which value is wanted.

use clap::builder::{OsStringValueParser, TypedValueParser};
use std::ffi::OsString;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// Accepts text that `parse` accepts. If a value is not UTF-8, clap's own parser of strings does not name the option in its
/// error; this parser does.
pub(super) fn text<T, E>(parse: fn(&str) -> Result<T, E>) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
    E: Display + 'static,
{
    OsStringValueParser::new().try_map(move |value| match value.to_str() {
        Some(text) => parse(text).map_err(|wanted| wanted.to_string()),
        None => Err("it is no valid UTF-8".to_owned()),
    })
}

/// Accepts any text.
pub(super) fn any(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// Accepts a path that is not empty.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|value: OsString| match value.is_empty() {
        true => Err("a path is wanted"),
        false => Ok(PathBuf::from(value)),
    })
}

/// Reads a number within `range`.
pub(super) fn number<T>(text: &str, range: RangeInclusive<T>) -> Result<T, String>
where
    T: Copy + Display + FromStr + PartialOrd,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("a number from {} to {} is wanted", range.start(), range.end()))
}
