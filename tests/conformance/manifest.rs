//! Holds the conformance tests against the lists of numbered normative statements.
//!
//! A test claims the statements that it proves, in doc comment lines of their own directly above it:
//!
//! ```text
//! /// A second CONNECT ends the connection.
//! /// [MQTT-3.1.0-2] [MQTT-4.13.1-1]
//! /// v3.1.1 [MQTT-3.1.0-2]
//! #[conformance]
//! fn second_connect_is_refused(bed: &mut Bed) {
//! ```
//!
//! A line without a version claims statements of MQTT 5.0. Ids within prose claim nothing. The lists in `manifest/`
//! say of each id whether a server test can show it; the tests below fail on claims of unknown ids, on claims of what
//! no server test can show, and on statements that bind a server but that no test claims.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn no_test_claims_a_statement_that_the_manifests_exclude() {
    let scan = scan_sources();
    let mut faults = scan.faults;
    for version in [Version::V3_1_1, Version::V5_0] {
        faults.extend(contradictions(version, &manifest(version), &scan.claims));
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn every_statement_that_binds_a_server_is_claimed_by_a_test() {
    let claims = scan_sources().claims;
    let missing: Vec<String> = [Version::V3_1_1, Version::V5_0]
        .into_iter()
        .flat_map(|version| unclaimed(version, &manifest(version), &claims))
        .collect();
    assert!(missing.is_empty(), "{} statements have no test:\n{}\n", missing.len(), missing.join("\n"));
}

/// Whether an attribute makes the function below it a test that runs.
fn registers(attribute: &str) -> bool {
    attribute == "#[test]" || attribute == "#[conformance]" || attribute.starts_with("#[conformance(")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V3_1_1,
    V5_0,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3_1_1 => "MQTT 3.1.1",
            Self::V5_0 => "MQTT 5.0",
        })
    }
}

/// Whom a statement binds, and so whether a test of a server can show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Server,
    /// The statement binds a client alone, or shows in no exchange of packets. The manifest has the reason.
    NotTestable,
}

type Manifest = BTreeMap<String, Kind>;

fn manifest(version: Version) -> Manifest {
    let text = match version {
        Version::V3_1_1 => include_str!("manifest/v3_1_1.txt"),
        Version::V5_0 => include_str!("manifest/v5_0.txt"),
    };
    parse_manifest(text).unwrap_or_else(|fault| panic!("manifest of {version}: {fault}"))
}

fn parse_manifest(text: &str) -> Result<Manifest, String> {
    let mut manifest = Manifest::new();
    let lines = text.lines().map(str::trim).enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let fault = |what| format!("line {}: {what}: {line}", index + 1);
        let (id, rest) = line.split_once(char::is_whitespace).ok_or_else(|| fault("no kind"))?;
        let kind = match rest.trim().split_once(':') {
            None if rest.trim() == "server" => Kind::Server,
            Some(("client" | "none", reason)) if !reason.trim().is_empty() => Kind::NotTestable,
            _ => return Err(fault("neither 'server' nor 'client: WHY' nor 'none: WHY'")),
        };
        if !is_statement_id(id) {
            return Err(fault("not of the form MQTT-x.y.z-n"));
        }
        if manifest.insert(id.to_owned(), kind).is_some() {
            return Err(fault("listed twice"));
        }
    }
    Ok(manifest)
}

fn is_statement_id(text: &str) -> bool {
    let Some((section, number)) = text.strip_prefix("MQTT-").and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    section.split('.').count() == 3 && section.split('.').all(is_number) && is_number(number)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    version: Version,
    id: String,
    test: String,
}

/// The claims of ids that do not exist, and of ids that no test of a server can show according to the manifest.
fn contradictions(version: Version, manifest: &Manifest, claims: &[Claim]) -> Vec<String> {
    let of_version = claims.iter().filter(|claim| claim.version == version);
    of_version
        .filter_map(|Claim { id, test, .. }| match manifest.get(id) {
            Some(Kind::Server) => None,
            Some(Kind::NotTestable) => {
                Some(format!("{test} claims {id} of {version}, but the manifest says that no server test can"))
            }
            None => Some(format!("{test} claims {id}, which {version} does not have")),
        })
        .collect()
}

