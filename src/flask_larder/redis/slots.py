"""Which node of a Redis Cluster serves which slot, as far as one process knows."""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import redis
from redis.cluster import parse_cluster_slots
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from redis.exceptions import AskError, ClusterDownError, ResponseError, TryAgainError

from flask_larder.breaker import Breaker
from flask_larder.budget import BudgetSource
from flask_larder.chance import CHANCE
from flask_larder.errors import InvalidConfig, StoreUnavailable
from flask_larder.redis.connection import Address, maker, without_secrets
from flask_larder.redis.exchange import Connection
from flask_larder.redis.links import Links
from flask_larder.threads import start

UNKNOWN_HOSTS: Final = frozenset({"", "?"})
"""What a node says where it should name a host, and knows none."""

LOOK_SECONDS: Final = 1.0
"""How long the nodes are left alone after they have been asked who serves what."""

Node: TypeAlias = tuple[str, int]
"""The host and the port of a node."""

Owners: TypeAlias = list[Node | None]
"""The node of each slot."""


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Where some nodes of a Cluster are. The others are found from there, and reached likewise."""

    seeds: tuple[Address, ...]

    @classmethod
    def of(cls, url: str, address: Callable[[str], Address]) -> "ClusterAddress":
        """Read a *url* with one or more hosts; *address* makes an address of that of one host.

        Raises ``InvalidConfig`` where that cannot be a Cluster.
        """
        before, hosts, behind = _split(url)
        if not before.startswith(("redis://", "rediss://")) or not all(hosts):
            raise InvalidConfig(
                f"{without_secrets(url)!r} is no address of a Redis Cluster; give for example "
                f"redis+cluster://host:6379,other:6379"
            )
        seeds = tuple(address(f"{before}{host}{behind}") for host in hosts)
        if database := maker(seeds[0]).options["db"]:
            raise InvalidConfig(
                f"a Redis Cluster has no database but 0, and {database} is set; remove it from "
                f"CACHE_REDIS_DB, from CACHE_REDIS_URL and from CACHE_OPTIONS"
            )
        return cls(seeds)

    def __str__(self) -> str:
        return ", ".join(map(str, self.seeds))

    def node(self, node: Node) -> Address:
        """The address of a *node*, which any node has told."""
        host, port = node
        shown = f"{f'[{host}]' if ':' in host else host}:{port}"
        before, _, behind = _split(self.seeds[0].url)
        return replace(self.seeds[0], url=before + shown + behind, called=f"Redis node {shown}")


def _split(url: str) -> tuple[str, list[str], str]:
    """What stands before the hosts, these, and what stands behind them."""
    scheme, _, rest = url.partition("://")
    end = min((rest.find(char) for char in "/?#" if char in rest), default=len(rest))
    user, at, hosts = rest[:end].rpartition("@")
    before = f"{scheme.removesuffix('+cluster')}://{user}{at}"
    return before, [host.strip() for host in hosts.split(",")], rest[end:]


class NodeLinks(Links):
    """The links to one node of a Cluster, which has a circuit breaker of its own."""

    def _check(self, connection: Connection, deadline: float) -> None:
        _check_state(connection, deadline)

    def _refused(self, breaker: Breaker, error: Exception, asked_at: float) -> None:
        if isinstance(error, AskError | TryAgainError):  # MOVED is an AskError
            breaker.succeeded(asked_at)
        elif isinstance(error, ClusterDownError) and "Hash slot not served" not in str(error):
            breaker.failed(error, asked_at)
        else:
            super()._refused(breaker, error, asked_at)


class Slots:
    """What one process knows of the Cluster at *address*, and its links to the nodes.

    Requests do not ask for it: a thread does when it is lacking, or seems to be wrong.
    """

    def __init__(self, address: ClusterAddress, budget: BudgetSource) -> None:
        self.owners: Owners = []  # empty until they are known
        self._address = address
        self._budget = budget
        self._links: dict[Node, NodeLinks] = {}
        self._breaker = Breaker(time.monotonic, "Redis Cluster")
        self._lock = threading.RLock()  # with a Condition, a signal may come before it is entered
        self._changed = threading.Condition(self._lock)
        self._looking_since: float | None = None
        self._next_look = 0.0

    def links(self, node: Node) -> NodeLinks:
        """The links to *node*."""
        found = self._links.get(node)
        if found is None:
            try:
                address = self._address.node(node)
            except InvalidConfig as error:  # a node may say anything, such as port 0
                raise StoreUnavailable(
                    f"a node of the Cluster cannot be reached: {error}"
                ) from error
            found = NodeLinks(address, self._budget)
            found = self._links.setdefault(node, found)
        return found

    def nodes(self) -> Sequence[Node]:
        """All nodes that serve slots."""
        return list(dict.fromkeys(owner for owner in self.owners if owner is not None))

    def await_owners(self, seconds: float) -> None:
        """Return when the owners are known. Raises ``StoreUnavailable`` if that takes long."""
        was_away = self._breaker.away_since is not None
        self.look_again()
        with self._lock:
            if not was_away and self._looking_since is not None:
                passed = time.monotonic() - self._looking_since
                self._changed.wait_for(lambda: self._looking_since is None, seconds - passed)
        if not self.owners:
            raise StoreUnavailable(f"the Redis Cluster at {self._address} is away")

    def look_again(self) -> None:
        """Have the nodes asked, unless they have just been."""
        now = time.monotonic()
        with self._lock:
            if self._looking_since is not None or now < self._next_look:
                return
            is_started = False
            try:
                self._looking_since = now
                is_started = start("cluster", self._look)
            finally:
                if not is_started:
                    self._looking_since = None

    def _look(self) -> None:
        try:
            with contextlib.suppress(StoreUnavailable):
                self.look(self._address.seeds[0].connect_timeout)
        finally:
            with self._lock:
                self._looking_since = None
                self._next_look = time.monotonic() + LOOK_SECONDS
                self._changed.notify_all()

    def look(self, timeout: float) -> None:
        """Ask one node after another, within *timeout* seconds, who serves which slots.

        Raises ``StoreUnavailable`` if none of them knows.
        """
        asked_at = time.monotonic()
        known = []
        for node in self.nodes():
            with contextlib.suppress(InvalidConfig):
                known.append(self._address.node(node))
        CHANCE.shuffle(known)  # one that has been cut off from the others is not asked each time
        answers = []
        addresses = [*known, *self._address.seeds]
        for number, address in enumerate(addresses):
            now = time.monotonic()
            left = asked_at + timeout - now
            try:
                owners = _ask_for_owners(address, now + left / (len(addresses) - number))
            except Exception as error:  # noqa: BLE001 - whatever it is, another may know
                answers.append(f"{address}: {error}")
                continue
            self._breaker.succeeded(asked_at)
            self._adopt(owners)
            return
        away = redis.ConnectionError("; ".join(answers))
        if not self.owners:
            self._breaker.failed(away, asked_at)
        raise StoreUnavailable(f"the Redis Cluster at {self._address} is away: {away}") from away

    def _adopt(self, owners: Owners) -> None:
        with self._lock:
            self.owners = owners
            retired = [self._links.pop(node) for node in self._links.keys() - set(owners)]
        for links in retired:
            links.retire()


def _ask_for_owners(address: Address, deadline: float) -> Owners:
    """Ask the node at *address*."""
    connection = address.connect(deadline)
    try:
        _check_state(connection, deadline)
        reply = connection.ask(("CLUSTER", "SLOTS"), deadline)
        ranges: Any = parse_cluster_slots(reply, current_host=connection.host)
    finally:
        connection.close()
    owners: Owners = [None] * REDIS_CLUSTER_HASH_SLOTS
    for (first, last), nodes in ranges.items():
        host, port = nodes["primary"]
        # A node that does not know its own name is where it was asked.
        owner = (connection.host if host in UNKNOWN_HOSTS else host, port)
        owners[first : last + 1] = [owner] * (last - first + 1)
    return owners


def _check_state(connection: Connection, deadline: float) -> None:
    try:
        info = connection.ask(("CLUSTER", "INFO"), deadline)
    except ResponseError as error:
        if "cluster support disabled" not in str(error):
            raise
        raise ResponseError(f"{error}; set CACHE_TYPE to RedisCache") from error
    if b"cluster_state:ok" not in info:
        raise ClusterDownError("the cluster is down")
