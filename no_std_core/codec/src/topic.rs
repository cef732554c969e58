//! Topic Names and Topic Filters. A value of one of these types is valid.
//!
//! ```
//! use goldcrest_codec::topic::{TopicFilter, TopicFilterError, TopicName};
//!
//! let topic = TopicName::new("house/kitchen/temperature")?;
//! let filter = TopicFilter::new("$share/displays/house/+/temperature")?;
//! assert_eq!((filter.share_name(), filter.proper()), (Some("displays"), "house/+/temperature"));
//! assert!(filter.matches(topic));
//! assert_eq!(TopicFilter::new("house/#/temperature"), Err(TopicFilterError::MisplacedWildcard));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use core::fmt;

/// The greatest length of a Topic Name or Topic Filter in bytes: packets have two bytes for the length `[MQTT-4.7.3-3]`.
const MAX_LEN: usize = 65_535;

/// A Topic Name that a PUBLISH may carry: 1 to 65,535 bytes of UTF-8 without `+`, `#` or U+0000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicName<'a>(&'a str);

/// Why a string is not a Topic Name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicNameError {
    /// It is empty `[MQTT-4.7.3-1]`.
    Empty,
    /// It is longer than 65,535 bytes `[MQTT-4.7.3-3]`.
    TooLong,
    /// It contains `+` or `#` `[MQTT-3.3.2-2]`.
    Wildcard,
    /// It contains U+0000 `[MQTT-4.7.3-2]`.
    Null,
}

impl<'a> TopicName<'a> {
    /// Checks that `name` is a Topic Name. Takes time in proportion to its length.
    #[inline]
    pub fn new(name: &'a str) -> Result<Self, TopicNameError> {
        if name.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if name.len() > MAX_LEN {
            return Err(TopicNameError::TooLong);
        }
        for byte in name.bytes() {
            match byte {
                b'+' | b'#' => return Err(TopicNameError::Wildcard),
                0 => return Err(TopicNameError::Null),
                _ => {}
            }
        }
        Ok(Self(name))
    }

    /// The Topic Name `name` without a check, for a name that was checked before, as [`Publish::decode`] does.
    ///
    /// An invalid name is no safety problem, but filters may match it wrongly.
    ///
    /// [`Publish::decode`]: crate::Publish::decode
    #[inline]
    pub fn assume_valid(name: &'a str) -> Self {
        debug_assert!(Self::new(name).is_ok());
        Self(name)
    }

    /// The name as it is written in a packet.
    #[inline]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels, with those that are empty: `/a/` has three.
    #[inline]
    pub fn levels(self) -> Levels<'a> {
        Levels { rest: Some(self.0) }
    }

    /// Whether the name starts with `$`. A filter that starts with a wildcard does not match it `[MQTT-4.7.2-1]`.
    #[inline]
    pub fn is_reserved(self) -> bool {
        self.0.starts_with('$')
    }
}

/// A Topic Filter that a SUBSCRIBE may carry: 1 to 65,535 bytes of UTF-8 without U+0000, with wildcards where they may stand.
/// It may be the filter of a shared subscription, `$share/group/filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicFilter<'a> {
    whole: &'a str,
    /// The number of bytes of `whole` before the filter proper: the length of `$share/group/`, or 0.
    prefix: usize,
}

/// Why a string is not a Topic Filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicFilterError {
    /// It is empty `[MQTT-4.7.3-1]`.
    Empty,
    /// It is longer than 65,535 bytes `[MQTT-4.7.3-3]`.
    TooLong,
    /// `+` does not fill its level, or `#` is not the last level `[MQTT-4.7.1-1]` `[MQTT-4.7.1-2]`.
    MisplacedWildcard,
    /// It contains U+0000 `[MQTT-4.7.3-2]`.
    Null,
    /// It starts with `$share/`, and what follows is not a ShareName, a `/` and a filter. A ShareName has at least one
    /// character, and no `+`, `#` or `/` `[MQTT-4.8.2-1]` `[MQTT-4.8.2-2]`.
    MalformedShare,
}

impl<'a> TopicFilter<'a> {
    /// Checks that `filter` is a Topic Filter. Takes time in proportion to its length.
    #[inline]
    pub fn new(filter: &'a str) -> Result<Self, TopicFilterError> {
        if filter.is_empty() {
            return Err(TopicFilterError::Empty);
        }
        if filter.len() > MAX_LEN {
            return Err(TopicFilterError::TooLong);
        }
        if filter.bytes().any(|byte| byte == 0) {
            return Err(TopicFilterError::Null);
        }
        let prefix = match filter.strip_prefix("$share") {
            // `$share` alone and `$shared/x` are ordinary filters: a shared subscription starts with `$share/`.
            Some(rest) if rest.starts_with('/') => {
                let mut parts = Levels { rest: Some(rest) };
                let (_, group) = (parts.next(), parts.next().unwrap_or(""));
                let proper = parts.rest.unwrap_or("");
                if group.is_empty() || has_wildcard(group) || proper.is_empty() {
                    return Err(TopicFilterError::MalformedShare);
                }
                filter.len().saturating_sub(proper.len())
            }
            _ => 0,
        };
        let this = Self { whole: filter, prefix };
        let mut levels = this.levels();
        while let Some(level) = levels.next() {
            let misplaced = match level {
                "+" => false,
                "#" => levels.rest.is_some(),
                _ => has_wildcard(level),
            };
            if misplaced {
                return Err(TopicFilterError::MisplacedWildcard);
            }
        }
        Ok(this)
    }

