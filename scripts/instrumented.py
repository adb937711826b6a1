#!/usr/bin/env python3
"""Builds the server with planted faults into target/instrumented. It links the RocksDB that the normal build has compiled."""

import os
import subprocess
import sys

import install


def main():
    target = install.target_directory()
    built = sorted((target / "release" / "build").glob("librocksdb-sys-*/out/librocksdb.a"))
    if not built:
        sys.exit("instrumented: RocksDB is not compiled yet: run make build")
    environment = {
        **os.environ,
        "RUSTFLAGS": "--cfg gometa_instrumented",
        "CARGO_TARGET_DIR": str(target / "instrumented"),
        "ROCKSDB_LIB_DIR": str(built[-1].parent),
        "ROCKSDB_STATIC": "1",
    }
    command = ["cargo", "build", "--locked", "--release", "-p", "gometa-server", "--bin", "gometa-server"]
    sys.exit(subprocess.run(command, env=environment).returncode)


if __name__ == "__main__":
    main()
