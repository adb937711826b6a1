//! Golden scripts of whole ensembles: every `testscripts/<topic>/<claim>.script` is run on nodes with encoded messages,
//! the simulator's disks and its oracle, and the transcript must equal the one in the file.
//!
//! A script's name is its claim and its first line states it in a sentence. `expect` and `never` in it are written
//! from the protocol's rules; the transcript is compared word for word. The commands of scripts are in
//! `testkit/src/script.rs` and `harness/commands.rs`.

mod harness;

use harness::garbage::{self, Kind};

#[test]
fn every_script_produces_its_recorded_transcript() {
    gometa_testkit::script::check_scripts::<harness::ensemble::Nodes>(env!("CARGO_MANIFEST_DIR"));
}

#[test]
fn garbage_is_determined_by_its_seed_and_only_replays_and_forgeries_decode_as_votes() {
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
        configuration: Zxid::ZERO,
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
                        assert!(
                            !passes.as_ref().is_ok_and(member),
                            "random fields name no member: {passes:?}"
                        );
                    }
                    Kind::Replayed | Kind::MaximalRound => {
                        assert!(passes.is_ok(), "{kind:?} from seed {seed}: {passes:?}");
                    }
                }
            }
        }
    }
}
