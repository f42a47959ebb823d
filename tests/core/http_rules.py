"""The rules of RFC 9111 for a shared cache, for ``http_model``, with the section beside each.

What is our decision rather than the text's says "ours". They share no code with the library.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from time import gmtime, strftime

from tests.core.http_grammar import (
    Directive,
    Fields,
    age_value,
    delta_seconds,
    directives,
    entity_tags,
    http_date,
    is_entity_tag,
    is_token,
    is_weak,
    lines,
    names,
    weakly_equal,
)

DAY = 86400.0
HOUR = 3600.0

HEURISTICALLY_CACHEABLE = (200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501)
"""RFC 9110 section 15.1."""

ERRORS = range(500, 1000)
"""RFC 5861 section 4 has 500, 502, 503 and 504; ours: all errors that are not the client's."""

HOP_BY_HOP = ("connection", "proxy-connection", "keep-alive", "te", "transfer-encoding", "upgrade")
"""RFC 9110 section 7.6.1; *MAY* be removed before storing (RFC 9111 section 3.1)."""

OF_THE_PROXY = ("proxy-authenticate", "proxy-authentication-info", "proxy-authorization")
"""RFC 9111 section 3.1: *MUST NOT* be stored."""

SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
"""RFC 9110 section 9.2.1. Others, and unknown ones, are unsafe."""


@dataclass(frozen=True)
class Moment:
    """*shown* is what the clock says, which may go back; *elapsed* never does."""

    shown: float
    elapsed: float


@dataclass(frozen=True)
class Request:
    """Names of fields are in lower case. *url* is the whole target URI."""

    method: str
    url: str
    fields: Fields = ()
    has_body: bool = False


@dataclass(frozen=True)
class Response:
    """A response as the origin sent it, or as a later 304 has updated it."""

    status: int
    fields: Fields = ()
    body: bytes = b""


@dataclass(frozen=True)
class Exchange:
    """A request that was forwarded; *response* is ``None`` where the origin failed."""

    request: Request
    response: Response | None
    asked: Moment
    answered: Moment


@dataclass(frozen=True)
class Kept:
    """A response that a shared cache may hold.

    *requests* are the one that caused it to be stored and those for which it was validated since.
    *headers* is the message by which its age is known, with the moments of its exchange: the
    response itself, or the latest that validated it. *index* is that of that exchange. *sure*
    means that our cache promises to have it. *must_validate* is set where it was invalidated, and
    *is_stale* where a HEAD told otherwise.
    """

    requests: tuple[Request, ...]
    response: Response
    headers: Fields
    asked: Moment
    answered: Moment
    index: int
    sure: bool
    must_validate: bool = False
    is_stale: bool = False


def response_directives(response: Response) -> list[Directive]:
    return directives(lines(response.fields, "cache-control"))


def request_directives(request: Request) -> list[Directive]:
    """Section 5.4: ``Pragma`` counts where there is no ``Cache-Control``."""
    control = lines(request.fields, "cache-control")
    if control:
        return directives(control)
    return [one for one in directives(lines(request.fields, "pragma")) if one.name == "no-cache"]


def has(found: list[Directive], name: str) -> bool:
    return any(one.name == name for one in found)


def listed_names(one: Directive) -> list[str]:
    """The field names of ``private`` or ``no-cache``; none where the list is not one of names."""
    if one.argument is None or not one.is_valid:
        return []
    found = names([one.argument])
    return found if all(is_token(name) for name in found) else []


def has_unqualified(found: list[Directive], name: str) -> bool:
    """Sections 5.2.2.4 and 5.2.2.7; a list that names nothing restricts everything."""
    return any(one.name == name and not listed_names(one) for one in found)


def excluded_names(response: Response) -> list[str]:
    """Sections 3.1, 5.2.2.4 and 5.2.2.7: what must not be sent again without validation.

    Where ``no-cache`` stands without names, too, nothing is sent without validation.
    """
    found = response_directives(response)
    about_all = has_unqualified(found, "no-cache")
    qualified = [one for one in found if one.name in ("private", "no-cache")]
    counting = [one for one in qualified if one.name == "private" or not about_all]
    return [*OF_THE_PROXY, *(name for one in counting for name in listed_names(one))]


