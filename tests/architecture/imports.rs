//! Finds which module needs which other module: by paths in its code, and by calls of methods that stand in another module.

use crate::names::{Names, imports_of};
use crate::source::{Crate, attributes_of, is_test_only};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// One module needs another module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Need {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) how: How,
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    /// The path or the method by which it needs the module.
    pub(crate) what: String,
}

/// How one module needs another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// By a path in the code.
    Import,
    /// By a call `self.method()` of a method of the same type, whose `impl` stands in another module. No `use` shows that.
    Call,
}

/// All needs of the modules, without those that are compiled for tests alone.
pub(crate) fn needs(source: &Crate) -> BTreeSet<Need> {
    let (names, methods) = (Names::of(source), methods(source));
    let mut all = BTreeSet::new();
    for (from, module) in source.modules.iter().enumerate().filter(|(_, module)| !module.is_test) {
        let mut reader = Reader { names: &names, methods: &methods, from, of_type: None, found: Vec::new() };
        module.items.iter().for_each(|item| reader.visit_item(item));
        for (to, how, line, what) in reader.found {
            all.insert(Need { from, to, how, file: module.file.clone(), line, what });
        }
    }
    all
}

/// For each inherent method, the modules that define it. The key is the name of the type and the name of the method.
type Methods = BTreeMap<(String, String), BTreeSet<usize>>;

fn methods(source: &Crate) -> Methods {
    let mut methods = Methods::new();
    for (index, module) in source.modules.iter().enumerate().filter(|(_, module)| !module.is_test) {
        for item in &module.items {
            let syn::Item::Impl(block) = item else { continue };
            if block.trait_.is_some() || is_test_only(&block.attrs) {
                continue;
            }
            let Some(of_type) = name_of(&block.self_ty) else { continue };
            for part in &block.items {
                if let syn::ImplItem::Fn(method) = part {
                    let name = (of_type.clone(), method.sig.ident.to_string());
                    methods.entry(name).or_default().insert(index);
                }
            }
        }
    }
    methods
}

fn name_of(of_type: &syn::Type) -> Option<String> {
    match of_type {
        syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
        syn::Type::Reference(reference) => name_of(&reference.elem),
        _ => None,
    }
}

/// Visits the items of one module.
struct Reader<'a> {
    names: &'a Names,
    methods: &'a Methods,
    from: usize,
    /// The type of the `impl` that is being visited.
    of_type: Option<String>,
    found: Vec<(usize, How, usize, String)>,
}

impl Reader<'_> {
    fn path(&mut self, line: usize, path: &[String]) {
        for to in self.names.modules_on(self.from, path) {
            if to != self.from {
                self.found.push((to, How::Import, line, path.join("::")));
            }
        }
    }

    fn call(&mut self, line: usize, method: &str) {
        let Some(of_type) = &self.of_type else { return };
        let Some(modules) = self.methods.get(&(of_type.clone(), method.to_owned())) else { return };
        // Under other features the method may stand in another module: it is enough that one of the modules may be needed.
        if modules.contains(&self.from) {
            return;
        }
        let what = format!("{of_type}::{method}");
        self.found.extend(modules.iter().map(|to| (*to, How::Call, line, what.clone())));
    }

    /// Finds paths in the arguments of a macro, which are tokens and no syntax tree.
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let is_colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let line = first.span().start().line;
                    let mut path = vec![first.to_string()];
                    while is_colon(at + 1)
                        && is_colon(at + 2)
                        && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    if path.len() > 1 {
                        self.path(line, &path);
                    } else if let [TokenTree::Punct(dot), TokenTree::Ident(method), TokenTree::Group(_)] =
                        &tokens[(at + 1).min(tokens.len())..(at + 4).min(tokens.len())]
                        && first == "self"
                        && dot.as_char() == '.'
                    {
                        self.call(line, &method.to_string());
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        // Inner modules are visited by themselves.
        if !is_test_only(attributes_of(item)) && !matches!(item, syn::Item::Mod(_)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let line = item.span().start().line;
        imports_of(&item.tree).into_iter().for_each(|import| self.path(line, &import.path));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let outer = std::mem::replace(&mut self.of_type, name_of(&item.self_ty));
        visit::visit_item_impl(self, item);
        self.of_type = outer;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let line = path.span().start().line;
        match &names[..] {
            [own, method] if own == "Self" => self.call(line, method),
            // A path of one name belongs to this module, or a `use` has brought the name in.
            [_] => {}
            names => self.path(line, names),
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if matches!(&*call.receiver, syn::Expr::Path(receiver) if receiver.path.is_ident("self")) {
            self.call(call.method.span().start().line, &call.method.to_string());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }

    // `pub(in path)` is no need.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The needs of a crate with these files, as "from: to by what".
    fn found(files: &[(&str, &str)], how: How) -> Vec<String> {
        let source = Crate::of(files);
        let name = |module: usize| source.modules[module].path.join("::");
        let needs = needs(&source).into_iter().filter(|need| need.how == how && need.to != 0);
        needs.map(|need| format!("{} needs {} by {}", name(need.from), name(need.to), need.what)).collect()
    }

    #[test]
    fn imports_are_found_in_signatures_bodies_macros_and_use() {
        let low = ("low.rs", "pub struct A; pub fn f() -> bool { true } pub const N: u8 = 1;");
        for high in [
            "use crate::low::A;",
            "use super::low::{A as B};",
            "pub fn g(_: &crate::low::A) {}",
            "fn g() { crate::low::f(); }",
            "fn g() { use crate::low::f; f(); }",
            "fn g() { assert!(crate::low::f(), \"{}\", 1); }",
            "struct S { a: [u8; crate::low::N as usize] }",
            "impl From<crate::low::A> for u8 { fn from(_: crate::low::A) -> u8 { 1 } }",
        ] {
            let needs = found(&[("lib.rs", "mod low; mod high;"), low, ("high.rs", high)], How::Import);
            assert!(needs.iter().any(|need| need.starts_with("high needs low by ")), "{high}: {needs:?}");
        }
    }

    #[test]
    fn paths_in_tests_in_visibilities_and_to_the_module_itself_are_no_imports() {
        let high = "#[cfg(test)] mod tests { use crate::low::A; } pub(in crate::high) fn low() { low() }
            #[cfg(test)] use crate::low::A; #[cfg(test)] fn h() { crate::low::f(); }";
        let needs = found(&[("lib.rs", "mod low; mod high;"), ("low.rs", ""), ("high.rs", high)], How::Import);
        assert_eq!(needs, [""; 0]);
    }

    #[test]
    fn a_call_of_a_method_in_another_module_is_found() {
        let files = [
            ("lib.rs", "mod low; mod high;"),
            (
                "low.rs",
                "pub struct A; impl A { fn f(&self) { self.g(); matches!(self.g(), ()); self.own() } fn own(&self) {} }",
            ),
            ("high.rs", "use crate::low::A; impl A { fn g(&self) { Self::f(self) } }"),
        ];
        let needs: BTreeSet<_> = found(&files, How::Call).into_iter().collect();
        let expected = ["high needs low by A::f", "low needs high by A::g"];
        assert_eq!(needs, expected.map(str::to_owned).into());
    }
}
