"""Which store and which clock are used: decided here, once for each cache and app."""

import itertools
import logging
import time
from collections.abc import Collection, Hashable, Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from redis.exceptions import OutOfMemoryError

from flask_larder.background import Background
from flask_larder.budget import Budget, BudgetSource
from flask_larder.chance import CHANCE
from flask_larder.coalesce import Coalescer, LocalLeases
from flask_larder.engine import Engine
from flask_larder.entries import Entries
from flask_larder.entry import StoredValue
from flask_larder.errors import InvalidConfig, StoreUnavailable
from flask_larder.flask.current import request_context
from flask_larder.flask.named_reads import Read
from flask_larder.flask.options import Options
from flask_larder.flask.settings import Settings, warn_caller
from flask_larder.flask.topology import links_to
from flask_larder.flask.values import Values
from flask_larder.learned import LEARNED_BYTES, Learned, Selecting, Tier
from flask_larder.local_purges import LocalPurges, NoPurges
from flask_larder.memory import L1, MemoryStore, NullStore, Recent
from flask_larder.per_process import PerProcess
from flask_larder.purges import ALL, Purge, PurgeLog
from flask_larder.redis import RedisLeases, RedisPurges, RedisStore
from flask_larder.signed import SignedStore
from flask_larder.signing import Signer
from flask_larder.store import Leases, Store

_log = logging.getLogger("flask_larder")

_BACKGROUND: Final = Background()
"""For all caches of a process."""

_BUDGET: Final = "flask_larder.budget"

MOST_LINES: Final = 1000
"""How many different warnings are told and remembered: some may be made of what clients send."""

_SILENCE_SECONDS: Final = 60.0
"""For how long a failure that was told is not told again."""

_asking: ContextVar[dict[str, Any] | None] = ContextVar("flask_larder.asking", default=None)
"""The environ of a request that asks the store before Flask."""


class _Asking:
    """While this is entered, what is asked of a store is for the request of *environ*."""

    __slots__ = ("_environ",)

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ

    def __enter__(self) -> None:
        _asking.set(self._environ)

    def __exit__(self, *_: object) -> None:
        _asking.set(None)


@dataclass(frozen=True, slots=True)
class _Backend:
    """Where entries are kept, and what tells the processes that share them of each other."""

    store: Store
    leases: Leases
    purges: PurgeLog


@dataclass(frozen=True, slots=True)
class Wiring:
    """All that one cache is in one app.

    *options* has those of each function that the cache decorates, in any app.
    *enabled* is false where nothing is ever kept. *warned* has the warnings that were logged.
    *left_out* tells until when views are not revalidated in the background, *failures_told* until
    when nothing is said of their failures, by the monotonic clock. *read_by* has what functions
    were seen to read, where that is noted by name. *known_hits* has what each process knows of the
    URLs of which it has answered hits inside Flask.
    """

    settings: Settings
    options: Mapping[Any, Options]
    store: Store
    purges: PurgeLog
    entries: Entries
    tier: Tier
    engine: Engine
    values: Values
    coalescer_of_values: Coalescer[StoredValue]
    background: Background
    enabled: bool
    number: int = field(default_factory=itertools.count().__next__)
    warned: set[str] = field(default_factory=set)
    left_out: dict[str, float] = field(default_factory=dict)
    failures_told: dict[str, float] = field(default_factory=dict)
    known_hits: PerProcess[Recent[Hashable, Learned | Selecting]] = field(
        default_factory=lambda: PerProcess(lambda: Recent(LEARNED_BYTES))
    )
    read_by: MutableMapping[Any, frozenset[Read]] = field(default_factory=WeakKeyDictionary)

    @property
    def has_purges(self) -> bool:
        """Whether purges reach what is stored."""
        return self.purges.reaches

    def may_tell(self, failure: str) -> bool:
        """Whether to log this *failure* now, which is so once a minute."""
        now = time.monotonic()
        if now < self.failures_told.get(failure, 0.0):
            return False
        self.failures_told[failure] = now + _SILENCE_SECONDS
        return True

    def tell_once(self, line: str, *, exc_info: bool = False) -> None:
        """Log *line* as a warning, unless that was done before. Raises nothing."""
        if self.is_first(line):
            tell(line, exc_info=exc_info)

    def is_first(self, line: str) -> bool:
        """Whether *line* was not told before. After :data:`MOST_LINES`, none is a first one."""
        if line in self.warned or len(self.warned) >= MOST_LINES:
            return False
        self.warned.add(line)
        return True

    def clear(self, *, soft: bool) -> None:
        """Forget everything, or find it stale. Raises ``StoreUnavailable``."""
        if soft:
            self.purges.add(Purge((ALL,), soft=True))
            return
        if isinstance(self.store, MemoryStore) or not self.has_purges:
            self.entries.clear()
        if not self.has_purges:
            return
        try:
            self.purges.add(Purge((ALL,)))
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, OutOfMemoryError):
                raise
            self.entries.clear()
            self.purges.add(Purge((ALL,)))


