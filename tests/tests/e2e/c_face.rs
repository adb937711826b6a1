//! libgometa from C: the example, and whatever a caller may do wrong; compiled with the machine's C compiler against the
//! library that was built beside this test.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use gometa_tests::{ensemble::Ensemble, program::program};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Compiles a C program, without a warning, against the shared library.
fn compile(source: &str, directory: &Path) -> PathBuf {
    let libraries = program("libgometa.so").parent().unwrap().to_path_buf();
    let made = directory.join(Path::new(source).file_stem().unwrap());
    let Output { status, stderr, .. } = Command::new("cc")
        .args([
            "-std=c99",
            "-D_POSIX_C_SOURCE=200809L",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-O1",
            "-g",
        ])
        .arg(root().join(source))
        .arg("-I")
        .arg(root().join("include"))
        .arg("-L")
        .arg(&libraries)
        .arg(format!("-Wl,-rpath,{}", libraries.display()))
        .args(["-lgometa", "-lpthread", "-o"])
        .arg(&made)
        .output()
        .unwrap();
    assert!(status.success(), "{source}: {}", String::from_utf8_lossy(&stderr));
    // The program asks for the library by its SONAME.
    let soname = directory.join("libgometa.so.0");
    std::os::unix::fs::symlink(libraries.join("libgometa.so"), soname).unwrap();
    made
}

/// Runs a program to its end, which must come and be a good one; what it printed.
async fn run(program: &Path, arguments: &[String]) -> String {
    let (program, arguments) = (program.to_path_buf(), arguments.to_vec());
    let running = tokio::task::spawn_blocking(move || {
        let directory = program.parent().unwrap().to_path_buf();
        Command::new(program).args(arguments).env("LD_LIBRARY_PATH", directory).output().unwrap()
    });
    let output = tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
    said.into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_in_c_does_what_it_says() {
    let ensemble = Ensemble::start(3).await;
    let tour = compile("examples/c/tour.c", ensemble.scratch());
    let said = run(&tour, &[ensemble.requests_from(0).join(",")]).await;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("set at revision "), "{said}");
    assert_eq!(
        lines[1..],
        [
            "value red, version 1",
            "somebody was quicker: revision 1",
            "future 7 is ready: deleted it",
            "NotFound: get \"tour/colour\": there is no such key",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misuse_from_c_gets_errors() {
    let ensemble = Ensemble::start(3).await;
    let misuse = compile("ffi/c/misuse.c", ensemble.scratch());
    // Discard: reserved, and nobody listens there.
    let said = run(&misuse, &[ensemble.requests_from(0).join(","), "127.0.0.1:9".to_owned()]).await;
    assert_eq!(said, "all is well\n");
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let header = std::fs::read_to_string(root().join("include/gometa.h")).unwrap();
    let Output { status, stdout, .. } =
        Command::new("nm").args(["-D", "--defined-only"]).arg(program("libgometa.so")).output().unwrap();
    assert!(status.success());
    let listed = String::from_utf8(stdout).unwrap();
    let mut exported: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    exported.sort_unstable();
    let calls = header.split(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_' || sign == '('));
    let mut declared: Vec<&str> = calls
        .filter_map(|word| word.split_once('('))
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("gometa_"))
        .collect();
    declared.sort_unstable();
    assert_eq!(exported, declared);
}
