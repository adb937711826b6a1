"""Forked children: they open connections of their own, do not hang, and do not affect their parent."""

import asyncio
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback

import pytest

import gometa

# Python 3.12 and newer warn about forking with threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

# The timeout of a child in seconds.
LIMIT = 30


def in_child(work):
    """Runs `work` in a forked child, which must succeed within the timeout."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    until = time.monotonic() + LIMIT
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the child hangs")
        time.sleep(0.002)


def test_a_client_works_on_both_sides(clients, key):
    client = clients.client()
    client.set(key, "before")

    def child():
        assert client.get(key) == b"before"
        assert client.counters().requests == 1
        client.set(key + "/child", "v")
        client.close()
        client.close()
        with pytest.raises(gometa.ClosedError):
            client.get(key)

    if clients.name == "blocking":
        in_child(child)
    else:
        # An event loop cannot be used after a fork, a client can.
        def with_a_loop():
            clients._loop = None
            client._loop = asyncio.new_event_loop()
            child()
            client._loop.close()

        in_child(with_a_loop)
    assert client.get(key) == b"before" and client.get(key + "/child") == b"v"
    assert client.counters().reconnects <= 1


def test_a_client_that_was_not_used_yet(blocking, key):
    def child():
        blocking.set(key, "child")

    in_child(child)
    assert blocking.get(key) == b"child"


def test_a_closed_client_stays_closed(blocking, key):
    blocking.set(key, "v")
    blocking.close()

    def child():
        with pytest.raises(gometa.ClosedError):
            blocking.get(key)

    in_child(child)


def test_children_of_children(blocking, key):
    blocking.set(key, "0")

    def generation(number):
        def child():
            assert blocking.get(key) == str(number - 1).encode()
            blocking.set(key, str(number))
            if number < 4:
                in_child(generation(number + 1))
                assert blocking.get(key) == b"4"

        return child

    in_child(generation(1))
    assert blocking.get(key) == b"4"


def test_a_child_may_drop_the_client_and_exit_in_any_way(run, peers):
    run(
        """
import gc, os, sys, gometa
client = gometa.Client(sys.argv[1])
client.set("dropped", "v")
for how in ("drop", "exit", "nothing", "use and exit"):
    child = os.fork()
    if child == 0:
        if how == "drop":
            del client
            gc.collect()
        elif how == "exit":
            sys.exit(0)
        elif how == "use and exit":
            assert client.get("dropped") == b"v"
        raise SystemExit
    assert os.waitpid(child, 0)[1] == 0, how
assert client.get("dropped") == b"v"
""",
        peers,
        timeout=LIMIT,
    )


def test_forks_while_other_threads_are_busy(run, peers):
    run(
        """
import asyncio, logging, os, sys, threading, gometa

# Records are dropped, not written to a file: the lock of a file stays locked in a child.
class Nowhere(logging.Handler):
    def emit(self, record):
        record.getMessage()

logging.basicConfig(level=logging.DEBUG, handlers=[Nowhere()])
client = gometa.Client(sys.argv[1])
going = True

def work(name):
    number = 0
    while going:
        number += 1
        client.set(f"busy/{name}", str(number))
        assert client.get(f"busy/{name}") == str(number).encode()

async def many():
    async with gometa.aio.Client(sys.argv[1]) as aio:
        async def one(name):
            while going:
                await aio.set(f"busy/{name}", "v")
        await asyncio.gather(*(one(f"aio-{n}") for n in range(8)))

threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
threads.append(threading.Thread(target=asyncio.run, args=(many(),)))
for thread in threads:
    thread.start()
client.set("busy", "parent")
for round in range(25):
    child = os.fork()
    if child == 0:
        try:
            assert client.get("busy") == b"parent"
            async def awaited():
                async with gometa.aio.Client(sys.argv[1]) as aio:
                    return await aio.get("busy")
            if round % 5 == 0:
                assert asyncio.run(awaited()) == b"parent"
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
going = False
for thread in threads:
    thread.join()
assert client.get("busy") == b"parent"
""",
        peers,
        timeout=2 * LIMIT,
    )


# In a module of their own, so that multiprocessing's children can import them.
shared = None


def read(key):
    return shared.get(key)


def write(arguments):
    key, number = arguments
    shared.set(f"{key}/{number}", str(number))
    with gometa.Client(os.environ["GOMETA_PEERS"]) as own:
        return own.get(f"{key}/{number}")


def fail(key):
    shared.add(key, "again")


def test_multiprocessing_with_fork(blocking, key):
    global shared
    shared = blocking
    blocking.set(key, "v")
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(read, [key] * 20) == [b"v"] * 20
        assert pool.map(write, [(key, n) for n in range(20)]) == [str(n).encode() for n in range(20)]
        # Errors are pickled.
        with pytest.raises(gometa.AlreadyExistsError) as caught:
            pool.apply(fail, (key,))
        assert caught.value.actual_revision == blocking.entry(key).mod_revision
    assert blocking.get(key) == b"v" and blocking.counters().reconnects <= 1


def test_multiprocessing_with_spawn_needs_peers(blocking):
    with pytest.raises(TypeError, match=r"client\.peers"):
        multiprocessing.get_context("spawn").Process(target=print, args=(blocking,)).start()


def test_threads_and_a_fork_of_a_thread(blocking, key):
    """The thread that forks is the child's main thread, which handles Ctrl-C."""
    blocking.set(key, "v")
    failures = []

    def child():
        assert threading.current_thread() is threading.main_thread()
        assert blocking.get(key) == b"v"
        signal.signal(signal.SIGALRM, interrupted)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(InterruptedError):
            blocking.get(key, consistency="local", min_revision=1 << 60, timeout=LIMIT)

    def interrupted(*_):
        raise InterruptedError

    def work():
        try:
            in_child(child)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []


def test_a_scan_and_a_transaction_do_not_cross_a_fork(blocking, key):
    client = blocking
    # Two pages, of which the second is requested when the first has arrived.
    for name in "ab":
        client.set(f"{key}/{name}", b"v" * 700_000)
    scan = client.scan(f"{key}/")
    assert next(scan).key == f"{key}/a".encode()

    def move(txn):
        def child():
            with pytest.raises(gometa.ForkedError):
                next(scan)
            with pytest.raises(gometa.ForkedError):
                txn.get(key)
            with pytest.raises(gometa.ForkedError):
                txn.set(key, "child")
            assert client.get(f"{key}/b") == b"v" * 700_000

        in_child(child)
        txn.set(key, "parent")

    client.transaction(move)
    assert client.get(key) == b"parent"
    assert next(scan).key == f"{key}/b".encode()
