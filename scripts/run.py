#!/usr/bin/env python3
"""Demonstrates three nodes on this machine and the failure of their leader.

Builds the programs, writes three configuration files into a scratch directory, starts three servers from them,
writes and reads through different nodes, kills the leader with SIGKILL, measures the time until the next acknowledged
write, restarts the node and shows that it has caught up. Stops everything it started, also on errors and Ctrl-C,
unless --keep is given. Uses the standard library only.
"""

import argparse
import contextlib
import json
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import build

USUAL_PORTS = [(5001, 5002, 5003), (6001, 6002, 6003), (7001, 7002, 7003)]
KINDS = (socket.SOCK_DGRAM, socket.SOCK_STREAM, socket.SOCK_STREAM)
# Seconds.
READY_DEADLINE = 60
COMMAND_DEADLINE = 20
FAILOVER_DEADLINE = 60
STOP_DEADLINE = 10


class DemoError(Exception):
    """A step failed; the message says which."""


class Stopped(Exception):
    """A signal has ended the demonstration."""


class Node:
    """One server process, its files and its addresses."""

    def __init__(self, number, directory, ports):
        self.number = number
        self.directory = directory
        self.election, self.message, self.request = (f"127.0.0.1:{port}" for port in ports)
        self.config = directory / "node.json"
        self.log = directory / "log"
        self.process = None
        self.ready = None

    def addresses(self):
        return {"ElectionAddr": self.election, "MessageAddr": self.message, "RequestAddr": self.request}

    def write_config(self, peers):
        self.directory.mkdir()
        config = {"Host": self.addresses(), "Peer": [peer.addresses() for peer in peers]}
        self.config.write_text(json.dumps(config, indent=2) + "\n")

    def command(self, server):
        return [str(server), f"-config={self.config}", f"-data-dir={self.directory / 'data'}", "-watch-stdin=false"]

    def start(self, server):
        """Starts the process in a session of its own, so that Ctrl-C reaches this script only."""
        self.ready = None
        # A fresh file each time: it holds the READY line of this start.
        with open(self.directory / "stdout", "wb") as stdout, open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(server), cwd=self.directory, stdin=subprocess.DEVNULL, stdout=stdout, stderr=log,
                start_new_session=True,
            )

    def look_for_ready(self):
        """Reads the READY line if it is there; raises DemoError if the process has ended."""
        for line in (self.directory / "stdout").read_text(errors="replace").splitlines(keepends=True):
            if line.startswith("GOMETA READY ") and line.endswith("\n"):
                self.ready = json.loads(line.removeprefix("GOMETA READY "))
        if self.ready is None and self.process.poll() is not None:
            raise DemoError(f"node {self.number} ended with status {self.process.returncode}\n{self.last_log_lines()}")
        return self.ready is not None

    def last_log_lines(self):
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join([f"the end of {self.log}:", *(f"    {line}" for line in lines)])

    def alive(self):
        return self.process is not None and self.process.poll() is None


def say(text=""):
    print(text, flush=True)


def heading(text):
    say(f"\n== {text}")


def reserve(ports):
    """Returns the ports if all are free; 0 stands for one that the system chooses. All are held until the last is
    chosen, so that they differ."""
    chosen = []
    with contextlib.ExitStack() as held:
        for numbers in ports:
            probes = [held.enter_context(socket.socket(socket.AF_INET, kind)) for kind in KINDS]
            for probe, port in zip(probes, numbers):
                if port and probe.type == socket.SOCK_STREAM:
                    # As servers do: a port with connections in TIME_WAIT is free.
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
            chosen.append(tuple(probe.getsockname()[1] for probe in probes))
    return chosen


def choose_ports():
    """Returns the ports of the README if all are free, else ports chosen by the system."""
    try:
        return reserve(USUAL_PORTS)
    except OSError:
        return reserve([(0, 0, 0)] * len(USUAL_PORTS))


def wait_until_ready(nodes):
    deadline = time.monotonic() + READY_DEADLINE
    waiting = list(nodes)
    while waiting:
        # A list, so that each node is checked.
        waiting = [node for node in waiting if not node.look_for_ready()]
        if waiting and time.monotonic() > deadline:
            numbers = ", ".join(str(node.number) for node in waiting)
            raise DemoError(f"not ready within {READY_DEADLINE} s: node {numbers}\n{waiting[0].last_log_lines()}")
        time.sleep(0.02)


class Cli:
    """The gometa command."""

    def __init__(self, program):
        self.program = program

    def attempt(self, nodes, *arguments):
        peers = ",".join(node.request for node in nodes)
        command = [str(self.program), "--peers", peers, *arguments]
        try:
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                timeout=COMMAND_DEADLINE, check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"no answer within {COMMAND_DEADLINE} s: {shlex.join(command)}") from error

    def __call__(self, nodes, *arguments, quiet=False):
        """Runs the command with these nodes as peers, prints and returns its output; raises DemoError if it fails."""
        shown = shlex.join(["gometa", "--peers", ",".join(node.request for node in nodes), *arguments])
        if not quiet:
            say(f"$ {shown}")
        done = self.attempt(nodes, *arguments)
        if done.returncode != 0:
            raise DemoError(f"`{shown}` ended with status {done.returncode}: {(done.stderr or done.stdout).strip()}")
        if not quiet:
            for line in done.stdout.splitlines():
                say(f"  {line}")
        return done.stdout


