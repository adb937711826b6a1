"""The driver of the client `python`: `gometa.Client`. README.md beside this file describes the protocol."""

import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import gometa

READS = ("get", "range", "scan", "digest", "count", "status", "members", "membership", "safe_to_stop")


def is_true(word):
    return word == "true"


# The fields of a range, each with its parser.
RANGE = {
    "start": bytes.fromhex,
    "end": bytes.fromhex,
    "prefix": bytes.fromhex,
    "at_revision": int,
    "limit": int,
    "reverse": is_true,
    "keys_only": is_true,
    "delimiter": bytes.fromhex,
    "consistency": str,
    "min_revision": int,
}
# The fields of all reads.
READ = {**RANGE, "before_revision": int}
CHANGES = ("promote_member", "remove_member", "replace_member", "cancel_promotion")


class Line:
    """A parsed line: number, verb and fields."""

    def __init__(self, text):
        words = text.split(" ")
        if len(words) < 2:
            sys.exit(f"cannot understand: {text!r}")
        self.number = words[0]
        self.verb = words[1]
        self.fields = dict(word.split("=", 1) for word in words[2:])

    def __getitem__(self, name):
        if name not in self.fields:
            sys.exit(f"line {self.number}, {self.verb}: there is no {name}")
        return self.fields[name]

    def key(self):
        return bytes.fromhex(self["key"])

    def value(self):
        return bytes.fromhex(self["value"])

    def seconds(self):
        """Returns the timeouts as arguments of a call."""
        return {"timeout": int(self["timeout_ms"]) / 1000} if "timeout_ms" in self.fields else {}

    def named(self, *names):
        """Returns those of the fields of a read that the line has, as arguments of a call."""
        return {name: READ[name](self[name]) for name in names if name in self.fields}

    def arguments(self):
        """Returns the name and the arguments of the client's method."""
        keywords = self.seconds()
        if "guard" in self.fields:
            key, revision = self["guard"].split(":")
            keywords["guard"] = gometa.Guard(bytes.fromhex(key), int(revision))
        if self.verb == "get" and "at_revision" in self.fields:
            return "entry_at", (self.key(), int(self["at_revision"])), keywords
        if self.verb == "get":
            return "entry", (self.key(),), keywords | self.named("consistency", "min_revision")
        if self.verb == "history":
            named = self.named("before_revision", "limit", "keys_only", "consistency", "min_revision")
            return self.verb, (self.key(),), keywords | named
        if self.verb in ("range", "scan", "count"):
            return self.verb, (), keywords | self.named(*RANGE)
        if self.verb == "digest":
            return "scan", (), keywords | self.named(*RANGE)
        if self.verb == "delete_prefix":
            return self.verb, (bytes.fromhex(self["prefix"]),), keywords
        if self.verb == "txn":
            return "txn", (), keywords | self.named("consistency", "min_revision")
        if self.verb in ("settings", "status", "members", "membership"):
            return self.verb, (), keywords
        if self.verb == "transfer":
            return self.verb, (), keywords
        if self.verb == "set_setting":
            value = int(self["number"]) if "number" in self.fields else None
            return self.verb, (self["setting"], value), keywords
        if self.verb in CHANGES:
            if "follows_epoch" in self.fields:
                version = (int(self["follows_epoch"]), int(self["follows_revision"]))
                keywords["follows"] = gometa.MembersVersion(*version)
            nodes = (int(self[name]) for name in ("node", "replacement") if name in self.fields)
            return self.verb, tuple(nodes), keywords
        if self.verb == "transfer_leadership":
            return self.verb, (int(self["to"]),) if "to" in self.fields else (), keywords
        if self.verb == "safe_to_stop":
            return self.verb, ([int(node) for node in self["nodes"].split(",") if node],), keywords
        # A write, whose arguments are those of key, revision and value that the line has.
        read = {"key": bytes.fromhex, "revision": int, "value": bytes.fromhex}
        arguments = [read[name](self[name]) for name in read if name in self.fields]
        return self.verb, arguments, keywords

    def txn(self, client):
        """Returns the transaction of a `txn` line."""
        txn = client.txn()
        for part in filter(None, self.fields.get("when", "").split(",")):
            fact, relation, key, operand = part.split(":")
            if fact == "range":
                state = {"count": int(relation), "revision": int(operand)}
                txn.when(gometa.Compare.range(bytes.fromhex(key), **state))
                continue
            operand = bytes.fromhex(operand) if fact == "value" else int(operand)
            txn.when(getattr(gometa.Compare, fact)(bytes.fromhex(key), relation, operand))
        for name, add in (("then", txn.then), ("otherwise", txn.otherwise)):
            for part in filter(None, self.fields.get(name, "").split(",")):
                kind, *arguments = part.split(":")
                add(getattr(gometa.Op, kind)(*map(bytes.fromhex, arguments)))
        return txn

    def transfer(self):
        """Returns the function of a `transfer` line, for `Client.transaction`."""
        source, target, note = (bytes.fromhex(self[name]) for name in ("from", "to", "note"))
        amount = int(self["amount"])

        def moved(txn, payer, payee):
            if payer < amount:
                return False
            txn.set(source, str(payer - amount))
            txn.set(target, str(payee + amount))
            txn.set(note, b"%s %s %d" % (source, target, amount))
            return True

        return source, target, moved

    def shares(self):
        """Returns the number of calls of each caller of a `bench` line."""
        count, callers = int(self["count"]), int(self["callers"])
        return [count // callers + (caller < count % callers) for caller in range(callers)]

    def work(self):
        """Returns the name and the arguments of the method that a `bench` line repeats."""
        if self["call"] == "get":
            return "get", (self.key(),)
        if self["call"] == "set":
            return "set", (self.key(), self.value())
        sys.exit(f"line {self.number}: cannot bench {self['call']}")


class Digest:
    """The number of entries, and Adler-32 over key and value of each, one after the other."""

    def __init__(self):
        self.count, self.sum = 0, 1

    def add(self, entry):
        self.count += 1
        self.sum = zlib.adler32(entry.value, zlib.adler32(entry.key, self.sum))


def truth(value):
    return "true" if value else "false"


def listed(membership):
    """Returns members with their roles as text."""
    voters = sum(member.votes for member in membership.members)
    nodes = "".join(f" node{i}={member.node}" for i, member in enumerate(membership.members, 1))
    return (
        f"epoch={membership.version.epoch} revision={membership.version.revision} "
        f"members={len(membership.members)} voters={voters} committed={truth(membership.committed)}{nodes}"
    )


def entries(line, found):
    """Returns the entries of a range as text."""
    keys = f"keys={','.join(entry.key.hex() for entry in found)}"
    values = "" if line.fields.get("keys_only") == "true" else f" values={','.join(e.value.hex() for e in found)}"
    return f"{keys}{values} groups={sum(entry.is_group for entry in found)}"


def versions(line, page):
    """Returns the versions of a key as text."""
    listed = ",".join(
        f"{version.revision}:deleted"
        if version.deleted
        else f"{version.revision}:{version.version}:{version.create_revision}:{version.value_size}"
        for version in page.versions
    )
    values = ",".join(version.value.hex() for version in page.versions)
    return f"versions={listed}" + ("" if line.fields.get("keys_only") == "true" else f" values={values}")


def done(result):
    """Returns the result of an operation of a transaction as text."""
    if result is None:
        return "absent"
    if isinstance(result, gometa.Written):
        return f"written:{result.version}"
    if isinstance(result, gometa.Deleted):
        return f"deleted:{truth(result.existed)}"
    if isinstance(result, gometa.Entry):
        return f"entry:{result.value.hex()}"
    if isinstance(result, gometa.DeletedRange):
        return f"deleted_range:{result.count}"
    if isinstance(result, gometa.Page):
        return f"page:{'+'.join(entry.key.hex() for entry in result.entries)}"
    return f"error:{result.kind}"


def said(line, result):
    """Returns the result of a call as text."""
    verb = line.verb
    if verb == "get":
        return (
            f"ok value={result.value.hex()} version={result.version} "
            f"create_revision={result.create_revision} mod_revision={result.mod_revision}"
        )
    if verb == "range":
        following = f" next={result.next.hex()}" if result.next is not None else ""
        return f"ok revision={result.revision}{following} {entries(line, result.entries)}"
    if verb == "history":
        following = f" next_before={result.next_before}" if result.next_before is not None else ""
        oldest = f"oldest_revision={result.oldest_revision}"
        return f"ok revision={result.revision} {oldest}{following} {versions(line, result)}"
    if verb == "scan":
        return f"ok {entries(line, result)}"
    if verb == "count":
        return f"ok count={result}"
    if verb == "delete_prefix":
        return f"ok deleted={result}"
    if verb == "txn":
        results = ",".join(map(done, result.results))
        return f"ok succeeded={truth(result.succeeded)} revision={result.revision} results={results}"
    if verb == "digest":
        return f"ok count={result.count} adler32={result.sum}"
    if verb == "transfer":
        return f"ok moved={truth(result)}"
    if verb == "settings":
        return " ".join(["ok", *(f"{setting.name}={setting.value}" for setting in result)])
    if verb == "set_setting":
        return f"ok revision={result}"
    if verb == "status":
        stored = f"keys={result.keys} log_bytes={result.storage.log_bytes}"
        return f"ok role={result.role} applied_revision={result.applied_revision} {stored}"
    if verb == "members":
        return f"ok members={len(result.members)} leader={result.leader or ''}"
    if verb == "membership":
        return f"ok {listed(result)}"
    if verb in CHANGES:
        return f"ok changed={truth(result.changed)} {listed(result.membership)}"
    if verb == "transfer_leadership":
        return f"ok leader={result}"
    if verb == "safe_to_stop":
        return f"ok safe={truth(result.safe)} reason={result.reason.encode().hex()}"
    results = result._asdict().items()
    fields = ((name, truth(value) if isinstance(value, bool) else value) for name, value in results)
    return " ".join(["ok", *(f"{name}={value}" for name, value in fields)])


def failed(error):
    actual = "" if error.actual_revision is None else f" actual_revision={error.actual_revision}"
    return (
        f"error kind={error.kind} number={error.number} retryable={truth(error.retryable)} "
        f"outcome={error.outcome}{actual} message={str(error).encode().hex()}"
    )


writing = threading.Lock()


def write(text):
    with writing:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def open_client(clients, line, kind):
    """Opens a client of one of the two kinds, and answers the line."""
    try:
        clients[line["client"]] = kind(line["peers"], **line.seconds())
    except gometa.GometaError as error:
        write(f"{line.number} {failed(error)}")
    else:
        write(f"{line.number} ok")


def answer_history_id(client, line):
    """Answers with the id of the history that the client knows, which needs no call."""
    known = client.history_id
    write(f"{line.number} ok" if known is None else f"{line.number} ok history={known}")


def call(client, line):
    name, arguments, keywords = line.arguments()
    try:
        if name == "txn":
            result = line.txn(client).commit(**keywords)
        elif name == "transfer":
            source, target, moved = line.transfer()
            result = client.transaction(lambda txn: moved(txn, int(txn.get(source)), int(txn.get(target))))
        else:
            result = getattr(client, name)(*arguments, **keywords)
        if line.verb == "digest":
            digest = Digest()
            for entry in result:
                digest.add(entry)
            result = digest
        elif name == "scan":
            # An iterator, which reads the pages.
            result = list(result)
    except gometa.GometaError as error:
        write(f"{line.number} {failed(error)}")
    else:
        write(f"{line.number} {said(line, result)}")


def bench(client, line):
    name, arguments = line.work()
    work = getattr(client, name)
    failures = []

    def repeat(times):
        for _ in range(times):
            try:
                work(*arguments)
            except gometa.GometaError as error:
                failures.append(error)

    shares = line.shares()
    started = time.monotonic()
    # One caller needs no other thread.
    threads = [threading.Thread(target=repeat, args=(share,)) for share in shares[1:]]
    for thread in threads:
        thread.start()
    repeat(shares[0])
    for thread in threads:
        thread.join()
    write(f"{line.number} ok seconds={time.monotonic() - started:.6f} failed={len(failures)}")


def main():
    # Each call in flight has a thread.
    threads = ThreadPoolExecutor(max_workers=4096)
    clients = {}
    # A blocking call of a Python thread cannot be cancelled: that takes a signal, or closing its client.
    write("client python without cancel: a call that blocks is given up by its timeout")
    for text in sys.stdin:
        line = Line(text.rstrip("\n"))
        if line.verb == "cancel":
            write(f"{line.number} unsupported")
        elif line.verb == "open":
            open_client(clients, line, gometa.Client)
        elif line["client"] not in clients:
            sys.exit(f"line {line.number}: there is no client {line['client']}")
        elif line.verb == "close":
            clients[line["client"]].close()
            write(f"{line.number} ok")
        elif line.verb == "history_id":
            answer_history_id(clients[line["client"]], line)
        elif line.verb == "bench":
            threads.submit(bench, clients[line["client"]], line)
        else:
            line.arguments()
            threads.submit(call, clients[line["client"]], line)
    for client in clients.values():
        client.close()
    threads.shutdown()


if __name__ == "__main__":
    main()
