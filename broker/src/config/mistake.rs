//! Errors about a configuration file, with line and key.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

/// A mistake in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The path of the configuration file.
    pub file: PathBuf,
    /// The line of the mistake, counted from 1; 0 if the file could not be read at all.
    pub line: usize,
    /// The full key, like `limits.inflight`; empty where the file is no TOML.
    pub key: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// The mistake for the `error` that the parser found in `text`, which was read from `file`.
    pub(crate) fn new(file: &Path, text: &str, error: &Error) -> Self {
        let span = error.span().unwrap_or_default();
        let (at, key, message) = match DeTable::parse(text) {
            Ok(document) => match find(document.get_ref(), &span, "") {
                Some(place) => in_words(error.message(), place, text, span),
                None => (span.start, String::new(), error.message().to_owned()),
            },
            Err(_) if is_without_value(text, span.start) => {
                (span.start, key_before(text, span.start), "a value is missing after =".to_owned())
            }
            Err(_) => (span.start, key_before(text, span.start), error.message().to_owned()),
        };
        let line = line_of(text, at);
        let message = message.lines().collect::<Vec<_>>().join("; ");
        Self { file: file.to_owned(), line, key, message }
    }
}

/// Turns a message of serde about a field into one about a key of the document, and returns the byte where the key stands. A message of serde that
/// this function does not know stays as it is.
fn in_words(message: &str, place: KeyPlace<'_>, text: &str, span: Range<usize>) -> (usize, String, String) {
    let KeyPlace { table, path, key } = place;
    let is_of_value = ["invalid type: ", "invalid value: ", "invalid length "].iter().any(|it| message.starts_with(it));
    if let Some(field) = message.strip_prefix("missing field `").and_then(|field| field.strip_suffix('`')) {
        return (span.start, format!("{path}{key}.{field}"), "missing; this table needs it".to_owned());
    }
    match message.rsplit_once(", expected ") {
        Some((_, fields)) if message.starts_with("unknown field ") => {
            let allowed: Vec<&str> = fields.split('`').skip(1).step_by(2).collect();
            // The first unknown key in the order of the file is reported: serde gets the keys in another order.
            let unknown = table.keys().filter(|key| !allowed.contains(&key.get_ref().as_ref()));
            let first = unknown.min_by_key(|key| key.span().start);
            let (at, key) = first.map_or((span.start, key), |key| (key.span().start, key.get_ref().to_string()));
            let suggested = suggestion(&key, &allowed).map(|it| format!("; did you mean {it}?")).unwrap_or_default();
            (at, format!("{path}{key}"), format!("unknown key; allowed here: {}{suggested}", allowed.join(", ")))
        }
        Some((_, allowed)) if is_of_value => {
            let given = text.get(span.clone()).and_then(|given| given.lines().next()).unwrap_or_default();
            (span.start, format!("{path}{key}"), format!("{given} is not allowed; allowed: {allowed}"))
        }
        _ => (span.start, format!("{path}{key}"), message.to_owned()),
    }
}

/// The line, counted from 1, in which a byte of a text stands.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}

/// The one of `words` that a mistyped `word` perhaps means.
pub(crate) fn suggestion<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    /// Three of ten characters may be wrong. Two characters that changed places count as one.
    const SIMILAR: f64 = 0.7;
    let how_similar = |known: &'a str| (strsim::normalized_damerau_levenshtein(word, known), known);
    // If several words are equally similar, max_by takes the last, so the words are walked from the end: the first of them wins.
    let similar = words.iter().rev().map(|known| how_similar(known)).filter(|(how, _)| *how >= SIMILAR);
    similar.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, known)| known)
}

/// A key of the document.
struct KeyPlace<'d> {
    /// The table that has it.
    table: &'d DeTable<'d>,
    /// The full key of that table and a dot; empty for the document.
    path: String,
    key: String,
}

/// Finds the key that stands at `span`, or whose value stands there. The span of a table with a header is that of the header, so it does not
/// contain the keys below.
fn find<'d>(table: &'d DeTable<'d>, span: &Range<usize>, path: &str) -> Option<KeyPlace<'d>> {
    table.iter().find_map(|(key, value)| {
        let key_text = key.get_ref();
        if key.span() == *span || is_at(value, span) {
            return Some(KeyPlace { table, path: path.to_owned(), key: key_text.to_string() });
        }
        let path = format!("{path}{key_text}.");
        let find_in = |value: &'d Spanned<DeValue<'d>>| find(value.get_ref().as_table()?, span, &path);
        find_in(value).or_else(|| value.get_ref().as_array()?.iter().find_map(find_in))
    })
}

/// Whether `value` stands at `span`, or, if `value` is a list, one of its items does.
fn is_at(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    let items = value.get_ref().as_array();
    value.span() == *span || items.is_some_and(|items| items.iter().any(|item| is_at(item, span)))
}

/// Whether no value follows at byte `at`, where one must: the line or the table ends there.
fn is_without_value(text: &str, at: usize) -> bool {
    let (before, after) = text.split_at(at);
    let rest = after.lines().next().unwrap_or_default().split('#').next().unwrap_or_default();
    (rest.trim().is_empty() || rest.trim_start().starts_with(['}', ',']))
        && before.trim_end_matches([' ', '\t']).ends_with('=')
}

/// The key that was being read when the parser stopped at byte `at`, as far as the text shows it; empty if there is none.
fn key_before(text: &str, at: usize) -> String {
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    let mut key = None;
    for line in text[..end].lines().rev().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let table = header.trim_start_matches('[').split([']', '#']).next().unwrap_or_default().trim();
            return match key {
                Some(key) => format!("{table}.{key}"),
                None => table.to_owned(),
            };
        }
        let name = line.split('=').next().unwrap_or_default().trim();
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if key.is_none() && is_name && (line.contains('=') || line == name) {
            key = Some(name);
        }
    }
    key.unwrap_or_default().to_owned()
}