def connection_names(fields: Fields) -> list[str]:
    """RFC 9110 section 7.6.1: fields of the connection, of which some are named in it."""
    return [*HOP_BY_HOP, *names(lines(fields, "connection"))]


def stored_fields(response: Response) -> tuple[Fields, Fields]:
    """Those that must be stored and sent, and those that may be (section 3.1); without ``Age``."""
    excluded = [*excluded_names(response), "age", "set-cookie"]
    kept = [(name, value) for name, value in response.fields if name.lower() not in excluded]
    of_connection = connection_names(response.fields)
    required = [line for line in kept if line[0].lower() not in of_connection]
    optional = [line for line in kept if line[0].lower() in of_connection]
    return tuple(required), tuple(optional)


def received_date(fields: Fields, answered: Moment) -> float:
    """RFC 9110 section 6.6.1: without a valid ``Date``, when it was received."""
    values = lines(fields, "date")
    date = http_date(values[0], answered.shown) if values else None
    return answered.shown if date is None else float(date)


def date_line(answered: Moment) -> Fields:
    """RFC 9110 section 6.6.1: who stores a message without ``Date`` appends one."""
    return (("Date", strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime(answered.shown))),)


def etag(response: Response) -> str | None:
    """The entity tag that is stored with a response."""
    values = lines(stored_fields(response)[0], "etag")
    return values[0].strip(" \t") if values else None


def last_modified(response: Response) -> str | None:
    """The ``Last-Modified`` that is stored with a response."""
    values = lines(stored_fields(response)[0], "last-modified")
    return values[0].strip(" \t") if values else None


def told(answer: Response, name: str) -> str | None:
    """A validator as an answer tells it, whether that is to be stored or not."""
    values = lines(answer.fields, name)
    return values[0].strip(" \t") if values else None


def method_is_understood(request: Request, response: Response) -> bool:
    """Section 3; ours: GET and HEAD, and without a body."""
    return request.method in ("GET", "HEAD") and not request.has_body


def status_is_final(request: Request, response: Response) -> bool:
    """Section 3; RFC 9110 section 15."""
    return response.status >= 200


def status_is_known(response: Response) -> bool:
    return response.status in [int(status) for status in HTTPStatus]


def status_is_understood(request: Request, response: Response) -> bool:
    """Sections 3, 3.3 and 5.2.2.3; ours: neither 206 nor 304 is stored by itself."""
    if response.status in (206, 304):
        return False
    must_understand = has(response_directives(response), "must-understand")
    return status_is_known(response) or not must_understand


def response_has_no_no_store(request: Request, response: Response) -> bool:
    """Sections 5.2.2.5 and 5.2.2.3: ``must-understand`` overrides it where it is understood."""
    found = response_directives(response)
    overridden = has(found, "must-understand") and status_is_known(response)
    return overridden or not has(found, "no-store")


def request_has_no_no_store(request: Request, response: Response) -> bool:
    """Section 5.2.1.5."""
    return not has(request_directives(request), "no-store")


def is_not_private(request: Request, response: Response) -> bool:
    """Section 5.2.2.7: with field names, the remainder may be stored."""
    return not has_unqualified(response_directives(response), "private")


def authorization_is_allowed_for(request: Request, response: Response) -> bool:
    """Section 3.5."""
    found = response_directives(response)
    allowing = ("must-revalidate", "public", "s-maxage")
    return not lines(request.fields, "authorization") or any(has(found, name) for name in allowing)


def may_have_a_lifetime(request: Request, response: Response) -> bool:
    """Section 3, the last requirement."""
    found = response_directives(response)
    return (
        any(has(found, name) for name in ("public", "max-age", "s-maxage"))
        or bool(lines(response.fields, "expires"))
        or response.status in HEURISTICALLY_CACHEABLE
    )


def sets_no_cookie(request: Request, response: Response) -> bool:
    """Ours: ``Set-Cookie`` only where a directive names it, and so keeps it from being stored."""
    return not lines(response.fields, "set-cookie") or "set-cookie" in excluded_names(response)


STORING: tuple[Callable[[Request, Response], bool], ...] = (
    method_is_understood,
    status_is_final,
    status_is_understood,
    response_has_no_no_store,
    request_has_no_no_store,
    is_not_private,
    authorization_is_allowed_for,
    may_have_a_lifetime,
    sets_no_cookie,
)


