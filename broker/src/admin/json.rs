//! JSON, an object on each line.

use std::fmt::{Display, Write as _};

/// A JSON object on one line.
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn new() -> Self {
        Self("{".to_owned())
    }

    fn name(&mut self, name: &str) -> &mut String {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{name}\":");
        &mut self.0
    }

    /// Whatever looks in JSON as it prints: numbers, truth values.
    pub(crate) fn number(&mut self, name: &str, value: impl Display) -> &mut Self {
        let _ = write!(self.name(name), "{value}");
        self
    }

    pub(crate) fn optional(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.number(name, value),
            None => self.number(name, "null"),
        }
    }

    /// Text, in which control and invisible characters are escaped: whoever prints the line sees what is there.
    pub(crate) fn text(&mut self, name: &str, text: &str) -> &mut Self {
        let out = self.name(name);
        out.push('"');
        for char in text.chars() {
            match char {
                '"' | '\\' => out.extend(['\\', char]),
                '\n' => out.push_str("\\n"),
                char if is_invisible(char) => {
                    let mut units = [0; 2];
                    char.encode_utf16(&mut units).iter().for_each(|unit| _ = write!(out, "\\u{unit:04x}"));
                }
                char => out.push(char),
            }
        }
        out.push('"');
        self
    }

    pub(crate) fn object(&mut self, name: &str, inner: Self) -> &mut Self {
        self.number(name, inner.0 + "}")
    }

    pub(crate) fn end(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

fn is_invisible(char: char) -> bool {
    char.is_control() || (!char.is_ascii() && char.escape_debug().len() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        let mut object = Object::new();
        object.text("a", "\"\\\n\u{1}ü\u{7f}\u{202e}\u{e0001}").number("b", true);
        let mut inner = Object::new();
        inner.number("d", 1);
        object.object("c", inner).object("e", Object::new());
        assert_eq!(
            object.end(),
            "{\"a\":\"\\\"\\\\\\n\\u0001ü\\u007f\\u202e\\udb40\\udc01\",\"b\":true,\"c\":{\"d\":1},\"e\":{}}\n"
        );
    }
}
