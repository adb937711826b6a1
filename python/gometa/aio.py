"""The asyncio client: the methods of ``gometa.Client`` as coroutines."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, TypeVar, overload

from ._client import _Base
from ._errors import CompactedError
from ._gometa import Attempts, LoopCalls, Pages, ReadyLoops
from ._txn import Transacted, TxnBase
from ._types import (
    BytesLike,
    Consistency,
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

__all__ = ["Client", "Transaction", "Txn"]

_log = logging.getLogger("gometa")

_Default = TypeVar("_Default")
_Result = TypeVar("_Result")
_Self = TypeVar("_Self", bound="Client")


class _Loop:
    """An event loop and its calls in flight."""

    def __init__(self, notifier: _Notifier, loop: asyncio.AbstractEventLoop, id: int, ready: ReadyLoops) -> None:
        self.notifier = notifier
        self.loop = loop
        self.calls = LoopCalls(id, ready, loop.create_future)


class _Notifier:
    """A thread that wakes event loops which have results. One for each process."""

    def __init__(self) -> None:
        self._ready = ReadyLoops()
        self._ids = itertools.count(1)
        # A loop is kept by its clients and its calls in flight.
        self._loops: weakref.WeakValueDictionary[int, _Loop] = weakref.WeakValueDictionary()
        threading.Thread(target=self._run, name="gometa-aio", daemon=True).start()

    def register(self, loop: asyncio.AbstractEventLoop) -> _Loop:
        id = next(self._ids)
        registered = self._loops[id] = _Loop(self, loop, id, self._ready)
        return registered

    def _run(self) -> None:
        while True:
            for id in self._ready.wait():
                registered = self._loops.get(id)
                if registered is None:
                    continue
                try:
                    registered.loop.call_soon_threadsafe(registered.calls.complete)
                except RuntimeError:
                    _log.debug("an event loop was closed with calls in flight")
                except Exception:
                    # The other loops are not affected.
                    _log.exception("an event loop could not be notified of its results")
                # Without this the last loop would be kept until another one has results.
                del registered


_notifier: _Notifier | None = None
_notifier_lock = threading.Lock()


def _after_fork() -> None:
    """In a forked child there is no notifier thread, and another thread of the parent may have held the lock."""
    global _notifier, _notifier_lock
    _notifier = None
    _notifier_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _register(loop: asyncio.AbstractEventLoop) -> _Loop:
    global _notifier
    with _notifier_lock:
        if _notifier is None:
            _notifier = _Notifier()
        return _notifier.register(loop)


class Txn(TxnBase):
    """See ``gometa.Txn``."""

    async def commit(
        self,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
        guard: GuardLike | None = None,
    ) -> Transacted:
        """See ``gometa.Txn.commit``."""
        return await self._client._call("commit", self._arguments(consistency, min_revision), timeout, guard)


class Transaction:
    """See ``gometa.Transaction``."""

    def __init__(self, client: Client, attempts: Attempts) -> None:
        self._client = client
        self._attempts = attempts

    async def get(self, key: BytesLike) -> bytes | None:
        """See ``gometa.Transaction.get``."""
        return await self._client._call("read", (self._attempts, key), None)

    async def range(
        self,
        prefix: BytesLike = b"",
        *,
        start: BytesLike = b"",
        end: BytesLike = b"",
        reverse: bool = False,
        keys_only: bool = False,
    ) -> Page:
        """See ``gometa.Transaction.range``."""
        keys = (prefix, start, end, 0, 0, reverse, keys_only, b"", "linearizable", 0)
        return await self._client._call("read_range", (self._attempts, keys), None)

    def set(self, key: BytesLike, value: BytesLike) -> None:
        """See ``gometa.Transaction.set``."""
        self._attempts.set(key, value)

    def delete(self, key: BytesLike) -> None:
        """See ``gometa.Transaction.delete``."""
        self._attempts.delete(key)


class Client(_Base):
    """A client of an ensemble for asyncio.

    Arguments, results and errors are those of ``gometa.Client``. The tasks of a loop may share a client; their
    calls share one connection. It may be created outside of a loop, and used by one loop after another. Cancelling
    a task cancels its call; a cancelled write may still be applied.
    """

    _registered: _Loop | None = None

    def _loop(self) -> _Loop:
        loop = asyncio.get_running_loop()
        registered = self._registered
        if registered is None or registered.loop is not loop or registered.notifier is not _notifier:
            registered = self._registered = _register(loop)
        return registered

    async def _call(
        self,
        operation: str,
        arguments: tuple[object, ...],
        timeout: float | None,
        guard: GuardLike | None = None,
    ) -> Any:
        loop = self._loop()
        return await self._result(loop, self._core.start(operation, arguments, timeout, loop.calls, guard))

    async def _result(self, loop: _Loop, call: tuple[asyncio.Future[Any], int]) -> Any:
        future, id = call
        try:
            return await future
        except BaseException:
            # Cancelled, or the coroutine was closed. If the call failed, this is a no-op.
            loop.calls.cancel(id)
            raise

    async def add(
        self, key: BytesLike, value: BytesLike, *, timeout: float | None = None, guard: GuardLike | None = None
    ) -> Written:
        """See ``gometa.Client.add``."""
        return await self._call("add", (key, value), timeout, guard)

    async def set(
        self, key: BytesLike, value: BytesLike, *, timeout: float | None = None, guard: GuardLike | None = None
    ) -> Written:
        """See ``gometa.Client.set``."""
        return await self._call("set", (key, value), timeout, guard)

    async def cas(
        self,
        key: BytesLike,
        revision: int,
        value: BytesLike,
        *,
        timeout: float | None = None,
        guard: GuardLike | None = None,
    ) -> Written:
        """See ``gometa.Client.cas``."""
        return await self._call("cas", (key, revision, value), timeout, guard)

    async def delete(
        self,
        key: BytesLike,
        revision: int | None = None,
        *,
        timeout: float | None = None,
        guard: GuardLike | None = None,
    ) -> Deleted:
        """See ``gometa.Client.delete``."""
        return await self._call("delete", (key, revision), timeout, guard)

    @overload
    async def get(
        self,
        key: BytesLike,
        default: None = None,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> bytes | None: ...
    @overload
    async def get(
        self,
        key: BytesLike,
        default: _Default,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> bytes | _Default: ...
    async def get(
        self,
        key: BytesLike,
        default: _Default | None = None,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> bytes | _Default | None:
        """See ``gometa.Client.get``."""
        value: bytes | None = await self._call("get", (key, consistency, min_revision), timeout)
        return default if value is None else value

    async def entry(
        self,
        key: BytesLike,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> Entry:
        """See ``gometa.Client.entry``."""
        return await self._call("entry", (key, consistency, min_revision), timeout)

    async def entry_at(self, key: BytesLike, revision: int, *, timeout: float | None = None) -> Entry:
        """See ``gometa.Client.entry_at``."""
        return await self._call("entry_at", (key, revision), timeout)

    async def history(
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
        """See ``gometa.Client.history``."""
        arguments = (key, before_revision, limit, keys_only, consistency, min_revision)
        return await self._call("history", arguments, timeout)

    async def range(
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
        """See ``gometa.Client.range``."""
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
        return await self._call("range", arguments, timeout)

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
    ) -> AsyncIterator[Entry]:
        """See ``gometa.Client.scan``; for ``async for``."""
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

        async def entries() -> AsyncIterator[Entry]:
            while (page := await self._call("next_page", (pages,), timeout)) is not None:
                for entry in page.entries:
                    yield entry

        return entries()

    async def count(
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
        """See ``gometa.Client.count``."""
        arguments = (prefix, start, end, at_revision, 0, False, True, delimiter, consistency, min_revision)
        return await self._call("count", arguments, timeout)

    async def delete_prefix(
        self, prefix: BytesLike, *, timeout: float | None = None, guard: GuardLike | None = None
    ) -> int:
        """See ``gometa.Client.delete_prefix``."""
        return await self._call("delete_prefix", (prefix,), timeout, guard)

    def txn(self) -> Txn:
        """See ``gometa.Client.txn``; ``commit`` is a coroutine."""
        return Txn(self)

    async def transaction(
        self,
        function: Callable[[Transaction], Awaitable[_Result]],
        *,
        timeout: float | None = None,
        guard: GuardLike | None = None,
    ) -> _Result:
        """See ``gometa.Client.transaction``. The function is a coroutine function."""
        attempts = self._core.transaction(timeout, guard)
        while True:
            try:
                result = await function(Transaction(self, attempts))
            except CompactedError:
                await self._call("end_attempt", (attempts, True), None)
            else:
                if await self._call("end_attempt", (attempts, False), None):
                    return result

    async def settings(self, *, timeout: float | None = None) -> tuple[Setting, ...]:
        """See ``gometa.Client.settings``."""
        return await self._call("settings", (), timeout)

    async def set_setting(
        self, name: str, value: int | None, *, timeout: float | None = None, guard: GuardLike | None = None
    ) -> int:
        """See ``gometa.Client.set_setting``."""
        return await self._call("set_setting", (name, value), timeout, guard)

    async def status(self, address: str | None = None, *, timeout: float | None = None) -> Status:
        """See ``gometa.Client.status``."""
        return await self._call("status", (address,), timeout)

    async def members(self, *, timeout: float | None = None) -> Members:
        """See ``gometa.Client.members``."""
        return await self._call("members", (), timeout)

    async def membership(self, *, timeout: float | None = None) -> Membership:
        """See ``gometa.Client.membership``."""
        return await self._call("membership", (), timeout)

    async def promote_member(
        self, node: int, follows: MembersVersion | None = None, *, timeout: float | None = None
    ) -> MembersChanged:
        """See ``gometa.Client.promote_member``."""
        return await self._call("promote_member", (node, follows), timeout)

    async def remove_member(
        self, node: int, follows: MembersVersion | None = None, *, timeout: float | None = None
    ) -> MembersChanged:
        """See ``gometa.Client.remove_member``."""
        return await self._call("remove_member", (node, follows), timeout)

    async def replace_member(
        self,
        node: int,
        replacement: int,
        follows: MembersVersion | None = None,
        *,
        timeout: float | None = None,
    ) -> MembersChanged:
        """See ``gometa.Client.replace_member``."""
        return await self._call("replace_member", (node, replacement, follows), timeout)

    async def cancel_promotion(
        self, node: int, follows: MembersVersion | None = None, *, timeout: float | None = None
    ) -> MembersChanged:
        """See ``gometa.Client.cancel_promotion``."""
        return await self._call("cancel_promotion", (node, follows), timeout)

    async def transfer_leadership(self, to: int | None = None, *, timeout: float | None = None) -> int:
        """See ``gometa.Client.transfer_leadership``."""
        return await self._call("transfer_leadership", (to,), timeout)

    async def safe_to_stop(self, nodes: Iterable[int], *, timeout: float | None = None) -> StopAdvice:
        """See ``gometa.Client.safe_to_stop``."""
        return await self._call("safe_to_stop", (nodes,), timeout)

    async def close(self) -> None:
        """Closes the client: calls in flight and all later calls raise ``ClosedError``. See
        ``gometa.Client.close``."""
        if self._registered is None:
            # The client was never used: there is no session to end.
            self._core.close()
            return
        loop = self._loop()
        call = self._core.start_close(loop.calls)
        if call is not None:
            await self._result(loop, call)

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
