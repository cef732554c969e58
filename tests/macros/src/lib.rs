//! The attribute that makes one function a test for each backend and each version of MQTT.

use proc_macro::{TokenStream, TokenTree};

/// Where each conformance test runs: a name, the `Backend`, and whether it is the core alone under a virtual clock.
const BACKENDS: [(&str, &str, bool); 4] = [
    ("in_memory_1_shard", "Memory { shards: 1 }", true),
    ("in_memory_3_shards", "Memory { shards: 3 }", true),
    ("tcp_1_shard", "Tcp { shards: 1 }", false),
    ("tcp_2_shards", "Tcp { shards: 2 }", false),
];

const VERSIONS: [(&str, &str); 2] = [("v3", "V3_1_1"), ("v5", "V5")];

/// Runs `fn name(bed: &mut Bed)` with MQTT 3.1.1 and 5.0 on every backend.
///
/// `#[conformance(v5)]` and `#[conformance(v3)]` run it with one of the versions, `in_memory = "WHY"` on the backends
/// in memory alone.
#[proc_macro_attribute]
pub fn conformance(arguments: TokenStream, function: TokenStream) -> TokenStream {
    match expand(&arguments.to_string(), function) {
        Ok(tokens) => tokens,
        Err(fault) => format!("compile_error!({fault:?});").parse().expect("a macro call"),
    }
}

fn expand(arguments: &str, function: TokenStream) -> Result<TokenStream, String> {
    let (which, why) = match arguments.find("in_memory") {
        Some(at) => (arguments[..at].trim().trim_end_matches(',').trim(), Some(arguments[at..].trim())),
        None => (arguments.trim(), None),
    };
    let is_reason = |why: &str| why.split_once('=').is_some_and(|(_, text)| text.trim().starts_with('"'));
    let versions: Vec<_> = VERSIONS.into_iter().filter(|(word, _)| which.is_empty() || which == *word).collect();
    if versions.is_empty() || why.is_some_and(|why| !is_reason(why)) {
        return Err(format!("{arguments}: allowed are v3 or v5, and in_memory = \"WHY\""));
    }
    let in_memory_only = why.is_some();
    let name = function_name(function.clone()).ok_or("#[conformance] stands at a function")?;
    let mut tests = String::new();
    for (backend_name, backend, in_memory) in BACKENDS {
        if in_memory_only && !in_memory {
            continue;
        }
        for (version_name, version) in &versions {
            tests += &format!(
                "#[test] fn {version_name}_{backend_name}() {{ ::goldcrest_tests::bed::run(\
                     ::goldcrest_tests::bed::Backend::{backend}, \
                     ::goldcrest_core::codec::Version::{version}, super::{name}) }}"
            );
        }
    }
    let module: TokenStream = format!("mod {name} {{ {tests} }}").parse().map_err(|_| "no module".to_owned())?;
    Ok(TokenStream::from_iter([function, module]))
}

fn function_name(function: TokenStream) -> Option<String> {
    let mut tokens =
        function.into_iter().skip_while(|token| !matches!(token, TokenTree::Ident(word) if word.to_string() == "fn"));
    tokens.nth(1).map(|name| name.to_string())
}
