"""The exceptions: the table of kinds, and the attributes of errors of an ensemble."""

import ast
import copy
import os
import pickle
from pathlib import Path

import pytest

import gometa
from gometa import _errors, _gometa

TABLE = {name: (number, text, retryable) for number, name, text, retryable in _gometa.ERROR_KINDS}

# The builtin base class of each kind, part of the public interface.
BUILTINS = {
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


def test_the_table_is_complete():
    assert [row[0] for row in _gometa.ERROR_KINDS] == list(range(1, len(TABLE) + 1))
    classes = {
        name: found
        for name, found in vars(gometa).items()
        if isinstance(found, type) and issubclass(found, gometa.GometaError) and found is not gometa.GometaError
    }
    assert set(classes) == {f"{name}Error" for name in TABLE}
    assert list(gometa.ERRORS.items()) == [(row[0], classes[f"{row[1]}Error"]) for row in _gometa.ERROR_KINDS]
    assert set(BUILTINS) <= set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_each_kind_has_its_class(name):
    number, text, retryable = TABLE[name]
    cls = getattr(gometa, f"{name}Error")
    assert (cls.kind, cls.number, cls.retryable) == (name, number, retryable)
    assert cls.__module__ == "gometa" and cls.__name__ == f"{name}Error"
    assert issubclass(cls, gometa.GometaError) and issubclass(cls, Exception)
    assert cls.__bases__[1:] == ((BUILTINS[name],) if name in BUILTINS else ())
    assert text in cls.__doc__.lower()

    error = _errors.from_core(number, 'cas "k": because', "because", "cas", b"k", "unknown", "127.0.0.1:5003", 7)
    assert type(error) is cls
    assert str(error) == 'cas "k": because' and repr(error) == f"{name}Error('cas \"k\": because')"
    for other in (error, copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is cls and str(other) == str(error)
        assert (other.kind, other.number, other.retryable) == (name, number, retryable)
        assert (other.message, other.operation, other.key) == ("because", "cas", b"k")
        assert (other.outcome, other.leader, other.actual_revision) == ("unknown", "127.0.0.1:5003", 7)
    with pytest.raises(BUILTINS.get(name, gometa.GometaError)) as caught:
        raise error
    assert caught.value is error


@pytest.mark.parametrize("name", TABLE)
def test_errors_can_be_created_by_applications(name):
    error = getattr(gometa, f"{name}Error")("something")
    assert str(error) == error.message == "something"
    assert (error.outcome, error.leader, error.actual_revision, error.key, error.operation) == (
        "not_applied",
        None,
        None,
        None,
        None,
    )
    assert str(getattr(gometa, f"{name}Error")()) == ""


def test_the_stub_lists_the_same():
    stub = ast.parse((Path(gometa.__file__).parent / "_errors.pyi").read_text())
    listed = {
        found.name: [base.id for base in found.bases] for found in stub.body if isinstance(found, ast.ClassDef)
    }
    listed.pop("GometaError")
    expected = {
        f"{name}Error": ["GometaError"] + ([BUILTINS[name].__name__] if name in BUILTINS else []) for name in TABLE
    }
    assert listed == expected


def test_the_attributes_of_a_cas_mismatch(client, key):
    key = key[-32:]  # Longer ones are cut in messages.
    written = client.set(key, "v")
    with pytest.raises(gometa.CasMismatchError) as caught:
        client.cas(key, 0, "w")
    error = caught.value
    assert (error.kind, error.number, error.retryable, error.outcome) == ("CasMismatch", 4, False, "not_applied")
    assert (error.operation, error.key, error.actual_revision) == ("cas", key.encode(), written.revision)
    assert error.leader is None or ":" in error.leader
    assert str(error) == f'cas "{key}": {error.message}'


def test_a_key_error_has_a_readable_message(client, key):
    with pytest.raises(KeyError) as caught:
        client.entry(key)
    assert str(caught.value) == f'get "{key}": there is no such key'
    assert caught.value.kind == "NotFound"


def test_an_unreachable_ensemble_is_a_connection_error(clients, key):
    client = clients.client(os.environ["GOMETA_DEAD"], timeout=0.3)
    with pytest.raises(ConnectionError) as caught:
        client.set(key, "v")
    error = caught.value
    assert isinstance(error, gometa.UnavailableError) and error.retryable and error.outcome == "not_applied"
    assert os.environ["GOMETA_DEAD"] in str(error) and "refused" in str(error)
