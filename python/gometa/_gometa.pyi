"""The part that is written in Rust. Private: use the package."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar, final, overload

from ._types import Consistency, Counters, Data, Deleted, Entry, Members, Status, Written

_T = TypeVar("_T")
_Call = tuple[asyncio.Future[_T], int]

__all__ = ["ERROR_KINDS", "VERSION", "Core", "Courier", "Inbox"]

VERSION: str
"""The library's version."""
ERROR_KINDS: list[tuple[int, str, str, bool]]
"""The table of errors: number, name, meaning, whether the same call may succeed when it is made again."""

@final
class Core:
    """A client, of either class. Each call blocks; with an inbox it starts, and gives a future and its number."""

    def __new__(
        cls,
        peers: list[str],
        timeout: float,
        connect_timeout: float,
        quiet: float,
        silence: float,
        name: str,
        pinned: bool,
    ) -> Core: ...
    def peers(self) -> str: ...
    @overload
    def close(self, inbox: None) -> None: ...
    @overload
    def close(self, inbox: Inbox) -> _Call[None] | None: ...
    def counters(self) -> Counters: ...
    @overload
    def add(self, key: Data, value: Data, timeout: float | None, inbox: None) -> Written: ...
    @overload
    def add(self, key: Data, value: Data, timeout: float | None, inbox: Inbox) -> _Call[Written]: ...
    @overload
    def set(self, key: Data, value: Data, timeout: float | None, inbox: None) -> Written: ...
    @overload
    def set(self, key: Data, value: Data, timeout: float | None, inbox: Inbox) -> _Call[Written]: ...
    @overload
    def cas(self, key: Data, revision: int, value: Data, timeout: float | None, inbox: None) -> Written: ...
    @overload
    def cas(
        self, key: Data, revision: int, value: Data, timeout: float | None, inbox: Inbox
    ) -> _Call[Written]: ...
    @overload
    def delete(self, key: Data, revision: int | None, timeout: float | None, inbox: None) -> Deleted: ...
    @overload
    def delete(self, key: Data, revision: int | None, timeout: float | None, inbox: Inbox) -> _Call[Deleted]: ...
    @overload
    def get(
        self, key: Data, consistency: Consistency, min_revision: int, timeout: float | None, inbox: None
    ) -> bytes | None: ...
    @overload
    def get(
        self, key: Data, consistency: Consistency, min_revision: int, timeout: float | None, inbox: Inbox
    ) -> _Call[bytes | None]: ...
    @overload
    def entry(
        self, key: Data, consistency: Consistency, min_revision: int, timeout: float | None, inbox: None
    ) -> Entry: ...
    @overload
    def entry(
        self, key: Data, consistency: Consistency, min_revision: int, timeout: float | None, inbox: Inbox
    ) -> _Call[Entry]: ...
    @overload
    def status(self, address: str | None, timeout: float | None, inbox: None) -> Status: ...
    @overload
    def status(self, address: str | None, timeout: float | None, inbox: Inbox) -> _Call[Status]: ...
    @overload
    def members(self, timeout: float | None, inbox: None) -> Members: ...
    @overload
    def members(self, timeout: float | None, inbox: Inbox) -> _Call[Members]: ...

@final
class Courier:
    """Names the inboxes that hold results."""

    def __new__(cls) -> Courier: ...
    def due(self) -> list[int]:
        """Waits for an inbox that holds something, and names all that do."""

@final
class Inbox:
    """The calls of one event loop."""

    def __new__(cls, id: int, courier: Courier, create_future: Callable[[], asyncio.Future[Any]]) -> Inbox: ...
    def empty(self) -> None:
        """Completes the futures of the results that are there."""

    def cancel(self, call: int) -> None:
        """Gives a call up, if it is still under way."""
