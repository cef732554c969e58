//! The hash of a password, as it stands in the document.

use crate::access::PasswordHash;
use data_encoding::BASE64;
use ring::pbkdf2;
use std::fmt;
use std::num::NonZeroU32;

/// The hash of a password as a text in a form of `mosquitto_passwd`, such as `$7$101$SALT$HASH`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StoredPassword(Box<str>);

/// The iterations of a hash that is made here. Mosquitto takes 101 or 1,000, which is little.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
/// Mosquitto 2.0 reads salts of this length alone.
const SALT_BYTES: usize = 12;
const HASH_BYTES: usize = 64;

impl StoredPassword {
    pub(super) fn encoded(text: &str) -> Self {
        Self(text.into())
    }

    /// The hash in the form that Mosquitto 2.0 writes: PBKDF2 with HMAC-SHA-512. `None` without iterations.
    pub(super) fn pbkdf2(iterations: i32, salt: &str, hash: &str) -> Option<Self> {
        (iterations > 0).then(|| Self(format!("$7${iterations}${salt}${hash}").into()))
    }

    /// Hashes a password with a new salt. This takes milliseconds.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(super) fn new(password: &str) -> Result<Self, getrandom::Error> {
        let (mut salt, mut hash) = ([0; SALT_BYTES], [0; HASH_BYTES]);
        getrandom::fill(&mut salt)?;
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, ITERATIONS, &salt, password.as_bytes(), &mut hash);
        Ok(Self(format!("$7${ITERATIONS}${}${}", BASE64.encode(&salt), BASE64.encode(&hash)).into()))
    }

    /// What a password is compared with.
    ///
    /// # Errors
    /// Why no password can have this hash, in words that do not repeat it.
    pub(super) fn to_hash(&self) -> Result<PasswordHash, String> {
        PasswordHash::parse(&self.0)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Iterations, salt and hash, if this is a PBKDF2 hash.
    pub(super) fn pbkdf2_parts(&self) -> Option<(u32, &str, &str)> {
        let mut fields = self.0.strip_prefix("$7$")?.split('$');
        let parts = (fields.next()?.parse().ok()?, fields.next()?, fields.next()?);
        fields.next().is_none().then_some(parts)
    }
}

/// Hashes are not secret as passwords are, and still nobody should see them who need not.
impl fmt::Debug for StoredPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredPassword")
    }
}