fn unclaimed(version: Version, manifest: &Manifest, claims: &[Claim]) -> Vec<String> {
    let of_version = claims.iter().filter(|claim| claim.version == version);
    let claimed: BTreeSet<&str> = of_version.map(|claim| claim.id.as_str()).collect();
    let bind_a_server = manifest.iter().filter(|(_, kind)| **kind == Kind::Server);
    bind_a_server.filter(|(id, _)| !claimed.contains(id.as_str())).map(|(id, _)| format!("{version} {id}")).collect()
}

/// What the sources of the tests contain: claims that count, and lines that look like claims but do not count.
#[derive(Debug, Default, PartialEq, Eq)]
struct Scan {
    claims: Vec<Claim>,
    faults: Vec<String>,
}

fn scan_sources() -> Scan {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
    let mut files = Vec::new();
    collect_rust_files(&root, &mut files);
    let sources: Vec<(String, String)> = files
        .iter()
        .map(|path| {
            let name = path.strip_prefix(&root).expect("found below the root").display().to_string();
            (name, fs::read_to_string(path).expect("a readable source"))
        })
        .collect();

    let mut scan = Scan::default();
    for (file, source) in &sources {
        scan_source(file, source, &mut scan);
    }
    scan.faults.extend(not_compiled(include_str!("../Cargo.toml"), &sources));
    scan
}

fn collect_rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).expect("a readable directory");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect_rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Files that no `mod` line and no test target reaches. Their tests never run, so their claims are void.
fn not_compiled(cargo_toml: &str, sources: &[(String, String)]) -> Vec<String> {
    let is_module = |file: &str| {
        let path = Path::new(file.strip_suffix("/mod.rs").unwrap_or(file));
        let name = path.file_stem().expect("a file name").to_string_lossy();
        let declares = |line: &str| line.trim_start_matches("pub ") == format!("mod {name};");
        sources.iter().any(|(_, source)| source.lines().any(|line| declares(line.trim())))
    };
    let is_target = |file: &str| cargo_toml.contains(&format!("path = \"conformance/{file}\""));
    let unreached = sources.iter().map(|(file, _)| file).filter(|file| !is_target(file) && !is_module(file));
    unreached.map(|file| format!("{file} is neither a test target nor a module of one")).collect()
}

/// Reads one source line by line. Relies on the layout of rustfmt, which continuous integration checks: an item's doc
/// comments, attributes and `fn` each begin a line.
fn scan_source(file: &str, source: &str, scan: &mut Scan) {
    let mut above = Above::default();
    let mut in_block_comment = false;
    let mut open_brackets = 0;
    for line in source.lines().map(str::trim) {
        if in_block_comment || line.starts_with("/*") {
            in_block_comment = !line.contains("*/");
        } else if open_brackets > 0 || line.starts_with("#[") {
            open_brackets += line.matches('[').count();
            open_brackets -= line.matches(']').count().min(open_brackets);
            above.registered |= registers(line.split("//").next().unwrap_or(line).trim_end());
            above.ignored |= line.starts_with("#[ignore");
        } else if let Some(doc) = line.strip_prefix("///") {
            match claims_of_doc_line(doc.trim()) {
                Ok(claims) => above.claims.extend(claims),
                Err(fault) => scan.faults.push(format!("{file}: {fault}")),
            }
        } else if let Some(name) = function_name(line) {
            std::mem::take(&mut above).settle(format!("{file}: {name}"), scan);
        } else if !line.starts_with("//") {
            std::mem::take(&mut above).abandon(file, scan);
        }
    }
    above.abandon(file, scan);
}

/// The doc comments and attributes read since the last item.
#[derive(Default)]
struct Above {
    claims: Vec<(Version, String)>,
    registered: bool,
    ignored: bool,
}

impl Above {
    fn settle(self, test: String, scan: &mut Scan) {
        if self.registered && !self.ignored {
            let claim = |(version, id)| Claim { version, id, test: test.clone() };
            scan.claims.extend(self.claims.into_iter().map(claim));
        } else if !self.claims.is_empty() {
            scan.faults.push(format!("{test} claims statements but is no test that runs"));
        }
    }

