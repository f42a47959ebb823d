"""Which store and which clock are used: decided here, once for each cache and app."""

import time
from dataclasses import dataclass, field
from typing import Final, cast

from flask import has_request_context, request

from flask_larder.budget import Budget, BudgetSource
from flask_larder.coalesce import Coalescer, LocalLeases
from flask_larder.engine import Engine
from flask_larder.errors import InvalidConfig
from flask_larder.flask.settings import Settings, warn_caller
from flask_larder.flask.topology import links_to
from flask_larder.flask.values import Values
from flask_larder.memory import MemoryStore, NullStore
from flask_larder.redis import RedisLeases, RedisStore
from flask_larder.store import Leases, Store

_BUDGET: Final = "flask_larder.budget"


@dataclass(frozen=True, slots=True)
class Wiring:
    """All that one cache is in one app.

    *enabled* is false where nothing is ever kept. *warned* names the functions of which a
    warning has been logged.
    """

    settings: Settings
    store: Store
    engine: Engine
    values: Values
    coalescer_of_values: Coalescer[bytes]
    enabled: bool
    warned: set[str] = field(default_factory=set)


def wire(settings: Settings) -> Wiring:
    """Build what *settings* describe. Connects to nothing yet."""
    if "CACHE_TYPE" not in settings.given and not settings["CACHE_NO_NULL_WARNING"]:
        warn_caller(
            "CACHE_TYPE is not set, so nothing is cached; set it to RedisCache or SimpleCache, "
            "or CACHE_NO_NULL_WARNING to True"
        )
    store, leases = _STORES[settings["CACHE_TYPE"]](settings)
    wait_seconds = _wait_seconds(settings)
    return Wiring(
        settings=settings,
        store=store,
        engine=Engine(
            store, time.time, Coalescer(leases, time.monotonic, wait_seconds=wait_seconds)
        ),
        values=Values(store, settings["CACHE_HASH_METHOD"]),
        coalescer_of_values=Coalescer(leases, time.monotonic, wait_seconds=wait_seconds),
        enabled=not isinstance(store, NullStore),
    )


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


def _redis_store(settings: Settings) -> tuple[Store, Leases]:
    life, longest = settings["CACHE_LEASE_SECONDS"], settings["CACHE_LEASE_MAX_SECONDS"]
    if longest < life:
        raise InvalidConfig(
            f"CACHE_LEASE_MAX_SECONDS is {longest:g}; give at least CACHE_LEASE_SECONDS, {life:g}"
        )
    links = links_to(settings, _request_budget(settings["CACHE_BUDGET_SECONDS"]))
    prefix = settings["CACHE_KEY_PREFIX"]
    leases = RedisLeases(links, prefix, life_seconds=life, most_seconds=longest)
    return RedisStore(links, prefix), leases


def _request_budget(seconds: float) -> BudgetSource:
    """The budget of each request, which its WSGI environ holds."""

    def budget() -> Budget | None:
        if not has_request_context():
            return None
        environ = request.environ
        found = environ.get(_BUDGET)
        if found is None:
            found = environ[_BUDGET] = Budget(seconds)
        return cast("Budget", found)

    return budget


def _memory_store(settings: Settings) -> tuple[Store, Leases]:
    if options := settings["CACHE_OPTIONS"]:
        raise InvalidConfig(
            f"CACHE_OPTIONS has {', '.join(sorted(options))}, which the SimpleCache does not "
            f"take; give threshold, default_timeout or key_prefix"
        )
    store = MemoryStore(
        max_entries=settings["CACHE_THRESHOLD"],
        max_bytes=settings["CACHE_MEMORY_BYTES"],
        clock=time.monotonic,
    )
    return store, LocalLeases()


def _null_store(_: Settings) -> tuple[Store, Leases]:
    return NullStore(), LocalLeases()


_STORES = {
    "redis": _redis_store,
    "redissentinel": _redis_store,
    "rediscluster": _redis_store,
    "simple": _memory_store,
    "null": _null_store,
}
