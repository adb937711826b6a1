"""Invalid arguments and bad peers raise an error of the right kind, within the timeout."""

import copy
import gc
import math
import os
import pickle
import time

import pytest

import gometa

# How much later than the timeout an error may be raised on a busy machine, in seconds.
LATE = 3.0


@pytest.mark.parametrize("bad", [None, 1, 1.5, True, object(), ["a"], ("a",), {"a": 1}, [1, 2]], ids=repr)
def test_keys_and_values_of_other_types(client, key, bad):
    calls = [
        lambda: client.set(bad, "v"),
        lambda: client.add(bad, "v"),
        lambda: client.cas(bad, 1, "v"),
        lambda: client.get(bad),
        lambda: client.entry(bad),
        lambda: client.delete(bad),
        lambda: client.set(key, bad),
        lambda: client.add(key, bad),
        lambda: client.cas(key, 0, bad),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=type(bad).__name__) as caught:
            call()
        assert not isinstance(caught.value, gometa.GometaError)
    assert client.get(key) is None


@pytest.mark.parametrize(
    "empty", ["", b"", bytearray(), memoryview(b"")], ids=["str", "bytes", "bytearray", "memoryview"]
)
def test_empty_keys(client, empty):
    for call in (
        lambda: client.set(empty, "v"),
        lambda: client.add(empty, "v"),
        lambda: client.cas(empty, 1, "v"),
        lambda: client.get(empty),
        lambda: client.entry(empty),
        lambda: client.delete(empty),
    ):
        with pytest.raises(gometa.InvalidArgumentError) as caught:
            call()
        assert isinstance(caught.value, ValueError) and caught.value.outcome == "not_applied"


def test_keys_and_values_beyond_their_limits(client, key):
    with pytest.raises(gometa.TooLargeError) as caught:
        client.set(key, b"x" * ((1 << 20) + 1))
    assert isinstance(caught.value, ValueError) and not caught.value.retryable
    assert caught.value.outcome == "not_applied" and "1048576" in str(caught.value)
    for call in (lambda: client.set("k" * 4097, "v"), lambda: client.get("k" * 4097)):
        with pytest.raises(gometa.TooLargeError):
            call()
    with pytest.raises(gometa.TooLargeError):
        client.set(key, b"x" * (64 << 20))
    # The connection still works.
    assert client.get(key) is None and client.counters().reconnects <= 1


def test_zero_bytes_are_bytes(client, key):
    client.set(key + "\0a\0", "\0v\0")
    assert client.get(key + "\0a\0") == b"\0v\0"
    assert client.get(key) is None
    assert client.get(key + "\0a") is None


@pytest.mark.parametrize("bad", ["\udc80", "a\ud800b", os.fsdecode(b"\xff")], ids=ascii)
def test_strings_with_surrogates(client, key, bad):
    for call in (
        lambda: client.set(bad, "v"),
        lambda: client.set(key, bad),
        lambda: client.get(bad),
        lambda: client.status(bad),
    ):
        with pytest.raises(gometa.InvalidArgumentError, match="UTF-8") as caught:
            call()
        assert isinstance(caught.value.__cause__, UnicodeEncodeError)
    assert client.get(key) is None


@pytest.mark.parametrize("bad", [-1, 1 << 64, -(1 << 70)])
def test_revisions_out_of_range(client, key, bad):
    for call in (
        lambda: client.cas(key, bad, "v"),
        lambda: client.delete(key, bad),
        lambda: client.get(key, consistency="local", min_revision=bad),
    ):
        with pytest.raises(gometa.InvalidArgumentError, match=r"2\^64"):
            call()


@pytest.mark.parametrize("bad", ["1", 1.0, b"1"], ids=repr)
def test_revisions_of_other_types(client, key, bad):
    for call in (lambda: client.cas(key, bad, "v"), lambda: client.delete(key, bad)):
        with pytest.raises(TypeError, match="revision must be int"):
            call()
    with pytest.raises(TypeError):
        client.cas(key, None, "v")


@pytest.mark.parametrize("bad", [0, -1, 0.0, -0.5, math.nan, math.inf, -math.inf, 1e30, 1 << 2000], ids=str)
def test_timeouts_out_of_range(clients, client, key, bad):
    with pytest.raises(gometa.InvalidArgumentError, match="timeout"):
        client.get(key, timeout=bad)
    for name in ("timeout", "connect_timeout", "keepalive_interval", "keepalive_timeout"):
        with pytest.raises(gometa.InvalidArgumentError, match=name):
            clients.client(**{name: bad})


@pytest.mark.parametrize("bad", ["1", b"1", [], object()], ids=repr)
def test_timeouts_of_other_types(clients, client, key, bad):
    with pytest.raises(TypeError, match="timeout must be a number of seconds"):
        client.get(key, timeout=bad)
    with pytest.raises(TypeError):
        clients.client(timeout=bad)


@pytest.mark.parametrize("bad", ["", "LOCAL", "sometimes"])
def test_no_such_consistency(client, key, bad):
    with pytest.raises(gometa.InvalidArgumentError, match="consistency"):
        client.get(key, consistency=bad)


def test_consistency_of_another_type(client, key):
    with pytest.raises(TypeError):
        client.get(key, consistency=1)


@pytest.mark.parametrize(
    "bad",
    ["", " ", ",,", [], (), [""], "host", ":5003", "a:0", "a:65536", "a:b", "a:-1", "http://a:1", "::1:5003",
     "a b:1", "a:1,b", ["a:1", "b"], "\0:1", "a:1\0", "x" * 300 + ":1", ",".join(f"h{n}:1" for n in range(129))],
    ids=lambda bad: ascii(bad)[:20],
)  # fmt: skip
def test_invalid_peers(clients, bad):
    with pytest.raises(gometa.InvalidArgumentError) as caught:
        clients.client(bad)
    assert isinstance(caught.value, ValueError) and "peer" in str(caught.value)


