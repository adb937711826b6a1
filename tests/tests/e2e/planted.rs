//! No normal program contains probes or planted faults.

use std::fs;

use gometa_marks::{MARKER, PROBES};
use gometa_tests::program::program;

/// Whether the bytes contain this sequence.
fn contains(bytes: &[u8], sought: &[u8]) -> bool {
    bytes.windows(sought.len()).any(|window| window == sought)
}

#[test]
fn no_program_has_planted_faults_or_probes() {
    for name in ["gometa-server", "gometa", "gometa-sim"] {
        let bytes = fs::read(program(name)).unwrap();
        assert!(contains(&bytes, b"gometa"), "{name} is not a gometa program");
        assert!(!contains(&bytes, &MARKER), "{name} is instrumented");
        for (probe, _) in PROBES {
            assert!(!contains(&bytes, probe.as_bytes()), "{name} contains the probe {probe}");
        }
    }
}
