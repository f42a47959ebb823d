"""Directives for some caches only: targeted fields such as ``CDN-Cache-Control`` (RFC 9213)."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import http_sf

from flask_larder.headers import Fields, values_of


def targeted_directives(fields: Fields, targets: Iterable[str]) -> dict[str, str | None] | None:
    """What the first usable one of the fields *targets*, in lower case, says (section 2.2).

    In the form of :func:`~flask_larder.headers.parse_cache_control`. ``None`` where there is none
    that is valid and not empty: then ``Cache-Control`` and ``Expires`` count.
    """
    for name in targets:
        if directives := _parse(", ".join(values_of(fields, name))):
            return directives
    return None


def _parse(value: str) -> dict[str, str | None]:
    """The directives of a structured dictionary (section 2.1); none where it is malformed."""
    try:
        members: Any = http_sf.parse(value.encode("latin-1"), tltype="dictionary")
    except (http_sf.StructuredFieldError, UnicodeEncodeError):
        return {}
    bare = {
        name: member[0] if isinstance(member, tuple) else member for name, member in members.items()
    }
    return {name: _argument(item) for name, item in bare.items() if item is not False}


def _argument(item: Any) -> str | None:
    """The argument of a directive. A decimal stays one, and so is no time."""
    if item is True:
        return None
    is_text = isinstance(item, str | int | Decimal | http_sf.Token)
    return str(item) if is_text else ""
