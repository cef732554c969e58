//! The Topic Filter of a rule, in which `%c` stands for the Client Identifier and `%u` for the user name.

use std::borrow::Cow;

/// What a rule's placeholders stand for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SubjectNames<'a> {
    /// `None`: the client has no user name, so no rule with `%u` is about it.
    pub(crate) user: Option<&'a [u8]>,
    pub(crate) client_id: &'a [u8],
}

impl SubjectNames<'_> {
    fn of(&self, placeholder: Placeholder) -> Option<&[u8]> {
        match placeholder {
            Placeholder::ClientId => Some(self.client_id),
            Placeholder::User => self.user,
        }
    }
}

/// Whether a name can stand in a level: a wildcard would stand for other names, and a slash would make two levels of one.
fn is_level(name: &[u8]) -> bool {
    !name.is_empty() && !name.iter().any(|byte| matches!(byte, b'+' | b'#' | b'/' | 0))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    ClientId,
    User,
}

/// A part of a level.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LevelPart {
    Text(Box<str>),
    Name(Placeholder),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum FilterLevel {
    Text(Box<str>),
    /// `+`
    Any,
    /// `#`
    Rest,
    /// A level with placeholders.
    Named(Box<[LevelPart]>),
}

/// How the topics of the filter are found. The first shapes are the usual ones, and cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    /// The topic with the text of the filter.
    One,
    /// The topic with the text of `start`, and all below it.
    Below,
    /// All topics but those that begin with `$`.
    All,
    /// The topics whose first levels are `start`, and whose other levels match these.
    Levels(Box<[FilterLevel]>),
}

/// The Topic Filter of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleFilter {
    /// The filter as it was written.
    text: Box<str>,
    /// The bytes of the first levels, which topics have too, without a slash at the end.
    start: usize,
    /// Whether there are such levels; one level may be empty.
    has_text: bool,
    shape: Shape,
    has_client_id: bool,
    has_user: bool,
}

/// Why a text is not the filter of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleFilterError {
    /// It is empty, too long, or has U+0000.
    NoFilter,
    MisplacedWildcard,
    /// `%c` or `%u` is a part of a level.
    PlaceholderInLevel,
}

impl RuleFilterError {
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::NoFilter => "a Topic Filter has 1 to 65,535 bytes, and no U+0000",
            Self::MisplacedWildcard => "'+' fills a level and '#' is the whole last level",
            Self::PlaceholderInLevel => "%c and %u each fill a whole level, as in \"sensors/%c/temperature\"",
        }
    }
}

/// Where placeholders may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placeholders {
    /// `%c` and `%u` are ordinary text.
    Nowhere,
    WholeLevels,
    /// `%c` and `%u` are ordinary text where they are a part of a level.
    WholeLevelsOrText,
    Anywhere,
}

impl RuleFilter {
    /// Reads the text of a filter. `$share/` has no special meaning: no topic begins with it.
    pub(crate) fn new(text: &str, placeholders: Placeholders) -> Result<Self, RuleFilterError> {
        if text.is_empty() || text.len() > usize::from(u16::MAX) || text.contains('\0') {
            return Err(RuleFilterError::NoFilter);
        }
        let last = text.split('/').count() - 1;
        let mut levels = Vec::with_capacity(last + 1);
        for (at, level) in text.split('/').enumerate() {
            levels.push(match level {
                "+" => FilterLevel::Any,
                "#" if at == last => FilterLevel::Rest,
                _ if level.contains(['+', '#']) => return Err(RuleFilterError::MisplacedWildcard),
                _ => level_of(level, placeholders)?,
            });
        }
        let has = |placeholder| {
            let is_one = |part: &LevelPart| *part == LevelPart::Name(placeholder);
            levels.iter().any(|level| matches!(level, FilterLevel::Named(parts) if parts.iter().any(is_one)))
        };
        let (has_client_id, has_user) = (has(Placeholder::ClientId), has(Placeholder::User));
        let of_text = |level: &&FilterLevel| matches!(level, FilterLevel::Text(_));
        let texts = levels.iter().take_while(of_text).count();
        let start = text.split('/').take(texts).map(|level| level.len() + 1).sum::<usize>().saturating_sub(1);
        let has_text = texts > 0;
        let shape = match &levels[texts..] {
            [] => Shape::One,
            [FilterLevel::Rest] if has_text => Shape::Below,
            [FilterLevel::Rest] => Shape::All,
            rest => Shape::Levels(rest.into()),
        };
        Ok(Self { text: text.into(), start, has_text, shape, has_client_id, has_user })
    }

