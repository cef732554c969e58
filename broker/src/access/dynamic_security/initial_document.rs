//! The document of a gateway that has none: Mosquitto 2.1 makes the same, with a client for demonstrations besides.

use super::security_document::{
    AclEntry, AclKind, ClientEntry, DefaultAccess, GroupEntry, RoleEntry, SecurityDocument,
};
use super::stored_password::StoredPassword;
use data_encoding::BASE64URL_NOPAD;
use std::io;
use zeroize::Zeroizing;

/// A new document, and the password of its administrator.
pub(super) struct InitialAdmin {
    pub(super) document: SecurityDocument,
    /// `None` if the environment has the password.
    pub(super) password: Option<Zeroizing<String>>,
}

/// The variable of the environment that Mosquitto has for the first password.
const VARIABLE: &str = "MOSQUITTO_DYNSEC_PASSWORD";
/// Shorter ones Mosquitto refuses, too.
const LEAST_BYTES: usize = 12;

/// Makes a document with an administrator.
///
/// # Errors
/// The password in the environment is too short, or the system gives no random numbers.
pub(super) fn initial_document() -> io::Result<InitialAdmin> {
    let given = std::env::var(VARIABLE).ok().map(Zeroizing::new);
    if given.as_ref().is_some_and(|given| given.len() < LEAST_BYTES) {
        return Err(io::Error::other(format!("{VARIABLE} must have at least {LEAST_BYTES} bytes")));
    }
    let is_given = given.is_some();
    let password = given.map_or_else(random_password, Ok).map_err(no_random)?;
    let hash = StoredPassword::new(&password).map_err(no_random)?;
    Ok(InitialAdmin { document: with_admin(hash), password: (!is_given).then_some(password) })
}

fn no_random(error: getrandom::Error) -> io::Error {
    io::Error::other(format!("the system gives no random numbers: {error}"))
}

fn random_password() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; 18]);
    getrandom::fill(&mut *bytes)?;
    Ok(Zeroizing::new(BASE64URL_NOPAD.encode(&*bytes)))
}

fn with_admin(password: StoredPassword) -> SecurityDocument {
    let mut document = SecurityDocument { default_access: DefaultAccess::INITIAL, ..SecurityDocument::default() };
    const ALL: &[AclKind] =
        &[AclKind::PublishSend, AclKind::PublishReceive, AclKind::SubscribePattern, AclKind::UnsubscribePattern];
    const READ: &[AclKind] = &[AclKind::PublishReceive, AclKind::SubscribePattern];
    const READ_ALL: &[AclKind] = &[AclKind::PublishReceive, AclKind::SubscribePattern, AclKind::UnsubscribePattern];
    for (name, description, topic, kinds) in [
        ("client", "Read/write access to the full application topic hierarchy.", "#", ALL),
        ("broker-admin", "Grants access to administer general broker configuration.", "$CONTROL/broker/#", ALL),
        ("dynsec-admin", "Grants access to administer clients/groups/roles.", "$CONTROL/dynamic-security/#", ALL),
        ("super-admin", "Grants access to administer all kind of broker controls", "$CONTROL/#", ALL),
        (
            "sys-notify",
            "Allow bridges to publish connection state messages.",
            "$SYS/broker/connection/%c/state",
            &[AclKind::PublishSend],
        ),
        ("sys-observe", "Observe the $SYS topic hierarchy.", "$SYS/#", READ),
        ("topic-observe", "Read only access to the full application topic hierarchy.", "#", READ_ALL),
    ] {
        let mut role = RoleEntry::default();
        role.texts.description = Some(description.to_owned());
        for kind in kinds {
            role.add_acl(*kind, AclEntry { topic: topic.to_owned(), priority: 0, allows: true });
        }
        document.roles.insert(name.to_owned(), role);
    }
    let mut admin = ClientEntry { password: Some(password), ..ClientEntry::default() };
    admin.texts.name = Some("Admin user".to_owned());
    for role in ["super-admin", "sys-observe", "topic-observe"] {
        admin.roles.add(role, super::security_document::NO_PRIORITY);
    }
    document.clients.insert("admin".to_owned(), admin);
    let mut group = GroupEntry::default();
    group.texts.name = Some("Unauthenticated group".to_owned());
    group.texts.description = Some("The roles of clients that connect without a user name, if they may.".to_owned());
    document.groups.insert("unauthenticated".to_owned(), group);
    document.anonymous_group = Some("unauthenticated".to_owned());
    document
}
