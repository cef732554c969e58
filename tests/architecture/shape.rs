//! Finds long files and long functions, conditions on features, and names that stand for several types.

use crate::source::{Crate, attributes_of, conditions_of, denied, is_test_only};
use proc_macro2::TokenStream;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item};

/// The files with more lines than `most`, each with its number of lines.
pub(crate) fn long_files(source: &Crate, most: usize) -> BTreeSet<String> {
    let long = source.files.iter().map(|(file, text)| (file, text.lines().count())).filter(|(_, lines)| *lines > most);
    long.map(|(file, lines)| format!("{}: {lines} lines", file.display())).collect()
}

/// The functions with more lines than `most`, from `fn` to the closing brace, each with its number of lines.
pub(crate) fn long_functions(source: &Crate, most: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (file, text) in &source.files {
        let mut reader = Functions { file, most, found: &mut found };
        reader.visit_file(&syn::parse_file(text).expect("it was parsed before"));
    }
    found
}

struct Functions<'a> {
    file: &'a Path,
    most: usize,
    found: &'a mut BTreeSet<String>,
}

impl Functions<'_> {
    fn check(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let (first, last) = (signature.span().start().line, block.brace_token.span.close().end().line);
        let lines = last + 1 - first;
        if lines > self.most {
            self.found.insert(format!("{}:{first}: fn {} has {lines} lines", self.file.display(), signature.ident));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.check(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

/// The conditions on features (`cfg`, `cfg_attr` and `cfg!`) in code that is not for tests alone.
#[derive(Default)]
pub(crate) struct Conditions {
    /// All conditions.
    pub(crate) all: Vec<String>,
    /// The conditions inside function bodies: at a statement, an expression, a match arm, a field of a struct expression or pattern, or in
    /// `cfg!`.
    pub(crate) amid_statements: Vec<String>,
}

/// The conditions on features in the room `room`, or in the whole crate.
pub(crate) fn conditions(source: &Crate, room: Option<&str>) -> Conditions {
    let mut found = Conditions::default();
    for module in source.modules.iter().filter(|module| !module.is_test) {
        if room.is_some_and(|room| module.path.first().is_none_or(|first| first != room)) {
            continue;
        }
        let mut reader = Features { file: &module.file, in_body: 0, found: &mut found };
        module.items.iter().for_each(|item| reader.visit_item(item));
    }
    found
}

struct Features<'a> {
    file: &'a Path,
    /// How many blocks are around the code that is being visited.
    in_body: usize,
    found: &'a mut Conditions,
}

impl Features<'_> {
    fn note(&mut self, line: usize) {
        let place = format!("{}:{line}", self.file.display());
        if self.in_body > 0 {
            self.found.amid_statements.push(place.clone());
        }
        self.found.all.push(place);
    }
}

impl<'ast> Visit<'ast> for Features<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test_only(attributes_of(item)) {
            return;
        }
        match item {
            // The contents of an inner module are visited by themselves. Here the condition of the module counts.
            Item::Mod(module) => module.attrs.iter().for_each(|attribute| self.visit_attribute(attribute)),
            item => visit::visit_item(self, item),
        }
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.in_body += 1;
        visit::visit_block(self, block);
        self.in_body -= 1;
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let syn::Meta::List(list) = &attribute.meta
            && (list.path.is_ident("cfg") || list.path.is_ident("cfg_attr"))
            && has_feature(&list.tokens)
        {
            self.note(attribute.span().start().line);
        }
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        if called.path.is_ident("cfg") && has_feature(&called.tokens) {
            self.note(called.span().start().line);
        }
        // Looks for `cfg!` in the arguments of another macro, which are tokens and no syntax tree.
        let arguments = called.tokens.to_string();
        for _ in 0..arguments.matches("cfg ! (feature").count() + arguments.matches("cfg (feature").count() {
            self.note(called.span().start().line);
        }
    }
}

fn has_feature(condition: &TokenStream) -> bool {
    condition.to_string().split(|c: char| !c.is_alphanumeric()).any(|word| word == "feature")
}

