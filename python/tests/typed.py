"""A program that mypy checks; it is not run."""

import asyncio
from typing import Optional, Union

import gometa

version: str = gometa.__version__


def typed(client: gometa.Client) -> None:
    written: gometa.Written = client.set("k", b"v", timeout=1)
    revision: int = client.cas(b"k", written.revision, bytearray(b"w")).revision
    added: gometa.Written = client.add(memoryview(b"k2"), "v")
    value: Optional[bytes] = client.get("k")
    fallback: Union[bytes, int] = client.get("k", 5, consistency="local", min_revision=added.version)
    entry: gometa.Entry = client.entry("k")
    page: gometa.Page = client.range("k", limit=1, keys_only=True)
    versions: tuple[gometa.KeyVersion, ...] = client.history("k", limit=1).versions
    sizes: list[int] = [version.value_size for version in versions]
    keys: list[bytes] = [entry.key for entry in client.scan("k", at_revision=page.revision)]
    count: int = client.count() + client.delete_prefix("k") + len(keys) + client.entry_at("k", 1).version
    deleted: gometa.Deleted = client.delete("k", revision + count + sum(sizes))
    moved: gometa.Transacted = (
        client.txn()
        .when(gometa.Compare.absent("k"), gometa.Compare.value("k2", "!=", b"v"))
        .then(gometa.Op.set("k", "v"))
        .otherwise(gometa.Op.range("k"))
        .commit(timeout=1)
    )
    guarded: gometa.Written = client.set("k", "v", guard=gometa.Guard("lock", written.revision))
    client.delete("k", guard=client.entry("lock"))
    settings: tuple[gometa.Setting, ...] = client.settings()
    changed_at: int = client.set_setting(settings[0].name, None) + guarded.version
    print(changed_at)
    first_result: gometa.OpResult = moved.results[0]

    def double(txn: gometa.Transaction) -> int:
        value = txn.get("n")
        txn.set("n", str(2 * int(value or b"1")))
        return len(value or b"")

    length: int = client.transaction(double)
    print(first_result, length)
    key: gometa.BytesLike = "k"
    there: bool = bool(client.delete(key))
    leader: Optional[str] = client.members().leader
    role: gometa.Role = client.status(leader).role
    history = client.status().ensemble
    number: int = history.history if history else 0
    print(value, fallback, entry.value.hex(), there, deleted.revision, role, number, client.counters().requests)
    membership: gometa.Membership = client.membership()
    first: int = membership.members[0].node
    changed: gometa.MembersChanged = client.remove_member(first, follows=membership.version)
    leads: int = client.transfer_leadership(to=first)
    advice: gometa.StopAdvice = client.safe_to_stop({first, leads})
    print(changed.changed, changed.membership.committed, advice.safe, advice.reason, client.transfer_leadership())
    print(client.promote_member(first).membership.version.epoch, client.cancel_promotion(node=first))
    print(client.replace_member(first, replacement=leads).changed, membership.members[0].replaces)
    client.remove_member("k")  # type: ignore[arg-type]
    client.set(1, "v")  # type: ignore[arg-type]
    client.get("k", consistency="sometimes")  # type: ignore[call-overload]
    client.set("k", "v", 3)  # type: ignore[call-arg]


def caught(error: gometa.GometaError) -> int:
    if isinstance(error, gometa.CasMismatchError):
        return error.actual_revision
    if isinstance(error, (KeyError, TimeoutError)):
        return error.number
    outcome: str = error.outcome
    return len(outcome) + (error.actual_revision or 0)


async def awaited() -> None:
    async with gometa.aio.Client(["a:1", "b:2"], timeout=2.5, pinned=True) as client:
        written: gometa.Written = await client.set("k", "v")
        value: Optional[bytes] = await client.get("k")
        fallback: Union[bytes, str] = await client.get("k", "none")
        both: list[gometa.Written] = list(await asyncio.gather(client.add("a", ""), client.add("b", "")))
        print(written, value, fallback, both, await client.delete("k"), (await client.status()).peers[0].member)
        written.revision = 5  # type: ignore[misc]
