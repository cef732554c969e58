//! The certificates in lists of revoked ones (CRL).

use super::ClientCertificate;
use super::transport::sha256;
use std::collections::HashSet;
use x509_parser::parse_x509_crl;

/// The revoked certificates of a listener.
#[derive(Debug)]
pub(crate) struct Revoked {
    /// The index of the listener.
    pub(crate) listener: u16,
    /// By issuer and serial number, as in [`ClientCertificate`].
    certificates: HashSet<([u8; 32], Box<[u8]>)>,
}

impl Revoked {
    /// The certificates in `lists`, which are in DER. What is no list is left out.
    pub(super) fn of<'l>(listener: u16, lists: impl IntoIterator<Item = &'l [u8]>) -> Self {
        let mut certificates = HashSet::new();
        for list in lists {
            if let Ok((_, list)) = parse_x509_crl(list) {
                let issuer = sha256(list.issuer().as_raw());
                certificates.extend(list.iter_revoked_certificates().map(|it| (issuer, Box::from(it.raw_serial()))));
            }
        }
        Self { listener, certificates }
    }

    pub(crate) fn has(&self, certificate: &ClientCertificate) -> bool {
        self.certificates.contains(&(certificate.issuer_sha256, certificate.serial.clone()))
    }
}
