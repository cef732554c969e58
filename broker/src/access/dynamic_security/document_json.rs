//! The document as the JSON of Mosquitto, read and written.
//!
//! What Mosquitto 2.0 and 2.1 write is read. What is written both of them read. Fields that Mosquitto does not know it drops, and so does this.
//! Where Mosquitto silently skips an entry that makes no sense, the file is refused here: a denial that nobody sees would be missing.

use super::json_fields::{JsonFields, WrongField, is_utf8_of_mqtt};
use super::security_document::{
    AclEntry, AclKind, ClientEntry, DefaultAccess, GroupEntry, NO_PRIORITY, Priorities, RoleEntry, SecurityDocument,
    Texts, clamped,
};
use super::stored_password::StoredPassword;
use goldcrest_core::TopicFilter;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::fmt;

/// Why a text is no document: where, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DocumentFault {
    /// The line of a fault of the JSON, counted from 1; 0 for other faults.
    pub(crate) line: usize,
    /// The place of the entry, such as `clients[3].username`; empty for the whole file.
    pub(crate) key: String,
    pub(crate) message: String,
}

impl fmt::Display for DocumentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, &*self.key) {
            (0, "") => f.write_str(&self.message),
            (0, key) => write!(f, "{key}: {}", self.message),
            (line, _) => write!(f, "line {line}: {}", self.message),
        }
    }
}

/// Reads a document, and tells what in it has no effect.
///
/// # Errors
/// It is not JSON, or an entry makes no sense.
pub(crate) fn read_document(bytes: &[u8]) -> Result<(SecurityDocument, Vec<String>), DocumentFault> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let value: Value = serde_json::from_slice(bytes).map_err(|error| DocumentFault {
        line: error.line(),
        key: String::new(),
        // The error of serde_json repeats at most one character of the text.
        message: format!("it is no JSON: {error}"),
    })?;
    let fields = JsonFields::of(&value).ok_or_else(|| fault("", "it is no JSON object"))?;
    let mut reader = Reader::default();
    reader.defaults(fields)?;
    // Clients and groups refer to roles, and groups to clients.
    reader.each(fields, "roles", Reader::role)?;
    reader.each(fields, "clients", Reader::client)?;
    reader.each(fields, "groups", Reader::group)?;
    if let Some(name) = text(fields, "", "anonymousGroup")? {
        if reader.document.groups.contains_key(name) {
            reader.document.anonymous_group = Some(name.to_owned());
        } else {
            reader.remarks.push(format!("anonymousGroup: there is no group {name:?}"));
        }
    }
    Ok((reader.document, reader.remarks))
}

#[derive(Default)]
struct Reader {
    document: SecurityDocument,
    remarks: Vec<String>,
}

type Read<T> = Result<T, DocumentFault>;

fn fault(key: &str, message: &str) -> DocumentFault {
    DocumentFault { line: 0, key: key.to_owned(), message: message.to_owned() }
}

/// The place of a field of the entry at `place`.
fn field(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

fn text<'v>(fields: JsonFields<'v>, place: &str, name: &str) -> Read<Option<&'v str>> {
    fields.optional_text(name).map_err(|WrongField| fault(&field(place, name), "a text is needed"))
}

/// The name of an entry.
fn name_in<'v>(fields: JsonFields<'v>, place: &str, name: &str) -> Read<&'v str> {
    let is_name = |text: &&str| !text.is_empty() && is_utf8_of_mqtt(text);
    let found = text(fields, place, name)?.filter(is_name);
    found
        .ok_or_else(|| fault(&field(place, name), "a text is needed, which is not empty and has no control characters"))
}

fn flag(fields: JsonFields<'_>, place: &str, name: &str, default: bool) -> Read<bool> {
    let read = fields.optional_bool(name).map_err(|WrongField| fault(&field(place, name), "true or false is needed"));
    read.map(|flag| flag.unwrap_or(default))
}

fn priority(fields: JsonFields<'_>, place: &str, default: i32) -> Read<i32> {
    let read = fields.optional_number("priority");
    let read = read.map_err(|WrongField| fault(&field(place, "priority"), "a number is needed"))?;
    Ok(clamped(read.unwrap_or(default)))
}

fn texts(fields: JsonFields<'_>, place: &str) -> Read<Texts> {
    let of = |name| text(fields, place, name).map(|text| text.map(str::to_owned));
    Ok(Texts { name: of("textname")?, description: of("textdescription")? })
}

