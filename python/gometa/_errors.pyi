"""The exceptions: one class for each row of the client's table of errors.

At run time they are made from that table; a test holds this list to it.
"""

from typing import ClassVar, Literal

__all__ = [
    "ERRORS",
    "AlreadyExistsError",
    "CancelledError",
    "CasMismatchError",
    "ClosedError",
    "CompactedError",
    "ConnectionLostError",
    "DeadlineExceededError",
    "ForgottenError",
    "ForkedError",
    "GometaError",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "NotLeaderError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "SessionExpiredError",
    "TooLargeError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
]

class GometaError(Exception):
    """What a call of this library failed with: the base of all its exceptions.

    Catch it for everything, or one of its subclasses for one kind. Wrong types are plain ``TypeError``s.
    """

    kind: ClassVar[str]
    """The kind's name in the table of errors: ``"NotFound"``."""
    number: ClassVar[int]
    """The kind's number, the same in every language."""
    retryable: ClassVar[bool]
    """Whether the same call may succeed when it is made again. Look at ``outcome`` first, where it matters that
    a write happens once."""
    message: str
    """What happened, without operation and key; ``str()`` of the error has these too."""
    operation: str | None
    """The call's name: ``"set"``."""
    key: bytes | None
    """The key it was about."""
    outcome: Literal["not_applied", "unknown"]
    """Whether a write may have taken effect all the same. Always ``"not_applied"`` for reads."""
    leader: str | None
    """The leader's address for clients, where the failing node named it."""
    actual: int | None
    """The key's ``mod_revision``, 0 where it is absent: of ``CasMismatchError`` and ``AlreadyExistsError``."""

    def __init__(
        self,
        text: str = "",
        *,
        message: str | None = None,
        operation: str | None = None,
        key: bytes | None = None,
        outcome: Literal["not_applied", "unknown"] = "not_applied",
        leader: str | None = None,
        actual: int | None = None,
    ) -> None: ...

class InvalidArgumentError(GometaError, ValueError):
    """The request makes no sense, on any node, at any time."""

class NotFoundError(GometaError, KeyError):
    """There is no such key."""

class AlreadyExistsError(GometaError):
    """The key is there already."""

    actual: int
    """The key's ``mod_revision``."""

class CasMismatchError(GometaError):
    """The key's revision is not the expected one."""

    actual: int
    """The key's ``mod_revision``, 0 where there is no such key."""

class DeadlineExceededError(GometaError, TimeoutError):
    """There was a connection to a node, and no answer within the deadline."""

class UnavailableError(GometaError, ConnectionError):
    """There was no connection to any node until the deadline: the call was not applied."""

class NotLeaderError(GometaError, ConnectionError):
    """Another node leads. Moves a client on; users never see it."""

class ConnectionLostError(GometaError, ConnectionError):
    """The connection ended before the answer came."""

class TooLargeError(GometaError, ValueError):
    """A key, a value or a message exceeds its limit."""

class SessionExpiredError(GometaError):
    """The session was ended, or never was; the next call opens another."""

class UnauthenticatedError(GometaError, PermissionError):
    """The caller has not said who it is."""

class PermissionDeniedError(GometaError, PermissionError):
    """The caller may not do this."""

class ResourceExhaustedError(GometaError):
    """A bound on what is open or in flight is reached."""

class CompactedError(GometaError, LookupError):
    """The revision asked for is no longer kept."""

class CancelledError(GometaError):
    """The caller gave up waiting."""

class ClosedError(GometaError, RuntimeError):
    """The client was closed."""

class UnsupportedError(GometaError, NotImplementedError):
    """The node does not know this request."""

class InternalError(GometaError, RuntimeError):
    """A fault of gometa's own."""

class ForkedError(GometaError, RuntimeError):
    """The process was forked after the client was made: the child needs a client of its own. Never on the wire."""

class ForgottenError(GometaError):
    """A write below its session's floor. Users never see it."""

ERRORS: dict[int, type[GometaError]]
"""Each row's class, by its number."""

def from_core(
    number: int,
    text: str,
    message: str,
    operation: str,
    key: bytes | None,
    outcome: Literal["not_applied", "unknown"],
    leader: str | None,
    actual: int | None,
) -> GometaError: ...
