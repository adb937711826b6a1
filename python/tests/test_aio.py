"""asyncio: cancellation, concurrent calls, several event loops."""

import asyncio
import gc
import os
import random
import threading
import time
import weakref

import pytest

import gometa

from conftest import patience


def test_calls_run_at_the_same_time(key, peers):
    async def work():
        async with gometa.aio.Client(peers) as client:
            made = await asyncio.gather(*(client.set(f"{key}/{n}", str(n)) for n in range(500)))
            assert len({written.revision for written in made}) == 500
            read = await asyncio.gather(*(client.get(f"{key}/{n}") for n in range(500)))
            assert read == [str(n).encode() for n in range(500)]
            assert client.counters().in_flight == 0

    asyncio.run(work())


def test_no_call_gets_the_answer_of_a_cancelled_one(key, peers):
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)

    async def work():
        async with gometa.aio.Client(peers, timeout=20) as client:
            for n in range(50):
                await client.set(f"{key}/{n}", f"value of {n}")
            wrong, cancelled, answered = [], 0, 0

            async def call(n):
                nonlocal cancelled, answered
                which, keyed = chance.randrange(4), n % 50
                try:
                    if which == 0:
                        found = await client.get(f"{key}/{keyed}")
                        right = found == f"value of {keyed}".encode()
                    elif which == 1:
                        entry = await client.entry(f"{key}/{keyed}", consistency="local")
                        right = (entry.key, entry.value) == (
                            f"{key}/{keyed}".encode(), f"value of {keyed}".encode(),
                        )  # fmt: skip
                    elif which == 2:
                        right = await client.get(f"{key}/none") is None
                    else:
                        written = await client.set(f"{key}/own/{n}", str(n))
                        entry = await client.entry(f"{key}/own/{n}")
                        right = entry.value == str(n).encode() and entry.mod_revision == written.revision
                except asyncio.CancelledError:
                    cancelled += 1
                    raise
                answered += 1
                if not right:
                    wrong.append((which, n))

            tasks = []
            for _ in range(20):
                wave = [asyncio.create_task(call(len(tasks) + n)) for n in range(100)]
                tasks += wave
                for task in chance.sample(wave, 50):
                    # Before the call starts, while it is in flight, after it has ended.
                    asyncio.get_running_loop().call_later(
                        chance.choice([0, 0.002, 0.01]) * chance.random(), task.cancel
                    )
                await asyncio.wait(chance.sample(wave, 30))
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            failures = [
                e for e in ended if isinstance(e, BaseException) and not isinstance(e, asyncio.CancelledError)
            ]
            assert failures == [] and wrong == []
            assert cancelled > 100 and answered > 100, (cancelled, answered)
            # Cancelled calls have ended in the core too.
            for _ in patience():
                if not (client.counters().in_flight):
                    break
                await asyncio.sleep(0.001)
            # No write is torn, and the connection was never lost.
            for n in range(2000):
                assert await client.get(f"{key}/own/{n}") in (None, str(n).encode())
            assert client.counters().reconnects <= 1

    print("seed", seed)
    asyncio.run(work())


def test_cancelling_a_task_cancels_its_call(key):
    async def work():
        async with gometa.aio.Client(os.environ["GOMETA_SILENT"]) as client:
            tasks = [asyncio.create_task(client.get(key, timeout=60)) for _ in range(20)]
            for _ in patience():
                if client.counters().in_flight == 20:
                    break
                await asyncio.sleep(0.001)
            for task in tasks:
                task.cancel()
            for task in tasks:
                with pytest.raises(asyncio.CancelledError):
                    await task
            for _ in patience():
                if not (client.counters().in_flight):
                    break
                await asyncio.sleep(0.001)

    asyncio.run(work())


def test_timeouts_of_asyncio_cancel_the_call(key):
    async def work():
        async with gometa.aio.Client(os.environ["GOMETA_SILENT"]) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.set(key, "v", timeout=60), 0.1)

    asyncio.run(work())


def test_closing_ends_calls_of_other_tasks(key):
    async def work():
        client = gometa.aio.Client(os.environ["GOMETA_SILENT"])
        tasks = [asyncio.create_task(client.set(key, "v", timeout=60)) for _ in range(20)]
        for _ in patience():
            if client.counters().in_flight == 20:
                break
            await asyncio.sleep(0.001)
        await client.close()
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(error, gometa.ClosedError) and error.outcome == "not_applied"

    asyncio.run(work())


def test_one_client_serves_one_loop_after_another(key, peers):
    client = gometa.aio.Client(peers)
    for n in range(10):
        asyncio.run(client.set(key, str(n)))
        assert asyncio.run(client.get(key)) == str(n).encode()
    asyncio.run(client.close())


