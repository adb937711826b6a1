//! The Cargo manifests, and the rule that they inherit from the workspace.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::tree::Tree;

/// The kind of a dependency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Section {
    Normal,
    Dev,
    Build,
}

impl Section {
    const ALL: [(Section, &'static str); 3] = [
        (Section::Normal, "dependencies"),
        (Section::Dev, "dev-dependencies"),
        (Section::Build, "build-dependencies"),
    ];
}

/// One declared dependency.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Dependency {
    /// The name of the package, also if the dependency is renamed.
    pub(crate) package: String,
    pub(crate) section: Section,
    inherited: bool,
    optional: bool,
}

/// One crate of the workspace.
pub(crate) struct Member {
    /// Its directory, which is its name in the table of arrows.
    pub(crate) directory: String,
    /// Its package name.
    pub(crate) package: String,
    pub(crate) dependencies: Vec<Dependency>,
    manifest: Table,
}

/// The parsed manifests.
pub(crate) struct Workspace {
    pub(crate) version: String,
    pub(crate) members: Vec<Member>,
    /// The crates that are workspaces of their own.
    pub(crate) excluded: Vec<Member>,
}

impl Workspace {
    /// Reads the root manifest and every member's. A manifest that cannot be parsed fails the test.
    pub(crate) fn read(tree: &Tree) -> Workspace {
        let root = table(tree, "Cargo.toml");
        let workspace = &root["workspace"];
        let version =
            workspace["package"]["version"].as_str().expect("the workspace has a version").to_string();
        let read = |key: &str| -> Vec<Member> {
            let directories = workspace.get(key).and_then(Value::as_array).into_iter().flatten();
            directories
                .map(|directory| directory.as_str().expect("members are directories"))
                .map(|directory| Member::read(directory, table(tree, &format!("{directory}/Cargo.toml"))))
                .collect()
        };
        let (members, excluded) = (read("members"), read("exclude"));
        assert!(!members.is_empty(), "the workspace has members");
        Workspace { version, members, excluded }
    }

    #[cfg(test)]
    pub(crate) fn of(version: &str, members: Vec<Member>) -> Workspace {
        Workspace { version: version.to_string(), members, excluded: Vec::new() }
    }

    /// Returns the member in a directory.
    pub(crate) fn member(&self, directory: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.directory == directory)
    }
}

impl Member {
    fn read(directory: &str, manifest: Table) -> Member {
        let package = manifest["package"]["name"].as_str().expect("packages have names").to_string();
        let mut dependencies = dependencies(&manifest);
        for target in manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values) {
            dependencies.extend(target.as_table().map(self::dependencies).unwrap_or_default());
        }
        Member { directory: directory.to_string(), package, dependencies, manifest }
    }

    #[cfg(test)]
    pub(crate) fn parse(directory: &str, manifest: &str) -> Member {
        Member::read(directory, manifest.parse().expect("valid TOML"))
    }
}

