"""The blocking client, and the base class that it shares with the asyncio client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import NoReturn, TypeVar, overload

from ._errors import CompactedError
from ._gometa import Attempts, Core, Pages
from ._txn import Transacted, TxnBase
from ._types import (
    BytesLike,
    Consistency,
    Counters,
    Deleted,
    Entry,
    GuardLike,
    KeyHistory,
    Members,
    MembersChanged,
    Membership,
    MembersVersion,
    Page,
    Setting,
    Status,
    StopAdvice,
    Written,
)

_Default = TypeVar("_Default")
_Result = TypeVar("_Result")
_Self = TypeVar("_Self", bound="Client")


class _Base:
    """What both clients share: construction, and methods that do not wait."""

    _core: Core

    def __init__(
        self,
        peers: str | Iterable[str],
        *,
        timeout: float = 5.0,
        connect_timeout: float = 2.0,
        keepalive_interval: float = 0.5,
        keepalive_timeout: float = 1.0,
        name: str = "gometa-python",
        pinned: bool = False,
    ) -> None:
        if isinstance(peers, (bytes, bytearray, memoryview)):
            raise TypeError("peers must be str or a list of str, not bytes")
        listed = [peers] if isinstance(peers, str) else list(peers)
        self._core = Core(listed, timeout, connect_timeout, keepalive_interval, keepalive_timeout, name, pinned)

    @property
    def peers(self) -> str:
        """The addresses given to the client, separated by commas."""
        return self._core.peers()

    @property
    def history_id(self) -> int | None:
        """The id of the ensemble's history that this client knows; ``None`` before the first connection.

        It rises when the ensemble is founded anew from old data: then calls in progress raise
        ``HistoryChangedError``, and so do those that begin before one of them has raised it; later calls work
        with the new history. Does not wait; works on a closed client too.
        """
        return self._core.history_id()

    def counters(self) -> Counters:
        """Counters of this client in this process. Does not wait; works on a closed client too."""
        return self._core.counters()

    def __repr__(self) -> str:
        module = type(self).__module__.removesuffix("._client")
        return f"<{module}.{type(self).__qualname__} of {self.peers}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a gometa client cannot be pickled or copied: it is a connection of this process. "
            "Pass client.peers, and create a client where it is needed"
        )


class Txn(TxnBase):
    """A transaction that is being put together; see ``Client.txn``."""

    def commit(
        self,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
        guard: GuardLike | None = None,
    ) -> Transacted:
        """Executes the transaction, exactly once. ``consistency`` and ``min_revision`` have an effect only if
        it writes in neither branch; see ``Client.get``.

        Raises ``InvalidArgumentError`` for an empty key, a key that a branch writes twice, and a range between
        two writes to its keys; ``TooLargeError`` for more than 128 comparisons, or operations in a branch, more
        bytes than the largest set has, and if it has to do with too much: more than 8 MiB of values of the keys
        that it compares or may write, or of records of the ranges that it compares, or of those that it may
        delete, more than 1,000 keys that a branch changes, more than 1 MiB of keys in the ranges that a branch
        deletes; and the errors of ``Client.set``.
        """
        return self._client._core.call("commit", self._arguments(consistency, min_revision), timeout, guard)


class Transaction:
    """What the function of ``Client.transaction`` reads and writes."""

    def __init__(self, core: Core, attempts: Attempts) -> None:
        self._core = core
        self._attempts = attempts

    def get(self, key: BytesLike) -> bytes | None:
        """Returns a key's value: the one that this transaction has set, or that of the revision that it reads at.
        ``None`` if the key does not exist."""
        return self._core.call("read", (self._attempts, key), None)

    def range(
        self,
        prefix: BytesLike = b"",
        *,
        start: BytesLike = b"",
        end: BytesLike = b"",
        reverse: bool = False,
        keys_only: bool = False,
    ) -> Page:
        """Returns all keys of a range: those that this transaction has set, whose version and revisions are 0, and
        others as of the revision that it reads at. The page is the only one.

        Raises ``TooLargeError`` if the ranges that the transaction reads have more than 1,000 keys together, and
        the errors of ``Client.range``.
        """
        keys = (prefix, start, end, 0, 0, reverse, keys_only, b"", "linearizable", 0)
        return self._core.call("read_range", (self._attempts, keys), None)

    def set(self, key: BytesLike, value: BytesLike) -> None:
        """Creates or replaces a key, if the transaction takes effect."""
        self._attempts.set(key, value)

    def delete(self, key: BytesLike) -> None:
        """Removes a key, if the transaction takes effect."""
        self._attempts.delete(key)


class Client(_Base):
    """A client of an ensemble. Each call waits for its answer; other threads run meanwhile.

    Creating a client does no IO, so it succeeds even if no node can be reached. A client is thread-safe and meant
    to be kept: it has one connection, shared by all its calls. In a forked child it opens a new one on its first
    call.

    - ``peers``: the client addresses of one or more nodes, ``"host:port"``: a list, or a string with commas.
    - ``timeout``: the timeout of a call in seconds, retries included. All times are above 0 and at most 365 days.
    - ``connect_timeout``: the timeout of connecting to one node, name resolution and handshake included.
    - ``keepalive_interval``, ``keepalive_timeout``: while a response is pending and nothing is received for
      ``keepalive_interval``, the client sends a ping; it closes the connection if nothing is received for another
      ``keepalive_timeout``. It also does so if a call times out on a connection on which a response has been
      pending for ``keepalive_interval``.
    - ``name``: the application's name, which the nodes log; at most 16 characters are used.
    - ``pinned``: use only the given addresses, in their order, and follow neither leader hints nor the list of
      members. For tools that examine one node.

    Raises ``InvalidArgumentError`` if there is no address, or an invalid one.
    """

    def add(
        self, key: BytesLike, value: BytesLike, *, timeout: float | None = None, guard: GuardLike | None = None
    ) -> Written:
        """Creates a key.

        Raises ``AlreadyExistsError`` if the key exists; ``actual_revision`` is its revision.
        """
        return self._core.call("add", (key, value), timeout, guard)

    def set(
        self, key: BytesLike, value: BytesLike, *, timeout: float | None = None, guard: GuardLike | None = None
    ) -> Written:
        """Creates or replaces a key.

        Like every call it raises ``InvalidArgumentError``, ``TooLargeError`` and ``ClosedError``. It raises
        ``UnavailableError``, a ``ConnectionError``, if no node could be reached within the timeout, and
        ``DeadlineExceededError``, a ``TimeoutError``, if a node was reached and did not answer. The error's
        ``outcome`` says whether the write may have been applied; a write is applied at most once.

        Every write takes a ``guard``: the write raises ``GuardFailedError`` unless the guard's key exists with
        the guard's ``create_revision``; ``actual_revision`` is the key's, 0 if it does not exist. With the key of
        a lock, this excludes the writes of an owner that has lost the lock without noticing.
        """
        return self._core.call("set", (key, value), timeout, guard)

    def cas(
        self,
        key: BytesLike,
        revision: int,
        value: BytesLike,
        *,
        timeout: float | None = None,
        guard: GuardLike | None = None,
    ) -> Written:
        """Replaces a key if its ``mod_revision`` equals ``revision``; 0 means that the key must not exist.

        Raises ``CasMismatchError`` otherwise; ``actual_revision`` is the key's revision, 0 if it does not exist.
        """
        return self._core.call("cas", (key, revision, value), timeout, guard)

    def delete(
        self,
        key: BytesLike,
        revision: int | None = None,
        *,
        timeout: float | None = None,
        guard: GuardLike | None = None,
    ) -> Deleted:
        """Deletes a key; with ``revision``, only if that is its ``mod_revision``.

        The result is false if the key did not exist. Raises ``CasMismatchError``, with ``actual_revision``, if
        ``revision`` is given and differs, or the key does not exist.
        """
        return self._core.call("delete", (key, revision), timeout, guard)

    @overload
    def get(
        self,
        key: BytesLike,
        default: None = None,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> bytes | None: ...
    @overload
    def get(
        self,
        key: BytesLike,
        default: _Default,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> bytes | _Default: ...
    def get(
        self,
        key: BytesLike,
        default: _Default | None = None,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> bytes | _Default | None:
        """Returns the value of a key, or ``default`` if the key does not exist.

        A ``"linearizable"`` read sees every write that any client had acknowledged before it began. A ``"local"``
        read is answered from the state of one node: faster and possibly stale, but never older than what this
        client has seen, nor than ``min_revision``.
        """
        value: bytes | None = self._core.call("get", (key, consistency, min_revision), timeout)
        return default if value is None else value

    def entry(
        self,
        key: BytesLike,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> Entry:
        """Returns a key's value, version and revisions, read like ``get``.

        Raises ``NotFoundError`` if the key does not exist.
        """
        return self._core.call("entry", (key, consistency, min_revision), timeout)

    def entry_at(self, key: BytesLike, revision: int, *, timeout: float | None = None) -> Entry:
        """Returns a key as it was at a revision.

        Raises ``NotFoundError`` if it did not exist, and ``CompactedError`` as ``range``.
        """
        return self._core.call("entry_at", (key, revision), timeout)

    def history(
        self,
        key: BytesLike,
        *,
        before_revision: int = 0,
        limit: int = 0,
        keys_only: bool = False,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> KeyHistory:
        """Reads the versions of a key that the ensemble keeps, newest first: one page, of at most 1,000 versions
        with at most 1 MiB of values. A deletion is a version too. A key that does not exist is no error.

        ``before_revision`` leaves out that revision and those above it: give it the ``next_before`` of the page
        before. Versions never change, so pages have no gap and no duplicate, whenever each is read. ``limit``
        bounds the number of versions, ``keys_only`` leaves out the values. See ``get`` for the other arguments.
        """
        arguments = (key, before_revision, limit, keys_only, consistency, min_revision)
        return self._core.call("history", arguments, timeout)

    def range(
        self,
        prefix: BytesLike = b"",
        *,
        start: BytesLike = b"",
        end: BytesLike = b"",
        at_revision: int = 0,
        limit: int = 0,
        reverse: bool = False,
        keys_only: bool = False,
        delimiter: BytesLike = b"",
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> Page:
        """Reads the first page of a range: at most 1,000 entries and 1 MiB; ``scan`` reads all of it.

        The range has the keys that begin with ``prefix``, are not below ``start``, and are below ``end``; what
        is empty is no bound. Keys are ordered by their bytes. ``at_revision`` reads what was there at a
        revision; 0 is the present. ``limit`` bounds the number of entries. ``reverse`` reads in descending
        order, ``keys_only`` without values. With a ``delimiter``, keys that share what comes before its first
        occurrence behind the prefix are one entry, with ``is_group``: one level of a hierarchy.

        Raises ``CompactedError`` if ``at_revision`` is older than the ensemble's history; ``actual_revision`` is
        the oldest revision that can be read.
        """
        arguments = (
            prefix,
            start,
            end,
            at_revision,
            limit,
            reverse,
            keys_only,
            delimiter,
            consistency,
            min_revision,
        )
        return self._core.call("range", arguments, timeout)

    def scan(
        self,
        prefix: BytesLike = b"",
        *,
        start: BytesLike = b"",
        end: BytesLike = b"",
        at_revision: int = 0,
        limit: int = 0,
        reverse: bool = False,
        keys_only: bool = False,
        delimiter: BytesLike = b"",
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> Iterator[Entry]:
        """Yields the entries of a range, which is read in pages, all at one revision. Each page is requested while
        the one before is consumed. ``limit`` bounds all entries together, ``timeout`` is that of a page; see
        ``range``.
        """
        arguments = (
            prefix,
            start,
            end,
            at_revision,
            limit,
            reverse,
            keys_only,
            delimiter,
            consistency,
            min_revision,
        )
        pages = Pages(arguments)

        def entries() -> Iterator[Entry]:
            while (page := self._core.call("next_page", (pages,), timeout)) is not None:
                yield from page.entries

        return entries()

    def count(
        self,
        prefix: BytesLike = b"",
        *,
        start: BytesLike = b"",
        end: BytesLike = b"",
        at_revision: int = 0,
        delimiter: BytesLike = b"",
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> int:
        """Counts the keys of a range at one revision; with a ``delimiter``, each group once. See ``range``."""
        arguments = (prefix, start, end, at_revision, 0, False, True, delimiter, consistency, min_revision)
        return self._core.call("count", arguments, timeout)

    def delete_prefix(
        self, prefix: BytesLike, *, timeout: float | None = None, guard: GuardLike | None = None
    ) -> int:
        """Deletes the keys that begin with ``prefix``, one after the other: **not atomic**. Keys that are
        created meanwhile may be left. Returns the number of deleted keys. ``timeout`` is that of each step.
        After an error, keys that were deleted before stay deleted: its ``outcome`` is ``"unknown"`` once a
        deletion has begun."""
        return self._core.call("delete_prefix", (prefix,), timeout, guard)

    def txn(self) -> Txn:
        """Begins a transaction: several operations on any keys, executed as one, or those of another branch if a
        comparison does not hold.

            client.txn().when(Compare.absent("k")).then(Op.set("k", "v")).otherwise(Op.get("k")).commit()

        A branch has at most 128 operations, and writes no key twice.
        """
        return Txn(self)

    def transaction(
        self,
        function: Callable[[Transaction], _Result],
        *,
        timeout: float | None = None,
        guard: GuardLike | None = None,
    ) -> _Result:
        """Calls a function that reads and writes keys, and makes its writes take effect as one, if nothing that
        it has read has changed meanwhile. Otherwise it is called again, until the timeout, so it must have no
        other effects. What it reads is from one revision, with its own writes. Returns what the function
        returns; an exception that it raises ends the transaction without effect.

        Raises ``DeadlineExceededError`` with the outcome ``"not_applied"`` if other writes have changed what it
        reads each time, with ``"unknown"`` if the time ends while a commit awaits its answer; and the errors of
        ``Txn.commit``.
        """
        attempts = self._core.transaction(timeout, guard)
        while True:
            try:
                result = function(Transaction(self._core, attempts))
            except CompactedError:
                # What it reads has left the history: it begins again, at a later revision.
                self._core.call("end_attempt", (attempts, True), None)
            else:
                if self._core.call("end_attempt", (attempts, False), None):
                    return result

    def settings(self, *, timeout: float | None = None) -> tuple[Setting, ...]:
        """Returns the settings of the ensemble, ascending by name, as the node in use has applied them."""
        return self._core.call("settings", (), timeout)

    def set_setting(
        self, name: str, value: int | None, *, timeout: float | None = None, guard: GuardLike | None = None
    ) -> int:
        """Changes a setting of the ensemble; ``None`` is its default. Returns the revision of the change.

        Raises ``InvalidArgumentError`` if there is no such setting, or the value is out of its bounds, and the
        errors of ``set``.
        """
        return self._core.call("set_setting", (name, value), timeout, guard)

    def status(self, address: str | None = None, *, timeout: float | None = None) -> Status:
        """Returns the status of the node at ``address``, over a connection of its own; by default, of the node
        that the client is connected to."""
        return self._core.call("status", (address,), timeout)

    def members(self, *, timeout: float | None = None) -> Members:
        """Returns the members of the ensemble and its leader, as known to the node that the client is connected
        to."""
        return self._core.call("members", (), timeout)

    def membership(self, *, timeout: float | None = None) -> Membership:
        """Returns the members with their roles, as recorded by the ensemble and known to the node that the client
        is connected to."""
        return self._core.call("membership", (), timeout)

    def promote_member(
        self, node: int, follows: MembersVersion | None = None, *, timeout: float | None = None
    ) -> MembersChanged:
        """Makes a learner a voter; with ``follows``, only if this is the version of the members.

        The result is false if it was one already. Raises ``FailedPreconditionError`` if the learner is not up to
        date, if too few of the voters after the change are, or if ``follows`` is another version, and
        ``NotFoundError`` if the node is no member. The error's ``outcome`` says whether the change may have been
        made; the same call again is safe.
        """
        return self._core.call("promote_member", (node, follows), timeout)

    def remove_member(
        self, node: int, follows: MembersVersion | None = None, *, timeout: float | None = None
    ) -> MembersChanged:
        """Removes a voter or a learner; with ``follows``, only if this is the version of the members. A leader
        hands over before it is removed.

        The result is false if the node was no member. Raises ``FailedPreconditionError`` if it is the last voter,
        if too few of the voters after the change are up to date, or if ``follows`` is another version.
        """
        return self._core.call("remove_member", (node, follows), timeout)

    def replace_member(
        self,
        node: int,
        replacement: int,
        follows: MembersVersion | None = None,
        *,
        timeout: float | None = None,
    ) -> MembersChanged:
        """Replaces a voter: makes the learner ``replacement`` a voter, and removes ``node``; with ``follows``,
        only if this is the version of the members.

        Returns when this is recorded. The leader then does it in steps, as soon as the learner is up to date, also
        after a change of the leader; it is done when ``membership`` lists ``replacement`` as a voter and ``node``
        not at all. Raises ``FailedPreconditionError`` if ``replacement`` is a voter already, if ``node`` is a
        learner, if one of the two takes part in another replacement, or if ``follows`` is another version;
        ``NotFoundError`` if one of them is no member; and ``InvalidArgumentError`` if they are the same.
        """
        return self._core.call("replace_member", (node, replacement, follows), timeout)

    def cancel_promotion(
        self, node: int, follows: MembersVersion | None = None, *, timeout: float | None = None
    ) -> MembersChanged:
        """Leaves a learner that is to become a voter a learner; a replacement of another member by this one ends.
        With ``follows``, only if this is the version of the members.

        Raises ``FailedPreconditionError`` if it is a voter already, and ``NotFoundError`` if it is no member.
        """
        return self._core.call("cancel_promotion", (node, follows), timeout)

    def transfer_leadership(self, to: int | None = None, *, timeout: float | None = None) -> int:
        """Hands the leadership over to the voter ``to``, by default to any other one. Returns the id of the node
        that leads now.

        Raises ``FailedPreconditionError`` if no such voter is up to date, with disk space and without a fault,
        and ``NotFoundError`` if ``to`` is no member.
        """
        return self._core.call("transfer_leadership", (to,), timeout)

    def safe_to_stop(self, nodes: Iterable[int], *, timeout: float | None = None) -> StopAdvice:
        """Returns whether these members can be stopped together without stopping the ensemble. The result is
        false, with the reason, if not.

        Raises ``NotFoundError`` if one is no member, and ``InvalidArgumentError`` if none is named.
        """
        return self._core.call("safe_to_stop", (nodes,), timeout)

    def close(self) -> None:
        """Closes the client: calls in flight and all later calls raise ``ClosedError``.

        Then ends the client's session, which takes at most 0.2 seconds. Without it the session lasts until the
        session timeout. A second close is a no-op; so is closing a parent's client in a forked child.
        """
        self._core.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
