//! Words for the log about a handshake that failed.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
use std::fmt;
use std::io;

/// Why a handshake failed, in words for the operator: which side refuses, and what would help.
pub(crate) struct TlsFault<'e>(pub(crate) &'e io::Error);

impl fmt::Display for TlsFault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = self.0.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return self.0.fmt(f);
        };
        match error {
            Error::AlertReceived(
                AlertDescription::UnknownCA | AlertDescription::BadCertificate | AlertDescription::CertificateUnknown,
            ) => write!(
                f,
                "it does not trust the certificate of this listener: it needs the CA that signed it, and the name that it connects to must be in \
                 the certificate ({error})"
            ),
            Error::AlertReceived(_) => write!(f, "it gives the handshake up: {error}"),
            Error::NoCertificatesPresented => {
                f.write_str("it has no certificate, and client_certificate = \"required\" wants one")
            }
            Error::InvalidCertificate(CertificateError::Revoked) => f.write_str("its certificate is revoked"),
            Error::InvalidCertificate(CertificateError::UnknownRevocationStatus) => f.write_str(
                "no list in crl is of the CA that signed its certificate, so nobody knows whether it is revoked",
            ),
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                f.write_str("its certificate is signed by no CA in client_ca")
            }
            Error::InvalidCertificate(fault) => write!(f, "its certificate is not trusted: {fault}"),
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // The library looks for the algorithms before the version, and TLS 1.1 has none.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => f.write_str("it speaks only versions of TLS that are older than min_version"),
            Error::PeerIncompatible(
                PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon,
            ) => f.write_str(
                "it offers no cipher suite of this listener, which has those of TLS 1.3, and of TLS 1.2 those with ECDHE and GCM or ChaCha20: no \
                 pre-shared key (PSK), no CBC, no RSA key exchange",
            ),
            Error::NoApplicationProtocol => f.write_str("it names protocols (ALPN), and none of them is in alpn"),
            Error::PeerIncompatible(why) => write!(f, "it speaks no TLS that this listener speaks: {why:?}"),
            error => write!(f, "its TLS handshake failed: {error}"),
        }
    }
}
