//! Hashes of passwords as they stand in a password file: what they cost, and whether a password has them.
//!
//! | Form | Hash | Written by |
//! |---|---|---|
//! | `$argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$HASH` | Argon2id (RFC 9106) | goldcrest passwd; mosquitto_passwd 2.1 |
//! | `$7$ROUNDS$SALT$HASH` | PBKDF2 with HMAC-SHA-512 | mosquitto_passwd 1.6 to 2.0 |
//! | `$6$SALT$HASH` | SHA-512 of the password and the salt | mosquitto_passwd before 1.6 |
//! | `$token$HASH` | SHA-256 of a random token | goldcrest passwd --token |

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD};
use ring::digest::{SHA256, SHA512, digest};
use ring::pbkdf2;
use std::fmt;
use std::num::NonZeroU32;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// What a password is compared with.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PasswordHash {
    Argon2id {
        cost: Argon2Cost,
        salt: Box<[u8]>,
        hash: Box<[u8]>,
    },
    Pbkdf2 {
        rounds: NonZeroU32,
        salt: Box<[u8]>,
        hash: Box<[u8]>,
    },
    Sha512 {
        salt: Box<[u8]>,
        hash: Box<[u8]>,
    },
    /// A token is random, so that nobody can guess it however fast its hash is. Ten thousand devices with tokens may come back at once.
    Token([u8; 32]),
}

/// What a hash by Argon2id costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Argon2Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Argon2Cost {
    /// The least that OWASP recommends: 19 MiB and 2 passes.
    const DEFAULT: Self = Self { memory_kib: 19_456, passes: 2, lanes: 1 };
    /// A hash in a file may cost no more. RFC 9106 recommends up to 2 GiB, which no small machine has.
    const MOST: Self = Self { memory_kib: 256 << 10, passes: 10, lanes: 16 };
}

/// A hash may have no more rounds of PBKDF2. mosquitto_passwd has 101 or 1,000.
const MOST_ROUNDS: u32 = 1_000_000;
/// The longest salt and the longest hash, in bytes. mosquitto_passwd 2.1 has 64 of each.
const MOST_BYTES: usize = 64;
/// The shortest hash, in bytes.
const LEAST_BYTES: usize = 16;
const NEW_SALT_BYTES: usize = 16;
const NEW_HASH_BYTES: usize = 32;
/// A token has so many random bytes.
const TOKEN_BYTES: usize = 24;
/// What each token begins with: programs that look for secrets in files know it by this.
const TOKEN_PREFIX: &str = "gct_";

