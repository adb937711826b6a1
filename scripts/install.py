#!/usr/bin/env python3
"""Installs the built programs and libgometa below a prefix, with its files for pkg-config and CMake.

    install.py [--prefix DIR] [--destdir DIR] [--libdir DIR] [--target DIR] [--library]

    bin/gometa-server, bin/gometa                       the programs; not with --library
    include/gometa.h
    lib/libgometa.so.VERSION                            with links libgometa.so.N (its SONAME) and libgometa.so
    lib/libgometa.a
    lib/pkgconfig/gometa.pc, gometa-static.pc           pkg-config gometa
    lib/cmake/gometa/gometa-config.cmake, …             find_package(gometa)

The files for pkg-config and CMake use relative paths, so that the prefix may be moved. Each file is renamed into place,
also over one that is in use. DESTDIR is prepended to every path, and is in no installed file, for packagers.
Standard library only.
"""

import argparse
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ["gometa-server", "gometa"]
# What `cargo rustc -p gometa-ffi --crate-type staticlib -- --print native-static-libs` says, without -lgcc_s: the
# compiler adds it by itself, and it does not exist for programs that are static altogether.
LIBS_PRIVATE = ["util", "rt", "pthread", "m", "dl", "c"]


def target_directory():
    """Returns cargo's target directory."""
    metadata = subprocess.run(
        ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"],
        cwd=ROOT, stdout=subprocess.PIPE, check=False,
    )
    if metadata.returncode != 0:
        sys.exit("cargo metadata failed")
    return Path(json.loads(metadata.stdout)["target_directory"])


def version():
    """Returns the workspace's version."""
    found = re.search(r'^version = "(\d+\.\d+\.\d+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    return found.group(1)


def soname():
    """Returns the number in the library's SONAME."""
    return re.search(r"libgometa\.so\.(\d+)", (ROOT / "ffi" / "build.rs").read_text()).group(1)


def arrive(path, make):
    """Creates a file by `make` beside `path`, and renames it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arriving = path.parent / f".{path.name}.new"
    arriving.unlink(missing_ok=True)
    make(arriving)
    arriving.replace(path)
    print(f"installed {path}")


def copy(source, path, mode=0o644):
    def make(arriving):
        shutil.copyfile(source, arriving)
        arriving.chmod(mode)

    arrive(path, make)


def link(name, path):
    arrive(path, lambda arriving: arriving.symlink_to(name))


def fill(template, path, values):
    text = (ROOT / "ffi" / "packaging" / template).read_text()
    text = re.sub(r"@(\w+)@", lambda found: values[found.group(1)], text)

    def make(arriving):
        arriving.write_text(text)
        arriving.chmod(0o644)

    arrive(path, make)


def install_library(release, root, prefix, libdir):
    """Installs libgometa, its header, and the files for pkg-config and CMake."""
    def there(path):
        return Path(f"{root}{path}")

    number, full = soname(), version()
    up = os.path.relpath(prefix, libdir)
    values = {
        "VERSION": full,
        "MAJOR": full.split(".", maxsplit=1)[0],
        "SONAME": number,
        "POINTER_SIZE": str(struct.calcsize("P")),
        "PREFIX_FROM_LIB": up,
        "PREFIX_FROM_PKGCONFIG": os.path.join("..", up),
        "LIBS_PRIVATE": " ".join(f"-l{name}" for name in LIBS_PRIVATE),
        "LIBS_PRIVATE_CMAKE": ";".join(LIBS_PRIVATE),
    }
    copy(ROOT / "include" / "gometa.h", there(prefix) / "include" / "gometa.h")
    lib = there(libdir)
    copy(release / "libgometa.so", lib / f"libgometa.so.{full}", 0o755)
    link(f"libgometa.so.{full}", lib / f"libgometa.so.{number}")
    link(f"libgometa.so.{number}", lib / "libgometa.so")
    copy(release / "libgometa.a", lib / "libgometa.a")
    for name in ["gometa.pc", "gometa-static.pc"]:
        fill(f"{name}.in", lib / "pkgconfig" / name, values)
    for name in ["gometa-config.cmake", "gometa-config-version.cmake"]:
        fill(f"{name}.in", lib / "cmake" / "gometa" / name, values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", default="/usr/local")
    parser.add_argument("--destdir", default="")
    parser.add_argument("--libdir", help="PREFIX/lib if not given")
    parser.add_argument("--target", type=Path, help="cargo's target directory, if it is not the usual one")
    parser.add_argument("--library", action="store_true", help="libgometa only")
    arguments = parser.parse_args()

    release = (arguments.target or target_directory()) / "release"
    prefix = os.path.abspath(os.path.expanduser(arguments.prefix))
    libdir = os.path.abspath(os.path.expanduser(arguments.libdir)) if arguments.libdir else os.path.join(prefix, "lib")
    try:
        if not arguments.library:
            for program in PROGRAMS:
                copy(release / program, Path(f"{arguments.destdir}{prefix}") / "bin" / program, 0o755)
        install_library(release, arguments.destdir, prefix, libdir)
    except OSError as error:
        sys.exit(f"install: {error}")


if __name__ == "__main__":
    main()
