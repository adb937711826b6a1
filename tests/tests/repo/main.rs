//! The repository's own rules: dependencies between crates and modules, manifests, lengths and contents of files.
//!
//! Each rule is a pure function from texts to a list of faults, one line each, with tests on small good and
//! bad inputs; the tests in this file apply them to the repository. Nothing here runs cargo, git or
//! the network.

mod arrows;
mod cycles;
mod makefile;
mod manifest;
mod proto;
mod source;
mod text;
mod tree;

use manifest::Workspace;
use tree::Tree;

/// Fails with the list of all faults.
fn assert_none(rule: &str, faults: Vec<String>) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

/// Applies a rule to every file with one of these endings.
fn each_file(endings: &[&str], rule: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    let tree = Tree::of_this_repository();
    let mut checked = 0;
    let mut faults = Vec::new();
    for (path, text) in tree.ending(endings) {
        checked += 1;
        faults.extend(rule(path, text));
    }
    assert!(checked > 0, "no file ends in {endings:?}: the rule checks nothing");
    faults
}

#[test]
fn arrows_between_crates_point_one_way() {
    let workspace = Workspace::read(&Tree::of_this_repository());
    assert_none("see docs/architecture.md", arrows::faults(&workspace));
}

#[test]
fn modules_do_not_import_each_other() {
    let tree = Tree::of_this_repository();
    assert_none("see tests/tests/repo/cycles.rs", cycles::faults(&Workspace::read(&tree), &tree));
}

#[test]
fn the_protocol_depends_on_bytes_alone_and_has_no_std() {
    let tree = Tree::of_this_repository();
    let workspace = Workspace::read(&tree);
    let zab = workspace.member("zab").expect("the workspace has a member zab");
    let mut faults = arrows::protocol_dependency_faults(zab);
    for (path, text) in tree.ending(&[".rs"]).filter(|(path, _)| path.starts_with("zab/src/")) {
        faults.extend(source::std_faults(path, text));
    }
    assert_none("zab/ is no_std and depends on bytes alone", faults);
}

#[test]
fn manifests_inherit_lints_versions_and_dependencies() {
    let tree = Tree::of_this_repository();
    let workspace = Workspace::read(&tree);
    let mut faults: Vec<String> = workspace.members.iter().flat_map(manifest::member_faults).collect();
    faults.extend(manifest::listing_faults(&workspace, &tree));
    assert_none("see the root Cargo.toml", faults);
}

#[test]
fn every_crate_has_the_workspaces_version() {
    let tree = Tree::of_this_repository();
    let workspace = Workspace::read(&tree);
    let lock = tree.text("Cargo.lock").expect("Cargo.lock is committed");
    let changelog = tree.text("CHANGELOG.md").expect("there is a CHANGELOG.md");
    let mut faults = manifest::lock_faults(&workspace, lock);
    for excluded in &workspace.excluded {
        let path = format!("{}/Cargo.lock", excluded.directory);
        let lock = tree.text(&path).unwrap_or_else(|| panic!("{path} is committed"));
        faults.extend(manifest::excluded_lock_faults(&workspace, &path, lock));
    }
    faults.extend(text::changelog_faults(&workspace.version, changelog));
    assert_none("one version everywhere", faults);
}

#[test]
fn crate_roots_forbid_unsafe_code() {
    let is_root = |path: &str| {
        let inside = path.split_once('/').map_or("", |(_, inside)| inside);
        // The macros of pyo3 expand to unsafe code; the workspace's lints deny it elsewhere.
        !path.starts_with("ffi/")
            && !path.starts_with("python/")
            && (inside == "src/lib.rs" || inside == "src/main.rs" || inside.starts_with("src/bin/"))
    };
    let rule =
        |path: &str, text: &str| if is_root(path) { source::root_faults(path, text) } else { Vec::new() };
    assert_none("each crate root says so itself", each_file(&[".rs"], rule));
}

#[test]
fn crates_do_not_include_each_others_files() {
    assert_none("a file belongs to one crate", each_file(&[".rs"], source::path_faults));
}

#[test]
fn files_stay_readable() {
    let tree = Tree::of_this_repository();
    let lengths: Vec<(&str, usize)> = tree
        .ending(&[".rs", ".py", ".sh", ".go", ".c", ".h", ".proto", "Makefile"])
        .map(|(path, text)| (path, text.lines().count()))
        .collect();
    assert!(lengths.len() > 20, "only {} source files found", lengths.len());
    assert_none("see tests/tests/repo/text.rs", text::length_faults(&lengths, text::LONG_FILES));
}

#[test]
fn nothing_speaks_of_one_machine_or_tracker() {
    assert_none("a clone must make sense anywhere", each_file(&[""], text::place_faults));
}

#[test]
fn nothing_is_left_unfinished() {
    assert_none(
        "finish it, or describe it in a document as planned",
        each_file(&[".rs", ".py", ".sh", ".proto", "Makefile"], text::unfinished_faults),
    );
}

#[test]
fn client_and_server_know_the_same_keys_of_a_configuration_file() {
    let tree = Tree::of_this_repository();
    let keys = |path: &str, list: &str| -> Vec<String> {
        let text = tree.text(path).unwrap_or_else(|| panic!("{path} is there"));
        let (_, rest) = text.split_once(list).unwrap_or_else(|| panic!("{list} is not in {path}"));
        let list = rest.split_once(']').map_or("", |(list, _)| list);
        list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let (server, client) = ("server/src/config/sections.rs", "client/src/peers.rs");
    let document = "\"the configuration\";\n    const KEYS: &'static [&'static str] = &[";
    let known = keys(server, document);
    assert!(known.contains(&"DataDir".to_owned()), "{known:?}");
    assert_eq!(known, keys(client, "const FILE_KEYS: &[&str] = &["));
    let host = "const ADDRESSES_AND_ID: &[&str] = &[";
    assert_eq!(keys(server, host), keys(client, "const NODE_KEYS: &[&str] = &["));
}

#[test]
fn the_documented_errors_are_those_of_the_schema() {
    let tree = Tree::of_this_repository();
    let schema = tree.text("proto/gometa/v1/error.proto").expect("the schema of errors is there");
    let document = tree.text("docs/wire.md").expect("docs/wire.md is there");
    assert_none("docs/wire.md and error.proto", proto::error_table_faults(schema, document));
}

#[test]
fn links_between_documents_lead_somewhere() {
    let tree = Tree::of_this_repository();
    let rule = |path: &str, text: &str| text::link_faults(path, text, |target| tree.has(target));
    assert_none("broken links", each_file(&[".md"], rule));
}
