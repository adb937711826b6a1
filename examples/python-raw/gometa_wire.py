"""One connection for gometa_raw.py: frames, handshake, keepalive. See docs/wire.md."""

import queue
import random
import socket
import struct
import threading
import time

from gometa_messages import GometaError, Message, View, blob, fixed64, uint

PROTOCOL = 1
# The maximum length of the first frame, before the limits of the node are known.
WELCOME_MAX = 64 << 10
# Keepalive, in seconds: while a response is pending and nothing is received for the interval, the client sends a Ping.
KEEPALIVE_INTERVAL = 0.5
# If nothing is received for another timeout, it closes the connection.
KEEPALIVE_TIMEOUT = 1.0
# The maximum interval of Pings on an idle connection, in seconds.
IDLE_MAX = 5.0
# The longest timeout that a request can carry: 2^32-1 ms.
TIMEOUT_MAX = 4294967.295
# The most bytes of a request besides the operation: id, deadline, session, numbers of the write.
ENVELOPE_MAX = 64


def jitter(seconds):
    """Between a half and the whole, so that clients do not retry in step."""
    return seconds * random.uniform(0.5, 1.0)


def addresses(peers):
    """Parses "host:port,host:port", or a list of these."""
    listed = [peers] if isinstance(peers, str) else list(peers)
    found = [address.strip() for item in listed for address in item.split(",") if address.strip()]
    for address in found:
        host, colon, port = address.rpartition(":")
        bare = ":" in host and not (host.startswith("[") and host.endswith("]"))
        if not colon or not host or bare or set(host) & set("/@?# \t\n"):
            raise GometaError("InvalidArgument", f"peer {address!r}: write host:port")
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise GometaError("InvalidArgument", f"peer {address!r}: the port is not a number from 1 to 65535")
    if not found:
        raise GometaError("InvalidArgument", "no peers: name at least one request address, host:port")
    return list(dict.fromkeys(found))


def checked(timeout):
    """Checks a timeout in seconds."""
    if not 0 < timeout <= TIMEOUT_MAX:
        raise GometaError("InvalidArgument", f"timeout is {timeout}; it is above 0 and at most {TIMEOUT_MAX} seconds")
    return timeout


def frame(body):
    return struct.pack(">I", len(body)) + body


