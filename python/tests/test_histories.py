"""The change to a newer history of the ensemble, with a node that is scripted."""

import socket
import struct
import threading

import pytest

import gometa

from conftest import patience


def field(number, content):
    """A length-delimited field of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


class Node:
    """Answers each Hello as a node of this history, and nothing else."""

    def __init__(self):
        self.history = 1
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._streams = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _ensemble(self, history):
        return field(1, b"e" * 16) + b"\x11" + struct.pack("<Q", history)

    def _run(self):
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            with stream.makefile("rb") as reader:
                hello = reader.read(*struct.unpack(">I", reader.read(4)))
            if b"e" * 16 in hello and self._ensemble(self.history) not in hello:
                # HistoryChanged, a message, NOT_APPLIED.
                body = field(5, b"\x08\x17" + field(2, b"founded anew") + b"\x18\x01")
            else:
                body = field(1, b"\x08\x01" + field(2, self._ensemble(self.history)))
            stream.sendall(struct.pack(">I", len(body)) + body)
            if body[0] >> 3 == 5:
                stream.close()
            else:
                self._streams.append(stream)

    def found_anew(self):
        self.history += 1
        while self._streams:
            self._streams.pop().close()

    def close(self):
        self._listener.close()
        self.found_anew()


@pytest.fixture
def node():
    made = Node()
    yield made
    made.close()


def test_a_change_of_the_history_is_raised_once(clients, node):
    client = clients.client(node.address)
    assert client.history_id is None
    client.members()
    assert client.history_id == 1
    node.found_anew()
    for _ in patience():
        try:
            # Until the client has noticed the end of its connection, it answers from what it knows.
            client.members()
        except gometa.HistoryChangedError as error:
            assert (error.number, error.retryable, error.outcome) == (23, False, "not_applied")
            break
    assert client.history_id == 2
    for _ in range(3):
        client.members()
