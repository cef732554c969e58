//! Resolves a path in a source file: finds the modules that the path goes through.

use crate::source::Crate;
use std::collections::BTreeMap;
use syn::{Item, UseTree};

/// The most aliases that are followed: the search ends there for aliases in a circle.
const DEEPEST: usize = 16;

/// The names of all modules of a crate.
pub(crate) struct Names {
    modules: Vec<Scope>,
}

/// The names that a module declares.
#[derive(Default)]
struct Scope {
    parent: Option<usize>,
    /// The modules inside. Several have one name where conditions choose between their files.
    children: BTreeMap<String, Vec<usize>>,
    /// The names of types, functions, traits and constants.
    defined: Vec<String>,
    /// The paths that `use` brings in, by the name under which each is known. Several have one name where conditions choose between them.
    imported: BTreeMap<String, Vec<Vec<String>>>,
    /// The modules from which `use` brings in all names.
    globs: Vec<Vec<String>>,
}

impl Names {
    /// The names that the modules of `source` declare.
    pub(crate) fn of(source: &Crate) -> Self {
        let mut modules: Vec<Scope> = Vec::new();
        for (index, module) in source.modules.iter().enumerate() {
            let mut scope = Scope { parent: module.parent, ..Scope::default() };
            module.items.iter().for_each(|item| scope.declare(item));
            modules.push(scope);
            if let Some(parent) = module.parent {
                let name = module.path.last().expect("only the root has no name");
                modules[parent].children.entry(name.clone()).or_default().push(index);
            }
        }
        Self { modules }
    }

    /// The modules that `path`, which stands in the module `from`, goes through. The last one declares the item that the path names.
    /// Where conditions choose between files or between imports the path goes through all of them. Empty for a path into another crate, and
    /// for a name of the module itself.
    pub(crate) fn modules_on(&self, from: usize, path: &[String]) -> Vec<usize> {
        let mut through = Vec::new();
        self.walk(from, path, 0, &mut through);
        through
    }

    /// Follows `path`. Returns the modules that the path names, if it names a module.
    fn walk(&self, from: usize, path: &[String], depth: usize, through: &mut Vec<usize>) -> Vec<usize> {
        let mut here = vec![from];
        for (position, name) in path.iter().enumerate() {
            let mut next = Vec::new();
            for at in here {
                match name.as_str() {
                    "crate" if position == 0 => next.push(0),
                    "self" => next.push(at),
                    "super" => next.extend(self.modules[at].parent),
                    _ => next.extend(self.step(at, name, depth, through)),
                }
            }
            // Following an alias has added the modules at its end already.
            next.iter().for_each(|module| add_once(through, *module));
            here = next;
        }
        here
    }

    /// The modules that `name` means in the module `at`.
    fn step(&self, at: usize, name: &str, depth: usize, through: &mut Vec<usize>) -> Vec<usize> {
        let scope = &self.modules[at];
        if let Some(children) = scope.children.get(name) {
            return children.clone();
        }
        if scope.defined.iter().any(|defined| defined == name) || depth == DEEPEST {
            return Vec::new();
        }
        if let Some(paths) = scope.imported.get(name) {
            return paths.iter().flat_map(|path| self.walk(at, path, depth + 1, through)).collect();
        }
        for glob in &scope.globs {
            let mut tried = Vec::new();
            let mut modules = self.walk(at, glob, depth + 1, &mut tried);
            modules.retain(|module| *module != at && self.has(*module, name, depth + 1));
            if !modules.is_empty() {
                tried.into_iter().for_each(|module| add_once(through, module));
                return modules.iter().flat_map(|module| self.step(*module, name, depth + 1, through)).collect();
            }
        }
        Vec::new()
    }

    fn has(&self, module: usize, name: &str, depth: usize) -> bool {
        let scope = &self.modules[module];
        let by_glob = |glob: &Vec<String>| {
            let found = self.walk(module, glob, depth + 1, &mut Vec::new());
            found.into_iter().any(|found| found != module && self.has(found, name, depth + 1))
        };
        scope.children.contains_key(name)
            || scope.imported.contains_key(name)
            || scope.defined.iter().any(|defined| defined == name)
            || depth < DEEPEST && scope.globs.iter().any(by_glob)
    }
}

fn add_once(modules: &mut Vec<usize>, module: usize) {
    if !modules.contains(&module) {
        modules.push(module);
    }
}

impl Scope {
    fn declare(&mut self, item: &Item) {
        let name = match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Union(item) => &item.ident,
            Item::Use(item) => {
                for import in imports_of(&item.tree) {
                    match import.name.as_str() {
                        "*" => self.globs.push(import.path),
                        _ => {
                            self.imported.entry(import.name).or_default().push(import.path);
                        }
                    }
                }
                return;
            }
            _ => return,
        };
        self.defined.push(name.to_string());
    }
}

