"""What calls return."""

from __future__ import annotations

from typing import Literal, NamedTuple, Union

Data = Union[str, bytes, bytearray, memoryview]
"""What keys and values are given as; of a ``str``, its UTF-8 counts."""

Consistency = Literal["linearizable", "local"]
"""What a read sees: every write that was acknowledged before, or what the answering node has applied."""

Role = Literal["forming", "looking", "following", "leading", "learning", "unknown"]
"""What a node is doing: waiting for every voter to form the ensemble, looking for a leader, following one,
leading, or following without a vote."""


class Written(NamedTuple):
    """What a write made."""

    revision: int
    """The revision of the write: the key's new ``mod_revision``."""
    version: int
    """1, 2, … since the key was created."""


class Deleted(NamedTuple):
    """What a removal came to."""

    existed: bool
    """Whether the key was there."""
    revision: int
    """The revision of the removal, 0 where there was nothing to remove."""


class Entry(NamedTuple):
    """A key as it stands."""

    key: bytes
    value: bytes
    version: int
    """1, 2, … since it was created."""
    create_revision: int
    """The revision that created it."""
    mod_revision: int
    """The revision that changed it last: what ``cas`` compares."""


class Counters(NamedTuple):
    """What a client has done so far."""

    requests: int
    """Calls made."""
    retries: int
    """Attempts beyond a call's first."""
    reconnects: int
    """Connections beyond the first: after losses, and when moving to the leader."""
    in_flight: int
    """Calls that have not ended yet."""
    seen_revision: int
    """The highest revision that an answer has shown."""


class Ensemble(NamedTuple):
    """Which ensemble, and which history of it, a node holds."""

    id: bytes
    """16 random bytes, drawn when the ensemble was formed."""
    history: int
    """Changes when the ensemble is founded anew from old data."""


class Member(NamedTuple):
    """A member of the ensemble."""

    node: int
    """Its id."""
    message_address: str
    """Where other nodes reach it; people are shown this one."""
    request_address: str | None
    """Where clients reach it, ``None`` if that is not known."""


class Members(NamedTuple):
    """What the node in use says of its ensemble."""

    role: Role
    """The role of the node that says it."""
    leader: str | None
    """The leader's address for clients, ``None`` if that is not known."""
    members: tuple[Member, ...]


class PeerStatus(NamedTuple):
    """Another member, as the answering node sees it."""

    member: Member
    votes: bool
    """Whether it is counted in quorums."""
    connected: bool
    """At the leader: it follows over a live connection. At others: it is the leader they follow."""
    acked_revision: int
    """At the leader: the last revision that it has acknowledged as durable."""
    detail: str
    """One line, empty if all is well."""


class Status(NamedTuple):
    """How a node is."""

    node: int
    """Its id."""
    role: Role
    leader: int | None
    """The leader's id, ``None`` if none is known."""
    epoch: int
    """The leadership that the node is in."""
    last_revision: int
    """Of the last durable log entry."""
    commit_revision: int
    """Of the last one that is known to be committed."""
    applied_revision: int
    """Of the last one that is applied."""
    state_hash: bytes
    """Hash of keys and sessions at ``applied_revision``."""
    sessions: int
    """Clients' sessions that are open."""
    keys: int
    """Keys that there are."""
    votes: bool
    """Whether it is counted in quorums."""
    detail: str
    """One line that says what the node waits for, empty if all is well."""
    version: str
    """Of the server program."""
    ensemble: Ensemble | None
    peers: tuple[PeerStatus, ...]
    """The other members."""