    fn abandon(self, file: &str, scan: &mut Scan) {
        for (version, id) in self.claims {
            scan.faults.push(format!("{file}: the claim of {id} of {version} stands directly above no function"));
        }
    }
}

/// The claims of one doc line; none if the line is prose. A line that begins like a claim must be a claim to its end:
/// otherwise a comma could make it prose unnoticed.
fn claims_of_doc_line(doc: &str) -> Result<Vec<(Version, String)>, String> {
    let (version, list) = match doc.strip_prefix("v3.1.1 ") {
        Some(list) => (Version::V3_1_1, list),
        None => (Version::V5_0, doc),
    };
    if !list.starts_with("[MQTT-") {
        return Ok(Vec::new());
    }
    let ids = list.split_whitespace().map(|word| {
        let id = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).filter(|id| is_statement_id(id));
        id.map(|id| (version, id.to_owned())).ok_or_else(|| format!("not a list of ids: {doc}"))
    });
    ids.collect()
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line;
    for qualifier in ["pub ", "pub(crate) ", "async "] {
        rest = rest.strip_prefix(qualifier).unwrap_or(rest);
    }
    rest.strip_prefix("fn ")?.split(['(', '<']).next()
}

// Each source below is a string on one line, so that a scan of this file finds no claims in them.
#[cfg(test)]
mod tests {
    use super::*;

    fn scan(lines: &[&str]) -> Scan {
        let mut scan = Scan::default();
        scan_source("file.rs", &lines.join("\n"), &mut scan);
        scan
    }

    fn ids(scan: &Scan) -> Vec<(Version, &str)> {
        scan.claims.iter().map(|claim| (claim.version, claim.id.as_str())).collect()
    }

    #[test]
    fn claims_above_a_test_count_for_the_version_they_name() {
        let prose = "/// Prose may cite [MQTT-4.3.3-10] freely.";
        let v5 = "/// [MQTT-3.1.0-1] [MQTT-3.1.4-2]";
        let v3 = "/// v3.1.1 [MQTT-3.1.0-1]";
        let scan = scan(&[prose, v5, v3, "// A why.", "#[test]", "fn first() {", "}", "fn helper() {}"]);
        let expected =
            [(Version::V5_0, "MQTT-3.1.0-1"), (Version::V5_0, "MQTT-3.1.4-2"), (Version::V3_1_1, "MQTT-3.1.0-1")];
        assert_eq!(ids(&scan), expected);
        assert_eq!(scan.claims[0].test, "file.rs: first");
        assert!(scan.faults.is_empty(), "{:?}", scan.faults);
    }

    #[test]
    fn claims_above_attributes_of_several_lines_and_qualified_functions_count() {
        let claim = "/// [MQTT-3.1.0-1]";
        let scan = scan(&[claim, "#[allow(", "dead_code,", ")]", "#[test] // Why.", "pub(crate) async fn a<T>() {}"]);
        assert_eq!(ids(&scan), [(Version::V5_0, "MQTT-3.1.0-1")]);
        assert_eq!(scan.claims[0].test, "file.rs: a");
    }

    #[test]
    fn a_function_with_the_conformance_attribute_counts_as_a_test() {
        for attribute in ["#[conformance]", "#[conformance(v5)]", "#[conformance(in_memory = \"its permissions\")]"] {
            let scan = scan(&["/// [MQTT-3.1.0-1]", attribute, "fn a(bed: &mut Bed) {}"]);
            assert_eq!(ids(&scan), [(Version::V5_0, "MQTT-3.1.0-1")], "{attribute}");
        }
    }

    #[test]
    fn a_claim_above_anything_but_a_running_test_is_a_fault() {
        let claim = "/// [MQTT-3.1.0-1]";
        for below in [
            &["fn helper() {}"][..],
            &["#[test]", "#[ignore]", "fn slow() {}"],
            &["#[test]", "#[ignore = \"slow\"]", "fn slow() {}"],
            &["", "#[test]", "fn apart() {}"],
            &["struct NotATest;"],
            &["// #[test]", "fn commented_out() {}"],
            &[],
        ] {
            let scan = scan(&[&[claim], below].concat());
            assert_eq!(scan.claims, [], "{below:?}");
            assert_eq!(scan.faults.len(), 1, "{below:?}");
        }
    }

