"""Fixtures: a running ensemble, and both clients with the same interface."""

import asyncio
import inspect
import itertools
import os
import socket
import subprocess
import sys
import time

import pytest

import gometa

VARIABLES = ["PEERS", "TESTBED", "HTTP", "NOISE", "SILENT", "DEAD"]


def pytest_configure():
    missing = [f"GOMETA_{name}" for name in VARIABLES if not os.environ.get(f"GOMETA_{name}")]
    if missing:
        pytest.exit(
            f"{', '.join(missing)} not set: run the tests beside an ensemble, gometa-testbed -- pytest …, "
            "or all of it with scripts/python.py",
            returncode=2,
        )


def patience(seconds=30):
    """An iterator for loops that wait for a condition; it fails after a timeout."""
    until = time.monotonic() + seconds
    while True:
        yield
        assert time.monotonic() < until, "the condition is not met"


class Blocking:
    """Creates and closes blocking clients."""

    name = "blocking"

    def __init__(self):
        self._made = []

    def client(self, peers=None, **options):
        made = gometa.Client(os.environ["GOMETA_PEERS"] if peers is None else peers, **options)
        self._made.append(made)
        return made

    def end(self):
        for made in self._made:
            made.close()


class Awaited(Blocking):
    """The same for asyncio: each call is run on a loop until it ends."""

    name = "asyncio"

    def __init__(self):
        super().__init__()
        self._loop = asyncio.new_event_loop()

    def client(self, peers=None, **options):
        made = gometa.aio.Client(os.environ["GOMETA_PEERS"] if peers is None else peers, **options)
        driven = Driven(made, self._loop)
        self._made.append(driven)
        return driven

    def end(self):
        super().end()
        self._loop.close()


class Driven:
    def __init__(self, client, loop):
        self._client = client
        self._loop = loop

    def __getattr__(self, name):
        found = getattr(self._client, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *arguments, **keywords: self._loop.run_until_complete(found(*arguments, **keywords))


@pytest.fixture(params=[Blocking, Awaited], ids=["blocking", "asyncio"])
def clients(request):
    """Creates clients of one kind."""
    made = request.param()
    yield made
    made.end()


@pytest.fixture
def client(clients):
    """A client of either kind."""
    return clients.client()


@pytest.fixture
def blocking():
    made = Blocking()
    yield made.client()
    made.end()


_numbers = itertools.count(1)


@pytest.fixture
def key(request):
    """A key that no other test uses."""
    return f"{os.getpid()}/{request.node.name}/{next(_numbers)}"


@pytest.fixture(scope="session")
def peers():
    return os.environ["GOMETA_PEERS"]


class Testbed:
    """Injects faults into the ensemble."""

    def __init__(self):
        host, port = os.environ["GOMETA_TESTBED"].rsplit(":", 1)
        self._stream = socket.create_connection((host, int(port)), timeout=60)
        self._lines = self._stream.makefile("r")

    def __call__(self, command):
        self._stream.sendall(command.encode() + b"\n")
        answer = self._lines.readline().strip()
        assert answer.split(" ")[0] == "ok", f"{command}: {answer}"
        return answer.removeprefix("ok").strip()

    def close(self):
        self._lines.close()
        self._stream.close()


@pytest.fixture
def testbed():
    made = Testbed()
    yield made
    made("ready")
    made.close()


@pytest.fixture
def run():
    """`run(source, *arguments)` runs a program and returns its output; it must succeed within the timeout."""

    def run(source, *arguments, timeout=60):
        ended = subprocess.run(
            [sys.executable, "-c", source, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert ended.returncode == 0, f"status {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    return run