def expect(got, wanted):
    if got.rstrip("\n") != wanted:
        raise DemoError(f"expected {wanted!r}, got {got!r}")


def find_leader(cli, nodes):
    """Returns the node that leads now: the READY lines may be out of date."""
    done = cli.attempt(nodes, "-o", "json", "status")
    try:
        leader = json.loads(done.stdout)["leader"]
    except (ValueError, KeyError) as error:
        raise DemoError(f"`gometa -o json status` printed no report: {(done.stderr or done.stdout).strip()}") from error
    for node in nodes:
        if node.request == leader:
            return node
    raise DemoError(f"no node reports that it leads: {done.stdout.strip()}")


def failover(cli, leader, others):
    """Kills the leader, and returns the milliseconds until the others have acknowledged a write."""
    say(f"$ kill -9 {leader.process.pid}")
    killed = time.monotonic()
    leader.process.kill()
    while True:
        done = cli.attempt(others, "set", "after/kill", "still here")
        took = time.monotonic() - killed
        if done.returncode == 0:
            leader.process.wait()
            return took * 1000
        if took > FAILOVER_DEADLINE:
            raise DemoError(f"no write succeeded within {FAILOVER_DEADLINE} s: {done.stderr.strip()}")


def show(server, cli, nodes):
    heading("Three configuration files, three processes")
    for node in nodes:
        node.write_config([peer for peer in nodes if peer is not node])
    for node in nodes:
        node.start(server)
        say(f"node {node.number}: pid {node.process.pid}, clients at {node.request}, files in {node.directory}")
    began = time.monotonic()
    wait_until_ready(nodes)
    say(f"all ready after {time.monotonic() - began:.1f} s")

    heading("Write through one node, read through the others")
    first, second, third = nodes
    cli([first], "set", "shard/7/owner", "node-a")
    expect(cli([second], "get", "shard/7/owner"), "node-a")
    cli([third], "set", "shard/7/owner", "node-b")
    expect(cli([first], "get", "shard/7/owner"), "node-b")
    cli(nodes, "status")

    heading("Kill the leader")
    leader = find_leader(cli, nodes)
    others = [node for node in nodes if node is not leader]
    say(f"node {leader.number} leads")
    took_ms = failover(cli, leader, others)
    say(f"the next write was acknowledged {took_ms:.0f} ms after the kill (starting the command included)")
    expect(cli([others[0]], "get", "after/kill"), "still here")
    expect(cli([others[1]], "get", "shard/7/owner"), "node-b")

    heading("Write on without it, then start it again")
    for number in range(20):
        cli(others, "set", f"while/away/{number}", f"value-{number}", quiet=True)
    say("20 keys written")
    leader.start(server)
    wait_until_ready([leader])
    say(f"node {leader.number} is back: pid {leader.process.pid}, {leader.ready.get('role', 'ready')}")
    expect(cli([leader], "get", "while/away/19"), "value-19")
    cli(nodes, "status")


def stop(nodes):
    """Stops the processes that run: SIGTERM first, SIGKILL after a timeout."""
    for node in nodes:
        if node.alive():
            node.process.terminate()
    deadline = time.monotonic() + STOP_DEADLINE
    for node in nodes:
        if node.process is None:
            continue
        try:
            node.process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"node {node.number} did not stop within {STOP_DEADLINE} s; killing it")
            node.process.kill()
            node.process.wait()


def show_places(programs, scratch, nodes, kept):
    peers = ",".join(node.request for node in nodes)
    heading("Where things are")
    say(f"logs: {scratch}/node*/log")
    if kept:
        pids = " ".join(str(node.process.pid) for node in nodes)
        say("the three nodes are still running; use them with")
        say(f"    export GOMETA_PEERS={peers}")
        say(f"    {programs / 'gometa'} set greeting hello")
        say(f"    {programs / 'gometa'} get greeting")
        say(f"    {programs / 'gometa'} status")
        say(f"and stop them with\n    kill {pids}")
    else:
        say("`make run KEEP=1` leaves the nodes running; or start these again, each in a terminal:")
        for node in nodes:
            say(f"    {shlex.join(node.command(programs / 'gometa-server'))}")
    say(f"everything is below {scratch}; remove it with\n    rm -r {scratch}")


def interrupted(signum, _frame):
    raise Stopped(signal.Signals(signum).name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave the nodes running at the end")
    parser.add_argument("--programs", type=Path, help="directory of gometa-server and gometa; nothing is built then")
    arguments = parser.parse_args()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, interrupted)

    nodes, kept, scratch = [], False, None
    try:
        programs = arguments.programs.resolve() if arguments.programs else build.build()
        scratch = Path(tempfile.mkdtemp(prefix="gometa-run-"))
        nodes = [Node(number, scratch / f"node{number}", ports) for number, ports in enumerate(choose_ports(), 1)]
        show(programs / "gometa-server", Cli(programs / "gometa"), nodes)
        kept = arguments.keep
        show_places(programs, scratch, nodes, kept)
        return 0
    except (DemoError, build.BuildError, OSError) as error:
        say(f"\nrun: {error}")
    except Stopped as error:
        say(f"\nrun: stopped by {error}")
    finally:
        if not kept:
            # Signals no longer interrupt the cleanup.
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(signum, signal.SIG_IGN)
            stop(nodes)
            if any(node.process for node in nodes):
                say("\nall nodes are stopped")
    if scratch is not None:
        say(f"logs: {scratch}/node*/log")
    return 1


if __name__ == "__main__":
    sys.exit(main())
