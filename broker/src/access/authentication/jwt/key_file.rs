//! The keys that tokens are signed with: PEM, a shared secret, or a JWKS file (RFC 7517).

use super::ring_verifier;
use crate::config::{JwtAlgorithm, JwtConfig, JwtKeys};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::pki_types::pem::{PemObject as _, SectionKind};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::{Zeroize as _, Zeroizing};

/// The largest file.
const FILE_BYTES: u64 = 1 << 20;
/// The most keys of a file.
const MOST_KEYS: usize = 256;
/// The shortest shared secret (RFC 7518, section 3.2: as long as the hash).
const SECRET_BYTES: usize = 32;
/// The shortest and the longest modulus of RSA that ring takes, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// A point of P-256 that is not compressed: a byte 4, and both coordinates.
const P256_POINT_BYTES: usize = 65;
const ED25519_BYTES: usize = 32;

/// The keys for tokens, all for the one algorithm of the configuration.
#[derive(Debug)]
pub(super) struct TokenKeys {
    /// There is at least one.
    keys: Vec<TokenKey>,
}

#[derive(Debug)]
struct TokenKey {
    id: Option<Box<str>>,
    key: DecodingKey,
}

/// The keys for tokens cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFileError {
    /// The file; `None` if the key stands in the environment.
    pub file: Option<PathBuf>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: {}", file.display(), self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for KeyFileError {}

impl TokenKeys {
    /// Whoever has keys may check tokens, and jsonwebtoken panics where nobody has said how.
    fn new(keys: Vec<TokenKey>) -> Self {
        ring_verifier::install();
        Self { keys }
    }

    /// Reads the keys that the configuration names.
    ///
    /// # Errors
    /// The file can't be read, or it has no key for the algorithm, or a key that can't be used.
    pub(super) fn read(config: &JwtConfig) -> Result<Self, KeyFileError> {
        let of_file = |path: &Path, parse: fn(&[u8], JwtAlgorithm) -> Result<Self, String>| {
            let keys = read(path).map_err(|error| error.to_string()).and_then(|bytes| parse(&bytes, config.algorithm));
            keys.map_err(|message| KeyFileError { file: Some(path.to_owned()), message })
        };
        match &config.keys {
            JwtKeys::KeyFile(path) => of_file(path, from_key),
            JwtKeys::JwksFile(path) => of_file(path, from_jwks),
            JwtKeys::Environment(name) => {
                let value = std::env::var(name).map(Zeroizing::new);
                let value = value.map_err(|_| format!("the environment has no variable {name} with a text"));
                let keys = value.and_then(|value| {
                    from_key(value.as_bytes(), config.algorithm).map_err(|message| format!("${name}: {message}"))
                });
                keys.map_err(|message| KeyFileError { file: None, message })
            }
        }
    }

    /// The key for a token that names this Key ID, or none. A token without one is for the only key that there is.
    pub(super) fn find(&self, id: Option<&str>) -> Option<&DecodingKey> {
        let only = || self.keys.first().filter(|_| self.keys.len() == 1);
        let found = match id {
            Some(id) => {
                let named = self.keys.iter().find(|key| key.id.as_deref() == Some(id));
                named.or_else(|| only().filter(|key| key.id.is_none()))
            }
            None => only(),
        };
        found.map(|found| &found.key)
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    // A vector that grows leaves copies behind.
    let room = file.metadata()?.len().min(FILE_BYTES) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room).unwrap_or_default()));
    let read = file.by_ref().take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if read as u64 > FILE_BYTES {
        return Err(io::Error::other(format!("it has more than {FILE_BYTES} bytes: it is no file with keys")));
    }
    Ok(bytes)
}

/// The key in a file of its own: a shared secret, or a public key or a certificate in PEM.
pub(super) fn from_key(bytes: &[u8], algorithm: JwtAlgorithm) -> Result<TokenKeys, String> {
    let key = match algorithm {
        JwtAlgorithm::Hs256 => from_secret(without_line_end(bytes))?,
        _ => from_pem(bytes, algorithm)?,
    };
    Ok(TokenKeys::new(vec![TokenKey { id: None, key }]))
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn from_secret(secret: &[u8]) -> Result<DecodingKey, String> {
    if secret.starts_with(b"-----BEGIN ") {
        return Err("it has a key in PEM, and HS256 takes a shared secret: is another algorithm meant?".to_owned());
    }
    if secret.len() < SECRET_BYTES {
        return Err(format!("the secret has {} bytes, and needs at least {SECRET_BYTES}", secret.len()));
    }
    DecodingKey::from_secret(secret).map_err(|error| error.to_string())
}

fn from_pem(bytes: &[u8], algorithm: JwtAlgorithm) -> Result<DecodingKey, String> {
    let mut others = None;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, mut der) = section.map_err(|error| format!("it is no PEM: {error}"))?;
        match kind {
            SectionKind::PublicKey => {
                let (_, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| "its public key is damaged")?;
                return from_public_key(&info, algorithm);
            }
            SectionKind::Certificate => {
                let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| "its certificate is damaged")?;
                return from_public_key(certificate.public_key(), algorithm);
            }
            SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey => {
                der.zeroize();
                others = Some("it has a private key: only who issues tokens needs that; the public key belongs here");
            }
            _ => {}
        }
    }
    Err(others.unwrap_or("it has no public key and no certificate in PEM").to_owned())
}

