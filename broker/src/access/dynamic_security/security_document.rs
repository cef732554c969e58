//! Clients, groups, roles and defaults.

use super::stored_password::StoredPassword;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// Everything that the file holds. Names are in the order of their bytes, as Mosquitto sorts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SecurityDocument {
    /// How often the document was changed.
    pub(super) change_index: u64,
    pub(super) default_access: DefaultAccess,
    pub(super) clients: BTreeMap<String, ClientEntry>,
    pub(super) groups: BTreeMap<String, GroupEntry>,
    pub(super) roles: BTreeMap<String, RoleEntry>,
    /// The group whose roles clients without a user name have. It is one of `groups`.
    pub(super) anonymous_group: Option<String>,
}

/// What clients may do where no ACL matches. Nothing of this holds below `$CONTROL`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DefaultAccess {
    pub(super) publish_send: bool,
    pub(super) publish_receive: bool,
    pub(super) subscribe: bool,
    pub(super) unsubscribe: bool,
}

/// A user. Mosquitto calls it a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientEntry {
    /// If there is one, the user may connect with this Client Identifier alone.
    pub(super) client_id: Option<String>,
    pub(super) texts: Texts,
    pub(super) is_disabled: bool,
    /// Without a password the user can't connect.
    pub(super) password: Option<StoredPassword>,
    pub(super) roles: Priorities,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupEntry {
    pub(super) texts: Texts,
    pub(super) roles: Priorities,
    /// The members. The priority is that of the group for this member.
    pub(super) clients: Priorities,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleEntry {
    pub(super) texts: Texts,
    /// Whether the role lets filters with wildcards pass to its ACLs. If not, it denies them.
    pub(super) allows_wildcards: bool,
    /// By kind, each in the order in which they are asked.
    pub(super) acls: [Vec<AclEntry>; AclKind::ALL.len()],
}

/// What people call an entry, and what they say about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Texts {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
}

/// What an ACL is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AclKind {
    PublishSend,
    PublishReceive,
    SubscribeLiteral,
    SubscribePattern,
    UnsubscribeLiteral,
    UnsubscribePattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AclEntry {
    /// A Topic Filter, in which `%c` and `%u` may stand for the Client Identifier and the user name.
    pub(super) topic: String,
    pub(super) priority: i32,
    pub(super) allows: bool,
}

/// Names of roles, or of clients, each with a priority. A greater priority comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Priorities(BTreeMap<String, i32>);

/// Priorities go from `-MOST_PRIORITY` to this.
const MOST_PRIORITY: i32 = 100_000;
/// The priority of a role or group that was given none.
pub(super) const NO_PRIORITY: i32 = -1;

/// The nearest priority that is allowed.
pub(super) fn clamped(priority: i32) -> i32 {
    priority.clamp(-MOST_PRIORITY, MOST_PRIORITY)
}

impl AclKind {
    pub(super) const ALL: [Self; 6] = [
        Self::PublishSend,
        Self::PublishReceive,
        Self::SubscribeLiteral,
        Self::SubscribePattern,
        Self::UnsubscribeLiteral,
        Self::UnsubscribePattern,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PublishSend => "publishClientSend",
            Self::PublishReceive => "publishClientReceive",
            Self::SubscribeLiteral => "subscribeLiteral",
            Self::SubscribePattern => "subscribePattern",
            Self::UnsubscribeLiteral => "unsubscribeLiteral",
            Self::UnsubscribePattern => "unsubscribePattern",
        }
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

impl DefaultAccess {
    /// The default of a new file: clients get messages and end subscriptions.
    pub(super) const INITIAL: Self =
        Self { publish_send: false, publish_receive: true, subscribe: false, unsubscribe: true };

