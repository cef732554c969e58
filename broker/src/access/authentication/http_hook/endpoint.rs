//! The service, and the secrets and certificates for it.

use crate::config::{FromFiles, HookParams, HttpHookConfig, Refresh, SecretSource, WatchedFiles};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use zeroize::Zeroizing;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES: usize = 16 << 10;
/// What a connection to the service may read ahead, in bytes.
const BUFFER_BYTES: usize = 32 << 10;
/// The longest secret, and the largest file with certificates, in bytes.
const SECRET_BYTES: u64 = 16 << 10;
const CA_BYTES: u64 = 1 << 20;
/// For so long a connection to the service is kept without a question.
const IDLE: Duration = Duration::from_secs(60);
const MOST_IDLE: usize = 16;

type WebClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The connections to the service, and what goes with each question.
pub(super) struct Endpoint {
    client: WebClient,
    authorization: Option<HeaderValue>,
}

/// The endpoint in use, and the files that it was made of.
pub(super) struct WatchedEndpoint {
    config: HttpHookConfig,
    endpoint: RwLock<Arc<Endpoint>>,
    files: WatchedFiles,
}

/// What is needed to ask a web service cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceError {
    /// The file; `None` if something else is wrong.
    pub file: Option<PathBuf>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: {}", file.display(), self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ServiceError {}

impl WatchedEndpoint {
    /// # Errors
    /// A file can't be used, or the system trusts no certificates.
    pub(super) fn read(config: &HttpHookConfig) -> Result<Self, ServiceError> {
        let mut files: Vec<PathBuf> = config.ca_file.iter().cloned().collect();
        if let Some(SecretSource::File(path)) = &config.authorization {
            files.push(path.clone());
        }
        let contents = "the certificates and the secret for the service that decides about clients".to_owned();
        let (files, endpoint) = WatchedFiles::read(files, contents, || Endpoint::read(config))?;
        Ok(Self { config: config.clone(), endpoint: RwLock::new(Arc::new(endpoint)), files })
    }

    pub(super) fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl FromFiles for WatchedEndpoint {
    fn refresh(&self, which: Refresh) {
        if let Some(endpoint) = self.files.refresh(which, || Endpoint::read(&self.config)) {
            *self.endpoint.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(endpoint);
        }
    }

    fn faults(&self) -> Vec<String> {
        self.files.fault().into_iter().collect()
    }
}

impl Endpoint {
    fn read(config: &HttpHookConfig) -> Result<Self, ServiceError> {
        let authorization = config.authorization.as_ref().map(read_authorization).transpose()?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls_config(config)?).https_or_http().enable_http1();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_millis(config.timeout_ms.into())));
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(MOST_IDLE);
        client.http1_max_buf_size(BUFFER_BYTES);
        Ok(Self { client: client.build(connector.wrap_connector(tcp)), authorization })
    }

    /// Asks the service, and returns the status and the body of its answer. There is no time limit here.
    ///
    /// # Errors
    /// The service can't be reached, or its answer is no HTTP, or too long.
    pub(super) async fn ask(
        &self,
        config: &HttpHookConfig,
        question: Zeroizing<Vec<u8>>,
    ) -> Result<(u16, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let kind = match config.params {
            HookParams::Json => "application/json",
            HookParams::Form => "application/x-www-form-urlencoded",
        };
        let mut request = Request::post(&config.url)
            .header(CONTENT_TYPE, kind)
            .header(ACCEPT, "application/json, text/plain, */*")
            .header(USER_AGENT, concat!("goldcrest/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        // The bytes are overwritten when the last of the client's parts has let go of them.
        let answer = self.client.request(request.body(Full::new(Bytes::from_owner(question)))?).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await?.to_bytes();
        Ok((status, body))
    }
}

fn tls_config(config: &HttpHookConfig) -> Result<ClientConfig, ServiceError> {
    let fault = |message: String| ServiceError { file: config.ca_file.clone(), message };
    let mut roots = RootCertStore::empty();
    match &config.ca_file {
        Some(path) => {
            let pem = read(path, CA_BYTES).map_err(|error| fault(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| fault(format!("it is no PEM: {error}")))?;
                roots.add(certificate).map_err(|error| fault(format!("a certificate can't be used: {error}")))?;
            }
            if roots.is_empty() {
                return Err(fault("it has no certificate in PEM".to_owned()));
            }
        }
        None if config.url.starts_with("https:") => {
            let of_system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(of_system.certs);
            if roots.is_empty() {
                let message = "this system has no certificates that it trusts: name those for the service by ca_file";
                return Err(fault(message.to_owned()));
            }
        }
        None => {}
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| fault(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn read_authorization(source: &SecretSource) -> Result<HeaderValue, ServiceError> {
    let (file, bytes) = match source {
        SecretSource::File(path) => (Some(path.clone()), read(path, SECRET_BYTES).map_err(|error| error.to_string())),
        SecretSource::Environment(name) => {
            let value = std::env::var(name).map(|value| Zeroizing::new(value.into_bytes()));
            (None, value.map_err(|_| format!("the environment has no variable {name} with a text")))
        }
    };
    let value = bytes.and_then(|bytes| {
        let text = bytes.trim_ascii();
        let value = HeaderValue::from_bytes(text).ok().filter(|value| !value.is_empty());
        value.ok_or_else(|| "it is not what a header of HTTP can have, like \"Bearer \" and a token".to_owned())
    });
    let mut value = value.map_err(|message| ServiceError { file, message })?;
    value.set_sensitive(true);
    Ok(value)
}

fn read(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = std::fs::File::open(path)?;
    // A vector that grows leaves copies behind.
    let room = file.metadata()?.len().min(most) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room).unwrap_or_default()));
    let read = file.take(most + 1).read_to_end(&mut bytes)?;
    if read as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}