    /// The filter as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn has_client_id(&self) -> bool {
        self.has_client_id
    }

    /// How each topic that the filter matches begins.
    pub(super) fn start(&self) -> TopicStart {
        let start = &self.text.as_bytes()[..self.start];
        TopicStart { head: head_of(start), mask: mask_of(start.len()) }
    }

    /// Whether the filter matches a topic. A filter with a name that can't stand in a level matches
    /// nothing; with `is_wide` it matches as if `#` stood there.
    pub(super) fn matches(&self, topic: &str, names: &SubjectNames<'_>, is_wide: bool) -> bool {
        let (topic, start) = (topic.as_bytes(), &self.text.as_bytes()[..self.start]);
        let Some(rest) = topic.strip_prefix(start) else { return false };
        match &self.shape {
            Shape::One => rest.is_empty(),
            Shape::Below => rest.first().is_none_or(|&byte| byte == b'/'),
            Shape::All => rest.first() != Some(&b'$'),
            Shape::Levels(levels) => self.levels_match(levels, rest, names, is_wide),
        }
    }

    fn levels_match(&self, levels: &[FilterLevel], rest: &[u8], names: &SubjectNames<'_>, is_wide: bool) -> bool {
        let mut rest = match rest.split_first() {
            // No wildcard and no name stands for a first level that begins with `$`.
            Some((b'$', _)) if !self.has_text => return false,
            _ if !self.has_text => Some(rest),
            Some((b'/', rest)) => Some(rest),
            Some(_) => return false,
            None => None,
        };
        for level in levels {
            if *level == FilterLevel::Rest {
                return true;
            }
            if let FilterLevel::Named(parts) = level
                && is_wide
                && is_unusable(parts, names)
            {
                return true;
            }
            let Some(bytes) = rest else { return false };
            let end = bytes.iter().position(|&byte| byte == b'/').unwrap_or(bytes.len());
            let is_same = match level {
                FilterLevel::Text(text) => text.as_bytes() == &bytes[..end],
                FilterLevel::Any => true,
                FilterLevel::Named(parts) => is_made_of(&bytes[..end], parts, names),
                FilterLevel::Rest => return true,
            };
            if !is_same {
                return false;
            }
            rest = bytes.get(end + 1..);
        }
        rest.is_none()
    }

    /// The filter with the names put in; `None` if it matches nothing, because a name can't stand in a level, or there is no user name.
    /// With `is_wide` a `#` stands in place of a name that can't stand in a level.
    pub(super) fn with_names(&self, names: &SubjectNames<'_>, is_wide: bool) -> Option<Cow<'_, str>> {
        let Shape::Levels(levels) = &self.shape else { return Some(Cow::Borrowed(&self.text)) };
        if !self.has_client_id && !self.has_user {
            return Some(Cow::Borrowed(&self.text));
        }
        let mut text = self.text[..self.start].to_owned();
        for (at, level) in levels.iter().enumerate() {
            if at > 0 || self.has_text {
                text.push('/');
            }
            match level {
                FilterLevel::Text(same) => text.push_str(same),
                FilterLevel::Any => text.push('+'),
                FilterLevel::Rest => text.push('#'),
                FilterLevel::Named(parts) => {
                    let made: Option<Vec<&[u8]>> = parts.iter().map(|part| part.text(names)).collect();
                    // Without a user name the rule is about nobody, wide or not.
                    let made = String::from_utf8(made?.concat()).ok()?;
                    if parts.iter().any(|part| part.is_unusable(names)) {
                        text.push('#');
                        return is_wide.then_some(Cow::Owned(text));
                    }
                    // No name makes the filter match topics that begin with `$`.
                    if at == 0 && !self.has_text && made.starts_with('$') {
                        return None;
                    }
                    text.push_str(&made);
                }
            }
        }
        Some(Cow::Owned(text))
    }
}

impl LevelPart {
    fn text<'a>(&'a self, names: &'a SubjectNames<'_>) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text.as_bytes()),
            Self::Name(placeholder) => names.of(*placeholder),
        }
    }

    fn is_unusable(&self, names: &SubjectNames<'_>) -> bool {
        matches!(self, Self::Name(placeholder) if names.of(*placeholder).is_some_and(|name| !is_level(name)))
    }
}

fn is_unusable(parts: &[LevelPart], names: &SubjectNames<'_>) -> bool {
    parts.iter().all(|part| part.text(names).is_some()) && parts.iter().any(|part| part.is_unusable(names))
}

