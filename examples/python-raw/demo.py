"""A tour of every call, by a client without a library.

    python3 demo.py 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
"""

import sys

from gometa_raw import Client, GometaError


def main(peers):
    with Client(peers) as client:
        # A write, and what it made of the key.
        written = client.set(b"raw/colour", b"red")
        print(f"set at revision {written.revision}")

        # A read sees every write that was acknowledged before.
        entry = client.get(b"raw/colour")
        print(f"value {entry.value.decode()}, version {entry.version}")

        # A change that happens only if nobody else was quicker.
        client.cas(b"raw/colour", written.revision, b"green")
        try:
            client.cas(b"raw/colour", written.revision, b"blue")
        except GometaError as error:
            quicker = error.actual_revision > written.revision
            print(f"{error.kind}: somebody was quicker" if quicker else error)

        # A key that must be new.
        try:
            client.add(b"raw/colour", b"blue")
        except GometaError as error:
            print(f"{error.kind}, outcome {error.outcome}")

        # What the node in use has applied, without asking the others.
        print(f"local value {client.get(b'raw/colour', local=True).value.decode()}")

        print(f"deleted: {client.delete(b'raw/colour').existed}")
        try:
            client.get(b"raw/colour", timeout=2.0)
        except GometaError as error:
            print(f"{error.kind}, number {error.number}")

        status, view = client.status(), client.view()
        print(f"asked a node that is {status.role}, one of {len(view.members)}, and votes: {status.votes}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python3 demo.py PEERS (host:port,...)")
    try:
        main(sys.argv[1])
    except GometaError as error:
        sys.exit(str(error))
