//! All rules of a gateway, as a file gave them.

use super::rule_list::RuleList;
use std::collections::HashMap;

/// The place of a list in [`RuleSet::list`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListId(u32);

impl ListId {
    /// The list without any rule.
    pub(crate) const NOTHING: Self = Self(0);
}

/// All rules of a gateway. It never changes: other rules are another set.
#[derive(Clone, Debug)]
pub(crate) struct RuleSet {
    lists: Vec<RuleList>,
    users: HashMap<Box<str>, ListId>,
    anonymous: ListId,
    other_users: ListId,
}

impl Default for RuleSet {
    /// Nobody may do anything.
    fn default() -> Self {
        Self {
            lists: vec![RuleList::default()],
            users: HashMap::new(),
            anonymous: ListId::NOTHING,
            other_users: ListId::NOTHING,
        }
    }
}

impl RuleSet {
    /// Adds a list, which several users may have.
    pub(crate) fn add(&mut self, list: RuleList) -> ListId {
        // A file has far fewer lists than 2^32, because its length is bounded.
        let id = ListId(u32::try_from(self.lists.len()).unwrap_or(0));
        self.lists.push(list);
        id
    }

    pub(crate) fn set_user(&mut self, name: &str, list: ListId) {
        self.users.insert(name.into(), list);
    }

    /// The list of clients without a user name.
    pub(crate) fn set_anonymous(&mut self, list: ListId) {
        self.anonymous = list;
    }

    /// The list of users that have none of their own.
    pub(crate) fn set_other_users(&mut self, list: ListId) {
        self.other_users = list;
    }

    pub(crate) fn list(&self, id: ListId) -> &RuleList {
        &self.lists[id.0 as usize]
    }

    pub(crate) fn anonymous(&self) -> ListId {
        self.anonymous
    }

    pub(crate) fn of_user(&self, name: &str) -> ListId {
        self.users.get(name).copied().unwrap_or(self.other_users)
    }

    /// Whether there is no rule at all, so that nobody may do anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.lists.iter().all(RuleList::is_empty)
    }

    /// The number of users that the rules name.
    pub(crate) fn users(&self) -> usize {
        self.users.len()
    }
}
