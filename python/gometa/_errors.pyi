"""The exceptions: one class for each row of the client's table of errors.

At run time they are created from that table; a test compares this list with it.
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
    "FailedPreconditionError",
    "ForgottenError",
    "ForkedError",
    "GometaError",
    "GuardFailedError",
    "HistoryChangedError",
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
    """The base class of this library's exceptions.

    There is a subclass for each kind of error. Arguments of a wrong type raise a plain ``TypeError``.
    """

    kind: ClassVar[str]
    """The kind's name in the table of errors: ``"NotFound"``."""
    number: ClassVar[int]
    """The kind's number in the table of errors."""
    retryable: ClassVar[bool]
    """Whether the same call may succeed if it is made again. That is a new call: a write may then be applied
    twice, unless ``outcome`` is ``"not_applied"``."""
    message: str
    """The cause. ``str()`` of the error also has the operation and the key."""
    operation: str | None
    """The name of the operation: ``"set"``."""
    key: bytes | None
    """The key of the call."""
    outcome: Literal["not_applied", "unknown"]
    """Whether the write may have been applied. ``"not_applied"`` for reads."""
    leader: str | None
    """The leader's client address, if the node that refused the call sent it."""
    actual_revision: int | None
    """The key's ``mod_revision``, 0 if it does not exist; set by ``CasMismatchError`` and
    ``AlreadyExistsError``."""

    def __init__(
        self,
        text: str = "",
        *,
        message: str | None = None,
        operation: str | None = None,
        key: bytes | None = None,
        outcome: Literal["not_applied", "unknown"] = "not_applied",
        leader: str | None = None,
        actual_revision: int | None = None,
    ) -> None: ...

class InvalidArgumentError(GometaError, ValueError):
    """An argument is invalid."""

class NotFoundError(GometaError, KeyError):
    """The key does not exist, or the node is no member."""

class AlreadyExistsError(GometaError):
    """The key exists."""

    actual_revision: int
    """The key's ``mod_revision``."""

class CasMismatchError(GometaError):
    """The key's revision is not the expected one."""

    actual_revision: int
    """The key's ``mod_revision``, 0 if it does not exist."""

class DeadlineExceededError(GometaError, TimeoutError):
    """A node was reached and did not answer within the timeout."""

class UnavailableError(GometaError, ConnectionError):
    """No node could be reached within the timeout: the call was not applied."""

class NotLeaderError(GometaError, ConnectionError):
    """The node is not the leader. Handled by the client."""

class ConnectionLostError(GometaError, ConnectionError):
    """The connection was lost before the answer."""

class TooLargeError(GometaError, ValueError):
    """A key, a value or a message exceeds its limit."""

class SessionExpiredError(GometaError):
    """The session ended. The next write opens another."""

class UnauthenticatedError(GometaError, PermissionError):
    """The client is not authenticated."""

class PermissionDeniedError(GometaError, PermissionError):
    """The client is not authorised for this operation."""

class ResourceExhaustedError(GometaError):
    """A limit is reached: connections, requests in flight, sessions."""

class CompactedError(GometaError, LookupError):
    """The requested revision has been compacted."""

class CancelledError(GometaError):
    """The call was cancelled."""

class ClosedError(GometaError, RuntimeError):
    """The client was closed."""

class UnsupportedError(GometaError, NotImplementedError):
    """The node does not support this request."""

class InternalError(GometaError, RuntimeError):
    """An internal error of gometa."""

class ForkedError(GometaError, RuntimeError):
    """The process was forked after the client was created."""

class ForgottenError(GometaError):
    """The write is older than the oldest that its session remembers. Handled by the client."""

class FailedPreconditionError(GometaError):
    """The state of the ensemble does not permit the change; the message says what is missing."""

class GuardFailedError(GometaError):
    """The key of the write's guard does not exist, or was created at another revision."""

class HistoryChangedError(GometaError):
    """The ensemble was founded anew from old data: revisions that were read before are void.

    Raised once; later calls work with the new history, see ``Client.history_id``.
    """

ERRORS: dict[int, type[GometaError]]
"""The classes, by number."""

def from_core(
    number: int,
    text: str,
    message: str,
    operation: str,
    key: bytes | None,
    outcome: Literal["not_applied", "unknown"],
    leader: str | None,
    actual_revision: int | None,
) -> GometaError: ...
