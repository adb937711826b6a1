"""Every call of both clients: the same names, arguments and results."""

import inspect
import math

import pytest

import gometa

from conftest import patience

LIMIT = 1 << 20


def test_the_life_of_a_key(client, key):
    added = client.add(key, "one")
    assert added == gometa.Written(revision=added.revision, version=1)
    set_ = client.set(key, b"two")
    assert set_.revision > added.revision and set_.version == 2
    changed = client.cas(key, set_.revision, "three")
    assert changed.revision > set_.revision and changed.version == 3
    assert client.entry(key) == gometa.Entry(
        key=key.encode(),
        value=b"three",
        version=3,
        create_revision=added.revision,
        mod_revision=changed.revision,
    )
    assert client.get(key) == b"three"
    assert client.delete(key)
    assert not client.delete(key)
    assert client.get(key) is None
    assert client.add(key, "").version == 1


def test_add_does_not_replace(client, key):
    written = client.set(key, "first")
    with pytest.raises(gometa.AlreadyExistsError) as caught:
        client.add(key, "second")
    assert caught.value.actual_revision == written.revision
    assert client.get(key) == b"first"


def test_cas_compares(client, key):
    with pytest.raises(gometa.CasMismatchError) as caught:
        client.cas(key, 7, "v")
    assert caught.value.actual_revision == 0
    made = client.cas(key, 0, "v")
    with pytest.raises(gometa.CasMismatchError) as caught:
        client.cas(key, 0, "w")
    assert caught.value.actual_revision == made.revision
    assert client.get(key) == b"v"


def test_delete_with_a_revision_compares(client, key):
    with pytest.raises(gometa.CasMismatchError) as caught:
        client.delete(key, 7)
    assert caught.value.actual_revision == 0
    written = client.set(key, "v")
    with pytest.raises(gometa.CasMismatchError) as caught:
        client.delete(key, revision=written.revision + 1)
    assert caught.value.actual_revision == written.revision
    assert client.delete(key, revision=written.revision)
    assert client.get(key) is None


def test_delete_returns_its_revision_and_is_false_if_nothing_was_deleted(client, key):
    assert client.delete(key) == gometa.Deleted(existed=False, revision=0)
    assert not client.delete(key)
    written = client.set(key, "v")
    deleted = client.delete(key, written.revision)
    assert deleted and deleted.existed and deleted.revision > written.revision


def test_get_has_a_default(client, key):
    assert client.get(key) is None
    assert client.get(key, b"other") == b"other"
    assert client.get(key, default=5) == 5
    client.set(key, "")
    assert client.get(key, b"other") == b""
    with pytest.raises(gometa.NotFoundError):
        client.entry(key + "/no")


@pytest.mark.parametrize(
    "made", [str, str.encode, lambda s: bytearray(s.encode()), lambda s: memoryview(s.encode())]
)
def test_keys_and_values_come_in_many_types(client, key, made):
    text = key + "/grün €"
    client.set(made(text), made("Wert ü"))
    assert client.get(made(text)) == "Wert ü".encode()
    assert client.entry(made(text)).key == text.encode()
    assert type(client.get(text)) is bytes
    assert client.delete(made(text))


def test_memoryviews_with_strides_are_read_in_their_order(client, key):
    client.set(key, memoryview(b"abcdef")[::-2])
    assert client.get(key) == b"fdb"


def test_arguments_are_copied(clients, key):
    client = clients.client()
    value = bytearray(b"before")
    client.set(key, value)
    value[:] = b"after!"
    assert client.get(key) == b"before"


def test_bytes_are_bytes(client, key):
    odd = bytes(range(256))
    client.set(key.encode() + odd, odd)
    assert client.get(key.encode() + odd) == odd


def test_the_largest_value_and_the_largest_key(client, key):
    value = b"x" * LIMIT
    client.set(key, value)
    assert client.get(key) == value
    long = key.ljust(4096, "k")
    client.set(long, "v")
    assert client.entry(long).key == long.encode()


def test_local_reads_wait_for_a_revision(client, key):
    written = client.set(key, "v")
    assert client.get(key, consistency="local") == b"v"
    assert client.entry(key, consistency="local", min_revision=written.revision).mod_revision == written.revision
    with pytest.raises(gometa.DeadlineExceededError) as caught:
        client.get(key, consistency="local", min_revision=1 << 60, timeout=0.2)
    assert caught.value.outcome == "not_applied" and caught.value.retryable


