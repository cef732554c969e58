//! What is wrong with a configuration file, with its line and key.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

/// A mistake in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1; 0 where the file could not be read at all.
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
    /// What `error` found in `text`, which was read from `file`.
    pub(super) fn new(file: &Path, text: &str, error: &Error) -> Self {
        let span = error.span().unwrap_or_default();
        let line = 1 + text.bytes().take(span.start).filter(|&byte| byte == b'\n').count();
        let (key, message) = match DeTable::parse(text) {
            Ok(document) => {
                let mut key = String::new();
                find(document.get_ref(), &span, "", &mut key);
                let given = text.get(span).and_then(|given| given.lines().next()).unwrap_or_default();
                in_words(error.message(), key, given)
            }
            Err(_) if is_without_value(text, span.start) => {
                (key_before(text, span.start), "a value is missing after =".to_owned())
            }
            Err(_) => (key_before(text, span.start), error.message().to_owned()),
        };
        let message = message.lines().collect::<Vec<_>>().join("; ");
        Self { file: file.to_owned(), line, key, message }
    }
}

/// Says of the key of the document what serde has said of its field. What serde says in no way known here stays as it is.
fn in_words(message: &str, key: String, given: &str) -> (String, String) {
    let is_of_value = ["invalid type: ", "invalid value: ", "invalid length "].iter().any(|it| message.starts_with(it));
    if let Some(field) = message.strip_prefix("missing field `").and_then(|field| field.strip_suffix('`')) {
        return (format!("{key}.{field}"), "missing; this table needs it".to_owned());
    }
    let words = match message.rsplit_once(", expected ") {
        Some((_, fields)) if message.starts_with("unknown field ") => {
            let allowed: Vec<&str> = fields.split('`').skip(1).step_by(2).collect();
            let suggested = suggestion(key.rsplit('.').next().unwrap_or_default(), &allowed);
            let suggested = suggested.map(|it| format!("; did you mean {it}?")).unwrap_or_default();
            format!("unknown key; allowed here: {}{suggested}", allowed.join(", "))
        }
        Some((_, allowed)) if is_of_value => format!("{given} is not allowed; allowed: {allowed}"),
        _ => message.to_owned(),
    };
    (key, words)
}

/// The one of `words` that a mistyped `word` was perhaps to be.
fn suggestion<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    /// Three of ten characters may be wrong. Two that changed places count as one.
    const SIMILAR: f64 = 0.7;
    let how_similar = |known: &'a str| (strsim::normalized_damerau_levenshtein(word, known), known);
    // Of two that are as similar the first is the last here, and is taken.
    let similar = words.iter().rev().map(|known| how_similar(known)).filter(|(how, _)| *how >= SIMILAR);
    similar.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, known)| known)
}

/// Finds the full key that is written, or whose value is, at `span`. Headers of tables are their spans, so a table need not
/// contain what is in it.
fn find(table: &DeTable<'_>, span: &Range<usize>, path: &str, found: &mut String) {
    for (key, value) in table {
        let name = key.get_ref();
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        if key.span() == *span {
            found.clone_from(&path);
        }
        find_in(value, span, &path, found);
    }
}

fn find_in(value: &Spanned<DeValue<'_>>, span: &Range<usize>, path: &str, found: &mut String) {
    if value.span() == *span {
        path.clone_into(found);
    }
    match value.get_ref() {
        DeValue::Table(table) => find(table, span, path, found),
        DeValue::Array(items) => items.iter().for_each(|item| find_in(item, span, path, found)),
        _ => {}
    }
}

/// Whether at byte `at` there ought to be a value, and is the end of a line or table.
fn is_without_value(text: &str, at: usize) -> bool {
    let (before, after) = text.split_at(at);
    let rest = after.lines().next().unwrap_or_default().split('#').next().unwrap_or_default();
    (rest.trim().is_empty() || rest.trim_start().starts_with(['}', ',']))
        && before.trim_end_matches([' ', '\t']).ends_with('=')
}

/// The key that was being read at byte `at` of a text that is no TOML there, as well as can be told; empty if there is none.
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