/// The names that stand for a type or a trait in several modules, with these modules. Two definitions under opposite conditions, `x` and
/// `not(x)`, count as one, and so do two definitions in one module, which can only be alternatives.
pub(crate) fn names_defined_twice(source: &Crate) -> BTreeSet<String> {
    let mut found = BTreeMap::<String, Vec<(String, Vec<String>)>>::new();
    for module in source.modules.iter().filter(|module| !module.is_test) {
        for item in module.items.iter().filter(|item| !is_test_only(attributes_of(item))) {
            let name = match item {
                Item::Enum(item) => &item.ident,
                Item::Struct(item) => &item.ident,
                Item::Trait(item) => &item.ident,
                Item::Type(item) => &item.ident,
                Item::Union(item) => &item.ident,
                _ => continue,
            };
            let conditions = [&module.conditions[..], &conditions_of(attributes_of(item))[..]].concat();
            found.entry(name.to_string()).or_default().push((module.path.join("::"), conditions));
        }
    }
    let mut twice = BTreeSet::new();
    for (name, modules) in found {
        let at_once = |(one, conditions): &&(String, Vec<String>)| {
            modules.iter().any(|(other, others)| other != one && !are_opposites(conditions, others))
        };
        let modules: BTreeSet<_> = modules.iter().filter(at_once).map(|(module, _)| module.as_str()).collect();
        if !modules.is_empty() {
            twice.insert(format!("{name} in {}", Vec::from_iter(modules).join(", ")));
        }
    }
    twice
}

fn are_opposites(some: &[String], others: &[String]) -> bool {
    let is_denied = |condition: &String, by: &[String]| by.contains(&denied(condition));
    some.iter().any(|condition| is_denied(condition, others))
        || others.iter().any(|condition| is_denied(condition, some))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_and_functions_are_found_in_every_module() {
        let body = "\n".repeat(10);
        let text = format!(
            "/// Words\n/// and more.\nfn free() {{{body}}}\nmod m {{ trait T {{ fn given() {{{body}}} fn none(); }} }}\n\
             impl A {{ fn method() {{ fn inner() {{{body}}} }} }}\nfn short() {{}}"
        );
        let source = Crate::of(&[("lib.rs", &text)]);
        let names: Vec<_> = long_functions(&source, 10).into_iter().collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!(names[3], "lib.rs:3: fn free has 11 lines");
        assert!(long_functions(&source, 11).is_empty());
        let lines = text.lines().count();
        assert_eq!(long_files(&source, lines - 1), [format!("lib.rs: {lines} lines")].into());
        assert!(long_files(&source, lines).is_empty());
    }

    #[test]
    fn conditions_on_features_are_told_apart_at_items_and_amid_statements() {
        let room = r#"
            #[cfg(feature = "a")] struct S { #[cfg(not(feature = "a"))] field: u8 }
            #[cfg_attr(feature = "a", derive(Debug))] enum E { #[cfg(all(unix, feature = "a"))] V }
            fn f(x: S) {
                #[cfg(feature = "a")] let y = 1;
                #[cfg(feature = "a")] { g(); }
                match x { #[cfg(feature = "a")] 1 => {}, _ => {} }
                let s = S { #[cfg(feature = "a")] field: 1 };
                if cfg!(feature = "a") { assert!(cfg!(feature = "a")); }
            }
            #[cfg(test)] mod tests { #[cfg(feature = "a")] fn f() {} }
            #[cfg(unix)] fn g() {}
        "#;
        let source = Crate::of(&[("lib.rs", "#[cfg(feature = \"a\")] mod room; mod other {}"), ("room.rs", room)]);
        let found = conditions(&source, Some("room"));
        assert_eq!((found.all.len(), found.amid_statements.len()), (10, 6), "{:?}", found.all);
        assert_eq!(conditions(&source, None).all.len(), 11);
        assert_eq!(conditions(&source, Some("other")).all.len(), 0);
    }

    #[test]
    fn a_name_of_several_types_is_found_unless_the_types_are_alternatives() {
        let source = Crate::of(&[(
            "lib.rs",
            r#"mod a { pub struct One; #[cfg(feature = "a")] pub enum Two {} #[cfg(not(feature = "a"))] pub struct Two; }
               mod b { pub trait One {} #[cfg(test)] struct Two; } #[cfg(test)] mod tests { struct One; }
               #[cfg(feature = "a")] mod c { mod d { struct Three; } } #[cfg(not(feature = "a"))] mod e { struct Three; }"#,
        )]);
        assert_eq!(names_defined_twice(&source), ["One in a, b".to_owned()].into());
    }

    #[test]
    fn files_that_a_condition_chooses_between_may_define_the_same_name_also_in_modules_inside() {
        let files = |stand_in| {
            Crate::of(&[
                ("lib.rs", "#[cfg_attr(not(feature = \"a\"), path = \"room/none.rs\")] mod room; mod other;"),
                ("room/none.rs", stand_in),
                ("room/mod.rs", "mod inner;"),
                ("room/inner.rs", "struct One;"),
                ("other.rs", "struct Two;"),
            ])
        };
        assert!(names_defined_twice(&files("struct One;")).is_empty());
        assert_eq!(names_defined_twice(&files("struct Two;")), ["Two in other, room".to_owned()].into());
    }
}
