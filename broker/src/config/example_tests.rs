//! The example configuration, `goldcrest.toml`.

use super::Config;
use std::path::Path;

fn read(text: &str) -> Result<Config, String> {
    Config::from_toml(Path::new("gateway.toml"), text).map_err(|error| error.to_string())
}

#[test]
fn the_example_configuration_has_all_keys_with_their_defaults() {
    let example = include_str!("../../goldcrest.toml");
    assert_eq!(format!("{:?}", read(example).unwrap()), format!("{:?}", Config::default()));
    // In the example, a key without a default, or a line that is an example, is commented out with a `#` that no space
    // follows.
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    let uncommented: String = example.lines().map(uncommented).collect();
    let config = read(&uncommented).unwrap();
    assert_eq!((config.shards, config.broker.overflow_rules.len(), config.broker.share_rules.len()), (4, 1, 1));
    // No key is missing from the example: the error for an unknown key lists all keys that there are.
    let sections = "memory store log [listener] authentication authentication.jwt authentication.http limits capacity \
        session overflow shared permissions dynamic_security";
    // Tables, and keys that others exclude.
    let others = ["rule", "acl_file", "jwt", "http", "jwks_file", "key_env", "authorization_env"];
    for section in sections.split(' ') {
        let mistake = read(&format!("[{section}]\nnonsense = 1")).unwrap_err();
        let keys = mistake.rsplit_once("allowed here: ").unwrap().1;
        for key in keys.split(", ").filter(|key| !others.contains(key)) {
            let line = format!("{key} = ");
            assert!(uncommented.lines().any(|other| other.starts_with(&line)), "{section}.{key} is missing");
        }
    }
}
