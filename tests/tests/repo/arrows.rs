//! The allowed dependencies between crates. docs/architecture.md explains the table.

use crate::manifest::{Dependency, Member, Section, Workspace};

/// Each crate by its directory, with the crates of the workspace that it may depend on.
const ARROWS: [(&str, &[&str]); 18] = [
    ("proto", &[]),
    // Probes and planted faults, which are compiled to nothing in most builds.
    ("marks", &[]),
    ("zab", &["marks"]),
    // Commands and outcomes are messages.
    ("store", &["proto", "marks"]),
    // Requests are messages as well.
    ("node", &["zab", "store", "proto", "marks"]),
    ("codec", &["zab", "proto"]),
    ("log", &["zab", "codec", "marks"]),
    // A driver of nodes uses the types in their events and effects (docs/decisions/006).
    ("sim", &["node", "zab", "store", "codec", "log", "proto", "marks"]),
    // The client is for the console, for joining, and for the file of a backup.
    ("server", &["node", "zab", "store", "codec", "log", "proto", "client"]),
    ("client", &["proto"]),
    ("cli", &["client", "proto"]),
    ("ffi", &["client"]),
    ("python", &["client"]),
    // Its network learns from votes and messages who sent them.
    ("tests", &["client", "sim", "zab", "codec", "proto"]),
    ("testkit", &["node", "zab", "store", "log", "proto"]),
    // All parsers of external input, and the receivers of its decoded form.
    ("fuzz", &["node", "zab", "store", "codec", "log", "proto", "testkit"]),
    // Workspaces of their own.
    ("fuzz/libfuzzer", &["fuzz"]),
    ("bench", &["client"]),
];

/// Additional dependencies of tests. The tests of a storage run the simulator's storage
/// contract (docs/decisions/007).
const TEST_ARROWS: [(&str, &str); 1] = [("server", "sim")];

/// The dependencies of zab, except for tests.
const PROTOCOL_DEPENDENCIES: [&str; 2] = ["bytes", "gometa-marks"];

fn allowed(directory: &str) -> Option<&'static [&'static str]> {
    ARROWS.iter().find(|(from, _)| *from == directory).map(|(_, to)| *to)
}

/// Returns all crates that a crate depends on, also indirectly: its tests may use them.
fn reachable(directory: &str) -> Vec<&'static str> {
    let mut found: Vec<&'static str> = allowed(directory).unwrap_or_default().to_vec();
    let mut next = 0;
    while next < found.len() {
        for to in allowed(found[next]).unwrap_or_default() {
            if !found.contains(to) {
                found.push(to);
            }
        }
        next += 1;
    }
    found
}

/// Returns dependencies that are not in the table, and crates that it does not have.
///
/// Dev-dependencies may also be indirect dependencies of the crate, those of [`TEST_ARROWS`], and the testkit, which is not
/// shipped. Build scripts use no crate of the workspace.
pub(crate) fn faults(workspace: &Workspace) -> Vec<String> {
    let mut faults = Vec::new();
    for member in workspace.members.iter().chain(&workspace.excluded) {
        let from = &member.directory;
        let Some(direct) = allowed(from) else {
            faults.push(format!("{from}/ has no line in the table of arrows"));
            continue;
        };
        for Dependency { package, section, .. } in &member.dependencies {
            let Some(to) = package.strip_prefix("gometa-") else { continue };
            let fine = match section {
                Section::Normal => direct.contains(&to),
                Section::Dev => {
                    to == "testkit"
                        || reachable(from).contains(&to)
                        || TEST_ARROWS.contains(&(from.as_str(), to))
                }
                Section::Build => false,
            };
            if !fine {
                faults.push(format!("{from} ──> {to} ({section:?} dependency) is not an arrow of the table"));
            }
        }
    }
    faults
}

/// Returns forbidden dependencies of zab. Its tests may use any crate outside the workspace.
pub(crate) fn protocol_dependency_faults(zab: &Member) -> Vec<String> {
    zab.dependencies
        .iter()
        .filter(|found| {
            found.section != Section::Dev && !PROTOCOL_DEPENDENCIES.contains(&found.package.as_str())
        })
        .map(|found| format!("zab/Cargo.toml: {} ({:?} dependency)", found.package, found.section))
        .collect()
}

#[cfg(test)]
fn member(directory: &str, dependencies: &str) -> Member {
    Member::parse(directory, &format!("[package]\nname = \"gometa-{directory}\"\n{dependencies}"))
}

#[cfg(test)]
fn faults_of(directory: &str, dependencies: &str) -> Vec<String> {
    faults(&Workspace::of("", vec![member(directory, dependencies)]))
}

#[test]
fn arrows_of_the_table_are_accepted() {
    for (directory, dependencies) in [
        ("node", "[dependencies]\ngometa-zab.workspace = true\nbytes.workspace = true"),
        ("server", "[target.'cfg(unix)'.dependencies]\ngometa-client.workspace = true"),
        ("sim", "[dev-dependencies]\ngometa-store.workspace = true"),
        ("tests", "[dev-dependencies]\ngometa-zab.workspace = true"),
        ("server", "[dev-dependencies]\ngometa-sim.workspace = true"),
        ("zab", "[dev-dependencies]\ngometa-testkit.workspace = true"),
    ] {
        assert_eq!(faults_of(directory, dependencies), Vec::<String>::new(), "{directory}");
    }
}

#[test]
fn other_arrows_are_faults() {
    for (directory, dependencies) in [
        ("store", "[dependencies]\ngometa-node.workspace = true"),
        ("zab", "[dependencies]\ngometa-proto.workspace = true"),
        ("zab", "[dev-dependencies]\ngometa-proto.workspace = true"),
        ("sim", "[dependencies]\ngometa-client.workspace = true"),
        ("client", "[dev-dependencies]\ngometa-server.workspace = true"),
        ("node", "[build-dependencies]\ngometa-proto.workspace = true"),
        ("cli", "[dependencies]\nwhatever = { package = \"gometa-server\", workspace = true }"),
        ("cli", "[target.'cfg(unix)'.dependencies]\ngometa-node.workspace = true"),
        ("server", "[dependencies]\ngometa-sim.workspace = true"),
        ("node", "[dev-dependencies]\ngometa-sim.workspace = true"),
        ("node", "[dependencies]\ngometa-testkit.workspace = true"),
        ("bench", "[dependencies]\ngometa-server = { path = \"../server\" }"),
        ("shop", ""),
    ] {
        assert_eq!(faults_of(directory, dependencies).len(), 1, "{directory}: {dependencies}");
    }
}

#[test]
fn the_table_has_no_cycle_and_no_unknown_crate() {
    for (from, direct) in ARROWS {
        assert!(!reachable(from).contains(&from), "{from} reaches itself");
        assert!(direct.iter().all(|to| allowed(to).is_some()), "{from} points outside the table");
    }
    for (from, to) in TEST_ARROWS {
        assert!(allowed(from).is_some() && allowed(to).is_some(), "{from} or {to} is outside the table");
        assert!(!reachable(to).contains(&from), "the tests of {from} use what is built on it");
    }
}

#[test]
fn the_protocol_may_use_bytes_only() {
    let fine = member(
        "zab",
        "[dependencies]\nbytes.workspace = true\n[dev-dependencies]\nproptest.workspace = true",
    );
    assert_eq!(protocol_dependency_faults(&fine), Vec::<String>::new());
    for section in ["dependencies", "build-dependencies"] {
        let more = member("zab", &format!("[{section}]\nrand.workspace = true"));
        assert_eq!(protocol_dependency_faults(&more).len(), 1);
    }
}