def test_one_client_serves_loops_of_several_threads(key, peers):
    client = gometa.aio.Client(peers)
    wrong = []

    def thread(name):
        async def work():
            for n in range(50):
                await client.set(f"{key}/{name}", f"{name}-{n}")
                if await client.get(f"{key}/{name}") != f"{name}-{n}".encode():
                    wrong.append((name, n))

        asyncio.run(work())

    threads = [threading.Thread(target=thread, args=(name,)) for name in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


def test_both_clients_in_one_program(key, peers):
    async def work():
        async with gometa.aio.Client(peers) as client:
            with gometa.Client(peers) as blocking:
                await client.set(key, "v")
                assert blocking.get(key) == b"v"
                assert await asyncio.to_thread(blocking.get, key) == b"v"

    asyncio.run(work())


def test_a_loop_may_be_closed_with_calls_in_flight(key, peers):
    client = gometa.aio.Client(os.environ["GOMETA_SILENT"])
    good = gometa.aio.Client(peers)
    for _ in range(20):
        loop = asyncio.new_event_loop()
        tasks = [loop.create_task(client.get(key, timeout=0.05)) for _ in range(5)]
        tasks += [loop.create_task(good.set(key, "v")) for _ in range(5)]
        # One iteration of the loop, in which the calls start.
        loop.call_soon(loop.stop)
        loop.run_forever()
        for task in tasks:
            # Otherwise asyncio logs tasks that were destroyed.
            task._log_destroy_pending = False
        loop.close()
        del tasks, loop
    gc.collect()
    for _ in patience():
        if not (client.counters().in_flight or good.counters().in_flight):
            break
        time.sleep(0.005)
    assert asyncio.run(good.get(key)) in (None, b"v")


def test_loops_are_not_kept(key, peers):
    client = gometa.aio.Client(peers)
    loops = []
    for _ in range(5):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(client.set(key, "v"))
        # A call that never ends, in a reference cycle with the loop and its tasks.
        task = loop.create_task(client.get(key, consistency="local", min_revision=1 << 60, timeout=60))
        loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False
        loop.close()
        loops.append(weakref.ref(loop))
        del loop, task
    asyncio.run(client.close())
    del client
    for _ in patience():
        if not (any(loop() for loop in loops)):
            break
        gc.collect()
        time.sleep(0.005)


def test_a_coroutine_that_is_never_awaited_does_nothing(key, peers):
    async def work():
        async with gometa.aio.Client(peers) as client:
            client.set(key, "v").close()
            assert await client.get(key) is None and client.counters().requests == 1

    asyncio.run(work())


def test_without_a_loop_there_is_no_call(key, peers):
    client = gometa.aio.Client(peers)
    coroutine = client.get(key)
    with pytest.raises(RuntimeError, match="no running event loop"):
        coroutine.send(None)


def test_a_busy_loop_gets_its_results_later(key, peers):
    async def work():
        async with gometa.aio.Client(peers) as client:
            await client.set(key, "v")
            tasks = [asyncio.create_task(client.get(key)) for _ in range(100)]
            await asyncio.sleep(0)
            # The answers arrive while this thread holds the interpreter.
            until = time.monotonic() + 0.2
            while time.monotonic() < until:
                sum(range(1000))
            assert await asyncio.gather(*tasks) == [b"v"] * 100

    asyncio.run(work())


class OtherLoop(asyncio.SelectorEventLoop):
    """A loop with its own futures, whose only thread-safe method is `call_soon_threadsafe`."""

    def __init__(self):
        super().__init__()
        self.woken = 0
        self.thread = threading.get_ident()

    def add_reader(self, *arguments):
        raise NotImplementedError

    def call_soon_threadsafe(self, callback, *arguments, context=None):
        if threading.get_ident() != self.thread:
            self.woken += 1
        return super().call_soon_threadsafe(callback, *arguments, context=context)


def test_any_loop_works_and_is_woken_once_for_many_results(key, peers):
    loop = OtherLoop()

    async def work():
        async with gometa.aio.Client(peers) as client:
            await client.set(key, "v")
            for _ in range(20):
                await asyncio.gather(*(client.get(key) for _ in range(200)))

    loop.run_until_complete(work())
    loop.close()
    assert 0 < loop.woken < 2000, loop.woken


def test_a_loop_that_fails_does_not_stop_the_others(key, peers, caplog):
    class Failing(asyncio.SelectorEventLoop):
        def call_soon_threadsafe(self, *arguments, **keywords):
            raise ZeroDivisionError("from the loop")

    client = gometa.aio.Client(peers)
    failing = Failing()
    task = failing.create_task(client.get(key))
    failing.call_soon(failing.stop)
    failing.run_forever()
    for _ in patience():
        if "could not be notified" in caplog.text:
            break
        time.sleep(0.001)
    assert asyncio.run(client.get(key)) is None
    task._log_destroy_pending = False
    failing.close()
    asyncio.run(client.close())
