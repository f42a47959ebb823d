"""Which store the service caches in: the given one, else an embedded server."""

import contextlib
import os
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

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
    host = environ.get("CACHE_REDIS_HOST") or "localhost"
    name = f"[{host}]" if ":" in host else host
    port, database = environ.get("CACHE_REDIS_PORT") or "6379", environ.get("CACHE_REDIS_DB") or "0"
    address = f"redis://{name}:{port}/{database}"
    return _completed(environ.get("CACHE_REDIS_URL") or address, environ)


def _completed(address: str, environ: Mapping[str, str]) -> str:
    """Add the user, the password and the database, where other settings say them alone.

    The library does so, too: compose files give the address and the password apart.
    """
    try:
        parts = urlsplit(address)
        credentials = _credentials(parts, environ)
    except ValueError:
        return address  # the library says what is wrong with it
    if "://" not in address:
        return address
    path, query = parts.path, parts.query
    database = environ.get("CACHE_REDIS_DB")
    if database and "db" not in parse_qs(query):
        if parts.scheme == "unix":
            query = f"{query}&db={database}".removeprefix("&")
        elif not path.strip("/"):
            path = f"/{database}"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{credentials}{host}{path}" + (f"?{query}" if query else "")


def _credentials(parts: SplitResult, environ: Mapping[str, str]) -> str:
    options = parse_qs(parts.query)
    user, password = parts.username, parts.password
    if not user and "username" not in options:
        user = quote(environ.get("CACHE_REDIS_USERNAME") or "", safe="")
    if not password and "password" not in options:
        password = quote(environ.get("CACHE_REDIS_PASSWORD") or "", safe="")
    given = (user or "") + (f":{password}" if password else "")
    return f"{given}@" if given else ""


def describe(environ: Mapping[str, str]) -> str:
    """Return what may be shown of the store: no password."""
    address = url(environ)
    return shown(address) if address else f"CACHE_TYPE={environ['CACHE_TYPE']}"


def shown(address: str) -> str:
    """Return the address without user, password and options, except for the database."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "(not a URL)"
    host = parts.netloc.rpartition("@")[2]
    database = parse_qs(parts.query).get("db", [""])[0]
    return f"{parts.scheme}://{host}{parts.path}" + (f"?db={database}" if database else "")


def _is_redis(environ: Mapping[str, str]) -> bool:
    kind = (environ.get("CACHE_TYPE") or "redis").rpartition(".")[2]
    return kind.lower() in {"redis", "rediscache"}
