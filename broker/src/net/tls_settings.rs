//! What the TLS of a listener is made of: certificates, keys, CAs and lists of revoked certificates, read from their files.

use super::revoked::Revoked;
use crate::config::{ClientCertificates, Refresh, TlsConfig, TlsVersion, WatchedFiles};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CipherSuite, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

/// The TLS of one listener. New connections take what was read last; those that are open go on with what they began with.
#[derive(Debug)]
pub(crate) struct TlsSettings {
    config: TlsConfig,
    /// The address of the listener, for the log.
    address: String,
    current: RwLock<Arc<ServerConfig>>,
    files: WatchedFiles,
    own: Mutex<OwnCertificate>,
}

/// The certificate of the server, as far as the log tells of its end.
#[derive(Debug)]
struct OwnCertificate {
    /// When it ends, in seconds since 1970.
    not_after: i64,
    /// The last number of days left that the log has warned of.
    warned_of: Option<i64>,
    /// When the first of the lists of revoked certificates is out of date, in seconds since 1970; `None` if none says so.
    next_update: Option<i64>,
    /// Whether the log has warned that a list is out of date.
    is_stale_told: bool,
}

impl OwnCertificate {
    fn of(read: &ServerSide) -> Self {
        let ends = read.revocation_lists.iter().filter_map(|list| next_update(list));
        Self { not_after: read.not_after, warned_of: None, next_update: ends.min(), is_stale_told: false }
    }
}

/// When a list of revoked certificates is to be replaced by the next, in seconds since 1970.
fn next_update(list: &[u8]) -> Option<i64> {
    let (_, list) = x509_parser::parse_x509_crl(list).ok()?;
    list.next_update().map(|time| time.timestamp())
}

/// Why the files of a listener's TLS can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// The file that is at fault.
    pub file: PathBuf,
    /// What is wrong with the file, in words.
    pub message: String,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.message)
    }
}

impl std::error::Error for TlsError {}

impl TlsError {
    fn new(file: &Path, message: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), message: message.to_string() }
    }
}

impl TlsSettings {
    /// Reads the files of a listener.
    ///
    /// # Errors
    /// A file cannot be read, or is not what it is to be.
    pub(crate) fn read(config: &TlsConfig, address: String) -> Result<Self, TlsError> {
        let named = [&config.certificate, &config.key].into_iter().chain(&config.client_ca).chain(&config.crl);
        let contents = format!("the certificates of {address}");
        let (files, read) = WatchedFiles::read(named.cloned().collect(), contents, || server_side(config))?;
        let own = Mutex::new(OwnCertificate::of(&read));
        let settings = Self { config: config.clone(), address, current: RwLock::new(read.server), files, own };
        settings.warn_of_end();
        Ok(settings)
    }

    /// What new connections are to use.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn own(&self) -> MutexGuard<'_, OwnCertificate> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all files anew if one of them has changed, and replaces the settings as a whole. If a file can't be used the settings stay as they were.
    /// Returns the certificates that are revoked now, for clients of the `listener` with this index, if the settings were replaced and there are
    /// lists of revoked certificates.
    pub(crate) fn refresh(&self, which: Refresh, listener: u16) -> Option<Revoked> {
        let mut revoked = None;
        if let Some(read) = self.files.refresh(which, || server_side(&self.config)) {
            *self.own() = OwnCertificate::of(&read);
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = read.server;
            let lists = read.revocation_lists.iter().map(|list| &**list);
            revoked = (!read.revocation_lists.is_empty()).then(|| Revoked::of(listener, lists));
            tracing::info!("new connections to {} get the certificates that were read anew", self.address);
        }
        self.warn_of_end();
        revoked
    }

    /// Warns once a day that the certificate of the server ends soon.
    fn warn_of_end(&self) {
        const SOON: i64 = 14;
        let mut own = self.own();
        if own.next_update.is_some_and(|end| end < now()) && !std::mem::replace(&mut own.is_stale_told, true) {
            tracing::warn!(
                "a list of revoked certificates of {} is out of date; it counts until the next is there",
                self.address
            );
        }
        let left = own.not_after - now();
        let days = left.div_euclid(24 * 60 * 60);
        if days >= SOON || own.warned_of == Some(days) {
            return;
        }
        own.warned_of = Some(days);
        let (address, file) = (&self.address, self.config.certificate.display());
        if left < 0 {
            tracing::error!("the certificate of {address} has ended, and clients refuse it: {file}");
        } else {
            tracing::warn!("the certificate of {address} ends in {days} days: {file}");
        }
    }

    /// The seconds until the first of the lists of revoked certificates is out of date; 0 if it is. `None` if there is none, or none says so.
    pub(crate) fn crl_seconds_left(&self) -> Option<u64> {
        self.own().next_update.map(|end| (end - now()).try_into().unwrap_or(0))
    }

    /// Why the files can't be used as they are now; `None` if all are in use.
    pub(crate) fn fault(&self) -> Option<String> {
        self.files.fault()
    }

