#!/usr/bin/env python3
"""Builds two more servers, which link the RocksDB that the normal build has compiled: one with planted faults, into
target/instrumented, and one with a further feature level, into target/next-level."""

import os
import subprocess
import sys

import install


def main():
    target = install.target_directory()
    built = sorted((target / "release" / "build").glob("librocksdb-sys-*/out/librocksdb.a"))
    if not built:
        sys.exit("instrumented: RocksDB is not compiled yet: run make build")
    for directory, cfg in [("instrumented", "gometa_instrumented"), ("next-level", "gometa_next_level")]:
        environment = {
            **os.environ,
            "RUSTFLAGS": f"--cfg {cfg}",
            "CARGO_TARGET_DIR": str(target / directory),
            "ROCKSDB_LIB_DIR": str(built[-1].parent),
            "ROCKSDB_STATIC": "1",
        }
        command = ["cargo", "build", "--locked", "--release", "-p", "gometa-server", "--bin", "gometa-server"]
        status = subprocess.run(command, env=environment).returncode
        if status != 0:
            sys.exit(status)


if __name__ == "__main__":
    main()
