#!/usr/bin/env python3
"""Compares gometa with etcd and ZooKeeper: prepares the programs, and runs gometa-bench (docs/benchmarks.md).

    bench.py [--server FILE] [ARGUMENT…]     builds and downloads what is missing, then runs gometa-bench ARGUMENT…
    bench.py --check                         format, lints and tests of bench/

etcd is compiled from its Go module (bench/etcd), ZooKeeper's jars come from Maven (bench/zookeeper). Everything is kept in
the user's cache directory, below gometa/bench. `--server` names a gometa-server to measure instead of building this one.
`--help` prints the options of gometa-bench. Uses the standard library only.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import install

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gometa" / "bench"
# An own target directory, so that no other build waits for this one or compiles its dependencies.
TARGET = CACHE / "target"


class BenchError(Exception):
    """Something is missing or failed; the message says what."""


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(command, failure, *, cwd=ROOT, env=None):
    """Runs a command; its output goes to standard error. Raises BenchError(failure) if it fails."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False,
        )
    except OSError as error:
        raise BenchError(f"{failure}: {error}") from error
    if done.returncode != 0:
        raise BenchError(failure)


def cargo(*arguments, failure):
    """Runs cargo in the workspace of bench/."""
    run(["cargo", *arguments], failure, cwd=BENCH, env={"CARGO_TARGET_DIR": str(TARGET)})


def build_server():
    say("building gometa-server")
    command = ["cargo", "build", "--locked", "--release", "--workspace", "--bin", "gometa-server"]
    run(command, "gometa-server cannot be built; the output of cargo is above")
    return install.target_directory() / "release" / "gometa-server"


def build_bench():
    say("building gometa-bench")
    cargo("build", "--locked", "--release", failure="gometa-bench cannot be built; the output of cargo is above")
    return TARGET / "release" / "gometa-bench"


def build_etcd():
    """Compiles etcd as its own scripts do: without cgo."""
    say("building etcd")
    program = CACHE / "etcd"
    run(
        ["go", "build", "-trimpath", "-o", str(program), "."],
        "etcd cannot be built; the output of go is above (the first build downloads its modules: is there a network?)",
        cwd=BENCH / "etcd", env={"CGO_ENABLED": "0"},
    )
    return program


def fetch_zookeeper():
    """Returns the directory of ZooKeeper's jars, in whose name is a hash of their versions."""
    pom = BENCH / "zookeeper" / "pom.xml"
    version = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    library = CACHE / f"zookeeper-{version}"
    if not library.is_dir():
        say("downloading ZooKeeper")
        with tempfile.TemporaryDirectory(dir=CACHE) as arriving:
            run(
                [
                    # Checksums must fit; nothing is written beside the POM.
                    "mvn", "--quiet", "--batch-mode", "--strict-checksums", "--file", str(pom),
                    "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={arriving}/lib",
                ],
                "ZooKeeper's jars cannot be downloaded; the output of mvn is above (is there a network?)",
            )
            shutil.move(f"{arriving}/lib", library)
    return library


def commit():
    """Returns the commit of the working tree."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
    )
    return described.stdout.strip() or "unknown"


def check():
    for command in (
        ["fmt", "--check"],
        ["clippy", "--locked", "--release", "--all-targets", "--", "-D", "warnings"],
        ["test", "--locked", "--release"],
    ):
        cargo(*command, failure=f"cargo {command[0]} failed")


def prepare_tools(kind):
    run(["sh", "scripts/prepare.sh", kind], "tools are missing; see above")


def main():
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--server", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments, passed = parser.parse_known_args()
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        if arguments.check:
            prepare_tools("checks")
            check()
            return 0
        if "--help" in passed or "-h" in passed:
            program = build_bench()
        else:
            prepare_tools("bench")
            server = arguments.server.resolve() if arguments.server else build_server()
            tested = "unknown" if arguments.server else commit()
            program = build_bench()
            results = CACHE / "results" / f"{time.strftime('%Y-%m-%dT%H-%M-%SZ', time.gmtime())}.json"
            passed = [
                f"--gometa={server}", f"--gometa-commit={tested}", f"--etcd={build_etcd()}",
                f"--zookeeper-lib={fetch_zookeeper()}", f"--data-dir={CACHE / 'data'}", f"--json={results}", *passed,
            ]
    except BenchError as error:
        say(error)
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    # Replaces this process, so that signals reach gometa-bench, which ends what it has started.
    os.execv(program, [str(program), *passed])


if __name__ == "__main__":
    sys.exit(main())
