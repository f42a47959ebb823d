"""Which store the service caches in: the given one, else an embedded server."""

import contextlib
import os
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlsplit

from service.embedded import EmbeddedServer


@dataclass(frozen=True, slots=True)
class Store:
    """A store that can be used: what to tell the user, and its address if it is Redis."""

    description: str
    url: str | None


@contextlib.contextmanager
def open_store(environ: MutableMapping[str, str] = os.environ) -> Iterator[Store]:
    """Choose the store and yield it; an embedded one runs meanwhile.

    The address of an embedded server is put into the environment, where the workers read it.
    """
    if is_given(environ):
        yield Store(describe(environ), url(environ))
        return
    server = EmbeddedServer.start()
    try:
        environ["CACHE_REDIS_URL"] = server.url
        yield Store(f"embedded, for this service alone: {server.socket}", server.url)
    finally:
        server.stop()


def is_given(environ: Mapping[str, str]) -> bool:
    """Tell whether the settings name a store."""
    return bool(
        environ.get("CACHE_REDIS_URL") or environ.get("CACHE_REDIS_HOST") or not _is_redis(environ)
    )


def url(environ: Mapping[str, str]) -> str | None:
    """Return the address of the store, None for a store that is not Redis."""
    if not _is_redis(environ):
        return None
    if given := environ.get("CACHE_REDIS_URL"):
        return given
    password = quote(environ.get("CACHE_REDIS_PASSWORD") or "", safe="")
    host = environ.get("CACHE_REDIS_HOST") or "localhost"
    port = environ.get("CACHE_REDIS_PORT") or "6379"
    database = environ.get("CACHE_REDIS_DB") or "0"
    return f"redis://{f':{password}@' if password else ''}{host}:{port}/{database}"


def describe(environ: Mapping[str, str]) -> str:
    """Return what may be shown of the store: no password."""
    address = url(environ)
    return shown(address) if address else f"CACHE_TYPE={environ['CACHE_TYPE']}"


def shown(address: str) -> str:
    """Return the address without user, password and options, except for the database."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    database = parse_qs(parts.query).get("db", [""])[0]
    return f"{parts.scheme}://{host}{parts.path}" + (f"?db={database}" if database else "")


def _is_redis(environ: Mapping[str, str]) -> bool:
    kind = (environ.get("CACHE_TYPE") or "redis").rpartition(".")[2]
    return kind.lower() in {"redis", "rediscache"}
