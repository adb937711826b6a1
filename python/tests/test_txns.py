"""Transactions, with both clients."""

import asyncio
import threading

import pytest

import gometa
from gometa import Compare, Op


def test_a_branch_is_executed_as_one(blocking, key):
    first = blocking.set(f"{key}/waiting", "sort")

    def take():
        return (
            blocking.txn()
            .when(Compare.exists(f"{key}/waiting"), Compare.absent(f"{key}/running"))
            .then(Op.get(f"{key}/waiting"), Op.delete(f"{key}/waiting"), Op.set(f"{key}/running", "worker"))
            .then(Op.range(f"{key}/", keys_only=True))
            .otherwise(Op.get(f"{key}/waiting"), Op.get(f"{key}/running"))
            .commit()
        )

    taken = take()
    assert taken and taken.succeeded
    before, deleted, written, page = taken.results
    assert (before.value, before.mod_revision) == (b"sort", first.revision)
    assert deleted == gometa.Deleted(True, taken.revision)
    assert written == gometa.Written(taken.revision, 1)
    assert [entry.key for entry in page.entries] == [f"{key}/running".encode()]
    again = take()
    assert not again
    assert again.results[0] is None
    assert again.results[1].mod_revision == taken.revision


def test_every_comparison(blocking, key):
    revision = blocking.set(key, "b").revision
    for compare, holds in [
        (Compare.mod_revision(key, "=", revision), True),
        (Compare.mod_revision(key, "<", revision), False),
        (Compare.create_revision(key, ">", revision - 1), True),
        (Compare.create_revision(key, "!=", revision), False),
        (Compare.value(key, "=", b"b"), True),
        (Compare.value(key, ">", "a"), True),
        (Compare.value(key, "<", "ab"), False),
        (Compare.value(key + "/absent", "!=", ""), False),
        (Compare.absent(key + "/absent"), True),
        (Compare.exists(key + "/absent"), False),
    ]:
        read = blocking.txn().when(compare).then(Op.get(key)).commit(consistency="local", min_revision=revision)
        assert read.succeeded is holds, compare
        assert read.revision >= revision


def test_a_result_without_room_in_the_answer(blocking, key):
    blocking.set(key + "/large", b"v" * (1 << 20))
    blocking.set(key + "/small", b"v")
    answer = blocking.txn().then(Op.get(key + "/large"), Op.get(key + "/small")).commit()
    large, left = answer.results
    assert len(large.value) == 1 << 20
    assert isinstance(left, gometa.TooLargeError)
    assert left.actual_revision == answer.revision
    assert blocking.entry_at(key + "/small", left.actual_revision).value == b"v"


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda txn, key: txn.then(Op.set(key, ""), Op.delete(key)), gometa.InvalidArgumentError),
        (lambda txn, key: txn.then(Op.set("", "")), gometa.InvalidArgumentError),
        (lambda txn, key: txn.when(Compare.value(key, "==", "")), gometa.InvalidArgumentError),
        (lambda txn, key: txn.when(Compare.mod_revision(key, "=", -1)), gometa.InvalidArgumentError),
        (lambda txn, key: txn.when(Compare.mod_revision(key, "=", "1")), TypeError),
        (lambda txn, key: txn.when(*[Compare.exists(key)] * 129), gometa.TooLargeError),
        (lambda txn, key: txn.then(Op.set(key, b"v" * (1 << 20)), Op.set("k", b"v" * 8192)), gometa.TooLargeError),
        (lambda txn, key: txn.then("set"), (TypeError, ValueError)),
    ],
)
def test_bad_input(blocking, key, wrong, error):
    with pytest.raises(error):
        wrong(blocking.txn(), key).commit()


def test_a_function_is_called_again_on_conflict(blocking, key, peers):
    blocking.set(key, "0")

    def increment(txn):
        count = int(txn.get(key)) + 1
        txn.set(key, str(count))
        assert txn.get(key) == str(count).encode(), "it reads its own writes"
        return count

    def work():
        with gometa.Client(peers, timeout=30) as own:
            for _ in range(20):
                own.transaction(increment)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert blocking.get(key) == b"80"
    assert blocking.transaction(increment) == 81


def test_a_function_that_raises_has_no_effect(blocking, key):
    def fail(txn):
        txn.set(key, "v")
        raise KeyError("no")

    with pytest.raises(KeyError, match="no"):
        blocking.transaction(fail)
    assert blocking.get(key) is None


def test_conflicts_until_the_timeout(blocking, key):
    blocking.set(key, "0")

    def overtaken(txn):
        txn.get(key)
        blocking.set(key, "other")
        txn.set(key, "own")

    # The outcome is unknown if the time ends amid a commit.
    outcomes = ["unknown"]
    while outcomes[-1] == "unknown" and len(outcomes) < 20:
        with pytest.raises(gometa.DeadlineExceededError) as caught:
            blocking.transaction(overtaken, timeout=0.5)
        outcomes.append(caught.value.outcome)
    assert outcomes[-1] == "not_applied"
    assert blocking.get(key) == b"other"


def test_transactions_of_asyncio(key, peers):
    async def work():
        async with gometa.aio.Client(peers, timeout=30) as client:
            await client.set(key, "0")

            async def increment(txn):
                count = int(await txn.get(key)) + 1
                txn.set(key, str(count))
                txn.delete(key + "/absent")
                return count

            counts = await asyncio.gather(*(client.transaction(increment) for _ in range(8)))
            assert sorted(counts) == list(range(1, 9))
            answer = await client.txn().when(Compare.value(key, "=", "8")).then(Op.get(key)).commit()
            assert answer.results[0].value == b"8"

    asyncio.run(work())


def test_ranges_are_compared_and_deleted(blocking, key):
    for number in range(3):
        last = blocking.set(f"{key}/{number}", "v").revision

    def clear(count, revision):
        as_found = Compare.range(f"{key}/", count=count, revision=revision)
        return blocking.txn().when(as_found).then(Op.delete_range(f"{key}/"), Op.range(f"{key}/")).commit()

    assert not clear(2, last)
    assert not clear(3, last - 1)
    cleared = clear(3, last)
    deleted, left = cleared.results
    assert deleted == gometa.DeletedRange(count=3, revision=cleared.revision)
    assert left.entries == ()
    assert blocking.txn().when(Compare.empty(start=f"{key}/", end=f"{key}/9")).commit()
    assert blocking.txn().then(Op.delete_range(f"{key}/")).commit().results == (gometa.DeletedRange(0, 0),)


def test_a_key_that_appears_in_a_range_is_a_conflict(key, peers):
    async def of_asyncio():
        async with gometa.aio.Client(peers, timeout=20) as client:
            await client.set(f"{key}/1", "a")
            calls = 0

            async def add(txn):
                nonlocal calls
                calls += 1
                page = await txn.range(f"{key}/")
                if calls == 1:
                    await client.set(f"{key}/2", "b")
                txn.set(f"{key}/{len(page.entries) + 1}", "c")
                own = await txn.range(f"{key}/", reverse=True, keys_only=True)
                return [(entry.key, entry.mod_revision > 0, entry.value) for entry in own.entries]

            own = await client.transaction(add)
            assert calls == 2
            assert own[0] == (f"{key}/3".encode(), False, b"")
            assert [known for _, known, _ in own] == [False, True, True]

    asyncio.run(of_asyncio())
    with gometa.Client(peers, timeout=20) as client:
        assert len(client.transaction(lambda txn: txn.range(f"{key}/")).entries) == 3
