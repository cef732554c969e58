//! The part of the tree of topics in which a client lives.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use crate::topic::{TopicFilter, TopicName, TopicNameError, has_control_characters};

/// A prefix of all topics of a client, such as `site-7/`, of which the client does not know: see
/// [`Grant::mount`](crate::Grant::mount).
///
/// - Names that the client sends get the prefix: the topics that it publishes to, the topic of its Will, its Topic Filters
///   (`$share/group/a/#` becomes `$share/group/site-7/a/#`), and Response Topics. A topic that becomes longer than 65,535 bytes,
///   or than [`Limits::packet_bytes`](crate::Limits::packet_bytes), is refused: PUBLISH with 0x90 Topic Name invalid, a
///   subscription with 0x8F Topic Filter invalid. [`Limits::topic_levels`](crate::Limits::topic_levels) counts all levels, those
///   of the prefix included.
/// - Topics that are sent to the client come without the prefix. Other topics never reach the client: a message of one that is in
///   its Session for another reason is dropped with [`DropReason::NotAuthorized`](crate::DropReason::NotAuthorized). A Response
///   Topic outside of the mount is sent unchanged.
/// - Everybody else sees whole topics: [`Authorize`](crate::Authorize) is asked about them, and events, queries and records name them.
/// - Topics with `$` are no exception, as with the `mount_point` of Mosquitto: `$SYS/#` becomes `site-7/$SYS/#`, so the client
///   does not see the server's topics below `$SYS/`. As the client's own `$` topics then begin with the prefix, a filter of the
///   client that begins with a wildcard matches them. A Will below `$SYS/` is refused as for other clients, since CONNECT comes
///   before the verdict.
/// - A Session goes on if its client comes back with another mount, and after a restart; its subscriptions outside of the mount
///   end then. A client without a mount keeps all its subscriptions, by their whole names. A re-authentication does not change
///   the mount.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount(Arc<str>);

/// Why a text is no [`Mount`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountError {
    /// The text is no Topic Name.
    NoTopicName(TopicNameError),
    /// The text has more than [`Mount::MAX_LEN`] bytes.
    TooLong,
    /// The text does not end with `/`.
    NoSeparator,
    /// The text begins with `$`: such topics are not for the applications of clients `[MQTT-4.7.2-1]`.
    Reserved,
    /// The text has control characters, which brokers refuse in topics.
    ControlCharacter,
}

impl Mount {
    /// The greatest length of a mount in bytes.
    pub const MAX_LEN: usize = 256;

    /// The mount with this prefix, which has to end with `/`.
    ///
    /// # Errors
    /// [`MountError`] tells what is wrong with the prefix.
    pub fn new(prefix: &str) -> Result<Self, MountError> {
        TopicName::new(prefix).map_err(MountError::NoTopicName)?;
        if prefix.len() > Self::MAX_LEN {
            return Err(MountError::TooLong);
        }
        if prefix.starts_with('$') {
            return Err(MountError::Reserved);
        }
        if !prefix.ends_with('/') {
            return Err(MountError::NoSeparator);
        }
        if has_control_characters(prefix) {
            return Err(MountError::ControlCharacter);
        }
        Ok(Self(prefix.into()))
    }

    /// The prefix, with its `/` at the end.
    pub fn prefix(&self) -> &str {
        &self.0
    }

    /// The whole topic for a topic that the client names; `None` if the whole one has more than `longest` bytes.
    pub(crate) fn compose(&self, topic: &str, longest: usize) -> Option<String> {
        let len = self.0.len().saturating_add(topic.len());
        (len <= longest).then(|| [&self.0, topic].concat())
    }

    /// The whole Topic Filter for one that the client names. A text that is no Topic Filter stays as it is. A filter that would
    /// be longer than `longest` bytes becomes a text that is no Topic Filter.
    pub(crate) fn compose_filter(&self, text: &str, longest: usize) -> String {
        /// In each version of MQTT this text is answered as an invalid filter, and nothing more happens.
        const NO_FILTER: &str = "$share/";
        let Ok(filter) = TopicFilter::new(text) else { return text.into() };
        let share = text.strip_suffix(filter.proper()).unwrap_or("");
        match self.compose(filter.proper(), longest.saturating_sub(share.len())) {
            Some(whole) => [share, &whole].concat(),
            None => NO_FILTER.into(),
        }
    }

    /// The topic or Topic Filter as the client sees it; `None` if it is not below the mount.
    pub(crate) fn strip<'a>(&self, whole: &'a str) -> Option<&'a str> {
        whole.strip_prefix(&*self.0).filter(|topic| !topic.is_empty())
    }
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTopicName(error) => error.fmt(f),
            Self::TooLong => write!(f, "a mount has at most {} bytes", Mount::MAX_LEN),
            Self::NoSeparator => f.write_str("a mount ends with '/'"),
            Self::Reserved => f.write_str("a mount does not begin with '$'"),
            Self::ControlCharacter => f.write_str("a mount has no control characters"),
        }
    }
}

