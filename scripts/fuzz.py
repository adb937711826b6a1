#!/usr/bin/env python3
"""Runs the fuzzers, each for a while, and prints their results.

    fuzz.py [--seconds N] [--sanitizer none|address] [--keep] [TARGET…]

Builds in cargo's target directory, below `fuzz-none` or `fuzz-address`. New inputs are kept there, so that the
next run uses them, and failing inputs (`artifacts/`). Begins with the inputs in
`fuzz/corpus/`. With `--keep`, new inputs are minimised into `fuzz/corpus/`, which `make test` replays; that is the only
write into the tree. The exit status is 0 only if nothing failed. Installs cargo-fuzz if it is missing.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import install
import variables

ROOT = Path(__file__).resolve().parent.parent
FUZZERS = ROOT / "fuzz" / "libfuzzer"
KEPT = ROOT / "fuzz" / "corpus"
# The bytes of one target's kept inputs; all together must stay below 200 KiB.
KEPT_BYTES_MAX = 20 << 10
KEPT_FILES_MAX = 100
# The maximum length of an input. A few hundred bytes reach all code of interest.
INPUT_BYTES_MAX = 2048
UNITS = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.MULTILINE)
COVERED = re.compile(r"cov: (\d+)")
# In these targets bytes are choices, so that inputs are long from the beginning.
LONG = {"client_frame", "protocol", "store"}
# The timeout of one input.
INPUT_SECONDS_MAX = 20
MEMORY_MIB_MAX = 1024


def targets():
    return sorted(path.stem for path in (FUZZERS / "targets").glob("*.rs"))


def build(into, sanitizer):
    if shutil.which("cargo-fuzz") is None:
        subprocess.run(["cargo", "install", "--locked", "cargo-fuzz"], check=True)
    env = {**os.environ, "CARGO_TARGET_DIR": str(into)}
    if sanitizer != "none":
        # Enables sanitizers in stable Rust, instead of a nightly toolchain.
        env["RUSTC_BOOTSTRAP"] = "1"
    command = ["cargo", "fuzz", "build", "--fuzz-dir", ".", "--sanitizer", sanitizer]
    subprocess.run(command, cwd=FUZZERS, env=env, check=True)
    host = re.search(r"^host: (\S+)", subprocess.check_output(["rustc", "-vV"], text=True), re.MULTILINE)
    return into / host.group(1) / "release"


def fuzz(program, into, seconds):
    """Runs one target; returns (executions, edges covered, whether nothing failed)."""
    name = program.name
    learned, artifacts = into / "corpus" / name, into / "artifacts" / name
    learned.mkdir(parents=True, exist_ok=True)
    artifacts.mkdir(parents=True, exist_ok=True)
    command = [
        program, f"-max_total_time={seconds}", f"-max_len={INPUT_BYTES_MAX}", f"-timeout={INPUT_SECONDS_MAX}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}", "-print_final_stats=1", f"-artifact_prefix={artifacts}/", learned, KEPT / name,
    ]
    if name in LONG:
        command.insert(1, "-len_control=0")
    process = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    units, covered = UNITS.findall(process.stderr), COVERED.findall(process.stderr)
    if process.returncode != 0:
        print("\n".join(process.stderr.splitlines()[-40:]), flush=True)
        print(f"fuzz: {name} failed; the input is in {artifacts}", flush=True)
    return int(units[-1]) if units else 0, int(covered[-1]) if covered else 0, process.returncode == 0


def keep(program, into):
    """Replaces the kept inputs of one target by a minimal set of the same coverage, or, if that is too large, by an
    even choice of short and long ones; returns their size in bytes."""
    name = program.name
    fresh = into / "merged" / name
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    command = [program, "-merge=1", f"-max_len={INPUT_BYTES_MAX}", fresh, KEPT / name, into / "corpus" / name]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    # Named by their hashes, as libFuzzer does.
    found = sorted(fresh.iterdir(), key=lambda path: (path.stat().st_size, path.name))
    shutil.rmtree(KEPT / name)
    (KEPT / name).mkdir()
    size = sum(path.stat().st_size for path in found)
    every = max(1, -(-size // KEPT_BYTES_MAX), -(-len(found) // KEPT_FILES_MAX))
    total = 0
    for path in found[every - 1::every]:
        size = path.stat().st_size
        if total + size <= KEPT_BYTES_MAX:
            total += size
            shutil.copyfile(path, KEPT / name / path.name)
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=variables.whole("SECONDS", 60), default=60, help="for each target (default 60)")
    parser.add_argument("--sanitizer", choices=["none", "address"], default="none")
    parser.add_argument("--keep", action="store_true", help="minimise what was learned into fuzz/corpus/")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(targets())} (default all)")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(targets())
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")

    into = install.target_directory() / f"fuzz-{arguments.sanitizer}"
    programs = build(into, arguments.sanitizer)
    failed, executions = [], 0
    for name in arguments.targets or targets():
        units, covered, fine = fuzz(programs / name, into, arguments.seconds)
        executions += units
        line = f"{name:<16} {units:>12,} executions {covered:>6,} edges"
        if not fine:
            failed.append(name)
            line += "  FAILED"
        elif arguments.keep:
            line += f"  {keep(programs / name, into):>6,} bytes kept"
        print(line, flush=True)
    print(f"{executions:,} executions, {len(failed)} targets failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
