"""A shared cache by the letter of RFC 9111, as plain and slow as can be.

It remembers every exchange with the origin, and for each request works out from all of them what
a shared cache may do. It says what is *allowed*, which is often more than one thing, and what our
cache *promises* beyond: a cache that keeps nothing breaks no rule of RFC 9111.

Rules have the section beside them. What is our decision rather than the text's says "ours".
"""

from dataclasses import dataclass, field, replace

from tests.core.http_grammar import (
    Fields,
    delta_seconds,
    entity_tags,
    is_entity_tag,
    is_weak,
    lines,
)
from tests.core.http_rules import (
    HOUR,
    SAFE,
    Exchange,
    Kept,
    Moment,
    Request,
    Response,
    age,
    agrees_with,
    date_line,
    etag,
    freshened,
    has,
    identified_by,
    is_never_sent_stale,
    is_surely_stored,
    is_validated_with,
    last_modified,
    lifetime,
    matches,
    request_directives,
    stored_fields,
    vary,
    why_not_reused,
    why_not_stored,
    within,
)


@dataclass(frozen=True)
class Reuse:
    """A stored response that may be sent: with which fields, and at which age."""

    status: int
    body: bytes
    required: Fields
    optional: Fields
    youngest: float
    oldest: float


@dataclass
class SharedCache:
    """All exchanges with the origin, in order; nothing else is remembered."""

    exchanges: list[Exchange] = field(default_factory=list)

    def kept(self, end: int | None = None) -> list[Kept]:
        """What may be held after the first *end* exchanges, in the order of their receipt."""
        found: list[Kept] = []
        for index, exchange in enumerate(self.exchanges[:end]):
            found = after(exchange, index, found)
        return sorted(found, key=lambda kept: kept.index)

    def reusable(self, request: Request, now: Moment) -> list[Reuse]:
        """What may be sent without validation."""
        chosen = choosable(self.kept(), request)
        return [reuse(kept, now) for kept in chosen if not why_not_reused(request, kept, now)]

    def why_not(self, request: Request, now: Moment) -> list[tuple[str, ...]]:
        """For whoever reads a failure: why each that could be chosen is not reusable."""
        return [why_not_reused(request, kept, now) for kept in choosable(self.kept(), request)]

    def must_not_forward(self, request: Request) -> bool:
        """Section 5.2.1.7: then 504 is all there is, if nothing is reusable."""
        lookup = request.method in ("GET", "HEAD") and not request.has_body
        return lookup and has(request_directives(request), "only-if-cached")

    def promised(self, request: Request, now: Moment) -> Reuse | None:
        """Ours: what is surely stored and surely fresh is sent, whatever else might be done."""
        kept = self.last_sure(request)
        if kept is None or lines(request.fields, "range"):
            return None
        asked, oldest = request_directives(request), age(kept, now)[1]
        limits = [delta_seconds(one.argument) for one in asked if one.name == "max-age"]
        fresh_for = [delta_seconds(one.argument) for one in asked if one.name == "min-fresh"]
        certain = (
            lifetime(kept) > oldest
            and not why_not_reused(request, kept, now)
            and all(limit is not None and oldest <= limit for limit in limits)
            and all(least is not None and lifetime(kept) - oldest >= least for least in fresh_for)
            and not has(asked, "no-store")
        )
        return reuse(kept, now) if certain else None

    def last_sure(self, request: Request) -> Kept | None:
        """What our cache holds for certain for *request*.

        Ours: the names in ``Vary`` of a URL add up. Who adds one hides what was stored before.
        """
        chosen = [one for one in choosable(self.kept(), request) if one.requests[0].method == "GET"]
        if not chosen or not chosen[-1].sure:
            return None
        last = chosen[-1]
        before, now = self.names_seen(request.url, last.index), self.names_seen(request.url)
        known = sorted(before) == sorted(now)
        exact = all(
            lines(request.fields, name) == lines(last.requests[-1].fields, name) for name in now
        )
        return last if known and exact else None

    def names_seen(self, url: str, until: int | None = None) -> set[str]:
        """All names that any ``Vary`` of *url* has had."""
        end = None if until is None else until + 1
        answers = [one.response for one in self.exchanges[:end] if one.request.url == url]
        return {name for answer in answers if answer is not None for name in vary(answer)}

    def conditions(self, request: Request) -> tuple[set[str], set[str]]:
        """The entity tags and dates that a request for validation may carry (section 4.3.1)."""
        same = [kept.response for kept in self.kept() if kept.requests[0].url == request.url]
        tags = {etag(one) for one in same} | set(
            entity_tags(lines(request.fields, "if-none-match"))
        )
        dates = {last_modified(one) for one in same} | set(
            lines(request.fields, "if-modified-since")
        )
        return {tag for tag in tags if tag}, {date for date in dates if date}

    def promised_condition(self, request: Request, now: Moment) -> str | None:
        """Ours: for an hour beyond its freshness, what has a validator is validated with it."""
        kept = self.last_sure(request)
        asked = request_directives(request)
        if kept is None or has(asked, "no-store") or has(asked, "no-cache") or kept.must_validate:
            return None
        recent = age(kept, now)[1] < lifetime(kept) + HOUR
        return is_validated_with(kept) if recent else None

    def validated(self, exchange: Exchange) -> list[Reuse]:
        """What may be sent after a 304: the identified ones, updated (section 4.3.4)."""
        assert exchange.response is not None
        index = len(self.exchanges)
        initial = choosable(self.kept(), exchange.request)
        found = identified_by(exchange.response, initial)
        updated = [freshened(kept, exchange, index) for kept in found]
        return [reuse(kept, exchange.answered, cookies=True) for kept in updated]

    def instead_of_error(self, request: Request, now: Moment) -> list[Reuse]:
        """RFC 5861 section 4, within section 4.2.4. Ours: never another error."""
        return [
            reuse(kept, now)
            for kept in choosable(self.kept(), request)
            if not is_never_sent_stale(kept)
            and kept.response.status < 500
            and within(kept, "stale-if-error", now)
        ]


