"""The client for asyncio: the same names and arguments as ``gometa.Client``, to be awaited."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
import weakref
from types import TracebackType
from typing import TypeVar, overload

from ._client import _Base
from ._gometa import Courier, Inbox
from ._types import Consistency, Data, Deleted, Entry, Members, Status, Written

__all__ = ["Client"]

_log = logging.getLogger("gometa")

_T = TypeVar("_T")
_Default = TypeVar("_Default")
_Self = TypeVar("_Self", bound="Client")


class _Loop:
    """An event loop and its inbox."""

    def __init__(self, post: _Post, loop: asyncio.AbstractEventLoop, id: int, courier: Courier) -> None:
        self.post = post
        self.loop = loop
        self.inbox = Inbox(id, courier, loop.create_future)


class _Post:
    """Tells event loops of results that wait for them, from a thread of its own. One for each process."""

    def __init__(self) -> None:
        self._courier = Courier()
        self._ids = itertools.count(1)
        # Whoever has calls under way keeps its loop here.
        self._loops: weakref.WeakValueDictionary[int, _Loop] = weakref.WeakValueDictionary()
        threading.Thread(target=self._run, name="gometa-aio", daemon=True).start()

    def join(self, loop: asyncio.AbstractEventLoop) -> _Loop:
        id = next(self._ids)
        joined = self._loops[id] = _Loop(self, loop, id, self._courier)
        return joined

    def _run(self) -> None:
        while True:
            for id in self._courier.due():
                joined = self._loops.get(id)
                if joined is None:
                    continue
                try:
                    joined.loop.call_soon_threadsafe(joined.inbox.empty)
                except RuntimeError:
                    # The loop is closed: nobody waits there any more.
                    _log.debug("an event loop is closed with calls under way")
                except Exception:
                    # One loop's failure is not the others'.
                    _log.exception("an event loop cannot be told of its results")
                # Or the last loop would live until the next one has something.
                del joined


_post: _Post | None = None
_post_lock = threading.Lock()


def _forget() -> None:
    """In a forked child: the thread is the parent's, and the lock may be held by another that is."""
    global _post, _post_lock
    _post = None
    _post_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _join(loop: asyncio.AbstractEventLoop) -> _Loop:
    global _post
    with _post_lock:
        if _post is None:
            _post = _Post()
        return _post.join(loop)


class Client(_Base):
    """A client of an ensemble for programs that run on asyncio.

    Arguments, results and errors are those of ``gometa.Client``. Any number of tasks may use one client at a time;
    their calls share one connection. It may be made outside of a loop, and be used by one loop after another.
    Cancelling a task cancels its call; a write that was cancelled may take effect all the same.
    """

    _joined: _Loop | None = None

    def _loop(self) -> _Loop:
        loop = asyncio.get_running_loop()
        joined = self._joined
        if joined is None or joined.loop is not loop or joined.post is not _post:
            joined = self._joined = _join(loop)
        return joined

    async def _answer(self, loop: _Loop, call: tuple[asyncio.Future[_T], int]) -> _T:
        try:
            return await call[0]
        except BaseException:
            # Cancelled, or the coroutine is thrown away; where the call itself failed there is nothing to cancel.
            loop.inbox.cancel(call[1])
            raise

    async def add(self, key: Data, value: Data, *, timeout: float | None = None) -> Written:
        """Creates a key. ``AlreadyExistsError``, with the revision in ``.actual``, if it is there."""
        loop = self._loop()
        return await self._answer(loop, self._core.add(key, value, timeout, loop.inbox))

    async def set(self, key: Data, value: Data, *, timeout: float | None = None) -> Written:
        """Creates or replaces a key."""
        loop = self._loop()
        return await self._answer(loop, self._core.set(key, value, timeout, loop.inbox))

    async def cas(self, key: Data, revision: int, value: Data, *, timeout: float | None = None) -> Written:
        """Replaces a key if its ``mod_revision`` is ``revision``; 0 stands for "it does not exist".

        ``CasMismatchError`` otherwise, with the actual revision in ``.actual`` (0: there is no such key).
        """
        loop = self._loop()
        return await self._answer(loop, self._core.cas(key, revision, value, timeout, loop.inbox))

    async def delete(self, key: Data, revision: int | None = None, *, timeout: float | None = None) -> bool:
        """Removes a key, with ``revision`` only if that is its ``mod_revision``. ``True`` if it was there."""
        return (await self.remove(key, revision, timeout=timeout)).existed

    async def remove(self, key: Data, revision: int | None = None, *, timeout: float | None = None) -> Deleted:
        """The same as ``delete``, and says at which revision the key was removed."""
        loop = self._loop()
        return await self._answer(loop, self._core.delete(key, revision, timeout, loop.inbox))

    @overload
    async def get(
        self,
        key: Data,
        default: None = None,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> bytes | None: ...
    @overload
    async def get(
        self,
        key: Data,
        default: _Default,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> bytes | _Default: ...
    async def get(
        self,
        key: Data,
        default: _Default | None = None,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> bytes | _Default | None:
        """A key's value, or ``default`` where there is no such key; see ``gometa.Client.get``."""
        loop = self._loop()
        value = await self._answer(loop, self._core.get(key, consistency, min_revision, timeout, loop.inbox))
        return default if value is None else value

    async def entry(
        self,
        key: Data,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> Entry:
        """A key's value, version and revisions. ``NotFoundError`` where there is no such key; else as ``get``."""
        loop = self._loop()
        return await self._answer(loop, self._core.entry(key, consistency, min_revision, timeout, loop.inbox))

    async def status(self, address: str | None = None, *, timeout: float | None = None) -> Status:
        """How the node in use is, or the one at ``address``, which is asked once, over a connection of its own."""
        loop = self._loop()
        return await self._answer(loop, self._core.status(address, timeout, loop.inbox))

    async def members(self, *, timeout: float | None = None) -> Members:
        """The members, the leader, and the role of the node in use, as that node knows them."""
        loop = self._loop()
        return await self._answer(loop, self._core.members(timeout, loop.inbox))

    async def close(self) -> None:
        """Ends the client: calls that run in other tasks, and all later ones, raise ``ClosedError``.

        It has the client's session ended, for which it waits 0.2 seconds at most; the loop goes on meanwhile. A
        client that is not closed leaves its session to the ensemble until that times out. Closing again does
        nothing.
        """
        if self._joined is None:
            # It was never used.
            self._core.close(None)
            return
        loop = self._loop()
        call = self._core.close(loop.inbox)
        if call is not None:
            await self._answer(loop, call)

    async def __aenter__(self: _Self) -> _Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
