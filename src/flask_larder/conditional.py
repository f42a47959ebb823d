"""Validators: whether a client, or this cache, may go on using what it has.

RFC 9110 sections 8.8 and 13, RFC 9111 section 4.3.
"""

import hashlib
from typing import Final

from flask_larder.entry import RequestFields, StoredResponse
from flask_larder.headers import (
    Fields,
    has_other_length,
    only,
    parse_date,
    parse_entity_tags,
    values_of,
)

_VALIDATORS: Final = frozenset({"etag", "last-modified"})


def entity_tag_of(body: bytes) -> str:
    """A strong validator (RFC 9110 section 8.8.1): another body has another one."""
    return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def is_not_modified(
    request: RequestFields, fields: Fields, now: float, made_at: float | None = None
) -> bool:
    """Whether 304 answers a GET or HEAD for which a 200 with *fields* was made (section 13.2.2).

    ``If-None-Match`` stands above ``If-Modified-Since``, also where it does not match. *now*, and
    when a stored response was made, are in seconds since the epoch.
    """
    wanted = request.get("if-none-match")
    if wanted is not None:
        return has_entity_tag(fields, wanted)
    since = request.get("if-modified-since")
    return since is not None and is_unmodified_since(fields, since, now, made_at)


def has_condition_of_origin(request: RequestFields) -> bool:
    """Whether the answer depends on what only the view can judge (section 13.2.2).

    What is stored is sent without asking it (RFC 9111 section 4.3.2), and a part of it is not what
    the client has agreed to.
    """
    return request.get("if-match") is not None or request.get("if-unmodified-since") is not None


def has_entity_tag(fields: Fields, wanted: str) -> bool:
    """Whether the value of an ``If-None-Match`` names the response (section 13.1.2).

    By weak comparison (section 8.8.3.2). ``*`` names any.
    """
    if wanted.strip(" \t") == "*":
        return True
    own = [tag for value in values_of(fields, "etag") for tag in parse_entity_tags(value) or ()]
    return len(own) == 1 and own[0] in (parse_entity_tags(wanted) or ())


def is_unmodified_since(
    fields: Fields, since: str, now: float, made_at: float | None = None
) -> bool:
    """Whether ``Last-Modified`` is not later than an ``If-Modified-Since`` (section 13.1.3).

    What is no date is ignored. Of a stored response that has none, its ``Date`` counts, or else
    when it came (RFC 9111 section 4.3.2), in whole seconds as in dates.
    """
    latest = parse_date(since, now)
    changes = values_of(fields, "last-modified")
    if not changes and made_at is not None:
        changes = values_of(fields, "date")
    if latest is None or len(changes) > 1:
        return False
    changed_at = parse_date(changes[0], now) if changes else made_at
    return changed_at is not None and int(changed_at) <= latest


def own_validators(fields: Fields) -> Fields:
    """The ``ETag`` and ``Last-Modified`` that whoever made a response has given it."""
    return only(fields, _VALIDATORS)


def conditions_for(stored: StoredResponse) -> Fields:
    """The fields that ask whether *stored* is still what would be sent (RFC 9111 section 4.3.1).

    A tag that was made here tells whoever made the response nothing, and is left out.
    """
    conditions = []
    for name, value in own_validators(stored.fields):
        if name.lower() == "last-modified":
            conditions.append(("If-Modified-Since", value))
        elif value != entity_tag_of(stored.body):
            conditions.append(("If-None-Match", value))
    return tuple(conditions)


def validates(stored: StoredResponse, fields: Fields) -> bool:
    """Whether a 304 with *fields* is about *stored* (RFC 9111 section 4.3.4).

    One without any validator answers what it was asked.
    """
    tags, dates = values_of(fields, "etag"), values_of(fields, "last-modified")
    if tags:
        own = values_of(stored.fields, "etag")
        is_weak = tags[0].startswith("W/")
        return own == tags or (is_weak and _opaque(own) == _opaque(tags))
    return not dates or dates == values_of(stored.fields, "last-modified")


def _opaque(tags: list[str]) -> list[str]:
    return [tag.removeprefix("W/") for tag in tags]


def is_confirmed_by_head(stored: StoredResponse, fields: Fields) -> bool | None:
    """Whether a 200 to HEAD tells that *stored* is what GET would get (RFC 9111 section 4.3.5).

    ``False`` where it tells otherwise, ``None`` where it has no validator to tell by.
    """
    for name in ("etag", "last-modified"):
        told = values_of(fields, name)
        if told and told != values_of(stored.fields, name):
            return False
    if has_other_length(fields, stored.body):
        return False
    return True if own_validators(fields) else None