def reuse(kept: Kept, now: Moment, *, cookies: bool = False) -> Reuse:
    """How it is sent. *cookies* allows those of a 304, for whoever it answers."""
    required, optional = stored_fields(kept.response)
    if not lines(kept.response.fields, "date"):
        required = (*required, *date_line(kept.answered))
    if cookies:
        sent = [line for line in kept.headers if line[0].lower() == "set-cookie"]
        optional = (*optional, *sent)
    youngest, oldest = age(kept, now)
    return Reuse(kept.response.status, kept.response.body, required, optional, youngest, oldest)


def choosable(kept: list[Kept], request: Request) -> list[Kept]:
    """Those that could be chosen, in the order of their receipt.

    Section 4 wants the most recent one. Ours: the latest that was surely stored has taken the
    place of those before it, whatever its date.
    """
    found = [one for one in kept if matches(one, request)]
    sure = [at for at, one in enumerate(found) if one.sure]
    return found[sure[-1] :] if sure else found


def after(exchange: Exchange, index: int, kept: list[Kept]) -> list[Kept]:
    """What may be held after *exchange*, where *kept* was held before."""
    request, response = exchange.request, exchange.response
    if response is None:
        return kept
    if request.method not in SAFE:
        return invalidated(request, response, kept)
    if response.status == 304:
        return after_not_modified(exchange, index, kept)
    if request.method == "HEAD" and response.status == 200:
        kept = after_head(exchange, index, kept)
    if why_not_stored(request, response):
        return kept
    new = Kept(
        *((request,), response, response.fields, exchange.asked, exchange.answered, index),
        sure=False,
    )
    return [*kept, replace(new, sure=is_surely_stored(new))]


def invalidated(request: Request, response: Response, kept: list[Kept]) -> list[Kept]:
    """Section 4.4: the target of an unsafe request that did not fail; other URLs may follow."""
    if not 200 <= response.status < 400:
        return kept
    names_others = lines(response.fields, "location") or lines(response.fields, "content-location")
    return [
        replace(one, must_validate=True, sure=False)
        if one.requests[0].url == request.url
        else replace(one, sure=one.sure and not names_others)
        for one in kept
    ]


def updated_or_unsure(kept: Kept, exchange: Exchange, index: int) -> list[Kept]:
    """Updated, unless the update must not be stored: then as it was, if at all."""
    new = freshened(kept, exchange, index)
    if why_not_stored(exchange.request, new.response):
        return [replace(kept, sure=False)]
    return [replace(new, sure=kept.sure and is_surely_stored(new))]


def after_not_modified(exchange: Exchange, index: int, kept: list[Kept]) -> list[Kept]:
    """Section 4.3.4. Where weak validators fit several, any of them may be the most recent."""
    assert exchange.response is not None
    found = identified_by(exchange.response, choosable(kept, exchange.request))
    tag = etag(exchange.response)
    strong = tag is not None and is_entity_tag(tag) and not is_weak(tag)
    after_it: list[Kept] = []
    for one in kept:
        if not any(one is other for other in found):
            after_it.append(one)
        elif strong or len(found) == 1:
            after_it.extend(updated_or_unsure(one, exchange, index))
        else:
            both = [one, *updated_or_unsure(one, exchange, index)]
            after_it.extend(replace(each, sure=False) for each in both)
    return after_it


def after_head(exchange: Exchange, index: int, kept: list[Kept]) -> list[Kept]:
    """Section 4.3.5: each that could have been chosen is updated, or stale from now on."""
    assert exchange.response is not None
    found = [one for one in choosable(kept, exchange.request) if one.requests[0].method == "GET"]
    after_it: list[Kept] = []
    for one in kept:
        if not any(one is other for other in found):
            after_it.append(one)
        elif agrees_with(one, exchange.response):
            after_it.extend(updated_or_unsure(one, exchange, index))
        else:
            after_it.append(replace(one, is_stale=True, sure=False))
    return after_it