    /// The seconds until the certificate of the server ends; 0 if it has ended.
    pub(crate) fn seconds_left(&self) -> u64 {
        (self.own().not_after - now()).try_into().unwrap_or(0)
    }
}

fn now() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() as i64)
}

/// What the files of a listener say.
struct ServerSide {
    /// Everything that connections of the listener need.
    server: Arc<ServerConfig>,
    /// When the certificate of the server ends, in seconds since 1970.
    not_after: i64,
    revocation_lists: Vec<CertificateRevocationListDer<'static>>,
}

fn server_side(config: &TlsConfig) -> Result<ServerSide, TlsError> {
    // Named here and not left to the process: with two libraries of cryptography in one program rustls would not know which one to take.
    let has_aes = has_aes();
    let mut provider = ring::default_provider();
    if !has_aes {
        // Stable, so the order is the usual one otherwise.
        provider.cipher_suites.sort_by_key(|suite| !is_chacha(suite.suite()));
    }
    let provider = Arc::new(provider);
    let chain = certificates(&config.certificate)?;
    let not_after =
        end_of(&chain[0]).ok_or_else(|| TlsError::new(&config.certificate, "its certificate is damaged"))?;
    let key = private_key(&config.key)?;
    let asks = config.client_certificate != ClientCertificates::None;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions(config.min_version))
        .map_err(|error| TlsError::new(&config.certificate, error))?;
    let mut revocation_lists = Vec::new();
    for file in &config.crl {
        revocation_lists.extend(lists_of(file)?);
    }
    let builder = match &config.client_ca {
        Some(ca) if asks => builder.with_client_cert_verifier(verifier(config, ca, provider, &revocation_lists)?),
        _ => builder.with_no_client_auth(),
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::new(&config.key, format_args!("it is not the key of {}", config.certificate.display()))
        }
        error => TlsError::new(&config.certificate, error),
    })?;
    // A ticket would let a client in without a look at its certificate, which may be revoked since.
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    if !asks {
        server.ticketer = ring::Ticketer::new().map_err(|error| TlsError::new(&config.certificate, error))?;
        server.send_tls13_tickets = 1;
    }
    server.ignore_client_order = !has_aes;
    server.alpn_protocols = config.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    server.max_fragment_size = Some(usize::from(config.record_bytes) + RECORD_OVERHEAD);
    Ok(ServerSide { server: Arc::new(server), not_after, revocation_lists })
}

/// Whether the processor has instructions for AES. Without them ChaCha20 takes a fraction of the time.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

fn is_chacha(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// When a certificate ends, in seconds since 1970.
fn end_of(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// The bytes that rustls counts as part of a fragment besides its contents.
const RECORD_OVERHEAD: usize = 5;

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    match min {
        TlsVersion::V1_2 => &BOTH,
        TlsVersion::V1_3 => &BOTH[..1],
    }
}

/// Checks the certificates of clients.
fn verifier(
    config: &TlsConfig,
    ca: &Path,
    provider: Arc<CryptoProvider>,
    revocation_lists: &[CertificateRevocationListDer<'static>],
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| TlsError::new(ca, error))?;
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    builder = builder.with_crls(revocation_lists.iter().cloned());
    if !config.crl_covers_chain {
        builder = builder.only_check_end_entity_revocation();
    }
    if config.client_certificate == ClientCertificates::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| TlsError::new(config.crl.first().map_or(ca, PathBuf::as_path), error))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = sections::<CertificateDer<'static>>(file)?;
    if all.is_empty() {
        return Err(TlsError::new(
            file,
            "it has no certificate: a PEM file with -----BEGIN CERTIFICATE----- is wanted",
        ));
    }
    Ok(all)
}

fn lists_of(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let all = sections::<CertificateRevocationListDer<'static>>(file)?;
    if all.is_empty() {
        let message = "it has no list of revoked certificates: a PEM file with -----BEGIN X509 CRL----- is wanted";
        return Err(TlsError::new(file, message));
    }
    Ok(all)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(file)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound if contains(&bytes, b"ENCRYPTED PRIVATE KEY") => TlsError::new(
            file,
            "its key has a passphrase, and nobody could enter the passphrase at a start: openssl pkey removes it",
        ),
        pem::Error::NoItemsFound => {
            TlsError::new(file, "it has no private key: a PEM file with -----BEGIN PRIVATE KEY----- is wanted")
        }
        error => TlsError::new(file, error),
    })
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// All sections of one kind in a PEM file.
fn sections<T: PemObject>(file: &Path) -> Result<Vec<T>, TlsError> {
    let bytes = read(file)?;
    T::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|error| TlsError::new(file, error))
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    /// A list of revoked certificates may be long; a device like /dev/zero never ends.
    const MOST: u64 = 16 << 20;
    let read = || {
        let mut bytes = Vec::new();
        File::open(file)?.take(MOST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {MOST} bytes")));
        }
        Ok(bytes)
    };
    read().map_err(|error| TlsError::new(file, error))
}
