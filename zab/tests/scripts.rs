//! The protocol in words: every script in `testscripts/<topic>/<claim>.script` is run on real `Zab`s, and the transcript
//! must be the one in the file.
//!
//! A script's name is its claim and its first line states it in a sentence. `expect` and `never` in it are written
//! from the protocol's rules; the transcript is compared word for word. The commands of scripts are in
//! `testkit/src/script.rs` and `harness/commands.rs`.

mod harness;

#[test]
fn every_script_has_the_transcript_that_is_written_in_it() {
    gometa_testkit::script::check_scripts::<harness::Zabs>(env!("CARGO_MANIFEST_DIR"));
}
