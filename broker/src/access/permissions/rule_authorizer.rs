//! Answers the questions of a shard's core by the rules.

use super::denials::{Denial, DenialReason, Denials, DeniedAction};
use super::rule::RuleAction;
use super::rule_filter::SubjectNames;
use super::rule_list::{Decided, RuleList};
use super::rule_set::{ListId, RuleSet};
use crate::access::Principals;
use goldcrest_core::codec::QoS;
use goldcrest_core::{Authorize, Principal, Subject, Subscribable, TopicFilter, TopicName};
use std::sync::{Arc, OnceLock};

/// Rules in use: those of a set, by the numbers of principals. All shards share it until other rules replace it.
#[derive(Debug)]
pub(crate) struct RulesInUse {
    set: Arc<RuleSet>,
    principals: Arc<Principals>,
    /// Which rules a principal has, by its number, in blocks that are made when a principal of theirs first asks. A lookup takes no lock.
    blocks: Box<[OnceLock<Block>]>,
}

type Block = Box<[OnceLock<Holder>]>;

/// A principal that has rules.
#[derive(Clone, Debug)]
struct Holder {
    list: ListId,
    user: Option<Arc<str>>,
}

impl RulesInUse {
    const BLOCK: usize = 1024;
    /// Principals with greater numbers are looked up each time. A gateway that has given so many names a number has lost some again.
    const MOST: usize = 4 * Principals::MOST;

    pub(crate) fn new(set: impl Into<Arc<RuleSet>>, principals: Arc<Principals>) -> Self {
        let blocks = (0..Self::MOST / Self::BLOCK).map(|_| OnceLock::new()).collect();
        Self { set: set.into(), principals, blocks }
    }

    /// Calls `act` with the rules of a principal, and its user name.
    #[inline]
    fn with_rules<R>(&self, principal: Principal, act: impl FnOnce(&RuleList, ListId, Option<&Arc<str>>) -> R) -> R {
        if principal == Principal::ANONYMOUS {
            let list = self.set.anonymous();
            return act(self.set.list(list), list, None);
        }
        let number = principal.0 as usize;
        let known = self.blocks.get(number / Self::BLOCK).and_then(OnceLock::get);
        if let Some(holder) = known.and_then(|block| block[number % Self::BLOCK].get()) {
            return act(self.set.list(holder.list), holder.list, holder.user.as_ref());
        }
        let holder = self.look_up(principal);
        act(self.set.list(holder.list), holder.list, holder.user.as_ref())
    }

    /// The rules of a principal that has not asked yet.
    #[cold]
    fn look_up(&self, principal: Principal) -> Holder {
        let Some(user) = self.principals.name(principal) else {
            // An embedding program may use numbers without names. Such a number may get a name later.
            return Holder { list: ListId::NOTHING, user: None };
        };
        let holder = Holder { list: self.set.of_user(&user), user: Some(user) };
        let number = principal.0 as usize;
        if let Some(block) = self.blocks.get(number / Self::BLOCK) {
            let block = block.get_or_init(|| (0..Self::BLOCK).map(|_| OnceLock::new()).collect());
            let _ = block[number % Self::BLOCK].set(holder.clone());
        }
        holder
    }
}

/// Answers the core of one shard, and notes what it denies.
#[derive(Debug)]
pub(crate) struct RuleAuthorizer {
    rules: Arc<RulesInUse>,
    denials: Arc<Denials>,
}

impl RuleAuthorizer {
    pub(crate) fn new(rules: Arc<RulesInUse>, denials: Arc<Denials>) -> Self {
        Self { rules, denials }
    }

    fn may(&self, who: &Subject<'_>, action: RuleAction, topic: &str) -> bool {
        self.rules.with_rules(who.principal(), |list, id, user| {
            let decide = |client_id: &[u8]| {
                let names = SubjectNames { user: user.map(|user| user.as_bytes()), client_id };
                list.decide(action, topic, &names)
            };
            let decided = if list.needs_client_id() { who.with_client_id_bytes(decide) } else { decide(b"") };
            let is_allowed = decided.is_some_and(|rule| rule.allows);
            if !is_allowed {
                let action = match action {
                    RuleAction::Publish => DeniedAction::Publish,
                    RuleAction::Receive => DeniedAction::Receive,
                };
                self.deny(who, (action, topic), (id, decided), user);
            }
            is_allowed
        })
    }

    #[cold]
    fn deny(
        &self,
        who: &Subject<'_>,
        (action, topic): (DeniedAction, &str),
        (list, decided): (ListId, Decided<'_>),
        user: Option<&Arc<str>>,
    ) {
        let reason = match decided {
            Some(_) => DenialReason::Rule,
            None if list == ListId::NOTHING => DenialReason::NoRules,
            None => DenialReason::NoRule,
        };
        self.denials.deny(action, reason, || Denial {
            action,
            reason,
            principal: who.principal(),
            user: user.cloned(),
            client_id: who.with_client_id(str::to_owned),
            topic: topic.to_owned(),
            rule: decided.map(|rule| rule.origin.clone()),
        });
    }
}

impl Authorize for RuleAuthorizer {
    fn publish(&self, who: &Subject<'_>, topic: TopicName<'_>, _: QoS, _: bool) -> bool {
        self.may(who, RuleAction::Publish, topic.as_str())
    }

    fn subscribe(&self, who: &Subject<'_>, filter: TopicFilter<'_>, _: QoS) -> Subscribable {
        self.rules.with_rules(who.principal(), |list, id, user| {
            let (answer, decided) = who.with_client_id_bytes(|client_id| {
                let names = SubjectNames { user: user.map(|user| user.as_bytes()), client_id };
                list.subscribe(filter.proper(), &names)
            });
            if answer == Subscribable::No {
                self.deny(who, (DeniedAction::Subscribe, filter.as_str()), (id, decided), user);
            }
            answer
        })
    }

    fn receive(&self, who: &Subject<'_>, topic: TopicName<'_>) -> bool {
        self.may(who, RuleAction::Receive, topic.as_str())
    }
}
