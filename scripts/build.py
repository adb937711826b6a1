"""Builds the programs that `make run` starts, and shows how far the compilation of RocksDB is."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ["gometa-server", "gometa"]
# Processor minutes that RocksDB takes, for the first estimate.
ROCKSDB_MINUTES = 36
# Seconds between two lines of progress where the output is no terminal.
PAUSE = 30
# Files that must be compiled before the time for the others is estimated from them.
FILES_MIN = 20


class BuildError(Exception):
    """The build failed; cargo has printed why."""


def minutes(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def cargo_json(command, key):
    done = subprocess.run(["cargo", *command], cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise BuildError(f"cargo {command[0]} failed")
    return json.loads(done.stdout)[key]


class Progress:
    """The number of RocksDB's files that this build has compiled, and the time that the others will take."""

    def __init__(self, release, sources):
        self.release = release
        self.sources = sources
        self.began = time.time()
        # Object files of RocksDB and when the first one was seen.
        self.first = None

    def files(self):
        """Returns how many files have been compiled, 0 if RocksDB is not being compiled."""
        outputs = [
            out for out in self.release.glob("build/librocksdb-sys-*/out") if out.stat().st_mtime >= self.began - 1
        ]
        return max((sum(1 for _ in out.rglob("*.o")) for out in outputs), default=0)

    def line(self, crate):
        now = time.time()
        took = minutes(now - self.began)
        files = self.files()
        if files == 0 or files >= self.sources:
            return f"building, {took}: {crate}"
        if self.first is None:
            self.first = (now, files)
        began, before = self.first
        if files - before >= FILES_MIN:
            left = (now - began) / (files - before) * (self.sources - files)
        else:
            left = ROCKSDB_MINUTES * 60 / (os.cpu_count() or 1) * (1 - files / self.sources)
        return f"building, {took}: RocksDB, {files} of {self.sources} files, about {minutes(left)} left"


def rocksdb_sources():
    """Returns the number of files that RocksDB is compiled from."""
    packages = cargo_json(["metadata", "--locked", "--format-version", "1"], "packages")
    manifest = next(Path(package["manifest_path"]) for package in packages if package["name"] == "librocksdb-sys")
    return len((manifest.parent / "rocksdb_lib_sources.txt").read_text().split())


def report(progress, crate, ended):
    """Shows the progress until the build has ended: in one line of a terminal, else in a line now and then."""
    terminal = sys.stdout.isatty()
    while not ended.wait(1 if terminal else PAUSE):
        line = progress.line(crate[0])
        print(f"\r\033[K{line}" if terminal else line, end="" if terminal else "\n", flush=True)
    if terminal:
        print("\r\033[K", end="", flush=True)


def build():
    """Builds the programs, and returns their directory."""
    # Asking for the sources downloads what is missing, which cargo shows by itself.
    sources = rocksdb_sources()
    target = Path(cargo_json(["metadata", "--locked", "--no-deps", "--format-version", "1"], "target_directory"))
    if not any((target / "release" / name).exists() for name in PROGRAMS):
        estimate = ROCKSDB_MINUTES / (os.cpu_count() or 1)
        print(
            f"Building {' and '.join(PROGRAMS)}. The first time, this takes about {estimate + 2:.0f} minutes on "
            f"{os.cpu_count()} processors,\nmost of them for RocksDB ({sources} C++ files), which is compiled once. Then "
            "three nodes are started, and the leader is killed.\nMeanwhile: README.md says what gometa is for, "
            "docs/architecture.md how it is built.", flush=True,
        )
    progress, crate, ended = Progress(target / "release", sources), ["starting"], threading.Event()
    # All of the workspace's features, although not all of its programs: another choice would compile RocksDB again.
    bins = [argument for program in PROGRAMS for argument in ("--bin", program)]
    command = ["cargo", "build", "--locked", "--release", "--workspace", *bins]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
    )
    reporter = threading.Thread(target=report, args=(progress, crate, ended), daemon=True)
    reporter.start()
    try:
        for line in process.stderr:
            words = line.split()
            if words[:1] in (["Compiling"], ["Finished"], ["Downloaded"]) and len(words) > 1:
                crate[0] = " ".join(words[1:3])
            else:
                print(f"\r\033[K{line}" if sys.stdout.isatty() else line, end="", flush=True)
        process.wait()
    finally:
        ended.set()
        reporter.join()
        process.terminate()
    if process.returncode != 0:
        raise BuildError("cargo build failed")
    print(f"built in {minutes(time.time() - progress.began)}", flush=True)
    return target / "release"
