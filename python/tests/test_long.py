"""Many calls: memory, and exactly-once writes while leaders are killed."""

import asyncio
import contextlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import gometa


def resident():
    """The resident size of this process in bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_stays_flat_over_many_blocking_calls(blocking, key):
    value = os.urandom(100)

    def work(count):
        for _ in range(count // 10):
            blocking.set(key, value)
            for _ in range(6):
                blocking.get(key)
            blocking.entry(key)
            with contextlib.suppress(gometa.AlreadyExistsError):
                blocking.add(key, value)
            with contextlib.suppress(gometa.CasMismatchError):
                blocking.cas(key, 0, value)

    with ThreadPoolExecutor(max_workers=8) as threads:

        def calls(count):
            list(threads.map(work, [count // 8] * 8))

        calls(10_000)
        before = resident()
        calls(100_000)
        grown = resident() - before
    assert grown < 4 << 20, f"{grown} bytes in 100,000 calls"


def test_memory_stays_flat_over_many_asyncio_calls(key, peers):
    value = os.urandom(100)

    async def calls(client, count):
        async def one(n):
            await client.set(f"{key}/{n % 10}", value)
            await client.get(f"{key}/{n % 10}")
            with contextlib.suppress(gometa.AlreadyExistsError):
                await client.add(f"{key}/{n % 10}", value)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(client.get(key, consistency="local", min_revision=1 << 60), 0.001)

        for start in range(0, count // 4, 50):
            await asyncio.gather(*(one(n) for n in range(start, start + 50)))

    async def work():
        async with gometa.aio.Client(peers) as client:
            await calls(client, 10_000)
            before = resident()
            await calls(client, 100_000)
            return resident() - before

    grown = asyncio.run(work())
    assert grown < 4 << 20, f"{grown} bytes in 100,000 calls"


def test_memory_stays_flat_over_many_clients(key, peers):
    def clients(count):
        for _ in range(count):
            with gometa.Client(peers) as client:
                client.get(key)
            asyncio.run(awaited())

    async def awaited():
        async with gometa.aio.Client(peers) as client:
            await client.get(key)

    clients(30)
    before = resident()
    clients(300)
    grown = resident() - before
    assert grown < 8 << 20, f"{grown} bytes in 600 clients"
    # No thread and no descriptor is left.
    assert len(os.listdir("/proc/self/fd")) < 60


def test_increments_are_applied_once_while_leaders_are_killed(key, peers, testbed):
    """1,000 by each kind of client, none with an unknown outcome."""
    with gometa.Client(peers, timeout=60) as client:
        client.set(key, "0")

    kills = 0
    going = True

    def killing():
        nonlocal kills
        while going:
            testbed("kill-leader")
            kills += 1
            until = time.monotonic() + 2
            while going and time.monotonic() < until:
                time.sleep(0.01)

    def blocking(count):
        with gometa.Client(peers, timeout=60) as client:
            for _ in range(count):
                while True:
                    entry = client.entry(key)
                    try:
                        client.cas(key, entry.mod_revision, str(int(entry.value) + 1))
                        break
                    except gometa.CasMismatchError:
                        continue

    async def awaited(count):
        async def one(client, share):
            for _ in range(share):
                while True:
                    entry = await client.entry(key)
                    try:
                        await client.cas(key, entry.mod_revision, str(int(entry.value) + 1))
                        break
                    except gometa.CasMismatchError:
                        continue

        async with gometa.aio.Client(peers, timeout=60) as client:
            await asyncio.gather(*(one(client, count // 4) for _ in range(4)))

    failures = []

    def guarded(work):
        def run():
            try:
                work()
            except BaseException as error:
                failures.append(error)

        return threading.Thread(target=run)

    killer = guarded(killing)
    workers = [guarded(lambda: blocking(250)) for _ in range(4)]
    workers.append(guarded(lambda: asyncio.run(awaited(1000))))
    killer.start()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    going = False
    killer.join()
    assert failures == [] and kills > 0
    with gometa.Client(peers, timeout=60) as client:
        assert client.get(key) == b"2000"
