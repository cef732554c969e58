//! The order of a crate's rooms, its top-level modules, as ARCHITECTURE.md states it, and what goes against it.
//!
//! ARCHITECTURE.md has a block of rooms for each crate, the lowest first, and may have a block of rules after it:
//!
//! ````text
//! ```rooms no_std_core
//! mem       pools and lists
//! engine    what each packet does
//! shards    sibling brokers
//! api       the verbs of Broker
//! ```
//!
//! ```rules
//! shards imports none of engine
//! api imports only engine
//! ```
//! ````
//!
//! A room may import the rooms above it in the list, as far as no rule says otherwise. The first word of a line is the room. The root,
//! `lib.rs`, is no room: it may import all, and a name that it hands on counts where it is declared.

use crate::imports::{How, Need, needs};
use crate::source::Crate;
use std::collections::{BTreeMap, BTreeSet};

/// The rooms, the lowest first, and the rooms that each may import.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order(Vec<Room>);

#[derive(Debug, PartialEq, Eq)]
struct Room {
    name: String,
    may_import: BTreeSet<String>,
}

impl Order {
    /// Reads the block of rooms for the crate in `folder`, and the rules behind it, from the text of ARCHITECTURE.md.
    pub(crate) fn in_page(page: &str, folder: &str) -> Result<Self, String> {
        let opening = format!("```rooms {folder}");
        let mut lines = page.lines().map(str::trim).skip_while(|line| *line != opening).skip(1);
        let mut order = Self(Vec::new());
        for line in lines.by_ref().take_while(|line| *line != "```") {
            let Some(name) = line.split_whitespace().next() else { continue };
            let above = order.0.iter().map(|room| room.name.clone()).collect();
            if order.room(name).is_some() {
                return Err(format!("{name} stands twice in the list of {folder}"));
            }
            order.0.push(Room { name: name.to_owned(), may_import: above });
        }
        if order.0.is_empty() {
            return Err(format!("ARCHITECTURE.md has no block {opening:?}"));
        }
        let mut is_in_rules = false;
        for line in lines.take_while(|line| !line.starts_with("```rooms")) {
            match line {
                "```rules" => is_in_rules = true,
                "```" => is_in_rules = false,
                rule if is_in_rules && !rule.is_empty() => order.apply(rule)?,
                _ => {}
            }
        }
        Ok(order)
    }

    /// Applies a rule: `ROOM imports none of ROOM...`, or `ROOM imports only ROOM...`.
    fn apply(&mut self, rule: &str) -> Result<(), String> {
        let (room, is_allowed, list) = match Vec::from_iter(rule.split_whitespace())[..] {
            [room, "imports", "none", "of", ref list @ ..] => (room, false, list.to_vec()),
            [room, "imports", "only", ref list @ ..] => (room, true, list.to_vec()),
            _ => {
                return Err(format!("{rule:?} is no rule: ROOM imports none of ROOM..., or ROOM imports only ROOM..."));
            }
        };
        if let Some(wrong) = list.iter().find(|name| self.room(name).is_none()) {
            return Err(format!("{rule:?} is about {wrong}, which is no room"));
        }
        let room = self.0.iter_mut().find(|one| one.name == room);
        let room = room.ok_or_else(|| format!("{rule:?} is about what is no room"))?;
        room.may_import.retain(|name| list.contains(&name.as_str()) == is_allowed);
        Ok(())
    }

    fn room(&self, name: &str) -> Option<&Room> {
        self.0.iter().find(|room| room.name == name)
    }
}

/// The breaches of the order of rooms in a crate. Each entry is a line that says where.
#[derive(Default)]
pub(crate) struct Findings {
    /// Imports of a room that the importing room may not import.
    pub(crate) imports: BTreeSet<String>,
    /// Calls of methods that stand in such a room.
    pub(crate) calls: BTreeSet<String>,
    /// Rooms that import each other in a circle.
    pub(crate) circles: BTreeSet<String>,
    /// Modules of one folder inside a room that import each other in a circle.
    pub(crate) inner_circles: BTreeSet<String>,
    /// Rooms that ARCHITECTURE.md does not list, and listed rooms that do not exist.
    pub(crate) unlisted: BTreeSet<String>,
}