def test_status_of_the_connected_node_and_of_another(client, key, peers):
    client.set(key, "v")
    status = client.status()
    assert status.role in ("leading", "following") and status.votes and status.keys > 0
    assert status.applied_revision <= status.commit_revision <= status.last_revision
    assert len(status.state_hash) == 16 and status.version == gometa.__version__
    assert len(status.ensemble.id) == 16 and status.ensemble.history >= 1
    storage = status.storage
    assert storage.log_base <= storage.flushed_revision <= storage.log_end >= status.applied_revision > 0
    assert min(storage.log_bytes, storage.state_bytes, storage.free_bytes) > 0 and storage.snapshot is None
    assert len(status.peers) == 2 and {peer.member.node for peer in status.peers}.isdisjoint({status.node})
    seen = [client.status(address) for address in peers.split(",")]
    assert sorted(found.role for found in seen) == ["following", "following", "leading"]
    assert len({found.node for found in seen}) == 3
    leader = next(found for found in seen if found.role == "leading")
    assert {found.leader for found in seen} == {leader.node}
    assert all(peer.connected and peer.acked_revision > 0 for peer in leader.peers)


def test_members(client, peers):
    members = client.members()
    assert members.role in ("leading", "following")
    assert {member.request_address for member in members.members} == set(peers.split(","))
    assert members.leader in peers.split(",")
    assert client.status(members.leader).role == "leading"


# The id of no member.
STRANGER = 2**64 - 1


def test_membership(client, peers):
    membership = client.membership()
    assert membership.version == gometa.MembersVersion(0, 0) and membership.committed
    nodes = [member.node for member in membership.members]
    assert nodes == sorted({member.node for member in client.members().members})
    assert {member.request_address for member in membership.members} == set(peers.split(","))
    for member in membership.members:
        assert member.votes and not member.promised and member.replaces is None and len(member.incarnation) == 16
        assert member.message_address and member.election_address


def test_changes_of_members_that_hold_already_succeed(client):
    membership = client.membership()
    voter = membership.members[0].node
    removed = client.remove_member(STRANGER)
    assert not removed and removed.changed is False and removed.membership == membership
    assert not client.promote_member(voter, follows=membership.version)
    # What holds already is a success, whatever it follows.
    assert not client.remove_member(STRANGER, (7, 8))


def test_changes_of_members_that_are_refused(client):
    voter, other = (member.node for member in client.membership().members[:2])
    stale = gometa.MembersVersion(epoch=1 << 40, revision=1)
    for call, kind in (
        (lambda: client.promote_member(STRANGER), gometa.NotFoundError),
        (lambda: client.cancel_promotion(STRANGER), gometa.NotFoundError),
        (lambda: client.transfer_leadership(STRANGER), gometa.NotFoundError),
        (lambda: client.safe_to_stop([voter, STRANGER]), gometa.NotFoundError),
        (lambda: client.remove_member(voter, follows=stale), gometa.FailedPreconditionError),
        (lambda: client.replace_member(voter, STRANGER), gometa.NotFoundError),
        (lambda: client.replace_member(voter, voter), gometa.InvalidArgumentError),
        (lambda: client.replace_member(voter, -1), gometa.InvalidArgumentError),
        (lambda: client.replace_member(voter, other), gometa.FailedPreconditionError),
        (lambda: client.cancel_promotion(voter), gometa.FailedPreconditionError),
        (lambda: client.remove_member(0), gometa.InvalidArgumentError),
        (lambda: client.remove_member(-1), gometa.InvalidArgumentError),
        (lambda: client.remove_member(1, (2**64, 0)), gometa.InvalidArgumentError),
        (lambda: client.transfer_leadership(2**64), gometa.InvalidArgumentError),
        (lambda: client.safe_to_stop([]), gometa.InvalidArgumentError),
        (lambda: client.safe_to_stop([-1]), gometa.InvalidArgumentError),
        (lambda: client.safe_to_stop(range(1, 1000)), gometa.InvalidArgumentError),
    ):
        with pytest.raises(kind) as caught:
            call()
        assert caught.value.outcome == "not_applied" and not caught.value.retryable, str(caught.value)
    for call in (
        lambda: client.remove_member("1"),
        lambda: client.remove_member(None),
        lambda: client.remove_member(1, 2),
        lambda: client.remove_member(1, "ab"),
        lambda: client.remove_member(1, ("a", 2)),
        lambda: client.remove_member(1, (1, 2, 3)),
        lambda: client.transfer_leadership("1"),
        lambda: client.safe_to_stop(1),
        lambda: client.safe_to_stop(["1"]),
    ):
        with pytest.raises(TypeError):
            call()


def test_one_node_of_three_can_be_stopped(client):
    nodes = [member.node for member in client.membership().members]
    for _ in patience():
        # The slowest voter may lack the latest write of another test.
        if advice := client.safe_to_stop(nodes[:1]):
            assert advice == gometa.StopAdvice(True, "")
            break
    advice = client.safe_to_stop(node for node in nodes[:2])
    assert not advice and not advice.safe and "no quorum" in advice.reason