def why_not_stored(request: Request, response: Response) -> tuple[str, ...]:
    """The rules by which a response must not be stored; none where it may be."""
    return tuple(rule.__name__ for rule in STORING if not rule(request, response))


def is_odd(one: Directive) -> bool:
    """Whether caution is in place: not by the grammar, or not in the form that is prescribed."""
    lists_names = one.name in ("private", "no-cache") and one.argument is not None
    return not one.is_valid or (lists_names and not one.is_quoted)


def is_surely_stored(kept: Kept) -> bool:
    """Ours: what will be fresh, or can be validated, is stored if it is an answer to GET."""
    status, found = kept.response.status, response_directives(kept.response)
    odd = any(is_odd(one) for one in found) or "*" in vary(kept.response)
    is_fresh_at_first = lifetime(kept) > age(kept, kept.answered)[1]
    may_be_reused = is_fresh_at_first and not has_unqualified(found, "no-cache")
    useful = may_be_reused or is_validated_with(kept) is not None
    return kept.requests[0].method == "GET" and 200 <= status < 600 and useful and not odd


def delta(found: list[Directive], name: str) -> int | None:
    """The seconds of a directive. Sections 4.2.1 and 1.2.2; ours: the shortest of several."""
    values = [delta_seconds(one.argument) or 0 for one in found if one.name == name]
    return min(values) if values else None


def expires_lifetime(kept: Kept) -> float | None:
    """Section 5.3: what is invalid has expired. Ours: the earliest of several."""
    values = lines(kept.response.fields, "expires")
    if not values:
        return None
    dates = [http_date(value, kept.answered.shown) for value in values]
    date = received_date(kept.response.fields, kept.answered)
    return min(0.0 if read is None else max(0.0, read - date) for read in dates)


def heuristic_lifetime(kept: Kept) -> float:
    """Section 4.2.2; ours: a tenth of the time since ``Last-Modified``, at most a day."""
    allowed = has(response_directives(kept.response), "public")
    modified = lines(kept.response.fields, "last-modified")
    read = http_date(modified[0], kept.answered.shown) if modified else None
    if read is None or not (allowed or kept.response.status in HEURISTICALLY_CACHEABLE):
        return 0.0
    since = received_date(kept.response.fields, kept.answered) - read
    return min(DAY, max(0.0, since / 10))


def lifetime(kept: Kept) -> float:
    """Section 4.2.1: the first that is present, for a shared cache."""
    found = response_directives(kept.response)
    explicit = (delta(found, "s-maxage"), delta(found, "max-age"), expires_lifetime(kept))
    present = [value for value in explicit if value is not None]
    return float(present[0]) if present else heuristic_lifetime(kept)


def age(kept: Kept, now: Moment) -> tuple[float, float]:
    """Section 4.2.3. Where the clock went back, an age by what it shows and one by what passed."""
    date = received_date(kept.headers, kept.answered)
    apparent_age = max(0.0, kept.answered.shown - date)
    ages = []
    for scale in ("shown", "elapsed"):
        delay = getattr(kept.answered, scale) - getattr(kept.asked, scale)
        resident_time = getattr(now, scale) - getattr(kept.answered, scale)
        corrected = age_value(lines(kept.headers, "age")) + delay
        ages.append(max(0.0, max(apparent_age, corrected) + resident_time))
    return min(ages), max(ages)


def is_fresh(kept: Kept, now: Moment) -> bool:
    """Section 4.2: whether it may be taken for fresh."""
    return lifetime(kept) > age(kept, now)[0]


def staleness(kept: Kept, now: Moment) -> float:
    return age(kept, now)[0] - lifetime(kept)


def is_never_sent_stale(kept: Kept) -> bool:
    """Sections 5.2.2.2, 5.2.2.4 and 5.2.2.8."""
    found = response_directives(kept.response)
    forbidden = has(found, "must-revalidate") or has(found, "proxy-revalidate")
    return forbidden or has_unqualified(found, "no-cache") or kept.must_validate


def within(kept: Kept, name: str, now: Moment) -> bool:
    """RFC 5861: an extension, which allows it also where ``s-maxage`` does not."""
    seconds = delta(response_directives(kept.response), name)
    return seconds is not None and staleness(kept, now) <= seconds


