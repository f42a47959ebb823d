"""``make keys``: what the store of the running service holds."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.config import ConfigError, load_env, read_port
from service.logs import escape
from service.state import read_state
from service.store import shown, url

MOST_KEYS = 1000
BATCH = 100
TIMEOUT_SECONDS = 2.0


class Key(NamedTuple):
    """A key of the store, as it is listed."""

    name: str
    type: str
    ttl: str
    size: str


def main() -> int:
    """List the keys; return the exit code."""
    logging.disable()
    try:
        load_env()
        address = find_store()
        print("\n".join(listing(address)))
    except ConfigError as error:
        print(f"error: {escape(str(error))}", file=sys.stderr)
        return 1
    return 0


def find_store(environ: Mapping[str, str] = os.environ) -> str:
    """Return the address of the store of the service on PORT, else of the given one."""
    port = read_port(environ)
    if address := read_state(port) or (
        url(environ) if environ.get("CACHE_REDIS_URL") or environ.get("CACHE_REDIS_HOST") else None
    ):
        return address
    raise ConfigError(
        f"no service with a Redis store runs on port {port}: start it by `make run`, give its PORT "
        "to `make keys`, or set CACHE_REDIS_URL"
    )


def listing(address: str) -> Iterator[str]:
    """Yield the lines of the list, keys in order."""
    try:
        with redis.Redis.from_url(
            address,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            names = sorted(set(islice(client.scan_iter(count=1000), MOST_KEYS)))
            keys = [key for key in read_keys(client, names) if key.type != "none"]
            total = client.dbsize()
    except (redis.RedisError, OSError, ValueError) as error:
        raise ConfigError(
            f"the store at {shown(address)} does not answer; is the service still running?"
        ) from error
    yield f"{shown(address)} holds {total:,} {'key' if total == 1 else 'keys'}"
    if keys:
        yield from table([Key("KEY", "TYPE", "TTL (s)", "BYTES"), *keys])
    if total > len(names):
        yield f"... and {total - len(names):,} more"


def read_keys(client: "redis.Redis", names: list[bytes]) -> Iterator[Key]:
    """Yield what is known of the keys, asked for in batches."""
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        pipe = client.pipeline(transaction=False)
        for name in batch:
            pipe.type(name)
            pipe.pttl(name)
            pipe.memory_usage(name, samples=0)
        answers = iter(pipe.execute())
        for name, kind, ttl_ms, size in zip(batch, answers, answers, answers, strict=True):
            ttl = "none" if ttl_ms < 0 else f"{ttl_ms / 1000:.0f}"
            yield Key(visible(name), kind.decode(), ttl, str(size))


def table(rows: list[Key]) -> Iterator[str]:
    """Yield the rows with their columns aligned, the key last: it may be long."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield (
            f"{row.type:<{widths[1]}}  {row.ttl:>{widths[2]}}  {row.size:>{widths[3]}}  {row.name}"
        )


def visible(name: bytes) -> str:
    """Return a key for the terminal: nothing in it moves the cursor."""
    return escape(name.decode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    sys.exit(main())
