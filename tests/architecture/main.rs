//! The rules of the house that a compiler does not know: which room may import which, how long files and functions are, how many
//! conditions on features there are, and that a type's name stands once. The sources are read; nothing is run.

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

/// What each rule is about. The order is that of the numbers in [`CEILINGS`].
#[derive(Clone, Copy)]
enum Rule {
    /// Modules that import a room which ARCHITECTURE.md does not let them import; each room that they import counts.
    ImportsAgainstTheOrder,
    /// The same of methods that a method of the same type calls: no `use` tells of these.
    CallsAgainstTheOrder,
    /// Rooms that import each other in a circle.
    RoomsInCircles,
    /// Modules of one folder, below a room, that import each other in a circle.
    ModulesInCircles,
    /// Rooms that ARCHITECTURE.md does not list, or lists though they are not there.
    RoomsUnlisted,
    /// Files of more than [`LONGEST_FILE`] lines.
    LongFiles,
    /// Functions of more than [`LONGEST_FUNCTION`] lines.
    LongFunctions,
    /// Conditions on features. For the core the aim is less than 60.
    Conditions,
    /// Those amid a statement in the room `engine`.
    ConditionsInEngine,
    /// Names that stand for several types or traits.
    NamesTwice,
    /// Files that no `mod` leads to. `EMBED.md` includes the one of the core.
    FilesOfNoModule,
}

/// How often each crate breaks each rule at most. The numbers only fall: who breaks a rule less lowers the number here. The aim is 0 where
/// [`Rule`] says nothing else.
#[rustfmt::skip]
const CEILINGS: [(&str, [usize; 11]); 5] = [
    // folder             imports calls circles(rooms modules) unlisted files functions conditions(all engine) names no module
    ("no_std_core",       [0,     0,           0,    13,       0,       0,    0,                   55,  0,     0,    1]),
    ("no_std_core/codec", [0,     0,           4,    0,        0,       0,    0,                   8,   0,     0,    0]),
    ("no_std_core/flash", [0,     0,           4,    0,        0,       0,    0,                   0,   0,     0,    0]),
    ("broker",            [0,     0,           0,    0,        0,       0,    0,                   0,   0,     0,    0]),
    ("broker/store",      [0,     0,           0,    0,        0,       0,    0,                   0,   0,     0,    0]),
];

/// The crates of which ARCHITECTURE.md lists the rooms. The others are small: their modules are looked at for circles alone.
const WITH_ROOMS: [&str; 2] = ["no_std_core", "broker"];

/// How each crate breaks each rule, by its position in [`CEILINGS`] and by the number of the rule.
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

/// No crate breaks `rule` more often than it may.
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
fn rooms_import_only_what_the_page_of_the_architecture_lets_them() {
    check(Rule::ImportsAgainstTheOrder, "a room imports one that ARCHITECTURE.md does not let it import");
}

#[test]
fn no_type_has_methods_in_a_room_that_a_lower_one_calls() {
    check(Rule::CallsAgainstTheOrder, "a method calls one of the same type that stands in a room it may not import");
}

#[test]
fn rooms_import_each_other_in_no_circle() {
    check(Rule::RoomsInCircles, "rooms import each other in a circle");
}

#[test]
fn modules_of_a_folder_import_each_other_in_no_circle() {
    check(Rule::ModulesInCircles, "modules of one folder import each other in a circle");
}

#[test]
fn the_page_of_the_architecture_lists_all_rooms_and_no_others() {
    check(Rule::RoomsUnlisted, "the list of rooms in ARCHITECTURE.md is not the one of the sources");
}

#[test]
fn files_are_short() {
    check(Rule::LongFiles, "a file is too long");
}

#[test]
fn functions_are_short() {
    check(Rule::LongFunctions, "a function is too long");
}

#[test]
fn conditions_on_features_are_few() {
    check(Rule::Conditions, "there are too many conditions on features");
}

#[test]
fn conditions_on_features_stand_at_items_of_the_engine() {
    check(Rule::ConditionsInEngine, "a condition on a feature stands amid a statement of the engine");
}

#[test]
fn a_name_stands_for_one_type() {
    check(Rule::NamesTwice, "a name stands for several types");
}

#[test]
fn every_source_file_is_a_module() {
    check(Rule::FilesOfNoModule, "no mod declaration leads to a file");
}

#[test]
fn every_crate_that_is_published_is_looked_at() {
    let crates = ["no_std_core", "broker"].into_iter().flat_map(|folder| {
        let inner = std::fs::read_dir(root().join(folder)).expect("a folder of this repository");
        let inner = inner.map(move |inner| Path::new(folder).join(inner.expect("an entry").file_name()));
        inner.chain([folder.into()]).filter(|folder| root().join(folder).join("src/lib.rs").exists())
    });
    let listed: BTreeSet<_> = CEILINGS.iter().map(|(folder, _)| Path::new(folder).to_owned()).collect();
    assert_eq!(crates.collect::<BTreeSet<_>>(), listed);
}
