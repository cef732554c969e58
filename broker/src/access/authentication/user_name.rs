//! The names of users: which text can be one, and the one in a certificate.

use crate::access::Principals;
use crate::config::UserNameFrom;
use crate::net::ClientCertificate;
use std::borrow::Cow;

/// The name of the user in a certificate; `None` if the certificate has none that can be the name of a user.
pub(super) fn name_in(certificate: &ClientCertificate, from: UserNameFrom) -> Option<Cow<'_, str>> {
    let name = match from {
        UserNameFrom::CommonName => certificate.common_name.as_deref().map(Cow::Borrowed),
        UserNameFrom::DnsName => first(&certificate.dns_names),
        UserNameFrom::Uri => first(&certificate.uris),
        UserNameFrom::Email => first(&certificate.emails),
        UserNameFrom::Fingerprint => Some(Cow::Owned(certificate.fingerprint())),
    };
    name.filter(|name| is_name(name))
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=Principals::NAME_BYTES).contains(&name.len()) && !name.contains(char::is_control)
}

fn first(names: &[Box<str>]) -> Option<Cow<'_, str>> {
    names.first().map(|name| Cow::Borrowed(&**name))
}
