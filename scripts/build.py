"""Builds the programs that `make run` starts, and shows how far the compilation of RocksDB is."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import install

ROOT = Path(__file__).resolve().parent.parent
# Processor minutes that RocksDB takes.
ROCKSDB_MINUTES = 36
# Seconds between two lines of progress where the output is no terminal.
PAUSE = 30


class BuildError(Exception):
    """The build failed; cargo has printed why."""


def minutes(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def rocksdb_sources():
    """Returns the number of files that RocksDB is compiled from. Downloads what is missing, which cargo shows by itself."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise BuildError("cargo metadata failed")
    packages = json.loads(done.stdout)["packages"]
    manifest = next(Path(package["manifest_path"]) for package in packages if package["name"] == "librocksdb-sys")
    return len((manifest.parent / "rocksdb_lib_sources.txt").read_text().split())


def progress(release, sources, began):
    """Returns a line with the number of RocksDB's files that this build has compiled, and the time for the others."""
    outputs = [out for out in release.glob("build/librocksdb-sys-*/out") if out.stat().st_mtime >= began - 1]
    files = max((sum(1 for _ in out.rglob("*.o")) for out in outputs), default=0)
    took = time.time() - began
    line = f"building, {minutes(took)}"
    if 0 < files < sources:
        line += f": RocksDB, {files} of {sources} files, about {minutes(took * (sources - files) / files)} left"
    return line


def build():
    """Builds the programs, and returns their directory."""
    sources, release = rocksdb_sources(), install.target_directory() / "release"
    if not any((release / name).exists() for name in install.PROGRAMS):
        estimate = ROCKSDB_MINUTES / (os.cpu_count() or 1)
        print(
            f"Building {' and '.join(install.PROGRAMS)}. The first time, this takes about {estimate + 2:.0f} minutes on "
            f"{os.cpu_count()} processors,\nmost of them for RocksDB ({sources} C++ files), which is compiled once. Then "
            "three nodes are started, and the leader is killed.\nMeanwhile: README.md says what gometa is for, "
            "docs/architecture.md how it is built.", flush=True,
        )
    # All of the workspace's features, although not all of its programs: another choice would compile RocksDB again.
    bins = [argument for program in install.PROGRAMS for argument in ("--bin", program)]
    command = ["cargo", "build", "--quiet", "--locked", "--release", "--workspace", *bins]
    began, terminal = time.time(), sys.stdout.isatty()
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            try:
                process.wait(1 if terminal else PAUSE)
            except subprocess.TimeoutExpired:
                line = progress(release, sources, began)
                print(f"\r\033[K{line}" if terminal else line, end="" if terminal else "\n", flush=True)
    finally:
        process.terminate()
    print("\r\033[K" if terminal else "", end="")
    if process.returncode != 0:
        raise BuildError("cargo build failed")
    print(f"built in {minutes(time.time() - began)}", flush=True)
    return release