    #[test]
    fn a_test_attribute_counts_for_its_own_function_alone() {
        let scan = scan(&["#[test]", "fn a() {", "}", "/// [MQTT-3.1.0-1]", "fn b() {", "}"]);
        assert_eq!(scan.claims, []);
        assert_eq!(scan.faults.len(), 1);
    }

    #[test]
    fn a_line_that_only_looks_like_a_claim_is_a_fault() {
        for doc in [
            "/// [MQTT-3.1.0-1], [MQTT-3.1.0-2]",
            "/// [MQTT-3.1.0-1] is proved here.",
            "/// [MQTT-3.1.0]",
            "/// [MQTT-3.1-1]",
            "/// v3.1.1 [MQTT-3.1.0-x]",
        ] {
            let scan = scan(&[doc, "#[test]", "fn a() {}"]);
            assert_eq!(scan.claims, [], "{doc}");
            assert_eq!(scan.faults.len(), 1, "{doc}");
        }
    }

    #[test]
    fn claims_and_tests_in_comments_do_not_count() {
        let scan = scan(&["/*", "/// [MQTT-3.1.0-1]", "#[test]", "fn a() {}", "*/", "// /// [MQTT-3.1.0-2]"]);
        assert_eq!(scan, Scan::default());
    }

    #[test]
    fn a_test_source_that_no_target_compiles_is_a_fault() {
        let toml = "[[test]]\npath = \"conformance/main.rs\"";
        let source = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let main = source("main.rs", "mod connect;\nmod acks;");
        let reached = [main.clone(), source("connect.rs", ""), source("acks/mod.rs", "")];
        assert_eq!(not_compiled(toml, &reached), Vec::<String>::new());
        assert_eq!(not_compiled(toml, &[main, source("forgotten.rs", "")]).len(), 1);
    }

    #[test]
    fn wrong_claims_and_missing_claims_are_found_for_each_version() {
        let manifest = parse_manifest("MQTT-1.0.0-1 server\nMQTT-1.0.0-2 client: its own\n").unwrap();
        let claim = |version, id: &str| Claim { version, id: id.to_owned(), test: "t".to_owned() };
        let v5 = Version::V5_0;

        let good = [claim(v5, "MQTT-1.0.0-1")];
        assert_eq!(contradictions(v5, &manifest, &good), Vec::<String>::new());
        assert_eq!(unclaimed(v5, &manifest, &good), Vec::<String>::new());

        assert_eq!(contradictions(v5, &manifest, &[claim(v5, "MQTT-1.0.0-2")]).len(), 1);
        assert_eq!(contradictions(v5, &manifest, &[claim(v5, "MQTT-1.0.0-3")]).len(), 1);
        assert_eq!(unclaimed(v5, &manifest, &[claim(Version::V3_1_1, "MQTT-1.0.0-1")]), ["MQTT 5.0 MQTT-1.0.0-1"]);
    }

    #[test]
    fn a_manifest_with_a_flaw_is_refused() {
        assert_eq!(parse_manifest("# comment\n\nMQTT-3.1.0-1   server\n").unwrap().len(), 1);
        for flawed in [
            "MQTT-3.1.0-1",
            "MQTT-3.1.0-1 client",
            "MQTT-3.1.0-1 none:  ",
            "MQTT-3.1.0-1 server: because",
            "MQTT-3.1.0-1 broker",
            "MQTT-3.1.2.7 server",
            "MQTT-3.1.0-1 server\nMQTT-3.1.0-1 server",
        ] {
            assert!(parse_manifest(flawed).is_err(), "{flawed}");
        }
    }

    #[test]
    fn the_manifests_list_as_many_statements_as_the_standards() {
        assert_eq!(manifest(Version::V3_1_1).len(), 141);
        assert_eq!(manifest(Version::V5_0).len(), 251);
    }
}
