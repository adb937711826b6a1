"""Types of arguments and results."""

from __future__ import annotations

from typing import Literal, NamedTuple, Union

BytesLike = Union[str, bytes, bytearray, memoryview]
"""The type of keys and values as arguments. A ``str`` is encoded as UTF-8."""

Consistency = Literal["linearizable", "local"]
"""The consistency of a read; see ``gometa.Client.get``."""

Role = Literal["forming", "looking", "following", "leading", "learning", "unknown"]
"""The role of a node: waiting for all voters to form the ensemble, looking for a leader, following it, leading, or
following without counting in quorums."""


class Written(NamedTuple):
    """The result of a write."""

    revision: int
    """The revision of the write: the key's new ``mod_revision``."""
    version: int
    """The number of writes to the key since it was created, this one included."""


class DeletedRange(NamedTuple):
    """The result of the deletion of a range, which is an operation of a transaction. False if there was no key."""

    count: int  # type: ignore[assignment]  # It hides the method of tuples.
    """The number of deleted keys."""
    revision: int
    """The revision of the deletion, 0 if there was no key."""

    def __bool__(self) -> bool:
        return self.count > 0


class Deleted(NamedTuple):
    """The result of a deletion. False if the key did not exist."""

    existed: bool
    """Whether the key existed."""
    revision: int
    """The revision of the deletion, 0 if the key did not exist."""

    def __bool__(self) -> bool:
        return self.existed


class Guard(NamedTuple):
    """A condition of a write: it fails with ``GuardFailedError`` unless ``key`` exists and was created at
    ``create_revision``. An ``Entry`` of that key serves as well."""

    key: BytesLike
    create_revision: int


class Entry(NamedTuple):
    """A key, its value and its revisions."""

    key: bytes
    value: bytes
    version: int
    """The number of writes to the key since it was created."""
    create_revision: int
    """The revision at which the key was created."""
    mod_revision: int
    """The revision of the last write to the key, which ``cas`` compares."""
    is_group: bool = False
    """Whether this stands for all keys that begin with ``key``, which ends with the delimiter of the range. It
    has no value, version and revisions."""


GuardLike = Union[Guard, Entry]
"""A guard, or an entry whose key is to exist still."""


class Page(NamedTuple):
    """A part of a range, read at one revision."""

    entries: tuple[Entry, ...]
    next: bytes | None
    """Where the next page begins: its ``start``, or its ``end`` if the range is reversed. ``None`` after the last
    page. A page may be short, even empty, and not be the last."""
    revision: int
    """The revision that was read at."""


class KeyVersion(NamedTuple):
    """What a key became at a revision: a value, or nothing."""

    revision: int
    """The revision that wrote the key, its ``mod_revision`` then, or deleted it."""
    deleted: bool
    """Whether the key was deleted. All fields below are then 0 or empty."""
    version: int
    """The number of writes since the key was created, from 1."""
    create_revision: int
    """The revision at which the key was created."""
    value: bytes
    """The value; empty with ``keys_only``."""
    value_size: int
    """The size of the value in bytes, also with ``keys_only``."""


class KeyHistory(NamedTuple):
    """A part of the history of a key."""

    versions: tuple[KeyVersion, ...]
    """The versions, newest first. Empty if the key never existed, or was deleted before the history begins."""
    next_before: int | None
    """The ``before_revision`` of the next page; ``None`` after the last page."""
    revision: int
    """The revision that was read at."""
    oldest_revision: int
    """Where the ensemble's history begins. The version that the key had at that revision is the oldest one that is
    kept, whatever its own revision."""


class Counters(NamedTuple):
    """The counters of a client."""

    requests: int
    """Calls made."""
    retries: int
    """Attempts beyond a call's first."""
    reconnects: int
    """Connections that replaced a lost one. Neither the first connection nor a move to the leader counts."""
    in_flight: int
    """Calls in flight."""
    seen_revision: int
    """The highest revision in any answer so far; 0 again once the history of the ensemble has changed."""


class Ensemble(NamedTuple):
    """The identity of an ensemble."""

    id: bytes
    """16 random bytes, chosen when the ensemble was formed."""
    history: int
    """Changes when the ensemble is founded again from existing data."""


class Member(NamedTuple):
    """A member of the ensemble."""

    node: int
    """The member's id."""
    message_address: str
    """The peer address, which identifies the member to people."""
    request_address: str | None
    """The client address, ``None`` if it is unknown."""


class Members(NamedTuple):
    """The members of the ensemble and its leader, as known to one node."""

    role: Role
    """The role of the node that answered."""
    leader: str | None
    """The leader's client address, ``None`` if it is unknown."""
    members: tuple[Member, ...]


