//! JSON, one object on each line.

use serde::Serialize;
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, Serializer};
use std::io;

/// `object` as one line. Control characters and invisible characters in its texts are escaped, so that a printed line hides
/// nothing.
///
/// # Panics
/// If a map in `object` has keys that are not texts, or a serializer that `object` brings along fails. The objects of this crate
/// do neither.
pub(crate) fn line(object: &impl Serialize) -> String {
    let mut bytes = Vec::with_capacity(128);
    let written = object.serialize(&mut Serializer::with_formatter(&mut bytes, EscapeInvisible));
    written.expect("a struct of numbers and texts can always be written to memory");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Writes as [`CompactFormatter`] does, but escapes more characters.
struct EscapeInvisible;

impl Formatter for EscapeInvisible {
    /// serde_json itself escapes quotation marks, backslashes and the control characters of ASCII; it passes them as
    /// [`CharEscape`], and not to this function.
    fn write_string_fragment<W: io::Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_invisible) {
            let (visible, invisible) = rest.split_at(at);
            writer.write_all(visible.as_bytes())?;
            let mut chars = invisible.chars();
            let char = chars.next().unwrap_or_default();
            for unit in char.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: io::Write + ?Sized>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        CompactFormatter.write_char_escape(writer, escape)
    }
}

fn is_invisible(char: char) -> bool {
    char.is_control() || (!char.is_ascii() && char.escape_debug().len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Inner {
        d: u8,
    }

    #[derive(Serialize)]
    struct Outer<'a> {
        a: &'a str,
        b: bool,
        c: Inner,
        e: Option<u8>,
    }

    #[test]
    fn invisible_characters_in_a_text_are_escaped() {
        let a = "\"\\\n\u{1}\u{1b}ü\u{7f}x\u{202e}\u{e0001}y";
        let written = line(&Outer { a, b: true, c: Inner { d: 1 }, e: None });
        assert_eq!(
            written,
            "{\"a\":\"\\\"\\\\\\n\\u0001\\u001bü\\u007fx\\u202e\\udb40\\udc01y\",\"b\":true,\"c\":{\"d\":1},\"e\":null}\n"
        );
        let read: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(read["a"], a);
    }
}
