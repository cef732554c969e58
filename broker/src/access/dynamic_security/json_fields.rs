//! Looks up the fields of a JSON object as Mosquitto does, whose library for JSON takes no notice of the case of names.

use serde_json::{Map, Value};

/// The fields of an object.
#[derive(Clone, Copy)]
pub(super) struct JsonFields<'v>(&'v Map<String, Value>);

/// A field is missing, or is of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongField;

impl<'v> JsonFields<'v> {
    /// The fields of a value; `None` if it is no object.
    pub(super) fn of(value: &'v Value) -> Option<Self> {
        value.as_object().map(Self)
    }

    pub(super) fn get(self, name: &str) -> Option<&'v Value> {
        let any_case = || self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        self.0.get(name).or_else(any_case)
    }

    /// A text that must be there.
    pub(super) fn text(self, name: &str) -> Result<&'v str, WrongField> {
        self.get(name).and_then(Value::as_str).ok_or(WrongField)
    }

    /// A text; `None` if it is missing.
    pub(super) fn optional_text(self, name: &str) -> Result<Option<&'v str>, WrongField> {
        self.get(name).map(|value| value.as_str().ok_or(WrongField)).transpose()
    }

    /// Yes or no; `None` if it is missing.
    pub(super) fn optional_bool(self, name: &str) -> Result<Option<bool>, WrongField> {
        self.get(name).map(|value| value.as_bool().ok_or(WrongField)).transpose()
    }

    /// A whole number, or the nearest one that there is; `None` if it is missing.
    pub(super) fn optional_number(self, name: &str) -> Result<Option<i32>, WrongField> {
        let number = |value: &Value| value.as_f64().map(|number| number as i32).ok_or(WrongField);
        self.get(name).map(number).transpose()
    }

    /// A number, or `default` if it is missing or something else.
    pub(super) fn number_or(self, name: &str, default: i32) -> i32 {
        self.optional_number(name).ok().flatten().unwrap_or(default)
    }

    pub(super) fn bool_or(self, name: &str, default: bool) -> bool {
        self.optional_bool(name).ok().flatten().unwrap_or(default)
    }

    /// A list; `None` if it is missing.
    pub(super) fn optional_list(self, name: &str) -> Result<Option<&'v [Value]>, WrongField> {
        let list = |value: &'v Value| value.as_array().map(Vec::as_slice).ok_or(WrongField);
        self.get(name).map(list).transpose()
    }
}

/// Whether a text may stand in an MQTT packet, and has no control characters or non-characters: what Mosquitto takes for valid UTF-8.
pub(super) fn is_utf8_of_mqtt(text: &str) -> bool {
    let is_non_character = |c: char| matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    text.len() <= usize::from(u16::MAX) && !text.contains(|c: char| c.is_control() || is_non_character(c))
}