fn table(tree: &Tree, path: &str) -> Table {
    let text = tree.text(path).unwrap_or_else(|| panic!("{path} is missing"));
    text.parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn dependencies(table: &Table) -> Vec<Dependency> {
    let mut found = Vec::new();
    for (section, key) in Section::ALL {
        for (name, value) in table.get(key).and_then(Value::as_table).into_iter().flatten() {
            let package = value.get("package").and_then(Value::as_str).unwrap_or(name).to_string();
            let optional = value.get("optional").and_then(Value::as_bool) == Some(true);
            found.push(Dependency { package, section, inherited: inherits(Some(value)), optional });
        }
    }
    found
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
}

/// Returns what a member should inherit and does not.
pub(crate) fn member_faults(member: &Member) -> Vec<String> {
    let mut faults = Vec::new();
    let directory = &member.directory;
    if !inherits(member.manifest.get("lints")) {
        faults.push(format!("{directory}/Cargo.toml: [lints] does not say `workspace = true`"));
    }
    for key in ["version", "edition", "rust-version", "license", "publish"] {
        if !inherits(member.manifest["package"].get(key)) {
            faults.push(format!("{directory}/Cargo.toml: `{key}` is not inherited from the workspace"));
        }
    }
    if member.package != format!("gometa-{directory}") {
        faults.push(format!("{directory}/Cargo.toml: the package is called {}", member.package));
    }
    for dependency in member.dependencies.iter().filter(|dependency| !dependency.inherited) {
        faults.push(format!(
            "{directory}/Cargo.toml: {} is not inherited; versions stand in the root manifest",
            dependency.package
        ));
    }
    if member.manifest.contains_key("profile") {
        faults.push(format!("{directory}/Cargo.toml: there is one profile, in the root manifest"));
    }
    faults
}

/// Returns manifests that the workspace neither lists nor excludes.
pub(crate) fn listing_faults(workspace: &Workspace, tree: &Tree) -> Vec<String> {
    tree.ending(&["/Cargo.toml"])
        .filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"))
        .filter(|directory| {
            workspace.member(directory).is_none()
                && !workspace.excluded.iter().any(|excluded| excluded.directory == *directory)
        })
        .map(|directory| format!("{directory}/Cargo.toml is not listed in the workspace"))
        .collect()
}

/// Returns locked versions of our own crates that differ from the workspace's.
pub(crate) fn lock_faults(workspace: &Workspace, lock: &str) -> Vec<String> {
    let lock: Table = lock.parse().expect("Cargo.lock is TOML");
    let locked = lock["package"].as_array().expect("Cargo.lock lists packages");
    let version_of = |name: &str| {
        let found = locked.iter().find(|locked| locked.get("name").and_then(Value::as_str) == Some(name));
        found.and_then(|locked| locked.get("version")).and_then(Value::as_str)
    };
    workspace
        .members
        .iter()
        .filter_map(|member| match version_of(&member.package) {
            Some(version) if version == workspace.version => None,
            Some(version) => {
                Some(format!("Cargo.lock has {} {version}, not {}", member.package, workspace.version))
            }
            None => {
                Some(format!("Cargo.lock does not have {}: run cargo build and commit it", member.package))
            }
        })
        .collect()
}

/// Returns crates of the workspace that the lock file of an excluded workspace describes otherwise than their manifests:
/// such a lock file is refused by `cargo --locked`.
pub(crate) fn excluded_lock_faults(workspace: &Workspace, path: &str, lock: &str) -> Vec<String> {
    let lock: Table = lock.parse().expect("Cargo.lock is TOML");
    let mut faults = Vec::new();
    for locked in lock["package"].as_array().expect("Cargo.lock lists packages") {
        let name = locked.get("name").and_then(Value::as_str).unwrap_or_default();
        let Some(member) = workspace.members.iter().find(|member| member.package == name) else { continue };
        let listed = locked.get("dependencies").and_then(Value::as_array).into_iter().flatten();
        // Where there are several versions of a crate, its version follows the name.
        let listed: BTreeSet<_> =
            listed.filter_map(|dependency| dependency.as_str()?.split(' ').next()).collect();
        // An optional dependency is listed only where it is used.
        let fits = |declared: &Dependency| {
            declared.section == Section::Dev || declared.optional || listed.contains(&*declared.package)
        };
        let known = |name: &str| member.dependencies.iter().any(|declared| declared.package == name);
        let same_version = locked.get("version").and_then(Value::as_str) == Some(&workspace.version);
        let same_dependencies = member.dependencies.iter().all(fits) && listed.iter().all(|name| known(name));
        if !same_version || !same_dependencies {
            faults
                .push(format!("{path} does not fit {name}: run `cargo update --workspace` in its directory"));
        }
    }
    faults
}

#[cfg(test)]
const GOOD: &str = r#"
    [package]
    name = "gometa-store"
    version.workspace = true
    edition.workspace = true
    rust-version.workspace = true
    license.workspace = true
    publish.workspace = true
    [lints]
    workspace = true
    [dependencies]
    bytes.workspace = true
    wire = { package = "gometa-proto", workspace = true }
    [target.'cfg(unix)'.dev-dependencies]
    rustix = { workspace = true, features = ["net"] }
"#;

#[test]
fn an_inheriting_manifest_is_accepted() {
    let member = Member::parse("store", GOOD);
    assert_eq!(member_faults(&member), Vec::<String>::new());
    let declared: Vec<_> =
        member.dependencies.iter().map(|found| (found.package.as_str(), found.section)).collect();
    assert_eq!(
        declared,
        [("bytes", Section::Normal), ("gometa-proto", Section::Normal), ("rustix", Section::Dev)]
    );
}

#[test]
fn each_missing_inheritance_is_a_fault() {
    for (good, bad, word) in [
        ("[lints]\n    workspace = true", "", "[lints]"),
        ("version.workspace = true", "version = \"0.1.0\"", "`version`"),
        ("publish.workspace = true", "", "`publish`"),
        ("bytes.workspace = true", "bytes = \"1\"", "bytes is not inherited"),
        ("rustix = { workspace = true,", "rustix = { version = \"1\",", "rustix is not inherited"),
        ("gometa-store", "gometa-shop", "gometa-shop"),
        ("[lints]", "[profile.dev]\n[lints]", "profile"),
    ] {
        let faults = member_faults(&Member::parse("store", &GOOD.replacen(good, bad, 1)));
        assert!(faults.len() == 1 && faults[0].contains(word), "{good} → {bad}: {faults:?}");
    }
}

#[test]
fn unlisted_manifests_and_odd_versions_are_faults() {
    let tree = Tree::of_files(&[("store/Cargo.toml", ""), ("shop/Cargo.toml", "")]);
    let workspace = Workspace::of("0.2.0", vec![Member::parse("store", GOOD)]);
    assert_eq!(listing_faults(&workspace, &tree), ["shop/Cargo.toml is not listed in the workspace"]);
    let lock = |version: &str| format!("[[package]]\nname = \"gometa-store\"\nversion = \"{version}\"\n");
    assert_eq!(lock_faults(&workspace, &lock("0.2.0")), Vec::<String>::new());
    assert_eq!(lock_faults(&workspace, &lock("0.1.0")).len(), 1);
    assert_eq!(lock_faults(&workspace, "package = []").len(), 1);
}

#[test]
fn lock_files_of_excluded_workspaces_follow_the_manifests() {
    let workspace = Workspace::of("0.2.0", vec![Member::parse("store", GOOD)]);
    let faults = |version: &str, dependencies: &str| {
        let package =
            format!("name = \"gometa-store\"\nversion = \"{version}\"\ndependencies = [{dependencies}]");
        excluded_lock_faults(&workspace, "bench/Cargo.lock", &format!("[[package]]\n{package}\n")).len()
    };
    assert_eq!(faults("0.2.0", "\"bytes 1.0.0\", \"gometa-proto\""), 0);
    assert_eq!(faults("0.2.0", "\"bytes\""), 1);
    assert_eq!(faults("0.2.0", "\"bytes\", \"gometa-proto\", \"rand\""), 1);
    assert_eq!(faults("0.1.0", "\"bytes\", \"gometa-proto\""), 1);
}