class Connection:
    """A connection after its handshake, with a thread that reads and one that writes."""

    def __init__(self, address, hello, timeout):
        """Connects and does the handshake. Raises GometaError: Unavailable, or the error that the node sends."""
        self.address = address
        host, port = address.rsplit(":", 1)
        deadline = time.monotonic() + timeout
        try:
            self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout)
        except OSError as error:
            raise GometaError("Unavailable", f"{address}: {error.strerror or error}") from None
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(frame(blob(1, hello)))
            welcome = self._welcome(deadline)
            limits = welcome.message(5)
            # Limits that are missing in the Welcome have their defaults.
            self.key_max = limits.uint(1) or 4096
            self.value_max = limits.uint(2) or 1 << 20
            self.frame_max = limits.uint(3) or 1114112
            self.requests_max = limits.uint(4) or 1024
            self.window_max = limits.uint(5) or 1024
            self.idle_max = min(IDLE_MAX, (limits.uint(6) or 60_000) / 3000)
            self.ensemble = welcome.bytes(2)
            self.view = View.of(welcome.message(6))
            self._socket.settimeout(None)
        except (OSError, ValueError) as error:
            self._socket.close()
            silent = isinstance(error, TimeoutError)
            reason = f"no welcome within {timeout:g} s" if silent else getattr(error, "strerror", None) or error
            raise GometaError("Unavailable", f"{address}: {reason}") from None
        except GometaError:
            self._socket.close()
            raise
        self.lock = threading.Lock()
        # The reason, once it has ended.
        self.ended = None
        # Mailboxes of calls, by request id.
        self.pending = {}
        self._last_id = 0
        self._outgoing = queue.SimpleQueue()
        # The time of the last frame that proves that the node works.
        self._received = self._pinged = time.monotonic()
        # The time of the oldest request without a response, cancelled ones included.
        self._pending_since = None
        # The time of a Ping without an answer.
        self._ping_sent = None

    def _welcome(self, deadline):
        def take(count):
            data = b""
            while len(data) < count:
                self._socket.settimeout(max(deadline - time.monotonic(), 1e-3))
                more = self._socket.recv(count - len(data))
                if not more:
                    raise ValueError("closed the connection before its welcome")
                data += more
            return data

        (length,) = struct.unpack(">I", take(4))
        if length > WELCOME_MAX:
            raise ValueError("does not speak gometa's client protocol: its first frame is too long")
        try:
            answer = Message(take(length))
            welcome, error = answer.message(1), answer.message(5)
        except ValueError as error:
            raise ValueError(f"does not speak gometa's client protocol: {error}") from None
        if answer.has(5):
            refusal = GometaError.of(error)
            refusal.message = f"{self.address}: refused: {refusal.message}"
            raise refusal
        if welcome.uint(1) != PROTOCOL:
            raise ValueError("does not speak gometa's client protocol: its first frame is no welcome")
        return welcome

    def start(self, client):
        for loop in (self._read, self._write):
            threading.Thread(target=loop, args=(client,), daemon=True).start()

    def leads(self):
        return self.view.role == "leading"

    def excess(self, key, value, operation):
        """Says which limit of the node is exceeded by a request with a key and a value of these sizes, if any."""
        # A frame that is too long would close the connection.
        request = len(operation) + ENVELOPE_MAX, "request", self.frame_max
        for size, what, most in ((key, "key", self.key_max), (value, "value", self.value_max), request):
            if size > most:
                return f"a {what} of {size} bytes exceeds the limit of {most} bytes"
        return None

    def ask(self, mailbox, request):
        """Sends the request that `request` makes for a new id. The response, or the end of the connection, is put into
        the mailbox. Ids are not reused, so that the late response to a cancelled request is not taken for another's."""
        with self.lock:
            if self.ended:
                return None
            self._last_id += 1
            self._pending_since = self._pending_since or time.monotonic()
            self.pending[self._last_id] = mailbox
            self._outgoing.put(frame(blob(2, request(self._last_id))))
            return self._last_id

    def forget(self, number):
        """Cancels a request, unless it has been answered."""
        with self.lock:
            if self.pending.pop(number, None) and not self.ended:
                self._outgoing.put(frame(blob(3, uint(1, number))))

    def pending_for(self, begun):
        """How long a response to a request of `begun`, or an earlier one, has been pending, in seconds."""
        with self.lock:
            return time.monotonic() - min(begun, self._pending_since or begun)

    def tick(self, session):
        """Called ten times a second: sends Pings, and closes the connection if they are not answered."""
        now = time.monotonic()
        if self._ping_sent is not None:
            if now - self._ping_sent >= KEEPALIVE_TIMEOUT:
                self.end(f"nothing received for {now - self._received:.1f} s")
            return
        with self.lock:
            since = self._pending_since
            quiet = since is not None and now - max(since, self._received) >= KEEPALIVE_INTERVAL
        if quiet or now - self._pinged >= self.idle_max:
            self._pinged = self._ping_sent = now
            # The Ping also keeps the session alive.
            self._outgoing.put(frame(blob(4, uint(1, 1) + fixed64(2, session))))

    def end(self, reason):
        """Closes the connection, and fails its pending requests."""
        with self.lock:
            if self.ended:
                return
            self.ended = reason
            pending, self.pending = self.pending, {}
        self._outgoing.put(None)
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        for number, mailbox in pending.items():
            mailbox.put((self, number, None))

    def _write(self, _client):
        while (data := self._outgoing.get()) is not None:
            # Queued frames are sent together.
            while len(data) < 1 << 16 and not self._outgoing.empty():
                more = self._outgoing.get()
                if more is None:
                    return
                data += more
            try:
                self._socket.sendall(data)
            except OSError as error:
                return self.end(error.strerror or str(error))

    def _read(self, client):
        stream = self._socket.makefile("rb")
        try:
            while True:
                length = stream.read(4)
                if len(length) < 4:
                    raise ValueError("the node closed the connection")
                (length,) = struct.unpack(">I", length)
                if length > self.frame_max:
                    raise ValueError("does not speak gometa's client protocol: a frame is too long")
                data = stream.read(length)
                if len(data) < length:
                    raise ValueError("the node closed the connection")
                message = Message(data)
                # A Ping is sent by the node's port, and does not prove that the node works.
                if not message.has(4):
                    self._received, self._ping_sent = time.monotonic(), None
                self._take(message, client)
        except (OSError, ValueError) as error:
            self.end(getattr(error, "strerror", None) or str(error))
        finally:
            stream.close()
            self._socket.close()
            client.gone(self)

    def _take(self, message, client):
        if message.has(2):
            response = message.message(2)
            number = response.uint(1)
            with self.lock:
                mailbox = self.pending.pop(number, None)
                self._pending_since = time.monotonic() if self.pending else None
            if mailbox:
                mailbox.put((self, number, response))
            client.answered()
        elif message.has(4):
            self._outgoing.put(frame(blob(5, uint(1, message.message(4).uint(1)))))
        elif message.has(5):
            raise ValueError(f"the node ended the connection: {GometaError.of(message.message(5)).message}")
        elif message.has(6):
            self.view = View.of(message.message(6))
            client.viewed(self)
        else:
            # A Pong, or an unknown message of a newer node.
            with self.lock:
                if not self.pending:
                    self._pending_since = None