/// Whether a level of a topic is these parts, one behind the other. A level of a topic has no wildcard, slash or U+0000, so a name that has
/// one is never found.
fn is_made_of(level: &[u8], parts: &[LevelPart], names: &SubjectNames<'_>) -> bool {
    let mut rest = level;
    for part in parts {
        let Some(text) = part.text(names) else { return false };
        let Some(behind) = rest.strip_prefix(text) else { return false };
        rest = behind;
    }
    // A client without an identifier has no level of its own.
    rest.is_empty() && !level.is_empty()
}

fn level_of(level: &str, placeholders: Placeholders) -> Result<FilterLevel, RuleFilterError> {
    match (level, placeholders) {
        (_, Placeholders::Nowhere) => return Ok(FilterLevel::Text(level.into())),
        ("%c", _) => return Ok(FilterLevel::Named([LevelPart::Name(Placeholder::ClientId)].into())),
        ("%u", _) => return Ok(FilterLevel::Named([LevelPart::Name(Placeholder::User)].into())),
        (_, Placeholders::WholeLevelsOrText) => return Ok(FilterLevel::Text(level.into())),
        _ => {}
    }
    let mut parts = Vec::new();
    let mut rest = level;
    let next = |text: &str| text.match_indices('%').map(|(at, _)| at).find(|at| text[at + 1..].starts_with(['c', 'u']));
    while let Some(at) = next(rest) {
        if placeholders == Placeholders::WholeLevels {
            return Err(RuleFilterError::PlaceholderInLevel);
        }
        if at > 0 {
            parts.push(LevelPart::Text(rest[..at].into()));
        }
        let is_user = rest[at + 1..].starts_with('u');
        parts.push(LevelPart::Name(if is_user { Placeholder::User } else { Placeholder::ClientId }));
        rest = &rest[at + 2..];
    }
    if parts.is_empty() {
        return Ok(FilterLevel::Text(level.into()));
    }
    if !rest.is_empty() {
        parts.push(LevelPart::Text(rest.into()));
    }
    Ok(FilterLevel::Named(parts.into()))
}

/// At most eight bytes with which topics begin: enough to tell most topics from most filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicStart {
    head: u64,
    mask: u64,
}

impl TopicStart {
    /// Whether a topic with this [`head_of`] may begin so.
    #[inline]
    pub(super) fn is_at(self, head: u64) -> bool {
        head & self.mask == self.head
    }
}

/// The first eight bytes of a text as a number; zeros stand for those that it does not have.
#[inline]
pub(super) fn head_of(text: &[u8]) -> u64 {
    match text.first_chunk() {
        Some(head) => u64::from_le_bytes(*head),
        None => {
            let mut head = [0; 8];
            head[..text.len()].copy_from_slice(text);
            u64::from_le_bytes(head)
        }
    }
}

