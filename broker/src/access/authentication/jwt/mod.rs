//! Users who prove who they are by a JSON Web Token (RFC 7519).
//!
//! ```text
//! key_file       the keys that tokens are signed with: PEM, a shared secret, or a JWKS file
//! ring_verifier  the signatures, checked by ring
//! token          what a token must be, and what it says
//! token_source   checks tokens on a thread of its own, by keys that are read anew
//! ```
//!
//! The format of tokens and keys is the work of jsonwebtoken, which has met its attackers: headers that choose another algorithm or name extensions
//! that must be understood, claims of the wrong type. Of its two sets of cryptography one needs a C compiler and cmake, and the other would be a
//! second RSA, P-256 and Ed25519 beside the ones of TLS; it takes any other, so it gets ring, which is here for TLS anyway.

mod key_file;
mod ring_verifier;
#[cfg(test)]
mod tests;
mod token;
mod token_source;

pub use key_file::KeyFileError;
pub(crate) use token::{TokenFault, TokenHolder, looks_like_token};
pub(crate) use token_source::{TokenCheck, TokenSource, TokenSourceError};

use crate::config::{JwtAlgorithm, JwtConfig};

/// For fuzzing: takes any bytes for a token and for the contents of files with keys.
pub(crate) fn check_token(bytes: &[u8]) {
    let algorithms = [JwtAlgorithm::Hs256, JwtAlgorithm::Rs256, JwtAlgorithm::Es256, JwtAlgorithm::EdDsa];
    for algorithm in algorithms {
        let of_file = [key_file::from_key(bytes, algorithm), key_file::from_jwks(bytes, algorithm)];
        let known = key_file::from_jwks(FUZZED_KEYS, algorithm);
        let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000);
        for keys in of_file.into_iter().chain([known]).flatten() {
            let config = JwtConfig { algorithm, ..JwtConfig::default() };
            let accepted = token::verify(bytes, &keys, &config, now).is_ok();
            assert!(!accepted || looks_like_token(bytes), "a token that another source would have been asked about");
        }
    }
}

/// A key for each algorithm, with the Key IDs that the inputs of the fuzz target name.
const FUZZED_KEYS: &[u8] = include_bytes!("vectors/jwks.json");