def tell(line: str, *, exc_info: bool = False) -> None:
    """Log *line* as a warning. What writes lines may raise, and the request goes on."""
    with suppress(Exception):
        _log.warning("%s", line, exc_info=exc_info)


def wire(settings: Settings, options: Mapping[Any, Options]) -> Wiring:
    """Build what *settings* describe, for functions with *options*. Connects to nothing yet."""
    if "CACHE_TYPE" not in settings.given and not settings["CACHE_NO_NULL_WARNING"]:
        warn_caller(
            "CACHE_TYPE is not set, so nothing is cached; set it to RedisCache or SimpleCache, "
            "or CACHE_NO_NULL_WARNING to True"
        )
    backend = _BACKENDS[settings["CACHE_TYPE"]](settings)
    store, leases, purges = _signed(backend.store, settings), backend.leases, backend.purges
    wait_seconds = _wait_seconds(settings)
    memory = _memory_tier(settings) if isinstance(purges, RedisPurges) else None
    entries = Entries(store, memory)
    return Wiring(
        settings=settings,
        options=options,
        store=store,
        purges=purges,
        entries=entries,
        tier=Tier(entries, memory, purges, _Asking, time.time, time.monotonic),
        engine=Engine(
            *(entries, purges, time.time, lambda: 1.0 - CHANCE.random()),
            Coalescer(leases, time.monotonic, wait_seconds=wait_seconds),
        ),
        values=Values(store, entries, purges, settings["CACHE_HASH_METHOD"]),
        coalescer_of_values=Coalescer(leases, time.monotonic, wait_seconds=wait_seconds),
        background=_BACKGROUND,
        enabled=not isinstance(store, NullStore),
    )


def _memory_tier(settings: Settings) -> L1 | None:
    """What each process remembers: only where it hears of purges can others forget that."""
    max_bytes = settings["CACHE_L1_BYTES"]
    if not max_bytes:
        return None
    return L1(max_bytes=max_bytes, seconds=settings["CACHE_L1_SECONDS"], clock=time.monotonic)


def _wait_seconds(settings: Settings) -> float:
    wait: float = settings["CACHE_WAIT_SECONDS"]
    lease: float = settings["CACHE_LEASE_SECONDS"]
    if wait < 2 * lease:
        raise InvalidConfig(
            f"CACHE_WAIT_SECONDS is {wait:g}, which is less than two leases of "
            f"CACHE_LEASE_SECONDS, {lease:g} s each: whoever waits would give up before it is "
            f"known that a leader has died; give at least {2 * lease:g}"
        )
    return wait


def _signed(store: Store, settings: Settings) -> Store:
    """*store*, signed where that is asked for and somebody else could write to it."""
    secrets = settings["CACHE_SIGNING_KEY"]
    if secrets is None or isinstance(store, MemoryStore | NullStore):
        return store
    signer = Signer(secrets, settings["CACHE_KEY_PREFIX"])
    return SignedStore(store, signer, clock=time.monotonic)


def _redis_store(settings: Settings) -> _Backend:
    life, longest = settings["CACHE_LEASE_SECONDS"], settings["CACHE_LEASE_MAX_SECONDS"]
    if longest < life:
        raise InvalidConfig(
            f"CACHE_LEASE_MAX_SECONDS is {longest:g}; give at least CACHE_LEASE_SECONDS, {life:g}"
        )
    budget = _request_budget(settings["CACHE_BUDGET_SECONDS"])
    links = links_to(settings, budget)
    prefix = settings["CACHE_KEY_PREFIX"]
    leases = RedisLeases(links, prefix, life_seconds=life, most_seconds=longest)
    purges = RedisPurges(
        links,
        prefix,
        most=settings["CACHE_PURGE_LOG"],
        unwatched_seconds=settings["CACHE_UNWATCHED_SECONDS"],
        clears=settings["CACHE_AFTER_FAILOVER"] == "clear",
        budget=budget,
    )
    return _Backend(RedisStore(links, prefix, purges), leases, purges)


