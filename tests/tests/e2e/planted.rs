//! The faults that the simulator plants, to see whether it would notice, are in no program that anybody runs.

use std::{fs, path::Path};

use gometa_tests::program::program;

/// What each program with planted faults contains: `MARKER` in `zab/src/mutant.rs`. In two halves, for this test
/// would otherwise find itself.
const MARKER: (&str, &str) = ("this program has ", "gometa mutants!");

/// Whether the bytes hold these.
fn contains(bytes: &[u8], sought: &[u8]) -> bool {
    bytes.windows(sought.len()).any(|window| window == sought)
}

#[test]
fn no_program_has_planted_faults() {
    let marker = [MARKER.0, MARKER.1].concat();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = fs::read_to_string(root.join("zab/src/mutant.rs")).unwrap();
    assert!(source.contains(&marker), "zab/src/mutant.rs has another marker");
    for name in ["gometa-server", "gometa", "gometa-sim"] {
        let bytes = fs::read(program(name)).unwrap();
        assert!(contains(&bytes, b"gometa"), "{name} is no program of ours");
        assert!(!contains(&bytes, marker.as_bytes()), "{name} has planted faults");
    }
}
