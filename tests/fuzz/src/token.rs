//! Takes any bytes for a JSON Web Token, and for the contents of files with keys.

/// Reads `input` as all of these.
pub fn run(input: &[u8]) {
    goldcrest::check_token(input);
}
