"""The driver of the client `raw-python`; README.md beside this file describes the protocol."""

import os
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "python-raw"))

from gometa_raw import (  # noqa: E402
    Cancel,
    Client,
    Compare,
    Deleted,
    DeletedRange,
    Entry,
    GometaError,
    Guard,
    Op,
    Page,
    Range,
    Written,
)

# The number of concurrent calls, each in its own thread.
threading.stack_size(256 << 10)


class Driver:
    def __init__(self):
        self._lock = threading.Lock()
        self._clients, self._cancels = {}, {}
        # The peers and the options of each client; clients of earlier histories.
        self._opened, self._outdated = {}, []

    def say(self, line):
        with self._lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def take(self, line):
        """Parses a line, and starts its call."""
        number, verb, *words = line.split(" ")
        fields = dict(word.split("=", 1) for word in words)
        client = int(fields.pop("client", 0))
        how = {"timeout": int(fields.pop("timeout_ms")) / 1000} if "timeout_ms" in fields else {}
        if "guard" in fields:
            locked, revision = fields["guard"].split(":")
            how["guard"] = Guard(bytes.fromhex(locked), int(revision))
        if verb == "open":
            return self.run(number, self.open, client, fields["peers"], how)
        if verb == "cancel":
            if cancel := self._cancels.get(fields["call"]):
                cancel.cancel()
            return self.say(f"{number} ok")
        work = getattr(self, f"do_{verb}", None)
        if work is None:
            return self.say(f"{number} unsupported")
        # An unknown client is an error of the caller.
        arguments = (number, work, self._clients[client], fields, how)
        if verb == "close":
            return self.run(*arguments)
        if verb != "bench":
            how["cancel"] = self._cancels[number] = Cancel()
        threading.Thread(target=self.run, args=arguments).start()

    def run(self, number, work, *arguments):
        try:
            self.say(" ".join([number, "ok", *work(*arguments)]))
        except GometaError as error:
            words = [
                f"kind={error.kind}",
                f"number={error.number}",
                f"retryable={str(error.retryable).lower()}",
                f"outcome={error.outcome}",
            ]
            if error.kind == "HistoryChanged":
                self.open_again(arguments[0])
            if error.actual_revision is not None:
                words.append(f"actual_revision={error.actual_revision}")
            self.say(" ".join([number, "error", *words, f"message={error.message.encode().hex()}"]))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        finally:
            self._cancels.pop(number, None)

    def open(self, client, peers, how):
        self._clients[client] = Client(peers, **how)
        self._opened[client] = peers, how
        return []

    def open_again(self, outdated):
        """Replaces a client of an earlier history, as its documentation says, for later calls."""
        with self._lock:
            for number, client in self._clients.items():
                if client is outdated:
                    peers, how = self._opened[number]
                    self._clients[number] = Client(peers, **how)
                    # Other calls in flight use it.
                    self._outdated.append(outdated)

    def end(self):
        for client in [*self._clients.values(), *self._outdated]:
            client.close()

    def do_close(self, client, _fields, _how):
        client.close()
        return []

    def do_add(self, client, fields, how):
        return written(client.add(key(fields), value(fields), **how))

    def do_set(self, client, fields, how):
        return written(client.set(key(fields), value(fields), **how))

    def do_cas(self, client, fields, how):
        return written(client.cas(key(fields), int(fields["revision"]), value(fields), **how))

    def do_delete(self, client, fields, how):
        revision = int(fields["revision"]) if "revision" in fields else None
        deleted = client.delete(key(fields), revision, **how)
        return [f"existed={str(deleted.existed).lower()}", f"revision={deleted.revision}"]

    def do_get(self, client, fields, how):
        local = fields.get("consistency") == "local"
        if "at_revision" in fields:
            entry = client.get_at(key(fields), int(fields["at_revision"]), **how)
        else:
            entry = client.get(key(fields), local, int(fields.get("min_revision", 0)), **how)
        return [
            f"value={entry.value.hex()}",
            f"version={entry.version}",
            f"create_revision={entry.create_revision}",
            f"mod_revision={entry.mod_revision}",
        ]

    def do_range(self, client, fields, how):
        page = client.range(which(fields), **how)
        following = [] if page.next is None else [f"next={page.next.hex()}"]
        return [f"revision={page.revision}", *following, *entries(fields, page.entries)]

    def do_history(self, client, fields, how):
        numbers = ("before_revision", "limit", "min_revision")
        which = {name: int(fields[name]) for name in numbers if name in fields}
        keys_only, local = fields.get("keys_only") == "true", fields.get("consistency") == "local"
        page = client.history(key(fields), keys_only=keys_only, local=local, **which, **how)
        following = [] if page.next_before is None else [f"next_before={page.next_before}"]
        listed = [f"versions={','.join(map(version, page.versions))}"]
        if not keys_only:
            listed.append(f"values={','.join(version.value.hex() for version in page.versions)}")
        return [f"revision={page.revision}", f"oldest_revision={page.oldest_revision}", *following, *listed]

    def do_scan(self, client, fields, how):
        return entries(fields, list(client.scan(which(fields), **how)))

    def do_count(self, client, fields, how):
        return [f"count={client.count(which(fields), **how)}"]

    def do_delete_prefix(self, client, fields, how):
        return [f"deleted={client.delete_prefix(bytes.fromhex(fields['prefix']), **how)}"]

    def do_txn(self, client, fields, how):
        when = [compare(part) for part in parts(fields, "when")]
        then, otherwise = ([operation(part) for part in parts(fields, name)] for name in ("then", "otherwise"))
        local = fields.get("consistency") == "local"
        answer = client.txn(when, then, otherwise, local, int(fields.get("min_revision", 0)), **how)
        return [
            f"succeeded={str(answer.succeeded).lower()}",
            f"revision={answer.revision}",
            f"results={','.join(map(outcome, answer.results))}",
        ]

    def do_settings(self, client, _fields, how):
        return [f"{setting.name}={setting.value}" for setting in client.settings(**how)]

    def do_set_setting(self, client, fields, how):
        value = int(fields["number"]) if "number" in fields else None
        return [f"revision={client.set_setting(fields['setting'], value, **how)}"]

    def do_status(self, client, _fields, how):
        status = client.status(**how)
        return [
            f"role={status.role}",
            f"applied_revision={status.applied_revision}",
            f"keys={status.keys}",
            f"log_bytes={status.storage.log_bytes}",
        ]

    def do_history_id(self, client, _fields, how):
        return [f"history={client.history_id(**how)}"]

    def do_members(self, client, _fields, how):
        view = client.view(**how)
        return [f"members={len(view.members)}", f"leader={view.leader}"]

    def do_membership(self, client, _fields, how):
        return listed(client.membership(**how))

    def do_promote_member(self, client, fields, how):
        return changed(client.promote_member(int(fields["node"]), follows(fields), **how))

    def do_remove_member(self, client, fields, how):
        return changed(client.remove_member(int(fields["node"]), follows(fields), **how))

    def do_replace_member(self, client, fields, how):
        nodes = int(fields["node"]), int(fields["replacement"])
        return changed(client.replace_member(*nodes, follows(fields), **how))

    def do_cancel_promotion(self, client, fields, how):
        return changed(client.cancel_promotion(int(fields["node"]), follows(fields), **how))

    def do_transfer_leadership(self, client, fields, how):
        to = int(fields["to"]) if "to" in fields else None
        return [f"leader={client.transfer_leadership(to, **how)}"]

    def do_safe_to_stop(self, client, fields, how):
        advice = client.safe_to_stop([int(node) for node in fields["nodes"].split(",") if node], **how)
        return [f"safe={str(advice.safe).lower()}", f"reason={advice.reason.encode().hex()}"]

    def do_bench(self, client, fields, how):
        count, callers, failed = int(fields["count"]), int(fields["callers"]), []
        what = (lambda: client.get(key(fields), **how)) if fields["call"] == "get" else (
            lambda: client.set(key(fields), value(fields), **how)
        )

        def work(share):
            for _ in range(share):
                try:
                    what()
                except GometaError as error:
                    failed.append(error)

        shares = [count // callers + (caller < count % callers) for caller in range(callers)]
        threads = [threading.Thread(target=work, args=(share,)) for share in shares]
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [f"seconds={time.monotonic() - begun:.6f}", f"failed={len(failed)}"]


def key(fields):
    return bytes.fromhex(fields["key"])


def value(fields):
    return bytes.fromhex(fields["value"])


def which(fields):
    """The range of a line."""
    bounds = ("start", "end", "prefix", "delimiter")
    given = {name: bytes.fromhex(fields[name]) for name in bounds if name in fields}
    given |= {name: int(fields[name]) for name in ("at_revision", "limit", "min_revision") if name in fields}
    given |= {name: fields[name] == "true" for name in ("reverse", "keys_only") if name in fields}
    return Range(**given, local=fields.get("consistency") == "local")


def entries(fields, found):
    listed = [f"keys={','.join(entry.key.hex() for entry in found)}"]
    if fields.get("keys_only") != "true":
        listed.append(f"values={','.join(entry.value.hex() for entry in found)}")
    return [*listed, f"groups={sum(entry.is_group for entry in found)}"]


def version(version):
    """A version of a key without its value."""
    if version.deleted:
        return f"{version.revision}:deleted"
    return f"{version.revision}:{version.version}:{version.create_revision}:{version.value_size}"


def parts(fields, name):
    """The comparisons or operations of a list of a transaction."""
    return filter(None, fields.get(name, "").split(","))


def compare(part):
    fact, relation, key, operand = part.split(":")
    if fact == "range":
        return Compare.range(Range(bytes.fromhex(key)), int(relation), int(operand))
    return Compare(fact, bytes.fromhex(key), relation, bytes.fromhex(operand) if fact == "value" else int(operand))


def operation(part):
    verb, *arguments = part.split(":")
    arguments = map(bytes.fromhex, arguments)
    return getattr(Op, verb)(*([Range(*arguments)] if verb in ("range", "delete_range") else arguments))


def outcome(result):
    """The result of an operation of a transaction."""
    return {
        Written: lambda: f"written:{result.version}",
        Deleted: lambda: f"deleted:{str(result.existed).lower()}",
        Entry: lambda: f"entry:{result.value.hex()}",
        Page: lambda: f"page:{'+'.join(entry.key.hex() for entry in result.entries)}",
        DeletedRange: lambda: f"deleted_range:{result.count}",
        GometaError: lambda: f"error:{result.kind}",
        type(None): lambda: "absent",
    }[type(result)]()


def follows(fields):
    if "follows_epoch" not in fields:
        return None
    return int(fields["follows_epoch"]), int(fields["follows_revision"])


def listed(membership):
    return [
        f"epoch={membership.version.epoch}",
        f"revision={membership.version.revision}",
        f"members={len(membership.members)}",
        f"voters={sum(member.votes for member in membership.members)}",
        f"committed={str(membership.committed).lower()}",
        *(f"node{i}={member.node}" for i, member in enumerate(membership.members, 1)),
    ]


def changed(result):
    return [f"changed={str(result.changed).lower()}", *listed(result.membership)]


def written(written):
    return [f"revision={written.revision}", f"version={written.version}"]


def main():
    driver = Driver()
    driver.say("client raw-python")
    for line in sys.stdin:
        driver.take(line.rstrip("\n"))
    driver.end()


if __name__ == "__main__":
    main()
