//! The checks of `gometa-chaos` find violations: forged histories, lost data, dropped syncs.

use gometa_tests::{chaos::self_check::self_check, random, say};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_violation_is_found() {
    let mut random = random::of_this_run("self_check");
    let cases = self_check(random.word()).await;
    let said =
        |found: &Result<String, String>| found.clone().unwrap_or_else(|seen| format!("NOT FOUND: {seen}"));
    let lines: Vec<String> =
        cases.iter().map(|case| format!("{}: {}", case.name, said(&case.found))).collect();
    say(&lines.join("\n"));
    // The unchanged history, the forged ones and the old images are checked on every machine.
    assert!(cases.len() >= 10, "{} cases", cases.len());
    assert!(cases.iter().all(|case| case.found.is_ok()), "see above");
}
