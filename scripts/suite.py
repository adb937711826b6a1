#!/usr/bin/env python3
"""Runs the stages of the test suite, and prints the time of each stage and the number of tests.

    suite.py [--seeds N] [--seconds N] STAGE…        stages: see STAGES; `check` and `all` are groups

A failing stage stops later ones only if they need its products. The last line is
`N passed, N failed`: tests, and one for each stage without tests. The exit status is 0 only if nothing
failed. Uses the standard library only. Writes only cargo's target directory,
a line in docs/evidence.md (`soak`), docs/failover.svg (`failover`) and docs/growth.svg (`growth`).
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import install
import variables

ROOT = Path(__file__).resolve().parent.parent
# The same for every invocation, so that all use the same build of RocksDB (see the Makefile).
SHARED = ["--locked", "--release", "--workspace"]
# Stages that are not in `all`: the repository's own rules are among its unit tests, the others take long or measure.
LEFT_OUT = ["repo", "exhaustive", "campaign", "failover", "growth", "soak", "bench-clients"]
SUMMARY = re.compile(rb"^test result: \S+\. (\d+) passed; (\d+) failed;", re.MULTILINE)
# What cargo's tests, the client tests, pytest and Go print for each failure. The summary repeats it.
FAILURE = re.compile(rb"^(?:test .* FAILED|thread '.* panicked at |FAILED:? |FAIL: |ERROR: |\s*--- FAIL: )")


class Stage:
    """A command, and how its result is counted."""

    def __init__(self, title, command, *, needs=None, beside=None, env=None, tests=False):
        self.title = title
        self.command = command
        # The stage whose products it uses.
        self.needs = needs
        # A stage with which it is started, since that one mostly waits; its output is printed at its own turn.
        self.beside = beside
        self.env = env or {}
        # Whether it prints summaries in cargo's format, which are counted.
        self.tests = tests


def note(hours):
    """Returns the start of a line of evidence: date, commit, command."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
    )
    commit = described.stdout.strip() or "unknown"
    return f"{time.strftime('%Y-%m-%d', time.gmtime())}, commit {commit}, `make soak HOURS={hours:g}`"


