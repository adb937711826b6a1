"""Every call, by a client without a library.

    python3 demo.py 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
"""

import sys

from gometa_raw import Client, Compare, GometaError, Op, Range


def main(peers):
    with Client(peers) as client:
        # A write.
        written = client.set(b"raw/colour", b"red")
        print(f"set at revision {written.revision}")

        # A linearizable read: it sees every write that was acknowledged before it began.
        entry = client.get(b"raw/colour")
        print(f"value {entry.value.decode()}, version {entry.version}")

        # Compare and set: writes only if the key still has this revision.
        client.cas(b"raw/colour", written.revision, b"green")
        try:
            client.cas(b"raw/colour", written.revision, b"blue")
        except GometaError as error:
            changed = error.actual_revision > written.revision
            print(f"{error.kind}: the key was changed" if changed else error)

        # Creates a key; fails if it exists.
        try:
            client.add(b"raw/colour", b"blue")
        except GometaError as error:
            print(f"{error.kind}, outcome {error.outcome}")

        # A local read is answered from the state of the connected node.
        print(f"local value {client.get(b'raw/colour', local=True).value.decode()}")

        # A scan reads the keys of a range in order, in pages that all show one revision.
        for entry in client.scan(Range(prefix=b"raw/")):
            print(f"scanned {entry.key.decode()}: {entry.value.decode()}")

        # Earlier revisions can be read too, usually those of the last hour.
        print(f"before {client.get_at(b'raw/colour', written.revision).value.decode()}")

        # A transaction: several operations as one, if all comparisons hold.
        moved = client.txn(
            when=[Compare("value", b"raw/colour", "=", b"green"), Compare("mod_revision", b"raw/paint", "=", 0)],
            then=[Op.delete(b"raw/colour"), Op.set(b"raw/paint", b"green")],
            otherwise=[Op.get(b"raw/colour")],
        )
        print(f"moved: {moved.succeeded}")

        # A guard: writes only while this key is the one that was created then, such as that of a lock.
        guard = client.get(b"raw/paint")
        print(f"deleted: {client.delete(b'raw/paint', guard=guard).existed}")
        try:
            client.set(b"raw/colour", b"red", guard=guard)
        except GometaError as error:
            print(f"{error.kind}, actual revision {error.actual_revision}")

        # A setting of the ensemble.
        age = next(setting for setting in client.settings() if setting.name == "HistoryAgeMinutes")
        print(f"{age.name}: {age.value}, from {age.min} to {age.max}")

        try:
            client.get(b"raw/colour", timeout=2.0)
        except GometaError as error:
            print(f"{error.kind}, number {error.number}")

        status, view = client.status(), client.view()
        print(f"the connected node is {status.role}, one of {len(view.members)}, and votes: {status.votes}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 demo.py PEERS (host:port,...)")
    try:
        main(sys.argv[1])
    except GometaError as error:
        sys.exit(str(error))
