"""Every call of gometa.Client, with its errors.

python tour.py 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
"""

import sys

import gometa


def tour(client: gometa.Client) -> None:
    # A write. Keys and values are str or bytes.
    written = client.set("tour/colour", "red")
    print(f"set: version {written.version}")

    # A linearizable read: it sees every write that was acknowledged before it began. The value is bytes; if the
    # key does not exist, it is None or the given default.
    print("get:", client.get("tour/colour"))
    print("get:", client.get("tour/size", b"unknown"))

    # A local read is answered from the state of one node: faster and possibly stale, but never older than what
    # this client has seen, nor than min_revision.
    print("get:", client.get("tour/colour", consistency="local", min_revision=written.revision))

    # The entry: value, version, and the revisions of its creation and of its last write.
    entry = client.entry("tour/colour")
    print("entry:", entry.value, entry.version, entry.mod_revision == written.revision)

    # Creates a key; fails if it exists. Each kind of error has a class.
    try:
        client.add("tour/colour", "green")
    except gometa.AlreadyExistsError as error:
        print("add: the key exists,", error.actual_revision == written.revision)

    # Compare and set: writes only if the key still has this revision.
    changed = client.cas("tour/colour", written.revision, "green")
    print(f"cas: version {changed.version}")
    try:
        client.cas("tour/colour", written.revision, "blue")
    except gometa.CasMismatchError as error:
        print("cas: the key was changed,", error.actual_revision == changed.revision)

    # Each call takes a timeout in seconds. An error says whether the call is retryable, and whether a write may
    # have been applied.
    try:
        client.get("tour/colour", consistency="local", min_revision=changed.revision + 1_000_000, timeout=0.2)
    except gometa.DeadlineExceededError as error:
        print("deadline:", error.retryable, error.outcome)

    # The members of the ensemble, and the status of one node.
    members = client.members()
    print("members:", len(members.members))
    leader = client.status(members.leader)
    print("status:", leader.role, leader.keys, leader.detail or "healthy")

    # The result of delete is false if the key did not exist. With a revision, delete is conditional like cas.
    print("delete:", bool(client.delete("tour/colour", changed.revision)))
    print("delete:", bool(client.delete("tour/colour")))

    # NotFoundError is a KeyError.
    try:
        client.entry("tour/colour")
    except KeyError as error:
        print("entry:", error)

    print("counters:", client.counters().requests)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} PEERS (host:port,...)")
    try:
        with gometa.Client(sys.argv[1], name="tour") as client:
            tour(client)
    except gometa.GometaError as error:
        sys.exit(f"tour: {error}")
