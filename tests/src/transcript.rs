//! The packets that all clients of a test sent and received, in order. They are printed when the test fails.

use goldcrest_core::codec::{Packet, Version, split};
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// The transcript of one test, shared by its clients. Packets become text only when it is printed.
#[derive(Clone, Default)]
pub struct Transcript(Rc<RefCell<Vec<Entry>>>);

enum Entry {
    Bytes { name: Rc<str>, direction: char, version: Version, bytes: Vec<u8> },
    Remark(String),
}

impl Transcript {
    /// Notes that a client sent (`>`) or received (`<`) these bytes.
    pub fn note(&self, name: &Rc<str>, direction: char, version: Version, bytes: &[u8]) {
        let entry = Entry::Bytes { name: name.clone(), direction, version, bytes: bytes.to_vec() };
        self.0.borrow_mut().push(entry);
    }

    /// Notes another event.
    pub fn remark(&self, text: String) {
        self.0.borrow_mut().push(Entry::Remark(text));
    }

    /// Forgets all entries.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.borrow().iter().try_for_each(|entry| match entry {
            Entry::Bytes { name, direction, version, bytes } => {
                writeln!(f, "  {name}{direction} {}  {}", hex(bytes), in_words(*version, bytes))
            }
            Entry::Remark(text) => writeln!(f, "  {text}"),
        })
    }
}

/// Bytes in hexadecimal, as the specification prints them; long ones are cut.
pub fn hex(bytes: &[u8]) -> String {
    let shown: Vec<String> = bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect();
    let rest = if bytes.len() > 64 { format!(" … {} bytes", bytes.len()) } else { String::new() };
    shown.join(" ") + &rest
}

fn in_words(version: Version, bytes: &[u8]) -> String {
    let Ok(Some((frame, len))) = split(bytes, u32::MAX) else { return String::new() };
    let text = match Packet::decode(version, frame) {
        Ok(packet) if len == bytes.len() => format!("{packet:?}"),
        _ => return String::new(),
    };
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}
