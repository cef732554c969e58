//! The sources of one crate, read as a compiler reads them: from `lib.rs` along `mod` declarations.

use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Item, ItemMod, Lit, Meta, Token};

/// The modules of a crate; the root is the first.
pub(crate) struct Crate {
    /// The modules in the order of their declaration. A parent stands before its children.
    pub(crate) modules: Vec<Module>,
    /// Every file below the folder with its text, whether it is a module of the crate or not.
    pub(crate) files: BTreeMap<PathBuf, String>,
}

/// One module.
pub(crate) struct Module {
    /// The names of the module and its parents below the crate's root; empty for the root.
    pub(crate) path: Vec<String>,
    pub(crate) parent: Option<usize>,
    /// The file that has the module, relative to the folder of the crate's sources.
    pub(crate) file: PathBuf,
    pub(crate) items: Vec<Item>,
    /// The conditions under which the module is compiled, as in `cfg(CONDITION)`.
    pub(crate) conditions: Vec<String>,
    /// Whether the module is compiled for tests alone.
    pub(crate) is_test: bool,
}

/// The place from which the child modules of a module are found.
struct Place {
    /// The file of the module.
    file: PathBuf,
    /// The folder of the child modules.
    folder: PathBuf,
}

/// The contents of a module that a `mod` declaration leads to.
struct Found {
    place: Place,
    items: Vec<Item>,
    /// The conditions under which these contents are chosen, where conditions choose between files.
    conditions: Vec<String>,
}

impl Crate {
    /// Reads all files below `folder`, which has a `lib.rs`.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        read_below(folder, Path::new(""), &mut files);
        Self::parse(files)
    }

    /// The crate that consists of these files.
    pub(crate) fn parse(files: BTreeMap<PathBuf, String>) -> Self {
        let mut all = Self { modules: Vec::new(), files };
        let root = Place { file: "lib.rs".into(), folder: PathBuf::new() };
        let items = all.items_of(&root.file);
        all.add(Vec::new(), None, &root, items, (Vec::new(), false));
        all
    }

    /// The crate that consists of these texts, for tests.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self::parse(files.iter().map(|(name, text)| (name.into(), (*text).into())).collect())
    }

    /// The files below the folder that no `mod` declaration leads to, without `main.rs` and the files in `bin`.
    pub(crate) fn strays(&self) -> Vec<&Path> {
        let is_root = |file: &Path| file == Path::new("main.rs") || file.starts_with("bin");
        let is_module = |file: &Path| self.modules.iter().any(|module| module.file == file);
        self.files.keys().map(PathBuf::as_path).filter(|file| !is_root(file) && !is_module(file)).collect()
    }

    fn items_of(&self, file: &Path) -> Vec<Item> {
        let text = self.files.get(file).unwrap_or_else(|| panic!("there is no file {}", file.display()));
        syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", file.display())).items
    }

    fn add(
        &mut self,
        path: Vec<String>,
        parent: Option<usize>,
        place: &Place,
        items: Vec<Item>,
        (conditions, is_test): (Vec<String>, bool),
    ) {
        let index = self.modules.len();
        let file = place.file.clone();
        self.modules.push(Module {
            path: path.clone(),
            parent,
            file,
            items: items.clone(),
            conditions: conditions.clone(),
            is_test,
        });
        for item in items {
            let Item::Mod(declared) = item else { continue };
            let path = [&path[..], &[declared.ident.to_string()]].concat();
            let is_test = is_test || is_test_only(&declared.attrs);
            let conditions = [&conditions[..], &conditions_of(&declared.attrs)[..]].concat();
            for found in self.find(place, declared) {
                let conditions = [&conditions[..], &found.conditions[..]].concat();
                self.add(path.clone(), Some(index), &found.place, found.items, (conditions, is_test));
            }
        }
    }

    /// The contents and the place of a module that is declared in `place`. There are several where conditions choose between files.
    fn find(&self, place: &Place, declared: ItemMod) -> Vec<Found> {
        let name = declared.ident.to_string();
        if let Some((_, items)) = declared.content {
            let place = Place { file: place.file.clone(), folder: place.folder.join(name) };
            return vec![Found { place, items, conditions: Vec::new() }];
        }
        let beside = place.file.parent().expect("a file stands in a folder");
        let named: Vec<_> = declared.attrs.iter().filter_map(|attribute| path_in(&attribute.meta)).collect();
        // The usual file is taken where no condition names another.
        let unnamed: Vec<_> = named.iter().flat_map(|(_, conditions)| conditions).map(|is| denied(is)).collect();
        let mut files: Vec<_> = named.into_iter().map(|(path, conditions)| (beside.join(path), conditions)).collect();
        let usual = [place.folder.join(format!("{name}.rs")), place.folder.join(&name).join("mod.rs")];
        let usual = usual.into_iter().filter(|file| self.files.contains_key(file));
        files.extend(usual.map(|file| (file, unnamed.clone())));
        assert!(!files.is_empty(), "no file has the module {name} that {} declares", place.file.display());
        let found = files.into_iter().map(|(file, conditions)| {
            let is_folder = file.file_name().is_some_and(|name| name == "mod.rs");
            let folder = if is_folder { file.parent().expect("it has one").into() } else { file.with_extension("") };
            let items = self.items_of(&file);
            Found { place: Place { file, folder }, items, conditions }
        });
        found.collect()
    }
}