def _request_budget(seconds: float) -> BudgetSource:
    """The budget of each request, which its WSGI environ holds, also before Flask has it."""

    def budget() -> Budget | None:
        environ = _asking.get()
        if environ is None:
            context = request_context()
            if context is None:
                return None
            environ = context.request.environ
        found: Budget | None = environ.get(_BUDGET)
        if found is None:
            found = environ[_BUDGET] = Budget(seconds)
        return found

    return budget


def _local_leases(settings: Settings) -> Leases:
    """Where processes cannot agree on a leader; whoever asks for that is told so."""
    if asked := settings.given & {"CACHE_LEASE_SECONDS", "CACHE_LEASE_MAX_SECONDS"}:
        raise InvalidConfig(
            f"{min(asked)} is set, but leases over processes need Redis: with this CACHE_TYPE each "
            f"process collapses for itself; remove it"
        )
    return LocalLeases()


def _file_store(settings: Settings) -> _Backend:
    try:
        from flask_larder.filesystem import FileStore  # noqa: PLC0415 - an optional dependency
    except ModuleNotFoundError as error:
        raise _without("cachelib", error) from error
    options = settings["CACHE_OPTIONS"]
    _refuse_options(options.keys() - {"mode"}, "FileSystemCache", "mode, ")
    if settings["CACHE_DIR"] is None:
        raise InvalidConfig(
            "CACHE_DIR is not set; the FileSystemCache needs the path of a directory to which "
            "nobody else can write"
        )
    mode = options.get("mode", 0o600)
    if type(mode) is not int or mode & 0o600 != 0o600 or mode & ~0o666:
        raise InvalidConfig(
            f"CACHE_OPTIONS has the mode {mode!r}; give permissions for files, with which their "
            f"owner can read and write them, for example 0o600"
        )
    store = FileStore(
        settings["CACHE_DIR"],
        settings["CACHE_KEY_PREFIX"],
        threshold=settings["CACHE_THRESHOLD"],
        mode=mode,
        patience=settings["CACHE_BUDGET_SECONDS"],
    )
    return _Backend(store, _local_leases(settings), NoPurges("FileSystemCache"))


def _memcached_store(settings: Settings) -> _Backend:
    try:
        from flask_larder.memcached import MemcachedStore  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise _without("pymemcache", error) from error
    _refuse_options(settings["CACHE_OPTIONS"], "MemcachedCache")
    store = MemcachedStore(
        settings["CACHE_MEMCACHED_SERVERS"],
        settings["CACHE_KEY_PREFIX"],
        connect_timeout=settings["CACHE_MEMCACHED_CONNECT_TIMEOUT"],
        timeout=settings["CACHE_MEMCACHED_TIMEOUT"],
        budget=_request_budget(settings["CACHE_BUDGET_SECONDS"]),
    )
    return _Backend(store, _local_leases(settings), NoPurges("MemcachedCache"))


def _without(package: str, error: ModuleNotFoundError) -> Exception:
    """What to raise where a store's module could not be imported."""
    if (error.name or "").partition(".")[0] != package:
        return error
    return InvalidConfig(
        f"CACHE_TYPE needs the package {package}, which is not installed; pip install {package}"
    )


def _refuse_options(names: Collection[str], store: str, accepted: str = "") -> None:
    if names:
        raise InvalidConfig(
            f"CACHE_OPTIONS has {', '.join(sorted(names))}, which the {store} does not "
            f"take; give {accepted}threshold, default_timeout or key_prefix"
        )


def _memory_store(settings: Settings) -> _Backend:
    _refuse_options(settings["CACHE_OPTIONS"], "SimpleCache")
    store = MemoryStore(
        max_entries=settings["CACHE_THRESHOLD"],
        max_bytes=settings["CACHE_MEMORY_BYTES"],
        clock=time.monotonic,
    )
    return _Backend(store, LocalLeases(), _local_purges(settings))


def _null_store(settings: Settings) -> _Backend:
    return _Backend(NullStore(), LocalLeases(), _local_purges(settings))


def _local_purges(settings: Settings) -> LocalPurges:
    return LocalPurges(settings["CACHE_PURGE_LOG"], time.time)


_BACKENDS = {
    "redis": _redis_store,
    "redissentinel": _redis_store,
    "rediscluster": _redis_store,
    "simple": _memory_store,
    "filesystem": _file_store,
    "memcached": _memcached_store,
    "null": _null_store,
}