    /// The Topic Filter `filter` without a check, for a filter that was checked before and that is not the filter of a shared
    /// subscription.
    ///
    /// An invalid filter is no safety problem, but it may match topics wrongly.
    #[inline]
    pub fn assume_valid(filter: &'a str) -> Self {
        // A broker may keep filters that no client can send, such as one whose first level is `#share`.
        debug_assert!(!filter.is_empty());
        Self { whole: filter, prefix: 0 }
    }

    /// What this filter may cost a Server that keeps its filters in a tree with a node for each level. The cost is the number
    /// of nodes that one message visits in the tree of all filters with as many levels as this filter and at most as many `+`.
    /// At most `u32::MAX`; 0 without a `+`.
    #[inline]
    pub fn cost(self) -> u32 {
        let (mut levels, mut plus) = (0_u64, 0);
        for level in self.levels().filter(|level| *level != "#") {
            levels = u64::saturating_add(levels, 1);
            plus = u64::saturating_add(plus, u64::from(level == "+"));
        }
        if plus == 0 {
            return 0;
        }
        // Nodes with `count` times `+`, of all depths: the binomial coefficient of `levels + 1` over `count + 1`, and each
        // follows from the one before it.
        let (mut nodes, mut with_count) = (0_u64, levels.saturating_add(1));
        for count in 0..=plus {
            nodes = nodes.saturating_add(with_count);
            if nodes > u64::from(u32::MAX) {
                break;
            }
            // Below 2^48: a node count below 2^32, times a number of levels below 2^16.
            let product = with_count.saturating_mul(levels.saturating_sub(count));
            with_count = product.checked_div(count.saturating_add(2)).unwrap_or(0);
        }
        u32::try_from(nodes).unwrap_or(u32::MAX)
    }

    /// The filter as it is written in a packet, with `$share/group/`.
    #[inline]
    pub fn as_str(self) -> &'a str {
        self.whole
    }

    /// The filter that topics are compared with: without `$share/group/`.
    #[inline]
    pub fn proper(self) -> &'a str {
        self.whole.get(self.prefix..).unwrap_or("")
    }

    /// The ShareName, if this is the filter of a shared subscription.
    #[inline]
    pub fn share_name(self) -> Option<&'a str> {
        self.whole.get("$share/".len()..self.prefix.checked_sub(1)?)
    }

    /// The levels of [`TopicFilter::proper`], with those that are empty.
    #[inline]
    pub fn levels(self) -> Levels<'a> {
        Levels { rest: Some(self.proper()) }
    }

    /// Whether the filter matches `topic` (section 4.7).
    #[inline]
    pub fn matches(self, topic: TopicName<'_>) -> bool {
        let mut filter = self.levels();
        let mut name = topic.levels();
        let mut first = true;
        loop {
            match (filter.next(), name.next()) {
                (Some("#"), _) => return !(first && topic.is_reserved()),
                (Some("+"), Some(_)) if first && topic.is_reserved() => return false,
                (Some("+"), Some(_)) => {}
                (Some(level), Some(part)) if level == part => {}
                (None, None) => return true,
                _ => return false,
            }
            first = false;
        }
    }
}

/// Whether `text` has characters that a string should not have (section 1.5.4): control characters, which are U+0001 to U+001F
/// and U+007F to U+009F, or noncharacters, which are U+FDD0 to U+FDEF and the last two of each plane. A strict receiver closes
/// the connection that brings them.
#[inline]
pub fn has_control_characters(text: &str) -> bool {
    // Looks at the bytes of UTF-8, in which the last two characters of a plane end in BF BE or BF BF, behind a byte whose lower
    // four bits are ones.
    let (mut first, mut second) = (0, 0);
    text.bytes().any(|third| {
        let is_found = match (first, second, third) {
            (_, _, 0..0x20 | 0x7F) | (_, 0xC2, 0x80..0xA0) | (0xEF, 0xB7, 0x90..0xB0) => true,
            (before, 0xBF, 0xBE..=0xBF) => before & 0x0F == 0x0F,
            _ => false,
        };
        (first, second) = (second, third);
        is_found
    })
}

/// Whether `level` contains `+` or `#`.
#[inline]
fn has_wildcard(level: &str) -> bool {
    level.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// The levels of a Topic Name or Topic Filter, from the first to the last.
#[derive(Clone, Debug)]
pub struct Levels<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Levels<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        // `str::split_once` would have a path to a panic.
        let end = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
        self.rest = rest.get(end.saturating_add(1)..);
        rest.get(..end)
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.whole)
    }
}

impl fmt::Display for TopicNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a Topic Name has at least one character",
            Self::TooLong => "a Topic Name has at most 65,535 bytes",
            Self::Wildcard => "a Topic Name has no '+' and no '#'",
            Self::Null => "a Topic Name has no U+0000",
        })
    }
}

