//! Tests of the tables about users.

use super::*;

/// All keys that go together. No value is the default.
const KEYS: &str = r#"
[authentication.jwt]
algorithm = "EdDSA"
jwks_file = "/etc/goldcrest/jwks.json"
user_claim = "device"
issuer = "https://issuer.example"
audience = "goldcrest"
leeway_s = 30
[authentication.http]
url = "https://users.example/auth"
dialect = "mosquitto-go-auth"
params = "form"
response = "json"
ca_file = "/etc/goldcrest/ca.pem"
authorization_env = "HOOK_SECRET"
timeout_ms = 1000
cache_s = 10
stale_ok_s = 600
"#;

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml(Path::new("gateway.toml"), text)
}

fn mistake(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn keys_about_tokens_and_a_web_service_set_their_fields() {
    let authentication = read(KEYS).unwrap().authentication;
    let jwt = JwtConfig {
        algorithm: JwtAlgorithm::EdDsa,
        keys: JwtKeys::JwksFile("/etc/goldcrest/jwks.json".into()),
        user_claim: "device".to_owned(),
        issuer: Some("https://issuer.example".to_owned()),
        audience: Some("goldcrest".to_owned()),
        leeway_s: 30,
    };
    assert_eq!(authentication.jwt, Some(jwt));
    let mut hook = HttpHookConfig::new("https://users.example/auth", HookDialect::GoAuth(GoAuthResponse::Json));
    hook.params = HookParams::Form;
    hook.ca_file = Some("/etc/goldcrest/ca.pem".into());
    hook.authorization = Some(SecretSource::Environment("HOOK_SECRET".to_owned()));
    (hook.timeout_ms, hook.cache_s, hook.stale_ok_s) = (1000, 10, 600);
    assert_eq!(authentication.http, Some(hook));

    let defaults = "[authentication.jwt]\nalgorithm = \"HS256\"\nkey_env = \"KEY\"\n\
        [authentication.http]\nurl = \"http://[::1]:80/\"\ndialect = \"emqx\"\nauthorization_file = \"a\"";
    let authentication = read(defaults).unwrap().authentication;
    let keys = JwtKeys::Environment("KEY".to_owned());
    assert_eq!(authentication.jwt, Some(JwtConfig { algorithm: JwtAlgorithm::Hs256, keys, ..JwtConfig::default() }));
    let mut hook = HttpHookConfig::new("http://[::1]:80/", HookDialect::Emqx);
    hook.authorization = Some(SecretSource::File("a".into()));
    assert_eq!(authentication.http, Some(hook));
}

#[test]
fn mistakes_about_tokens_and_a_web_service_are_told_in_words() {
    let jwt = |keys: &str| mistake(&format!("[authentication.jwt]\n{keys}"));
    let (missing, twice) =
        ("gateway.toml:1: authentication.jwt", "key_file, jwks_file, key_env: the keys come from one of them");
    assert_eq!(jwt("key_file = \"a\""), format!("{missing}.algorithm: missing; this table needs it"));
    assert_eq!(
        jwt("algorithm = \"ES256\""),
        format!("{missing}: the keys are missing: name key_file, jwks_file or key_env")
    );
    assert!(jwt("algorithm = \"ES256\"\nkey_file = \"a\"\nkey_env = \"B\"").ends_with(twice));
    assert_eq!(
        jwt("algorithm = \"none\""),
        "gateway.toml:2: authentication.jwt.algorithm: \"none\" is not allowed; allowed: one of \"HS256\", \"RS256\", \"ES256\", \"EdDSA\""
    );
    for path in ["$CREDENTIALS_DIRECTORY/", "$CREDENTIALS_DIRECTORY/key", "$HOME/key", ""] {
        let told = jwt(&format!("algorithm = \"ES256\"\nkey_file = \"{path}\""));
        assert!(
            told.starts_with("gateway.toml:3: authentication.jwt.key_file: ") && told.contains("systemd"),
            "{told}"
        );
    }
    let http = |keys: &str| mistake(&format!("[authentication.http]\ndialect = \"emqx\"\n{keys}"));
    for url in ["", "users.example/auth", "ftp://users.example/", "http://", "http://ann:secret@users.example/"] {
        let told = http(&format!("url = \"{url}\""));
        assert!(told.contains("without a user name in it"), "{url}: {told}");
    }
    let of = |key: &str| http(&format!("url = \"http://a/\"\n{key}"));
    assert!(of("response = \"json\"").ends_with("response is about dialect = \"mosquitto-go-auth\""));
    assert!(of("ca_file = \"a\"").ends_with("ca_file is about a url with https"));
    assert!(of("authorization_env = \"A B\"").contains("the name of a variable of the environment"));
    assert!(of("authorization_env = \"A\"\nauthorization_file = \"a\"").ends_with("the header comes from one of them"));
    let order = mistake("[[listener]]\naddress = \"127.0.0.1:1\"\nauthentication = [\"http\", \"password\"]");
    assert!(order.ends_with("decides about all users that are left: it has to be the last"), "{order}");
}
