"""Who is measured: a table of names, servers and settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Server = Literal["granian", "gunicorn", "nginx", "varnish"]
Hit = Literal["larder", "nginx", "varnish", "constant", "none", "unmarked"]

LARDER = {"BENCH_CACHE": "flask_larder", "CACHE_TYPE": "RedisCache"}
CACHING = {"BENCH_CACHE": "flask_caching", "CACHE_TYPE": "RedisCache"}
WITHOUT_PATIENCE = {"socket_timeout": 0.1, "socket_connect_timeout": 0.1}  # Flask-Larder's default
HOOKS = {"BENCH_HOOKS": "1"}


@dataclass(frozen=True, slots=True)
class Contender:
    """One who is measured. *hit* is how its hits are told apart from misses.

    *environ* are the settings of the application; that of a proxy stands behind it.
    """

    name: str
    title: str
    server: Server
    hit: Hit
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_proxy(self) -> bool:
        """Whether it has the application behind it."""
        return self.server in ("nginx", "varnish")

    @property
    def family(self) -> str | None:
        """Whose Redis it uses; None for no Redis."""
        return self.environ.get("BENCH_CACHE")


ALL = (
    Contender("larder", "Flask-Larder, from memory", "granian", "larder", LARDER),
    Contender(
        *("larder-redis", "Flask-Larder, from Redis", "granian", "larder"),
        {**LARDER, "CACHE_L1_BYTES": "0"},
    ),
    Contender(
        *("larder-inside", "Flask-Larder inside Flask, from memory", "granian", "larder"),
        {**LARDER, "CACHE_BEFORE_FLASK": "false"},
    ),
    Contender(
        *("larder-inside-redis", "Flask-Larder inside Flask, from Redis", "granian", "larder"),
        {**LARDER, "CACHE_BEFORE_FLASK": "false", "CACHE_L1_BYTES": "0"},
    ),
    Contender(
        *(
            "larder-hooks",
            "Flask-Larder with Flask-Login and flask-cors, from memory",
            "granian",
            "larder",
        ),
        {**LARDER, **HOOKS},
    ),
    Contender(
        *("larder-simple", "Flask-Larder inside Flask, SimpleCache", "granian", "larder"),
        {"BENCH_CACHE": "flask_larder", "CACHE_TYPE": "SimpleCache", "CACHE_BEFORE_FLASK": "false"},
    ),
    Contender(
        "larder-gunicorn", "Flask-Larder on gunicorn, from memory", "gunicorn", "larder", LARDER
    ),
    Contender("caching", "Flask-Caching, from Redis", "granian", "unmarked", CACHING),
    Contender(
        *("caching-simple", "Flask-Caching, SimpleCache", "granian", "unmarked"),
        {"BENCH_CACHE": "flask_caching", "CACHE_TYPE": "SimpleCache"},
    ),
    Contender(
        *("caching-impatient", "Flask-Caching, with timeouts of 0.1 s", "granian", "unmarked"),
        {**CACHING, "CACHE_OPTIONS": json.dumps(WITHOUT_PATIENCE)},
    ),
    Contender(
        "caching-hooks",
        "Flask-Caching with Flask-Login and flask-cors, from Redis",
        *("granian", "unmarked"),
        {**CACHING, **HOOKS},
    ),
    Contender(
        *("caching-gunicorn", "Flask-Caching on gunicorn, from Redis", "gunicorn", "unmarked"),
        CACHING,
    ),
    Contender("uncached", "the view, uncached", "granian", "none"),
    Contender("constant", "a WSGI app that returns a constant", "granian", "constant"),
    Contender("nginx", "nginx proxy_cache", "nginx", "nginx", {"BENCH_MAX_AGE": "1"}),
    Contender("varnish", "Varnish", "varnish", "varnish", {"BENCH_MAX_AGE": "1"}),
)

_BY_NAME = {contender.name: contender for contender in ALL}


def named(*names: str) -> Sequence[Contender]:
    """The contenders of these names."""
    return [_BY_NAME[name] for name in names]


def title(name: str) -> str:
    """How a table calls it."""
    return _BY_NAME[name].title if name in _BY_NAME else name