def stages(values, target):
    """Returns all stages by name, in the order of `all`."""
    chaos, client_tests, endurance, plain_simulator = (
        str(target / "release" / name)
        for name in ("gometa-chaos", "gometa-clients", "gometa-endurance", "gometa-sim")
    )
    simulator = str(target / "instrumented" / "release" / "gometa-sim")
    instrumented = {
        "RUSTFLAGS": "--cfg gometa_instrumented", "CARGO_TARGET_DIR": str(target / "instrumented"),
    }
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    deny = shutil.which("cargo-deny") or str(cache / "gometa" / "tools" / "bin" / "cargo-deny")
    # Cheap ones first; the lints compile everything, including RocksDB.
    return {
        "format": Stage("format", ["cargo", "fmt", "--all", "--check"]),
        "repo": Stage("the repository's own rules", ["cargo", "test", *SHARED, "--test", "repo"], tests=True),
        "build": Stage("build (the first time, mostly of RocksDB)", ["cargo", "build", *SHARED, "--lib", "--bins", "--examples"]),
        "lint": Stage("lints", ["cargo", "clippy", *SHARED, "--all-targets", "--", "-D", "warnings"]),
        "lint-e2e": Stage(
            "lints of the tests of real processes",
            ["cargo", "clippy", *SHARED, "--test", "e2e*", "--", "-D", "warnings"],
        ),
        "deny": Stage(
            "dependencies: crates, licences, sources", [deny, "--locked", "check", "bans", "licenses", "sources"],
        ),
        "doc": Stage("documentation", ["cargo", "doc", *SHARED, "--no-deps"], env={"RUSTDOCFLAGS": "-D warnings"}),
        "unit": Stage("unit, golden, property and repository tests", ["cargo", "test", *SHARED, "--no-fail-fast"], tests=True),
        # Probes and planted faults are in this build only, which has its own target directory and no RocksDB.
        "sim-build": Stage(
            "build of the simulator with probes and planted faults",
            ["cargo", "build", "--locked", "--release", "-p", "gometa-sim"], env=instrumented,
        ),
        # With 10,000 seeds or more it fails if a probe is not hit.
        "sim": Stage(f"simulation, {values.seeds} seeds", [simulator, "--seeds", str(values.seeds)], needs="sim-build"),
        "shrink": Stage(
            "failing runs are shrunk",
            ["cargo", "test", "--locked", "--release", "-p", "gometa-sim", "--test", "planted"],
            env=instrumented, needs="sim-build", tests=True,
        ),
        "log-mutants": Stage(
            "planted faults of the log are detected by its tests",
            ["cargo", "test", "--locked", "--release", "-p", "gometa-log", "--test", "durability"],
            env=instrumented, needs="sim-build", tests=True,
        ),
        "scope": Stage(
            "every state of a small ensemble, up to 16,000,000",
            [plain_simulator, "--exhaustive", "--states", "16000000"], needs="build",
        ),
        "scope-changes": Stage(
            "every state of a small ensemble whose members change, up to 6,000,000",
            [plain_simulator, "--exhaustive", "--change", "all", "--states", "6000000"], needs="build",
        ),
        "mutants": Stage(
            "planted faults are detected", [simulator, "--mutants", "--seeds", "30000"], needs="sim-build",
        ),
        "scope-mutants": Stage(
            "planted faults are found in a small ensemble",
            [simulator, "--exhaustive", "--mutants", "--states", "400000"], needs="sim-build",
        ),
        "scope-changes-mutants": Stage(
            "planted faults are found in a small ensemble whose members change",
            [simulator, "--exhaustive", "--change", "all", "--mutants", "--states", "300000"], needs="sim-build",
        ),
        # It links the RocksDB of the normal build.
        "server-build": Stage(
            "build of the server with planted faults", [sys.executable, "scripts/instrumented.py"], needs="build",
        ),
        "e2e": Stage(
            "real processes",
            ["cargo", "test", *SHARED, "--no-fail-fast", "--test", "e2e", "--", "--test-threads=1"],
            needs="build", tests=True,
        ),
        # These mostly wait.
        "e2e-languages": Stage(
            "programs in other languages",
            ["cargo", "test", *SHARED, "--no-fail-fast", "--test", "e2e_languages", "--", "--test-threads=2"],
            needs="build", tests=True,
        ),
        # The languages' own tests, each with an ensemble; they also build the drivers of the client tests below.
        "python": Stage(
            "the Python package", [sys.executable, "scripts/python.py", "--target", str(target)],
            needs="build", tests=True,
        ),
        "go": Stage(
            "the Go package", [sys.executable, "scripts/go.py", "--target", str(target)], needs="build", beside="python",
            tests=True,
        ),
        "conformance": Stage(
            "the same behaviour in every language", [client_tests, "conformance"], needs="build", tests=True,
        ),
        "exactly-once": Stage(
            f"{values.increments} increments in every language while leaders are killed",
            [client_tests, "exactly-once", "--increments", str(values.increments)], needs="build", beside="conformance",
        ),
        "bank": Stage(
            "10,000 transfers by transactions in four languages while leaders are killed",
            [client_tests, "bank", "--transfers", "10000"], needs="build",
        ),
        # A change takes about a second.
        "changes": Stage(
            "9 changes of the members while every language counts",
            [client_tests, "exactly-once", "--changes", "9", "--keys", "1000"], needs="build",
        ),
        "short-lived": Stage(
            f"{values.clients} short-lived clients of each language leave no session",
            [client_tests, "short-lived", "--count", str(values.clients)], needs="build",
        ),
        "bench-clients": Stage("throughput of each language compared with Rust", [client_tests, "bench"], needs="build"),
        "chaos": Stage(
            f"faults on real processes for {values.seconds} s", [chaos, "--seconds", str(values.seconds)], needs="build",
        ),
        # Takes up to ten minutes.
        "exhaustive": Stage(
            "every state of a small ensemble, more of them",
            [plain_simulator, "--exhaustive", "--wide"], needs="build",
        ),
        "campaign": Stage(f"faults on real processes, {values.counts}", [chaos, "--counts", values.counts], needs="build"),
        "failover": Stage(
            f"the leader is killed {values.kills} times",
            [chaos, "--failovers", str(values.kills), "--plot", "docs/failover.svg"], needs="build",
        ),
        "growth": Stage(
            "ten million sets of ten thousand keys",
            [endurance, "growth", "--plot", "docs/growth.svg"], needs="build",
        ),
        # Adds a line to a document of the repository.
        "soak": Stage(
            f"faults on real processes for {values.hours:g} h",
            [chaos, "--hours", str(values.hours), "--evidence", "docs/evidence.md", "--note", note(values.hours)], needs="build",
        ),
    }


def start(stage, output):
    """Starts a stage's command."""
    return subprocess.Popen(
        stage.command, cwd=ROOT, env={**os.environ, **stage.env}, stdin=subprocess.DEVNULL, stdout=output,
    )


def run(stage, early):
    """Runs a stage and forwards its output; returns (tests passed, tests failed, failures, whether it succeeded).

    `early` has the process of a stage that was started beside an earlier one, and the file with its output.
    """
    process, output = early or (start(stage, subprocess.PIPE if stage.tests else None), None)
    passed = failed = 0
    failures = []
    try:
        if output:
            process.wait()
            output.seek(0)
        for line in output or process.stdout or ():
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
            for summary in SUMMARY.finditer(line):
                passed += int(summary.group(1))
                failed += int(summary.group(2))
            if FAILURE.match(line):
                failures.append(line.decode(errors="replace").rstrip())
        process.wait()
    except KeyboardInterrupt:
        # On a terminal the command got the signal as well; otherwise it is terminated here.
        end(process)
        raise
    return passed, failed, failures, process.returncode == 0


def end(process):
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()


