//! `gometa-server -inspect`: it reports what is wrong with a directory, and changes nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::{Duration, SystemTime},
};

use gometa_tests::{
    data_directory::{DATA_BLOCK, Segment, copy, files, flip, inspect, report, tables},
    ensemble::Ensemble,
};

const TIMEOUT: Duration = Duration::from_secs(20);

/// The contents and times of all files.
fn contents(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let read = |path: PathBuf| {
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        (path.clone(), (fs::read(&path).unwrap(), modified))
    };
    files(directory).into_iter().map(read).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The last line on standard error.
fn last_line(output: &Output) -> String {
    text(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// A node that has stopped in order, after `starts` starts with two writes each.
async fn stopped(starts: usize) -> Ensemble {
    let mut ensemble = Ensemble::start(1).await;
    for start in 0..starts {
        if start > 0 {
            ensemble.restart(0).await;
        }
        let client = ensemble.client(TIMEOUT);
        for key in ["k", "\u{1b}[2J"] {
            client.set(key, format!("{start}")).await.unwrap();
        }
        client.close().await;
        assert!(ensemble.terminate(0).await.success());
    }
    ensemble
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inspection_changes_nothing_and_finds_what_the_node_had() {
    let mut ensemble = stopped(2).await;
    let data = ensemble.data(0);
    let before = contents(&data);
    let found = report(&data, &["-verify"]);
    assert_eq!(found["sound"], true, "{found}");
    assert_eq!(found["damage"].as_array().map(Vec::len), Some(0), "{found}");
    assert_eq!(
        (&found["identity"]["boot"], &found["ensemble"]["sealed"], &found["state"]["verified"]),
        (&2.into(), &true.into(), &true.into()),
        "{found}"
    );
    let members = &found["configuration"];
    let voter = &members["voters"][0];
    assert_eq!(
        (&voter["node"], &voter["incarnation"], members["learners"].as_array().map(Vec::len)),
        (&found["identity"]["node"], &found["identity"]["incarnation"], Some(0)),
        "{found}"
    );
    for flags in [&[][..], &["-verify"], &["-dump-log"], &["-dump-log", "-inspect-format=json"]] {
        let output = inspect(&data, flags);
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]), "{flags:?}: {output:?}");
    }
    assert!(contents(&data) == before, "the inspection has changed something");

    let dumped = text(&inspect(&data, &["-dump-log"]).stdout);
    let end = found["log"]["end"]["counter"].as_u64().unwrap();
    assert_eq!(dumped.lines().count() as u64, end, "{dumped}");
    assert!(dumped.contains("  set  k\n") && dumped.contains("  set  \\u{1b}[2J\n"), "{dumped}");
    let one = inspect(&data, &[&format!("-dump-log={end}-{end}"), "-inspect-format=json"]);
    let entry: serde_json::Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!((&entry["counter"], &entry["operation"]), (&end.into(), &"end sessions".into()), "{entry}");

    // The node has what the inspection says. While it runs, it is not inspected.
    ensemble.restart(0).await;
    let status = ensemble.status(0).await.unwrap();
    assert_eq!(status.storage.log_base, found["log"]["base"]["counter"].as_u64().unwrap());
    assert_eq!(Some(status.keys), found["state"]["keys"].as_u64());
    let refused = inspect(&data, &[]);
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    assert!(last_line(&refused).contains("is in use by another process: stop it"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_log_is_sound_and_a_damaged_one_is_not() {
    let ensemble = stopped(3).await;
    let whole = ensemble.data(0);
    let segments = Segment::all(&whole);
    let last = segments.last().unwrap();
    let copy_to = |name: &str| {
        let to = ensemble.scratch().join(name);
        copy(&whole, &to);
        to
    };
    let end = report(&whole, &[])["log"]["end"].clone();

    let torn = copy_to("torn");
    last.of(&torn).write(last.used, b"half a batch");
    let found = report(&torn, &["-verify"]);
    assert_eq!((&found["sound"], &found["log"]["end"]), (&true.into(), &end), "{found}");

    // The last batch: it was synced.
    let lost = copy_to("lost");
    last.of(&lost).damage_last_batch();
    let output = inspect(&lost, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        last_line(&output).contains("is lost: it was synced") && last_line(&output).contains("no other copy"),
        "{output:?}"
    );
    assert!(text(&output.stdout).contains("result          damaged"), "{output:?}");
    // What is readable is dumped, and the exit status is that of the report.
    let dumped = inspect(&lost, &["-dump-log"]);
    assert_eq!(dumped.status.code(), Some(1), "{dumped:?}");
    assert!(text(&dumped.stdout).contains("  set  k\n"), "{dumped:?}");

    // A segment that the state does not need any more.
    let old = copy_to("old");
    let earlier = &segments[1];
    earlier.of(&old).damage_last_batch();
    let found = report(&old, &[]);
    assert_eq!((&found["sound"], &found["damage"][0]["repaired"]), (&true.into(), &true.into()), "{found}");
    assert_eq!(found["damage"][0]["file"], earlier.name.to_str().unwrap(), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_damaged_file_is_named() {
    let ensemble = stopped(1).await;
    let whole = ensemble.data(0);
    let copy_to = |name: &str| {
        let to = ensemble.scratch().join(name);
        copy(&whole, &to);
        to
    };
    let damage_in = |directory: &Path| {
        let found = report(directory, &["-verify"]);
        let damage = found["damage"].as_array().unwrap().clone();
        assert_eq!(found["sound"], damage.is_empty(), "{found}");
        damage.iter().map(|damage| damage["file"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for name in ["IDENTITY", "BOOT", "GENERATION"] {
        let damaged = copy_to(&format!("flipped-{name}"));
        flip(&damaged.join(name), 6);
        assert_eq!(damage_in(&damaged), [name]);
        let missing = copy_to(&format!("missing-{name}"));
        fs::remove_file(missing.join(name)).unwrap();
        assert_eq!(damage_in(&missing), [name]);
    }
    let unmarked = copy_to("unmarked");
    fs::remove_file(unmarked.join("log-1/SYNCED")).unwrap();
    assert_eq!(damage_in(&unmarked), ["log-1/SYNCED"]);

    // A record of the state: it is found if every record is read.
    let altered = copy_to("altered");
    tables(&altered).iter().for_each(|table| flip(table, DATA_BLOCK));
    assert_eq!(damage_in(&altered), ["state-1"]);
    let missing = copy_to("without-table");
    tables(&missing).iter().for_each(|table| fs::remove_file(table).unwrap());
    assert_eq!(damage_in(&missing), ["state-1"]);

    // Other directories.
    let nowhere = inspect(&ensemble.scratch().join("nowhere"), &[]);
    assert!(!nowhere.status.success() && last_line(&nowhere).contains("No such file"), "{nowhere:?}");
    assert!(!ensemble.scratch().join("nowhere").exists());
    let empty = ensemble.scratch().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_eq!(report(&empty, &[])["sound"], true);
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "not even a lock is created");
    fs::write(empty.join("letter"), "").unwrap();
    let foreign = inspect(&empty, &[]);
    assert!(last_line(&foreign).contains("is not a gometa data directory"), "{foreign:?}");
    let newer = copy_to("newer");
    fs::write(newer.join("FORMAT"), "gometa data directory\nformat 99\n").unwrap();
    assert!(last_line(&inspect(&newer, &[])).contains("run the newer gometa-server"));
}

/// Inspects a directory in every way: at most one line, with the path, says what is wrong, and nothing changes. Returns
/// what `-verify` finds wrong.
fn line_about(directory: &Path, what: &str) -> String {
    let before = contents(directory);
    let mut line = String::new();
    for flags in [&[][..], &["-dump-log"], &["-verify"]] {
        let output = inspect(directory, flags);
        line = text(&output.stderr);
        let (status, lines) = (output.status.code(), line.lines().count());
        assert!(matches!((status, lines), (Some(0), 0) | (Some(1), 1)), "{what}: {flags:?}: {output:?}");
        assert!(lines == 0 || line.contains(&*directory.to_string_lossy()), "{what}: {flags:?}: {line}");
    }
    assert!(contents(directory) == before, "{what}: the inspection has changed something");
    line
}

fn cut(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn empty_directory(path: &Path) {
    fs::remove_dir_all(path).or_else(|_| fs::remove_file(path)).unwrap();
    fs::create_dir(path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_is_one_line_and_stays_as_it_is() {
    let (ensemble, other) = (stopped(1).await, stopped(1).await);
    let (whole, foreign) = (ensemble.data(0), other.data(0));
    let damaged = ensemble.scratch().join("damaged");
    let expect = |what: &str, expected: &str, change: &dyn Fn(&Path)| {
        copy(&whole, &damaged);
        change(&damaged);
        let line = line_about(&damaged, what);
        assert!(line.contains(expected) && !line.is_empty(), "{what}: {line}");
        fs::remove_dir_all(&damaged).unwrap();
    };
    let segments = Segment::all(&whole);
    let last = &segments.last().unwrap().name;

    let state = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name == "CURRENT" || name.starts_with("MANIFEST") || name.ends_with(".sst")
    };
    let of_state =
        files(&whole).into_iter().filter(state).map(|path| path.strip_prefix(&whole).unwrap().to_owned());
    let small = ["FORMAT", "IDENTITY", "BOOT", "GENERATION"].map(PathBuf::from);
    for file in small.into_iter().chain([last.clone()]).chain(of_state) {
        let path = file.to_str().unwrap();
        let named = if path.starts_with("state-1") { "state-1" } else { path };
        let lost = if file == *last { "batch 1 is lost" } else { named };
        expect(&format!("{path} is missing"), lost, &|dir| fs::remove_file(dir.join(&file)).unwrap());
        expect(&format!("{path} is empty"), named, &|dir| fs::write(dir.join(&file), "").unwrap());
        expect(&format!("{path} is cut"), named, &|dir| cut(&dir.join(&file), 20));
        expect(&format!("{path} has flipped bits"), named, &|dir| flip(&dir.join(&file), DATA_BLOCK));
        expect(&format!("{path} is a directory"), "", &|dir| empty_directory(&dir.join(&file)));
    }
    for name in ["log-1", "state-1"] {
        expect(&format!("{name} is missing"), &format!("{name}: it is missing"), &|dir| {
            fs::remove_dir_all(dir.join(name)).unwrap();
        });
        expect(&format!("{name} is empty"), &format!("damaged: {name}"), &|dir| {
            empty_directory(&dir.join(name))
        });
        expect(&format!("{name} is a file"), &format!("{name}: it is missing"), &|dir| {
            fs::remove_dir_all(dir.join(name)).unwrap();
            fs::write(dir.join(name), "").unwrap();
        });
    }
    let used = segments.last().unwrap().used;
    expect("the log is cut in what was synced", "is lost: it was synced", &|dir| {
        cut(&dir.join(last), used / 2)
    });
    expect("a segment is doubled", "it is segment 2", &|dir| {
        fs::copy(dir.join(last), dir.join("log-1/0000000000000003")).unwrap();
    });
    expect("a segment is another ensemble's", "is no voter of the ensemble of the log", &|dir| {
        fs::copy(foreign.join(last), dir.join(last)).unwrap();
    });
    expect("the log is another ensemble's", "is no voter of the ensemble of the log", &|dir| {
        empty_directory(&dir.join("log-1"));
        copy(&foreign.join("log-1"), &dir.join("log-1"));
    });
    expect("the format is an older one", "has format 1, and this program knows format", &|dir| {
        fs::write(dir.join("FORMAT"), "gometa data directory\nformat 1\n").unwrap();
    });
    expect("the format is none", "FORMAT: it names no format", &|dir| {
        fs::write(dir.join("FORMAT"), [0xff; 40]).unwrap();
    });
    expect("half of a directory", "IDENTITY is missing", &|dir| {
        ["IDENTITY", "BOOT", "FORMAT"].iter().for_each(|name| fs::remove_file(dir.join(name)).unwrap());
        fs::remove_dir_all(dir.join("state-1")).unwrap();
    });
}
