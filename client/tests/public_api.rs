//! The public signatures of the crate; and the code on `docs/rust.md` and `docs/modelling.md`, which is part of the examples
//! that the tests of real processes run.
#![forbid(unsafe_code)]

use std::{
    fs,
    path::{Path, PathBuf},
};

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines without what indents them.
fn flat(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

/// The code of a page in a language, at least so many blocks, is part of these examples.
fn is_part_of(page: &str, language: &str, blocks_min: usize, examples: &[&str]) {
    let text = read(page);
    let examples = flat(&examples.iter().map(|example| read(example)).collect::<String>());
    let begin = format!("```{language}\n");
    let snippets: Vec<&str> =
        text.split(&begin).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    assert!(snippets.len() >= blocks_min, "{page}: only {} snippets found", snippets.len());
    for snippet in snippets {
        // Nothing is part of everything.
        assert!(!snippet.trim().is_empty(), "{page} has an empty block");
        assert!(examples.contains(&flat(snippet)), "in no example:\n{snippet}");
    }
}

#[test]
fn every_snippet_is_part_of_an_example() {
    is_part_of("../docs/rust.md", "rust", 6, &["examples/hello.rs", "examples/tour.rs"]);
    is_part_of("../docs/modelling.md", "rust", 8, &["examples/recipes.rs"]);
    is_part_of("../docs/modelling.md", "python", 8, &["../examples/python/recipes.py"]);
}

/// The public items of a source file: enums whole, structs without their fields, which are items if they are public,
/// functions without their body.
fn public_items(source: &str) -> impl Iterator<Item = &str> {
    source.match_indices("pub ").filter(|(at, _)| source[..*at].ends_with([' ', '\n'])).map(|(at, _)| {
        let item = &source[at..];
        let end = match item.split_whitespace().nth(1) {
            Some("enum") => item.find("\n}"),
            Some("struct") => item.find(['{', '(', ';']),
            _ => item.find(['{', ';']),
        };
        &item[..end.unwrap_or(item.len())]
    })
}

/// What a directory contains.
fn files(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).expect("it is a directory");
    files.map(|file| file.expect("it can be read").path()).collect()
}

#[test]
fn no_message_of_the_wire_is_in_the_public_api() {
    let mut items = 0;
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths: Vec<PathBuf> =
        files(&directory).into_iter().chain(files(&directory.join("backup"))).collect();
    paths.retain(|path| path.is_file());
    for path in paths {
        // Hidden: the calls of libgometa and of the Python package.
        if path.ends_with("dispatch.rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        // Names that stand for messages, besides paths through the module that is generated.
        let imported: Vec<&str> = source
            .split("v1::{")
            .skip(1)
            .filter_map(|rest| rest.split_once('}'))
            .flat_map(|(names, _)| names.split(',').filter_map(|name| name.split_whitespace().last()))
            .filter(|name| *name != "self")
            .collect();
        for item in public_items(&source) {
            items += 1;
            let mut words = item.split(|c: char| !c.is_alphanumeric() && c != '_');
            let message = words.find(|word| *word == "v1" || imported.contains(word));
            assert!(message.is_none(), "{}: {message:?} in:\n{item}", path.display());
        }
    }
    assert!(items > 100, "only {items} items found");
}