def minutes(seconds):
    return f"{int(seconds) // 60} min {int(seconds) % 60:02} s" if seconds >= 60 else f"{seconds:.1f} s"


def rocksdb_builds(target):
    """Returns the time of each build of RocksDB in the target directory."""
    return {
        str(path.parent): path.stat().st_mtime_ns
        for path in (target / "release" / "build").glob("librocksdb-sys-*/output")
    }


def run_all(names, table, target):
    started = time.monotonic()
    before = rocksdb_builds(target)
    passed = failed = 0
    report = []
    # The failures of each stage that failed.
    details = {}
    broken = set()
    # Stages that were started with another one: their processes, and the files with their output.
    early = {}
    for name in names:
        stage = table[name]
        if stage.needs in broken:
            failed += 1
            report.append((name, "not run", f"{stage.needs} failed"))
            continue
        print(f"\n==> {stage.title}\n    {' '.join(stage.command)}", flush=True)
        began = time.monotonic()
        try:
            for other in names:
                if table[other].beside == name:
                    output = tempfile.TemporaryFile()
                    early[other] = start(table[other], output), output
            stage_passed, stage_failed, failures, succeeded = run(stage, early.pop(name, None))
        except KeyboardInterrupt:
            for process, _ in early.values():
                end(process)
            raise
        except OSError as error:
            print(f"suite: {stage.command[0]}: {error}", flush=True)
            stage_passed, stage_failed, failures, succeeded = 0, 0, [str(error)], False
        took = minutes(time.monotonic() - began)
        if not succeeded:
            broken.add(name)
            # A stage may fail without a failing test, for example by not compiling.
            stage_failed = max(stage_failed, 1)
            details[name] = failures
        elif not stage.tests:
            stage_passed = 1
        elif stage_passed == 0:
            print(f"suite: {name} ran no tests", flush=True)
            broken.add(name)
            succeeded, stage_failed = False, 1
        passed += stage_passed
        failed += stage_failed
        said = "ok" if succeeded else "FAILED"
        report.append((name, took, f"{said}, {stage_passed} tests" if stage.tests else said))
        print(f"<== {stage.title}: {said}, {took}", flush=True)

    fresh = [path for path, made in rocksdb_builds(target).items() if before.get(path) != made]
    if len(fresh) > 1:
        failed += 1
        report.append(("rocksdb", "", f"FAILED, compiled {len(fresh)} times: the stages differ in profile or features"))

    for name, failures in details.items():
        print(f"\n==> failures of {name}", *failures, sep="\n    ")
    print("\n==> summary")
    for name, took, said in report:
        print(f"    {name:<13} {took:>13}  {said}")
    print(f"    {'all':<13} {minutes(time.monotonic() - started):>13}")
    print(f"{passed} passed, {failed} failed", flush=True)
    return failed == 0


def main():
    # SIGTERM stops the stage as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=variables.whole("SEEDS", 10000), default=10000)
    parser.add_argument("--seconds", type=variables.whole("SECONDS", 60), default=60)
    parser.add_argument("--hours", type=variables.positive("HOURS", 1), default=1)
    parser.add_argument("--counts", type=variables.counts("COUNTS", "kill=30,pause=5"), default="kill=30,power-cut=5")
    parser.add_argument("--kills", type=variables.whole("KILLS", 200), default=200)
    parser.add_argument("--increments", type=variables.whole("INCREMENTS", 1000), default=1000)
    parser.add_argument("--clients", type=variables.whole("CLIENTS", 12000), default=100)
    parser.add_argument("stages", nargs="+", metavar="STAGE")
    arguments = parser.parse_args()

    target = install.target_directory()
    table = stages(arguments, target)
    groups = {
        "all": [name for name in table if name not in LEFT_OUT],
        "check": ["format", "repo", "lint", "lint-e2e", "deny", "doc"],
        # A stage that is run by name is preceded by its build.
        "sim": ["sim-build", "sim"],
        "shrink": ["sim-build", "shrink"],
        "mutants": ["sim-build", "mutants", "scope-mutants", "scope-changes-mutants"],
        "exhaustive": ["build", "scope", "scope-changes", "exhaustive"],
        "e2e": ["build", "server-build", "e2e", "e2e-languages"],
        **{name: ["build", name] for name in ("python", "go", "chaos", "campaign", "failover", "growth", "soak")},
        **{
            name: ["build", "python", "go", name]
            for name in ("conformance", "exactly-once", "bank", "changes", "short-lived", "bench-clients")
        },
        "lint": ["lint", "lint-e2e"],
    }
    names = []
    for asked in arguments.stages:
        if asked not in groups and asked not in table:
            parser.error(f"there is no stage {asked}; there are {', '.join([*table, 'check', 'all'])}")
        names += [name for name in groups.get(asked, [asked]) if name not in names]
    try:
        sys.exit(0 if run_all(names, table, target) else 1)
    except KeyboardInterrupt:
        sys.exit("suite: interrupted")


if __name__ == "__main__":
    main()
