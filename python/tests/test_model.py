"""Any sequence of calls behaves like a dict with revisions."""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

import gometa

from conftest import Awaited, Blocking

KEYS = st.sampled_from(["a", "b", "ü", "\0", "long" * 100])
VALUES = st.one_of(st.binary(max_size=40), st.text(max_size=20), st.binary(min_size=5000, max_size=5001))


def in_bytes(data):
    return data.encode() if isinstance(data, str) else bytes(data)


class Model:
    """The model of one key."""

    def __init__(self, value, version, create, mod):
        self.value, self.version, self.create, self.mod = value, version, create, mod


class Calls(RuleBasedStateMachine):
    runs = 0
    clients = None
    revisions = Bundle("revisions")

    def __init__(self):
        super().__init__()
        type(self).runs += 1
        self.prefix = f"{os.getpid()}/model/{type(self).__name__}/{self.runs}/"
        self.made = self.clients()
        self.client = self.made.client()
        self.model = {}
        self.latest = 0

    def teardown(self):
        self.made.end()

    def wrote(self, key, value, written):
        """Checks the result of a write: its revision is the highest so far."""
        assert written.revision > self.latest
        self.latest = written.revision
        known = self.model.get(key)
        version = 1 if known is None else known.version + 1
        assert written.version == version
        create = written.revision if known is None else known.create
        self.model[key] = Model(in_bytes(value), version, create, written.revision)
        return written.revision

    @initialize(target=revisions)
    def zero(self):
        return 0

    @rule(target=revisions, key=KEYS, value=VALUES)
    def set(self, key, value):
        return self.wrote(key, value, self.client.set(self.prefix + key, value))

    @rule(target=revisions, key=KEYS, value=VALUES)
    def add(self, key, value):
        if key not in self.model:
            return self.wrote(key, value, self.client.add(self.prefix + key, value))
        try:
            self.client.add(self.prefix + key, value)
        except gometa.AlreadyExistsError as error:
            assert error.actual_revision == self.model[key].mod
            return error.actual_revision
        raise AssertionError("added what was there")

    @rule(key=KEYS, value=VALUES, revision=revisions, right=st.booleans())
    def cas(self, key, value, revision, right):
        actual = self.model[key].mod if key in self.model else 0
        revision = actual if right else revision
        try:
            written = self.client.cas(self.prefix + key, revision, value)
        except gometa.CasMismatchError as error:
            assert revision != actual and error.actual_revision == actual
        else:
            assert revision == actual
            self.wrote(key, value, written)

    @rule(key=KEYS)
    def delete(self, key):
        deleted = self.client.delete(self.prefix + key)
        assert bool(deleted) == deleted.existed == (self.model.pop(key, None) is not None)
        if deleted:
            assert deleted.revision > self.latest
            self.latest = deleted.revision
        else:
            assert deleted.revision == 0

    @rule(key=KEYS, revision=revisions, right=st.booleans())
    def delete_if(self, key, revision, right):
        actual = self.model[key].mod if key in self.model else 0
        revision = actual if right else revision
        try:
            deleted = self.client.delete(self.prefix + key, revision)
        except gometa.CasMismatchError as error:
            assert revision != actual and error.actual_revision == actual
        else:
            # The revision of a key that does not exist is 0, so deleting it with 0 is no mismatch.
            assert revision == actual and deleted.existed is (self.model.pop(key, None) is not None)

    @rule(key=KEYS, consistency=st.sampled_from(["linearizable", "local"]))
    def get(self, key, consistency):
        known = self.model.get(key)
        # The client may be new and have seen no revision, so a local read needs a minimum.
        found = self.client.get(self.prefix + key, consistency=consistency, min_revision=self.latest)
        assert found == (None if known is None else known.value)

    @rule(key=KEYS, consistency=st.sampled_from(["linearizable", "local"]))
    def entry(self, key, consistency):
        known = self.model.get(key)
        try:
            entry = self.client.entry(self.prefix + key, consistency=consistency, min_revision=self.latest)
        except gometa.NotFoundError:
            assert known is None
        else:
            assert entry.key == in_bytes(self.prefix + key)
            assert entry[1:] == (known.value, known.version, known.create, known.mod, False)

    @rule()
    def another_client(self):
        """Another client reads what was written."""
        self.client = self.made.client()

    @invariant()
    def has_seen_what_it_wrote(self):
        seen = self.client.counters().seen_revision
        assert seen == 0 or seen >= self.latest


class BlockingCalls(Calls):
    clients = Blocking


class AwaitedCalls(Calls):
    clients = Awaited


BOUNDS = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
BlockingCalls.TestCase.settings = BOUNDS
AwaitedCalls.TestCase.settings = BOUNDS
TestBlocking = BlockingCalls.TestCase
TestAwaited = AwaitedCalls.TestCase
