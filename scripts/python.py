#!/usr/bin/env python3
"""Builds and tests the Python package: python/.

    python.py --target DIR [--testbed PROGRAM] [--python PYTHON] [-- PYTEST ARGUMENT…]

DIR is cargo's target directory; DIR/python has an environment with the tools that
python/requirements-test.txt pins, the wheel and the source distribution, and an empty environment for each way to
install. PROGRAM is gometa-testbed, DIR/release/gometa-testbed if not given. Steps whose inputs have not changed since their
last success are skipped. Writes nothing into the tree.

The last line is `test result: ok. N passed; M failed;`: pytest's tests, and one for each step before them. The exit
status is 0 only if nothing failed. Standard library only.
"""

import argparse
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The sources of the package.
SOURCES = [
    "Cargo.toml", "Cargo.lock", "proto", "client",
    "python/Cargo.toml", "python/pyproject.toml", "python/README.md", "python/src", "python/gometa",
]
# Programs whose format is checked, beside all of python/.
PROGRAMS = ["examples/python", "tests/clients/driver.py", "tests/clients/driver_aio.py"]


class Failed(Exception):
    """A step failed; its output says why."""


def digest(python, paths):
    """Returns a hash of the Python version, and of the files at and below these paths."""
    found = hashlib.sha256(f"{sys.version}\0{python}\0".encode())
    for path in paths:
        top = ROOT / path
        files = sorted(file for file in top.rglob("*") if file.is_file()) if top.is_dir() else [top]
        for file in files:
            if "__pycache__" not in file.parts:
                found.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return found.hexdigest()


