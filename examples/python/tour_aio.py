"""Every call of gometa.aio.Client, and cancellation.

python tour_aio.py 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003
"""

import asyncio
import sys

import gometa


async def tour(client: gometa.aio.Client) -> None:
    # The methods of gometa.Client, as coroutines.
    written = await client.set("tour/shape", "round")
    print("get:", await client.get("tour/shape"))
    print("get:", await client.get("tour/size", b"unknown"))
    print("get:", await client.get("tour/shape", consistency="local", min_revision=written.revision))
    entry = await client.entry("tour/shape")
    print("entry:", entry.value, entry.version, entry.mod_revision == written.revision)
    try:
        await client.add("tour/shape", "square")
    except gometa.AlreadyExistsError as error:
        print("add: the key exists,", error.actual_revision == written.revision)
    changed = await client.cas("tour/shape", written.revision, "square")
    try:
        await client.cas("tour/shape", written.revision, "flat")
    except gometa.CasMismatchError as error:
        print("cas: the key was changed,", error.actual_revision == changed.revision)

    # All calls in flight share one connection.
    made = await asyncio.gather(*(client.set(f"tour/{number}", str(number)) for number in range(100)))
    print("gather:", len({write.revision for write in made}))
    read = await asyncio.gather(*(client.get(f"tour/{number}") for number in range(100)))
    print("gather:", read[42])

    # Cancelling a task, here by a timeout of asyncio, cancels its call, also at the node. A cancelled write may
    # still be applied.
    far = changed.revision + 1_000_000
    waiting = client.get("tour/shape", consistency="local", min_revision=far)
    try:
        await asyncio.wait_for(waiting, timeout=0.2)
    except asyncio.TimeoutError:
        print("cancelled")

    # The client's own timeout raises an error that says what the call waited for.
    try:
        await client.get("tour/shape", consistency="local", min_revision=far, timeout=0.2)
    except gometa.DeadlineExceededError as error:
        print("deadline:", error.retryable, error.outcome)

    members = await client.members()
    print("members:", len(members.members))
    print("status:", (await client.status(members.leader)).role)

    print("delete:", bool(await client.delete("tour/shape", changed.revision)))
    print("delete:", bool(await client.delete("tour/shape")))
    await asyncio.gather(*(client.delete(f"tour/{number}") for number in range(100)))

    # Does not wait.
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
