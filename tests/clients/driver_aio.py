"""The driver of the client `python-aio`: `gometa.aio.Client`. README.md in this directory has the protocol."""

import asyncio
import sys
import time

import gometa

from driver import READS, Digest, Line, answer_history_id, failed, open_client, said, write


async def call(client, line):
    name, arguments, keywords = line.arguments()
    try:
        if name == "txn":
            result = line.txn(client).commit(**keywords)
        elif name == "transfer":
            source, target, moved = line.transfer()

            async def transfer(txn):
                return moved(txn, int(await txn.get(source)), int(await txn.get(target)))

            result = client.transaction(transfer)
        else:
            result = getattr(client, name)(*arguments, **keywords)
        # A scan is an iterator, which reads the pages.
        if line.verb == "digest":
            digest = Digest()
            async for entry in result:
                digest.add(entry)
            result = digest
        else:
            result = [entry async for entry in result] if name == "scan" else await result
    except asyncio.CancelledError:
        # asyncio's own exception has no fields.
        error = gometa.CancelledError(
            f"{line.verb}: the call was cancelled",
            outcome="unknown" if line.verb not in READS else "not_applied",
        )
        write(f"{line.number} {failed(error)}")
    except gometa.GometaError as error:
        write(f"{line.number} {failed(error)}")
    else:
        write(f"{line.number} {said(line, result)}")


async def bench(client, line):
    name, arguments = line.work()
    work = getattr(client, name)
    failures = []

    async def repeat(times):
        for _ in range(times):
            try:
                await work(*arguments)
            except gometa.GometaError as error:
                failures.append(error)

    started = time.monotonic()
    await asyncio.gather(*map(repeat, line.shares()))
    write(f"{line.number} ok seconds={time.monotonic() - started:.6f} failed={len(failures)}")


async def main():
    clients = {}
    calls = {}
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    write("client python-aio")
    while text := await lines.readline():
        line = Line(text.decode().rstrip("\n"))
        if line.verb == "cancel":
            if line["call"] in calls:
                calls[line["call"]].cancel()
            write(f"{line.number} ok")
        elif line.verb == "open":
            open_client(clients, line, gometa.aio.Client)
        elif line["client"] not in clients:
            sys.exit(f"line {line.number}: there is no client {line['client']}")
        elif line.verb == "close":
            await clients[line["client"]].close()
            write(f"{line.number} ok")
        elif line.verb == "history_id":
            answer_history_id(clients[line["client"]], line)
        else:
            work = bench if line.verb == "bench" else call
            if work is call:
                line.arguments()
            task = calls[line.number] = asyncio.create_task(work(clients[line["client"]], line))
            task.add_done_callback(lambda _, number=line.number: calls.pop(number))
            # A task that is cancelled before its first step would write no answer.
            await asyncio.sleep(0)
    for client in clients.values():
        await client.close()
    await asyncio.gather(*calls.values())


if __name__ == "__main__":
    asyncio.run(main())
