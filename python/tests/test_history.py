"""The history of a key, with both clients."""

import pytest

import gometa


def test_versions_and_deletions_newest_first(client, key):
    first = client.set(key, "one").revision
    second = client.set(key, b"three").revision
    deleted = client.delete(key).revision
    again = client.add(key, "").revision
    expected = (
        gometa.KeyVersion(again, False, 1, again, b"", 0),
        gometa.KeyVersion(deleted, True, 0, 0, b"", 0),
        gometa.KeyVersion(second, False, 2, first, b"three", 5),
        gometa.KeyVersion(first, False, 1, first, b"one", 3),
    )
    page = client.history(key)
    assert page.versions == expected and page.next_before is None
    assert page.revision >= again and page.oldest_revision <= page.revision

    # In pages of one, without values, each read at another moment.
    before = 0
    for version in expected:
        page = client.history(key, before_revision=before, limit=1, keys_only=True, consistency="local")
        assert page.versions == (version._replace(value=b""),)
        client.set(key, "later")
        before = page.next_before
    assert before is None
    assert client.history(f"{key}/never").versions == ()


def test_histories_that_make_no_sense(client, key):
    with pytest.raises(gometa.InvalidArgumentError, match="empty"):
        client.history("")
    with pytest.raises(gometa.TooLargeError, match="4096"):
        client.history("k" * 4097)
    with pytest.raises(gometa.InvalidArgumentError, match="consistency"):
        client.history(key, consistency="some")
    with pytest.raises(TypeError):
        client.history(key, limit="many")
    with pytest.raises(gometa.InvalidArgumentError, match="before_revision"):
        client.history(key, before_revision=-1)