/// The objects in a list, each with its place.
fn objects<'v>(fields: JsonFields<'v>, place: &str, list: &str) -> Read<Vec<(JsonFields<'v>, String)>> {
    let place = field(place, list);
    let values = fields.optional_list(list).map_err(|WrongField| fault(&place, "a list is needed"))?;
    let object = |(at, value)| {
        let place = format!("{place}[{at}]");
        let fields = JsonFields::of(value).ok_or_else(|| fault(&place, "an object is needed"))?;
        Ok((fields, place))
    };
    values.unwrap_or_default().iter().enumerate().map(object).collect()
}

/// The ACLs in a list, as a role without anything else.
pub(super) fn read_acls(fields: JsonFields<'_>, place: &str) -> Read<(RoleEntry, Vec<String>)> {
    let (mut role, mut remarks) = (RoleEntry::default(), Vec::new());
    for (acl, place) in objects(fields, place, "acls")? {
        let kind = text(acl, &place, "acltype")?.and_then(AclKind::of);
        let Some(kind) = kind else {
            let kinds: Vec<_> = AclKind::ALL.into_iter().map(AclKind::name).collect();
            return Err(fault(&field(&place, "acltype"), &format!("one of these is needed: {}", kinds.join(", "))));
        };
        let topic = text(acl, &place, "topic")?.filter(|topic| is_acl_topic(topic));
        let topic = topic.ok_or_else(|| fault(&field(&place, "topic"), "a Topic Filter is needed"))?.to_owned();
        let (priority, allows) = (priority(acl, &place, 0)?, flag(acl, &place, "allow", false)?);
        if !role.add_acl(kind, AclEntry { topic, priority, allows }) {
            remarks.push(format!("{place}: the role has an {} with this topic already", kind.name()));
        }
    }
    Ok((role, remarks))
}

/// Whether a text can be the topic of an ACL.
pub(super) fn is_acl_topic(topic: &str) -> bool {
    // Names such as $share/group/filter are no filters of topics.
    is_utf8_of_mqtt(topic) && TopicFilter::new(topic).is_ok_and(|filter| filter.proper() == topic)
}

impl Reader {
    fn defaults(&mut self, fields: JsonFields<'_>) -> Read<()> {
        let index = fields.get("changeIndex").map(|value| {
            let number = value.as_u64().or_else(|| value.as_f64().map(|number| number as u64));
            number.ok_or_else(|| fault("changeIndex", "a number is needed"))
        });
        self.document.change_index = index.transpose()?.unwrap_or(0);
        let Some(access) = fields.get("defaultACLAccess") else { return Ok(()) };
        let place = "defaultACLAccess";
        let access = JsonFields::of(access).ok_or_else(|| fault(place, "an object is needed"))?;
        for (name, _) in DefaultAccess::default().named() {
            let allows = flag(access, place, name, false)?;
            if let Some(default) = self.document.default_access.named_mut(name) {
                *default = allows;
            }
        }
        Ok(())
    }

