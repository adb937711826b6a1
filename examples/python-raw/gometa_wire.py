"""What gometa_raw.py says on the wire: protobuf, results and errors, one connection. docs/wire.md describes all of it."""

import collections
import queue
import socket
import struct
import threading
import time
from typing import NamedTuple

# ---------------------------------------------------------------------------------------------------- protobuf

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def varint(number):
    """Seven bits a byte, the lowest first; all bytes but the last have the eighth bit set."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def uint(field, value):
    """A field of type uint32, uint64, bool or enum. Zero is what a missing field means, so it is left out."""
    return varint(field << 3 | VARINT) + varint(value) if value else b""


def fixed64(field, value):
    """A field of type fixed64: eight bytes, little endian."""
    return varint(field << 3 | FIXED64) + struct.pack("<Q", value) if value else b""


def blob(field, value):
    """A field of type bytes, string or message, written also when it is empty: in a `oneof` that says which it is."""
    return varint(field << 3 | LENGTH) + varint(len(value)) + value


class Message:
    """The fields of a message by number. Those that nobody asks for are skipped, whatever they are."""

    def __init__(self, data):
        self._fields = collections.defaultdict(list)
        at = 0
        while at < len(data):
            key, at = self._varint(data, at)
            wire = key & 7
            if wire == VARINT:
                value, at = self._varint(data, at)
            else:
                size = 8 if wire == FIXED64 else 4
                if wire == LENGTH:
                    size, at = self._varint(data, at)
                elif wire not in (FIXED64, FIXED32):
                    raise ValueError("malformed message")
                value, at = data[at:at + size], at + size
                if at > len(data):
                    raise ValueError("malformed message")
                if wire != LENGTH:
                    value = int.from_bytes(value, "little")
            self._fields[key >> 3].append(value)

    @staticmethod
    def _varint(data, at):
        number = 0
        for shift in range(0, 70, 7):
            if at >= len(data):
                raise ValueError("malformed message")
            number |= (data[at] & 0x7F) << shift
            at += 1
            if data[at - 1] < 0x80:
                return number, at
        raise ValueError("malformed message")

    def _last(self, field, kind, default):
        value = self._fields[field][-1] if field in self._fields else default
        if not isinstance(value, kind):
            raise ValueError("malformed message")
        return value

    def has(self, field):
        return field in self._fields

    def uint(self, field):
        return self._last(field, int, 0)

    def bytes(self, field):
        return self._last(field, bytes, b"")

    def text(self, field):
        return self.bytes(field).decode("utf-8", "replace")

    def message(self, field):
        return Message(self.bytes(field))

    def messages(self, field):
        return [Message(value) for value in self._fields.get(field, [])]


# ------------------------------------------------------------------------------------------- results and errors

ROLES = ("unknown", "forming", "looking", "following", "leading", "learning")

# Number, name, whether the same call may succeed when it is made again.
KINDS = {
    1: ("InvalidArgument", False),
    2: ("NotFound", False),
    3: ("AlreadyExists", False),
    4: ("CasMismatch", False),
    5: ("DeadlineExceeded", True),
    6: ("Unavailable", True),
    7: ("NotLeader", True),
    8: ("ConnectionLost", True),
    9: ("TooLarge", False),
    10: ("SessionExpired", True),
    11: ("Unauthenticated", False),
    12: ("PermissionDenied", False),
    13: ("ResourceExhausted", True),
    14: ("Compacted", False),
    15: ("Cancelled", False),
    16: ("Closed", False),
    17: ("Unsupported", False),
    18: ("Internal", False),
    19: ("Forked", False),
    20: ("Forgotten", False),
}
NUMBERS = {name: number for number, (name, _) in KINDS.items()}

# Refusals which the same node will repeat.
LASTING = ("InvalidArgument", "Unauthenticated", "PermissionDenied", "Unsupported")


class GometaError(Exception):
    """What went wrong: `kind` (see KINDS), `message`, and for writes `outcome`, "not_applied" or "unknown"."""

    def __init__(self, kind, message, outcome="not_applied", actual_revision=None, leader="", retry_after=0.0):
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.number = NUMBERS[kind]
        self.retryable = KINDS[self.number][1]
        self.message = message
        self.outcome = outcome
        # CasMismatch and AlreadyExists: the key's mod_revision, 0 where it is absent.
        self.actual_revision = actual_revision
        # The leader's request address, where the node that failed named it.
        self.leader = leader
        # Seconds to wait before the next attempt.
        self.retry_after = retry_after

    @classmethod
    def of(cls, error):
        """From an Error on the wire. A kind that is not in the table comes from a newer node."""
        kind = KINDS.get(error.uint(1), KINDS[NUMBERS["Internal"]])[0]
        return cls(
            kind,
            error.text(2) or kind,
            outcome="not_applied" if error.uint(3) == 1 else "unknown",
            actual_revision=error.uint(4) if kind in ("CasMismatch", "AlreadyExists") else None,
            leader=error.text(5),
            retry_after=error.uint(6) / 1000,
        )


class Written(NamedTuple):
    revision: int
    version: int


class Deleted(NamedTuple):
    existed: bool
    revision: int


class Entry(NamedTuple):
    key: bytes
    value: bytes
    version: int
    create_revision: int
    mod_revision: int


class Member(NamedTuple):
    node: int
    message_address: str
    request_address: str

    @classmethod
    def of(cls, member):
        return cls(member.uint(1), member.text(2), member.text(3))


class View(NamedTuple):
    """What a node knows of its ensemble."""

    role: str
    leader: str
    members: list

    @classmethod
    def of(cls, view):
        return cls(role(view.uint(1)), view.text(2), [Member.of(member) for member in view.messages(3)])


class Peer(NamedTuple):
    member: Member
    votes: bool
    connected: bool
    acked_revision: int
    detail: str


class NodeStatus(NamedTuple):
    node: int
    role: str
    leader: int
    epoch: int
    last_revision: int
    commit_revision: int
    applied_revision: int
    state_hash: bytes
    sessions: int
    keys: int
    votes: bool
    detail: str
    version: str
    peers: list


def role(number):
    return ROLES[number] if number < len(ROLES) else ROLES[0]


# ------------------------------------------------------------------------------------------------ one connection

PROTOCOL = 1
# Bytes of a frame that is believed before the node has said its limits.
WELCOME_MAX = 64 << 10
# Seconds: a node that owes an answer is asked for a sign of life after so long without one, …
QUIET_MAX = 0.5
# … and left after so long without one since then.
SILENCE_MAX = 1.0
# An idle connection says at least this often that it is there.
IDLE_MAX = 5.0


def frame(body):
    return struct.pack(">I", len(body)) + body


class Connection:
    """A stream on which a node has said Welcome. One thread reads it, one writes; neither waits for the other."""

    def __init__(self, address, hello, timeout):
        """Connects and says Hello. Raises GometaError, Unavailable unless the node says otherwise."""
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
            # What a Welcome leaves out is what this protocol has always had.
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
        # Why it has ended.
        self.ended = None
        # Mailboxes of calls, by request id.
        self.pending = {}
        self._last_id = 0
        self._outgoing = queue.SimpleQueue()
        # When the last frame came that shows that the node works.
        self._heard = self._pinged = time.monotonic()
        # Since when the node owes an answer: the first request since its last one, also if nobody waits any more.
        self._owed = None
        # Since when a Ping is without any answer.
        self._unanswered = None

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

    def ask(self, mailbox, request):
        """Sends what `request` makes for an id, which is never used again on this connection: else the late answer to a
        request that was given up could be taken for another's. The answer, or the end of the connection, goes to the
        mailbox."""
        with self.lock:
            if self.ended:
                return None
            self._last_id += 1
            self._owed = self._owed or time.monotonic()
            self.pending[self._last_id] = mailbox
            self._outgoing.put(frame(blob(2, request(self._last_id))))
            return self._last_id

    def forget(self, number):
        """Nobody waits for that answer any longer."""
        with self.lock:
            if self.pending.pop(number, None) and not self.ended:
                self._outgoing.put(frame(blob(3, uint(1, number))))

    def unanswered_for(self, begun):
        """Seconds that the node has owed an answer to a call that asked at `begun`, or to others before it."""
        with self.lock:
            return time.monotonic() - min(begun, self._owed or begun)

    def look(self, session):
        """Called ten times a second: pings where there is reason to; ends what stays silent."""
        now = time.monotonic()
        if self._unanswered is not None:
            if now - self._unanswered >= SILENCE_MAX:
                self.end(f"the node is silent, for {now - self._heard:.1f} s now")
            return
        with self.lock:
            quiet = self._owed is not None and now - max(self._owed, self._heard) >= QUIET_MAX
        if quiet or now - self._pinged >= self.idle_max:
            self._pinged = self._unanswered = now
            # Naming the session keeps it alive.
            self._outgoing.put(frame(blob(4, uint(1, 1) + fixed64(2, session))))

    def end(self, reason):
        """Ends it, and tells everybody who waits for an answer."""
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
            # What else is there goes out with it.
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
                    raise ValueError("sent what is not gometa's client protocol")
                data = stream.read(length)
                if len(data) < length:
                    raise ValueError("the node closed the connection")
                message = Message(data)
                # A node's own Pings come from its port, and say nothing of whether the node works.
                if not message.has(4):
                    self._heard, self._unanswered = time.monotonic(), None
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
                self._owed = time.monotonic() if self.pending else None
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
            # A Pong, or something newer than this client: a sign of life.
            with self.lock:
                if not self.pending:
                    self._owed = None
