"""Which store and which clock are used: decided here, once for each cache and app."""

import time
from dataclasses import dataclass, field

from flask_larder.engine import Engine
from flask_larder.errors import InvalidConfig
from flask_larder.flask.settings import Settings, warn_caller
from flask_larder.flask.values import Values
from flask_larder.memory import MemoryStore, NullStore
from flask_larder.redis import Address, RedisStore
from flask_larder.store import Store


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
    enabled: bool
    warned: set[str] = field(default_factory=set)


def wire(settings: Settings) -> Wiring:
    """Build what *settings* describe. Connects to nothing yet."""
    if "CACHE_TYPE" not in settings.given and not settings["CACHE_NO_NULL_WARNING"]:
        warn_caller(
            "CACHE_TYPE is not set, so nothing is cached; set it to RedisCache or SimpleCache, "
            "or CACHE_NO_NULL_WARNING to True"
        )
    store = _STORES[settings["CACHE_TYPE"]](settings)
    return Wiring(
        settings=settings,
        store=store,
        engine=Engine(store, clock=time.time),
        values=Values(store, settings["CACHE_HASH_METHOD"]),
        enabled=not isinstance(store, NullStore),
    )


def _redis_store(settings: Settings) -> Store:
    address = Address(
        url=settings["CACHE_REDIS_URL"] or _url_of_host(settings),
        db=settings["CACHE_REDIS_DB"],
        username=settings["CACHE_REDIS_USERNAME"],
        password=settings["CACHE_REDIS_PASSWORD"],
        connect_timeout=settings["CACHE_REDIS_CONNECT_TIMEOUT"],
        timeout=settings["CACHE_REDIS_TIMEOUT"],
        options=settings["CACHE_OPTIONS"],
    )
    return RedisStore(address, settings["CACHE_KEY_PREFIX"])


def _url_of_host(settings: Settings) -> str:
    host = settings["CACHE_REDIS_HOST"]
    name = f"[{host}]" if ":" in host else host
    return f"redis://{name}:{settings['CACHE_REDIS_PORT']}"


def _memory_store(settings: Settings) -> Store:
    if options := settings["CACHE_OPTIONS"]:
        raise InvalidConfig(
            f"CACHE_OPTIONS has {', '.join(sorted(options))}, which the SimpleCache does not "
            f"take; give threshold, default_timeout or key_prefix"
        )
    return MemoryStore(
        max_entries=settings["CACHE_THRESHOLD"],
        max_bytes=settings["CACHE_MEMORY_BYTES"],
        clock=time.monotonic,
    )


def _null_store(_: Settings) -> Store:
    return NullStore()


_STORES = {"redis": _redis_store, "simple": _memory_store, "null": _null_store}
