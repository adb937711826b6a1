//! Rules about text: lengths, forbidden places, links, the changelog.

/// The maximum lines of a source file without an exception.
const LINES_MAX: usize = 800;
/// The maximum lines of a source file of production code.
const PRODUCTION_LINES_MAX: usize = 600;
const PRODUCTION: [&str; 6] = ["zab/src/", "node/src/", "log/src/", "server/src/", "client/src/", "ffi/src/"];
/// A directory in [`PRODUCTION`] with the usual limit.
const APART: &str = "server/src/disk/";

/// Exceptions: path, maximum lines, reason. An exception that is not needed any more is a fault.
pub(crate) const LONG_FILES: &[(&str, usize, &str)] =
    &[("include/gometa.h", 1800, "generated: the reference of the library, by noun")];

fn lines_max(path: &str) -> usize {
    let production = PRODUCTION.iter().any(|start| path.starts_with(start)) && !path.starts_with(APART);
    if production { PRODUCTION_LINES_MAX } else { LINES_MAX }
}

/// Returns files over their limit, and unneeded exceptions.
pub(crate) fn length_faults(lengths: &[(&str, usize)], exceptions: &[(&str, usize, &str)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, lines) in lengths {
        let exception = exceptions.iter().find(|(excepted, _, _)| excepted == path);
        let lines_max = exception.map_or(lines_max(path), |(_, lines_max, _)| *lines_max);
        if *lines > lines_max {
            faults.push(format!("{path} has {lines} lines, {lines_max} at most"));
        }
    }
    for (path, _, why) in exceptions {
        let needed = lengths.iter().any(|(found, lines)| found == path && *lines > lines_max(path));
        if !needed {
            faults.push(format!("{path} needs no exception any more"));
        }
        if why.trim().is_empty() {
            faults.push(format!("{path} has an exception without a reason"));
        }
    }
    faults
}

/// Forbidden in every file: directories of one machine, tickets of one tracker, hosts of package registries,
/// plans that are not in the repository. Written in two halves, so that this file passes its own rule.
const PLACES: [(&str, &str); 16] = [
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("/ho", "me/"),
    ("/Us", "ers/"),
    ("issu", "e #"),
    ("issu", "es/"),
    ("index.cra", "tes.io"),
    ("static.cra", "tes.io"),
    ("crates.io", "-index"),
    ("proxy.go", "lang.org"),
    ("pypi.org/", "simple"),
    ("files.python", "hosted.org"),
    ("registry.npm", "js.org"),
    ("artif", "actory"),
    ("zab", ".md"),
    ("design", ".md"),
];

/// Returns the places of forbidden texts. Lock files name registries, and are not checked.
pub(crate) fn place_faults(path: &str, text: &str) -> Vec<String> {
    if path.ends_with(".lock") || path.ends_with("go.sum") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for place in PLACES.iter().map(|(first, second)| format!("{first}{second}")) {
            // A path counts at its beginning only: below another directory the same name is allowed.
            let found = line.match_indices(&place).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !place.starts_with('/')
                    || !before.is_some_and(|character| character.is_alphanumeric() || character == '}')
            });
            if found {
                faults.push(format!("{path}:{}: `{place}`", index + 1));
            }
        }
    }
    faults
}

/// Marks of unfinished work, in two halves as above.
const UNFINISHED: [(&str, &str); 3] = [("TO", "DO"), ("FIX", "ME"), ("XX", "X")];

/// Returns unfinished work in a source file.
pub(crate) fn unfinished_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split(|character: char| !character.is_alphanumeric() && character != '_');
        if let Some(word) =
            words.find(|word| UNFINISHED.iter().any(|(first, second)| *word == format!("{first}{second}")))
        {
            faults.push(format!("{path}:{}: `{word}`", index + 1));
        }
    }
    faults
}

/// Returns links of a Markdown file to missing files of the repository. `exists` takes paths from the root.
pub(crate) fn link_faults(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            if !resolve(directory, target).is_some_and(|target| exists(&target)) {
                faults.push(format!("{path}:{}: {link}", index + 1));
            }
        }
    }
    faults
}

