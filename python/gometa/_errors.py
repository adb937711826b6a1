"""The exceptions: one class for each row of the client's table of errors, created from that table."""

import builtins

from . import _gometa

__all__ = ["ERRORS", "GometaError"]

# The builtin exception that is a base class of the kind, if there is a natural one.
_BUILTINS = {
    "InvalidArgument": ValueError,
    "NotFound": KeyError,
    "DeadlineExceeded": TimeoutError,
    "Unavailable": ConnectionError,
    "NotLeader": ConnectionError,
    "ConnectionLost": ConnectionError,
    "TooLarge": ValueError,
    "Unauthenticated": PermissionError,
    "PermissionDenied": PermissionError,
    "Compacted": LookupError,
    "Closed": RuntimeError,
    "Unsupported": NotImplementedError,
    "Internal": RuntimeError,
    "Forked": RuntimeError,
}


class GometaError(Exception):
    """The base class of this library's exceptions.

    There is a subclass for each kind of error. Arguments of a wrong type raise a plain ``TypeError``.
    """

    kind = "Internal"
    number = 18
    retryable = False

    def __init__(
        self,
        text="",
        *,
        message=None,
        operation=None,
        key=None,
        outcome="not_applied",
        leader=None,
        actual_revision=None,
    ):
        super().__init__(text)
        self.message = text if message is None else message
        self.operation = operation
        self.key = key
        self.outcome = outcome
        self.leader = leader
        self.actual_revision = actual_revision

    def __str__(self):
        # `str` of a KeyError is the repr of its argument.
        return str(self.args[0]) if self.args else ""

    def __reduce__(self):
        # For exceptions that are passed between processes, for example by a multiprocessing.Pool.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(cls, args, state):
    error = cls(*args)
    error.__dict__.update(state)
    return error


def _make(number, name, text, retryable):
    builtin = _BUILTINS.get(name)
    bases = (GometaError,) if builtin is None else (GometaError, builtin)
    again = " Retryable." if retryable else ""
    also = "" if builtin is None else f" Also a ``{builtin.__name__}``."
    attributes = {
        "__doc__": f"{text[0].upper()}{text[1:]} (error {number} of the table).{again}{also}",
        "__module__": "gometa",
        "kind": name,
        "number": number,
        "retryable": retryable,
    }
    return builtins.type(f"{name}Error", bases, attributes)


#: The classes, by number.
ERRORS = {row[0]: _make(*row) for row in _gometa.ERROR_KINDS}

GometaError.__module__ = "gometa"
for _error in ERRORS.values():
    globals()[_error.__name__] = _error
    __all__.append(_error.__name__)
del _error


def from_core(number, text, message, operation, key, outcome, leader, actual_revision):
    """Creates the exception of an error. Called by the native part."""
    return ERRORS[number](
        text,
        message=message,
        operation=operation,
        key=key,
        outcome=outcome,
        leader=leader,
        actual_revision=actual_revision,
    )
