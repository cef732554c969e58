//! What a command works on, and what it gives.

use super::json_fields::JsonFields;
use super::security_document::SecurityDocument;
use super::stored_password::StoredPassword;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The effects of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Whether the document has changed.
    pub(crate) has_changed: bool,
    /// The users whose connections are to be closed, because what they may do has changed.
    pub(crate) closed: BTreeSet<String>,
    /// Whether the connections of clients without a user name are to be closed, too.
    pub(crate) closes_anonymous: bool,
}

/// What commands work on.
pub(super) struct CommandContext<'d> {
    pub(super) document: &'d mut SecurityDocument,
    pub(super) effects: Effects,
    /// Hashes a password.
    pub(super) hash: &'d dyn Fn(&str) -> Result<StoredPassword, getrandom::Error>,
}

/// A value, or why a command fails, in words.
pub(super) type CommandValue<T> = Result<T, Cow<'static, str>>;

/// The result of a command: data, if it gives any.
pub(super) type CommandResult = CommandValue<Option<Value>>;

impl CommandContext<'_> {
    pub(super) fn changed(&mut self) {
        self.effects.has_changed = true;
        self.document.change_index = self.document.change_index.saturating_add(1);
    }

    pub(super) fn close(&mut self, user: &str) {
        self.effects.closed.insert(user.to_owned());
    }

    /// Closes the connections of all members of a group.
    pub(super) fn close_group(&mut self, name: &str) {
        let Some(group) = self.document.groups.get(name) else { return };
        self.effects.closed.extend(group.clients.names().map(str::to_owned));
        self.effects.closes_anonymous |= self.document.anonymous_group.as_deref() == Some(name);
    }
}

/// A part of a list, as `count` and `offset` say. A count of 0 gives one entry, as it does in Mosquitto.
pub(super) fn part_of<T>(fields: JsonFields<'_>, all: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let offset = usize::try_from(fields.number_or("offset", 0)).unwrap_or(0);
    let count = usize::try_from(fields.number_or("count", -1)).map_or(usize::MAX, |count| count.max(1));
    all.skip(offset).take(count)
}
