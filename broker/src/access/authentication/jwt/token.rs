//! What a token must be, and what it says.

use super::key_file::TokenKeys;
use crate::access::authentication::user_name::is_name;
use crate::access::authentication::wall_clock::since_1970;
use crate::config::JwtConfig;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime};

/// The longest token, in bytes.
pub(super) const TOKEN_BYTES: usize = 16 << 10;
/// The longest time that a connection lasts by one token.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Who a valid token is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenHolder {
    /// A name that can be the name of a principal.
    pub(crate) user: String,
    /// For how long from the check on the token is valid.
    pub(crate) lasts: Duration,
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenFault {
    /// It is longer than tokens may be, or not of the form of a token.
    Form,
    /// It is signed by another algorithm than the one of the configuration.
    Algorithm,
    /// It names a key that is not there, or none where there are several.
    UnknownKey,
    Signature,
    Expired,
    NotYetValid,
    /// A time in it is missing, or no number.
    Times,
    /// It is from another issuer, or for another audience.
    Issuer,
    Audience,
    /// The claim with the user name is missing or no name.
    User,
    /// It has rights in it, which are not applied: its issuer means fewer rights than its user would have.
    Rights,
    /// It may be valid, but the clock of this machine is not set.
    NoClock,
    /// Too many tokens wait to be checked.
    Busy,
}

impl TokenFault {
    /// For the log.
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Form => "the token is not one that can be read",
            Self::Algorithm => "the token is signed by another algorithm than the configured one",
            Self::UnknownKey => "the token is signed with a key that is not known",
            Self::Signature => "the signature of the token is wrong",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Times => "the token says not when it expires, or a time in it is no number",
            Self::Issuer => "the token is from another issuer",
            Self::Audience => "the token is for another audience",
            Self::User => "the token has no claim with the name of a user",
            Self::Rights => "the token has rights in it (acl), which are not applied",
            Self::NoClock => "the clock of this machine is not set, so no token can be checked",
            Self::Busy => "too many tokens wait to be checked",
        }
    }
}

/// Whether these bytes have the form of a signed token, so that they are no password that somebody chose.
pub(crate) fn looks_like_token(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(4, |byte| *byte == b'.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    if header.len() > TOKEN_BYTES {
        return false;
    }
    let header = BASE64URL_NOPAD.decode(header).ok().and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    header.is_some_and(|header| header.get("alg").is_some_and(Value::is_string))
}

/// Checks a token at a given time.
///
/// # Errors
/// The token is not valid, or not at this time.
pub(super) fn verify(
    token: &[u8],
    keys: &TokenKeys,
    config: &JwtConfig,
    now: SystemTime,
) -> Result<TokenHolder, TokenFault> {
    if token.len() > TOKEN_BYTES || !looks_like_token(token) {
        return Err(TokenFault::Form);
    }
    let header = decode_header(token).map_err(|error| match error.kind() {
        // An algorithm that the library doesn't know, such as `none`.
        ErrorKind::Json(_) => TokenFault::Algorithm,
        _ => TokenFault::Form,
    })?;
    if header.alg != config.algorithm.into() {
        return Err(TokenFault::Algorithm);
    }
    let key = keys.find(header.kid.as_deref()).ok_or(TokenFault::UnknownKey)?;
    let claims = decode::<Map<String, Value>>(token, key, &validation(config)).map_err(|error| fault(error.kind()))?;
    let claims = claims.claims;

    let now = since_1970(now).ok_or(TokenFault::NoClock)?;
    let leeway = Duration::from_secs(config.leeway_s.into());
    if numeric_date(&claims, "nbf")?.is_some_and(|begin| begin > now + leeway) {
        return Err(TokenFault::NotYetValid);
    }
    let end = numeric_date(&claims, "exp")?.ok_or(TokenFault::Times)?;
    let lasts = end.saturating_add(leeway).saturating_sub(now);
    if lasts.is_zero() {
        return Err(TokenFault::Expired);
    }
    if claims.get("acl").is_some_and(|acl| !acl.is_null()) {
        return Err(TokenFault::Rights);
    }
    let user = claims.get(&config.user_claim).and_then(Value::as_str).filter(|user| is_name(user));
    let user = user.ok_or(TokenFault::User)?.to_owned();
    Ok(TokenHolder { user, lasts: lasts.min(LONGEST) })
}

/// What the library checks. The times are checked here, at the given time.
fn validation(config: &JwtConfig) -> Validation {
    let mut validation = Validation::new(config.algorithm.into());
    validation.validate_exp = false;
    let mut required = vec!["exp"];
    if let Some(issuer) = &config.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    match &config.audience {
        Some(audience) => {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        // RFC 7519, section 4.1.3: who does not know of an audience must refuse tokens that are for one. People who configure none find that
        // out only by refusals, so the answer is in OPERATIONS.md.
        None => validation.validate_aud = true,
    }
    validation.set_required_spec_claims(&required);
    validation
}

fn fault(error: &ErrorKind) -> TokenFault {
    match error {
        ErrorKind::InvalidSignature => TokenFault::Signature,
        ErrorKind::InvalidAlgorithm => TokenFault::Algorithm,
        ErrorKind::InvalidIssuer => TokenFault::Issuer,
        ErrorKind::InvalidAudience => TokenFault::Audience,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => match claim.as_str() {
            "iss" => TokenFault::Issuer,
            "aud" => TokenFault::Audience,
            _ => TokenFault::Times,
        },
        _ => TokenFault::Form,
    }
}

/// A time of the token, since 1970; it may have a fraction (RFC 7519, section 2). `None` if the token does not have it.
fn numeric_date(claims: &Map<String, Value>, name: &str) -> Result<Option<Duration>, TokenFault> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let time = match value.as_u64() {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    };
    time.map(Some).ok_or(TokenFault::Times)
}