impl Findings {
    /// Compares `source` with `order`. Without an order it finds circles alone.
    pub(crate) fn of(source: &Crate, order: Option<&Order>) -> Self {
        let needs = needs(source);
        let mut findings = Self::default();
        if let Some(order) = order {
            findings.unlisted = unlisted(source, order);
            findings.compare(source, order, &needs);
        }
        for circle in circles(source, &needs) {
            let module = circle.split(' ').next().unwrap_or_default();
            let circles = if module.contains("::") { &mut findings.inner_circles } else { &mut findings.circles };
            circles.insert(circle);
        }
        findings
    }

    fn compare(&mut self, source: &Crate, order: &Order, needs: &BTreeSet<Need>) {
        for need in needs {
            let (Some(from), Some(to)) = (room_of(source, need.from), room_of(source, need.to)) else { continue };
            let (Some(importer), Some(_)) = (order.room(from), order.room(to)) else { continue };
            if from != to && !importer.may_import.contains(to) {
                // One line for each pair of module and room, with the first place in the source.
                let pair = format!("{} needs {to}: ", source.modules[need.from].path.join("::"));
                let lines = if need.how == How::Import { &mut self.imports } else { &mut self.calls };
                if !lines.iter().any(|line| line.starts_with(&pair)) {
                    lines.insert(format!("{pair}{} in {}:{}", need.what, need.file.display(), need.line));
                }
            }
        }
    }
}

fn room_of(source: &Crate, module: usize) -> Option<&str> {
    source.modules[module].path.first().map(String::as_str)
}

fn unlisted(source: &Crate, order: &Order) -> BTreeSet<String> {
    let rooms = source.modules.iter().filter(|module| module.path.len() == 1 && !module.is_test);
    let there: BTreeSet<_> = rooms.map(|module| module.path[0].as_str()).collect();
    let listed: BTreeSet<_> = order.0.iter().map(|room| room.name.as_str()).collect();
    let not_listed = there.difference(&listed).map(|room| format!("ARCHITECTURE.md does not list {room}"));
    let not_there = listed.difference(&there).map(|room| format!("ARCHITECTURE.md lists {room}, which is not there"));
    not_listed.chain(not_there).collect()
}

/// The modules of one folder that import each other in a circle, each with the modules of its circle that it imports. A module stands
/// here for everything inside it.
fn circles(source: &Crate, needs: &BTreeSet<Need>) -> BTreeSet<String> {
    let mut arrows = BTreeMap::<String, BTreeSet<String>>::new();
    for need in needs.iter().filter(|need| need.how == How::Import) {
        let (from, to) = (&source.modules[need.from].path, &source.modules[need.to].path);
        let common = from.iter().zip(to).take_while(|(from, to)| from == to).count();
        // A module and a module inside it may need each other.
        if common < from.len() && common < to.len() {
            arrows.entry(from[..=common].join("::")).or_default().insert(to[..=common].join("::"));
        }
    }
    let on_circle = |(from, all): (&String, &BTreeSet<String>)| {
        let back: Vec<_> = all.iter().filter(|to| reaches(&arrows, to, from)).map(String::as_str).collect();
        (!back.is_empty()).then(|| format!("{from} imports {}", back.join(", ")))
    };
    arrows.iter().filter_map(on_circle).collect()
}

