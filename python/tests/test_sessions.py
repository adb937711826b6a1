"""Closing a client ends its session; a forked child does not end its parent's."""

import logging

from test_fork import in_child

import gometa

from conftest import patience

# The number of clients, one after another. Sessions of other tests may end meanwhile, but none begins.
CLIENTS = 50
FEW = 3


def sessions(looking):
    """The number of sessions of the ensemble. A status call opens none."""
    return looking.status(looking.members().leader).sessions


def until_few_more_than(looking, before):
    for _ in patience():
        if sessions(looking) <= before + FEW:
            return


def test_closing_ends_the_session(clients, key, blocking):
    before = sessions(blocking)
    for _ in range(CLIENTS):
        client = clients.client()
        client.set(key, "v")
        client.close()
        client.close()
    until_few_more_than(blocking, before)


def test_a_client_that_is_dropped_ends_its_session_too(key, blocking):
    before = sessions(blocking)
    for _ in range(CLIENTS):
        gometa.Client(blocking.peers).set(key, "v")
    until_few_more_than(blocking, before)


def test_a_client_that_has_not_written_has_no_session(clients, key, blocking):
    before = sessions(blocking)
    made = [clients.client() for _ in range(CLIENTS)]
    assert all(client.get(key) is None for client in made)
    assert sessions(blocking) <= before + FEW


def test_a_child_does_not_end_its_parents_session(blocking, key, caplog):
    with caplog.at_level(logging.DEBUG, logger="gometa"):
        blocking.set(key, "before")
        in_child(blocking.close)
        assert blocking.set(key, "after").version == 2
    said = [record.getMessage() for record in caplog.records]
    assert sum("session opened" in text for text in said) <= 1, said
    assert not any("expired" in text for text in said), said