class MembersVersion(NamedTuple):
    """The version of the members. Versions ascend."""

    epoch: int
    """The epoch of the leader that made the change; 0 for the founding members."""
    revision: int
    """The revision of the change; 0 for the founding members."""


class MemberRecord(NamedTuple):
    """A member, as the ensemble has recorded it."""

    node: int
    """The member's id."""
    incarnation: bytes
    """The identity of its data directory, 16 bytes; empty for a voter that was absent when the ensemble was
    formed."""
    election_address: str
    """The address for votes."""
    message_address: str
    """The peer address, which identifies the member to people."""
    request_address: str
    """The client address."""
    votes: bool
    """Whether it is a voter, which counts in quorums, and not a learner."""
    promised: bool
    """Whether it is a learner that the leader makes a voter as soon as it is up to date."""
    replaces: int | None
    """The member that is removed when this one is a voter, since it takes that one's place."""


class Membership(NamedTuple):
    """The members of the ensemble with their roles."""

    version: MembersVersion
    members: tuple[MemberRecord, ...]
    """The members, in ascending order of their ids."""
    committed: bool
    """Whether the latest change is known to be committed."""


class MembersChanged(NamedTuple):
    """The result of a change of the members. False if there was nothing to change."""

    membership: Membership
    """The members after it."""
    changed: bool
    """Whether the call has changed them."""

    def __bool__(self) -> bool:
        return self.changed


class Setting(NamedTuple):
    """A setting of the ensemble: a number that every node has."""

    name: str
    """Its name, which has its unit."""
    value: int
    is_set: bool
    """Whether it was set; if not, ``value`` is ``default``."""
    default: int
    min: int
    max: int


class StopAdvice(NamedTuple):
    """Whether nodes can be stopped. False if not."""

    safe: bool
    """Whether the other voters are a quorum that is connected and has every committed write."""
    reason: str
    """One line: why not. Empty if it is safe."""

    def __bool__(self) -> bool:
        return self.safe


class PeerStatus(NamedTuple):
    """The status of another member, as known to the node that answered."""

    member: Member
    votes: bool
    """Whether it counts in quorums."""
    connected: bool
    """If the node that answered leads, whether the member follows it; otherwise, whether the member is its
    leader."""
    acked_revision: int
    """If the node that answered leads, the last revision that the member has acknowledged as durable; otherwise
    0."""
    detail: str
    """One line, empty if the member is healthy."""


class SnapshotStatus(NamedTuple):
    """A snapshot that is being sent or received. If a node sends to several, the sums."""

    sending: bool
    """Whether the node sends it. Otherwise it receives it."""
    revision: int
    """The last revision in it."""
    total_bytes: int
    """Its size."""
    transferred_bytes: int
    """The bytes transferred so far."""
    bytes_per_second: int
    """The mean of the last five seconds."""
    receivers: int
    """The number of nodes that it is sent to; 0 on the node that receives."""


class StorageStatus(NamedTuple):
    """What a node stores; refreshed about once a second. Bytes are those on disk."""

    log_base: int
    """The log has the entries above this revision."""
    log_end: int
    """The last revision in the log that is durable."""
    log_bytes: int
    """The size of the log."""
    state_bytes: int
    """The size of the state: keys, their history and sessions."""
    free_bytes: int
    """The free space on the file system of the data directory."""
    reserve_bytes: int
    """The space that the node keeps free: with less, writes are refused."""
    flushed_revision: int
    """The state is durable through this revision: after a restart the node applies the log from here."""
    flush_age_ms: int
    """The time since the state was last flushed, or since the node was started."""
    snapshot: SnapshotStatus | None
    """The snapshot that is being sent or received."""
    history_bytes: int = 0
    """About how much of the state is history."""


class Status(NamedTuple):
    """The status of a node."""

    node: int
    """The node's id."""
    role: Role
    leader: int | None
    """The leader's id, ``None`` if none is known."""
    epoch: int
    """The epoch of the leader."""
    last_revision: int
    """The last revision in the node's log."""
    commit_revision: int
    """The last revision that the node knows to be committed."""
    applied_revision: int
    """The last revision that the node has applied."""
    state_hash: bytes
    """The hash of all data at ``applied_revision``: equal on all nodes at the same revision."""
    sessions: int
    """The number of client sessions."""
    keys: int
    """The number of keys."""
    votes: bool
    """Whether it counts in quorums."""
    detail: str
    """One line: what the node waits for, or why it does not count in quorums. Empty if it is healthy."""
    version: str
    """The version of the server."""
    ensemble: Ensemble | None
    peers: tuple[PeerStatus, ...]
    """The other members."""
    storage: StorageStatus
    """What the node stores."""
    pending_change: str
    """One line: the change of the members that is not made yet, and what it waits for. Empty if there is none."""
    oldest_revision: int = 0
    """The lowest revision at which the node can read."""
