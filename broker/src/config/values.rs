//! Types of the values in the configuration file, as serde reads them. Each type says which values it accepts, and errors repeat that.

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::path::PathBuf;

/// A value as it stands in the file.
pub(crate) trait Value {
    /// The type that the configuration has for the value.
    type Of;

    fn get(self) -> Self::Of;
}

/// An integer from `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Integer<T, const LEAST: u64, const MOST: u64>(T);

impl<T, const LEAST: u64, const MOST: u64> Value for Integer<T, LEAST, MOST> {
    type Of = T;

    fn get(self) -> T {
        self.0
    }
}

impl<'de, T: TryFrom<u64>, const LEAST: u64, const MOST: u64> Deserialize<'de> for Integer<T, LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        scalar(from, format_args!("an integer from {LEAST} to {MOST}"), within(LEAST, MOST), |_| None).map(Self)
    }
}

/// Bytes from `LEAST` to `MOST`: an integer, or a string with a unit like `"64KiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes<T, const LEAST: u64, const MOST: u64>(T);

impl<T, const LEAST: u64, const MOST: u64> Value for Bytes<T, LEAST, MOST> {
    type Of = T;

    fn get(self) -> T {
        self.0
    }
}

impl<'de, T: TryFrom<u64>, const LEAST: u64, const MOST: u64> Deserialize<'de> for Bytes<T, LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let allowed = format_args!("bytes from {LEAST} to {MOST}, or a string like \"64KiB\" or \"1MiB\"");
        let with_unit = |text: &str| bytes_with_unit(text).and_then(|bytes| within(LEAST, MOST)(bytes.into()));
        scalar(from, allowed, within(LEAST, MOST), with_unit).map(Self)
    }
}

/// A value that is written as one of a few words.
pub(crate) trait Word: Copy + 'static {
    /// The words, and the value that each stands for.
    const WORDS: &'static [(&'static str, Self)];
}

/// One of the words of `T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OneOf<T>(T);

impl<T> Value for OneOf<T> {
    type Of = T;

    fn get(self) -> T {
        self.0
    }
}

impl<'de, T: Word> Deserialize<'de> for OneOf<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let words: Vec<String> = T::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let find = |text: &str| T::WORDS.iter().find(|(word, _)| *word == text).map(|(_, it)| Self(*it));
        string(from, format_args!("one of {}", words.join(", ")), find)
    }
}

/// `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Boolean(bool);

impl Value for Boolean {
    type Of = bool;

    fn get(self) -> bool {
        self.0
    }
}

impl<'de> Deserialize<'de> for Boolean {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TrueOrFalse;

        impl Visitor<'_> for TrueOrFalse {
            type Value = Boolean;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Boolean, E> {
                Ok(Boolean(value))
            }
        }

        from.deserialize_any(TrueOrFalse)
    }
}

/// A struct whose fields are the keys of a table.
pub(crate) trait Keys {
    /// How the table is written, for errors.
    const ALLOWED: &'static str;

    /// Checks which keys go together.
    ///
    /// # Errors
    /// A key is missing, or contradicts another.
    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// Why the keys of a table do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The table needs this key.
    Missing(&'static str),
    /// What is wrong, in words.
    Other(String),
}

/// A table with the keys of `T`. For `T` itself serde would accept a list too, and take its items for the values of the keys in their order.
#[derive(Debug)]
pub(crate) struct Table<T>(pub(crate) T);

impl<'de, T: Keys + Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Map<T>(PhantomData<T>);

        impl<'de, T: Keys + Deserialize<'de>> Visitor<'de> for Map<T> {
            type Value = Table<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::ALLOWED)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Table<T>, A::Error> {
                let keys = T::deserialize(MapAccessDeserializer::new(map))?;
                match keys.check() {
                    Ok(()) => Ok(Table(keys)),
                    Err(Fault::Missing(key)) => Err(A::Error::missing_field(key)),
                    Err(Fault::Other(message)) => Err(A::Error::custom(message)),
                }
            }
        }

        from.deserialize_any(Map(PhantomData))
    }
}

/// Reads a string that `parse` accepts; `allowed` describes such strings for errors.
pub(crate) fn string<'de, D: Deserializer<'de>, T>(
    from: D,
    allowed: impl Display,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    scalar(from, allowed, |_| None, parse)
}

/// Reads a path.
pub(crate) fn path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    string(from, "a path", |path| (!path.is_empty()).then(|| PathBuf::from(path))).map(Some)
}

/// Reads an integer that `integer` accepts, or a string that `text` accepts; `allowed` describes both for errors.
pub(crate) fn scalar<'de, D: Deserializer<'de>, T>(
    from: D,
    allowed: impl Display,
    integer: impl FnOnce(i128) -> Option<T>,
    text: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    let allowed = Allowed(&allowed);
    match from.deserialize_any(allowed)? {
        Scalar::Integer(given) => integer(given).ok_or_else(|| given.to_string()),
        Scalar::Text(given) => text(&given).ok_or(given),
    }
    .map_err(|given| D::Error::invalid_value(Unexpected::Other(&given), &allowed))
}

/// Accepts integers from `least` to `most`.
pub(crate) fn within<T: TryFrom<u64>>(least: u64, most: u64) -> impl Fn(i128) -> Option<T> {
    move |integer| {
        let integer = u64::try_from(integer).ok().filter(|integer| (least..=most).contains(integer))?;
        T::try_from(integer).ok()
    }
}

/// A value that is an integer or a string in the file.
enum Scalar {
    Integer(i128),
    Text(String),
}

/// A visitor that reads integers and strings for all types of values, so that this code of toml is compiled once. The text says which
/// values are accepted.
#[derive(Clone, Copy)]
struct Allowed<'a>(&'a dyn Display);

impl Visitor<'_> for Allowed<'_> {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }

    fn visit_i64<E: Error>(self, integer: i64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(integer.into()))
    }

    fn visit_u64<E: Error>(self, integer: u64) -> Result<Scalar, E> {
        Ok(Scalar::Integer(integer.into()))
    }

    fn visit_i128<E: Error>(self, integer: i128) -> Result<Scalar, E> {
        Ok(Scalar::Integer(integer))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }
}

/// Reads the items of a list; `allowed` describes the list that is wanted.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
    allowed: &'static str,
) -> Result<Vec<T>, D::Error> {
    from.deserialize_any(ListOf { allowed, least: 0, items: PhantomData })
}

/// As [`list`], but refuses an empty list.
pub(crate) fn list_of_some<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
    allowed: &'static str,
) -> Result<Vec<T>, D::Error> {
    from.deserialize_any(ListOf { allowed, least: 1, items: PhantomData })
}

struct ListOf<T> {
    allowed: &'static str,
    /// The smallest number of items.
    least: usize,
    items: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListOf<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.allowed)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        // TOML has no null, so each item is `Some`. With `Option` an error in an item gets the line of the item, and not of the list.
        while let Some(item) = seq.next_element::<Option<T>>()? {
            items.extend(item);
        }
        if items.len() < self.least { Err(A::Error::invalid_length(items.len(), &self)) } else { Ok(items) }
    }
}

/// Bytes as a string like `"64KiB"`.
pub(crate) fn bytes_with_unit(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text.strip_prefix(digits)?.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}
