"""Whether a client may go on using what it has (RFC 9110 section 13), and by which tag it tells."""

import hashlib

from flask_larder.entry import RequestFields
from flask_larder.headers import Fields, parse_date, parse_entity_tags, values_of


def entity_tag_of(body: bytes) -> str:
    """A strong validator (RFC 9110 section 8.8.1): another body has another one."""
    return f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def is_not_modified(request: RequestFields, fields: Fields, now: float) -> bool:
    """Whether 304 answers a GET or HEAD for which a 200 with *fields* was made (section 13.2.2).

    ``If-None-Match`` stands above ``If-Modified-Since``, also where it does not match. *now* is in
    seconds since the epoch.
    """
    wanted = request.get("if-none-match")
    if wanted is not None:
        return has_entity_tag(fields, wanted)
    since = request.get("if-modified-since")
    return since is not None and is_unmodified_since(fields, since, now)


def has_entity_tag(fields: Fields, wanted: str) -> bool:
    """Whether the value of an ``If-None-Match`` names the response (section 13.1.2).

    By weak comparison (section 8.8.3.2). ``*`` names any.
    """
    if wanted.strip(" \t") == "*":
        return True
    own = [tag for value in values_of(fields, "etag") for tag in parse_entity_tags(value) or ()]
    return len(own) == 1 and own[0] in (parse_entity_tags(wanted) or ())


def is_unmodified_since(fields: Fields, since: str, now: float) -> bool:
    """Whether ``Last-Modified`` is not later than an ``If-Modified-Since`` (section 13.1.3).

    What is no date is ignored.
    """
    latest = parse_date(since, now)
    modified = [parse_date(value, now) for value in values_of(fields, "last-modified")]
    if latest is None or len(modified) != 1 or modified[0] is None:
        return False
    return modified[0] <= latest
