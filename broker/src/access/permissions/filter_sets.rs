//! Topic Filters as sets of topics: whether one lies within another, and what two have in common.
//!
//! All functions take the texts of valid Topic Filters without `$share/group/`, and obey section 4.7: `a/#` matches `a`, and a filter that
//! begins with a wildcard matches no topic that begins with `$`.

/// Whether each topic that matches `inner` matches `outer` too. Is never true wrongly. False though it is so: `#` within `+/#`.
pub(crate) fn contains(outer: &str, inner: &str) -> bool {
    if differ_in_dollar(outer, inner) {
        return false;
    }
    let mut inner = inner.split('/');
    for level in outer.split('/') {
        match (level, inner.next()) {
            ("#", _) => return true,
            ("+", Some(within)) if within != "#" => {}
            (level, Some(within)) if level == within && level != "+" => {}
            _ => return false,
        }
    }
    inner.next().is_none()
}

/// Whether some topic matches both filters.
pub(super) fn intersect(one: &str, other: &str) -> bool {
    if differ_in_dollar(one, other) {
        return false;
    }
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(level), Some(same)) if level == same => {}
            _ => return false,
        }
    }
}

/// The filter that matches the topics that match both filters; `None` if there are no such topics.
pub(super) fn intersection(one: &str, other: &str) -> Option<String> {
    if !intersect(one, other) {
        return None;
    }
    let mut common: Vec<&str> = Vec::new();
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), Some(level)) => {
                common.push(level);
                common.extend(other);
                break;
            }
            (Some(level), Some("#")) => {
                common.push(level);
                common.extend(one);
                break;
            }
            (Some("+"), Some(level)) | (Some(level), Some(_)) => common.push(level),
            // A `#` stands for no level here, or both have ended.
            (None, _) | (_, None) => break,
        }
    }
    Some(common.join("/"))
}

/// Whether one filter matches only topics that begin with `$`, and the other one none of those.
fn differ_in_dollar(one: &str, other: &str) -> bool {
    let starts_with_wildcard = |filter: &str| filter.starts_with(['+', '#']);
    (one.starts_with('$') && starts_with_wildcard(other)) || (other.starts_with('$') && starts_with_wildcard(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use goldcrest_core::{TopicFilter, TopicName};

    /// All texts of one to `most` of these levels.
    fn texts(levels: &[&str], most: usize) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let mut last: Vec<String> = levels.iter().map(|&level| level.to_owned()).collect();
        for _ in 1..=most {
            all.extend(last.iter().cloned());
            last = last.iter().flat_map(|text| levels.iter().map(move |level| format!("{text}/{level}"))).collect();
        }
        all.retain(|text| !text.is_empty());
        all
    }

    /// With three levels a topic of four shows what `#` matches, and two names what `+` matches.
    #[test]
    fn filters_are_compared_as_the_sets_of_topics_that_they_match() {
        let filters: Vec<String> =
            texts(&["a", "$b", "+", "#"], 3).into_iter().filter(|text| TopicFilter::new(text).is_ok()).collect();
        let topics = texts(&["a", "$b", "c"], 4);
        let matches = |filter: &str| -> Vec<bool> {
            let filter = TopicFilter::new(filter).unwrap();
            topics.iter().map(|topic| filter.matches(TopicName::new(topic).unwrap())).collect()
        };
        let sets: Vec<Vec<bool>> = filters.iter().map(|filter| matches(filter)).collect();
        for (one, of_one) in filters.iter().zip(&sets) {
            for (other, of_other) in filters.iter().zip(&sets) {
                let both: Vec<bool> = of_one.iter().zip(of_other).map(|(one, other)| *one && *other).collect();
                let is_within = of_one.iter().zip(of_other).all(|(outer, inner)| *outer || !*inner);
                let is_known_exception = one.starts_with("+/#") && other == "#";
                assert_eq!(contains(one, other), is_within && !is_known_exception, "{other} within {one}");
                assert_eq!(intersect(one, other), both.contains(&true), "{one} and {other}");
                match intersection(one, other) {
                    Some(common) => assert_eq!(matches(&common), both, "{common} of {one} and {other}"),
                    None => assert!(!both.contains(&true), "{one} and {other}"),
                }
            }
        }
    }
}
