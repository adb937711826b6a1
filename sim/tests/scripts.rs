//! Whole ensembles in words: every script in `testscripts/<topic>/<claim>.script` is played on real nodes, with
//! real bytes between them and the simulator's disks and oracle under them, and the transcript must be the one
//! that is written there.
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

use harness::{
    commands::Stage,
    garbage::{self, Kind},
};

/// Every script, in the order of their names.
fn scripts() -> Vec<PathBuf> {
    fn list(path: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(path).expect("the scripts can be listed");
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.expect("an entry can be read").path()).collect();
        paths.sort();
        paths
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts");
    list(&root).iter().filter(|path| path.is_dir()).flat_map(|topic| list(topic)).collect()
}

/// The first line in which two texts differ.
fn difference(before: &str, after: &str) -> String {
    let end = "(nothing)";
    let lines = before.lines().count().max(after.lines().count());
    let line = |text: &str, number: usize| text.lines().nth(number).unwrap_or(end).to_owned();
    (0..lines).find(|number| line(before, *number) != line(after, *number)).map_or_else(
        || "white space".to_owned(),
        |number| format!("line {}:\n  - {}\n  + {}", number + 1, line(before, number), line(after, number)),
    )
}

/// Plays a script: the script with its transcript, and everything that was said, hidden lines included.
fn play(text: &str) -> Result<(String, Vec<String>), String> {
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut stage = Stage::new();
        let played = goldenscript::generate(&mut stage, text);
        played.map(|played| (played, stage.transcript().to_vec()))
    }));
    match result {
        Ok(played) => played.map_err(|error| error.to_string()),
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            Err(format!("panicked: {}", words.unwrap_or_default()))
        }
    }
}

/// What is wrong with a script, if anything.
fn fault(path: &Path, update: bool) -> Result<(), String> {
    let text = fs::read_to_string(path).expect("a script can be read");
    if !text.starts_with("# ") {
        return Err("does not begin with a sentence that says its claim".to_owned());
    }
    let (played, said) = play(&text)?;
    if update && played != text {
        fs::write(path, &played).expect("a script can be written");
    } else if played != text {
        return Err(format!("the transcript differs at {}", difference(&text, &played)));
    }
    // The same script is the same play, down to every vote and heartbeat.
    let (_, again) = play(&played)?;
    match said == again {
        true => Ok(()),
        false => Err(format!("a second play differs at {}", difference(&said.join("\n"), &again.join("\n")))),
    }
}

#[test]
fn every_script_is_told_as_written_and_twice_the_same() {
    let update = std::env::var_os("UPDATE_GOLDENFILES").is_some_and(|value| !value.is_empty());
    let only = std::env::var("SCRIPT").unwrap_or_default();
    let all: Vec<PathBuf> =
        scripts().into_iter().filter(|path| path.to_string_lossy().contains(&only)).collect();
    assert!(!all.is_empty(), "there are scripts");
    let wrong: Vec<String> = all
        .iter()
        .filter_map(|path| fault(path, update).err().map(|what| format!("{}: {what}", path.display())))
        .collect();
    assert!(wrong.is_empty(), "{} of {} scripts\n{}", wrong.len(), all.len(), wrong.join("\n\n"));
}

#[test]
fn garbage_is_a_function_of_its_seed_and_only_replays_and_forgeries_pass_for_votes() {
    use gometa_sim::random::{Random, Stream};
    use gometa_zab::{Candidate, EnsembleId, Epoch, Incarnation, NodeId, Round, Vote, VoteState, Zxid};

    let vote = |sender: u64| Vote {
        ensemble: Some(EnsembleId { id: 0xA11, history: 1 }),
        sender: NodeId(sender),
        incarnation: Incarnation(u128::from(sender)),
        boot: 3,
        sequence: 40,
        state: VoteState::Looking,
        round: Round(7),
        candidate: Candidate { epoch: Epoch(2), last: Zxid::new(2, 9), node: NodeId(sender) },
        established: None,
        config_version: 0,
    };
    let genuine: Vec<bytes::Bytes> =
        (1..=3).map(|sender| gometa_codec::vote::encode(&vote(sender))).collect();
    for seed in 0..50 {
        for kind in [
            Kind::Random,
            Kind::Resized,
            Kind::Flipped,
            Kind::Huge,
            Kind::Nonsense,
            Kind::Replayed,
            Kind::ImpossibleRound,
            Kind::MaximalRound,
        ] {
            let all = |seed| -> Vec<bytes::Bytes> {
                let mut random = Random::new(seed, Stream::Network);
                (0..100)
                    .map(|_| garbage::make(kind, &mut random, &genuine).expect("there are votes"))
                    .collect()
            };
            let made = all(seed);
            assert_eq!(made, all(seed), "{kind:?} is a function of its seed");
            assert_ne!(made, all(seed + 1_000), "{kind:?} varies");
            for bytes in made {
                let passes = gometa_codec::vote::decode(&bytes);
                match kind {
                    Kind::Random | Kind::Resized | Kind::Flipped | Kind::Huge | Kind::ImpossibleRound => {
                        assert!(passes.is_err(), "{kind:?} from seed {seed} passes: {passes:?}");
                    }
                    Kind::Nonsense => {
                        let member = |vote: &Vote| vote.incarnation.0 <= 3;
                        assert!(!passes.as_ref().is_ok_and(member), "nonsense is no member's: {passes:?}");
                    }
                    Kind::Replayed | Kind::MaximalRound => {
                        assert!(passes.is_ok(), "{kind:?} from seed {seed}: {passes:?}");
                    }
                }
            }
        }
    }
}
