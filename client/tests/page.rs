//! What `docs/rust.md` shows is taken, line by line, from the examples, which the tests of real processes run.
#![forbid(unsafe_code)]

use std::{fs, path::PathBuf};

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines without what indents them.
fn flat(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_snippet_is_part_of_an_example() {
    let page = read("../docs/rust.md");
    let examples = flat(&[read("examples/hello.rs"), read("examples/tour.rs")].concat());
    let snippets: Vec<&str> =
        page.split("```rust\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    assert!(snippets.len() > 5, "only {} snippets found", snippets.len());
    for snippet in snippets {
        // Nothing is part of everything.
        assert!(!snippet.trim().is_empty(), "docs/rust.md has an empty block");
        assert!(examples.contains(&flat(snippet)), "in no example:\n{snippet}");
    }
}
