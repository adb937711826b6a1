#!/usr/bin/env python3
"""Checks the Go package and its example, runs their tests and the examples of the pages on Go and C, and builds the drivers
of the clients `go` and `c`.

    go.py [--target DIR] [--testbed PATH] [--go PATH] [--drivers]

Uses what cargo has built in DIR/release, installed below DIR/clients/prefix: format, vet, the tests with
the race detector and cgo's checks, the tests without them, the example, docs/go.md and docs/c.md. --drivers builds the drivers only:
DIR/clients/go-driver and DIR/clients/c-driver. Writes nothing outside DIR, and downloads nothing.
The last line is `test result: ok. N passed; M failed;`. Standard library only.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
import install

ROOT = Path(__file__).resolve().parent.parent
MODULES = [ROOT / "go", ROOT / "examples" / "go", ROOT / "tests" / "clients" / "go"]
OUTCOME = re.compile(r"^--- (PASS|FAIL|SKIP)", re.MULTILINE)
TOUR = [
    "the key exists, at our revision: true",
    "value green, version 2",
    "the key was changed: true",
    "value yellow, version 3",
    "key: tour/go/colour",
    "key: tour/go/99",
    "101 keys, the value was green",
    "copied: true, the value is yellow",
    "a write without its lock is refused: true",
    "cancelled: true true",
    "3 members, the leader is leading",
    "the connected node has applied our write: true",
    "deleted: true",
    'gometa: get "tour/go/colour": there is no such key',
    "calls: 124",
]


class Run:
    """Runs steps, and counts results."""

    def __init__(self, environment):
        self.environment = environment
        self.passed = 0
        self.failed = 0

    def command(self, command, directory, extra=None):
        """Runs a command; returns whether it succeeded, and its output."""
        done = subprocess.run(
            [str(word) for word in command], cwd=directory, env={**self.environment, **(extra or {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )
        return done.returncode == 0, done.stdout

    def count(self, name, succeeded, output=""):
        print(f"go: {name}: {'ok' if succeeded else 'FAILED'}", flush=True)
        if succeeded:
            self.passed += 1
        else:
            print(output, flush=True)
            self.failed += 1

    def tests(self, name, command, extra=None):
        """Runs `go test -v`, and counts each test. A skipped test counts as failed."""
        succeeded, output = self.command(command, MODULES[0], extra)
        outcomes = OUTCOME.findall(output)
        passed = outcomes.count("PASS")
        failed = len(outcomes) - passed
        if not succeeded or failed or passed == 0:
            print(output, flush=True)
            failed = max(failed, 1)
        print(f"go: {name}: {passed} passed, {failed} failed", flush=True)
        self.passed += passed
        self.failed += failed

    def drivers(self, go, directory):
        """Builds the client drivers."""
        in_go = [go, "build", "-o", directory / "go-driver", "."]
        self.count("the driver go-driver", *self.command(in_go, MODULES[2]))
        succeeded, flags = self.command(["pkg-config", "--cflags", "--libs", "gometa"], ROOT)
        if not succeeded:
            sys.exit(f"go: pkg-config does not find gometa: {flags}")
        in_c = [
            os.environ.get("CC") or "cc", "-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Wpedantic",
            "-Werror", "-O2", "-g", "tests/clients/driver.c", *flags.split(), f"-Wl,-rpath,{directory}/prefix/lib",
            "-lpthread", "-o", directory / "c-driver",
        ]
        self.count("the driver c-driver", *self.command(in_c, ROOT))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, help="cargo's target directory, if it is not the usual one")
    parser.add_argument("--testbed", type=Path, help="the program gometa-testbed, if it is not in DIR/release")
    parser.add_argument("--go", default="go", help="the command go")
    parser.add_argument("--drivers", action="store_true")
    arguments = parser.parse_args()

    target = (arguments.target or install.target_directory()).resolve()
    testbed = (arguments.testbed or target / "release" / "gometa-testbed").resolve()
    go = arguments.go
    clients = target / "clients"
    prefix = clients / "prefix"
    try:
        install.install_library(target / "release", "", str(prefix), str(prefix / "lib"))
    except OSError as error:
        sys.exit(f"go: cargo has not built the library: {error}")
    run = Run({
        **os.environ,
        "PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig",
        # Programs find the library at run time.
        "CGO_LDFLAGS": f"-O2 -g -Wl,-rpath,{prefix}/lib",
        "GOCACHE": str(clients / "go-cache"),
        "GOFLAGS": "-buildvcs=false",
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    })
    run.drivers(go, clients)
    if not arguments.drivers:
        minor = int(re.match(r"go1\.(\d+)", run.command([go, "env", "GOVERSION"], ROOT)[1]).group(1))
        formatted = Path(run.command([go, "env", "GOROOT"], ROOT)[1].strip()) / "bin" / "gofmt"
        for module in MODULES:
            name = module.relative_to(ROOT)
            succeeded, output = run.command([formatted, "-l", "."], module)
            run.count(f"the format of {name}", succeeded and not output, output)
            run.count(f"go vet of {name}", *run.command([go, "vet", "./..."], module))
        # The error that a user of CGO_ENABLED=0 sees.
        succeeded, output = run.command([go, "build", "./..."], MODULES[0], {"CGO_ENABLED": "0"})
        said = "gometa_needs_cgo" in output and output.count("\n") == 2
        run.count("without cgo, one error says that it is needed", not succeeded and said, output)
        # The strict check of pointers given to C is a setting of the compiler since Go 1.21, of the run time before.
        thorough = {"GOEXPERIMENT": "cgocheck2"} if minor >= 21 else {"GODEBUG": "cgocheck=2"}
        test = [testbed, "--", go, "test", "-v", "-count=1"]
        run.tests("the tests, with the race detector and cgo's checks", [*test, "-race", "./..."], thorough)
        run.tests("the tests, as they are", [*test, "./..."])
        tour = [testbed, "--", "sh", "-c", f"exec '{go}' run . \"$GOMETA_PEERS\""]
        succeeded, output = run.command(tour, MODULES[1])
        run.count("the example", succeeded and output.splitlines()[-len(TOUR):] == TOUR, output)
        for page in ["go", "c"]:
            with tempfile.TemporaryDirectory(prefix="gometa-page-") as directory:
                shown = [sys.executable, "-B", "scripts/pages.py", target, directory, f"docs/{page}.md"]
                run.count(f"docs/{page}.md", *run.command([testbed, "--", *shown], ROOT))
    said = "FAILED" if run.failed else "ok"
    print(f"test result: {said}. {run.passed} passed; {run.failed} failed;", flush=True)
    sys.exit(1 if run.failed else 0)


if __name__ == "__main__":
    main()
