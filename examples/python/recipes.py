"""The examples of docs/modelling.md.

python recipes.py 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
"""

from __future__ import annotations

import sys

import gometa
from gometa import Compare, Guard, Op, Transaction


# A configuration with its versions.
def configure(client: gometa.Client, text: str) -> int:
    def add_version(txn: Transaction) -> int:
        version = int(txn.get("config/latest") or 0) + 1
        txn.set("config/latest", str(version))
        txn.set(f"config/{version:08}", text)
        return version

    return client.transaction(add_version)


def configuration(client: gometa.Client) -> bytes | None:
    # A transaction that writes nothing sees one moment.
    return client.transaction(lambda txn: txn.get(f"config/{int(txn.get('config/latest') or 0):08}"))


# A unique index.
def register(client: gometa.Client, user: str, email: str) -> bool:
    made = (
        client.txn()
        .when(Compare.absent(f"user/{user}"), Compare.absent(f"user-by-email/{email}"))
        .then(Op.set(f"user/{user}", email), Op.set(f"user-by-email/{email}", user))
        .commit()
    )
    return made.succeeded


# A secondary index.
def set_state(client: gometa.Client, job: str, state: str) -> None:
    def move(txn: Transaction) -> None:
        before = txn.get(f"job/{job}")
        if before is not None:
            txn.delete(f"job-by-state/{before.decode()}/{job}")
        txn.set(f"job/{job}", state)
        txn.set(f"job-by-state/{state}/{job}", "")

    client.transaction(move)


def jobs_in(client: gometa.Client, state: str) -> list[str]:
    prefix = f"job-by-state/{state}/"
    return [entry.key.decode()[len(prefix) :] for entry in client.scan(prefix, keys_only=True)]


# A counter.
def increment(client: gometa.Client, counter: str) -> int:
    def add_one(txn: Transaction) -> int:
        count = int(txn.get(counter) or 0) + 1
        txn.set(counter, str(count))
        return count

    return client.transaction(add_one)


# A queue.
def put(client: gometa.Client, item: str) -> None:
    def append(txn: Transaction) -> None:
        number = int(txn.get("queue-end") or 0) + 1
        txn.set("queue-end", str(number))
        txn.set(f"queue/{number:016}", item)

    client.transaction(append)


def take(client: gometa.Client) -> bytes | None:
    while True:
        first = client.range("queue/", limit=1).entries
        if not first:
            return None
        try:
            client.delete(first[0].key, first[0].mod_revision)
        except gometa.CasMismatchError:
            continue  # Another one has taken it.
        return first[0].value


# The rename of a key.
def rename(client: gometa.Client, old: str, new: str) -> bool:
    def move(txn: Transaction) -> bool:
        value = txn.get(old)
        if value is None or txn.get(new) is not None:
            return False
        txn.set(new, value)
        txn.delete(old)
        return True

    return client.transaction(move)


# Several keys at once.
def transfer(client: gometa.Client, payer: str, payee: str, amount: int) -> bool:
    def move(txn: Transaction) -> bool:
        of_payer, of_payee = int(txn.get(payer) or 0), int(txn.get(payee) or 0)
        if payer == payee or of_payer < amount:
            return False
        txn.set(payer, str(of_payer - amount))
        txn.set(payee, str(of_payee + amount))
        return True

    return client.transaction(move)


# A lock.
def with_lock(client: gometa.Client, lock: str, owner: str) -> None:
    guard = Guard(lock, client.add(lock, owner).revision)
    # Refused if the lock was removed meanwhile, even if another one holds it by then.
    client.set("schedule", f"made by {owner}", guard=guard)
    client.delete(lock, guard=guard)


def recipes(client: gometa.Client) -> None:
    assert [configure(client, text) for text in ("a = 1", "a = 2")] == [1, 2]
    assert (configuration(client), client.get("config/00000001")) == (b"a = 2", b"a = 1")
    assert register(client, "ann", "ann@example.org")
    assert not register(client, "bob", "ann@example.org") and client.get("user/bob") is None
    for state in ("waiting", "running"):
        set_state(client, "backup", state)
    assert (jobs_in(client, "waiting"), jobs_in(client, "running")) == ([], ["backup"])
    assert [increment(client, "visits") for _ in range(3)] == [1, 2, 3]
    for item in ("first", "second"):
        put(client, item)
    assert [take(client) for _ in range(3)] == [b"first", b"second", None]
    client.set("old-name", "v")
    assert rename(client, "old-name", "new-name") and not rename(client, "old-name", "new-name")
    assert (client.get("old-name"), client.get("new-name")) == (None, b"v")
    client.set("account/ann", "100")
    assert transfer(client, "account/ann", "account/bob", 30)
    assert not transfer(client, "account/ann", "account/bob", 100)
    assert (client.get("account/ann"), client.get("account/bob")) == (b"70", b"30")
    with_lock(client, "schedule-lock", "ann")
    assert client.get("schedule") == b"made by ann" and client.get("schedule-lock") is None


if __name__ == "__main__":
    with gometa.Client(sys.argv[1]) as opened:
        recipes(opened)
    print("recipes: ok")