fn from_public_key(info: &SubjectPublicKeyInfo<'_>, algorithm: JwtAlgorithm) -> Result<DecodingKey, String> {
    let bytes = &*info.subject_public_key.data;
    let is_p256 = || {
        let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        curve.is_some_and(|curve| curve.to_id_string() == "1.2.840.10045.3.1.7")
    };
    let is_ed25519 = info.algorithm.algorithm.to_id_string() == "1.3.101.112";
    match (algorithm, info.parsed().map_err(|_| "its public key is damaged")?) {
        (JwtAlgorithm::Rs256, PublicKey::RSA(key)) => from_rsa(key.modulus, key.exponent),
        (JwtAlgorithm::Es256, PublicKey::EC(_)) if is_p256() => from_point(bytes),
        (JwtAlgorithm::EdDsa, PublicKey::Unknown(_)) if is_ed25519 => from_ed25519(bytes),
        _ => Err(format!("its public key is not one for {algorithm}, which needs {}", algorithm.needs())),
    }
}

fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Result<DecodingKey, String> {
    let without_zeros = |bytes: &[u8]| bytes.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<u8>>();
    let (modulus, exponent) = (without_zeros(modulus), without_zeros(exponent));
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(format!("its RSA key has {bits} bits; allowed: {} to {}", RSA_BITS.start(), RSA_BITS.end()));
    }
    Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

fn from_point(point: &[u8]) -> Result<DecodingKey, String> {
    if point.len() != P256_POINT_BYTES || point[0] != 4 {
        return Err("its point of P-256 is not one with both coordinates".to_owned());
    }
    Ok(DecodingKey::from_ec_der(point))
}

fn from_ed25519(key: &[u8]) -> Result<DecodingKey, String> {
    if key.len() != ED25519_BYTES {
        return Err(format!("its key of Ed25519 has {} bytes, not {ED25519_BYTES}", key.len()));
    }
    Ok(DecodingKey::from_ed_der(key))
}

/// The keys of a JWKS file that are for this algorithm. Keys for others, or for encryption, may stand there too.
pub(super) fn from_jwks(bytes: &[u8], algorithm: JwtAlgorithm) -> Result<TokenKeys, String> {
    let set: JwkSet = serde_json::from_slice(bytes)
        .map_err(|error| format!("it is no JWKS file: line {}, column {}", error.line(), error.column()))?;
    if set.keys.len() > MOST_KEYS {
        return Err(format!("it has {} keys; allowed: at most {MOST_KEYS}", set.keys.len()));
    }
    let mut keys: Vec<TokenKey> = Vec::new();
    for (place, mut jwk) in (1..).zip(set.keys) {
        let key = from_jwk(&jwk, algorithm);
        if let AlgorithmParameters::OctetKey(secret) = &mut jwk.algorithm {
            secret.value.zeroize();
        }
        let id = jwk.common.key_id.as_deref();
        let named = || id.map_or_else(|| format!("key {place}"), |id| format!("key {place}, {id:?}"));
        let Some(key) = key.map_err(|error| format!("{}: {error}", named()))? else { continue };
        if id.is_some() && keys.iter().any(|other| other.id.as_deref() == id) {
            return Err(format!("{}: another key has the same Key ID", named()));
        }
        keys.push(TokenKey { id: id.map(Into::into), key });
    }
    if keys.is_empty() {
        return Err(format!("it has no key for {algorithm}, which needs {}", algorithm.needs()));
    }
    Ok(TokenKeys::new(keys))
}

/// `None` if the key is not one for this algorithm.
fn from_jwk(jwk: &Jwk, algorithm: JwtAlgorithm) -> Result<Option<DecodingKey>, String> {
    let is_for_others = jwk.common.public_key_use.as_ref().is_some_and(|it| *it != PublicKeyUse::Signature);
    let names_another = |named: KeyAlgorithm| Algorithm::try_from(named).ok() != Some(algorithm.into());
    if is_for_others || jwk.common.key_algorithm.is_some_and(names_another) {
        return Ok(None);
    }
    let decode = |text: &str| {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes());
        bytes.map(Zeroizing::new).map_err(|_| "it has bytes that are not base64url".to_owned())
    };
    let key = match (algorithm, &jwk.algorithm) {
        (JwtAlgorithm::Hs256, AlgorithmParameters::OctetKey(key)) => from_secret(&decode(&key.value)?)?,
        (JwtAlgorithm::Rs256, AlgorithmParameters::RSA(key)) => from_rsa(&decode(&key.n)?, &decode(&key.e)?)?,
        (JwtAlgorithm::Es256, AlgorithmParameters::EllipticCurve(key)) if key.curve == EllipticCurve::P256 => {
            from_point(&[&[4], &**decode(&key.x)?, &**decode(&key.y)?].concat())?
        }
        (JwtAlgorithm::EdDsa, AlgorithmParameters::OctetKeyPair(key)) if key.curve == EllipticCurve::Ed25519 => {
            from_ed25519(&decode(&key.x)?)?
        }
        _ => return Ok(None),
    };
    Ok(Some(key))
}

impl From<JwtAlgorithm> for Algorithm {
    fn from(algorithm: JwtAlgorithm) -> Self {
        match algorithm {
            JwtAlgorithm::Hs256 => Self::HS256,
            JwtAlgorithm::Rs256 => Self::RS256,
            JwtAlgorithm::Es256 => Self::ES256,
            JwtAlgorithm::EdDsa => Self::EdDSA,
        }
    }
}
