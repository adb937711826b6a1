//! Import cycles: modules of one crate that import each other, directly or through others.
//!
//! Module A imports B if non-test code of A names something of B: in a `use`, or in a path that begins with `crate`,
//! `self`, `super`, the name of a child module or an imported name. `$crate` paths of macros do not count: they are
//! expanded elsewhere.
//!
//! A parent and its children are separate modules, so a parent that uses items of its child and defines items that this
//! child uses are a cycle. Two things are no import: `mod child;`, and a re-export (`pub use`, with any visibility) of
//! what is below the module. A name that is imported through another module counts for the module that defines it:
//! after `pub use kinds::Kind` in the parent, `super::Kind` is an import of `kinds`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    manifest::Workspace,
    source::{follows, tokens},
    tree::Tree,
};

/// A crate, and its module tree whose inner cycles are accepted: it counts as one module.
const ONE_MODULE: (&str, &str) = ("server", "disk");

/// The length of a chain of imports that leads nowhere, or into another crate.
const IMPORTS_MAX: usize = 8;

/// Tokens with their lines.
type Tokens<'a> = &'a [(usize, &'a str)];

/// The segments of a path.
type Path = Vec<String>;

/// Arrows between modules, each with an example of where it comes from.
type Arrows = BTreeMap<(String, String), String>;

#[derive(Default)]
struct Module {
    file: String,
    /// The names that it defines, except for child modules.
    items: BTreeSet<String>,
    /// The names that it imports, with the paths as written.
    imports: BTreeMap<String, Path>,
    uses: Vec<Use>,
}

/// One path in a module. The last segment of a glob import is `*`.
struct Use {
    line: usize,
    path: Path,
    exported: bool,
}

/// The modules of a crate by their paths, `""` for the root.
#[derive(Default)]
struct Modules(BTreeMap<String, Module>);

/// Returns the import cycles of all crates, each with its arrows.
pub(crate) fn faults(workspace: &Workspace, tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for member in workspace.members.iter().chain(&workspace.excluded) {
        let arrows = module_arrows(&member.directory, tree);
        for cycle in cycles(&arrows) {
            let inside = arrows.iter().filter(|((from, to), _)| cycle.contains(from) && cycle.contains(to));
            let lines = inside.map(|((from, to), place)| format!("\n    {from} -> {to}    {place}"));
            let names = cycle.join(", ");
            faults.push(format!(
                "{}: {names} import each other{}",
                member.directory,
                lines.collect::<String>()
            ));
        }
    }
    faults
}

/// Returns the sets of modules that reach each other, each in ascending order.
fn cycles(arrows: &Arrows) -> Vec<Vec<String>> {
    let reached = |from| {
        let (mut found, mut waiting) = (BTreeSet::new(), vec![from]);
        while let Some(at) = waiting.pop() {
            let next = arrows.keys().filter(|(source, _)| source == at).map(|(_, to)| to);
            waiting.extend(next.filter(|to| found.insert(*to)));
        }
        found
    };
    let reach: BTreeMap<&String, BTreeSet<&String>> =
        arrows.keys().map(|(from, _)| (from, reached(from))).collect();
    let with = |(name, others): (&&String, &BTreeSet<&String>)| -> Vec<String> {
        let both = others.iter().filter(|other| reach.get(*other).is_some_and(|back| back.contains(name)));
        both.map(|other| (*other).clone()).collect()
    };
    let sets: BTreeSet<Vec<String>> = reach.iter().map(with).filter(|set| !set.is_empty()).collect();
    sets.into_iter().collect()
}

/// Returns the imports between the modules of the crate in a directory.
fn module_arrows(directory: &str, tree: &Tree) -> Arrows {
    let mut modules = Modules::default();
    let roots = ["lib.rs", "main.rs"].map(|root| format!("{directory}/src/{root}"));
    if let Some(root) = roots.iter().find(|root| tree.has(root)) {
        modules.add(tree, "", root);
    }
    let name = |path: &str| match path.split("::").next() {
        Some("") | None => "(root)".to_owned(),
        Some(first) if (directory, first) == ONE_MODULE => first.to_owned(),
        Some(_) => path.to_owned(),
    };
    let mut arrows = Arrows::new();
    for (from, module) in &modules.0 {
        for Use { line, path, exported } in &module.uses {
            let Some(to) = modules.resolve(from, path, 0) else { continue };
            let below = from.is_empty() || to.starts_with(&format!("{from}::"));
            let (from, to) = (name(from), name(&to));
            if from != to && !(*exported && below) {
                let place = format!("{}:{line} {}", module.file, path.join("::"));
                arrows.entry((from, to)).or_insert(place);
            }
        }
    }
    arrows
}

impl Modules {
    /// Reads the module in a file, and those below it.
    fn add(&mut self, tree: &Tree, name: &str, file: &str) {
        self.scan(tree, name, file, &tokens(tree.text(file).unwrap_or_default()));
    }

    /// Reads the tokens of a module, and the modules below it.
    fn scan(&mut self, tree: &Tree, name: &str, file: &str, tokens: Tokens<'_>) {
        let mut module = Module { file: file.to_owned(), ..Module::default() };
        let (mut at, mut depth) = (0, 0);
        while let Some((line, token)) = tokens.get(at).copied() {
            let next = tokens.get(at + 1).map_or("", |(_, token)| *token);
            let before = at.checked_sub(1).map_or("", |at| tokens[at].1);
            match token {
                "#" if is_test_attribute(tokens, at) => at = after_item(tokens, after_group(tokens, at + 1)),
                "#" => at = after_group(tokens, at + if next == "!" { 2 } else { 1 }),
                "pub" if follows(tokens, at + 1, &["(", "in"]) => at = after_group(tokens, at + 1),
                "mod" if follows(tokens, at + 2, &[";"]) => {
                    let stem = file.trim_end_matches(".rs");
                    let ends = ["/lib", "/main", "/mod"];
                    let stem = ends.iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(stem);
                    let files = [format!("{stem}/{next}.rs"), format!("{stem}/{next}/mod.rs")];
                    if let Some(file) = files.iter().find(|file| tree.has(file)) {
                        self.add(tree, &join(name, next), file);
                    }
                    at += 3;
                }
                "mod" if follows(tokens, at + 2, &["{"]) => {
                    let end = after_group(tokens, at + 2);
                    self.scan(tree, &join(name, next), file, &tokens[at + 3..end - 1]);
                    at = end;
                }
                "use" if next != "<" => {
                    let exported = before == "pub" || (before == ")" && depth == 0);
                    at = use_tree(tokens, at + 1, &Path::new(), &mut |path, alias| {
                        module.imports.insert(alias.to_owned(), path.clone());
                        module.uses.push(Use { line, path, exported });
                    });
                }
                "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" if depth == 0 => {
                    module.items.insert(next.to_owned());
                    at += 1;
                }
                "{" => (depth, at) = (depth + 1, at + 1),
                "}" => (depth, at) = (depth - 1, at + 1),
                _ if next == "::" && !["::", ".", "$"].contains(&before) && is_word(token) => {
                    let mut path = vec![token.to_owned()];
                    while follows(tokens, at + 1, &["::"])
                        && tokens.get(at + 2).is_some_and(|(_, token)| is_word(token))
                    {
                        at += 2;
                        path.push(tokens[at].1.to_owned());
                    }
                    at += 1;
                    module.uses.push(Use { line, path, exported: false });
                }
                _ => at += 1,
            }
        }
        self.0.insert(name.to_owned(), module);
    }

    /// Returns the module that defines what a path names in a module, `None` if it is in another crate.
    fn resolve(&self, from: &str, path: &[String], depth: usize) -> Option<String> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            _ if depth > IMPORTS_MAX => None,
            "crate" => self.below("", rest, depth),
            "self" => self.below(from, rest, depth),
            child if child == "super" || self.0.contains_key(&join(from, child)) => {
                self.below(from, path, depth)
            }
            alias => {
                let target = self.0.get(from)?.imports.get(alias)?;
                self.resolve(from, &[target, rest].concat(), depth + 1)
            }
        }
    }

    /// The same for a path from a module.
    fn below(&self, from: &str, path: &[String], depth: usize) -> Option<String> {
        let Some((first, rest)) = path.split_first() else { return Some(from.to_owned()) };
        if first == "super" {
            return self.below(from.rsplit_once("::").map_or("", |(parent, _)| parent), rest, depth);
        }
        let (module, child) = (self.0.get(from)?, join(from, first));
        if self.0.contains_key(&child) {
            return self.below(&child, rest, depth);
        }
        if module.items.contains(first) || first == "*" {
            return Some(from.to_owned());
        }
        if let Some(target) = module.imports.get(first) {
            return self.resolve(from, target, depth + 1);
        }
        let globs = module.uses.iter().filter(|found| found.path.last().is_some_and(|last| last == "*"));
        let mut targets = globs.filter_map(|glob| self.resolve(from, &glob.path, depth + 1));
        let found =
            targets.find(|target| self.0.get(target).is_some_and(|found| found.items.contains(first)));
        Some(found.unwrap_or_else(|| from.to_owned()))
    }
}

