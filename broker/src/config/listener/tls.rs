//! How a listener speaks TLS, and the values of its keys.

use crate::config::values::{Word, list, string};
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;

/// How a listener speaks TLS. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate of the server, with the certificates between it and its CA behind it.
    pub certificate: PathBuf,
    /// The private key of that certificate: PKCS #8, PKCS #1 or SEC 1, without a passphrase.
    pub key: PathBuf,
    /// The certificates of the CAs whose clients are trusted. Needed unless `client_certificate` is [`ClientCertificates::None`].
    pub client_ca: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    pub client_certificate: ClientCertificates,
    /// Lists of revoked certificates (CRL), one or more in each file. Without any no certificate is taken for revoked.
    pub crl: Vec<PathBuf>,
    /// Whether the certificates between a client's own and its CA are looked up in the lists too. Each of them needs a list of its issuer then.
    pub crl_covers_chain: bool,
    /// The oldest version of TLS that is spoken.
    pub min_version: TlsVersion,
    /// The most bytes of a record that is sent, from 512 to 16,384. Small clients have no buffer for the usual 16,384.
    pub record_bytes: u16,
    /// The protocols that a client may name (ALPN), the preferred one first, such as `mqtt`. A client that names others alone is refused; one that names none is
    /// not. Empty: what clients name does not matter.
    pub alpn: Vec<String>,
}

/// Whether the clients of a listener are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    None,
    /// They are asked. A client without a certificate is served; one with a certificate that is not trusted is refused.
    Optional,
    /// A client without a certificate that is trusted is refused.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2, with forward secrecy and authenticated encryption only.
    #[default]
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl TlsConfig {
    /// TLS with the certificate and the private key in these files. Clients are not asked for certificates.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: None,
            client_certificate: ClientCertificates::None,
            crl: Vec::new(),
            crl_covers_chain: false,
            min_version: TlsVersion::V1_2,
            record_bytes: MOST_RECORD_BYTES as u16,
            alpn: Vec::new(),
        }
    }
}

/// The most bytes of a record (RFC 8446, section 5.1).
pub(super) const MOST_RECORD_BYTES: u64 = 16_384;

impl Word for ClientCertificates {
    const WORDS: &'static [(&'static str, Self)] =
        &[("none", Self::None), ("optional", Self::Optional), ("required", Self::Required)];
}

impl Word for TlsVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.2", Self::V1_2), ("1.3", Self::V1_3)];
}

/// Which certificates of a client are looked up in the lists of revoked ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CrlDepth {
    /// Its own.
    Leaf,
    /// Its own and those between it and the CA.
    Chain,
}

impl Word for CrlDepth {
    const WORDS: &'static [(&'static str, Self)] = &[("leaf", Self::Leaf), ("chain", Self::Chain)];
}

pub(super) fn file<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    FilePath::deserialize(from).map(|path| Some(path.0))
}

/// The path of a file.
#[derive(Debug)]
pub(super) struct FilePath(pub(super) PathBuf);

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        string(from, "the path of a file", |path| (!path.is_empty()).then(|| Self(PathBuf::from(path))))
    }
}

pub(super) fn files<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<FilePath>>, D::Error> {
    list(from, "a list of paths of files, like [\"ca.crl\"]").map(Some)
}

const ALPN: &str = "a list of names of protocols with at most 255 bytes each, like [\"mqtt\"]";

/// The name of a protocol (RFC 7301).
#[derive(Debug)]
pub(super) struct ProtocolName(pub(super) String);

impl<'de> Deserialize<'de> for ProtocolName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let fits = |text: &str| (1..=255).contains(&text.len());
        string(from, ALPN, |text| fits(text).then(|| Self(text.to_owned())))
    }
}

pub(super) fn alpn<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<ProtocolName>>, D::Error> {
    list(from, ALPN).map(Some)
}
