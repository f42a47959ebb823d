"""Starts contenders with the Redis and the application that they need."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Self

import redis

from benchmarks import servers
from benchmarks.client import Answer, Client, answers
from benchmarks.contenders import Contender
from benchmarks.notebook import Notebook
from benchmarks.processes import NoStartError, Process, free_port

APP = "benchmarks.app:app"
CONSTANT = "benchmarks.constant:app"
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
NO_THREADS: Mapping[str, int] = MappingProxyType({})
PER_CONNECTION = {"connection", "date", "server", "transfer-encoding", "keep-alive"}


class WrongAnswerError(Exception):
    """A contender does not do what is to be measured."""


class Redis:
    """A Redis of the benchmark's own."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        words = servers.redis(directory, self.port)
        self.process = Process("redis-server", words, {}, directory / f"redis-{self.port}.log")
        self.client = redis.Redis(port=self.port)
        self.process.await_answer(self._answers)

    @property
    def url(self) -> str:
        """For CACHE_REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def end(self) -> None:
        """End it."""
        self.client.close()
        self.process.end()


@dataclass(slots=True)
class Running:
    """A contender that runs. *pids* are its processes, without Redis; *app_port* is the app's."""

    contender: Contender
    port: int
    app_port: int
    pids: Sequence[int]
    redis: Redis | None = None
    client: Client = field(init=False)
    app_client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.port)
        self.app_client = Client(self.app_port)

    @property
    def name(self) -> str:
        """The contender's."""
        return self.contender.name

    def runs(self) -> int:
        """How often the views of its application have run; 0 where there are none."""
        return 0 if self.contender.hit == "constant" else self.app_client.runs()

    def prime(self, path: str) -> Answer:
        """Have it store what is at *path*, and return a hit; raise WrongAnswerError if not."""
        # A miss, and hits, of which the first teaches where the next are found.
        for _ in range(4):
            answer = self.client.get(path)
        self.check(answer, path)
        return answer

    def check(self, answer: Answer, path: str) -> None:
        """Raise WrongAnswerError unless it has status 200 and is a hit, where that can be told."""
        if answer.status != 200 or not _is_hit(self.contender, answer):
            raise WrongAnswerError(f"{self.name} {path}: {answer.status} {dict(answer.fields)}")

    def close(self) -> None:
        """Close its connections."""
        self.client.close()
        self.app_client.close()


def _is_hit(contender: Contender, answer: Answer) -> bool:
    if contender.hit == "larder":
        return "; hit" in answer.fields.get("cache-status", "")
    if contender.hit == "nginx":
        return answer.fields.get("x-cache-status") == "HIT"
    if contender.hit == "varnish":
        return len(answer.fields.get("x-varnish", "").split()) == 2
    return True


class Stage:
    """Where contenders run, until it is left.

    *threads* has the blocking threads of granian by the contender's name; others have one.
    """

    def __init__(
        self,
        notebook: Notebook,
        *,
        gunicorn_class: Sequence[str] = (),
        threads: Mapping[str, int] = NO_THREADS,
    ) -> None:
        self._notebook = notebook
        self._threads = threads
        self._gunicorn_class = gunicorn_class or servers.GUNICORN_CLASSES["gthread, 16 threads"]
        self._exit = ExitStack()
        shm = Path("/dev/shm")  # noqa: S108 - the directory in it is made by mkdtemp
        parent = shm if shm.is_dir() else None
        name = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=parent))
        self.directory = Path(name)
        self.directory.chmod(0o755)  # nginx and Varnish run as users of their own
        self._redis: dict[str, Redis] = {}
        self._processes: list[Process] = []

    def start(
        self,
        contenders: Sequence[Contender],
        *,
        threads: int | None = None,
        settings: Mapping[str, str] = NO_SETTINGS,
    ) -> list[Running]:
        """Start those that do start, with these settings; the others are noted as left out."""
        running = []
        for contender in contenders:
            try:
                running.append(self.start_one(contender, threads=threads, settings=settings))
            except NoStartError as error:
                self._notebook.leave_out(contender.name, str(error))
        return running

    def start_one(
        self,
        contender: Contender,
        *,
        threads: int | None = None,
        redis: Redis | None = None,
        settings: Mapping[str, str] = NO_SETTINGS,
    ) -> Running:
        """Start one; *redis* is instead of the one that its family shares."""
        if contender.is_proxy and servers.find_tool(_program(contender)) is None:
            raise NoStartError(f"{_program(contender)} is not installed")
        if contender.family and redis is None:
            redis = self._family_redis(contender.family)
        url = {"CACHE_REDIS_URL": redis.url} if redis else {}
        environ = {"BENCH_DATA": str(self.directory), **contender.environ, **url, **settings}
        threads = threads or self._threads.get(contender.name, servers.BLOCKING_THREADS)
        port = free_port()
        running = Running(
            contender, port, port, [self._app(contender, port, threads, environ)], redis
        )
        if contender.is_proxy:
            self._put_in_front(running)
        self._exit.callback(running.close)
        return running

    def _app(
        self, contender: Contender, port: int, threads: int, environ: Mapping[str, str]
    ) -> int:
        app = CONSTANT if contender.hit == "constant" else APP
        words = (
            servers.gunicorn(app, port, self._gunicorn_class)
            if contender.server == "gunicorn"
            else servers.granian(app, port, threads)
        )
        process = self._process(contender.name, words, environ)
        return process.await_answer(lambda: answers(port)).pid

    def _put_in_front(self, running: Running) -> None:
        """Start the proxy itself, whose processor time alone counts: on a hit, the app idles."""
        running.port = port = free_port()
        directory = self.directory / running.name
        directory.mkdir(exist_ok=True)
        command = servers.nginx if running.contender.server == "nginx" else servers.varnish
        words = command(directory, port, running.app_port)
        process = self._process(running.name, words, {}).await_answer(lambda: answers(port))
        running.pids = [process.pid]
        running.client = Client(port)

    def _process(self, name: str, words: Sequence[str], environ: Mapping[str, str]) -> Process:
        process = Process(name, words, environ, self.directory / f"{name}-{free_port()}.log")
        self._exit.callback(process.end)
        self._processes.append(process)
        return process

    def redis(self) -> Redis:
        """Start a Redis."""
        server = Redis(self.directory)
        self._exit.callback(server.end)
        return server

    def _family_redis(self, family: str) -> Redis:
        if family not in self._redis:
            self._redis[family] = self.redis()
        return self._redis[family]

    def keep_answer(self, answer: Answer, name: str) -> dict[str, str]:
        """Write down a hit, for the constant app; return the settings that name the file."""
        file = self.directory / f"{name}.json"
        fields = [each for each in answer.fields.items() if each[0] not in PER_CONNECTION]
        file.write_text(json.dumps({"fields": fields, "body": answer.body.decode()}), "utf-8")
        return {"BENCH_ANSWER": str(file)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:  # all at the same time
            process.tell_to_end()
        self._exit.close()


def _program(contender: Contender) -> str:
    return "nginx" if contender.server == "nginx" else "varnishd"
