"""A stored response as it is given to a WSGI server, for as long as that stays the same."""

import math
from collections.abc import Collection
from functools import cache
from typing import Final, TypeAlias
from urllib.parse import quote

from msgspec import Struct
from werkzeug.http import HTTP_STATUS_CODES, remove_entity_headers
from werkzeug.urls import iri_to_uri

from flask_larder.entry import StoredResponse
from flask_larder.freshness import current_age
from flask_larder.headers import with_vary, without
from flask_larder.status import CacheStatus

Sent: TypeAlias = tuple[str, list[tuple[str, str]], bytes, str]
"""A status line, header fields, a body, and the ``Cache-Status``."""

_SAFE_IN_TAG: Final = "!#$&'*+-.^_`|~:/@=;()<>?[]{}"
"""What stands in ``Cache-Tag`` as it is: no comma, space or percent sign."""

_LONGEST_TAGS: Final = 4000
"""In bytes: how long ``Cache-Tag`` may be. Proxies refuse responses with too long a header."""

_NO_CONTENT: Final = 204
_LENGTH: Final = frozenset({"content-length"})
_URLS: Final = frozenset({"content-location", "location"})


class Additions(Struct, frozen=True):
    """What a hit tells beside what is stored.

    *vary* are the fields that select. The client may see the *status*, and the *tags*;
    *hit_indication* adds ``hit_cache``.
    """

    vary: frozenset[str]
    status: bool
    tags: bool
    hit_indication: bool


class Rendered:
    """*stored*, fresh at *now*, as a hit.

    Flask sends the same. *cache_ms* is what ``Server-Timing`` tells: how long it took to find it.
    """

    __slots__ = ("_age", "_not_modified", "_ttl", "head", "stored", "whole")

    def __init__(
        self, stored: StoredResponse, additions: Additions, now: float, cache_ms: float
    ) -> None:
        age = current_age(stored, now)
        ttl = stored.lifetime - age
        status = _status_line(stored.status)
        outcome = str(CacheStatus(ttl=ttl))
        fields = _fields(stored, additions)
        fields.append(("Age", str(int(age))))
        if additions.status:
            fields.append(("Cache-Status", outcome))
            fields.append(("Server-Timing", server_timing(cache_ms)))
        self.stored, self._age, self._ttl = stored, age, ttl
        body = b"" if stored.status == _NO_CONTENT else stored.body
        self.whole: Sent = (status, fields, body, outcome)
        self.head: Sent = (status, fields, b"", outcome)
        self._not_modified: Sent | None = None

    @property
    def changes_in(self) -> float:
        """How many seconds after *now* it is another one."""
        return min(1.0 - self._age % 1.0, 1.0 - (math.ceil(self._ttl) - self._ttl))

    @property
    def not_modified(self) -> Sent:
        """What tells a client that it has the same already."""
        if self._not_modified is None:
            fields = list(self.whole[1])
            remove_entity_headers(fields)
            self._not_modified = ("304 NOT MODIFIED", fields, b"", self.whole[3])
        return self._not_modified


@cache
def _status_line(status: int) -> str:
    return f"{status} {HTTP_STATUS_CODES.get(status, 'UNKNOWN').upper()}"


def _fields(stored: StoredResponse, additions: Additions) -> list[tuple[str, str]]:
    """What does not change: the stored fields, and what is told of them."""
    fields = list(with_vary(stored.fields, additions.vary))
    names = {name.lower() for name, _ in fields}
    if not names.isdisjoint(_URLS):
        fields = [(n, iri_to_uri(v)) if n.lower() in _URLS else (n, v) for n, v in fields]
    if additions.tags and (tags := cache_tag(stored.targets.tags)):
        fields.append(("Cache-Tag", tags))
    if additions.hit_indication:
        fields.append(("hit_cache", "True"))
    if stored.status == _NO_CONTENT:  # it has no length (RFC 9110 section 8.6)
        return list(without(fields, _LENGTH))
    if "content-length" not in names:
        fields.append(("Content-Length", str(len(stored.body))))
    return fields


def cache_tag(tags: Collection[str]) -> str:
    """The value of ``Cache-Tag``; empty where there are none, or too many."""
    value = ",".join(quote(tag, safe=_SAFE_IN_TAG) for tag in tags)
    return value if len(value) <= _LONGEST_TAGS else ""


def server_timing(cache_ms: float, view_ms: float | None = None) -> str:
    """The members of ``Server-Timing``, which browsers show: how long the cache and the view took.

    *view_ms* is ``None`` where the view did not run.
    """
    told = f"cache;dur={cache_ms:.2f}"
    return told if view_ms is None else f"{told}, view;dur={view_ms:.2f}"