    fn each(
        &mut self,
        fields: JsonFields<'_>,
        list: &str,
        read: impl Fn(&mut Self, JsonFields<'_>, &str) -> Read<bool>,
    ) -> Read<()> {
        for (entry, place) in objects(fields, "", list)? {
            if !read(self, entry, &place)? {
                self.remarks.push(format!("{place}: an earlier entry has this name, and this one is left out"));
            }
        }
        Ok(())
    }

    /// Roles, or clients, of an entry. Those that are not known are left out.
    fn priorities(
        &mut self,
        fields: JsonFields<'_>,
        place: &str,
        (list, key): (&str, &str),
        is_known: impl Fn(&SecurityDocument, &str) -> bool,
    ) -> Read<Priorities> {
        let mut all = Priorities::default();
        for (entry, place) in objects(fields, place, list)? {
            let (name, priority) = (name_in(entry, &place, key)?, priority(entry, &place, NO_PRIORITY)?);
            if !is_known(&self.document, name) {
                self.remarks.push(format!("{place}: there is no {name:?}"));
            } else if !all.add(name, priority) {
                self.remarks.push(format!("{place}: {name:?} is there already"));
            }
        }
        Ok(all)
    }

    fn roles(&mut self, fields: JsonFields<'_>, place: &str) -> Read<Priorities> {
        self.priorities(fields, place, ("roles", "rolename"), |document, name| document.roles.contains_key(name))
    }

    fn role(&mut self, fields: JsonFields<'_>, place: &str) -> Read<bool> {
        let name = name_in(fields, place, "rolename")?;
        let (acls, remarks) = read_acls(fields, place)?;
        self.remarks.extend(remarks);
        let allows_wildcards = flag(fields, place, "allowwildcardsubs", true)?;
        let role = RoleEntry { texts: texts(fields, place)?, allows_wildcards, ..acls };
        Ok(put(&mut self.document.roles, name, role))
    }

    fn client(&mut self, fields: JsonFields<'_>, place: &str) -> Read<bool> {
        let name = name_in(fields, place, "username")?;
        let client = ClientEntry {
            client_id: text(fields, place, "clientid")?.map(str::to_owned),
            texts: texts(fields, place)?,
            is_disabled: flag(fields, place, "disabled", false)?,
            password: password(fields, place)?,
            roles: self.roles(fields, place)?,
        };
        if let Some(Err(fault)) = client.password.as_ref().map(StoredPassword::to_hash) {
            self.remarks.push(format!("{place}: the user can't connect, because of the password: {fault}"));
        }
        Ok(put(&mut self.document.clients, name, client))
    }

    fn group(&mut self, fields: JsonFields<'_>, place: &str) -> Read<bool> {
        let name = name_in(fields, place, "groupname")?;
        let is_client = |document: &SecurityDocument, name: &str| document.clients.contains_key(name);
        let group = GroupEntry {
            texts: texts(fields, place)?,
            roles: self.roles(fields, place)?,
            clients: self.priorities(fields, place, ("clients", "username"), is_client)?,
        };
        Ok(put(&mut self.document.groups, name, group))
    }
}

/// Adds an entry unless its name is taken. Returns whether it was added.
fn put<T>(entries: &mut std::collections::BTreeMap<String, T>, name: &str, entry: T) -> bool {
    let is_new = !entries.contains_key(name);
    if is_new {
        entries.insert(name.to_owned(), entry);
    }
    is_new
}

fn password(fields: JsonFields<'_>, place: &str) -> Read<Option<StoredPassword>> {
    if let Some(encoded) = text(fields, place, "encoded_password")? {
        return Ok(Some(StoredPassword::encoded(encoded)));
    }
    let (hash, salt) = (text(fields, place, "password")?, text(fields, place, "salt")?);
    let iterations = fields.optional_number("iterations");
    let iterations = iterations.map_err(|WrongField| fault(&field(place, "iterations"), "a number is needed"))?;
    Ok(match (hash, salt, iterations) {
        (Some(hash), Some(salt), Some(iterations)) => StoredPassword::pbkdf2(iterations, salt, hash),
        _ => None,
    })
}

/// Writes a document as Mosquitto does.
pub(crate) fn write_document(document: &SecurityDocument) -> Vec<u8> {
    // No value of a document can fail: there are no maps with keys other than texts, and memory grows.
    serde_json::to_vec_pretty(&DocumentJson::of(document)).expect("texts, numbers and lists are JSON")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DocumentJson<'d> {
    change_index: u64,
    #[serde(rename = "defaultACLAccess")]
    default_acl_access: DefaultAccess,
    clients: Vec<ClientJson<'d>>,
    groups: Vec<GroupJson<'d>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anonymous_group: Option<&'d str>,
    roles: Vec<RoleJson<'d>>,
}

/// A client as it stands in the file, or in an answer: there without its password, and with its groups.
#[derive(Serialize)]
pub(super) struct ClientJson<'d> {
    username: &'d str,
    #[serde(skip_serializing_if = "Option::is_none")]
    clientid: Option<&'d str>,
    #[serde(flatten)]
    texts: TextsJson<'d>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled: Option<bool>,
    roles: Vec<RoleNameJson<'d>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<GroupNameJson<'d>>>,
    #[serde(flatten)]
    password: Option<PasswordJson<'d>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum PasswordJson<'d> {
    Pbkdf2 { password: &'d str, salt: &'d str, iterations: u32 },
    Encoded { encoded_password: &'d str },
}

#[derive(Serialize)]
pub(super) struct GroupJson<'d> {
    groupname: &'d str,
    #[serde(flatten)]
    texts: TextsJson<'d>,
    roles: Vec<RoleNameJson<'d>>,
    clients: Vec<ClientNameJson<'d>>,
}

#[derive(Serialize)]
pub(super) struct RoleJson<'d> {
    rolename: &'d str,
    #[serde(flatten)]
    texts: TextsJson<'d>,
    allowwildcardsubs: bool,
    acls: Vec<AclJson<'d>>,
}

