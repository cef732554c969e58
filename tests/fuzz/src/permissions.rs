//! Any bytes as a file of permissions, ours or Mosquitto's. What a file grants as a whole it must allow, and what it allows it must grant.

/// Reads `input` as the kind of file that its first byte names.
pub fn run(input: &[u8]) {
    goldcrest::check_permissions(input);
}
