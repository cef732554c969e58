//! Rules of the project that a compiler does not check: which room may import which other room, how long files and functions may be, how
//! many conditions on features there may be, and that a name stands for one type. The tests read the sources, and run none of them.

mod imports;
mod names;
mod rooms;
mod shape;
mod source;

use rooms::{Findings, Order};
use source::Crate;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;

const LONGEST_FILE: usize = 500;
const LONGEST_FUNCTION: usize = 60;

/// The rules. Their order is that of the numbers in [`CEILINGS`].
#[derive(Clone, Copy)]
enum Rule {
    /// Modules that import a room which ARCHITECTURE.md does not let them import. Each such room counts.
    ImportsAgainstTheOrder,
    /// Modules that call methods of their own types which stand in such a room. No `use` shows these calls.
    CallsAgainstTheOrder,
    /// Rooms that import each other in a circle.
    RoomsInCircles,
    /// Modules of one folder inside a room that import each other in a circle.
    ModulesInCircles,
    /// Rooms that ARCHITECTURE.md does not list, and listed rooms that do not exist.
    RoomsUnlisted,
    /// Files of more than [`LONGEST_FILE`] lines.
    LongFiles,
    /// Functions of more than [`LONGEST_FUNCTION`] lines.
    LongFunctions,
    /// Conditions on features. The goal for the core is less than 60.
    Conditions,
    /// Conditions on features amid statements in the room `engine`.
    ConditionsInEngine,
    /// Names that stand for several types or traits of a crate.
    NamesTwice,
    /// Files that no `mod` declaration leads to. `EMBED.md` includes the only one of the core.
    FilesOfNoModule,
}

/// How often each crate may break each rule. The numbers may only fall: whoever repairs a breach lowers the number here. The goal is 0
/// where [`Rule`] says nothing else.
#[rustfmt::skip]
const CEILINGS: [(&str, [usize; 11]); 5] = [
    // folder             imports calls circles(rooms modules) unlisted files functions conditions(all engine) names no module
    ("no_std_core",       [0,     0,           0,    0,        0,       0,    0,                   53,  0,     0,    1]),
    ("no_std_core/codec", [0,     0,           0,    0,        0,       0,    0,                   8,   0,     0,    0]),
    ("no_std_core/flash", [0,     0,           0,    0,        0,       0,    0,                   0,   0,     0,    0]),
    ("broker",            [0,     0,           0,    0,        0,       0,    0,                   0,   0,     0,    0]),
    ("broker/store",      [0,     0,           0,    0,        0,       0,    0,                   0,   0,     0,    0]),
];

/// The crates whose rooms ARCHITECTURE.md lists. The modules of the other, small crates are only checked for circles.
const WITH_ROOMS: [&str; 2] = ["no_std_core", "broker"];

/// The breaches of each crate and rule: by the crate's position in [`CEILINGS`], and by the number of the rule.
static BROKEN: LazyLock<Vec<[BTreeSet<String>; 11]>> = LazyLock::new(|| {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page of the architecture");
    CEILINGS.iter().map(|(folder, _)| broken(&page, folder, &Crate::read(&root().join(folder).join("src")))).collect()
});

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the repository")
}

fn broken(page: &str, folder: &str, source: &Crate) -> [BTreeSet<String>; 11] {
    let order =
        WITH_ROOMS.contains(&folder).then(|| Order::in_page(page, folder).unwrap_or_else(|error| panic!("{error}")));
    let findings = Findings::of(source, order.as_ref());
    [
        findings.imports,
        findings.calls,
        findings.circles,
        findings.inner_circles,
        findings.unlisted,
        shape::long_files(source, LONGEST_FILE),
        shape::long_functions(source, LONGEST_FUNCTION),
        shape::conditions(source, None).all.into_iter().collect(),
        shape::conditions(source, Some("engine")).amid_statements.into_iter().collect(),
        shape::names_defined_twice(source),
        source.strays().iter().map(|file| file.display().to_string()).collect(),
    ]
}

/// Checks that no crate breaks `rule` more often than it may.
fn check(rule: Rule, words: &str) {
    let mut complaints = String::new();
    for ((folder, ceilings), broken) in CEILINGS.iter().zip(&*BROKEN) {
        let (ceiling, broken) = (ceilings[rule as usize], &broken[rule as usize]);
        if broken.len() > ceiling {
            let lines: String = broken.iter().map(|line| format!("    {line}\n")).collect();
            complaints += &format!("{folder}: {} instead of at most {ceiling}\n{lines}", broken.len());
        } else if broken.len() < ceiling {
            println!("{words}, {folder}: the ceiling {ceiling} can be lowered to {}", broken.len());
        }
    }
    assert!(complaints.is_empty(), "{words}\n{complaints}");
}

#[test]
fn rooms_import_only_the_rooms_that_the_architecture_page_allows() {
    check(Rule::ImportsAgainstTheOrder, "a room imports one that ARCHITECTURE.md does not let it import");
}

#[test]
fn no_method_calls_a_method_of_its_type_in_a_higher_room() {
    check(Rule::CallsAgainstTheOrder, "a method calls one of the same type that stands in a room it may not import");
}

#[test]
fn no_rooms_import_each_other_in_a_circle() {
    check(Rule::RoomsInCircles, "rooms import each other in a circle");
}

#[test]
fn no_modules_of_a_folder_import_each_other_in_a_circle() {
    check(Rule::ModulesInCircles, "modules of one folder import each other in a circle");
}

#[test]
fn the_architecture_page_lists_all_rooms_and_no_others() {
    check(Rule::RoomsUnlisted, "the list of rooms in ARCHITECTURE.md is not the one of the sources");
}

#[test]
fn no_file_is_too_long() {
    check(Rule::LongFiles, "a file is too long");
}

#[test]
fn no_function_is_too_long() {
    check(Rule::LongFunctions, "a function is too long");
}

#[test]
fn the_conditions_on_features_stay_below_their_ceiling() {
    check(Rule::Conditions, "there are too many conditions on features");
}

#[test]
fn in_the_engine_no_condition_on_a_feature_stands_amid_statements() {
    check(Rule::ConditionsInEngine, "a condition on a feature stands amid a statement of the engine");
}

#[test]
fn no_name_stands_for_two_types_of_a_crate() {
    check(Rule::NamesTwice, "a name stands for several types");
}

#[test]
fn every_source_file_is_reached_by_a_mod_declaration() {
    check(Rule::FilesOfNoModule, "no mod declaration leads to a file");
}

#[test]
fn every_published_crate_is_checked() {
    let crates = ["no_std_core", "broker"].into_iter().flat_map(|folder| {
        let inner = std::fs::read_dir(root().join(folder)).expect("a folder of this repository");
        let inner = inner.map(move |inner| Path::new(folder).join(inner.expect("an entry").file_name()));
        inner.chain([folder.into()]).filter(|folder| root().join(folder).join("src/lib.rs").exists())
    });
    let listed: BTreeSet<_> = CEILINGS.iter().map(|(folder, _)| Path::new(folder).to_owned()).collect();
    assert_eq!(crates.collect::<BTreeSet<_>>(), listed);
}
