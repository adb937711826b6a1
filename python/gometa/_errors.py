"""The exceptions: one class for each row of the client's table of errors, made from that table."""

import builtins

from . import _gometa

__all__ = ["ERRORS", "GometaError"]

# The builtin that a kind is as well, where there is a natural one.
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
    """What a call of this library failed with: the base of all its exceptions.

    Catch it for everything, or one of its subclasses for one kind. Wrong types are plain ``TypeError``s.
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
        actual=None,
    ):
        super().__init__(text)
        self.message = text if message is None else message
        self.operation = operation
        self.key = key
        self.outcome = outcome
        self.leader = leader
        self.actual = actual

    def __str__(self):
        # A KeyError would show its argument's repr.
        return str(self.args[0]) if self.args else ""

    def __reduce__(self):
        # Exceptions travel between processes, for example out of a multiprocessing.Pool.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(cls, args, state):
    error = cls(*args)
    error.__dict__.update(state)
    return error


def _make(number, name, text, retryable):
    builtin = _BUILTINS.get(name)
    bases = (GometaError,) if builtin is None else (GometaError, builtin)
    again = " The same call may succeed when it is made again." if retryable else ""
    also = "" if builtin is None else f" Also a ``{builtin.__name__}``."
    attributes = {
        "__doc__": f"{text[0].upper()}{text[1:]} (error {number} of the table).{again}{also}",
        "__module__": "gometa",
        "kind": name,
        "number": number,
        "retryable": retryable,
    }
    return builtins.type(f"{name}Error", bases, attributes)


#: Each row's class, by its number.
ERRORS = {row[0]: _make(*row) for row in _gometa.ERROR_KINDS}

GometaError.__module__ = "gometa"
for _error in ERRORS.values():
    globals()[_error.__name__] = _error
    __all__.append(_error.__name__)
del _error


def from_core(number, text, message, operation, key, outcome, leader, actual):
    """The exception of an error; called from Rust."""
    return ERRORS[number](
        text, message=message, operation=operation, key=key, outcome=outcome, leader=leader, actual=actual
    )