impl PasswordHash {
    /// Reads a hash.
    ///
    /// # Errors
    /// What is wrong with it, in words. They don't repeat it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split('$').collect();
        match fields[..] {
            ["", "argon2id", version, cost, salt, hash] => {
                if version != "v=19" {
                    return Err("only version 19 of Argon2 is known: v=19".to_owned());
                }
                let (salt, hash) = (bytes_of(salt, "salt", 8)?, bytes_of(hash, "hash", LEAST_BYTES)?);
                Ok(Self::Argon2id { cost: argon2_cost(cost)?, salt, hash })
            }
            ["", "7", rounds, salt, hash] => {
                let allowed = rounds.parse().ok().filter(|rounds: &NonZeroU32| rounds.get() <= MOST_ROUNDS);
                let rounds = allowed.ok_or_else(|| format!("its rounds are no number from 1 to {MOST_ROUNDS}"))?;
                Ok(Self::Pbkdf2 {
                    rounds,
                    salt: bytes_of(salt, "salt", 1)?,
                    hash: bytes_of(hash, "hash", LEAST_BYTES)?,
                })
            }
            ["", "6", salt, hash] => {
                Ok(Self::Sha512 { salt: bytes_of(salt, "salt", 1)?, hash: bytes_of(hash, "hash", 64)? })
            }
            ["", "token", hash] => match <[u8; 32]>::try_from(&*bytes_of(hash, "hash", 32)?) {
                Ok(hash) => Ok(Self::Token(hash)),
                Err(_) => Err("the hash of a token has 32 bytes".to_owned()),
            },
            ["", "argon2i" | "argon2d", ..] => Err("of the variants of Argon2 only argon2id is known".to_owned()),
            ["", kind, ..] if matches!(kind, "argon2id" | "7" | "6" | "token") => {
                Err(format!("a hash of the kind ${kind}$ has another number of fields"))
            }
            _ => Err("it has no hash of a known kind ($argon2id$, $7$, $6$ or $token$); goldcrest passwd makes one"
                .to_owned()),
        }
    }

    /// The hash of a password, with a new salt. Takes as long as a check.
    ///
    /// # Errors
    /// The system has no random numbers, or no memory for the hash.
    pub(crate) fn of_password(password: &[u8]) -> Result<Self, String> {
        let salt = random::<NEW_SALT_BYTES>()?;
        let (cost, mut hash) = (Argon2Cost::DEFAULT, [0; NEW_HASH_BYTES]);
        argon2id(cost, &*salt, password, &mut hash).map_err(|error| error.to_string())?;
        Ok(Self::Argon2id { cost, salt: Box::new(*salt), hash: Box::new(hash) })
    }

    /// A new token, and its hash.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn new_token() -> Result<(Zeroizing<String>, Self), String> {
        let random = random::<TOKEN_BYTES>()?;
        // Room for all of it: a string that grows would leave its beginning behind.
        let mut token = Zeroizing::new(String::with_capacity(64));
        token.push_str(TOKEN_PREFIX);
        BASE64URL_NOPAD.encode_append(&*random, &mut token);
        let hash = sha256(token.as_bytes());
        Ok((token, Self::Token(hash)))
    }

    /// Whether a check takes a moment only, so that a thread with other work may do it.
    pub(crate) fn is_fast(&self) -> bool {
        matches!(self, Self::Token(_))
    }

    /// The bytes of memory that a check takes.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Argon2id { cost, .. } => cost.memory_kib as usize * 1024,
            Self::Pbkdf2 { .. } | Self::Sha512 { .. } | Self::Token(_) => 0,
        }
    }

    /// Whether a check of both costs the same.
    pub(crate) fn costs_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Argon2id { cost, .. }, Self::Argon2id { cost: other, .. }) => cost == other,
            (Self::Pbkdf2 { rounds, .. }, Self::Pbkdf2 { rounds: other, .. }) => rounds == other,
            (Self::Sha512 { .. }, Self::Sha512 { .. }) | (Self::Token(_), Self::Token(_)) => true,
            _ => false,
        }
    }

    /// Whether this is the hash of `password`. How long the answer takes does not depend on where the two differ.
    pub(crate) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2id { cost, salt, hash } => {
                let mut own = Zeroizing::new([0; MOST_BYTES]);
                let own = &mut own[..hash.len()];
                match argon2id(*cost, salt, password, own) {
                    Ok(()) => own.ct_eq(hash).into(),
                    Err(error) => {
                        tracing::error!("a password can't be checked: {error}");
                        false
                    }
                }
            }
            Self::Pbkdf2 { rounds, salt, hash } => {
                pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, *rounds, salt, password, hash).is_ok()
            }
            Self::Sha512 { salt, hash } => {
                let salted = Zeroizing::new([password, salt].concat());
                digest(&SHA512, &salted).as_ref().ct_eq(hash).into()
            }
            Self::Token(hash) => sha256(password).ct_eq(hash).into(),
        }
    }

    /// The kind of hash, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Argon2id { .. } => "argon2id",
            Self::Pbkdf2 { .. } => "pbkdf2",
            Self::Sha512 { .. } => "sha512",
            Self::Token(_) => "token",
        }
    }
}

/// As it stands in a password file.
impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argon2id { cost: Argon2Cost { memory_kib, passes, lanes }, salt, hash } => {
                let (salt, hash) = (BASE64_NOPAD.encode(salt), BASE64_NOPAD.encode(hash));
                write!(f, "$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
            }
            Self::Pbkdf2 { rounds, salt, hash } => {
                write!(f, "$7${rounds}${}${}", BASE64.encode(salt), BASE64.encode(hash))
            }
            Self::Sha512 { salt, hash } => write!(f, "$6${}${}", BASE64.encode(salt), BASE64.encode(hash)),
            Self::Token(hash) => write!(f, "$token${}", BASE64.encode(hash)),
        }
    }
}