/// Returns the path from the root of a `target` in a file of `directory`; `None` if it is outside the repository.
pub(crate) fn resolve(directory: &str, target: &str) -> Option<String> {
    let mut names: Vec<&str> = directory.split('/').filter(|name| !name.is_empty()).collect();
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()?),
            _ => names.push(name),
        }
    }
    Some(names.join("/"))
}

/// Returns a fault if a changelog has no section Unreleased, or its newest release is not the workspace's version.
pub(crate) fn changelog_faults(version: &str, changelog: &str) -> Vec<String> {
    let mut headings = changelog.lines().filter_map(|line| line.strip_prefix("## ["));
    let mut faults = Vec::new();
    if headings.next().is_none_or(|heading| !heading.starts_with("Unreleased]")) {
        faults.push("CHANGELOG.md: the first heading is not [Unreleased]".to_string());
    }
    if let Some(newest) = headings.next().and_then(|heading| heading.split(']').next())
        && newest != version
    {
        faults.push(format!("CHANGELOG.md: the newest release is {newest}, the workspace has {version}"));
    }
    faults
}

#[test]
fn long_files_are_faults() {
    let lengths = [("a.rs", 800), ("b.rs", 801), ("c.rs", 900)];
    assert_eq!(length_faults(&lengths[..1], &[]), Vec::<String>::new());
    assert_eq!(length_faults(&lengths[..2], &[]), ["b.rs has 801 lines, 800 at most"]);
    let production = [("zab/src/a.rs", 601), ("zab/tests/a.rs", 601), ("server/src/disk/log.rs", 601)];
    assert_eq!(length_faults(&production, &[]), ["zab/src/a.rs has 601 lines, 600 at most"]);
    let table = ("c.rs", 900, "one table");
    assert_eq!(length_faults(&lengths[2..], &[table]), Vec::<String>::new());
    assert_eq!(length_faults(&[("c.rs", 901)], &[table]).len(), 1);
    assert_eq!(length_faults(&[("c.rs", 700)], &[table]), ["c.rs needs no exception any more"]);
    assert_eq!(length_faults(&[], &[table]).len(), 1);
    assert_eq!(length_faults(&lengths[2..], &[("c.rs", 900, " ")]).len(), 1);
}

#[test]
fn places_are_faults() {
    for (first, second) in PLACES {
        let text = format!("fine\nsee {first}{second}x");
        assert_eq!(place_faults("a.md", &text), [format!("a.md:2: `{first}{second}`")]);
        assert_eq!(place_faults("Cargo.lock", &text), Vec::<String>::new());
    }
    assert_eq!(
        place_faults("a.md", "a network/rework, the root, crates.io, /srv/home/x"),
        Vec::<String>::new()
    );
}

#[test]
fn unfinished_work_is_a_fault() {
    for (first, second) in UNFINISHED {
        assert_eq!(unfinished_faults("a.rs", &format!("// {first}{second}: later")).len(), 1);
        assert_eq!(unfinished_faults("a.rs", &format!("let {first}{second}_LIST = 1;")).len(), 0);
    }
}

#[test]
fn broken_links_are_faults() {
    let exists = |path: &str| ["docs/wire.md", "README.md", "docs"].contains(&path);
    let links = "[a](wire.md) [b](../README.md#top) [c](https://example.org/x) [d](#here) [e](../docs/)";
    assert_eq!(link_faults("docs/a.md", links, exists), Vec::<String>::new());
    for bad in ["[a](wires.md)", "x\n[a](README.md)", "[a](../../README.md)"] {
        assert_eq!(link_faults("docs/a.md", bad, exists).len(), 1, "{bad}");
    }
}

#[test]
fn the_changelog_follows_the_version() {
    let text = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-01-01\n\n## [0.1.0]\n";
    assert_eq!(changelog_faults("0.2.0", text), Vec::<String>::new());
    assert_eq!(changelog_faults("0.1.0", "## [Unreleased]\n"), Vec::<String>::new());
    assert_eq!(changelog_faults("0.3.0", text).len(), 1);
    assert_eq!(changelog_faults("0.1.0", "").len(), 1);
    assert_eq!(changelog_faults("0.1.0", "## [0.1.0]").len(), 1);
}
