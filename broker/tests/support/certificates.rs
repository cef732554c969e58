//! Certificates for the tests of TLS, made for each test, in a folder that is removed with them.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A CA, and the folder with the files of a server.
pub(crate) struct Authority {
    ca: CertifiedIssuer<'static, KeyPair>,
    pub(crate) folder: PathBuf,
}

/// A certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// A connection with TLS.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Authority {
    /// Makes a CA and a certificate for a server at 127.0.0.1 and localhost: `ca.pem`, `server.pem` and `server.key`.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("goldcrest-tls-{unique}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, format!("CA {unique}"));
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
        let authority = Self { ca, folder };
        authority.issue_server();
        authority
    }

    /// Makes another certificate and key for the server, over the old ones.
    pub(crate) fn issue_server(&self) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.ca).unwrap();
        std::fs::write(self.file("server.pem"), certificate.pem()).unwrap();
        std::fs::write(self.file("server.key"), key.serialize_pem()).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes a certificate for a client.
    pub(crate) fn issue(&self, common_name: &str, serial: u64, names: Vec<SanType>) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        }
    }

    /// Writes a list with the certificates that are revoked: `ca.crl`.
    pub(crate) fn revoke(&self, serials: &[u64]) {
        self.revoke_until(2099, serials);
    }

    /// The same with a list that is out of date at the beginning of this year.
    pub(crate) fn revoke_until(&self, year: i32, serials: &[u64]) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2024, 1, 1),
            next_update: rcgen::date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        std::fs::write(self.file("ca.crl"), params.signed_by(&self.ca).unwrap().pem().unwrap()).unwrap();
    }

    /// What a client connects with that trusts this CA.
    pub(crate) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match identity {
            Some(Identity { certificate, key }) => {
                builder.with_client_auth_cert(vec![certificate.clone()], key.clone_key()).unwrap()
            }
            None => builder.with_no_client_auth(),
        })
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Opens a connection; its handshake is a part of the first write or read.
pub(crate) fn open(address: SocketAddr, config: &Arc<ClientConfig>) -> TlsStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    open_on(stream, config)
}

/// The same on a connection that is there already.
pub(crate) fn open_on(stream: TcpStream, config: &Arc<ClientConfig>) -> TlsStream {
    StreamOwned::new(ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap(), stream)
}

/// The PEM files of a folder as paths in TOML.
pub(crate) fn in_toml(path: &Path) -> String {
    format!("{:?}", path.to_str().unwrap())
}