class Stage:
    """The steps, and the number of passed and failed ones."""

    def __init__(self, target, testbed, python, arguments):
        self.target = target
        self.work = target / "python"
        self.testbed = testbed
        self.python = python
        self.arguments = arguments
        self.passed = 0
        self.failed = 0
        self.env = {
            **os.environ,
            "CARGO_TARGET_DIR": str(target),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
        }
        # The environments below replace the active one.
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX"):
            self.env.pop(name, None)
        self.tools = self.work / "venv" / "bin"

    def run(self, *command, cwd=None, quiet=False):
        """Runs a command, which must succeed; the output of a quiet one is printed only if it fails."""
        command = [str(word) for word in command]
        said = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if quiet else {}
        process = subprocess.Popen(command, cwd=cwd or self.work, env=self.env, **said)
        try:
            printed, _ = process.communicate()
        except KeyboardInterrupt:
            # Terminated, not killed: a testbed stops its nodes first.
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        if process.returncode != 0:
            sys.stdout.buffer.write(printed or b"")
            raise Failed(" ".join(command))

    def step(self, title, work):
        """Runs a step, which counts as a test."""
        started = time.monotonic()
        try:
            said = work() or "ok"
        except (Failed, OSError) as error:
            self.failed += 1
            print(f"python: {title}: FAILED: {error}", flush=True)
            return False
        self.passed += 1
        print(f"python: {title}: {said}, {time.monotonic() - started:.1f} s", flush=True)
        return True

    def once(self, name, key, work):
        """Runs the work unless it has succeeded with the same key."""
        stamp = self.work / f"{name}.done"
        if stamp.exists() and stamp.read_text() == key:
            return "unchanged"
        stamp.unlink(missing_ok=True)
        work()
        stamp.write_text(key)
        return None

    def environment(self, name):
        """Creates an empty environment, and returns its Python."""
        directory = self.work / name
        shutil.rmtree(directory, ignore_errors=True)
        self.run(self.python, "-m", "venv", directory)
        return directory / "bin" / "python"

    def make_tools(self):
        requirements = ROOT / "python" / "requirements-test.txt"

        def work():
            self.run(self.environment("venv"), "-m", "pip", "install", "-q", "-r", requirements)

        return self.once("venv", digest(self.python, [requirements]), work)

    def distribute(self):
        made = self.work / "dist"
        shutil.rmtree(made, ignore_errors=True)
        maturin, place = self.tools / "maturin", ROOT / "python"
        self.run(maturin, "build", "--release", "--locked", "--out", made, cwd=place, quiet=True)
        self.run(maturin, "sdist", "--out", made, cwd=place, quiet=True)

    def distribution(self, ending):
        found = list((self.work / "dist").glob(f"gometa-*{ending}"))
        if len(found) != 1:
            raise Failed(f"dist/ has {len(found)} files that end in {ending}")
        return found[0]

    def install(self, name, *what):
        """Installs into an empty environment, and checks the installed files."""

        def work():
            python = self.environment(name)
            self.run(python, "-m", "pip", "install", "-q", *what)
            self.look(python)

        return self.once(name, digest(self.python, SOURCES), work)

    def look(self, python):
        self.run(python, "-m", "pip", "check", quiet=True)
        self.run(python, "-c", INSTALLED)
        # The next run does not need it.
        shutil.rmtree(python.parent.parent)

    def install_as_documented(self):
        """Follows the installation in docs/python.md, with another place for the environment."""
        page = (ROOT / "docs" / "python.md").read_text()
        blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
        if len(blocks) != 1 or "pip install ./python" not in blocks[0]:
            raise Failed("docs/python.md does not say how to install")
        place = self.work / "from-tree"

        def work():
            shutil.rmtree(place, ignore_errors=True)
            commands = re.sub(r"\bpython3\b", shlex.quote(str(self.python)), blocks[0])
            commands = re.sub(r"\bvenv(?=/|$)", shlex.quote(str(place)), commands, flags=re.MULTILINE)
            self.run("sh", "-e", "-c", commands, cwd=ROOT, quiet=True)
            self.look(place / "bin" / "python")

        return self.once("from-tree", digest(self.python, [*SOURCES, "docs/python.md"]), work)

    def install_into_tools(self):
        wheel = self.distribution(".whl")
        self.run(self.tools / "python", "-m", "pip", "install", "-q", "--no-index", "--force-reinstall", wheel)

    def mypy(self):
        options = ["--strict", "--config-file", ROOT / "python" / "pyproject.toml", "--cache-dir", self.work / "mypy"]
        self.run(self.tools / "mypy", *options, ROOT / "python" / "gometa")
        # Programs are checked against the installed package.
        samples = [ROOT / "python" / "tests" / "typed.py", *sorted((ROOT / "examples" / "python").glob("*.py"))]
        self.run(self.tools / "mypy", *options, *samples)

    def stubtest(self):
        self.run(
            self.tools / "python", "-m", "mypy.stubtest", "gometa",
            "--mypy-config-file", ROOT / "python" / "pyproject.toml",
            "--allowlist", ROOT / "python" / "stubtest-allowlist.txt",
        )

    def ruff(self):
        programs = [ROOT / path for path in ["python", *PROGRAMS]]
        config = ["--no-cache", "--config", ROOT / "python" / "pyproject.toml"]
        self.run(self.tools / "ruff", "check", "-q", *config, *programs)
        self.run(self.tools / "ruff", "format", "--check", "-q", *config, *programs)

    def pytest(self):
        report = self.work / "pytest.xml"
        report.unlink(missing_ok=True)
        command = [
            self.testbed, "--", self.tools / "python", "-m", "pytest", "-p", "no:cacheprovider", "-q",
            f"--junitxml={report}", ROOT / "python" / "tests", *self.arguments,
        ]
        try:
            self.run(*command)
        except Failed:
            # Its tests are counted; a run of pytest without tests is a failure.
            pass
        if not report.exists():
            raise Failed("pytest left no report")
        counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
        for suite in xml.etree.ElementTree.parse(report).getroot().iter("testsuite"):
            for name in counts:
                counts[name] += int(suite.get(name, 0))
        failed = counts["failures"] + counts["errors"]
        passed = counts["tests"] - failed - counts["skipped"]
        self.passed += passed
        self.failed += failed
        if passed == 0:
            raise Failed("no test passed")
        return f"{passed} passed, {failed} failed, {counts['skipped']} skipped"

    def all(self):
        self.work.mkdir(parents=True, exist_ok=True)
        # The last one tells whether later steps need the products of this one.
        for title, work, needed in [
            ("tools", self.make_tools, True),
            ("wheel and source distribution", self.distribute, True),
            ("the wheel in an empty environment",
             lambda: self.install("from-wheel", "--no-index", self.distribution(".whl")), False),
            ("the source distribution in an empty environment",
             lambda: self.install("from-sdist", self.distribution(".tar.gz")), False),
            ("pip install ./python, as documented", self.install_as_documented, False),
            ("the wheel among the tools", self.install_into_tools, True),
            ("mypy --strict", self.mypy, False),
            ("stubtest", self.stubtest, False),
            ("ruff", self.ruff, False),
            ("pytest", self.pytest, False),
        ]:
            if not self.step(title, work) and needed:
                return


# Run in an otherwise empty environment: the package works, has its types, and has no dependencies.
INSTALLED = """
import importlib.metadata, pathlib, gometa
assert gometa.Client("127.0.0.1:1").peers == "127.0.0.1:1"
assert gometa.aio.Client(["127.0.0.1:1"]).peers == "127.0.0.1:1"
assert (pathlib.Path(gometa.__file__).parent / "py.typed").exists()
assert importlib.metadata.version("gometa") == gometa.__version__
assert not importlib.metadata.requires("gometa")
there = {found.metadata["Name"] for found in importlib.metadata.distributions()}
assert there <= {"gometa", "pip", "setuptools"}, there
"""


def main():
    # SIGTERM stops the step as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--testbed", type=Path)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("arguments", nargs="*", metavar="PYTEST ARGUMENT")
    arguments = parser.parse_args()
    target = arguments.target.resolve()
    testbed = (arguments.testbed or target / "release" / "gometa-testbed").resolve()
    stage = Stage(target, testbed, arguments.python, arguments.arguments)
    try:
        stage.all()
    except KeyboardInterrupt:
        sys.exit("python: interrupted")
    said = "ok" if stage.failed == 0 else "FAILED"
    print(f"test result: {said}. {stage.passed} passed; {stage.failed} failed;", flush=True)
    sys.exit(0 if stage.failed == 0 else 1)


if __name__ == "__main__":
    main()
