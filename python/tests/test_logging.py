"""The client's log records go to the logger `gometa`."""

import logging
import os
import subprocess
import sys
import threading
import time

import pytest

import gometa

from conftest import patience


def test_an_unreachable_node_is_a_warning(clients, caplog):
    dead = os.environ["GOMETA_DEAD"]
    with caplog.at_level(logging.INFO, logger="gometa"):
        client = clients.client(dead, timeout=0.3)
        with pytest.raises(gometa.UnavailableError):
            client.get("k")
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    # One record, not one for each attempt.
    assert len(warnings) == 1, [record.getMessage() for record in caplog.records]
    assert warnings[0].name == "gometa" and dead in warnings[0].getMessage()
    assert "refused" in warnings[0].getMessage()


def test_records_have_the_time_of_the_event(caplog):
    """Not the time at which they are delivered."""
    client = gometa.Client(os.environ["GOMETA_DEAD"], timeout=1.0)
    before = time.time()
    with caplog.at_level(logging.DEBUG, logger="gometa"):
        # On a thread that does not check for signals, so that all records are delivered at the end of the call.
        def call():
            with pytest.raises(gometa.UnavailableError):
                client.get("k")

        caller = threading.Thread(target=call)
        caller.start()
        caller.join()
    after = time.time()
    first = caplog.records[0]
    assert "dial failed" in first.getMessage()
    assert before <= first.created < after - 0.7, (before, first.created, after)
    assert 0 <= first.msecs < 1000 and abs(first.created % 1 * 1000 - first.msecs) <= 1
    assert [record.created for record in caplog.records] == sorted(record.created for record in caplog.records)


def test_the_first_connection_and_a_move_to_the_leader_are_no_reconnects(clients, key, caplog):
    with caplog.at_level(logging.INFO, logger="gometa"):
        client = clients.client(timeout=30)
        client.set(key, "v")
        for _ in patience():
            if client.status().role == "leading":
                break
    assert client.counters().reconnects == 0
    assert [record.getMessage() for record in caplog.records] == []


def test_a_lost_connection_and_its_replacement_are_logged(clients, key, testbed, caplog):
    client = clients.client(timeout=30)
    client.set(key, "v")
    # To the leader, so that the client notices its end.
    leader = client.members().leader
    for _ in patience():
        if client.status().role == "leading":
            break
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="gometa"):
        testbed("kill-leader")
        assert client.get(key) == b"v"
        client.set(key, "w")
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert any(level == "WARNING" and "connection ended" in text and leader in text for level, text in said), said
    assert any(level == "INFO" and "connected" in text for level, text in said), said


def test_debug_has_more_records(clients, key, caplog):
    with caplog.at_level(logging.DEBUG, logger="gometa"):
        client = clients.client()
        client.set(key, "v")
    assert any("session opened" in record.getMessage() for record in caplog.records)
    assert all("%" not in record.msg or record.msg == "%s" for record in caplog.records)


def test_nothing_is_printed_without_a_handler(run):
    source = """
import sys, gometa
try:
    gometa.Client(sys.argv[1], timeout=0.3).get("k")
except gometa.UnavailableError:
    pass
"""
    ended = subprocess.run(
        [sys.executable, "-c", source, os.environ["GOMETA_DEAD"]],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (ended.stdout, ended.stderr) == ("", "")


def test_a_handler_may_use_the_client(blocking, key, caplog):
    heard = []

    class Handler(logging.Handler):
        def emit(self, record):
            heard.append(blocking.get(key))

    blocking.set(key, "v")
    handler = Handler()
    logging.getLogger("gometa").addHandler(handler)
    try:
        with pytest.raises(gometa.UnavailableError):
            gometa.Client(os.environ["GOMETA_DEAD"], timeout=0.2).get("k")
    finally:
        logging.getLogger("gometa").removeHandler(handler)
    assert heard and set(heard) == {b"v"}


@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit, ZeroDivisionError])
def test_an_exception_of_a_handler_is_raised(how):
    """For example of a signal handler for Ctrl-C."""

    class Raising(logging.Handler):
        def handle(self, record):
            raise how

    client = gometa.Client(os.environ["GOMETA_DEAD"], timeout=30)
    handler = Raising()
    logging.getLogger("gometa").addHandler(handler)
    try:
        with pytest.raises(how):
            client.get("k")
    finally:
        logging.getLogger("gometa").removeHandler(handler)
    assert client.counters().in_flight == 0
