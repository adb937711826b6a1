"""Transactions: comparisons, operations, and what both clients share."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeVar, Union

from ._errors import GometaError
from ._types import BytesLike, Deleted, DeletedRange, Entry, Page, Written

Relation = Literal["=", "!=", "<", ">"]
"""How a fact of a key, on the left, relates to an operand. Values are ordered by their bytes."""

OpResult = Union[Written, Deleted, Entry, Page, DeletedRange, GometaError, None]
"""The result of an operation: of a set, a delete, a get, a range, a delete_range. ``None``: the key of a get did
not exist. An error: the operation was executed, but its result is not in the answer; ``TooLargeError``: the answer
is full, read the rest at the revision ``actual_revision``; ``CompactedError``: the history of the ensemble begins
behind the transaction now."""

_Self = TypeVar("_Self", bound="TxnBase")


class Compare(NamedTuple):
    """A comparison of a transaction, made by one of the methods."""

    key: BytesLike
    fact: Literal["mod_revision", "create_revision", "value", "range"]
    relation: Relation
    operand: int | BytesLike | tuple[object, ...]

    @staticmethod
    def mod_revision(key: BytesLike, relation: Relation, revision: int) -> Compare:
        """Compares the revision of the last write to a key; 0 if the key does not exist."""
        return Compare(key, "mod_revision", relation, revision)

    @staticmethod
    def create_revision(key: BytesLike, relation: Relation, revision: int) -> Compare:
        """Compares the revision at which a key was created; 0 if the key does not exist."""
        return Compare(key, "create_revision", relation, revision)

    @staticmethod
    def value(key: BytesLike, relation: Relation, value: BytesLike) -> Compare:
        """Compares a key's value. Never holds if the key does not exist."""
        return Compare(key, "value", relation, value)

    @staticmethod
    def exists(key: BytesLike) -> Compare:
        """The key exists."""
        return Compare(key, "mod_revision", ">", 0)

    @staticmethod
    def absent(key: BytesLike) -> Compare:
        """The key does not exist."""
        return Compare(key, "mod_revision", "=", 0)

    @staticmethod
    def range(
        prefix: BytesLike = b"", *, count: int, revision: int, start: BytesLike = b"", end: BytesLike = b""
    ) -> Compare:
        """The range has exactly ``count`` keys, and none of them was written after ``revision``: it is as a scan
        at that revision found it. At most 1,000 keys, in all comparisons of a transaction together."""
        return Compare(b"", "range", "=", (prefix, start, end, count, revision))

    @staticmethod
    def empty(prefix: BytesLike = b"", *, start: BytesLike = b"", end: BytesLike = b"") -> Compare:
        """The range has no key."""
        return Compare.range(prefix, count=0, revision=0, start=start, end=end)


class Op(NamedTuple):
    """An operation of a transaction, made by one of the methods."""

    kind: Literal["set", "delete", "get", "range", "delete_range"]
    arguments: tuple[Any, ...]

    @staticmethod
    def set(key: BytesLike, value: BytesLike) -> Op:
        """Creates or replaces a key."""
        return Op("set", (key, value))

    @staticmethod
    def delete(key: BytesLike) -> Op:
        """Removes a key, if it exists."""
        return Op("delete", (key,))

    @staticmethod
    def get(key: BytesLike) -> Op:
        """Reads a key."""
        return Op("get", (key,))

    @staticmethod
    def range(
        prefix: BytesLike = b"",
        *,
        start: BytesLike = b"",
        end: BytesLike = b"",
        limit: int = 0,
        reverse: bool = False,
        keys_only: bool = False,
        delimiter: BytesLike = b"",
    ) -> Op:
        """Reads a page of a range; see ``gometa.Client.range``. It must not stand between two writes to its
        keys."""
        return Op("range", (prefix, start, end, 0, limit, reverse, keys_only, delimiter, "linearizable", 0))

    @staticmethod
    def delete_range(prefix: BytesLike = b"", *, start: BytesLike = b"", end: BytesLike = b"") -> Op:
        """Removes all keys of a range, which has a prefix, a start or an end: at most 1,000, less the number of
        the other writes of the branch, with at most 1 MiB of key bytes. The branch writes none of these keys
        otherwise."""
        return Op("delete_range", (prefix, start, end))


class Transacted(NamedTuple):
    """The answer to a transaction. False if a comparison did not hold."""

    succeeded: bool
    """Whether every comparison held, so that the operations of ``then`` were executed; else those of ``otherwise``
    were."""
    revision: int
    """The revision at which it was executed; if it writes in neither branch, the one that was read at."""
    results: tuple[OpResult, ...]
    """The results of the executed operations, in their order."""

    def __bool__(self) -> bool:
        return self.succeeded


class TxnBase:
    """What the transactions of both clients share."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._when: list[Compare] = []
        self._then: list[Op] = []
        self._otherwise: list[Op] = []

    def when(self: _Self, *comparisons: Compare) -> _Self:
        """Adds comparisons. Without any, the operations of ``then`` are executed."""
        self._when += comparisons
        return self

    def then(self: _Self, *operations: Op) -> _Self:
        """Adds operations that are executed if all comparisons hold. Each sees what earlier ones have written."""
        self._then += operations
        return self

    def otherwise(self: _Self, *operations: Op) -> _Self:
        """Adds operations that are executed if a comparison does not hold."""
        self._otherwise += operations
        return self

    def _arguments(self, consistency: str, min_revision: int) -> tuple[object, ...]:
        return (self._when, self._then, self._otherwise, consistency, min_revision)
