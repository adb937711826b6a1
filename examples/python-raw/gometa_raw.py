"""A gometa client in the standard library alone: an implementation of docs/wire.md.

    from gometa_raw import Client, GometaError

    with Client("127.0.0.1:5003,127.0.0.1:6003") as client:
        written = client.set(b"k", b"v")
        print(client.get(b"k").value, written.revision)

Copy this file, gometa_messages.py and gometa_wire.py into a program that can have no other library, or read them
beside docs/wire.md to write the same in another language. The others are about bytes: messages, one connection. This
one is about what a client does with them: which node, how often, what an error may promise.

A client may be used by any number of threads. Their calls share one connection, and answers find their call by the
request's id. Every call has a mailbox, in which everything arrives that can happen to it: its answer, the end of its
connection, the news that it may go on, that it is cancelled, that the client is closed. Waiting is waiting at the
mailbox, so every wait has the call's deadline and can be cancelled.
"""

import collections
import itertools
import os
import queue
import threading
import time

from gometa_messages import (
    KINDS, LASTING, VARINT, Compare, Deleted, DeletedRange, Entry, GometaError, Guard, KeyHistory, KeyVersion,
    Member, MemberRecord, MembersChanged, Membership, MembersVersion, Message, NodeStatus, Op, Page, Peer, Range, Setting,
    Snapshot, StopAdvice, Storage, Transacted, View, Written, blob, fixed64, uint, varint,
)
from gometa_wire import KEEPALIVE_INTERVAL, PROTOCOL, Connection, addresses, checked, jitter

__all__ = [
    "KINDS",
    "Cancel",
    "Client",
    "Compare",
    "Deleted",
    "DeletedRange",
    "Entry",
    "GometaError",
    "Guard",
    "KeyHistory",
    "KeyVersion",
    "Member",
    "MemberRecord",
    "MembersChanged",
    "Membership",
    "MembersVersion",
    "NodeStatus",
    "Op",
    "Page",
    "Peer",
    "Range",
    "Setting",
    "Snapshot",
    "StopAdvice",
    "Storage",
    "Transacted",
    "View",
    "Written",
]

# The back-off between attempts in seconds: from, to.
BACKOFF = (0.010, 0.200)
# The back-off before an address that failed is dialed again, in seconds: from, to.
DIAL_BACKOFF = (0.020, 0.500)
# If a dial takes longer, in seconds, the next address is dialed as well.
STAGGER = 0.25
DIALS_MAX = 4
# The interval of the background thread, in seconds.
TICK = 0.1
# The longest wait of `close` for the end of the session, in seconds.
CLOSE_TIMEOUT = 0.2


class Cancel:
    """Passed to a call as `cancel=`. Its method `cancel` cancels the call, from any thread."""

    def __init__(self):
        self._lock = threading.Lock()
        self._cancelled, self._mailbox = False, None

    def cancel(self):
        with self._lock:
            self._cancelled = True
            if self._mailbox:
                self._mailbox.put("cancelled")

    def attach(self, mailbox):
        with self._lock:
            self._mailbox = mailbox
            if self._cancelled:
                mailbox.put("cancelled")


class Health:
    """The state of an address."""

    def __init__(self):
        self.failures, self.retry_at, self.tried = 0, 0.0, 0
        # The latest error and its time.
        self.error, self.failed = None, 0.0


class Session:
    def __init__(self, number):
        self.number = number
        self.next = 1
        # Sequence numbers of writes in flight, in ascending order.
        self.in_flight = {}

    def lowest(self):
        return next(iter(self.in_flight), self.next)


class NewSession(Exception):
    """The session of a write has ended before the write was applied: it is retried in a new one."""