/// Hashes are not secret as passwords are, and still nobody should see them who need not.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordHash({})", self.kind())
    }
}

fn argon2id(cost: Argon2Cost, salt: &[u8], password: &[u8], hash: &mut [u8]) -> Result<(), argon2::Error> {
    let Argon2Cost { memory_kib, passes, lanes } = cost;
    let params = Params::new(memory_kib, passes, lanes, Some(hash.len()))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params).hash_password_into(password, salt, hash)
}

fn argon2_cost(text: &str) -> Result<Argon2Cost, String> {
    let Argon2Cost { memory_kib: most_memory, passes: most_passes, lanes: most_lanes } = Argon2Cost::MOST;
    let mut fields = text.split(',');
    let mut next = |name: &str, most: u32| {
        let number: u32 = fields.next()?.strip_prefix(name)?.parse().ok()?;
        (1..=most).contains(&number).then_some(number)
    };
    let read = (next("m=", most_memory), next("t=", most_passes), next("p=", most_lanes));
    match (read, fields.next()) {
        // Argon2 needs 8 KiB for each lane.
        ((Some(memory_kib), Some(passes), Some(lanes)), None) if memory_kib >= 8 * lanes => {
            Ok(Argon2Cost { memory_kib, passes, lanes })
        }
        _ => Err(format!(
            "its cost is not m=KIB,t=PASSES,p=LANES with at most {most_memory} KiB, {most_passes} passes and {most_lanes} lanes, and 8 KiB for each lane"
        )),
    }
}

