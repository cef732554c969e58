//! Clients that were accepted.

use ring::hmac;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

/// The most clients that are remembered. Each takes about 200 bytes; the one that was noted first goes first.
const MOST: usize = 4096;

/// What a question is remembered by: it has a password in it, so a hash of it under a random key stands here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct QuestionDigest([u8; 32]);

/// The questions that were answered with yes, and when.
pub(super) struct AnswerCache {
    key: hmac::Key,
    noted: HashMap<QuestionDigest, NotedYes>,
    /// In the order in which they were noted. One that was noted again stands here more than once.
    order: VecDeque<(QuestionDigest, Instant)>,
}

#[derive(Clone, Copy)]
struct NotedYes {
    at: Instant,
    /// When the service said that the yes ends.
    until: Option<Instant>,
}

impl AnswerCache {
    pub(super) fn new(key: hmac::Key) -> Self {
        Self { key, noted: HashMap::new(), order: VecDeque::new() }
    }

    pub(super) fn digest(&self, question: &[u8]) -> QuestionDigest {
        let tag = hmac::sign(&self.key, question);
        let mut digest = [0; 32];
        digest.copy_from_slice(tag.as_ref());
        QuestionDigest(digest)
    }

    /// If this question was answered with yes no longer than `age` ago, and the yes has not ended: how long it lasts yet.
    pub(super) fn find(&self, question: QuestionDigest, age: Duration, now: Instant) -> Option<Option<Duration>> {
        let noted = self.noted.get(&question).filter(|noted| now.saturating_duration_since(noted.at) < age)?;
        match noted.until {
            Some(until) => until.checked_duration_since(now).filter(|left| !left.is_zero()).map(Some),
            None => Some(None),
        }
    }

    /// Notes that a question was answered with yes, for so long.
    pub(super) fn note(&mut self, question: QuestionDigest, lasts: Option<Duration>, now: Instant) {
        let until = lasts.and_then(|lasts| now.checked_add(lasts));
        self.noted.insert(question, NotedYes { at: now, until });
        self.order.push_back((question, now));
        while self.order.len() > MOST
            && let Some((first, at)) = self.order.pop_front()
        {
            if self.noted.get(&first).is_some_and(|noted| noted.at == at) {
                self.noted.remove(&first);
            }
        }
    }

    /// Notes that a question was answered with no.
    pub(super) fn forget(&mut self, question: QuestionDigest) {
        self.noted.remove(&question);
    }
}

impl fmt::Debug for AnswerCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerCache").field("noted", &self.noted.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(60);

    fn cache() -> AnswerCache {
        AnswerCache::new(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]))
    }

    #[test]
    fn a_yes_is_found_until_it_is_too_old_or_ends() {
        let (mut cache, now) = (cache(), Instant::now());
        let [bounded, unbounded, other] = ["a", "b", "c"].map(|question| cache.digest(question.as_bytes()));
        cache.note(bounded, Some(AGE / 2), now);
        cache.note(unbounded, None, now);
        assert_eq!(cache.find(bounded, AGE, now), Some(Some(AGE / 2)));
        assert_eq!(cache.find(bounded, AGE, now + AGE / 4), Some(Some(AGE / 4)));
        assert_eq!(cache.find(bounded, AGE, now + AGE / 2), None);
        assert_eq!(cache.find(unbounded, AGE, now + AGE / 2), Some(None));
        assert_eq!(cache.find(unbounded, AGE, now + AGE), None);
        assert_eq!(cache.find(unbounded, Duration::ZERO, now), None);
        assert_eq!(cache.find(other, AGE, now), None);
        cache.forget(unbounded);
        assert_eq!(cache.find(unbounded, AGE, now), None);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let (mut cache, now) = (cache(), Instant::now());
        let digests: Vec<_> = (0..=MOST as u64).map(|number| cache.digest(&number.to_le_bytes())).collect();
        cache.note(digests[0], None, now);
        // NotedYes again later, so the second one is the oldest.
        for (place, digest) in digests.iter().enumerate().take(MOST) {
            cache.note(*digest, None, now + Duration::from_millis(1 + place as u64));
        }
        cache.note(digests[MOST], None, now + Duration::from_secs(30));
        let later = now + Duration::from_secs(31);
        assert_eq!(cache.find(digests[MOST], AGE, later), Some(None));
        assert_eq!(cache.find(digests[1], AGE, later), Some(None));
        assert_eq!(cache.find(digests[0], AGE, later), None);
        assert!(cache.noted.len() <= MOST && cache.order.len() <= MOST);
    }
}
