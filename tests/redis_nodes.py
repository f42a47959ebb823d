"""Real servers of any kind for the tests: with TCP and TLS, behind Sentinels, and in a Cluster."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest
import redis

from service.guardian import NoServerError, answers, find_server, make_directory
from tests.leash import LEASH

HOST = "127.0.0.1"
SECRET = "s3cret"
START_SECONDS = 20.0
MASTER = "mymaster"
PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "redis.md"


# Below those that the system gives out by itself, and others for each process of pytest-xdist.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_PORTS = range(20_000 + 1_500 * _WORKER, 21_500 + 1_500 * _WORKER)


def binaries() -> dict[str, Path]:
    """The servers that are here: Valkey, which comes with the project, and Redis, if it does."""
    found = {}
    with suppress(NoServerError):
        found[find_server().name] = find_server()
    for name in ("valkey-server", "redis-server"):
        if name not in found and (path := shutil.which(name)):
            found[name] = Path(path)
    return found


def binary(name: str) -> Path:
    """The server of this name; the test is skipped where there is none."""
    found = binaries().get(name)
    if found is None:
        pytest.skip(f"no {name} is installed")
    return found


def documented(user: str) -> list[str]:
    """The rules that the documentation gives to *user*, for ``ACL SETUSER``."""
    lines = re.findall(rf"^ACL SETUSER {user} (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    return " ".join(lines).split()


def wait_until(what: Callable[[], object], seconds: float = START_SECONDS) -> None:
    """Wait until it holds; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


class Node:
    """A server with a port, and a unix socket for the test's own use. *lines* configure it."""

    def __init__(self, binary: Path, *lines: str, sentinel: bool = False) -> None:
        self.binary = binary
        self.directory = make_directory()
        self.port, self.bus_port = free_port(), free_port()
        self._lines = lines
        self._sentinel = sentinel
        self._rules: dict[str, tuple[str, ...]] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"{HOST}:{self.port}"

    @property
    def _socket(self) -> Path:
        return self.directory / "s"

    def start(self) -> Self:
        """Start it, or start it again, and return once it answers."""
        config = self.directory / "conf"
        if not config.exists():
            config.write_text("\n".join(self._configuration()))
        words = [str(self.binary), str(config), *(["--sentinel"] if self._sentinel else [])]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-IS", "-c", LEASH, str(os.getpid()), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not answers(self._socket):
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"no server: {(self.directory / 'log').read_text()}")
            time.sleep(0.01)
        for user, rules in self._rules.items():
            self.run("ACL", "SETUSER", user, *rules)
        return self

    def _configuration(self) -> Iterator[str]:
        lines = [line.format(port=self.port, bus=self.bus_port) for line in self._lines]
        if not any(line.startswith("port ") for line in lines):
            yield f"port {self.port}"
        yield f"bind {HOST}"
        yield f"unixsocket {self._socket}"
        yield f"dir {self.directory}"
        if not self._sentinel:
            yield 'save ""'
            yield "repl-diskless-sync-delay 0"
        yield from lines

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._socket.unlink(missing_ok=True)

    def suspend(self) -> None:
        """Let it hang."""
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process
        os.kill(self._process.pid, signal.SIGCONT)

    def remove(self) -> None:
        """End it and take its directory away."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    @contextmanager
    def admin(self) -> Iterator[redis.Redis]:
        """A connection of the test's own, with all rights."""
        options = {"protocol": 2, "socket_timeout": 10, "decode_responses": True}
        with redis.Redis(unix_socket_path=str(self._socket), **options) as client:
            yield client

    def run(self, *command: object) -> object:
        """Have it run a command."""
        with self.admin() as client:
            return client.execute_command(*command)

    def allow(self, user: str, *rules: str) -> None:
        """Make a user, or add to what it may do; also when the server has been started again."""
        self._rules[user] = (*self._rules.get(user, ()), *rules)
        self.run("ACL", "SETUSER", user, *rules)


_given: set[int] = set()


def free_port() -> int:
    """A port on which nobody listens now, and that was not given to anybody before."""
    while True:
        port = random.choice(_PORTS)
        if port in _given:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, port))
            _given.add(port)
            return port