def client_accepts_stale(request: Request, kept: Kept, now: Moment) -> bool:
    """Section 5.2.1.2, unless section 5.2.2.10 forbids it.

    Ours: ``s-maxage`` does not where the origin itself allows as much, though for other reasons.
    """
    accepted = [one for one in request_directives(request) if one.name == "max-stale"]
    allowed = within(kept, "stale-while-revalidate", now) or within(kept, "stale-if-error", now)
    if not allowed and has(response_directives(kept.response), "s-maxage"):
        return False
    return any(
        one.argument is None or staleness(kept, now) <= (delta_seconds(one.argument) or 0)
        for one in accepted
    )


def may_be_sent_stale(request: Request, kept: Kept, now: Moment) -> bool:
    """Section 4.2.4: only where the client or the origin says so."""
    if is_never_sent_stale(kept) or kept.is_stale:
        return False
    if client_accepts_stale(request, kept, now):
        return True
    asked = request_directives(request)
    limits = [delta_seconds(one.argument) for one in asked if one.name == "max-age"]
    # Section 5.2.1.1.
    asks_for_fresh = any(limit is not None for limit in limits) and not has(asked, "max-stale")
    return within(kept, "stale-while-revalidate", now) and not asks_for_fresh


def response_allows_reuse(request: Request, kept: Kept, now: Moment) -> bool:
    """Sections 4, 5.2.2.4 and 4.4."""
    found = response_directives(kept.response)
    return not has_unqualified(found, "no-cache") and not kept.must_validate


def request_has_no_no_cache(request: Request, kept: Kept, now: Moment) -> bool:
    """Section 5.2.1.4."""
    return not has(request_directives(request), "no-cache")


def is_young_enough(request: Request, kept: Kept, now: Moment) -> bool:
    """Section 5.2.1.1; of values that are none, nothing follows."""
    limits = [one for one in request_directives(request) if one.name == "max-age"]
    values = [delta_seconds(one.argument) for one in limits]
    youngest = int(age(kept, now)[0])
    known = [value for value in values if value is not None]
    return not known or youngest <= max(known)


def stays_fresh_long_enough(request: Request, kept: Kept, now: Moment) -> bool:
    """Section 5.2.1.3."""
    limits = [one for one in request_directives(request) if one.name == "min-fresh"]
    values = [delta_seconds(one.argument) for one in limits]
    remaining = lifetime(kept) - age(kept, now)[0]
    known = [value for value in values if value is not None]
    return not known or remaining >= min(known)


def is_fresh_or_may_be_stale(request: Request, kept: Kept, now: Moment) -> bool:
    """Section 4, the last requirement."""
    fresh = is_fresh(kept, now) and not kept.is_stale
    return fresh or may_be_sent_stale(request, kept, now)


REUSING: tuple[Callable[[Request, Kept, Moment], bool], ...] = (
    response_allows_reuse,
    request_has_no_no_cache,
    is_young_enough,
    stays_fresh_long_enough,
    is_fresh_or_may_be_stale,
)


def why_not_reused(request: Request, kept: Kept, now: Moment) -> tuple[str, ...]:
    """The rules by which it must not be sent without validation; none where it may be."""
    return tuple(rule.__name__ for rule in REUSING if not rule(request, kept, now))


def vary(response: Response) -> list[str]:
    return names(lines(response.fields, "vary"))


def as_nominated(name: str, values: list[str]) -> list[str] | None:
    """What is compared. An absent field is like no other.

    White space and the cutting into lines say nothing, nor do case and order in ``Accept*``.
    """
    if not values:
        return None
    if not name.startswith("accept"):
        return [", ".join(value.strip(" \t") for value in values)]
    return sorted("".join(member.lower().split()) for member in names(values))


def fields_match(nominated: list[str], one: Request, other: Request) -> bool:
    """Section 4.1: a member ``*`` always fails to match."""
    return "*" not in nominated and all(
        as_nominated(name, lines(one.fields, name)) == as_nominated(name, lines(other.fields, name))
        for name in nominated
    )


def method_allows(stored: Request, presented: Request) -> bool:
    """Section 4: HEAD is answered from GET (RFC 9110 section 9.3.2), never the other way round."""
    return stored.method == "GET" or presented.method == "HEAD"


