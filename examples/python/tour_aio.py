"""Every call of gometa.aio.Client once, and what asyncio adds to it.

python tour_aio.py 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
"""

import asyncio
import sys

import gometa


async def tour(client: gometa.aio.Client) -> None:
    # The calls are those of gometa.Client, to be awaited.
    written = await client.set("tour/shape", "round")
    print("get:", await client.get("tour/shape"))
    print("get:", await client.get("tour/size", b"unknown"))
    print("get:", await client.get("tour/shape", consistency="local", min_revision=written.revision))
    entry = await client.entry("tour/shape")
    print("entry:", entry.value, entry.version, entry.mod_revision == written.revision)
    try:
        await client.add("tour/shape", "square")
    except gometa.AlreadyExistsError as error:
        print("add: somebody was quicker,", error.actual == written.revision)
    changed = await client.cas("tour/shape", written.revision, "square")
    try:
        await client.cas("tour/shape", written.revision, "flat")
    except gometa.CasMismatchError as error:
        print("cas: somebody was quicker,", error.actual == changed.revision)

    # Any number of calls go over one connection at the same time.
    made = await asyncio.gather(*(client.set(f"tour/{number}", str(number)) for number in range(100)))
    print("gather:", len({write.revision for write in made}))
    read = await asyncio.gather(*(client.get(f"tour/{number}") for number in range(100)))
    print("gather:", read[42])

    # A call that is cancelled, here by a time limit of asyncio's, is given up at the node too. Whether a write has
    # happened is then not known; a read leaves no trace.
    far = changed.revision + 1_000_000
    waiting = client.get("tour/shape", consistency="local", min_revision=far)
    try:
        await asyncio.wait_for(waiting, timeout=0.2)
    except asyncio.TimeoutError:
        print("given up")

    # The client's own time limit is an error of gometa's, which says what it waited for.
    try:
        await client.get("tour/shape", consistency="local", min_revision=far, timeout=0.2)
    except gometa.DeadlineExceededError as error:
        print("deadline:", error.retryable, error.outcome)

    members = await client.members()
    print("members:", len(members.members))
    print("status:", (await client.status(members.leader)).role)

    print("delete:", await client.delete("tour/shape", changed.revision))
    print("remove:", (await client.remove("tour/shape")).existed)
    await asyncio.gather(*(client.delete(f"tour/{number}") for number in range(100)))

    # This one does not wait for anything.
    print("counters:", client.counters().in_flight)


async def main(peers: str) -> None:
    async with gometa.aio.Client(peers, name="tour") as client:
        await tour(client)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} PEERS (host:port,...)")
    try:
        asyncio.run(main(sys.argv[1]))
    except gometa.GometaError as error:
        sys.exit(f"tour: {error}")
