"""Guards of writes and settings of the ensemble, with both clients."""

import asyncio

import pytest

import gometa
from gometa import Guard, Op


def test_a_guard_holds_while_its_key_is_the_same(blocking, key):
    lock = f"{key}/lock"
    owned = blocking.add(lock, "me")
    guard = Guard(lock, owned.revision)
    assert blocking.set(key, "1", guard=guard).version == 1
    # An entry serves as a guard; another value of the lock changes nothing.
    blocking.set(lock, "me, still")
    entry = blocking.entry(lock)
    assert blocking.cas(key, blocking.entry(key).mod_revision, "2", guard=entry).version == 2
    assert blocking.txn().then(Op.set(f"{key}/a", "1"), Op.set(f"{key}/b", "1")).commit(guard=entry)

    def increment(txn):
        txn.set(key, str(int(txn.get(key)) + 1))

    blocking.transaction(increment, guard=guard)
    assert blocking.get(key) == b"3"
    writes = [
        lambda: blocking.set(key, "4", guard=guard),
        lambda: blocking.add(f"{key}/c", "1", guard=guard),
        lambda: blocking.delete(key, guard=guard),
        lambda: blocking.delete_prefix(f"{key}/a", guard=guard),
        lambda: blocking.txn().then(Op.delete(key)).commit(guard=guard),
        lambda: blocking.transaction(increment, guard=guard),
        lambda: blocking.set_setting("HistoryAgeMinutes", 60, guard=guard),
    ]
    # The lock is lost, and then another one has it.
    blocking.delete(lock)
    for lose in (lambda: 0, lambda: blocking.add(lock, "other").revision):
        actual = lose()
        for write in writes:
            with pytest.raises(gometa.GuardFailedError) as caught:
                write()
            assert (caught.value.number, caught.value.actual_revision) == (22, actual)
    assert blocking.get(key) == b"3"


def test_guards_that_make_no_sense(blocking, key):
    for guard, expected in [
        (Guard("", 1), gometa.InvalidArgumentError),
        (Guard(key, 0), gometa.InvalidArgumentError),
        (Guard(key, -1), gometa.InvalidArgumentError),
        (Guard("k" * 4097, 1), gometa.TooLargeError),
        (("lock", 1), TypeError),
        (Guard(5, 1), TypeError),
    ]:
        with pytest.raises(expected):
            blocking.set(key, "1", guard=guard)
    assert blocking.get(key) is None


def test_settings(blocking):
    name = "HistoryRevisionsMin"

    def setting():
        return {setting.name: setting for setting in blocking.settings()}[name]

    assert setting() == gometa.Setting(name, 10_000, False, 10_000, 1_000, 1_000_000_000)
    revision = blocking.set_setting(name, 2_000)
    assert revision > 0
    assert setting()[:3] == (name, 2_000, True)
    assert blocking.set_setting(name, None) > revision
    assert not setting().is_set
    for unknown, value in [("HistoryRevisionsMax", 1), (name, 999), (name, 1 << 63)]:
        with pytest.raises(gometa.InvalidArgumentError):
            blocking.set_setting(unknown, value)


def test_guards_and_settings_of_asyncio(key, peers):
    async def work():
        async with gometa.aio.Client(peers, timeout=30) as client:
            lock = f"{key}/lock"
            guard = Guard(lock, (await client.add(lock, "me")).revision)
            await client.set(key, "1", guard=guard)
            assert await client.txn().then(Op.set(key, "2")).commit(guard=guard)
            await client.delete(lock)
            with pytest.raises(gometa.GuardFailedError):
                await client.delete(key, guard=guard)
            with pytest.raises(gometa.GuardFailedError):
                await client.txn().then(Op.delete(key)).commit(guard=guard)
            assert await client.get(key) == b"2"
            revision = await client.set_setting("HistoryAgeMinutes", 60)
            assert [setting.name for setting in await client.settings() if setting.is_set] == ["HistoryAgeMinutes"]
            assert await client.set_setting("HistoryAgeMinutes", None) > revision

    asyncio.run(work())
