//! Tokens and keys that PyJWT and cryptography made; `vectors/make.py` is the script.

use super::key_file::{KeyFileError, TokenKeys, from_jwks, from_key};
use super::token::{TokenFault, TokenHolder, looks_like_token, verify};
use super::{TokenCheck, TokenSource};
use crate::access::Secret;
use crate::config::{JwtAlgorithm, JwtConfig, JwtKeys, Refresh};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When the tokens were issued, in seconds since 1970. They are valid for an hour.
const ISSUED: u64 = 1_800_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const ALGORITHMS: [JwtAlgorithm; 4] =
    [JwtAlgorithm::Hs256, JwtAlgorithm::Rs256, JwtAlgorithm::Es256, JwtAlgorithm::EdDsa];

fn vectors(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/access/authentication/jwt/vectors").join(name)
}

fn token(label: &str) -> &'static str {
    let lines = include_str!("vectors/tokens").lines();
    let found = lines.filter_map(|line| line.split_once(": ")).find(|(name, _)| *name == label);
    found.unwrap_or_else(|| panic!("{label} is not in vectors/tokens")).1
}

/// Tokens of this algorithm, with the key in a file of its own.
fn by(algorithm: JwtAlgorithm) -> JwtConfig {
    let name = if algorithm == JwtAlgorithm::Hs256 { "secret".to_owned() } else { format!("{algorithm}.pem") };
    with_keys(algorithm, JwtKeys::KeyFile(vectors(&name)))
}

