//! Replays the kept inputs of every fuzz target, and small changes to each.

use std::{
    collections::BTreeSet,
    fs, panic,
    path::{Path, PathBuf},
};

use gometa_fuzz::{TARGETS, Target};

/// All kept inputs together take at most this many bytes: they are in everybody's clone.
const BYTES_MAX: usize = 200 << 10;
/// Changes made to each kept input.
const CHANGES: u64 = 40;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The kept inputs of a target, by name.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut inputs: Vec<_> = fs::read_dir(corpus().join(target))
        .unwrap_or_else(|error| panic!("corpus/{target}: {error}"))
        .map(|found| {
            let found = found.expect("a file's name");
            let bytes = fs::read(found.path()).expect("a file that can be read");
            (found.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    inputs.sort();
    inputs
}

/// The next of a sequence of numbers that look random.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

/// Flips, sets, cuts out, doubles or appends a few bytes.
fn change(input: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = input.to_vec();
    for _ in 0..next(&mut state) % 3 + 1 {
        let at = next(&mut state) % (bytes.len() + 1);
        let length = (next(&mut state) % 8 + 1).min(bytes.len() - at);
        match next(&mut state) % 5 {
            0 if at < bytes.len() => bytes[at] ^= 1 << (next(&mut state) % 8),
            1 if at < bytes.len() => bytes[at] = next(&mut state) as u8,
            2 => drop(bytes.drain(at..at + length)),
            3 => bytes.extend_from_within(at..at + length),
            _ => bytes.insert(at, next(&mut state) as u8),
        }
    }
    bytes
}

/// Feeds a target one input; where it panics, says with which.
fn feed(name: &str, target: Target, input: &str, bytes: &[u8]) {
    if let Err(cause) = panic::catch_unwind(|| target(bytes)) {
        panic!("{name} on {input}: {:?} in {bytes:02x?}", cause.downcast_ref::<String>());
    }
}

#[test]
fn every_kept_input_is_withstood_and_so_are_small_changes_to_it() {
    for (name, target) in TARGETS {
        feed(name, target, "nothing", &[]);
        for (input, bytes) in inputs(name) {
            feed(name, target, &input, &bytes);
            for seed in 1..=CHANGES {
                feed(name, target, &format!("{input} changed by {seed}"), &change(&bytes, seed));
            }
        }
    }
}

#[test]
fn every_target_has_a_small_corpus_and_every_corpus_a_target() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| name.to_string()).collect();
    let kept: BTreeSet<String> = fs::read_dir(corpus())
        .unwrap()
        .map(|found| found.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(kept, names);
    let mut bytes = 0;
    for name in &names {
        let inputs = inputs(name);
        assert!(inputs.len() >= 5, "corpus/{name} has {} inputs", inputs.len());
        bytes += inputs.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    }
    assert!(bytes <= BYTES_MAX, "{bytes} bytes are kept");
}

/// The protocol's target is worth what it reaches.
#[test]
fn the_changed_inputs_of_the_protocol_reach_deep_states() {
    let mut depth = [0; 4];
    for (_, bytes) in inputs("protocol") {
        for seed in 1..=CHANGES {
            for (sum, own) in depth.iter_mut().zip(gometa_fuzz::reached(&change(&bytes, seed))) {
                *sum += own;
            }
        }
    }
    let [established, welcomed, synchronised, applied] = depth;
    assert!(
        depth.iter().all(|count| *count >= 20),
        "established {established}, welcomed a follower {welcomed}, synchronised {synchronised}, applied {applied}"
    );
}

#[test]
fn every_target_has_a_fuzzer() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is no target of libfuzzer/");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("libfuzzer/targets/{name}.rs"));
        assert!(fs::read_to_string(source).unwrap().contains(&format!("gometa_fuzz::{name}(data)")));
    }
}