impl fmt::Display for TopicFilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a Topic Filter has at least one character",
            Self::TooLong => "a Topic Filter has at most 65,535 bytes",
            Self::MisplacedWildcard => "'+' fills a level and '#' is the whole last level",
            Self::Null => "a Topic Filter has no U+0000",
            Self::MalformedShare => "a shared subscription is '$share/group/filter'",
        })
    }
}

impl core::error::Error for TopicNameError {}
impl core::error::Error for TopicFilterError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Section 1.5.4 names the characters by their numbers; the function looks at their bytes.
    #[test]
    fn control_characters_and_noncharacters_are_found_among_all_characters() {
        let is_one = |code: u32| {
            matches!(code, 0..=0x1F | 0x7F..=0x9F | 0xFDD0..=0xFDEF) || matches!(code & 0xFFFF, 0xFFFE | 0xFFFF)
        };
        // The neighbours have bytes with which other characters begin and end.
        for (before, behind) in [("", ""), ("\u{b7}", "\u{fffd}"), ("\u{fbf}", "\u{10fffd}"), ("\u{1ffbf}", "\u{a0}")] {
            for character in '\0'..=char::MAX {
                let text = std::format!("{before}{character}{behind}");
                assert_eq!(has_control_characters(&text), is_one(character.into()), "{text:?}");
            }
        }
    }

    #[test]
    fn a_shared_subscription_has_a_share_name_and_a_filter_or_is_refused() {
        let shared = TopicFilter::new("$share/g/a/+").unwrap();
        assert_eq!(shared.share_name(), Some("g"));
        assert_eq!(shared.proper(), "a/+");
        assert_eq!(TopicFilter::new("$share/g//").unwrap().proper(), "/");
        for plain in ["$share", "$shared/a", "$share2", "a/$share/g/b"] {
            assert_eq!(TopicFilter::new(plain).unwrap().share_name(), None, "{plain}");
        }
        for bad in ["$share/", "$share/g", "$share//t", "$share/+/t", "$share/g#/t", "$share/g/"] {
            assert_eq!(TopicFilter::new(bad), Err(TopicFilterError::MalformedShare), "{bad}");
        }
    }

    #[test]
    fn a_misplaced_wildcard_in_a_filter_is_refused() {
        for good in ["#", "+", "/", "a/#", "+/+", "/+/", "a//b", "$SYS/#"] {
            assert!(TopicFilter::new(good).is_ok(), "{good}");
        }
        for bad in ["a#", "#/a", "a+", "+a", "a/#/b", "##", "a/b#", "$share/g/#/a"] {
            assert!(TopicFilter::new(bad).is_err(), "{bad}");
        }
        assert_eq!(TopicName::new("a/+"), Err(TopicNameError::Wildcard));
        assert_eq!(TopicName::new(""), Err(TopicNameError::Empty));
    }

    #[test]
    fn filters_match_topics_as_section_4_7_says() {
        let cases = [
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("+", "/a", false),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/+", "$SYS/x", true),
            ("a/b", "a/b/", false),
            ("#", "/", true),
        ];
        for (filter, topic, expected) in cases {
            let matched = TopicFilter::new(filter).unwrap().matches(TopicName::new(topic).unwrap());
            assert_eq!(matched, expected, "{filter} against {topic}");
        }
    }

    /// Counts the nodes one by one: the beginnings of all filters with this number of levels and at most this number of `+`.
    #[test]
    fn the_cost_of_a_filter_is_the_number_of_tree_nodes_of_all_filters_of_its_shape() {
        use std::string::String;
        for levels in 1..=8_u32 {
            for plus in 1..=levels {
                let text = |is_plus: u32| {
                    let level = |at| if is_plus >> at & 1 == 1 { "+" } else { "a" };
                    (0..levels).map(level).collect::<Vec<_>>().join("/")
                };
                let all = (0_u32..1 << levels).filter(|is_plus| is_plus.count_ones() <= plus).map(text);
                // The empty beginning is the root.
                let mut beginnings: Vec<String> = std::vec![String::new()];
                for filter in all {
                    let ends = filter.match_indices('/').map(|(end, _)| end).chain([filter.len()]);
                    beginnings.extend(ends.map(|end| filter[..end].into()));
                }
                beginnings.sort_unstable();
                beginnings.dedup();
                for end in ["", "/#"] {
                    let filter = text((1 << plus) - 1) + end;
                    assert_eq!(TopicFilter::new(&filter).unwrap().cost() as usize, beginnings.len(), "{filter}");
                }
            }
        }
        assert_eq!(TopicFilter::new("a/b/c/#").unwrap().cost(), 0);
        let longest = std::vec!["+"; 32_768].join("/");
        assert_eq!(TopicFilter::new(&longest).unwrap().cost(), u32::MAX);
    }

    #[test]
    fn empty_levels_of_a_topic_count_as_levels() {
        let levels: Vec<_> = TopicName::new("/a//").unwrap().levels().collect();
        assert_eq!(levels, ["", "a", "", ""]);
    }
}
