//! What was denied: counted for all shards, and noted for the log of one.

use goldcrest_core::Principal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a client wanted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DeniedAction {
    /// To publish a message or a Will.
    Publish,
    Subscribe,
    /// To be sent a message that matches a subscription.
    Receive,
}

impl DeniedAction {
    const ALL: [Self; 3] = [Self::Publish, Self::Subscribe, Self::Receive];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Receive => "receive",
        }
    }

    /// As in "denied to publish".
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Receive => "be sent a message",
        }
    }
}

/// Why it was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DenialReason {
    /// A rule denies it.
    Rule,
    /// No rule of the client allows it.
    NoRule,
    /// There is no rule at all for the client.
    NoRules,
}

impl DenialReason {
    const ALL: [Self; 3] = [Self::Rule, Self::NoRule, Self::NoRules];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::NoRule => "no_rule",
            Self::NoRules => "no_rules",
        }
    }

    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Rule => "a rule denies it",
            Self::NoRule => "no rule allows it",
            Self::NoRules => "there is no rule for this client",
        }
    }
}

/// How often something was denied, in all shards, since the start.
#[derive(Debug, Default)]
pub(crate) struct DenialCounts([[AtomicU64; 3]; 3]);

impl DenialCounts {
    fn count(&self, action: DeniedAction, reason: DenialReason) {
        self.0[action as usize][reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The count of each action and reason, by their names.
    pub(crate) fn all(&self) -> Vec<(&'static str, &'static str, u64)> {
        let of_action = |action: DeniedAction| {
            let count = move |reason| self.0[action as usize][reason as usize].load(Ordering::Relaxed);
            DenialReason::ALL.into_iter().map(move |reason| (action.as_str(), reason.as_str(), count(reason)))
        };
        DeniedAction::ALL.into_iter().flat_map(of_action).collect()
    }
}

/// One denial, for the log.
#[derive(Clone, Debug)]
pub(crate) struct Denial {
    pub(crate) action: DeniedAction,
    pub(crate) reason: DenialReason,
    pub(crate) principal: Principal,
    /// The user name; `None` for a client without one.
    pub(crate) user: Option<Arc<str>>,
    pub(crate) client_id: String,
    /// The topic or filter, cut off.
    pub(crate) topic: String,
    /// Where the rule stands; `None` if none decided.
    pub(crate) rule: Option<Arc<str>>,
}

/// The denials of one shard that its event loop has not yet seen.
#[derive(Debug)]
pub(crate) struct Denials {
    counts: Arc<DenialCounts>,
    /// Whether there are notes, so that a turn without a denial costs one load.
    has_notes: AtomicBool,
    notes: Mutex<Vec<Denial>>,
}

impl Denials {
    /// The most notes of one turn. The log says only a few lines a second anyway.
    const MOST: usize = 16;
    /// The most bytes of a text in a note; the log shows no more.
    const TEXT_BYTES: usize = 1024;

    pub(crate) fn new(counts: Arc<DenialCounts>) -> Self {
        Self { counts, has_notes: AtomicBool::new(false), notes: Mutex::default() }
    }

    /// Counts a denial, and notes it if there is room.
    pub(super) fn deny(&self, action: DeniedAction, reason: DenialReason, note: impl FnOnce() -> Denial) {
        self.counts.count(action, reason);
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() < Self::MOST {
            let mut denial = note();
            cut(&mut denial.topic);
            cut(&mut denial.client_id);
            notes.push(denial);
            self.has_notes.store(true, Ordering::Relaxed);
        }
    }

    /// Takes the notes; empty if nothing was denied since the last call.
    #[inline]
    pub(crate) fn take(&self) -> Vec<Denial> {
        // The event loop asks on the thread on which the broker asked for the permission, so it sees what that wrote.
        if !self.has_notes.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.has_notes.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn cut(text: &mut String) {
    let end = (0..=Denials::TEXT_BYTES.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    text.truncate(end.unwrap_or(0));
    text.shrink_to_fit();
}