def matches(kept: Kept, request: Request) -> bool:
    """Whether it could be chosen for *request* (sections 4 and 4.1)."""
    return (
        request.method in ("GET", "HEAD")
        and not request.has_body
        and kept.requests[0].url == request.url
        and method_allows(kept.requests[0], request)
        and any(fields_match(vary(kept.response), one, request) for one in kept.requests)
    )


def is_validated_with(kept: Kept) -> str | None:
    """The validator that a request for validation has at least (section 4.3.1)."""
    tag, modified = etag(kept.response), last_modified(kept.response)
    if tag is not None and is_entity_tag(tag):
        return tag
    if tag is None and modified and http_date(modified, kept.answered.shown) is not None:
        return modified
    return None


def identified_by(answer: Response, initial: list[Kept]) -> list[Kept]:
    """The first match of three rules. ``Last-Modified`` is taken for weak.

    Ours: an answer without any validator is about what it was asked, also if that has one.
    """
    tag, modified = told(answer, "etag"), told(answer, "last-modified")
    if tag is not None and is_entity_tag(tag) and not is_weak(tag):
        return [kept for kept in initial if etag(kept.response) == tag]
    if tag is not None or modified is not None:
        return [kept for kept in initial if any(weak_validators_agree(kept, answer))]
    return initial


def weak_validators_agree(kept: Kept, answer: Response) -> list[bool]:
    """For each validator of an answer that has no strong one, whether the stored one has it."""
    tag, modified = told(answer, "etag"), told(answer, "last-modified")
    agree = []
    if tag is not None:
        agree.append(weakly_equal(tag, etag(kept.response) or "none"))
    if modified is not None:
        agree.append(modified == last_modified(kept.response))
    return agree


def updated_fields(stored: Response, answer: Response) -> Fields:
    """Section 3.2: each field of the answer replaces those of that name, with exceptions.

    An answer without ``Date`` has one of its own, too (RFC 9110 section 6.6.1), appended later.
    """
    own = (*connection_names(answer.fields), *OF_THE_PROXY, "content-length", "content-range")
    new = [(name, value) for name, value in answer.fields if name.lower() not in own]
    replaced = ["date", *excluded_names(stored), *(name.lower() for name, _ in new)]
    return (*(line for line in stored.fields if line[0].lower() not in replaced), *new)


def freshened(kept: Kept, exchange: Exchange, index: int) -> Kept:
    """Sections 4.3.4 and 4.2.3: its age is that of the message that validated it."""
    assert exchange.response is not None
    answer = exchange.response
    return replace(
        kept,
        requests=(*kept.requests, exchange.request),
        response=replace(kept.response, fields=updated_fields(kept.response, answer)),
        headers=answer.fields,
        asked=exchange.asked,
        answered=exchange.answered,
        index=index,
        must_validate=False,
        is_stale=False,
    )


def agrees_with(kept: Kept, answer: Response) -> bool:
    """Validators, where received, and ``Content-Length`` are the same."""
    stored = kept.response
    same_tag = told(answer, "etag") in (None, etag(stored))
    same_date = told(answer, "last-modified") in (None, last_modified(stored))
    received = lines(answer.fields, "content-length")
    length = lines(stored.fields, "content-length") or [str(len(stored.body))]
    return same_tag and same_date and (not received or received[0] == length[0])


def is_not_modified(
    request: Request, status: int, fields: Fields, received: Moment, *, is_stored: bool = True
) -> bool:
    """Whether the client is told 304 rather than sent a 200 (RFC 9110 section 13.2.2).

    Where a stored one lacks ``Last-Modified``, its ``Date`` counts.
    """
    if request.method not in ("GET", "HEAD") or status != 200:
        return False
    tags, since = lines(request.fields, "if-none-match"), lines(request.fields, "if-modified-since")
    if tags:
        own = lines(fields, "etag")
        any_tag = [value.strip(" \t") for value in tags] == ["*"]
        return any_tag or any(weakly_equal(tag, one) for tag in entity_tags(tags) for one in own)
    asked = http_date(since[0], received.shown) if len(since) == 1 else None
    modified = lines(fields, "last-modified")
    if not modified and not is_stored:
        return False
    date = http_date(modified[0], received.shown) if modified else received_date(fields, received)
    return asked is not None and date is not None and date <= asked
