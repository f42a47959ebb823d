"""What a request that may have changed something makes out of date (RFC 9111 section 4.4)."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from msgspec.structs import replace

from flask_larder.entry import Request
from flask_larder.headers import Fields, values_of
from flask_larder.key import encode_path, site_of, site_of_url, url_targets
from flask_larder.purges import Target

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Those that change nothing (RFC 9110 section 9.2.1). One that is not known may change anything."""

LONGEST_REFERENCE: Final = 8000
"""In characters: a longer ``Location`` is not looked at."""

LONGEST_KEPT: Final = 500
"""In bytes: how much a purge names of a URL that a client has made up. Each process keeps many."""

_REFERRING: Final = ("location", "content-location")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def invalidated(request: Request, status: int, fields: Fields) -> list[Request]:
    """The GETs whose stored responses a *request* has made out of date, answered by these.

    They are of the same origin and within the same mount. None where nothing is invalidated.
    """
    if not (is_unsafe(request.method) and is_non_error(status)):
        return []
    target = replace(request, method="GET", has_body=False)
    found = {(target.path, target.query): target}
    for name in _REFERRING:
        for reference in values_of(fields, name)[:1]:  # neither field may come twice
            if (other := named_by(reference, target)) is not None:
                found.setdefault((other.path, other.query), other)
    return list(found.values())


def is_unsafe(method: str) -> bool:
    """Whether a request may have changed something (RFC 9110 section 9.2.1)."""
    return method not in SAFE_METHODS


def is_non_error(status: int) -> bool:
    """Whether the response is one that invalidates (RFC 9111 section 4.4)."""
    return 200 <= status < 400


def named_by(reference: str, target: Request) -> Request | None:
    """The GET of what *reference* names, relative to *target* (RFC 9110 sections 10.2.2 and 8.7).

    ``None`` for what is malformed, is not within the mount, or is of another origin: nobody can
    have what belongs to others forgotten (RFC 9111 section 4.4).
    """
    reference = reference.strip(" \t")
    if len(reference) > LONGEST_REFERENCE or _CONTROL.search(reference):
        return None
    try:
        return _resolved(reference, target)
    except ValueError:
        return None


def _resolved(reference: str, target: Request) -> Request | None:
    site, mount = site_of(target.scheme, target.host), target.script_name
    parts = urlsplit(urljoin(f"{site}{mount}{target.path}", reference))
    path = encode_path(unquote_to_bytes(parts.path or "/"))
    if lacks_host(reference) or site_of_url(parts) != site or not is_within(path, mount):
        return None
    return replace(target, path=path.removeprefix(mount), query=parts.query.encode())


def lacks_host(reference: str) -> bool:
    """Whether it is a URL without a host, which is invalid (RFC 9110 section 4.2.1)."""
    parts = urlsplit(reference)
    return bool(parts.scheme or reference.startswith("//")) and not parts.netloc


def is_within(path: str, mount: str) -> bool:
    """Whether *path* belongs to the app at *mount*, the ``SCRIPT_NAME``."""
    return path == mount or path.startswith(f"{mount}/")


def target_of(request: Request) -> Target:
    """How a purge names the URL of *request*: all of it, unless that is too long to be kept."""
    targets = url_targets(request)
    path = targets.site + targets.path
    url = f"{path}?{targets.query}" if targets.query else path
    if len(url) <= LONGEST_KEPT:
        return "url", url
    return ("path", path) if len(path) <= LONGEST_KEPT else ("prefix", path[:LONGEST_KEPT])
