"""Every call of gometa.Client once, and what can go wrong with it.

python tour.py 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
"""

import sys

import gometa


def tour(client: gometa.Client) -> None:
    # A write, and what it made of the key. Keys and values are str or bytes.
    written = client.set("tour/colour", "red")
    print(f"set: version {written.version}")

    # A read sees every write that was acknowledged before. A value is bytes; a key that is not there is None,
    # or whatever you say.
    print("get:", client.get("tour/colour"))
    print("get:", client.get("tour/size", b"unknown"))

    # A read that the node in use answers by itself is quicker. It is never older than what this client has seen,
    # nor than min_revision, which another client may have told you.
    print("get:", client.get("tour/colour", consistency="local", min_revision=written.revision))

    # The whole entry: the value, its version, the revisions that made and changed it last.
    entry = client.entry("tour/colour")
    print("entry:", entry.value, entry.version, entry.mod_revision == written.revision)

    # Only if it is not there yet. An error tells its kind by its class.
    try:
        client.add("tour/colour", "green")
    except gometa.AlreadyExistsError as error:
        print("add: somebody was quicker,", error.actual == written.revision)

    # Only if nobody else has changed it since.
    changed = client.cas("tour/colour", written.revision, "green")
    print(f"cas: version {changed.version}")
    try:
        client.cas("tour/colour", written.revision, "blue")
    except gometa.CasMismatchError as error:
        print("cas: somebody was quicker,", error.actual == changed.revision)

    # Each call can have a time limit of its own, in seconds. An error says whether the same call may succeed when
    # it is made again, and whether a write may have happened all the same.
    try:
        client.get("tour/colour", consistency="local", min_revision=changed.revision + 1_000_000, timeout=0.2)
    except gometa.DeadlineExceededError as error:
        print("deadline:", error.retryable, error.outcome)

    # Who is there, and how one of them is.
    members = client.members()
    print("members:", len(members.members))
    leader = client.status(members.leader)
    print("status:", leader.role, leader.keys, leader.detail or "all is well")

    # delete says whether the key was there; remove says also at which revision it went.
    print("delete:", client.delete("tour/colour", changed.revision))
    print("remove:", client.remove("tour/colour").existed)

    # What there is not is a KeyError too.
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
