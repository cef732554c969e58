//! The attribute that makes one function a test for each backend and each version of MQTT.

use proc_macro::{TokenStream, TokenTree};

const FIRMWARE: &str = "in_firmware";

/// The backends of each conformance test: a name, the `Backend`, and whether it is the core alone under a virtual
/// clock.
const BACKENDS: [(&str, &str, bool); 6] = [
    ("in_memory_1_shard", "Memory { shards: 1 }", true),
    ("in_memory_with_records", "Recorded", true),
    ("in_memory_3_shards", "Memory { shards: 3 }", true),
    (FIRMWARE, "Firmware", true),
    ("tcp_1_shard", "Tcp { shards: 1 }", false),
    ("tcp_2_shards", "Tcp { shards: 2 }", false),
];

const VERSIONS: [(&str, &str); 2] = [("v3", "V3_1_1"), ("v5", "V5")];

/// Runs `fn name(bed: &mut Bed)` with MQTT 3.1.1 and 5.0 on every backend.
///
/// `#[conformance(v5)]` and `#[conformance(v3)]` run it with one of the versions, `in_memory = "WHY"` on the backends
/// in memory alone, `no_firmware = "WHY"` not in the firmware's memory: there it counts as ignored.
#[proc_macro_attribute]
pub fn conformance(arguments: TokenStream, function: TokenStream) -> TokenStream {
    match expand(&arguments.to_string(), function) {
        Ok(tokens) => tokens,
        Err(fault) => format!("compile_error!({fault:?});").parse().expect("a macro call"),
    }
}

fn expand(arguments: &str, function: TokenStream) -> Result<TokenStream, String> {
    let (mut versions, mut in_memory_only, mut no_firmware) = (VERSIONS.to_vec(), false, None);
    for argument in split(arguments) {
        match argument.split_once('=').map(|(key, why)| (key.trim(), why.trim())) {
            None if VERSIONS.iter().any(|(word, _)| *word == argument) => {
                versions.retain(|(word, _)| *word == argument)
            }
            Some(("in_memory", why)) if why.starts_with('"') => in_memory_only = true,
            Some(("no_firmware", why)) if why.starts_with('"') => no_firmware = Some(why),
            _ => {
                return Err(format!(
                    "{argument}: allowed are v3 or v5, in_memory = \"WHY\", and no_firmware = \"WHY\""
                ));
            }
        }
    }
    let name = function_name(function.clone()).ok_or("#[conformance] stands at a function")?;
    let mut tests = String::new();
    for (backend_name, backend, in_memory) in BACKENDS {
        if in_memory_only && !in_memory {
            continue;
        }
        for (version_name, version) in &versions {
            let ignore = match no_firmware {
                Some(why) if backend_name == FIRMWARE => format!("#[ignore = {why}]"),
                _ => String::new(),
            };
            tests += &format!(
                "#[test] {ignore} fn {version_name}_{backend_name}() {{ ::goldcrest_tests::bed::run(\
                     ::goldcrest_tests::bed::Backend::{backend}, \
                     ::goldcrest_core::codec::Version::{version}, super::{name}) }}"
            );
        }
    }
    let module: TokenStream = format!("mod {name} {{ {tests} }}").parse().map_err(|_| "no module".to_owned())?;
    Ok(TokenStream::from_iter([function, module]))
}

/// Splits at the commas outside of string literals.
fn split(arguments: &str) -> Vec<&str> {
    let mut in_string = false;
    let parts = arguments.split(|c| {
        in_string ^= c == '"';
        c == ',' && !in_string
    });
    parts.map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn function_name(function: TokenStream) -> Option<String> {
    let mut tokens =
        function.into_iter().skip_while(|token| !matches!(token, TokenTree::Ident(word) if word.to_string() == "fn"));
    tokens.nth(1).map(|name| name.to_string())
}