class Call:
    """A call in flight."""

    def __init__(self, name, timeout, write, client):
        self.name, self.timeout, self.write, self.client = name, timeout, write, client
        self.begun = time.monotonic()
        self.deadline = self.begun + timeout
        self.mailbox = queue.SimpleQueue()
        self.doing, self.last_failure = "no connection to any node", ""
        # Of the attempts under the current (session, seq): one is in flight; an earlier one may still be applied.
        self.open = self.doubt = False
        # A change of the members: it has an effect as a write has, and neither session nor seq.
        self.change = False

    def outcome(self):
        return "unknown" if self.write and (self.open or self.doubt) else "not_applied"

    def error(self, kind, message):
        return GometaError(kind, f"{self.name}: {message}", self.outcome())

    def left(self):
        return self.deadline - time.monotonic()

    def receive(self, timeout=None):
        """Returns the next event of this call, or None after `timeout` seconds."""
        left = self.left()
        try:
            wait = left if timeout is None else min(timeout, left)
            news = self.mailbox.get(timeout=max(wait, 0))
        except queue.Empty:
            if timeout is not None and timeout < left:
                return None
            # Without any connection nothing has been sent: not applied.
            kind = "DeadlineExceeded" if self.client.connected_since(self.begun) else "Unavailable"
            last_failure = self.last_failure or self.client.dial_errors(self.begun)
            before = f"; before: {last_failure}" if last_failure else ""
            raise self.error(kind, f"{self.doing} within {self.timeout:g} s{before}") from None
        if news == "cancelled":
            raise self.error("Cancelled", "cancelled by the caller")
        if news == "closed":
            raise self.error("Closed", "the client is closed")
        if isinstance(news, GometaError):
            raise self.error(news.kind, news.message)
        return news

    def pause(self, seconds):
        """Sleeps. Events of earlier attempts are dropped."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.receive(left)


class Client:
    """A client of an ensemble. The address of one node is enough: it sends those of the others.

    Keys and values are bytes. Calls take `timeout` in seconds and `cancel`, and raise GometaError. Writes take a
    `guard` too, a Guard or an Entry: they fail with GuardFailed if its key is not the one that was created then.

    When the ensemble was founded anew from old data, calls fail with HistoryChanged: create another client, and forget
    the revisions that were read by this one.
    """

    def __init__(self, peers, timeout=5.0, connect_timeout=2.0, name="gometa-raw"):
        self._seeds = addresses(peers)
        self._timeout, self._connect_timeout, self._name = checked(timeout), checked(connect_timeout), name[:16]
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._calls = set()
        # Mailboxes of waiting calls, by what they wait for, first come first served.
        self._waiting = {what: {} for what in ("connection", "slot", "session", "window")}
        self._closed = False
        self._connection, self._connections = None, set()
        # The time at which the last connection was lost or abandoned.
        self._lost = 0.0
        self._ensemble, self._leader, self._members = b"", "", []
        self._health = collections.defaultdict(Health)
        self._tries, self._dialing, self._next_dial = 0, set(), 0.0
        self._wake, self._background = threading.Event(), None
        self._session, self._opening, self._nonce = None, False, None
        self._seen = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Calls.

    def add(self, key, value, **how):
        """Creates a key; AlreadyExists if it exists."""
        return self._written("add", key, blob(11, blob(1, key) + blob(2, value)), value, how)

    def set(self, key, value, **how):
        """Creates or replaces a key."""
        return self._written("set", key, blob(12, blob(1, key) + blob(2, value)), value, how)

    def cas(self, key, revision, value, **how):
        """Replaces a key if its mod_revision is `revision`, 0 if it must not exist; else CasMismatch."""
        body = blob(1, key) + uint(2, revision) + blob(3, value)
        return self._written("cas", key, blob(13, body), value, how)

    def delete(self, key, revision=None, **how):
        """Deletes a key; with a revision, only if that is its mod_revision, else CasMismatch."""
        body = blob(1, key)
        if revision is not None:
            # An `optional` field: zero is encoded too.
            body += varint(2 << 3 | VARINT) + varint(revision)
        return Deleted.of(self._call("delete", key, blob(14, body), 13, how))

    def get(self, key, local=False, min_revision=0, **how):
        """Reads a key, linearizable or `local`; NotFound if it does not exist."""
        body = blob(1, key)
        if local:
            body += uint(2, 1) + uint(3, max(min_revision, self._seen))
        return Entry.of(self._call("get", key, blob(15, body), 14, how))

    def get_at(self, key, revision, **how):
        """Reads a key as it was at a revision; NotFound if it did not exist."""
        # A range of one key: nothing is between a key and the same key with a zero byte behind it.
        which = Range(start=key, end=key + b"\0", at_revision=revision)
        entries = Page.of(self._call("get", key, blob(26, which.encoded(0)), 21, how)).entries
        if not entries:
            raise GometaError("NotFound", "get: there was no such key at that revision")
        return entries[0]

    def history(self, key, before_revision=0, limit=0, keys_only=False, local=False, min_revision=0, **how):
        """Reads a page of the versions of a key, newest first; deletions are versions too. None is no error."""
        body = blob(1, key) + uint(2, before_revision) + uint(3, limit) + uint(4, keys_only)
        if local:
            body += uint(5, 1) + uint(6, max(min_revision, self._seen))
        return KeyHistory.of(self._call("get history", key, blob(30, body), 24, how))

    def range(self, which=Range(), **how):
        """Reads a page of keys: what comes first in the range, at most 1,000 entries and 1 MiB."""
        return Page.of(self._call("range", None, blob(26, which.encoded(self._seen)), 21, how))

    def scan(self, which=Range(), **how):
        """Yields all entries of a range, as they were at one revision. `timeout` is that of a page."""
        while True:
            page = self.range(which, **how)
            yield from page.entries
            if page.next is None or 0 < which.limit <= page.count:
                return
            which = which.after(page)

    def count(self, which=Range(), **how):
        """Counts the keys of a range at one revision, whatever its limit; with a delimiter, each group once."""
        which, counted = which._replace(count_only=True, limit=0), 0
        while True:
            page = self.range(which, **how)
            counted += page.count
            if page.next is None:
                return counted
            which = which.after(page)

    def delete_prefix(self, prefix, guard=None, **how):
        """Deletes the keys that begin with `prefix`, one after the other: not atomic. Returns their number."""
        deleted, begun = 0, False
        try:
            for entry in self.scan(Range(prefix, keys_only=True), **how):
                begun = True
                deleted += self.delete(entry.key, guard=guard, **how).existed
        except GometaError as error:
            if begun:
                error.outcome = "unknown"
            raise
        return deleted

    def txn(self, when=(), then=(), otherwise=(), local=False, min_revision=0, **how):
        """Executes the Ops of `then` as one if every Compare of `when` holds, else those of `otherwise`.

        If neither branch writes it is a read of one revision, for which `local` and `min_revision` are.
        """
        body = b"".join(blob(1, compare.encoded()) for compare in when)
        body += b"".join(blob(2, op.encoded) for op in then) + b"".join(blob(3, op.encoded) for op in otherwise)
        write = any(op.is_write for op in (*then, *otherwise))
        if local and not write:
            body += uint(4, 1) + uint(5, max(min_revision, self._seen))
        return Transacted.of(self._call("txn", None, blob(27, body), 22, how, write=write))

    def settings(self, **how):
        """The settings of the ensemble, ascending by name, as the connected node has applied them."""
        listed = self._call("list settings", None, blob(28, b""), 23, how)
        return [Setting.of(setting) for setting in listed.messages(1)]

    def set_setting(self, name, value=None, **how):
        """Changes a setting of the ensemble, to its default without a value. Returns the revision of the change."""
        body = blob(1, name.encode())
        if value is not None:
            # An `optional` field: zero is encoded too.
            body += varint(2 << 3 | VARINT) + varint(value)
        return Written.of(self._call("set setting", None, blob(29, body), 12, how)).revision

    def status(self, **how):
        """The status of the connected node."""
        return NodeStatus.of(self._call("status", None, blob(16, b""), 15, how))

    def view(self, timeout=None, cancel=None):
        """Role, leader and members, from the latest View of the connected node."""
        return self._run("members", timeout, cancel, False, lambda call: self._connected(call).view)

    def history_id(self, timeout=None, cancel=None):
        """The id of the ensemble's history, which becomes higher when the ensemble is founded anew."""
        known = self._run("history id", timeout, cancel, False, lambda call: self._connected(call).ensemble)
        return Message(known).uint(2)

    def members(self, **how):
        """The members, as known to the connected node."""
        return self.view(**how).members

    # Requests about the members. A change is idempotent by what it names: if the answer was lost, make it again.

    def membership(self, **how):
        """The members with their roles, as known to the connected node."""
        return Membership.of(self._call("list members", None, blob(23, b""), 18, how))

    def promote_member(self, node, follows=None, **how):
        """Makes a learner a voter; with a MembersVersion, only if the members have it, else FailedPrecondition."""
        return self._changed("promote member", 19, [node], follows, how)

    def remove_member(self, node, follows=None, **how):
        """Removes a voter or a learner; it is no error if the node is no member."""
        return self._changed("remove member", 20, [node], follows, how)

    def replace_member(self, node, replacement, follows=None, **how):
        """Makes the replacement, a learner, a voter, and removes the node. Returns when this is recorded, not done."""
        return self._changed("replace member", 25, [node, replacement], follows, how)

    def cancel_promotion(self, node, follows=None, **how):
        """Leaves a learner that is to become a voter a learner."""
        return self._changed("cancel promotion", 21, [node], follows, how)

    def transfer_leadership(self, to=None, **how):
        """Hands the leadership over, to any other voter if none is named; returns the node that leads now."""
        return self._call("transfer leadership", None, blob(22, fixed64(1, to or 0)), 19, how).uint(1)

    def safe_to_stop(self, nodes, **how):
        """Whether these members can be stopped together."""
        # A repeated number is one field with all of them.
        packed = b"".join(node.to_bytes(8, "little") for node in nodes)
        advice = self._call("safe to stop", None, blob(24, blob(1, packed)), 20, how)
        return StopAdvice(bool(advice.uint(1)), advice.text(2))

    def close(self):
        """Closes the client, fails calls in flight, and ends the session, which takes at most 0.2 s."""
        if os.getpid() != self._process:
            # In a forked child, connection and session belong to the parent.
            return
        with self._lock:
            self._closed = True
            calls, connections = list(self._calls), list(self._connections)
            session, self._session = self._session, None
            current, self._connection = self._connection, None
        for call in calls:
            call.mailbox.put("closed")
        if session and current:
            # Best effort: otherwise the session ends by its timeout.
            answer = queue.SimpleQueue()
            end = blob(17, fixed64(1, session.number))
            if current.ask(answer, lambda number: uint(1, number) + uint(2, 5000) + end):
                try:
                    answer.get(timeout=CLOSE_TIMEOUT)
                except queue.Empty:
                    pass
        for connection in connections:
            connection.end("the client is closed")
        self._wake.set()

    # Calls: attempts, sessions, retries.

    def _written(self, name, key, operation, value, how):
        return Written.of(self._call(name, key, operation, 12, how, value))

    def _changed(self, name, field, nodes, follows, how):
        body = b"".join(fixed64(number, node) for number, node in enumerate(nodes, 1))
        if follows is not None:
            # Written also if both numbers are 0.
            body += blob(len(nodes) + 1, uint(1, follows[0]) + uint(2, follows[1]))
        result = self._call(name, None, blob(field, body), 17, how)
        return MembersChanged(Membership.of(result.message(1)), bool(result.uint(2)))

    def _call(self, name, key, operation, expected, how, value=b"", write=False):
        """Makes a call whose result is field `expected` of Response."""
        write = write or name in ("add", "set", "cas", "delete", "set setting")
        # A node refuses the guard of a read.
        if guard := how.pop("guard", None):
            operation += blob(4, blob(1, guard.key) + uint(2, guard.create_revision))
        change = name in (
            "promote member", "remove member", "replace member", "cancel promotion", "transfer leadership"
        )
        if key is not None and len(key) == 0:
            raise GometaError("InvalidArgument", f"{name}: the key is empty; keys have at least 1 byte")

        def work(call):
            call.change = change
            sizes = (len(key or b""), len(value))
            exchange = self._once if write else self._exchange
            result = exchange(call, operation, sizes)
            if not result.has(expected):
                call.doubt = True
                raise call.error("Internal", "the response is of another operation")
            return result.message(expected)

        return self._run(name, how.pop("timeout", None), how.pop("cancel", None), write or change, work, **how)

    def _run(self, name, timeout, cancel, write, work):
        call = Call(name, self._timeout if timeout is None else checked(timeout), write, self)
        with self._lock:
            if self._closed:
                raise call.error("Closed", "the client is closed")
            self._calls.add(call)
            if self._background is None:
                self._background = threading.Thread(target=self._run_background, daemon=True)
                self._background.start()
        if cancel:
            cancel.attach(call.mailbox)
        try:
            return work(call)
        finally:
            with self._lock:
                self._calls.discard(call)
                # It may have been woken for a slot that it has not used.
                self._wake_waiting("slot", 1)
                self._wake_waiting("window", 1)

    def _once(self, call, operation, sizes):
        """Makes a write that is applied at most once, with any number of attempts."""
        pause = BACKOFF[0]
        while True:
            session = self._in_session(call)
            window = self._connected(call).window_max
            call.doing = "too many writes of this client are in flight: no room"
            seq = self._until(call, "window", lambda: self._reserve(session, window))
            try:
                return self._exchange(call, operation, sizes, session, seq)
            except NewSession:
                self._expired(session)
                call.open = call.doubt = False
            except GometaError as error:
                if error.kind == "SessionExpired":
                    self._expired(session)
                raise
            finally:
                with self._lock:
                    del session.in_flight[seq]
                    self._wake_waiting("window", window - (session.next - session.lowest()))
            call.pause(jitter(pause))
            pause = min(pause * 2, BACKOFF[1])

    def _reserve(self, session, window):
        if session.next - session.lowest() >= window:
            return None
        seq, session.next = session.next, session.next + 1
        session.in_flight[seq] = True
        return seq

    def _in_session(self, call):
        """Returns the session. If there is none, one call opens it and the others wait."""

        def session_or_turn():
            if self._session:
                return self._session
            if self._opening:
                return None
            self._opening = True
            # Kept until the session is open, so that a retry after a cancelled attempt opens no second session.
            self._nonce = self._nonce or os.urandom(16)
            return self._nonce

        found = self._until(call, "session", session_or_turn)
        if isinstance(found, Session):
            return found
        opened = None
        # No write has been sent, so the outcome is certain.
        call.write = False
        try:
            answer = self._exchange(call, blob(10, blob(1, found)), (0, 0))
            number = answer.message(11).uint(1)
            if not number:
                raise call.error("Internal", "the node opened no session and gave no reason")
            opened = Session(number)
            return opened
        finally:
            call.write = True
            with self._lock:
                self._opening = False
                if opened:
                    self._session, self._nonce = opened, None
                self._wake_waiting("session")

    def _expired(self, session):
        with self._lock:
            if self._session is session:
                self._session = None

    def _exchange(self, call, operation, sizes, session=None, seq=None):
        """Sends a request until it succeeds or fails permanently. With a seq it is a write of that session."""
        pause = BACKOFF[0]
        while True:
            connection = self._connected(call)
            if excess := connection.excess(*sizes, operation):
                raise call.error("TooLarge", excess)
            failure = self._attempt(call, connection, operation, session, seq)
            if not isinstance(failure, GometaError):
                return failure
            call.doubt |= call.open and failure.outcome == "unknown"
            call.open = False
            kind = failure.kind
            if kind in ("NotLeader", "Unavailable", "ConnectionLost"):
                # Retried on another node.
                self._leave(connection, failure)
            elif kind in ("AlreadyExists", "CasMismatch", "GuardFailed"):
                # Recorded under this seq when the write was applied, so it holds for all attempts.
                failure.outcome = "not_applied"
                raise failure
            elif kind == "SessionExpired" and seq and call.outcome() == "not_applied":
                raise NewSession
            elif kind == "Forgotten":
                call.doubt = True
                raise call.error("Internal", failure.message)
            elif kind not in ("ResourceExhausted", "DeadlineExceeded"):
                failure.outcome = call.outcome()
                raise failure
            call.last_failure = f"{connection.address}: {failure.message}"
            if kind != "ConnectionLost":
                call.pause(max(jitter(pause), failure.retry_after))
                pause = min(pause * 2, BACKOFF[1])

    def _attempt(self, call, connection, operation, session, seq):
        """Sends a request once; returns its response, or a GometaError."""

        def request(number):
            context = b""
            if seq:
                with self._lock:
                    lowest = session.lowest()
                context = blob(3, fixed64(1, session.number) + uint(2, seq) + uint(3, lowest))
            deadline_ms = min(max(int(call.left() * 1000), 1), 0xFFFFFFFF)
            return uint(1, number) + uint(2, deadline_ms) + context + operation

        begun = time.monotonic()
        call.doubt |= call.open
        was_open, call.open = call.open, bool(seq) or call.change
        number = connection.ask(call.mailbox, request)
        if number is None:
            call.open = was_open
            return GometaError("ConnectionLost", connection.ended)
        call.doing = f"no answer from {connection.address}"
        try:
            while True:
                news = call.receive()
                if isinstance(news, tuple) and news[:2] == (connection, number):
                    break
        except GometaError:
            # The deadline has passed, or the call was cancelled.
            self._unanswered(connection, begun)
            raise
        finally:
            connection.forget(number)
        response = news[2]
        if response is None:
            return GometaError("ConnectionLost", connection.ended, "unknown")
        if response.has(10):
            error = GometaError.of(response.message(10))
            if error.kind == "DeadlineExceeded":
                # The node gave up waiting: no evidence that it works.
                self._unanswered(connection, begun)
            return error
        made = max(response.message(field).uint(1) for field in (12, 13, 22))
        with self._lock:
            self._seen = max(self._seen, response.uint(2), made)
        return response

    # Waiting.

    def _connected(self, call):
        """Waits for a connection with a free slot for a request."""
        call.doing = "no connection to any node"

        def connected():
            return self._connection

        def with_room():
            connection = self._connection
            # If it was lost meanwhile, the loop waits for the next one.
            return connection is None or len(connection.pending) < connection.requests_max or None

        while True:
            connection = self._until(call, "connection", connected)
            self._until(call, "slot", with_room)
            if connection is self._connection:
                return connection

    def _until(self, call, what, ready):
        """Waits until `ready`, which is called under the lock, returns something."""
        while True:
            with self._lock:
                found = ready()
                if found is not None:
                    return found
                self._waiting[what][call.mailbox] = True
            if what == "connection":
                self._wake.set()
            try:
                call.receive()
            finally:
                with self._lock:
                    self._waiting[what].pop(call.mailbox, None)

    def _wake_waiting(self, what, count=None):
        """Wakes `count` calls that wait for something. Called under the lock."""
        waiting = self._waiting[what]
        for mailbox in list(itertools.islice(waiting, None if count is None else max(count, 0))):
            del waiting[mailbox]
            mailbox.put("check again")

    def dial_errors(self, begun):
        """The errors since `begun`, and those of addresses that were not dialed because of their back-off."""
        with self._lock:
            known = [self._health[address] for address in self._candidates()]
            errors = [health.error for health in known if health.failed >= begun or health.retry_at > begun]
        return "; ".join(error.message for error in errors if error)

    def connected_since(self, begun):
        """Whether there was a connection at any time since `begun`."""
        with self._lock:
            return self._connection is not None or self._lost >= begun

    def answered(self):
        with self._lock:
            self._wake_waiting("slot", 1)

    # Choice of the node.

    def _candidates(self):
        """The addresses to dial: the leader, then known members and the given peers, least recently dialed first."""
        known = [member.request_address for member in self._members if member.request_address] + self._seeds
        known.sort(key=lambda address: self._health[address].tried)
        return list(dict.fromkeys(([self._leader] if self._leader else []) + known))

    def _adopt(self, view):
        self._leader = view.leader
        self._members = view.members or self._members

    def viewed(self, connection):
        """Called for each View."""
        with self._lock:
            if connection is self._connection:
                self._adopt(connection.view)
        self._wake.set()

    def gone(self, connection):
        """Called when a connection has ended."""
        with self._lock:
            self._connections.discard(connection)
            if connection is self._connection:
                self._connection, self._lost = None, time.monotonic()
                self._penalise(connection.address, GometaError("Unavailable", connection.ended))
            self._wake_waiting("slot")
        self._wake.set()

    def _penalise(self, address, error, backoff_min=0.0):
        health, now = self._health[address], time.monotonic()
        health.retry_at = now + max(jitter(min(DIAL_BACKOFF[0] * 2**health.failures, DIAL_BACKOFF[1])), backoff_min)
        health.failures = min(health.failures + 1, 8)
        health.error, health.failed = error, now
        if self._leader == address:
            self._leader = ""

    def _unanswered(self, connection, begun):
        """After a call that began at `begun`: abandons a node that has not answered for the keepalive interval."""
        pending = connection.pending_for(begun)
        if pending >= KEEPALIVE_INTERVAL:
            message = f"{connection.address}: no answer for {pending:.1f} s"
            self._leave(connection, GometaError("Unavailable", message), DIAL_BACKOFF[1])

    def _leave(self, connection, failure, backoff_min=0.0):
        """Abandons a node that cannot serve now, if there is another one to dial."""
        with self._lock:
            if connection is not self._connection:
                return
            self._penalise(connection.address, failure, backoff_min)
            if failure.leader and failure.leader != connection.address:
                self._leader = failure.leader
            now = time.monotonic()
            others = (address for address in self._candidates() if address != connection.address)
            if connection.ended or any(self._health[address].retry_at <= now for address in others):
                self._connection, self._lost = None, now
        self._wake.set()

    def _run_background(self):
        """The background thread: dials, and checks the connections, until the client is closed."""
        while True:
            self._wake.wait(TICK)
            self._wake.clear()
            with self._lock:
                if self._closed:
                    return
                self._dial_if_needed(time.monotonic())
                session = self._session.number if self._session else 0
                connections, current = list(self._connections), self._connection
            for connection in connections:
                connection.tick(session)
                if connection is not current and not connection.pending:
                    connection.end("no longer used")

    def _dial_if_needed(self, now):
        wanted = []
        if self._connection is None:
            if self._waiting["connection"] and now >= self._next_dial and len(self._dialing) < DIALS_MAX:
                wanted = self._candidates()
        elif self._leader not in ("", self._connection.address) and not self._connection.leads():
            # Meanwhile the connected node forwards calls.
            wanted = [self._leader]
        for address in wanted:
            if address not in self._dialing and self._health[address].retry_at <= now:
                self._next_dial = now + STAGGER
                self._tries += 1
                self._health[address].tried = self._tries
                self._dialing.add(address)
                threading.Thread(target=self._dial, args=(address,), daemon=True).start()
                return

    def _dial(self, address):
        hello = uint(1, PROTOCOL) + uint(2, PROTOCOL) + blob(3, self._name.encode()) + blob(4, b"1")
        with self._lock:
            known = self._ensemble
        if known:
            hello += blob(5, known)
        try:
            self._dialed(address, Connection(address, hello, self._connect_timeout))
        except GometaError as error:
            self._dialed(address, error)
        self._wake.set()

    def _dialed(self, address, result):
        if not isinstance(result, GometaError) and self._ensemble and not result.ensemble:
            # It may join a later history of the ensemble on this connection, without the client's knowledge.
            result.end("the node belongs to no ensemble yet")
            result = GometaError("Unavailable", f"{address}: the node belongs to no ensemble yet")
        with self._lock:
            self._dialing.discard(address)
            self._next_dial = 0.0
            if isinstance(result, GometaError):
                self._penalise(address, result)
                errors = [self._health[candidate].error for candidate in self._candidates()]
                lasting = next((error for error in errors if error and error.kind in LASTING), None)
                if lasting and all(errors) and self._connection is None:
                    # All addresses have failed, and retrying does not help.
                    for mailbox in self._waiting["connection"]:
                        mailbox.put(lasting)
                return
            self._connections.add(result)
            result.start(self)
            current = self._connection
            if self._closed:
                # The background thread has ended.
                threading.Thread(target=result.end, args=("the client is closed",)).start()
            elif current is None or (result.leads() and not current.leads()):
                self._health[address].failures, self._health[address].error = 0, None
                self._ensemble = self._ensemble or result.ensemble
                self._connection = result
                self._adopt(result.view)
                self._wake_waiting("connection")
                self._wake_waiting("slot")
            else:
                # The background thread closes it. If it should be the leader, it is dialed again later.
                self._health[address].retry_at = time.monotonic() + DIAL_BACKOFF[1]
