"""Where Redis is, by the settings: one server, a Cluster, or the master behind Sentinels."""

from functools import partial
from typing import Any, Final

from flask_larder.budget import BudgetSource
from flask_larder.errors import InvalidConfig
from flask_larder.flask.settings import Settings, warn_caller
from flask_larder.redis import (
    Address,
    AnyLinks,
    ClusterAddress,
    ClusterLinks,
    Links,
    SentinelMaster,
)

_OF_OTHERS: Final = {
    "CACHE_REDIS_CLUSTER": "RedisClusterCache",
    "CACHE_REDIS_SENTINELS": "RedisSentinelCache",
}

_OF_SENTINELS: Final = "sentinel_"
"""Begins an option that is meant for the Sentinels, as in Flask-Caching."""


def links_to(settings: Settings, budget: BudgetSource) -> AnyLinks:
    """The links to what *settings* describe, where requests have a *budget*."""
    kind, url = settings["CACHE_TYPE"], settings["CACHE_REDIS_URL"] or ""
    if kind == "redissentinel":
        return Links(_sentinel_master(settings), budget)
    if kind == "rediscluster" or url.partition("://")[0].endswith("+cluster"):
        return ClusterLinks(_cluster(settings), budget)
    return Links(_standalone(settings), budget)


def _standalone(settings: Settings) -> Address:
    options = dict(settings["CACHE_OPTIONS"])
    scheme = _scheme(options)
    url = settings["CACHE_REDIS_URL"]
    if url and scheme == "rediss":
        _check_scheme(url)
    for name, kind in _OF_OTHERS.items():
        if name in settings.given:
            warn_caller(f"{name} has no effect with the RedisCache; set CACHE_TYPE to {kind}")
    return _address(settings, url or f"{scheme}://{_host_and_port(settings)}", options)


def _sentinel_master(settings: Settings) -> SentinelMaster:
    if "CACHE_REDIS_URL" in settings.given:
        raise InvalidConfig(
            "CACHE_REDIS_URL is set, but the RedisSentinelCache asks CACHE_REDIS_SENTINELS where "
            "Redis is; remove it, and set CACHE_REDIS_DB, CACHE_REDIS_PASSWORD and so on"
        )
    given = settings["CACHE_OPTIONS"]
    options = {name: v for name, v in given.items() if not name.startswith(_OF_SENTINELS)}
    of_sentinels = {
        name.removeprefix(_OF_SENTINELS): value
        for name, value in given.items()
        if name.startswith(_OF_SENTINELS)
    }
    scheme, scheme_of_sentinels = _scheme(options), _scheme(of_sentinels, _OF_SENTINELS)
    sentinels = [
        Address(
            f"{scheme_of_sentinels}://{sentinel}",
            username=settings["CACHE_REDIS_SENTINEL_USERNAME"],
            password=settings["CACHE_REDIS_SENTINEL_PASSWORD"],
            options=of_sentinels,
        )
        for sentinel in settings["CACHE_REDIS_SENTINELS"]
    ]
    address = _address(settings, f"{scheme}://", options)
    return SentinelMaster(settings["CACHE_REDIS_SENTINEL_MASTER"], sentinels, address)


def _cluster(settings: Settings) -> ClusterAddress:
    options = dict(settings["CACHE_OPTIONS"])
    scheme = _scheme(options)
    url = settings["CACHE_REDIS_URL"]
    if url is None:
        if settings["CACHE_REDIS_CLUSTER"] is None:
            raise InvalidConfig(
                "CACHE_REDIS_CLUSTER is not set; give host:port,host:port of some nodes"
            )
        url = f"{scheme}://{','.join(settings['CACHE_REDIS_CLUSTER'])}"
    elif scheme == "rediss":
        _check_scheme(url)
    return ClusterAddress.of(url, partial(_address, settings, options=options))


def _address(settings: Settings, url: str, options: dict[str, Any]) -> Address:
    return Address(
        url,
        db=settings["CACHE_REDIS_DB"],
        username=settings["CACHE_REDIS_USERNAME"],
        password=settings["CACHE_REDIS_PASSWORD"],
        connect_timeout=settings["CACHE_REDIS_CONNECT_TIMEOUT"],
        timeout=settings["CACHE_REDIS_TIMEOUT"],
        options=options,
    )


def _scheme(options: dict[str, Any], prefix: str = "") -> str:
    """The scheme that the option ``ssl``, which is taken away, asks for."""
    ssl = options.pop("ssl", False)
    if not isinstance(ssl, bool):
        raise InvalidConfig(
            f"the option {prefix}ssl in CACHE_OPTIONS is {ssl!r}; give True or False"
        )
    return "rediss" if ssl else "redis"


def _check_scheme(url: str) -> None:
    scheme = url.partition("://")[0]
    if not scheme.startswith("rediss"):
        raise InvalidConfig(
            f"CACHE_OPTIONS has ssl, and CACHE_REDIS_URL begins with {scheme}://, without TLS; "
            f"write rediss in place of redis, or remove ssl"
        )


def _host_and_port(settings: Settings) -> str:
    host = settings["CACHE_REDIS_HOST"]
    return f"{f'[{host}]' if ':' in host else host}:{settings['CACHE_REDIS_PORT']}"