fn read_below(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, String>) {
    let entries =
        std::fs::read_dir(root.join(folder)).unwrap_or_else(|error| panic!("{}: {error}", root.join(folder).display()));
    for entry in entries {
        let entry = entry.expect("an entry of a folder of this repository");
        let name = folder.join(entry.file_name());
        if entry.path().is_dir() {
            read_below(root, &name, files);
        } else if name.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(entry.path()).expect("a source file is text");
            files.insert(name, text);
        }
    }
}

/// The file in an attribute `path = "FILE"`, or in `cfg_attr(CONDITION, path = "FILE")` with its condition.
fn path_in(attribute: &Meta) -> Option<(String, Vec<String>)> {
    match attribute {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some((text.value(), Vec::new())),
            _ => None,
        },
        Meta::List(list) if list.path.is_ident("cfg_attr") => {
            let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
            let (path, mut conditions) = parts.iter().skip(1).find_map(path_in)?;
            let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',');
            let condition: TokenStream = list.tokens.clone().into_iter().take_while(|token| !is_comma(token)).collect();
            conditions.push(condition.to_string());
            Some((path, conditions))
        }
        _ => None,
    }
}

/// The opposite of a condition.
pub(crate) fn denied(condition: &str) -> String {
    format!("not ({condition})")
}

/// Whether an item with these attributes is compiled for tests alone: `#[test]`, `#[cfg(test)]` or `#[cfg(all(…, test, …))]`.
pub(crate) fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = match &attribute.meta {
            Meta::List(list) if list.path.is_ident("cfg") => list.parse_args::<Meta>().ok(),
            _ => None,
        };
        attribute.path().is_ident("test") || condition.is_some_and(|condition| needs_test(&condition))
    })
}

fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => {
            let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
            parts.is_ok_and(|parts| parts.iter().any(needs_test))
        }
        _ => false,
    }
}

/// The conditions in `cfg(CONDITION)` attributes.
pub(crate) fn conditions_of(attributes: &[Attribute]) -> Vec<String> {
    let lists = attributes.iter().filter_map(|attribute| attribute.meta.require_list().ok());
    lists.filter(|list| list.path.is_ident("cfg")).map(|list| list.tokens.to_string()).collect()
}

/// The attributes of an item of any kind.
pub(crate) fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[test]
fn modules_are_found_in_files_in_folders_and_by_path_attributes() {
    let found = Crate::of(&[
        ("lib.rs", "mod a; mod b; mod c { mod inside; } #[path = \"elsewhere/d.rs\"] mod d; #[cfg(test)] mod tests;"),
        ("a.rs", "mod x;"),
        ("a/x.rs", ""),
        ("b/mod.rs", "mod y;"),
        ("b/y.rs", "#[cfg(all(unix, test))] mod tests { fn f() {} }"),
        ("c/inside.rs", ""),
        ("elsewhere/d.rs", ""),
        ("tests.rs", ""),
        ("forgotten.rs", ""),
        ("main.rs", ""),
    ]);
    let paths: Vec<_> = found.modules.iter().map(|module| (module.path.join("::"), module.is_test)).collect();
    let expected = ["", "a", "a::x", "b", "b::y", "b::y::tests", "c", "c::inside", "d", "tests"];
    assert_eq!(paths, expected.map(|path| (path.to_owned(), path.ends_with("tests"))));
    assert_eq!(found.strays(), [Path::new("forgotten.rs")]);
}

#[test]
fn all_files_that_a_condition_chooses_between_are_read() {
    let found = Crate::of(&[
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "#[cfg_attr(unix, path = \"one.rs\")] #[cfg_attr(not(unix), path = \"two.rs\")] mod kept;"),
        ("a/one.rs", "struct Kept;"),
        ("a/two.rs", "struct Kept;"),
    ]);
    let files: Vec<_> = found.modules.iter().map(|module| module.file.display().to_string()).collect();
    assert_eq!(files, ["lib.rs", "a/mod.rs", "a/one.rs", "a/two.rs"]);
    assert!(found.strays().is_empty());
}

#[test]
fn modules_have_the_conditions_under_which_their_files_are_chosen() {
    let found = Crate::of(&[
        ("lib.rs", "#[cfg(unix)] mod a; mod inline { mod c; }"),
        ("a.rs", "#[cfg_attr(not(feature = \"x\"), path = \"a/none.rs\")] mod b;"),
        ("a/none.rs", ""),
        ("a/b/mod.rs", "mod inner;"),
        ("a/b/inner.rs", ""),
        ("inline/c.rs", ""),
    ]);
    let of = |file: &str| {
        let module = found.modules.iter().find(|module| module.file == Path::new(file));
        module.expect("it is a module").conditions.join(", ")
    };
    assert_eq!(of("a/none.rs"), "unix, not (feature = \"x\")");
    assert_eq!(of("a/b/mod.rs"), "unix, not (not (feature = \"x\"))");
    assert_eq!(of("a/b/inner.rs"), of("a/b/mod.rs"));
    assert_eq!(of("inline/c.rs"), "");
}

#[test]
fn a_condition_that_may_hold_outside_tests_does_not_mark_a_test() {
    let item: Item = syn::parse_quote!(
        #[cfg(any(test, feature = "x"))]
        mod a {}
    );
    assert!(!is_test_only(attributes_of(&item)));
    let item: Item = syn::parse_quote!(
        #[cfg(not(test))]
        mod a {}
    );
    assert!(!is_test_only(attributes_of(&item)));
}