fn reaches(arrows: &BTreeMap<String, BTreeSet<String>>, from: &str, aim: &str) -> bool {
    let (mut seen, mut next) = (BTreeSet::from([from]), vec![from]);
    while let Some(at) = next.pop() {
        if at == aim {
            return true;
        }
        next.extend(arrows.get(at).into_iter().flatten().map(String::as_str).filter(|to| seen.insert(to)));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "text\n\n```rooms x\nlow     all of it\nside\nmiddle\nhigh\n```\nmore\n\n```rules\n\
         side imports none of low\nmiddle imports only low\n```\n```rooms y\nlow\n```\n";

    fn order() -> Order {
        Order::in_page(PAGE, "x").unwrap()
    }

    fn findings(low: &str, side: &str, middle: &str, high: &str) -> Findings {
        let root = "pub use high::High; mod low; mod side; mod middle; mod high;";
        let files =
            [("lib.rs", root), ("low.rs", low), ("side.rs", side), ("middle.rs", middle), ("high/mod.rs", high)];
        Findings::of(&Crate::of(&files), Some(&order()))
    }

    #[test]
    fn the_order_of_rooms_is_read_from_the_page() {
        let rooms: Vec<_> = order().0.iter().map(|room| (room.name.clone(), room.may_import.len())).collect();
        assert_eq!(rooms, [("low", 0), ("side", 0), ("middle", 1), ("high", 3)].map(|(room, n)| (room.to_owned(), n)));
        assert!(Order::in_page(PAGE, "z").is_err());
        for wrong in ["a\n```\n```rules\na imports none of b", "a\n```\n```rules\nb imports only a", "a\na"] {
            assert!(Order::in_page(&format!("```rooms z\n{wrong}\n```"), "z").is_err(), "{wrong}");
        }
        assert!(Order::in_page("```rooms z\na\n```\n```rules\na depends on nothing\n```", "z").is_err());
    }

    #[test]
    fn imports_of_lower_rooms_are_allowed() {
        let findings = findings("", "", "use crate::low;", "use crate::{low, side, middle}; pub struct High;");
        assert!(findings.imports.is_empty() && findings.circles.is_empty() && findings.unlisted.is_empty());
    }

    #[test]
    fn an_import_of_a_higher_room_through_the_root_is_found() {
        let findings = findings("", "", "fn f() { use crate::High; }", "pub struct High;");
        assert_eq!(findings.imports, ["middle needs high: crate::High in middle.rs:1".to_owned()].into());
        assert!(findings.circles.is_empty());
    }

    #[test]
    fn an_import_that_a_rule_forbids_is_found() {
        let findings = findings("", "pub struct Side;", "\nuse crate::side::Side;", "pub struct High;");
        assert_eq!(findings.imports, ["middle needs side: crate::side::Side in middle.rs:2".to_owned()].into());
    }

    #[test]
    fn import_circles_of_rooms_and_of_modules_inside_rooms_are_found() {
        let findings = findings(
            "use crate::High;",
            "",
            "",
            "pub struct High; use crate::low; mod a { use super::b; } mod b { use super::a; }",
        );
        assert_eq!(findings.circles, ["high imports low", "low imports high"].map(str::to_owned).into());
        let inner = ["high::a imports high::b", "high::b imports high::a"];
        assert_eq!(findings.inner_circles, inner.map(str::to_owned).into());
    }

    #[test]
    fn a_module_and_its_inner_modules_may_need_each_other() {
        let findings = findings("", "", "", "pub struct High; use a::A; mod a { use super::High; pub struct A; }");
        assert!(findings.inner_circles.is_empty());
    }

    #[test]
    fn a_call_of_a_method_in_a_higher_room_is_found() {
        let low = "pub struct A; impl A { fn f(&self) { self.g() } }";
        let findings = findings(low, "", "", "pub struct High; use crate::low::A; impl A { fn g(&self) {} }");
        assert_eq!(findings.calls, ["low needs high: A::g in low.rs:1".to_owned()].into());
        assert!(findings.imports.is_empty());
    }

    #[test]
    fn a_room_that_the_page_does_not_list_is_found() {
        let source = Crate::of(&[("lib.rs", "mod low {} mod side {} mod middle {} mod attic {}")]);
        let unlisted = Findings::of(&source, Some(&order())).unlisted;
        assert_eq!(unlisted.len(), 2, "{unlisted:?}");
    }
}
