"""The wire protocol for gometa_raw.py: protobuf, results and errors, connections. See docs/wire.md."""

import collections
import queue
import random
import socket
import struct
import threading
import time
from typing import NamedTuple, Optional, Union

# ---------------------------------------------------------------------------------------------------- protobuf

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


def varint(number):
    """A varint: seven bits per byte, the lowest first; all bytes but the last have the eighth bit set."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def uint(field, value):
    """A field of type uint32, uint64, bool or enum. Zero is the default, and is left out."""
    return varint(field << 3 | VARINT) + varint(value) if value else b""


def fixed64(field, value):
    """A field of type fixed64: eight bytes, little endian."""
    return varint(field << 3 | FIXED64) + struct.pack("<Q", value) if value else b""


def blob(field, value):
    """A field of type bytes, string or message. Encoded also if empty: in a `oneof` its presence matters."""
    return varint(field << 3 | LENGTH) + varint(len(value)) + value


class Message:
    """The fields of a message by number. Unknown fields are ignored."""

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

# Number, name, whether it is retryable.
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
    21: ("FailedPrecondition", False),
    22: ("GuardFailed", False),
}
NUMBERS = {name: number for number, (name, _) in KINDS.items()}

# Errors whose revision may be 0.
WITH_REVISION = ("CasMismatch", "AlreadyExists", "GuardFailed", "Compacted")

# Errors of a handshake that a retry does not change.
LASTING = ("InvalidArgument", "Unauthenticated", "PermissionDenied", "Unsupported")


class GometaError(Exception):
    """An error: `kind` (see KINDS), `message`, and for writes `outcome`, "not_applied" or "unknown"."""

    def __init__(self, kind, message, outcome="not_applied", actual_revision=None, leader="", retry_after=0.0):
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.number = NUMBERS[kind]
        self.retryable = KINDS[self.number][1]
        self.message = message
        self.outcome = outcome
        # CasMismatch and AlreadyExists: the key's mod_revision, 0 if it does not exist. GuardFailed: the
        # create_revision of the guard's key, 0 likewise. Compacted: the oldest revision that can be read. TooLarge as a result in a transaction: the revision to read it at.
        self.actual_revision = actual_revision
        # The leader's client address, if the node that refused the call sent it.
        self.leader = leader
        # The minimum back-off before the next attempt, in seconds.
        self.retry_after = retry_after

    @classmethod
    def of(cls, error):
        """Decodes an Error. A kind that is not in the table is of a newer node."""
        kind = KINDS.get(error.uint(1), KINDS[NUMBERS["Internal"]])[0]
        return cls(
            kind,
            error.text(2) or kind,
            outcome="not_applied" if error.uint(3) == 1 else "unknown",
            actual_revision=error.uint(4) if kind in WITH_REVISION or error.has(4) else None,
            leader=error.text(5),
            retry_after=error.uint(6) / 1000,
        )


class Written(NamedTuple):
    revision: int
    version: int

    @classmethod
    def of(cls, written):
        return cls(written.uint(1), written.uint(2))


class Deleted(NamedTuple):
    existed: bool
    revision: int

    @classmethod
    def of(cls, deleted):
        return cls(bool(deleted.uint(2)), deleted.uint(1))


class Entry(NamedTuple):
    key: bytes
    value: bytes
    version: int
    create_revision: int
    mod_revision: int
    # Of a range with a delimiter: stands for all keys that begin with `key`, and has nothing else.
    is_group: bool = False

    @classmethod
    def of(cls, entry):
        numbers = map(entry.uint, (3, 4, 5))
        return cls(entry.bytes(1), entry.bytes(2), *numbers, bool(entry.uint(6)))


class Guard(NamedTuple):
    """A condition of a write: `key` exists, and was created at `create_revision`. An Entry serves as well."""

    key: bytes
    create_revision: int


class Range(NamedTuple):
    """The keys to read, in the order of their bytes, and how. An empty bound is none."""

    prefix: bytes = b""
    # The first key, and the key behind the last one.
    start: bytes = b""
    end: bytes = b""
    # 0 is the present.
    at_revision: int = 0
    # The most entries, 0 for no bound. A page has at most 1,000.
    limit: int = 0
    reverse: bool = False
    keys_only: bool = False
    count_only: bool = False
    # Keys that share what comes before its first occurrence behind the prefix are one entry, a group.
    delimiter: bytes = b""
    local: bool = False
    min_revision: int = 0

    def bounds(self):
        return blob(1, self.start) + blob(2, self.end) + blob(3, self.prefix)

    def encoded(self, seen):
        """The fields of the request. A local read is not older than `seen`; with at_revision that alone counts."""
        bounds = self.bounds() + blob(9, self.delimiter)
        flags = uint(6, self.reverse) + uint(7, self.keys_only) + uint(8, self.count_only) + uint(10, self.local)
        oldest = max(self.min_revision, seen) if self.local and not self.at_revision else 0
        return bounds + uint(4, self.at_revision) + uint(5, self.limit) + flags + uint(11, oldest)

    def after(self, page):
        """What follows a page, at its revision. Local, since that revision alone determines the answer."""
        limit = self.limit - page.count if self.limit else 0
        left = self._replace(at_revision=page.revision, local=True, limit=limit)
        return left._replace(end=page.next) if self.reverse else left._replace(start=page.next)


class KeyVersion(NamedTuple):
    """What a key became at a revision: a value, or, if `deleted`, nothing."""

    revision: int
    deleted: bool
    version: int
    create_revision: int
    value: bytes
    # Bytes of the value, also if that was not asked for.
    value_size: int

    @classmethod
    def of(cls, version):
        numbers = map(version.uint, (3, 4))
        return cls(version.uint(1), bool(version.uint(2)), *numbers, version.bytes(5), version.uint(6))


class KeyHistory(NamedTuple):
    """A page of the versions of a key, newest first."""

    versions: list
    # The before_revision of the next page, None after the last one.
    next_before: Optional[int]
    # The revision that was read at, and the one at which the history begins.
    revision: int
    oldest_revision: int

    @classmethod
    def of(cls, page):
        versions = [KeyVersion.of(version) for version in page.messages(1)]
        return cls(versions, page.uint(2) or None, page.uint(3), page.uint(4))


class Page(NamedTuple):
    """A part of a range."""

    entries: list
    # The number of entries, also if they are only counted.
    count: int
    # Where the next page begins, None after the last one. A page may be short, even empty, and not be the last.
    next: Optional[bytes]
    # The revision that was read at.
    revision: int

    @classmethod
    def of(cls, page):
        entries = [Entry.of(entry) for entry in page.messages(1)]
        return cls(entries, page.uint(2), page.bytes(3) or None, page.uint(4))


# What stands between a key's fact and the operand of a comparison. Values are ordered by their bytes.
RELATIONS = ("=", "!=", "<", ">")


class Compare(NamedTuple):
    """A comparison of a transaction. A key that does not exist has revisions 0, and no value that compares."""

    # "create_revision", "mod_revision" or "value"; "range" of what `range` returns.
    fact: str
    key: bytes
    # One of RELATIONS.
    relation: str
    # A revision, or the bytes of a value.
    operand: Union[int, bytes]

    @classmethod
    def range(cls, which, count, revision):
        """The bounds of a Range have exactly `count` keys, none of them written after `revision`: they are as a scan at
        that revision found them. A `count` of 0: they have no key."""
        return cls("range", b"", "=", which.bounds() + uint(4, count) + uint(5, revision))

    def encoded(self):
        if self.fact == "range":
            operand = blob(6, self.operand)
        elif self.fact == "value":
            operand = blob(5, self.operand)
        else:
            # One of a `oneof`: zero is encoded too.
            field = ("create_revision", "mod_revision").index(self.fact) + 3
            operand = varint(field << 3 | VARINT) + varint(self.operand)
        return blob(1, self.key) + uint(2, RELATIONS.index(self.relation)) + operand


class Op(NamedTuple):
    """An operation of a transaction: what `set`, `delete`, `get`, `range` or `delete_range` returns."""

    encoded: bytes
    is_write: bool

    @classmethod
    def set(cls, key, value):
        return cls(blob(1, blob(1, key) + blob(2, value)), True)

    @classmethod
    def delete(cls, key):
        return cls(blob(2, blob(1, key)), True)

    @classmethod
    def get(cls, key):
        return cls(blob(3, blob(1, key)), False)

    @classmethod
    def range(cls, which):
        """Reads a page of a Range that has no revision and is not local."""
        return cls(blob(4, which.encoded(0)), False)

    @classmethod
    def delete_range(cls, which):
        """Deletes the keys within the bounds of a Range: at most 1,000."""
        return cls(blob(5, which.bounds()), True)


class DeletedRange(NamedTuple):
    count: int
    revision: int

    @classmethod
    def of(cls, deleted):
        return cls(deleted.uint(2), deleted.uint(1))


class Transacted(NamedTuple):
    # Whether every comparison held, so that `then` was executed; else `otherwise` was.
    succeeded: bool
    revision: int
    # Of each operation: Written, Deleted, Entry or None if there was no such key, Page, DeletedRange; or a GometaError: TooLarge
    # if the answer had no room for it, Compacted if the history begins behind the transaction.
    results: list

    @classmethod
    def of(cls, answer):
        return cls(bool(answer.uint(2)), answer.uint(1), [cls._result(result) for result in answer.messages(3)])

    @staticmethod
    def _result(result):
        for field, kind in enumerate((Written, Deleted, Entry, Page, GometaError, DeletedRange), 1):
            if result.has(field):
                found = kind.of(result.message(field))
                return None if field == 5 and found.kind == "NotFound" else found
        return GometaError("Internal", "the result is of an unknown kind")


class Setting(NamedTuple):
    """A setting of the ensemble."""

    name: str
    value: int
    # Whether it was set; if not, the value is the default.
    is_set: bool
    default: int
    min: int
    max: int

    @classmethod
    def of(cls, setting):
        is_set, bounds = setting.has(2), map(setting.uint, (3, 4, 5))
        return cls(setting.text(1), setting.uint(2 if is_set else 3), is_set, *bounds)


class Member(NamedTuple):
    node: int
    message_address: str
    request_address: str

    @classmethod
    def of(cls, member):
        return cls(member.uint(1), member.text(2), member.text(3))


class MembersVersion(NamedTuple):
    """Versions ascend. Both numbers are 0 for the founding members."""

    epoch: int
    revision: int

    @classmethod
    def of(cls, version):
        return cls(version.uint(1), version.uint(2))


class MemberRecord(NamedTuple):
    """A member, as the ensemble has recorded it."""

    node: int
    incarnation: bytes
    election_address: str
    message_address: str
    request_address: str
    votes: bool
    promised: bool
    replaces: int

    @classmethod
    def of(cls, member):
        addresses = map(member.text, (3, 4, 5))
        roles = bool(member.uint(6)), bool(member.uint(7))
        return cls(member.uint(1), member.bytes(2), *addresses, *roles, member.uint(8))


class Membership(NamedTuple):
    version: MembersVersion
    members: list
    committed: bool

    @classmethod
    def of(cls, membership):
        members = [MemberRecord.of(member) for member in membership.messages(2)]
        return cls(MembersVersion.of(membership.message(1)), members, bool(membership.uint(3)))


class MembersChanged(NamedTuple):
    membership: Membership
    changed: bool


class StopAdvice(NamedTuple):
    safe: bool
    reason: str


class View(NamedTuple):
    """The ensemble, as known to a node."""

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


class Snapshot(NamedTuple):
    sending: bool
    revision: int
    total_bytes: int
    transferred_bytes: int
    bytes_per_second: int
    receivers: int


class Storage(NamedTuple):
    log_base: int
    log_end: int
    log_bytes: int
    state_bytes: int
    free_bytes: int
    flushed_revision: int
    flush_age_ms: int
    snapshot: Optional[Snapshot]
    reserve_bytes: int

    @classmethod
    def of(cls, storage):
        snapshots = [Snapshot(bool(sent.uint(1)), *map(sent.uint, range(2, 7))) for sent in storage.messages(8)]
        return cls(*map(storage.uint, range(1, 8)), snapshots[0] if snapshots else None, storage.uint(9))


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
    storage: Storage

    @classmethod
    def of(cls, status):
        peers = [
            Peer(Member.of(peer.message(1)), bool(peer.uint(2)), bool(peer.uint(3)), peer.uint(4), peer.text(5))
            for peer in status.messages(14)
        ]
        numbers = map(status.uint, range(3, 8))
        return cls(
            status.uint(1), role(status.uint(2)), *numbers, status.bytes(8), status.uint(9), status.uint(15),
            bool(status.uint(10)), status.text(11), status.text(12), peers, Storage.of(status.message(16)),
        )


def role(number):
    return ROLES[number] if number < len(ROLES) else ROLES[0]


# ------------------------------------------------------------------------------------------------ one connection

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