/// One name that a `use` brings in.
pub(crate) struct Import {
    /// The name under which it is known from then on; `*` for all names of a module.
    pub(crate) name: String,
    pub(crate) path: Vec<String>,
}

/// All names that a `use` brings in.
pub(crate) fn imports_of(tree: &UseTree) -> Vec<Import> {
    let mut imports = Vec::new();
    collect(tree, &mut Vec::new(), &mut imports);
    imports
}

fn collect(tree: &UseTree, path: &mut Vec<String>, imports: &mut Vec<Import>) {
    let mut add = |path: &[String], last: Option<String>, name: String| {
        // `use a::{self}` brings in the module a itself.
        let last = last.filter(|last| last != "self" || path.is_empty());
        let name = if name == "self" { path.last().cloned().unwrap_or(name) } else { name };
        imports.push(Import { name, path: path.iter().cloned().chain(last).collect() });
    };
    match tree {
        UseTree::Path(tree) => {
            path.push(tree.ident.to_string());
            collect(&tree.tree, path, imports);
            path.pop();
        }
        UseTree::Name(tree) => add(path, Some(tree.ident.to_string()), tree.ident.to_string()),
        UseTree::Rename(tree) => add(path, Some(tree.ident.to_string()), tree.rename.to_string()),
        UseTree::Glob(_) => add(path, None, "*".into()),
        UseTree::Group(group) => group.items.iter().for_each(|tree| collect(tree, path, imports)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modules that a path in the module `from` goes through.
    fn found(source: &Crate, from: &str, path: &str) -> Vec<String> {
        let names = Names::of(source);
        let module = source.modules.iter().position(|module| module.path.join("::") == from).unwrap();
        let path: Vec<_> = path.split("::").map(str::to_owned).collect();
        names.modules_on(module, &path).into_iter().map(|module| source.modules[module].path.join("::")).collect()
    }

    #[test]
    fn a_name_re_exported_by_the_root_leads_to_its_own_module() {
        let source = Crate::of(&[
            ("lib.rs", "mod low; mod high; pub use low::inner::{Thing as Renamed}; pub use high::*;"),
            ("low.rs", "pub mod inner { pub struct Thing; }"),
            ("high.rs", "pub struct Above;"),
        ]);
        assert_eq!(found(&source, "high", "crate::Renamed"), ["", "low", "low::inner"]);
        assert_eq!(found(&source, "low::inner", "super::super::Above"), ["low", "", "high"]);
        assert_eq!(found(&source, "high", "core::mem::swap"), [""; 0]);
    }

    #[test]
    fn paths_by_the_name_of_an_imported_module_lead_to_that_module() {
        let source = Crate::of(&[
            ("lib.rs", "mod low; mod high;"),
            ("low.rs", "pub mod inner { pub fn f() {} }"),
            ("high.rs", "use crate::low::inner::{self, f};"),
        ]);
        assert_eq!(found(&source, "high", "inner::f"), ["", "low", "low::inner"]);
        assert_eq!(found(&source, "high", "f"), ["", "low", "low::inner"]);
    }

    /// An alias under one condition hid the import that the alias of the same name under the opposite condition is.
    #[test]
    fn a_name_that_conditions_choose_leads_to_all_its_modules() {
        let alias = "#[cfg(unix)] use one as kept; #[cfg(not(unix))] use two as kept;";
        let source = Crate::of(&[
            ("lib.rs", &format!("mod one; mod two; mod high; {alias}")),
            ("one.rs", "pub struct Thing;"),
            ("two.rs", "pub struct Thing;"),
            ("high.rs", "#[cfg_attr(not(unix), path = \"none.rs\")] mod chosen;"),
            ("high/chosen.rs", "mod inner; pub use inner::Thing;"),
            ("high/chosen/inner.rs", "pub struct Thing;"),
            ("none.rs", "pub struct Thing;"),
        ]);
        assert_eq!(found(&source, "high", "crate::kept::Thing"), ["", "one", "two"]);
        let expected = ["high::chosen", "high::chosen", "high::chosen::inner"];
        assert_eq!(found(&source, "high", "chosen::Thing"), expected);
    }

    #[test]
    fn aliases_in_a_circle_do_not_hang_the_search() {
        let source = Crate::of(&[("lib.rs", "mod a { pub use crate::b::*; } mod b { pub use crate::a::*; }")]);
        assert!(!found(&source, "", "a::Nothing").is_empty());
    }
}
