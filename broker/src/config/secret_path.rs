//! Where secrets are: paths of files, also of those that systemd hands to a service, and variables of the environment. No secret stands in the
//! configuration itself.

use super::values::string;
use serde::Deserializer;
use std::path::PathBuf;

/// The folder that systemd makes for `LoadCredential=` and its like.
const CREDENTIALS: &str = "$CREDENTIALS_DIRECTORY/";

/// Reads the path of a file. `$CREDENTIALS_DIRECTORY/` at its beginning stands for that folder.
pub(super) fn secret_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    const ALLOWED: &str = "the path of a file, also one like \"$CREDENTIALS_DIRECTORY/name\" in a service to which systemd gives credentials";
    string(from, ALLOWED, |path| match path.strip_prefix(CREDENTIALS) {
        Some("") => None,
        Some(name) => std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join(name)),
        None => (!path.is_empty() && !path.starts_with('$')).then(|| PathBuf::from(path)),
    })
    .map(Some)
}

/// Reads the name of a variable of the environment.
pub(super) fn variable<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let is_name = |name: &str| {
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        name.bytes().all(is_of_name) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
    };
    let allowed = "the name of a variable of the environment, like \"TOKEN_KEY\"";
    string(from, allowed, |name| is_name(name).then(|| name.to_owned())).map(Some)
}

/// Reads a text that is not empty.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    string(from, "a text that is not empty", |text| (!text.is_empty()).then(|| text.to_owned())).map(Some)
}
