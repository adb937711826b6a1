"""The blocking client, and what it shares with the one for asyncio."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import NoReturn, TypeVar, overload

from ._gometa import Core
from ._types import Consistency, Counters, Data, Deleted, Entry, Members, Status, Written

_Default = TypeVar("_Default")
_Self = TypeVar("_Self", bound="Client")


class _Base:
    """What both clients have, and what needs no waiting."""

    _core: Core

    def __init__(
        self,
        peers: str | Iterable[str],
        *,
        timeout: float = 5.0,
        connect_timeout: float = 2.0,
        quiet: float = 0.5,
        silence: float = 1.0,
        name: str = "gometa-python",
        pinned: bool = False,
    ) -> None:
        if isinstance(peers, (bytes, bytearray, memoryview)):
            raise TypeError("peers must be str or a list of str, not bytes")
        listed = [peers] if isinstance(peers, str) else list(peers)
        self._core = Core(listed, timeout, connect_timeout, quiet, silence, name, pinned)

    @property
    def peers(self) -> str:
        """The addresses that the client was given, with commas between them."""
        return self._core.peers()

    def counters(self) -> Counters:
        """What this client has done so far in this process. Never waits, and works on a closed client too."""
        return self._core.counters()

    def __repr__(self) -> str:
        module = type(self).__module__.removesuffix("._client")
        return f"<{module}.{type(self).__qualname__} of {self.peers}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a gometa client cannot be pickled or copied: it is a connection of this process. "
            "Hand over client.peers, and make a client where it is needed"
        )


class Client(_Base):
    """A client of an ensemble: each call waits for its answer, and lets other threads run meanwhile.

    Making one does no IO, so it succeeds with every peer down. One client serves any number of threads, and is
    meant to be kept: it holds one connection, over which all calls go. In a forked child it connects anew on its
    first call.

    - ``peers``: addresses of nodes' ports for clients, ``"host:port"``, in a list, or in one string with commas.
    - ``timeout``: seconds that a call may take, everything included. Every call ends by then. Like every time that
      is given in seconds it is above 0 and at most 365 days.
    - ``connect_timeout``: seconds that resolving a name, connecting and the handshake with one node may take.
    - ``quiet``, ``silence``: a node that owes an answer is asked for a sign of life after ``quiet`` seconds
      without one, and left ``silence`` seconds later. A node that has owed an answer for ``quiet`` seconds when a
      call's deadline passes is left too.
    - ``name``: the application's name in the nodes' logs; its first 16 characters count.
    - ``pinned``: use only the given addresses, in their order, and follow neither the leader nor changes of the
      members. For tools that examine one node.

    Raises ``InvalidArgumentError`` where there is no address, or one that cannot be an address.
    """

    def add(self, key: Data, value: Data, *, timeout: float | None = None) -> Written:
        """Creates a key. ``AlreadyExistsError``, with the revision in ``.actual``, if it is there."""
        return self._core.add(key, value, timeout, None)

    def set(self, key: Data, value: Data, *, timeout: float | None = None) -> Written:
        """Creates or replaces a key.

        As every call it raises ``InvalidArgumentError``, ``TooLargeError``, ``ClosedError``, and what all nodes
        refuse; at its deadline ``UnavailableError``, a ``ConnectionError``, if there was no connection to a node,
        and ``DeadlineExceededError``, a ``TimeoutError``, if there was one and no answer in time. The error's
        ``outcome`` says whether the write may have taken effect; a write never takes effect twice.
        """
        return self._core.set(key, value, timeout, None)

    def cas(self, key: Data, revision: int, value: Data, *, timeout: float | None = None) -> Written:
        """Replaces a key if its ``mod_revision`` is ``revision``; 0 stands for "it does not exist".

        ``CasMismatchError`` otherwise, with the actual revision in ``.actual`` (0: there is no such key).
        """
        return self._core.cas(key, revision, value, timeout, None)

    def delete(self, key: Data, revision: int | None = None, *, timeout: float | None = None) -> bool:
        """Removes a key, with ``revision`` only if that is its ``mod_revision``. ``True`` if it was there.

        ``CasMismatchError``, with ``.actual``, where the revision is another, or there is no such key.
        """
        return self._core.delete(key, revision, timeout, None).existed

    def remove(self, key: Data, revision: int | None = None, *, timeout: float | None = None) -> Deleted:
        """The same as ``delete``, and says at which revision the key was removed."""
        return self._core.delete(key, revision, timeout, None)

    @overload
    def get(
        self,
        key: Data,
        default: None = None,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> bytes | None: ...
    @overload
    def get(
        self,
        key: Data,
        default: _Default,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> bytes | _Default: ...
    def get(
        self,
        key: Data,
        default: _Default | None = None,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> bytes | _Default | None:
        """A key's value, or ``default`` where there is no such key.

        A ``"linearizable"`` read sees every write that was acknowledged before it began, to anybody. A
        ``"local"`` one is answered from what the node in use has applied: quicker, perhaps behind, but never
        behind what this client has seen, nor behind ``min_revision``.
        """
        value = self._core.get(key, consistency, min_revision, timeout, None)
        return default if value is None else value

    def entry(
        self,
        key: Data,
        *,
        consistency: Consistency = "linearizable",
        min_revision: int = 0,
        timeout: float | None = None,
    ) -> Entry:
        """A key's value, version and revisions. ``NotFoundError`` where there is no such key; else as ``get``."""
        return self._core.entry(key, consistency, min_revision, timeout, None)

    def status(self, address: str | None = None, *, timeout: float | None = None) -> Status:
        """How the node in use is, or the one at ``address``, which is asked once, over a connection of its own."""
        return self._core.status(address, timeout, None)

    def members(self, *, timeout: float | None = None) -> Members:
        """The members, the leader, and the role of the node in use, as that node knows them."""
        return self._core.members(timeout, None)

    def close(self) -> None:
        """Ends the client: calls that run in other threads, and all later ones, raise ``ClosedError``.

        It has the client's session ended, for which it waits 0.2 seconds at most. A client that is not closed
        leaves its session to the ensemble until that times out. Closing again does nothing, nor does closing a
        parent's client in a forked child.
        """
        self._core.close(None)

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