#[derive(Serialize)]
struct TextsJson<'d> {
    #[serde(skip_serializing_if = "Option::is_none")]
    textname: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    textdescription: Option<&'d str>,
}

#[derive(Serialize)]
struct RoleNameJson<'d> {
    rolename: &'d str,
    #[serde(skip_serializing_if = "is_no_priority")]
    priority: i32,
}

#[derive(Serialize)]
struct GroupNameJson<'d> {
    groupname: &'d str,
    #[serde(skip_serializing_if = "is_no_priority")]
    priority: i32,
}

#[derive(Serialize)]
struct ClientNameJson<'d> {
    username: &'d str,
    #[serde(skip_serializing_if = "is_no_priority")]
    priority: i32,
}

#[derive(Serialize)]
struct AclJson<'d> {
    acltype: &'static str,
    topic: &'d str,
    priority: i32,
    allow: bool,
}

fn is_no_priority(priority: &i32) -> bool {
    *priority == NO_PRIORITY
}

impl Serialize for DefaultAccess {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.named())
    }
}

impl<'d> DocumentJson<'d> {
    fn of(document: &'d SecurityDocument) -> Self {
        let SecurityDocument { change_index, default_access, clients, groups, roles, anonymous_group } = document;
        Self {
            change_index: *change_index,
            default_acl_access: *default_access,
            clients: clients.iter().map(|(name, client)| ClientJson::in_file(name, client)).collect(),
            groups: groups.iter().map(|(name, group)| GroupJson::of(name, group)).collect(),
            anonymous_group: anonymous_group.as_deref(),
            roles: roles.iter().map(|(name, role)| RoleJson::of(name, role)).collect(),
        }
    }
}

impl<'d> ClientJson<'d> {
    fn in_file(name: &'d str, client: &'d ClientEntry) -> Self {
        let password = client.password.as_ref().map(|password| match password.pbkdf2_parts() {
            Some((iterations, salt, password)) => PasswordJson::Pbkdf2 { password, salt, iterations },
            None => PasswordJson::Encoded { encoded_password: password.as_str() },
        });
        Self { password, groups: None, ..Self::in_answer(name, client, &[]) }
    }

    pub(super) fn in_answer(name: &'d str, client: &'d ClientEntry, groups: &[(&'d str, i32)]) -> Self {
        let groups = groups.iter().map(|&(groupname, priority)| GroupNameJson { groupname, priority }).collect();
        Self {
            username: name,
            clientid: client.client_id.as_deref(),
            texts: TextsJson::of(&client.texts),
            disabled: client.is_disabled.then_some(true),
            roles: RoleNameJson::all(&client.roles),
            groups: Some(groups),
            password: None,
        }
    }
}

impl<'d> GroupJson<'d> {
    pub(super) fn of(name: &'d str, group: &'d GroupEntry) -> Self {
        let client = |(username, priority)| ClientNameJson { username, priority };
        Self {
            groupname: name,
            texts: TextsJson::of(&group.texts),
            roles: RoleNameJson::all(&group.roles),
            clients: group.clients.by_name().map(client).collect(),
        }
    }
}

impl<'d> RoleJson<'d> {
    pub(super) fn of(name: &'d str, role: &'d RoleEntry) -> Self {
        let of_kind = |kind: AclKind| {
            let acl = move |AclEntry { topic, priority, allows }: &'d AclEntry| AclJson {
                acltype: kind.name(),
                topic,
                priority: *priority,
                allow: *allows,
            };
            role.acls(kind).iter().map(acl)
        };
        Self {
            rolename: name,
            texts: TextsJson::of(&role.texts),
            allowwildcardsubs: role.allows_wildcards,
            acls: AclKind::ALL.into_iter().flat_map(of_kind).collect(),
        }
    }
}

impl<'d> TextsJson<'d> {
    fn of(texts: &'d Texts) -> Self {
        Self { textname: texts.name.as_deref(), textdescription: texts.description.as_deref() }
    }
}

impl<'d> RoleNameJson<'d> {
    fn all(roles: &'d Priorities) -> Vec<Self> {
        roles.in_order().into_iter().map(|(rolename, priority)| Self { rolename, priority }).collect()
    }
}
