//! Reads a TOML document key by key, so that each mistake is told with its line, its key and what is allowed there.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

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

/// Parses `text`, lets `read` take what it knows, and refuses what is left.
pub(super) fn read_document<T>(
    file: &Path,
    text: &str,
    read: impl FnOnce(&mut Section<'_>) -> Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    let source = Source { file, text };
    let document = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let message = match error.message() {
            _ if is_without_value(text, start) => "a value is missing after =".to_owned(),
            message => message.lines().collect::<Vec<_>>().join("; "),
        };
        source.error(start, &key_before(text, start), message)
    })?;
    Section { source, path: String::new(), table: document.get_ref(), known: Vec::new() }.read(read)
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

#[derive(Clone, Copy)]
struct Source<'d> {
    file: &'d Path,
    text: &'d str,
}

impl Source<'_> {
    fn error(&self, at: usize, key: &str, message: String) -> ConfigError {
        let line = 1 + self.text.bytes().take(at).filter(|&byte| byte == b'\n').count();
        ConfigError { file: self.file.to_owned(), line, key: key.to_owned(), message }
    }
}

/// One table of the document. Each getter names a key that may be there; a key that no getter named is unknown.
pub(super) struct Section<'d> {
    source: Source<'d>,
    path: String,
    table: &'d DeTable<'d>,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    fn read<T>(mut self, read: impl FnOnce(&mut Self) -> Result<T, ConfigError>) -> Result<T, ConfigError> {
        let value = read(&mut self)?;
        self.refuse_unknown()?;
        Ok(value)
    }

    /// Refuses the first key that no getter has named.
    fn refuse_unknown(&self) -> Result<(), ConfigError> {
        // In the order of the file, which the table does not keep.
        let unknown = self.table.keys().filter(|key| !self.known.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else { return Ok(()) };
        let message = format!("unknown key; allowed here: {}", self.known.join(", "));
        Err(self.source.error(key.span().start, &self.full_key(key.get_ref()), message))
    }

    /// The table `key`, if it is there.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> Result<T, ConfigError>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let DeValue::Table(table) = value.get_ref() else {
            return Err(self.wrong(key, value, &format!("a table: [{}]", self.full_key(key))));
        };
        self.child(self.full_key(key), table).read(read).map(Some)
    }

    /// The tables of the list `key`, if it is there.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Section<'_>) -> Result<T, ConfigError>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let allowed = format!("a list of tables: [[{}]]", self.full_key(key));
        let DeValue::Array(items) = value.get_ref() else { return Err(self.wrong(key, value, &allowed)) };
        let read_item = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::Table(table) => self.child(self.full_key(key), table).read(&mut read),
            _ => Err(self.wrong(key, item, &allowed)),
        };
        items.iter().map(read_item).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// As [`Section::sections`], for a list that is of no use without any.
    pub(super) fn sections_at_least_one<T>(
        &mut self,
        key: &'static str,
        read: impl FnMut(&mut Section<'_>) -> Result<T, ConfigError>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let sections = self.sections(key, read)?;
        match self.table.get(key) {
            Some(value) if sections.as_ref().is_some_and(Vec::is_empty) => {
                let allowed =
                    format!("at least one table: [[{0}]]; without {0} the default is taken", self.full_key(key));
                Err(self.wrong(key, value, &allowed))
            }
            _ => Ok(sections),
        }
    }

    /// An integer within `range`.
    pub(super) fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Result<Option<T>, ConfigError>
    where
        T: Copy + PartialOrd + TryFrom<i128> + fmt::Display,
    {
        let Some(value) = self.get(key) else { return Ok(None) };
        match integer_in(value, &range) {
            Some(integer) => Ok(Some(integer)),
            None => Err(self.wrong(key, value, &format!("an integer from {} to {}", range.start(), range.end()))),
        }
    }

    /// An integer within `range`, or the string `word`, which stands for what `value_of_word` gives.
    pub(super) fn integer_or<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<T>,
        word: &str,
        value_of_word: impl FnOnce() -> T,
    ) -> Result<Option<T>, ConfigError>
    where
        T: Copy + PartialOrd + TryFrom<i128> + fmt::Display,
    {
        let Some(value) = self.get(key) else { return Ok(None) };
        let given = match value.get_ref().as_str() {
            Some(text) => (text == word).then(value_of_word),
            None => integer_in(value, &range),
        };
        let allowed = || format!("an integer from {} to {}, or \"{word}\"", range.start(), range.end());
        given.map(Some).ok_or_else(|| self.wrong(key, value, &allowed()))
    }

    /// A number of bytes within `range`: an integer, or a string with a unit like `"64KiB"`.
    pub(super) fn bytes(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let bytes = match value.get_ref() {
            DeValue::String(text) => bytes_with_unit(text).filter(|bytes| range.contains(bytes)),
            _ => integer_in(value, &range),
        };
        let allowed =
            || format!("bytes from {} to {}, or a string like \"64KiB\" or \"1MiB\"", range.start(), range.end());
        bytes.map(Some).ok_or_else(|| self.wrong(key, value, &allowed()))
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Boolean(boolean) => Ok(Some(*boolean)),
            _ => Err(self.wrong(key, value, "true or false")),
        }
    }

    /// A string that `parse` takes; `allowed` says which it does.
    pub(super) fn string<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let parsed = value.get_ref().as_str().and_then(parse);
        parsed.map(Some).ok_or_else(|| self.wrong(key, value, allowed))
    }

    /// A list of strings that `parse` takes; `allowed` says which it does.
    pub(super) fn strings<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let DeValue::Array(items) = value.get_ref() else { return Err(self.wrong(key, value, allowed)) };
        let parse_item = |item: &Spanned<DeValue<'_>>| {
            item.get_ref().as_str().and_then(&parse).ok_or_else(|| self.wrong(key, item, allowed))
        };
        items.iter().map(parse_item).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// One of the words of `choices`.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, ConfigError> {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let allowed = format!("one of {}", words.join(", "));
        self.string(key, &allowed, |text| choices.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice))
    }

    /// `value`, or the complaint that `key` is missing. All that may be in the table has been asked for before.
    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, ConfigError> {
        if value.is_none() {
            // Perhaps it was to be this one.
            self.refuse_unknown()?;
        }
        let start = || self.table.keys().map(|key| key.span().start).min().unwrap_or(0);
        value.ok_or_else(|| self.source.error(start(), &self.full_key(key), "missing; this table needs it".to_owned()))
    }

    fn get(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn child<'c>(&self, path: String, table: &'c DeTable<'c>) -> Section<'c>
    where
        'd: 'c,
    {
        Section { source: self.source, path, table, known: Vec::new() }
    }

    fn full_key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, allowed: &str) -> ConfigError {
        let Range { start, end } = value.span();
        let given = self.source.text.get(start..end).and_then(|text| text.lines().next()).unwrap_or_default();
        self.source.error(start, &self.full_key(key), format!("{given} is not allowed; allowed: {allowed}"))
    }
}

fn integer_in<T>(value: &Spanned<DeValue<'_>>, range: &RangeInclusive<T>) -> Option<T>
where
    T: Copy + PartialOrd + TryFrom<i128>,
{
    let integer = value.get_ref().as_integer()?;
    let integer = i128::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    T::try_from(integer).ok().filter(|integer| range.contains(integer))
}

fn bytes_with_unit(text: &str) -> Option<u64> {
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
