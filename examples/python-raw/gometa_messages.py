"""The messages for gometa_raw.py: protobuf, requests, results and errors. See docs/wire.md."""

import collections
import struct
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
    23: ("HistoryChanged", False),
}
NUMBERS = {name: number for number, (name, _) in KINDS.items()}

# Errors whose revision may be 0.
WITH_REVISION = ("CasMismatch", "AlreadyExists", "GuardFailed", "Compacted")

# Errors of a handshake that a retry does not change.
LASTING = ("InvalidArgument", "Unauthenticated", "PermissionDenied", "Unsupported", "HistoryChanged")


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

    def bounds_only(self):
        """The fields of a range that has nothing else."""
        if self != Range(self.prefix, self.start, self.end):
            message = "a range to compare or to delete has a start, an end and a prefix only"
            raise GometaError("InvalidArgument", message)
        return self.bounds()

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
        return cls("range", b"", "=", which.bounds_only() + uint(4, count) + uint(5, revision))

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
        return cls(blob(5, which.bounds_only()), True)


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
    # Of each operation: Written, Deleted, Entry or None if there was no such key, Page, DeletedRange; or a GometaError:
    # TooLarge if the answer had no room for it, Compacted if the history begins behind the transaction.
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
