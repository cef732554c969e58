//! What a client's certificate says about the client.

use ring::digest::{SHA256, digest};
use std::fmt;
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// The certificate of a client, which was checked: it comes from a trusted CA, is valid now and not revoked, and the client has its private key.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// The first Common Name of its subject.
    pub common_name: Option<Box<str>>,
    /// The host names among its Subject Alternative Names, in their order.
    pub dns_names: Box<[Box<str>]>,
    /// The URIs among its Subject Alternative Names.
    pub uris: Box<[Box<str>]>,
    /// The addresses for email among its Subject Alternative Names.
    pub emails: Box<[Box<str>]>,
    /// The SHA-256 of the certificate in DER.
    pub sha256: [u8; 32],
    /// SHA-256 of the name of its issuer in DER: with `serial` it names the certificate in a list of revoked ones.
    pub issuer_sha256: [u8; 32],
    /// The serial number, as it stands in DER.
    pub serial: Box<[u8]>,
    /// Until when the certificate is valid, in seconds since 1970.
    pub not_after: i64,
}

impl ClientCertificate {
    /// Reads a certificate in DER; `None` if it is none. Names that are not UTF-8 are left out.
    pub(super) fn read(der: &[u8]) -> Option<Arc<Self>> {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        let common_name = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok()).map(Box::from);
        let (mut dns_names, mut uris, mut emails) = (Vec::new(), Vec::new(), Vec::new());
        let names = certificate.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) => dns_names.push(Box::from(*name)),
                GeneralName::URI(name) => uris.push(Box::from(*name)),
                GeneralName::RFC822Name(name) => emails.push(Box::from(*name)),
                _ => {}
            }
        }
        Some(Arc::new(Self {
            common_name,
            dns_names: dns_names.into(),
            uris: uris.into(),
            emails: emails.into(),
            sha256: sha256(der),
            issuer_sha256: sha256(certificate.issuer().as_raw()),
            serial: certificate.raw_serial().into(),
            not_after: certificate.validity().not_after.timestamp(),
        }))
    }

    /// The SHA-256 of the certificate in DER, as 64 lowercase hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        self.sha256.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }

    /// The bytes of memory that it takes, besides itself.
    pub(super) fn bytes(&self) -> usize {
        let lists = [&self.dns_names, &self.uris, &self.emails];
        let names: usize = lists.into_iter().flatten().map(|name| name.len() + size_of::<Box<str>>()).sum();
        names + self.common_name.as_ref().map_or(0, |name| name.len()) + self.serial.len()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { common_name, dns_names, uris, emails, .. } = self;
        let mut out = f.debug_struct("ClientCertificate");
        out.field("common_name", common_name).field("dns_names", dns_names).field("uris", uris);
        out.field("emails", emails).field("sha256", &self.fingerprint()).finish_non_exhaustive()
    }
}