fn with_keys(algorithm: JwtAlgorithm, keys: JwtKeys) -> JwtConfig {
    JwtConfig { algorithm, keys, leeway_s: 0, ..JwtConfig::default() }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn check_at(config: &JwtConfig, label: &str, now: SystemTime) -> Result<TokenHolder, TokenFault> {
    verify(token(label).as_bytes(), &TokenKeys::read(config).unwrap(), config, now)
}

fn check(config: &JwtConfig, label: &str) -> Result<TokenHolder, TokenFault> {
    check_at(config, label, at(ISSUED))
}

fn fault(config: &JwtConfig, label: &str) -> TokenFault {
    check(config, label).expect_err(label)
}

fn ann() -> Result<TokenHolder, TokenFault> {
    Ok(TokenHolder { user: "ann".to_owned(), lasts: HOUR })
}

#[test]
fn tokens_of_each_algorithm_are_checked_with_a_key_file_and_with_a_jwks_file() {
    for algorithm in ALGORITHMS {
        assert_eq!(check(&by(algorithm), &algorithm.to_string()), ann(), "{algorithm}");
    }
    let set = |algorithm| with_keys(algorithm, JwtKeys::JwksFile(vectors("jwks.json")));
    for algorithm in [JwtAlgorithm::Hs256, JwtAlgorithm::Rs256, JwtAlgorithm::EdDsa] {
        assert_eq!(check(&set(algorithm), &algorithm.to_string()), ann(), "{algorithm} has one key there");
    }
    let certificate = with_keys(JwtAlgorithm::Es256, JwtKeys::KeyFile(vectors("certificate.pem")));
    assert_eq!(check(&certificate, "ES256"), ann());
}

#[test]
fn a_token_names_its_key_where_there_are_several() {
    let set = with_keys(JwtAlgorithm::Es256, JwtKeys::JwksFile(vectors("jwks.json")));
    assert_eq!(check(&set, "ES256 kid es"), ann());
    assert_eq!(check(&set, "ES256 kid es-2"), ann());
    assert_eq!(fault(&set, "ES256 kid es by another key"), TokenFault::Signature);
    assert_eq!(fault(&set, "ES256 kid nobody"), TokenFault::UnknownKey);
    assert_eq!(fault(&set, "ES256"), TokenFault::UnknownKey, "two keys could be meant");
    assert_eq!(check(&by(JwtAlgorithm::Es256), "ES256 kid nobody"), ann(), "a key file has no names");
}

#[test]
fn the_token_does_not_choose_the_algorithm() {
    for algorithm in ALGORITHMS {
        for label in ["none", "HS512"] {
            assert_eq!(fault(&by(algorithm), label), TokenFault::Algorithm, "{algorithm} and {label}");
        }
        for other in ALGORITHMS.into_iter().filter(|other| *other != algorithm) {
            assert_eq!(fault(&by(algorithm), &other.to_string()), TokenFault::Algorithm, "{algorithm} and {other}");
        }
    }
    assert_eq!(fault(&by(JwtAlgorithm::Rs256), "HS256 with the public key of RS256"), TokenFault::Algorithm);
}

#[test]
fn a_token_with_a_wrong_signature_is_refused() {
    assert_eq!(fault(&by(JwtAlgorithm::Es256), "ES256 by another key"), TokenFault::Signature);
    for algorithm in ALGORITHMS {
        let (config, whole) = (by(algorithm), token(&algorithm.to_string()));
        let keys = TokenKeys::read(&config).unwrap();
        let (signed, signature) = whole.rsplit_once('.').unwrap();
        let flipped = if signature.starts_with('A') { "B" } else { "A" };
        for forged in [format!("{signed}."), format!("{signed}.{flipped}{}", &signature[1..])] {
            assert!(verify(forged.as_bytes(), &keys, &config, at(ISSUED)).is_err(), "{forged}");
        }
        let (head, _) = signed.split_once('.').unwrap();
        let (_, claims) = token("iss").split_once('.').unwrap();
        let exchanged = format!("{head}.{}.{signature}", claims.split_once('.').unwrap().0);
        assert_eq!(verify(exchanged.as_bytes(), &keys, &config, at(ISSUED)), Err(TokenFault::Signature));
    }
}

#[test]
fn a_token_is_valid_from_nbf_to_exp_with_the_leeway() {
    let exact = by(JwtAlgorithm::Hs256);
    let config = JwtConfig { leeway_s: 5, ..exact.clone() };
    let holder = |lasts| Ok(TokenHolder { user: "ann".to_owned(), lasts: Duration::from_secs(lasts) });
    assert_eq!(check_at(&exact, "HS256", at(ISSUED + 3599)), holder(1));
    assert_eq!(check_at(&exact, "HS256", at(ISSUED + 3600)), Err(TokenFault::Expired));
    assert_eq!(check_at(&config, "HS256", at(ISSUED + 3604)), holder(1));
    assert_eq!(check_at(&config, "HS256", at(ISSUED + 3605)), Err(TokenFault::Expired));
    assert_eq!(check_at(&config, "nbf", at(ISSUED + 54)), Err(TokenFault::NotYetValid));
    assert_eq!(check_at(&config, "nbf", at(ISSUED + 55)), holder(3600 - 55 + 5));
    let fraction = check(&exact, "exp has a fraction").unwrap();
    assert_eq!(fraction.lasts, HOUR + Duration::from_millis(500));
    let huge = check(&exact, "exp is huge").unwrap();
    assert_eq!(huge.lasts, Duration::from_secs(10 * 366 * 24 * 60 * 60));
}

#[test]
fn a_token_whose_times_cannot_be_read_is_refused() {
    for label in ["no exp", "exp is a text", "nbf is a text"] {
        assert_eq!(fault(&by(JwtAlgorithm::Hs256), label), TokenFault::Times, "{label}");
    }
}

/// Field devices without a clock of their own start in 1970: their clients were told that their tokens are wrong, and never came back.
#[test]
fn while_the_clock_is_not_set_no_token_is_called_wrong() {
    let config = by(JwtAlgorithm::Hs256);
    for now in [UNIX_EPOCH, at(3600), at(1_700_000_000), UNIX_EPOCH - HOUR] {
        for label in ["HS256", "nbf"] {
            assert_eq!(check_at(&config, label, now), Err(TokenFault::NoClock), "{label} at {now:?}");
        }
        assert_eq!(check_at(&config, "none", now), Err(TokenFault::Algorithm), "it is wrong at any time");
    }
}

#[test]
fn the_configured_claim_names_the_user() {
    let config = by(JwtAlgorithm::Hs256);
    for label in ["no sub", "sub is empty", "sub is a number", "sub has a line end", "sub is long"] {
        assert_eq!(fault(&config, label), TokenFault::User, "{label}");
    }
    let device = JwtConfig { user_claim: "device".to_owned(), ..config };
    assert_eq!(check(&device, "no sub").map(|holder| holder.user).as_deref(), Ok("pump-7"));
    assert_eq!(fault(&device, "HS256"), TokenFault::User);
}

/// Without this a client would have all rights of its user where the issuer grants a few.
#[test]
fn a_token_with_rights_that_are_not_applied_is_refused() {
    let config = by(JwtAlgorithm::Hs256);
    assert_eq!(fault(&config, "acl"), TokenFault::Rights);
    assert_eq!(check(&config, "acl is null"), ann());
}

#[test]
fn a_configured_issuer_and_audience_must_be_named() {
    let config = by(JwtAlgorithm::Hs256);
    let of = |name: &str| JwtConfig { issuer: Some(name.to_owned()), ..config.clone() };
    assert_eq!(check(&config, "iss"), ann());
    assert_eq!(check(&of("https://issuer.example"), "iss"), ann());
    assert_eq!(fault(&of("https://issuer.example"), "HS256"), TokenFault::Issuer);
    assert_eq!(fault(&of("https://other.example"), "iss"), TokenFault::Issuer);
    let to = |name: &str| JwtConfig { audience: Some(name.to_owned()), ..config.clone() };
    for label in ["aud", "aud list"] {
        assert_eq!(check(&to("goldcrest"), label), ann());
        assert_eq!(fault(&to("elsewhere"), label), TokenFault::Audience);
        assert_eq!(
            fault(&config, label),
            TokenFault::Audience,
            "it is for somebody, and nothing says that it is this one"
        );
    }
    assert_eq!(fault(&to("goldcrest"), "HS256"), TokenFault::Audience);
}

#[test]
fn what_is_no_token_is_told_from_passwords() {
    for algorithm in ALGORITHMS {
        assert!(looks_like_token(token(&algorithm.to_string()).as_bytes()));
    }
    assert!(looks_like_token(token("none").as_bytes()));
    for password in ["", "a", "..", "a.b.c", "e30.e30.", "e30.e30.e30", "eyJhbGciOjF9.e30.e30", "\u{e9}.b.c"] {
        assert!(!looks_like_token(password.as_bytes()), "{password}");
    }
    let config = by(JwtAlgorithm::Hs256);
    let keys = TokenKeys::read(&config).unwrap();
    assert_eq!(fault(&config, "long"), TokenFault::Form);
    assert_eq!(fault(&config, "crit"), TokenFault::Form, "an extension that must be understood is not");
    for bytes in [&b""[..], b"a.b.c", &[0xff; 40], b"eyJhbGciOiJIUzI1NiJ9..", b"eyJhbGciOiJIUzI1NiJ9.e30.e30.e30"] {
        let checked = verify(bytes, &keys, &config, at(ISSUED));
        assert!(matches!(checked, Err(TokenFault::Form | TokenFault::Signature)), "{checked:?}");
    }
}

fn key_error(algorithm: JwtAlgorithm, name: &str) -> String {
    let path = vectors(name);
    let error = TokenKeys::read(&with_keys(algorithm, JwtKeys::KeyFile(path.clone()))).expect_err(name);
    assert_eq!(error.file.as_deref(), Some(&*path));
    error.message
}

#[test]
fn a_key_that_is_not_for_the_algorithm_is_refused_in_words() {
    use JwtAlgorithm::{EdDsa, Es256, Hs256, Rs256};
    assert_eq!(key_error(Es256, "RS256.pem"), "its public key is not one for ES256, which needs a key of P-256");
    assert_eq!(key_error(Es256, "P-384.pem"), "its public key is not one for ES256, which needs a key of P-256");
    assert_eq!(key_error(EdDsa, "ES256.pem"), "its public key is not one for EdDSA, which needs a key of Ed25519");
    assert_eq!(key_error(Rs256, "EdDSA.pem"), "its public key is not one for RS256, which needs an RSA key");
    assert_eq!(key_error(Rs256, "RSA-1024.pem"), "its RSA key has 1024 bits; allowed: 2048 to 8192");
    assert!(key_error(Es256, "private.pem").starts_with("it has a private key: only who issues tokens needs that"));
    assert!(key_error(Hs256, "RS256.pem").starts_with("it has a key in PEM, and HS256 takes a shared secret"));
    assert_eq!(key_error(Rs256, "secret"), "it has no public key and no certificate in PEM");
    assert!(key_error(Rs256, "not there").contains("No such file"));
    let short = from_key(b"too short\n", Hs256).unwrap_err();
    assert_eq!(short, "the secret has 9 bytes, and needs at least 32");
}

#[test]
fn a_faulty_jwks_file_is_refused_in_words() {
    let refused = |text: &str| from_jwks(text.as_bytes(), JwtAlgorithm::Hs256).unwrap_err();
    assert_eq!(refused("{\"keys\": [\n}"), "it is no JWKS file: line 2, column 1");
    assert_eq!(refused("{\"keys\": []}"), "it has no key for HS256, which needs a shared secret");
    let key = |id: &str, value: &str| format!(r#"{{"kty":"oct","kid":"{id}","k":"{value}"}}"#);
    let set = |keys: &[String]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
    let good = "A".repeat(43);
    assert!(from_jwks(set(&[key("a", &good)]).as_bytes(), JwtAlgorithm::Hs256).is_ok());
    assert_eq!(
        refused(&set(&[key("a", &good), key("b", "AAAA")])),
        "key 2, \"b\": the secret has 3 bytes, and needs at least 32"
    );
    assert_eq!(refused(&set(&[key("a", "A+")])), "key 1, \"a\": it has bytes that are not base64url");
    assert_eq!(refused(&set(&[key("a", &good), key("a", &good)])), "key 2, \"a\": another key has the same Key ID");
    assert!(refused(&set(&vec![key("a", &good); 257])).starts_with("it has 257 keys"));
}

#[test]
fn a_key_that_is_not_in_the_environment_is_missed_in_words() {
    let missing = with_keys(JwtAlgorithm::Hs256, JwtKeys::Environment("GOLDCREST_NOT_SET".to_owned()));
    let message = "the environment has no variable GOLDCREST_NOT_SET with a text".to_owned();
    assert_eq!(TokenKeys::read(&missing).map(|_| ()), Err(KeyFileError { file: None, message }));
}

#[test]
fn keys_do_not_show_in_debug_output() {
    let keys = TokenKeys::read(&by(JwtAlgorithm::Hs256)).unwrap();
    assert!(!format!("{keys:?}").contains("shared secret"), "{keys:?}");
}

#[test]
fn keys_are_read_anew_when_their_file_changes() {
    let path = std::env::temp_dir().join(format!("goldcrest-token-key-{}", std::process::id()));
    fs::copy(vectors("P-384.pem"), &path).unwrap();
    let config = with_keys(JwtAlgorithm::Es256, JwtKeys::KeyFile(path.clone()));
    assert!(TokenSource::start(&config, HOUR).is_err());
    fs::copy(vectors("certificate.pem"), &path).unwrap();
    let source = TokenSource::start(&config, HOUR).unwrap();
    let check = |label: &str| {
        let (send, answer) = channel();
        let done = Box::new(move |answer| send.send(answer).unwrap());
        source.check(TokenCheck { token: Secret::from(token(label).as_bytes()), done });
        answer.recv().unwrap().map(|holder: TokenHolder| holder.user)
    };
    // The thread takes the time of the system, and the tokens are of 2027.
    let is_signed = |label: &str| match check(label) {
        Ok(_) | Err(TokenFault::Expired | TokenFault::NoClock) => true,
        Err(TokenFault::Signature) => false,
        Err(other) => panic!("{other:?}"),
    };
    assert!(is_signed("ES256") && !is_signed("ES256 by another key"));
    for damaged in ["damaged", "", include_str!("vectors/RS256.pem")] {
        fs::write(&path, damaged).unwrap();
        source.files().refresh(Refresh::All);
        assert_eq!(source.files().faults().len(), 1);
        assert!(is_signed("ES256"), "the old key stays in use");
    }
    fs::copy(vectors("ES256-2.pem"), &path).unwrap();
    source.files().refresh(Refresh::Changed);
    assert!(source.files().faults().is_empty());
    assert!(!is_signed("ES256") && is_signed("ES256 by another key"));
    fs::remove_file(&path).unwrap();
}

#[test]
fn no_bytes_make_the_reader_of_tokens_and_keys_panic() {
    for line in include_str!("vectors/tokens").lines() {
        super::check_token(line.split_once(": ").unwrap().1.as_bytes());
    }
    for name in ["jwks.json", "RS256.pem", "ES256.pem", "EdDSA.pem", "certificate.pem", "private.pem", "secret"] {
        super::check_token(&fs::read(vectors(name)).unwrap());
    }
}
