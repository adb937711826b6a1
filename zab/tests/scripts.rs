//! The protocol in words: every script in `testscripts/<topic>/<claim>.script` is played on real nodes, and the
//! transcript must be the one that is written there.
//!
//! A script's name is its claim and its first line says it in a sentence. `expect` and `never` in it are written
//! from the protocol's rules; the transcript around them is compared word for word. The words that scripts use are
//! in `harness/commands.rs`. `UPDATE_GOLDENFILES=1` rewrites transcripts (never `expect`s): read the difference.

mod harness;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use harness::commands::Stage;

/// Every script, in the order of their names.
fn scripts() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts");
    let list = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).expect("the scripts can be listed");
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.expect("an entry can be read").path()).collect();
        paths.sort();
        paths
    };
    list(&root).iter().filter(|path| path.is_dir()).flat_map(|topic| list(topic)).collect()
}

/// The first difference between two texts, with its line number.
fn difference(before: &str, after: &str) -> String {
    let (mut old, mut new) = (before.lines(), after.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (old.next(), new.next()) {
            (None, None) => return "only in white space".to_owned(),
            (a, b) if a == b => {}
            (a, b) => {
                let end = "(nothing)";
                return format!("line {number}:\n  - {}\n  + {}", a.unwrap_or(end), b.unwrap_or(end));
            }
        }
    }
}

/// What is wrong with a script, if anything.
fn play(path: &Path, update: bool) -> Option<String> {
    let text = fs::read_to_string(path).expect("a script can be read");
    if !text.starts_with("# ") {
        return Some("does not begin with a sentence that says its claim".to_owned());
    }
    let result = catch_unwind(AssertUnwindSafe(|| goldenscript::generate(&mut Stage::new(), &text)));
    let played = match result {
        Ok(Ok(played)) => played,
        Ok(Err(error)) => return Some(error.to_string()),
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            return Some(format!("a node panicked: {}", words.unwrap_or_default()));
        }
    };
    if played == text {
        return None;
    }
    if update {
        fs::write(path, played).expect("a script can be written");
        return None;
    }
    Some(format!("the transcript differs at {}", difference(&text, &played)))
}

#[test]
fn every_script_is_told_as_written() {
    let update = std::env::var_os("UPDATE_GOLDENFILES").is_some_and(|value| !value.is_empty());
    let only = std::env::var("SCRIPT").unwrap_or_default();
    let all: Vec<PathBuf> =
        scripts().into_iter().filter(|path| path.to_string_lossy().contains(&only)).collect();
    assert!(!all.is_empty(), "there are scripts");
    let wrong: Vec<String> = all
        .iter()
        .filter_map(|path| play(path, update).map(|what| format!("{}: {what}", path.display())))
        .collect();
    assert!(wrong.is_empty(), "{} of {} scripts\n{}", wrong.len(), all.len(), wrong.join("\n\n"));
}
