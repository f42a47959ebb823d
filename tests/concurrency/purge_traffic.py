"""Traffic for the proofs of purges: clients that ask for pages, and others that purge them."""

import contextlib
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.concurrency.servers import HOST, Proof
from tests.service.processes import wait_until

NAMES = tuple("abcdef")
KINDS = ("tag", "view", "path", "url", "prefix", "all")


class Answer(NamedTuple):
    """What a client got: *asked* for and *answered* when, by the monotonic clock of the machine."""

    status: int
    cache: str
    asked: float
    answered: float
    json: dict[str, Any]


class Client:
    """Asks, over connections that it keeps."""

    def __init__(self) -> None:
        self._connections: dict[int, http.client.HTTPConnection] = {}

    def ask(self, port: int, target: str, method: str = "GET") -> Answer:
        """The answer; asked for again if the connection was just closed."""
        for _ in range(3):
            connection = self._connections.get(port) or http.client.HTTPConnection(
                "127.0.0.1", port, timeout=30
            )
            self._connections[port] = connection
            try:
                asked = time.monotonic()
                connection.request(method, target, headers={"Host": HOST})
                response = connection.getresponse()
                fields = response.headers
                return Answer(
                    response.status,
                    fields.get("Cache-Status", ""),
                    asked,
                    float(fields["Answered"]),
                    json.loads(response.read() if response.status == 200 else b"{}"),
                )
            except (OSError, http.client.HTTPException):
                self._connections.pop(port).close()
        raise AssertionError(f"no answer from {port}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()


class Promise(NamedTuple):
    """A purge that has returned: no request that begins later may get what is older than that."""

    version: int
    returned: float


class Older(NamedTuple):
    """An answer that broke a promise: how long after the purge had returned it was asked for."""

    port: int
    seconds: float
    cache: str

    @property
    def is_shared(self) -> bool:
        """Whether it is that of a request under way, since Redis could not be asked just then."""
        return "; collapsed; " in self.cache and "; detail=store-unavailable" in self.cache


def write(data: Path, name: str, version: int) -> None:
    """Have the page *name* show *version* from now on."""
    new = data / f"{name}.new"
    new.write_text(str(version))
    new.rename(data / name)


class Traffic:
    """Asks for the pages on all servers, and changes their *data* and purges, as long as entered.

    *older* has the answers that were older than a purge allows. *purge_at* is the server that is
    told to purge, ``None`` means any.
    """

    def __init__(self, proof: Proof, data: Path, *, purgers: int = 2, readers: int = 4) -> None:
        self._ports = [server.port for server in proof.servers]
        self._data = data
        self._stopped = threading.Event()
        self._locks = {name: threading.Lock() for name in NAMES}
        self._turns = [threading.Lock() for _ in range(purgers)]
        self._versions = dict.fromkeys(NAMES, 0)
        self._promises: dict[str, list[Promise]] = {name: [] for name in NAMES}
        self._errors: list[BaseException] = []
        self._acts: dict[int, int] = dict.fromkeys(range(purgers + readers), 0)
        self.counts: Counter[str] = Counter()
        self.older: list[Older] = []
        self.purge_at: int | None = None
        acts: list[Callable[[Client], None]] = [self._read] * readers
        acts += [self._purger(turn) for turn in self._turns]
        self._threads = [threading.Thread(target=self._run, args=each) for each in enumerate(acts)]
        for name in NAMES:
            write(data, name, 0)

    def read(self, client: Client, port: int, name: str, query: str = "") -> bool:
        """Ask for a page, and see whether it is older than what was promised before.

        Returns whether it was stored.
        """
        known, began = len(self._promises[name]), time.monotonic()
        answer = client.ask(port, f"/page/{name}{query}")
        assert answer.status == 200
        self.counts["requests"] += 1
        is_hit = "; hit" in answer.cache
        self.counts["hits"] += is_hit
        promises = self._promises[name][:known]
        if promises and answer.json["version"] < promises[-1].version:
            broken = next(each for each in promises if each.version > answer.json["version"])
            self.older.append(Older(port, began - broken.returned, answer.cache))
        return is_hit

    @property
    def longest(self) -> float:
        """How long after a purge, in seconds, what it had hit was asked for, and still came."""
        return max((each.seconds for each in self.older), default=0.0)

    def await_hits(self, count: int = 300) -> None:
        """Return when there were so many more."""
        expected = self.counts["hits"] + count
        wait_until(lambda: self.counts["hits"] >= expected, 20)

    def await_purges(self, count: int) -> None:
        """Return when there were so many more."""
        expected = self.counts["purges"] + count
        wait_until(lambda: self.counts["purges"] >= expected, 20)

    @contextlib.contextmanager
    def no_purges(self) -> Iterator[None]:
        """Nobody purges meanwhile, and those that had begun have returned."""
        with contextlib.ExitStack() as stack:
            for turn in self._turns:
                stack.enter_context(turn)
            yield

    @contextlib.contextmanager
    def without(self, port: int) -> Iterator[None]:
        """Nobody asks the server there meanwhile, nor waits for its answer."""
        ports = self._ports
        self._ports = [each for each in ports if each != port]
        before = self._acts.copy()
        wait_until(lambda: all(self._acts[number] > done for number, done in before.items()))
        try:
            yield
        finally:
            self._ports = ports

    def _read(self, client: Client) -> None:
        self.read(client, random.choice(self._ports), random.choice(NAMES))

    def _purger(self, turn: threading.Lock) -> Callable[[Client], None]:
        """Changes the data of a page, purges, and asks for it at once, wherever."""

        def act(client: Client) -> None:
            time.sleep(random.uniform(0, 0.05))
            name = random.choice(NAMES)
            with turn, self._locks[name]:
                self._purge(client, name)
            for port in self._ports:
                self.read(client, port, name)

        return act

    def _purge(self, client: Client, name: str) -> None:
        self._versions[name] += 1
        write(self._data, name, self._versions[name])
        target = f"/purge/{name}?kind={random.choice(KINDS)}"
        port = self.purge_at or random.choice(self._ports)
        if client.ask(port, target, "POST").status == 200:
            self.counts["purges"] += 1
            self._promises[name].append(Promise(self._versions[name], time.monotonic()))
        else:  # it could not be told, and said so
            self.counts["refused"] += 1

    def _run(self, number: int, act: Callable[[Client], None]) -> None:
        with Client() as client:
            try:
                while not self._stopped.is_set():
                    act(client)
                    self._acts[number] += 1
            except BaseException as error:
                self._errors.append(error)
                raise

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        print(
            f"\n{dict(self.counts)}, {len(self.older)} older, up to {self.longest:.3f} s after a "
            f"purge, {sum(each.is_shared for each in self.older)} of them shared"
        )
        assert self._errors == []
