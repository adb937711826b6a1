"""The native part. Private: use the package."""

import asyncio
from collections.abc import Callable
from typing import Any, final

from ._types import BytesLike, Counters, GuardLike

__all__ = ["ERROR_KINDS", "VERSION", "Attempts", "Core", "LoopCalls", "Pages", "ReadyLoops", "prepare"]

_Call = tuple[asyncio.Future[Any], int]

VERSION: str
"""The library's version."""
ERROR_KINDS: list[tuple[int, str, str, bool]]
"""The table of errors: number, name, description, whether it is retryable."""

def prepare() -> None:
    """Looks up what the results of calls need; called when the package is imported."""

@final
class Core:
    """A client. Operations are named like their methods; results are those of the methods."""

    def __new__(
        cls,
        peers: list[str],
        timeout: float,
        connect_timeout: float,
        keepalive_interval: float,
        keepalive_timeout: float,
        name: str,
        pinned: bool,
    ) -> Core: ...
    def peers(self) -> str: ...
    def counters(self) -> Counters: ...
    def history_id(self) -> int | None: ...
    def call(
        self,
        operation: str,
        arguments: tuple[object, ...],
        timeout: float | None,
        guard: GuardLike | None = None,
    ) -> Any:
        """Makes a call and blocks until its result."""

    def start(
        self,
        operation: str,
        arguments: tuple[object, ...],
        timeout: float | None,
        calls: LoopCalls,
        guard: GuardLike | None = None,
    ) -> _Call:
        """Starts a call; returns its future and its id."""

    def transaction(self, timeout: float | None, guard: GuardLike | None = None) -> Attempts:
        """Begins a transaction, for the operations ``read`` and ``end_attempt``."""

    def close(self) -> None: ...
    def start_close(self, calls: LoopCalls) -> _Call | None: ...

@final
class Attempts:
    """The attempts of a transaction. Writes go to the present one."""

    def set(self, key: BytesLike, value: BytesLike) -> None: ...
    def delete(self, key: BytesLike) -> None: ...

@final
class Pages:
    """The pages of a range, for the operation ``next_page``. Arguments are those of ``range``."""

    def __new__(cls, arguments: tuple[object, ...]) -> Pages: ...

@final
class ReadyLoops:
    """The event loops that have results, of one process."""

    def __new__(cls) -> ReadyLoops: ...
    def wait(self) -> list[int]:
        """Waits for event loops that have results; returns their ids."""

@final
class LoopCalls:
    """The calls in flight of one event loop."""

    def __new__(
        cls, id: int, ready: ReadyLoops, create_future: Callable[[], asyncio.Future[Any]]
    ) -> LoopCalls: ...
    def complete(self) -> None:
        """Completes the futures of the calls that have results."""

    def cancel(self, call: int) -> None:
        """Cancels a call, if it is in flight."""
