//! Values of the command line. Each mistake in one is told with its option.

use lexopt::prelude::{Long, Short, Value};
use lexopt::{Arg, Error, Parser};
use std::ffi::OsString;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

/// The name of an option as it was typed.
pub(crate) fn name_of(arg: &Arg<'_>) -> String {
    match arg {
        Short(short) => format!("-{short}"),
        Long(long) => format!("--{long}"),
        Value(value) => value.to_string_lossy().into_owned(),
    }
}

/// The value of the option `name`, which is text.
pub(crate) fn text(parser: &mut Parser, name: &str) -> Result<String, Error> {
    let not_text = |value: OsString| format!("cannot parse argument {value:?} of {name}: it is no valid UTF-8");
    parser.value()?.into_string().map_err(|value| not_text(value).into())
}

/// The value of the option `name`, as `parse` reads it.
pub(crate) fn value<T, E: Display>(
    parser: &mut Parser,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Error> {
    let text = text(parser, name)?;
    parse(&text).map_err(|wanted| format!("cannot parse argument {text:?} of {name}: {wanted}").into())
}

/// The value of the option `name`, which is a path.
pub(crate) fn path(parser: &mut Parser, name: &str) -> Result<PathBuf, Error> {
    let value = parser.value()?;
    if value.is_empty() {
        Err(format!("the value of {name} is empty: a path is wanted").into())
    } else {
        Ok(value.into())
    }
}

/// Keeps the value of the option `name`, which may be given once: a second value would silently replace the first.
pub(crate) fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), Error> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{name} is given more than once, and takes one value").into()),
    }
}

/// Reads a number within `range`.
pub(crate) fn number<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String>
where
    T: Copy + Display + FromStr + PartialOrd,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("a number from {} to {} is wanted", range.start(), range.end()))
    }
}