    /// The defaults with the names that the file and the commands have for them.
    pub(super) fn named(&self) -> [(&'static str, bool); 4] {
        [
            ("publishClientSend", self.publish_send),
            ("publishClientReceive", self.publish_receive),
            ("subscribe", self.subscribe),
            ("unsubscribe", self.unsubscribe),
        ]
    }

    /// The default with this name.
    pub(super) fn named_mut(&mut self, name: &str) -> Option<&mut bool> {
        let all = [
            ("publishClientSend", &mut self.publish_send),
            ("publishClientReceive", &mut self.publish_receive),
            ("subscribe", &mut self.subscribe),
            ("unsubscribe", &mut self.unsubscribe),
        ];
        all.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, access)| access)
    }
}

impl Default for RoleEntry {
    fn default() -> Self {
        Self { texts: Texts::default(), allows_wildcards: true, acls: Default::default() }
    }
}

impl RoleEntry {
    /// The ACLs of a kind, in the order in which they are asked.
    pub(super) fn acls(&self, kind: AclKind) -> &[AclEntry] {
        &self.acls[kind as usize]
    }

    /// Adds an ACL behind those of the same priority. Returns whether there was none with its topic.
    pub(super) fn add_acl(&mut self, kind: AclKind, acl: AclEntry) -> bool {
        let acls = &mut self.acls[kind as usize];
        if acls.iter().any(|other| other.topic == acl.topic) {
            return false;
        }
        let at = acls.iter().position(|other| other.priority < acl.priority).unwrap_or(acls.len());
        acls.insert(at, acl);
        true
    }

    /// Returns whether there was an ACL with this topic.
    pub(super) fn remove_acl(&mut self, kind: AclKind, topic: &str) -> bool {
        let acls = &mut self.acls[kind as usize];
        let before = acls.len();
        acls.retain(|acl| acl.topic != topic);
        acls.len() < before
    }
}

impl Priorities {
    /// Returns whether the name is new.
    pub(super) fn add(&mut self, name: &str, priority: i32) -> bool {
        let is_new = !self.0.contains_key(name);
        if is_new {
            self.0.insert(name.to_owned(), clamped(priority));
        }
        is_new
    }

    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    pub(super) fn get(&self, name: &str) -> Option<i32> {
        self.0.get(name).copied()
    }

    /// By name.
    pub(super) fn by_name(&self) -> impl Iterator<Item = (&str, i32)> {
        self.0.iter().map(|(name, priority)| (&**name, *priority))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name().map(|(name, _)| name)
    }

    /// In the order in which they are asked.
    pub(super) fn in_order(&self) -> Vec<(&str, i32)> {
        let mut all: Vec<_> = self.by_name().collect();
        sort(&mut all);
        all
    }
}

/// Sorts by priority, and within one by name.
fn sort(named: &mut [(&str, i32)]) {
    named.sort_by_key(|(name, priority)| (Reverse(*priority), *name));
}

impl SecurityDocument {
    /// Whether something in the document denies to unsubscribe. The core always permits it.
    pub(super) fn denies_to_unsubscribe(&self) -> bool {
        let kinds = [AclKind::UnsubscribeLiteral, AclKind::UnsubscribePattern];
        let denies = |role: &RoleEntry| kinds.iter().any(|kind| role.acls(*kind).iter().any(|acl| !acl.allows));
        !self.default_access.unsubscribe || self.roles.values().any(denies)
    }

    /// The groups of a client in the order in which they are asked.
    pub(super) fn groups_of(&self, client: &str) -> Vec<(&str, i32)> {
        let priority = |group: &GroupEntry| group.clients.get(client);
        let groups = self.groups.iter().filter_map(|(name, group)| Some((name.as_str(), priority(group)?)));
        let mut groups: Vec<_> = groups.collect();
        sort(&mut groups);
        groups
    }

    /// The same for all clients that are in a group.
    pub(super) fn groups_of_all(&self) -> HashMap<&str, Vec<(&str, i32)>> {
        let mut all: HashMap<&str, Vec<(&str, i32)>> = HashMap::new();
        for (name, group) in &self.groups {
            for (client, priority) in group.clients.by_name() {
                all.entry(client).or_default().push((name, priority));
            }
        }
        all.values_mut().for_each(|groups| sort(groups));
        all
    }
}
