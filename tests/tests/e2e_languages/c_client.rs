//! libgometa from C: the examples, misuse, and memory; compiled with the
//! machine's C compiler against the library that was built beside this test.

use std::{
    fmt::Write,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use gometa_proto::ErrorKind;
use gometa_tests::{ensemble::Ensemble, impostors::Impostors, program::program, wait::PATIENCE};

/// The deadline of a program at normal speed.
const RUN_MAX: Duration = Duration::from_secs(120);
const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs a command, which must succeed, and returns its standard output and standard error.
pub(crate) fn must(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{said}");
    said
}

/// Compiles a C program without warnings, against the shared library. Relative paths are those in the repository.
pub(crate) fn compile(source: &str, directory: &Path) -> PathBuf {
    let libraries = program("libgometa.so").parent().unwrap().to_path_buf();
    let made = directory.join(Path::new(source).file_stem().unwrap());
    let mut command = Command::new("cc");
    command
        .args(["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-O1", "-g"])
        .args(WARNINGS)
        .arg(root().join(source));
    command.arg("-I").arg(root().join("include")).arg("-I").arg(root().join("ffi/c"));
    command.arg("-L").arg(&libraries);
    must(command.args(["-lgometa", "-lpthread", "-o"]).arg(&made));
    // The program loads the library by its SONAME.
    let soname = directory.join("libgometa.so.0");
    if !soname.exists() {
        std::os::unix::fs::symlink(libraries.join("libgometa.so"), soname).unwrap();
    }
    made
}

/// Runs a command whose program lies beside its library to its end, which must come and be a good one; what it
/// printed. `input` is given to it, and then its standard input ends.
pub(crate) async fn run(mut command: Command, library: &Path, input: &str, patience: Duration) -> String {
    command.env("LD_LIBRARY_PATH", library);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let id = child.id();
    let running = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let Ok(output) = tokio::time::timeout(patience, running).await else {
        drop(Command::new("kill").arg("-9").arg(id.to_string()).status());
        panic!("{command:?} does not end");
    };
    let output = output.unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{errors}", output.status);
    said.into_owned()
}

/// Returns the command that runs a compiled program with these arguments.
fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Returns the impostors' addresses as arguments.
pub(crate) fn addresses(impostors: &Impostors) -> Vec<String> {
    [impostors.dead, impostors.http, impostors.noise, impostors.silent].map(|one| one.to_string()).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_in_c_prints_its_results() {
    let ensemble = Ensemble::start(3).await;
    let tour = compile("examples/c/tour.c", ensemble.scratch());
    let peers = ensemble.requests_from(0).join(",");
    let said = run(command(&tour, &[&peers]), ensemble.scratch(), "", RUN_MAX).await;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("set at revision "), "{said}");
    assert_eq!(
        lines[1..],
        [
            "value red, version 1",
            "key tour/colour",
            "the key was changed: revision 1",
            "both keys were written: 1",
            "copied by attempt 1",
            "a write without its lock: GuardFailed",
            "future 7 is ready: deleted it",
            "NotFound: get \"tour/colour\": there is no such key",
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_event_loop_in_c_keeps_many_calls_in_flight() {
    let ensemble = Ensemble::start(3).await;
    let event_loop = compile("examples/c/event_loop.c", ensemble.scratch());
    let peers = ensemble.requests_from(0).join(",");
    let said = run(command(&event_loop, &[&peers]), ensemble.scratch(), "how far?\n", RUN_MAX).await;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("so far "), "{said}");
    assert_eq!(lines[1..], ["1000 keys written, 1000 read back, 100 in flight at most"]);
    let client = ensemble.client(PATIENCE);
    assert_eq!(client.get("event_loop/999").await.unwrap().value, "value 999");
}

#[test]
fn programs_in_c_without_a_node_fail_with_the_reason() {
    let scratch = tempfile::tempdir().unwrap();
    let page = fs::read_to_string(root().join("docs/c.md")).unwrap();
    let (_, hello) = page.split_once("```c file=hello.c\n").unwrap();
    fs::write(scratch.path().join("hello.c"), hello.split_once("```").unwrap().0).unwrap();
    // An absolute path stays as it is.
    let hello = scratch.path().join("hello.c");
    for source in ["examples/c/tour.c", "examples/c/event_loop.c", hello.to_str().unwrap()] {
        let program = compile(source, scratch.path());
        // The discard port is reserved and has no listener.
        for (arguments, status) in [(&["127.0.0.1:9"][..], 1), (&["nonsense"], 1), (&[], 2)] {
            let mut command = command(&program, arguments);
            let output = command.env("LD_LIBRARY_PATH", scratch.path()).output().unwrap();
            assert_eq!(output.status.code(), Some(status), "{source}: {output:?}");
            assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{source}: {output:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misuse_from_c_returns_errors() {
    let (ensemble, impostors) = (Ensemble::start(3).await, Impostors::start().await);
    let misuse = compile("ffi/c/misuse.c", ensemble.scratch());
    let mut command = command(&misuse, &["1", &ensemble.requests_from(0).join(",")]);
    command.args(addresses(&impostors));
    assert_eq!(run(command, ensemble.scratch(), "", RUN_MAX).await, "passed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_are_read_from_c() {
    let ensemble = Ensemble::start(3).await;
    let ranges = compile("ffi/c/ranges.c", ensemble.scratch());
    let command = command(&ranges, &["1", &ensemble.requests_from(0).join(",")]);
    assert_eq!(run(command, ensemble.scratch(), "", RUN_MAX).await, "passed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_of_a_key_is_read_from_c() {
    let ensemble = Ensemble::start(3).await;
    let history = compile("ffi/c/history.c", ensemble.scratch());
    let command = command(&history, &["1", &ensemble.requests_from(0).join(",")]);
    assert_eq!(run(command, ensemble.scratch(), "", RUN_MAX).await, "passed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_are_executed_from_c() {
    let ensemble = Ensemble::start(3).await;
    let txns = compile("ffi/c/txns.c", ensemble.scratch());
    let command = command(&txns, &["1", &ensemble.requests_from(0).join(",")]);
    assert_eq!(run(command, ensemble.scratch(), "", RUN_MAX).await, "passed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guards_and_settings_work_in_c() {
    let ensemble = Ensemble::start(3).await;
    let guards = compile("ffi/c/guards.c", ensemble.scratch());
    let command = command(&guards, &["1", &ensemble.requests_from(0).join(",")]);
    assert_eq!(run(command, ensemble.scratch(), "", RUN_MAX).await, "passed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_and_forks_work_in_c() {
    let (ensemble, impostors) = (Ensemble::start(3).await, Impostors::start().await);
    let threads = compile("ffi/c/threads.c", ensemble.scratch());
    let peers = ensemble.requests_from(0).join(",");
    let command = command(&threads, &["1", &peers, &impostors.dead.to_string()]);
    assert_eq!(run(command, ensemble.scratch(), "", RUN_MAX).await, "passed\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_calls_of_each_form_leak_no_memory() {
    /// 20 bytes for each call.
    const GROWTH_MAX_KIB: &str = "2048";
    let (ensemble, impostors) = (Ensemble::start(3).await, Impostors::start().await);
    let soak = compile("ffi/c/soak.c", ensemble.scratch());
    let peers = ensemble.requests_from(0).join(",");
    let command = command(&soak, &["100000", GROWTH_MAX_KIB, &peers, &impostors.dead.to_string()]);
    let said = run(command, ensemble.scratch(), "", 3 * RUN_MAX).await;
    assert!(said.ends_with("passed\n") && said.lines().count() == 9, "{said}");
}

#[test]
fn the_header_compiles_alone_in_c_and_in_cxx() {
    let scratch = tempfile::tempdir().unwrap();
    let others = ["stddef.h", "stdio.h", "stdlib.h", "string.h", "time.h", "unistd.h"];
    let others: String =
        others.iter().fold(String::new(), |text, name| text + &format!("#include <{name}>\n"));
    let header = "#include <gometa.h>\n";
    // A call, a constant and a type of the header.
    let program = "int main(void)\n{\n    gometa_status_t status = gometa_client_new(NULL, NULL, NULL, NULL);\n    \
                   return status == GOMETA_INVALID_ARGUMENT && GOMETA_LOCAL == 1 ? 0 : 1;\n}\n";
    let sources = [
        ("alone", format!("{header}{program}")),
        ("twice", format!("{header}{header}{program}")),
        ("first", format!("{header}{others}{program}")),
        ("last", format!("{others}{header}{program}")),
    ];
    for (name, source) in sources {
        for (ending, compiler) in [("c", "cc"), ("cc", "c++")] {
            let path = scratch.path().join(format!("{name}.{ending}"));
            fs::write(&path, &source).unwrap();
            let standards: &[&str] =
                if ending == "c" { &["c99", "c11", "c17"] } else { &["c++11", "c++17", "c++20"] };
            for standard in standards {
                let mut command = Command::new(compiler);
                command.arg(format!("-std={standard}")).args(WARNINGS).arg("-fsyntax-only").arg("-I");
                must(command.arg(root().join("include")).arg(path.as_os_str()));
            }
        }
    }
}

#[test]
fn the_whole_table_of_errors_is_in_c() {
    // The program compares every row of the protocol's table with the header and the library.
    let mut rows = String::new();
    for kind in ErrorKind::ALL {
        let mut constant = String::from("GOMETA");
        for character in kind.name().chars() {
            if character.is_ascii_uppercase() {
                constant.push('_');
            }
            constant.push(character.to_ascii_uppercase());
        }
        writeln!(rows, "    {{{constant}, {}, \"{}\"}},", kind.number(), kind.name()).unwrap();
    }
    let source = format!(
        "#include \"check.h\"\n#include <string.h>\n\nstatic const struct {{\n    gometa_status_t status;\n    uint32_t number;\n    \
         const char *name;\n}} table[] = {{\n{rows}}};\n\n{}",
        r#"int main(void)
{
    uint32_t rows = sizeof table / sizeof *table;
    for (uint32_t i = 0; i < rows; i++) {
        CHECK(table[i].status == table[i].number);
        CHECK(strcmp(gometa_status_name(table[i].number), table[i].name) == 0);
    }
    for (uint32_t number = 0; number < 1000; number++) {
        CHECK((strcmp(gometa_status_name(number), "Unknown") == 0) == (number > rows));
    }
    CHECK(strcmp(gometa_status_name(GOMETA_OK), "Ok") == 0);
    CHECK(strcmp(gometa_status_name(UINT32_MAX), "Unknown") == 0);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", GOMETA_VERSION_MAJOR, GOMETA_VERSION_MINOR, GOMETA_VERSION_PATCH);
    CHECK(strcmp(version, gometa_version()) == 0);
    puts("passed");
    return 0;
}
"#
    );
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("table.c");
    fs::write(&path, source).unwrap();
    let table = compile(path.to_str().unwrap(), scratch.path());
    assert_eq!(must(Command::new(&table).env("LD_LIBRARY_PATH", scratch.path())), "passed\n");
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let header = fs::read_to_string(root().join("include/gometa.h")).unwrap();
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
