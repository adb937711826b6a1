//! The faults that the simulator plants, to see whether it would notice, and the probes by which it sees where it has
//! been, are in no program that anybody runs.

use std::{fs, path::Path};

use gometa_tests::program::program;

/// What each program with planted faults or probes contains: `MARKER` in each file. In two halves, for this test would
/// otherwise find itself.
const MARKERS: [(&str, &str, &str); 2] = [
    ("zab/src/mutant.rs", "this program has ", "gometa mutants!"),
    ("zab/src/probe.rs", "this program has ", "gometa probes!!"),
];

/// Whether the bytes hold these.
fn contains(bytes: &[u8], sought: &[u8]) -> bool {
    bytes.windows(sought.len()).any(|window| window == sought)
}

#[test]
fn no_program_has_planted_faults_or_probes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut traces = Vec::new();
    for (file, one, other) in MARKERS {
        let marker = [one, other].concat();
        let source = fs::read_to_string(root.join(file)).unwrap();
        assert!(source.contains(&marker), "{file} has another marker");
        traces.push(marker);
    }
    // Nor any probe's name.
    let source = fs::read_to_string(root.join("zab/src/probe.rs")).unwrap();
    let table = source.lines().skip_while(|line| !line.contains("PROBES: &[&str] = &[")).skip(1);
    let names = table.take_while(|line| *line != "    ];").map(|line| line.trim().trim_matches(['"', ',']));
    traces.extend(names.map(str::to_owned));
    assert!(traces.len() >= 62, "{traces:?}");
    for name in ["gometa-server", "gometa", "gometa-sim"] {
        let bytes = fs::read(program(name)).unwrap();
        assert!(contains(&bytes, b"gometa"), "{name} is no program of ours");
        for trace in &traces {
            assert!(!contains(&bytes, trace.as_bytes()), "{name} has planted faults or probes: {trace}");
        }
    }
}