def test_the_leadership_is_handed_over(client, key):
    nodes = [member.node for member in client.membership().members]
    assert client.transfer_leadership(nodes[0]) == nodes[0]
    assert client.transfer_leadership(nodes[0]) == nodes[0]
    for _ in patience():
        # The other voters have to follow the new leader first.
        try:
            led = client.transfer_leadership()
            break
        except gometa.FailedPreconditionError as error:
            assert error.outcome == "not_applied"
    assert led in nodes[1:]
    client.set(key, "v")
    assert client.get(key) == b"v"
    # All follow the new leader, for the other tests.
    for node in nodes:
        for _ in patience():
            if client.safe_to_stop([node]):
                break


def test_counters_count(client, key):
    assert client.counters() == gometa.Counters(0, 0, 0, 0, 0)
    assert client.history_id is None
    written = client.set(key, "v")
    for _ in range(10):
        client.get(key)
    counters = client.counters()
    assert counters.requests == 11 and counters.in_flight == 0
    assert counters.seen_revision >= written.revision
    known = client.history_id
    assert known >= 1
    client.close()
    assert (client.counters(), client.history_id) == (counters, known)


def test_peers_are_a_string_or_several(clients, key, peers):
    for given in (peers, peers.split(","), tuple(peers.split(",")), iter(peers.split(",")), [peers]):
        client = clients.client(given)
        assert client.peers == peers
        client.set(key, "v")


def test_clients_have_a_repr(peers):
    assert repr(gometa.Client(peers)) == f"<gometa.Client of {peers}>"
    assert repr(gometa.aio.Client(peers)) == f"<gometa.aio.Client of {peers}>"


def test_options_are_accepted(clients, key, peers):
    client = clients.client(
        peers.split(",")[0],
        timeout=3,
        connect_timeout=1.5,
        keepalive_interval=0.2,
        keepalive_timeout=0.4,
        name="Grüße",
        pinned=True,
    )
    client.set(key, "v")
    # Pinned: connected to the given node, even if another one leads.
    assert client.status().node == client.status(peers.split(",")[0]).node


def test_the_client_is_a_context(clients, key, peers):
    if clients.name == "blocking":
        with gometa.Client(peers) as client:
            client.set(key, "v")
        with pytest.raises(gometa.ClosedError):
            client.get(key)
        with pytest.raises(ZeroDivisionError), gometa.Client(peers) as client:
            raise ZeroDivisionError
        with pytest.raises(gometa.ClosedError):
            client.get(key)
    else:

        async def work():
            async with gometa.aio.Client(peers) as client:
                await client.set(key, "v")
            with pytest.raises(gometa.ClosedError):
                await client.get(key)

        clients._loop.run_until_complete(work())


def test_results_are_named_tuples():
    written = gometa.Written(revision=3, version=1)
    assert repr(written) == "Written(revision=3, version=1)"
    assert written == (3, 1) and hash(written) == hash((3, 1))
    with pytest.raises(AttributeError):
        written.revision = 4


def test_both_clients_have_the_same_calls():
    def calls(cls):
        return {
            name: inspect.signature(found)
            for name, found in inspect.getmembers(cls, inspect.isfunction)
            if not name.startswith("_")
        }

    blocking, awaited = calls(gometa.Client), calls(gometa.aio.Client)
    # One is for `for`, the other one for `async for`.
    assert blocking["scan"].parameters == awaited["scan"].parameters
    # The functions and the builders are those of each client.
    for differs in ("transaction", "txn"):
        assert list(blocking[differs].parameters) == list(awaited[differs].parameters)
    differing = dict.fromkeys(("scan", "transaction", "txn"))
    assert {**blocking, **differing} == {**awaited, **differing}
    assert set(blocking) == {
        "add",
        "set",
        "cas",
        "delete",
        "get",
        "entry",
        "entry_at",
        "history",
        "range",
        "scan",
        "count",
        "delete_prefix",
        "txn",
        "transaction",
        "settings",
        "set_setting",
        "status",
        "members",
        "membership",
        "promote_member",
        "remove_member",
        "replace_member",
        "cancel_promotion",
        "transfer_leadership",
        "safe_to_stop",
        "counters",
        "close",
    }
    waiting = set(blocking) - {"counters", "scan", "txn"}
    assert {name for name in awaited if inspect.iscoroutinefunction(getattr(gometa.aio.Client, name))} == waiting
    for name in waiting - {"close"}:
        parameter = blocking[name].parameters["timeout"]
        assert parameter.kind is parameter.KEYWORD_ONLY and parameter.default is None
    for cls in (gometa.Client, gometa.aio.Client):
        assert all(inspect.getdoc(getattr(cls, name)) for name in blocking)


def test_the_longest_timeout_is_a_long_one(client, key):
    client.set(key, "v", timeout=31_536_000.0)
    assert math.isfinite(client.entry(key, timeout=31_536_000).version)
    with pytest.raises(gometa.InvalidArgumentError, match="365 days"):
        client.get(key, timeout=31_536_001)