/// Calls `found` for each path of a `use` tree with the name that it binds; returns where the tree ends.
fn use_tree(tokens: Tokens<'_>, mut at: usize, prefix: &Path, found: &mut impl FnMut(Path, &str)) -> usize {
    let mut path = prefix.clone();
    while let Some((_, token)) = tokens.get(at).copied() {
        match token {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|(_, token)| *token != "}") {
                    at = use_tree(tokens, at, &path, found);
                    at += usize::from(follows(tokens, at, &[","]));
                }
                return at + 1;
            }
            "as" => {
                let alias = tokens.get(at + 1).map_or("", |(_, token)| *token);
                found(path, alias);
                return at + 2;
            }
            ";" | "," | "}" => break,
            // The module itself, in a group.
            "self" if !path.is_empty() => at += 1,
            _ => {
                path.push(token.to_owned());
                at += 1;
            }
        }
    }
    if path.len() > prefix.len() || !prefix.is_empty() {
        let alias = path.last().cloned().unwrap_or_default();
        found(path, &alias);
    }
    at
}

fn join(parent: &str, child: &str) -> String {
    if parent.is_empty() { child.to_owned() } else { format!("{parent}::{child}") }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first == '_' || first.is_alphabetic())
}

/// Whether the attribute at `at` makes the next item one of tests.
fn is_test_attribute(tokens: Tokens<'_>, at: usize) -> bool {
    [
        &["#", "[", "test", "]"][..],
        &["#", "[", "cfg", "(", "test", ")", "]"],
        &["#", "[", "cfg", "(", "all", "(", "test"],
    ]
    .iter()
    .any(|attribute| follows(tokens, at, attribute))
}

