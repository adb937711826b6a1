//! The Makefile's variables: an empty value counts as not set, and an invalid one is an error that names
//! the variable.

use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs a command in the root of the repository.
fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's directory");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root).env("PYTHONDONTWRITEBYTECODE", "1");
    // Independent of a make that may run this test.
    command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let Output { status, stdout, stderr } =
        command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (status.success(), text)
}

#[test]
fn invalid_values_are_errors_that_name_the_variable() {
    for (target, variable, script, flag, values) in [
        ("sim", "SEEDS", "suite.py", "--seeds", &["x", "0", "-1", "1e3"][..]),
        ("chaos", "SECONDS", "suite.py", "--seconds", &["0", "1m"]),
        ("fuzz", "SECONDS", "fuzz.py", "--seconds", &["0", "x"]),
        ("soak", "HOURS", "suite.py", "--hours", &["0", "nan", "inf", "eight"]),
        ("campaign", "COUNTS", "suite.py", "--counts", &["kill", "kill=", "kill=3,,pause=1"]),
        ("failover", "KILLS", "suite.py", "--kills", &["many"]),
        ("exactly-once", "INCREMENTS", "suite.py", "--increments", &["1.5"]),
        ("short-lived", "CLIENTS", "suite.py", "--clients", &["0", "many"]),
    ] {
        let (done, commands) = run("make", &["-n", target, &format!("{variable}=")]);
        assert!(
            done && !commands.contains(&format!("{flag} \"\"")),
            "{variable}= is not the default: {commands}"
        );
        for value in values {
            // The script gets the value unchanged.
            let (done, commands) = run("make", &["-n", target, &format!("{variable}={value}")]);
            assert!(
                done && commands.contains(&format!("{flag} \"{value}\"")),
                "{variable}={value}: {commands}"
            );
            let argument = format!("{flag}={value}");
            let (done, said) = run("python3", &[&format!("scripts/{script}"), &argument, "format"]);
            assert!(
                !done && said.contains(&format!("{variable} is ")) && said.contains("expected"),
                "{variable}={value}: {said}"
            );
        }
    }
    let (done, said) = run("make", &["-n", "run", "KEEP=maybe"]);
    assert!(!done && said.contains("KEEP is \"maybe\": expected 1 or 0"), "{said}");
    for (value, kept) in [("", false), ("0", false), ("no", false), ("1", true), ("yes", true)] {
        let (done, commands) = run("make", &["-n", "run", &format!("KEEP={value}")]);
        assert_eq!((done, commands.contains("--keep")), (true, kept), "{commands}");
    }
}