@pytest.mark.parametrize(
    "bad", [5, None, b"a:1", bytearray(b"a:1"), [b"a:1"], [None], [("a", 1)], object()], ids=repr
)
def test_peers_of_other_types(clients, bad):
    cls = gometa.Client if clients.name == "blocking" else gometa.aio.Client
    with pytest.raises(TypeError):
        cls(bad)


def test_settings_of_other_types(clients):
    for settings in ({"name": 5}, {"name": None}, {"pinned": 1}, {"pinned": "yes"}, {"timeout": None}):
        with pytest.raises(TypeError):
            clients.client(**settings)
    with pytest.raises(gometa.InvalidArgumentError):
        clients.client(name="\udc80")
    with pytest.raises(TypeError):
        clients.client(colour="red")


@pytest.mark.parametrize("bad", ["", "host", "a:0", "a:1,b:2", "http://a:1"])
def test_invalid_addresses(client, bad):
    with pytest.raises(gometa.InvalidArgumentError):
        client.status(bad)


def test_use_after_close(clients, key):
    client = clients.client()
    client.set(key, "v")
    client.close()
    client.close()
    for call in (
        lambda: client.add(key, "v"),
        lambda: client.set(key, "v"),
        lambda: client.cas(key, 1, "v"),
        lambda: client.delete(key),
        lambda: client.get(key),
        lambda: client.entry(key),
        lambda: client.status(),
        lambda: client.status(os.environ["GOMETA_PEERS"].split(",")[0]),
        lambda: client.members(),
    ):
        with pytest.raises(gometa.ClosedError, match="closed") as caught:
            call()
        assert caught.value.outcome == "not_applied" and isinstance(caught.value, RuntimeError)
    with pytest.raises(gometa.ClosedError) as caught:
        client.set(key, "v")
    assert str(caught.value) == f'set "{key}": the client is closed' and caught.value.key == key.encode()
    # Invalid arguments are reported first.
    with pytest.raises(TypeError):
        client.set(key, None)
    client.close()
    unused = clients.client()
    unused.close()
    with pytest.raises(gometa.ClosedError):
        unused.get(key)


@pytest.mark.parametrize("there", ["HTTP", "NOISE", "SILENT", "DEAD"])
def test_peers_that_are_not_gometa(clients, key, there):
    address = os.environ[f"GOMETA_{there}"]
    client = clients.client(address, timeout=0.6, connect_timeout=0.3)
    for call, outcome in ((lambda: client.set(key, "v"), "not_applied"), (lambda: client.get(key), "not_applied")):
        started = time.monotonic()
        # A ConnectionError, since no node could be reached; not before the timeout.
        with pytest.raises(ConnectionError) as caught:
            call()
        assert 0.6 <= time.monotonic() - started < 0.6 + LATE
        assert isinstance(caught.value, gometa.UnavailableError)
        assert caught.value.outcome == outcome and caught.value.retryable
        assert address in str(caught.value)
    with pytest.raises(gometa.UnavailableError) as caught:
        client.status(address)
    assert isinstance(caught.value, ConnectionError)


@pytest.mark.parametrize("there", ["HTTP", "NOISE", "SILENT", "DEAD"])
def test_a_bad_peer_among_good_ones_is_skipped(clients, key, there, peers):
    client = clients.client([os.environ[f"GOMETA_{there}"], *peers.split(",")], timeout=20)
    client.set(key, "v")
    assert client.get(key) == b"v"


def test_a_host_that_does_not_resolve(clients, key):
    client = clients.client("nobody.invalid:5003", timeout=0.8)
    started = time.monotonic()
    with pytest.raises(gometa.UnavailableError, match=r"nobody\.invalid"):
        client.get(key)
    assert time.monotonic() - started < 0.8 + LATE


def test_clients_are_not_copied(peers):
    for made in (gometa.Client(peers), gometa.aio.Client(peers)):
        for copied in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=r"client\.peers"):
                copied(made)


def test_a_subclass_that_does_not_call_its_parent_raises(key):
    class Careless(gometa.Client):
        def __init__(self):
            pass

    with pytest.raises(AttributeError):
        Careless().get(key)


def test_subclasses_work(peers, key):
    class Prefixed(gometa.Client):
        def get(self, key, default=None, **keywords):
            return super().get(f"prefix/{key}", default, **keywords)

    with Prefixed(peers) as client:
        client.set(f"prefix/{key}", "v")
        assert client.get(key) == b"v"
        assert "Prefixed" in repr(client)


def test_the_native_part_checks_its_arguments(key):
    from gometa import _gometa

    with pytest.raises(TypeError):
        _gometa.Core()
    core = _gometa.Core(["127.0.0.1:1"], 1.0, 1.0, 1.0, 1.0, "n", False)
    with pytest.raises(TypeError):
        core.start("get", (key, "local", 0), None, object())
    with pytest.raises(TypeError):
        core.call("get", [key, "local", 0], None)
    with pytest.raises(ValueError, match="no operation"):
        core.call("nonsense", (), None)
    with pytest.raises(ValueError, match="tuple"):
        core.call("get", (key,), None)
    calls = _gometa.LoopCalls(1, _gometa.ReadyLoops(), lambda: 5)
    calls.cancel(99)
    calls.complete()
    gc.collect()