/// Where the bracketed group ends that begins at or after `at`.
fn after_group(tokens: Tokens<'_>, mut at: usize) -> usize {
    let mut depth = 0;
    while let Some((_, token)) = tokens.get(at) {
        at += 1;
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth <= 1 => break,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
    }
    at
}

/// Where the item, field or arm ends that begins at `at`, its attributes included.
fn after_item(tokens: Tokens<'_>, mut at: usize) -> usize {
    while follows(tokens, at, &["#", "["]) {
        at = after_group(tokens, at + 1);
    }
    let words = [
        "pub", "fn", "mod", "impl", "struct", "enum", "use", "const", "static", "trait", "type", "extern",
        "async",
    ];
    let item = tokens.get(at).is_some_and(|(_, token)| words.contains(token));
    let in_use = follows(tokens, at, &["use"]) || follows(tokens, at, &["pub", "use"]);
    while let Some((_, token)) = tokens.get(at) {
        match *token {
            ";" => return at + 1,
            "," if !item => return at + 1,
            "}" => return at,
            "{" if !in_use => return after_group(tokens, at),
            "(" | "[" | "{" => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
fn arrows_of(files: &[(&str, &str)]) -> Vec<String> {
    let tree = Tree::of_files(files);
    module_arrows("shop", &tree).into_keys().map(|(from, to)| format!("{from} -> {to}")).collect()
}

#[test]
fn imports_are_found_in_uses_and_paths() {
    let root = ("shop/src/lib.rs", "mod a; mod b; pub mod c { pub struct Inner; } mod t;");
    let other = [
        ("shop/src/b.rs", "pub struct B;"),
        ("shop/src/t/mod.rs", "mod u;"),
        ("shop/src/t/u.rs", "use super::super::a;"),
    ];
    for (text, expected) in [
        ("use crate::b::B;", &["a -> b"][..]),
        ("use super::{b::{self, B as C}, c};", &["a -> b", "a -> c"]),
        ("fn f() -> crate::c::Inner { super::b::B::new() }", &["a -> b", "a -> c"]),
        ("use super::b; fn f() { b::g() }", &["a -> b"]),
        ("use std::fmt; // crate::b::B\nfn f(b: u8) -> fmt::Result { \"crate::b\" }", &[]),
        (
            "#[cfg(test)] use super::b; #[cfg(test)] mod tests { use crate::c; } #[test] fn f() { crate::b::f() }",
            &[],
        ),
        ("struct S { #[cfg(test)] b: crate::b::B, c: crate::c::Inner }", &["a -> c"]),
        ("pub(in crate::b) fn f() -> impl Iterator + use<'_> {} pub(crate) struct S;", &[]),
    ] {
        let files = [&[root, ("shop/src/a.rs", text)], &other[..]].concat();
        let expected = [expected, &["t::u -> a"]].concat();
        assert_eq!(arrows_of(&files), expected, "{text}");
    }
}

#[test]
fn imported_names_count_for_their_modules_and_reexports_of_children_for_none() {
    let files = [
        (
            "shop/src/lib.rs",
            "mod a; mod b; mod c; pub use a::A; use b::*; pub const MAX: u8 = 1; use self::c as d;",
        ),
        ("shop/src/a.rs", "pub use super::c::C; pub struct A;"),
        ("shop/src/b.rs", "use crate::A; pub struct B;"),
        ("shop/src/c.rs", "use super::{B, MAX}; pub struct C;"),
    ];
    assert_eq!(
        arrows_of(&files),
        ["(root) -> b", "(root) -> c", "a -> c", "b -> a", "c -> (root)", "c -> b"]
    );
}

#[test]
fn cycles_are_sets_that_reach_each_other() {
    let arrows = |pairs: &[(&str, &str)]| -> Arrows {
        pairs.iter().map(|(from, to)| (((*from).to_owned(), (*to).to_owned()), String::new())).collect()
    };
    assert_eq!(cycles(&arrows(&[("a", "b"), ("b", "c"), ("a", "c")])), Vec::<Vec<String>>::new());
    let found = cycles(&arrows(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("e", "f"), ("f", "e")]));
    assert_eq!(found, [vec!["a", "b", "c"], vec!["e", "f"]]);
}