impl core::error::Error for MountError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::TopicFilterError;
    use proptest::prelude::*;
    use std::string::ToString;

    const LONGEST: usize = 65_535;

    fn mount(prefix: &str) -> Mount {
        Mount::new(prefix).unwrap()
    }

    #[test]
    fn a_mount_is_a_topic_prefix_of_whole_levels() {
        for good in ["site-7/", "a/b/", "/", "//", "a/$b/", "größe/"] {
            assert_eq!(mount(good).prefix(), good);
        }
        for (bad, why) in [
            ("", MountError::NoTopicName(TopicNameError::Empty)),
            ("a/+/", MountError::NoTopicName(TopicNameError::Wildcard)),
            ("a/#", MountError::NoTopicName(TopicNameError::Wildcard)),
            ("a\0/", MountError::NoTopicName(TopicNameError::Null)),
            ("a", MountError::NoSeparator),
            ("a/b", MountError::NoSeparator),
            ("$SYS/", MountError::Reserved),
            ("$share/g/", MountError::Reserved),
            ("a\n/", MountError::ControlCharacter),
        ] {
            assert_eq!(Mount::new(bad), Err(why), "{bad}");
            assert_ne!(why.to_string(), "");
        }
        let long = ["a".repeat(Mount::MAX_LEN - 1).as_str(), "/"].concat();
        assert!(Mount::new(&long).is_ok());
        assert_eq!(Mount::new(&["a", &long].concat()), Err(MountError::TooLong));
    }

    #[test]
    fn the_prefix_stands_before_the_filter_of_a_shared_subscription() {
        let mount = mount("m/");
        for (text, whole) in [
            ("a/+", "m/a/+"),
            ("#", "m/#"),
            ("/a", "m//a"),
            ("$SYS/#", "m/$SYS/#"),
            ("$share/g/a/#", "$share/g/m/a/#"),
            ("$share/g//", "$share/g/m//"),
            ("$share/a/a", "$share/a/m/a"),
            ("$share", "m/$share"),
            // A text that is no Topic Filter stays as it is.
            ("", ""),
            ("a/#/b", "a/#/b"),
            ("$share/g", "$share/g"),
            ("$share//a", "$share//a"),
        ] {
            assert_eq!(mount.compose_filter(text, LONGEST), whole);
            assert_eq!(TopicFilter::new(whole).is_ok(), TopicFilter::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_topic_or_filter_that_is_too_long_with_the_prefix_is_refused() {
        let mount = mount("m/");
        let fits = "a".repeat(LONGEST - 2);
        assert_eq!(mount.compose(&fits, LONGEST).map(|whole| whole.len()), Some(LONGEST));
        assert_eq!(mount.compose(&[&fits, "a"].concat(), LONGEST), None);
        assert_eq!(mount.compose_filter(&fits, LONGEST).len(), LONGEST);
        for share in ["", "$share/g/"] {
            let filter = [share, &fits, "a"].concat();
            let filter = &filter[..filter.len().min(LONGEST)];
            let whole = mount.compose_filter(filter, LONGEST);
            assert_eq!(TopicFilter::new(&whole), Err(TopicFilterError::MalformedShare));
        }
    }

    proptest! {
        #[test]
        fn removing_the_prefix_of_a_mount_undoes_adding_it(prefix in "[a-z0-9/]{0,9}/", topic in "[a-z$/+#]{1,20}") {
            let mount = mount(&prefix);
            let whole = mount.compose(&topic, LONGEST).unwrap();
            prop_assert_eq!(mount.strip(&whole), Some(&topic[..]));
            prop_assert_eq!(mount.strip(&prefix), None);
            let elsewhere = ["_", &whole].concat();
            prop_assert_eq!(mount.strip(&elsewhere), None);
            let filter = mount.compose_filter(&topic, LONGEST);
            match TopicFilter::new(&filter) {
                Ok(filter) => prop_assert!(mount.strip(filter.proper()).is_some()),
                Err(_) => prop_assert!(TopicFilter::new(&topic).is_err()),
            }
        }

        #[test]
        fn a_filter_matches_the_same_topics_below_a_mount(
            prefix in "[a-z]{1,3}/",
            filter in "([ab]|\\+)(/([ab]|\\+)){0,3}(/#)?",
            topic in "[ab](/[ab]){0,4}",
        ) {
            let mount = mount(&prefix);
            let (whole_filter, whole) = (mount.compose_filter(&filter, LONGEST), mount.compose(&topic, LONGEST).unwrap());
            let below = TopicFilter::new(&whole_filter).unwrap().matches(TopicName::new(&whole).unwrap());
            prop_assert_eq!(below, TopicFilter::new(&filter).unwrap().matches(TopicName::new(&topic).unwrap()));
        }
    }
}
