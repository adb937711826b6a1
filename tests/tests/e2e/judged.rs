//! The judge of `gometa-chaos` finds what is wrong: forged histories, nodes that have forgotten, disks that lie.

use gometa_tests::{chaos::self_check::self_check, random, say};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_is_found() {
    let mut random = random::of_this_run("judged");
    let cases = self_check(random.word()).await;
    let said =
        |found: &Result<String, String>| found.clone().unwrap_or_else(|seen| format!("NOT FOUND: {seen}"));
    let lines: Vec<String> =
        cases.iter().map(|case| format!("{}: {}", case.name, said(&case.found))).collect();
    say(&lines.join("\n"));
    // The honest history, the forged ones, and the old images are tried everywhere.
    assert!(cases.len() >= 10, "{} cases", cases.len());
    assert!(cases.iter().all(|case| case.found.is_ok()), "see above");
}