fn mask_of(len: usize) -> u64 {
    match len {
        0 => 0,
        1..8 => (1 << (8 * len)) - 1,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goldcrest_core::{TopicFilter, TopicName};

    fn filter(text: &str) -> RuleFilter {
        RuleFilter::new(text, Placeholders::WholeLevels).unwrap()
    }

    fn is_match(filter: &RuleFilter, topic: &str, names: SubjectNames<'_>, is_wide: bool) -> bool {
        filter.start().is_at(head_of(topic.as_bytes())) && filter.matches(topic, &names, is_wide)
    }

    const ANN: SubjectNames<'_> = SubjectNames { user: Some(b"ann"), client_id: b"c1" };

    #[test]
    fn filters_of_rules_match_the_topics_that_topic_filters_match() {
        let filters = [
            "a",
            "a/b",
            "#",
            "+",
            "a/#",
            "+/#",
            "+/b",
            "a/+",
            "a/+/c",
            "a/+/#",
            "/",
            "/#",
            "$SYS/#",
            "$SYS/+",
            "abcdefgh",
            "abcdefgh/#",
            "abcdefghi/#",
            "abcdefg/#",
            "abcdefg/+",
            "abcdefgh/+/x",
            "a//b",
            "a/#",
        ];
        let topics = [
            "a",
            "a/b",
            "b",
            "/",
            "a/",
            "a/b/c",
            "a/x/c",
            "$SYS",
            "$SYS/x",
            "$SYS/x/y",
            "abcdefgh",
            "abcdefgh/",
            "abcdefghi",
            "abcdefghi/x",
            "abcdefg",
            "abcdefg/x",
            "abcdefgh/a/x",
            "a//b",
            "$x/b",
            "abcdefgh/$SYS/x",
        ];
        for text in filters {
            for topic in topics {
                let expected = TopicFilter::new(text).unwrap().matches(TopicName::new(topic).unwrap());
                assert_eq!(is_match(&filter(text), topic, ANN, false), expected, "{text} and {topic}");
            }
        }
    }

    #[test]
    fn placeholders_stand_for_the_names_of_the_client() {
        let cases = [
            ("s/%u/t", "s/ann/t", true),
            ("s/%u/t", "s/bob/t", false),
            ("s/%c/#", "s/c1", true),
            ("s/%c/#", "s/c1/x/y", true),
            ("%u/%c", "ann/c1", true),
            ("%u/%c", "ann/ann", false),
            ("s/%u", "s/%u", false),
        ];
        for (text, topic, expected) in cases {
            assert_eq!(is_match(&filter(text), topic, ANN, false), expected, "{text} and {topic}");
        }
        assert_eq!(filter("s/%u/+/%c/#").with_names(&ANN, false).as_deref(), Some("s/ann/+/c1/#"));
        let nameless = SubjectNames { user: None, ..ANN };
        for is_wide in [false, true] {
            assert_eq!(filter("s/%u").with_names(&nameless, is_wide), None);
            assert!(!is_match(&filter("s/%u/#"), "s/ann", nameless, is_wide));
        }
    }

    #[test]
    fn a_name_with_a_wildcard_slash_or_null_matches_nothing_or_for_a_denial_all_below() {
        for name in ["+", "#", "a+", "a/b", "/", "a\0", "+/#", ""] {
            for is_id in [true, false] {
                let (id, user) = (
                    SubjectNames { client_id: name.as_bytes(), ..ANN },
                    SubjectNames { user: Some(name.as_bytes()), ..ANN },
                );
                let names = if is_id { id } else { user };
                let text = if is_id { "s/%c/t" } else { "s/%u/t" };
                let filter = filter(text);
                for topic in ["s", "s/", "s/t", "s/a/t", "s/a/b/t", "s//t", "s///t"] {
                    assert!(!is_match(&filter, topic, names, false), "{topic} and {name:?}");
                    assert!(is_match(&filter, topic, names, true), "{topic} and {name:?}");
                }
                assert!(!is_match(&filter, "other", names, true));
                assert_eq!(filter.with_names(&names, false), None, "{name:?}");
                assert_eq!(filter.with_names(&names, true).as_deref(), Some("s/#"), "{name:?}");
            }
        }
    }

    #[test]
    fn no_name_opens_topics_that_begin_with_a_dollar_sign() {
        let names = SubjectNames { user: Some(b"$SYS"), client_id: b"$SYS" };
        for text in ["%u/#", "%c/x", "+/x", "#"] {
            assert!(!is_match(&filter(text), "$SYS/x", names, false), "{text}");
        }
        assert_eq!(filter("%u/#").with_names(&names, false), None);
        assert!(is_match(&filter("$SYS/#"), "$SYS/x", names, false));
        assert!(is_match(&filter("a/%u"), "a/$SYS", names, false));
    }

    #[test]
    fn placeholders_fill_whole_levels_unless_they_may_stand_anywhere() {
        let in_level = RuleFilter::new("s/x%u", Placeholders::WholeLevels);
        assert_eq!(in_level, Err(RuleFilterError::PlaceholderInLevel));
        let filter = RuleFilter::new("s/dev-%c-%u-/%d/%", Placeholders::Anywhere).unwrap();
        assert!(is_match(&filter, "s/dev-c1-ann-/%d/%", ANN, false));
        assert!(!is_match(&filter, "s/dev-c1-ann/%d/%", ANN, false));
        assert_eq!(filter.with_names(&ANN, false).as_deref(), Some("s/dev-c1-ann-/%d/%"));
        let text = RuleFilter::new("s/%c", Placeholders::Nowhere).unwrap();
        assert!(is_match(&text, "s/%c", ANN, false) && !is_match(&text, "s/c1", ANN, false));
    }

    #[test]
    fn texts_that_are_no_filters_are_refused() {
        for text in ["", "a\0", &"x".repeat(65_536)] {
            assert_eq!(RuleFilter::new(text, Placeholders::Nowhere), Err(RuleFilterError::NoFilter));
        }
        for text in ["a#", "#/a", "a/+b", "a/#/b", "##"] {
            assert_eq!(RuleFilter::new(text, Placeholders::Nowhere), Err(RuleFilterError::MisplacedWildcard), "{text}");
        }
    }
}
