"""Ranges, scans and reads at a revision, with both clients."""

import asyncio

import pytest

import gometa

COUNT = 2_300


@pytest.fixture
def tree(key, peers):
    """Keys of two levels, more than two pages; the revision of the last one."""

    async def fill():
        async with gometa.aio.Client(peers, timeout=30) as client:
            names = [f"{key}/{n % 7}/{n:04}" for n in range(COUNT)]
            written = await asyncio.gather(*(client.set(name, "v") for name in names))
            return sorted(name.encode() for name in names), max(made.revision for made in written)

    return asyncio.run(fill())


def test_a_page_and_the_one_behind_it(client, key, tree):
    names, _ = tree
    page = client.range(f"{key}/")
    assert [entry.key for entry in page.entries] == names[:1000]
    assert page.next == names[1000] and not page.entries[0].is_group
    behind = client.range(f"{key}/", start=page.next, at_revision=page.revision, limit=3, keys_only=True)
    assert [(entry.key, entry.value) for entry in behind.entries] == [(name, b"") for name in names[1000:1003]]
    assert behind.revision == page.revision
    last = client.range(f"{key}/", reverse=True, limit=1)
    assert last.entries[0].key == names[-1]


def test_a_scan_shows_one_revision(blocking, key, tree):
    names, revision = tree
    scan = blocking.scan(f"{key}/")
    first = next(scan)
    blocking.set(names[-1], "later")
    blocking.delete(names[-2])
    assert [first.key, *(entry.key for entry in scan)] == names
    assert {entry.value for entry in blocking.scan(f"{key}/", at_revision=revision)} == {b"v"}
    assert [entry.key for entry in blocking.scan(f"{key}/", reverse=True, limit=1500)] == [
        name for name in reversed(names) if name != names[-2]
    ][:1500]
    assert blocking.entry_at(names[-2], revision).value == b"v"
    with pytest.raises(gometa.NotFoundError):
        blocking.entry_at(names[-2], blocking.counters().seen_revision)


def test_a_scan_of_asyncio(key, peers, tree):
    names, _ = tree

    async def work():
        async with gometa.aio.Client(peers) as client:
            assert [entry.key async for entry in client.scan(f"{key}/")] == names
            groups = [entry async for entry in client.scan(f"{key}/", delimiter="/")]
            assert [entry.key for entry in groups] == [f"{key}/{n}/".encode() for n in range(7)]
            assert all(entry.is_group for entry in groups)
            async for _ in client.scan(f"{key}/"):
                break

    asyncio.run(work())


def test_counts_and_deletions_by_prefix(client, key, tree):
    names, revision = tree
    assert client.count(f"{key}/") == COUNT
    assert client.count(f"{key}/", delimiter="/") == 7
    assert client.delete_prefix(f"{key}/3/") == len([name for name in names if b"/3/" in name])
    assert client.count(f"{key}/3/") == 0
    assert client.count(f"{key}/", at_revision=revision) == COUNT
    assert client.delete_prefix(f"{key}/") > 0


def test_ranges_that_make_no_sense(client, key):
    with pytest.raises(gometa.InvalidArgumentError, match="above its end"):
        client.range(start="b", end="a")
    with pytest.raises(gometa.InvalidArgumentError, match="in the future"):
        client.range(at_revision=2**63)
    with pytest.raises(gometa.TooLargeError, match="16"):
        client.range(delimiter=b"/" * 17)
    with pytest.raises(TypeError):
        client.range(limit="many")
    with pytest.raises(gometa.InvalidArgumentError, match="consistency"):
        client.range(consistency="some")
    assert client.range(start=key, end=key).entries == ()
    assert client.range(b"\xff" * 4096).entries == ()