/// The bytes of a field, which is in Base64 with or without padding.
fn bytes_of(field: &str, name: &str, least: usize) -> Result<Box<[u8]>, String> {
    let bytes = BASE64_NOPAD.decode(field.trim_end_matches('=').as_bytes());
    let bytes = bytes.map_err(|_| format!("its {name} is no Base64"))?;
    if !(least..=MOST_BYTES).contains(&bytes.len()) {
        return Err(format!("its {name} has {} bytes; from {least} to {MOST_BYTES} are allowed", bytes.len()));
    }
    Ok(bytes.into())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, String> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| format!("the system gives no random numbers: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines by mosquitto_passwd 2.0.11, and lines that Python computed with hashlib and cryptography, in the forms of 2.0 and of 2.1.
    const KNOWN: [(&str, &str); 9] = [
        (
            "correct horse",
            "$7$101$h+179Cux+3pqktBw$ztdzxbPDxUFcLcuqgCddb2/kSPfZPCI68j/8ZLt0nYsdTKLbugX9UKr/NsMb6lics2wqi19ZkI2iurUjSm6oVA==",
        ),
        (
            "battery stäple",
            "$6$WugrimrbPgN8ZPnr$CYAO65PnNXfXrGftpIjwqOyQTzKp434qrW/4f685UG4GSjsxoP4sLI2+N5RT/py6T0DWtGxDiLZDlv9V+fqpRQ==",
        ),
        (
            "three turtles",
            "$argon2id$v=19$m=47104,t=1,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$XdF0TOwRBahi6uS+cBY8utkrUAiRUPtLrpyY4RVw2sFkQfYLBONM0ryy4TzpjsBSdwyinoyvo/IIDWCpxFvhvQ",
        ),
        ("small", "$argon2id$v=19$m=64,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$W6hpjFzn86SjuBPdULe8r0DI6lbdn6yreBMJelpuRbw"),
        ("lanes", "$argon2id$v=19$m=256,t=1,p=4$AAECAwQFBgcICQoLDA0ODw$/vsHfDmkJ3I154MECU3aIIN00QWBkiZHg0YzyKucE6I"),
        (
            "six",
            "$6$AAECAwQFBgcICQoL$DrAjfvL+EwKcu1iXKE1DJ21LxA+xXkCyyLewWUSBW7FrupvJoMgqMsurM6DumEK8eo2MFfIhZARkl39hw+b2sA==",
        ),
        (
            "seven",
            "$7$101$AAECAwQFBgcICQoL$of6QTLo6Zcm+jM/wL4Yzv65dImj2WbOmx9DOpI/0124ytTbhSKlaTKDaIzE9LdFSscWNGdNEJqdqjiCCP5wY1Q==",
        ),
        (
            "seventh",
            "$7$1000$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==$z3/vH+KLCY4gwqSChqdw25o8wWt29C2gR/aXLPYiepogLzH5KS0aqfSU71sQWfeec8KEU6TRDn45yvpBH0rVZQ==",
        ),
        ("gct_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX", "$token$U/0UtMRhiuWlRJY8xmr3ZmXXx4j5KohdFIZL3Nd37Rg="),
    ];

    #[test]
    fn passwords_are_known_by_hashes_that_other_programs_made() {
        for (password, line) in KNOWN {
            let hash = PasswordHash::parse(line).unwrap();
            assert!(hash.verify(password.as_bytes()), "{line}");
            for wrong in ["", "x", &password[1..], &password.to_uppercase(), &format!("{password} ")] {
                assert!(!hash.verify(wrong.as_bytes()), "{wrong:?} of {line}");
            }
            assert_eq!(hash.to_string(), line);
        }
    }

    #[test]
    fn new_hashes_have_salts_of_their_own_and_are_read_again() {
        let hash = PasswordHash::of_password(b"secret").unwrap();
        assert_ne!(hash, PasswordHash::of_password(b"secret").unwrap());
        let line = hash.to_string();
        assert!(line.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{line}");
        let read = PasswordHash::parse(&line).unwrap();
        assert!(read == hash && read.verify(b"secret") && !read.verify(b"Secret"));
        let (token, hash) = PasswordHash::new_token().unwrap();
        assert_eq!(token.len(), 36);
        assert_ne!(token, PasswordHash::new_token().unwrap().0);
        assert!(PasswordHash::parse(&hash.to_string()).unwrap().verify(token.as_bytes()));
    }

    #[test]
    fn hashes_that_are_wrong_or_cost_too_much_are_refused_in_words_that_do_not_repeat_them() {
        let long = "A".repeat(90);
        for (line, why) in [
            ("secret", "no hash of a known kind"),
            ("", "no hash of a known kind"),
            ("$5$c2FsdA==$c2FsdA==", "no hash of a known kind"),
            ("$2y$10$abcdefghijk", "no hash of a known kind"),
            ("$6$c2FsdA==", "another number of fields"),
            ("$7$101$c2FsdA==", "another number of fields"),
            ("$7$0$c2FsdA==$c2FsdHNhbHRzYWx0c2FsdA==", "no number from 1 to 1000000"),
            ("$7$1000001$c2FsdA==$c2FsdHNhbHRzYWx0c2FsdA==", "no number from 1 to 1000000"),
            ("$7$101$c2FsdA==$c2Fs", "its hash has 3 bytes; from 16 to 64 are allowed"),
            ("$6$c2*sdA==$c2FsdA==", "its salt is no Base64"),
            (&format!("$6${long}$c2FsdA=="), "its salt has 67 bytes"),
            ("$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA", "only argon2id"),
            ("$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA", "v=19"),
            ("$argon2id$v=19$m=262145,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA", "at most 262144 KiB"),
            ("$argon2id$v=19$m=64,t=11,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA", "10 passes"),
            ("$argon2id$v=19$m=15,t=1,p=2$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA", "8 KiB for each lane"),
            ("$argon2id$v=19$m=64,t=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA", "its cost is not"),
            ("$token$c2FsdA==", "its hash has 4 bytes"),
        ] {
            let told = PasswordHash::parse(line).unwrap_err();
            assert!(told.contains(why), "{line}: {told}");
            assert!(line.len() < 5 || !told.contains(line), "{told}");
        }
    }
}