class Watched:
    """A master, a replica, and three Sentinels that watch over them."""

    def __init__(self, binary: Path) -> None:
        self.master = Node(binary)
        self.replica = Node(binary, f"replicaof {HOST} {self.master.port}")
        lines = (
            f"sentinel monitor {MASTER} {HOST} {self.master.port} 2",
            f"sentinel down-after-milliseconds {MASTER} 1000",
            f"sentinel failover-timeout {MASTER} 5000",
        )
        self.sentinels = [Node(binary, *lines, sentinel=True) for _ in range(3)]

    def start(self) -> Self:
        """Start all of them, and return once they know each other."""
        for node in self.nodes:
            node.start()
            node.allow("larder", *documented("larder"))
        for sentinel in self.sentinels:
            sentinel.start()
            sentinel.allow("watcher", *documented("watcher"))
        wait_until(lambda: all(self._knows_all(sentinel) for sentinel in self.sentinels))
        return self

    @property
    def nodes(self) -> list[Node]:
        """Those that keep data."""
        return [self.master, self.replica]

    def _knows_all(self, sentinel: Node) -> bool:
        with sentinel.admin() as client:
            state = client.sentinel_masters()[MASTER]
            replicas = client.sentinel_slaves(MASTER)
        is_in_step = [replica["master-link-status"] == "ok" for replica in replicas] == [True]
        return is_in_step and state["num-other-sentinels"] == 2 and state["flags"] == "master"

    def leader(self) -> int:
        """The port that most Sentinels give."""
        ports = [s.run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1] for s in self.sentinels]
        return int(max(ports, key=ports.count))

    def config(self) -> dict[str, object]:
        """The settings of an application that uses it."""
        return {
            "CACHE_TYPE": "RedisSentinelCache",
            "CACHE_REDIS_SENTINELS": ",".join(node.address for node in self.sentinels),
            "CACHE_REDIS_SENTINEL_MASTER": MASTER,
            "CACHE_REDIS_SENTINEL_USERNAME": "watcher",
            "CACHE_REDIS_SENTINEL_PASSWORD": "secret",
            "CACHE_REDIS_USERNAME": "larder",
            "CACHE_REDIS_PASSWORD": "secret",
        }

    def remove(self) -> None:
        """End all of them."""
        for node in [*self.sentinels, *self.nodes]:
            node.remove()


SLOTS = 16_384


class Cluster:
    """Three nodes that share the slots, and as many replicas as asked for."""

    def __init__(self, binary: Path, *, replicas: int = 0) -> None:
        lines = (
            "cluster-enabled yes",
            "cluster-port {bus}",
            "cluster-node-timeout 1500",
            "cluster-replica-validity-factor 0",
            f"cluster-announce-ip {HOST}",
        )
        self.nodes = [Node(binary, *lines) for _ in range(3 + replicas)]

    @property
    def masters(self) -> list[Node]:
        """The nodes that had slots in the beginning."""
        return self.nodes[:3]

    @property
    def replicas(self) -> list[Node]:
        """The nodes that had none; each follows the master of the same place."""
        return self.nodes[3:]

    def start(self) -> Self:
        """Start all of them, and return once they are a Cluster."""
        for node in self.nodes:
            node.start()
            node.allow("larder", *documented("larder"))
        bounds = [SLOTS * number // 3 for number in range(4)]
        for number, node in enumerate(self.masters):
            node.run("CLUSTER", "ADDSLOTS", *range(bounds[number], bounds[number + 1]))
        first = self.nodes[0]
        for number, node in enumerate(self.nodes[1:], start=1):
            node.run("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.run("CLUSTER", "MEET", HOST, first.port, first.bus_port)
        wait_until(lambda: all(len(self._known_to(node)) == len(self.nodes) for node in self.nodes))
        for replica, master in zip(self.replicas, self.masters, strict=False):
            replica.run("CLUSTER", "REPLICATE", self.id_of(master))
        wait_until(lambda: all(self.is_serving(node) for node in self.nodes))
        wait_until(lambda: all(map(self._is_in_step, self.replicas)))
        return self

    def id_of(self, node: Node) -> str:
        """The name that it has in the Cluster."""
        return str(node.run("CLUSTER", "MYID"))

    def is_serving(self, node: Node) -> bool:
        """Whether the Cluster is complete, as far as this node knows."""
        with node.admin() as client:
            return bool(client.cluster("INFO")["cluster_state"] == "ok")

    def _known_to(self, node: Node) -> list[str]:
        with node.admin() as client:
            lines = client.execute_command("CLUSTER NODES").values()
        return [line["flags"] for line in lines if "handshake" not in line["flags"]]

    def _is_in_step(self, replica: Node) -> bool:
        with replica.admin() as client:
            return client.info("replication").get("master_link_status") == "up"

    def owner_of(self, slot: int) -> Node:
        """Which of the first masters has had *slot* in the beginning."""
        return next(
            node for number, node in enumerate(self.masters) if slot < SLOTS * (number + 1) // 3
        )

    def begin_to_move(self, slot: int, source: Node, target: Node) -> None:
        """From now on, what *source* does not have is asked of *target*."""
        target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, slot: int, source: Node, target: Node) -> None:
        """Move what there is now."""
        keys = source.run("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        assert isinstance(keys, list)
        if keys:
            source.run("MIGRATE", HOST, target.port, "", 0, 5000, "REPLACE", "KEYS", *keys)

    def end_move(self, slot: int, target: Node) -> None:
        """From now on it is the *target*'s."""
        for node in [target, *(node for node in self.masters if node is not target)]:
            node.run("CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))

    def move(self, slot: int, source: Node, target: Node) -> None:
        """Give *slot* with all that it holds to another node."""
        self.begin_to_move(slot, source, target)
        self.move_keys(slot, source, target)
        self.end_move(slot, target)

    def config(self) -> dict[str, object]:
        """The settings of an application that uses it."""
        return {
            "CACHE_TYPE": "RedisClusterCache",
            "CACHE_REDIS_CLUSTER": ",".join(node.address for node in self.masters),
            "CACHE_REDIS_USERNAME": "larder",
            "CACHE_REDIS_PASSWORD": "secret",
        }

    def remove(self) -> None:
        """End all of them."""
        for node in self.nodes:
            node.remove()
