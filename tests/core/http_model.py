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
    ERRORS,
    HOUR,
    SAFE,
    Exchange,
    Kept,
    Moment,
    Request,
    Response,
    age,
    agrees_with,
    authorization_is_allowed_for,
    date_line,
    etag,
    excluded_names,
    fields_match,
    freshened,
    has,
    has_unqualified,
    identified_by,
    is_never_sent_stale,
    is_surely_stored,
    is_validated_with,
    last_modified,
    lifetime,
    matches,
    request_directives,
    response_directives,
    stored_fields,
    told,
    vary,
    weak_validators_agree,
    why_not_reused,
    why_not_stored,
    within,
)

TOLD_TO_ALL = ("age", "cache-control", "date", "etag", "expires", "last-modified", "vary")
"""What an answer that confirms another tells of caching alone."""


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

    def wants_only_stored(self, request: Request) -> bool:
        """Section 5.2.1.7: then 504 is all there is, if nothing is reusable.

        Not so for unsafe methods, which are written through (section 4).
        """
        return request.method in SAFE and has(request_directives(request), "only-if-cached")

    def must_not_forward(self, request: Request) -> bool:
        """Section 5.2.1.7, where the method is understood."""
        lookup = request.method in ("GET", "HEAD") and not request.has_body
        return lookup and self.wants_only_stored(request)

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

        Ours: the names in ``Vary`` of a URL add up. Who adds one hides what was stored before; so
        may one that need not have been stored.
        """
        chosen = [one for one in choosable(self.kept(), request) if one.requests[0].method == "GET"]
        if not chosen or not chosen[-1].sure:
            return None
        last = chosen[-1]
        now = self.names_seen(request.url)
        known = not now or now <= self.names_listed(request.url, last.index)
        exact = all(
            lines(request.fields, name) == lines(last.requests[-1].fields, name) for name in now
        )
        return last if known and exact else None

    def names_seen(self, url: str) -> set[str]:
        """All names of any ``Vary`` of *url*, but for what says ``*``: nobody stores that."""
        answers = [one.response for one in self.exchanges if one.request.url == url]
        found = [vary(answer) for answer in answers if answer is not None]
        return {name for names in found if "*" not in names for name in names}

    def names_listed(self, url: str, until: int) -> set[str]:
        """Those of what was surely stored for *url* by then."""
        kept, listed = list[Kept](), set[str]()
        for index, exchange in enumerate(self.exchanges[: until + 1]):
            kept = after(exchange, index, kept)
            for one in kept:
                if one.sure and one.index == index and one.requests[0].url == url:
                    listed.update(vary(one.response))
        return listed

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
        return is_validated_with(kept) if is_surely_held(kept, now) else None

    def validated(self, exchange: Exchange) -> list[Reuse]:
        """What may be sent after a 304: the identified ones, updated (section 4.3.4)."""
        assert exchange.response is not None
        index = len(self.exchanges)
        initial = choosable(self.kept(), exchange.request)
        found = identified_by(exchange.response, initial)
        updated = [new for kept in found for new in updates(kept, exchange, index)]
        return [reuse_validated(kept, exchange) for kept in updated]

    def instead_of_error(self, request: Request, now: Moment) -> list[Reuse]:
        """What may be sent where the origin fails."""
        return [reuse(kept, now) for kept in usable_on_error(self.kept(), request, now)]


def usable_on_error(kept: list[Kept], request: Request, now: Moment) -> list[Kept]:
    """RFC 5861 section 4, within section 4.2.4. Ours: never another error."""
    return [
        one
        for one in choosable(kept, request)
        if not is_never_sent_stale(one)
        and one.response.status < 500
        and within(one, "stale-if-error", now)
    ]


def reuse_validated(kept: Kept, exchange: Exchange) -> Reuse:
    """How it is sent to whose request has just validated it.

    That may have what is not to be sent without validation (section 5.2.2.4), and what is for this
    user, such as a cookie. ``Age`` is for what is sent without validation (section 4).
    """
    found = reuse(kept, exchange.answered)
    excluded = (*excluded_names(kept.response), "set-cookie")
    fields = dict.fromkeys((*kept.response.fields, *kept.headers))
    own = [line for line in fields if line[0].lower() in excluded]
    return replace(found, optional=(*found.optional, *own), youngest=0.0)


def reuse(kept: Kept, now: Moment) -> Reuse:
    """How it is sent."""
    required, optional = stored_fields(kept.response)
    if not lines(kept.response.fields, "date"):  # ours: the server under the app appends one
        optional = (*optional, *date_line(kept.answered))
    youngest, oldest = age(kept, now)
    return Reuse(kept.response.status, kept.response.body, required, optional, youngest, oldest)


def choosable(kept: list[Kept], request: Request) -> list[Kept]:
    """Those that could be chosen, in the order of their receipt.

    Section 4 wants the most recent one. Ours: the latest that was surely stored has taken the
    place of those before it, whatever its date, unless these were selected by other fields: one
    that omits ``Vary`` is not to be preferred to one that has it (section 4.1).
    """
    found = [one for one in kept if matches(one, request)]
    return [
        one
        for at, one in enumerate(found)
        if not any(
            later.sure and is_held_for(one, later.requests[-1], kept) for later in found[at + 1 :]
        )
    ]


def is_held_for(one: Kept, request: Request, kept: list[Kept]) -> bool:
    """Ours: whether one key has both, by all fields by which the URL has varied."""
    same = [other.response for other in kept if other.requests[0].url == request.url]
    nominated = {name for response in same for name in vary(response)}
    return fields_match(sorted(nominated - {"*"}), request, one.requests[-1])


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
        return outdated(exchange, kept)
    new = Kept(
        *((request,), response, response.fields, exchange.asked, exchange.answered, index),
        sure=False,
    )
    # Ours: an error need not take the place of what it was asked for to replace (section 4.3.3).
    is_hidden = response.status in ERRORS and choosable(kept, request) != []
    is_sure = is_surely_stored(new) and not is_hidden
    new = replace(new, sure=is_sure)
    return [*(displaced(new, kept) if is_sure else outdated(exchange, kept)), new]


def is_surely_fresh(kept: Kept, now: Moment) -> bool:
    must_validate = has_unqualified(response_directives(kept.response), "no-cache")
    return age(kept, now)[1] < lifetime(kept) and not must_validate


def displaced(new: Kept, kept: list[Kept]) -> list[Kept]:
    """Ours: a key has one at a time, so that what *new* has taken the place of is held no more."""
    request = new.requests[0]
    return [
        replace(one, sure=False)
        if matches(one, request) and is_held_for(one, request, [*kept, new])
        else one
        for one in kept
    ]


def outdated(exchange: Exchange, kept: list[Kept]) -> list[Kept]:
    """Ours: what is stale may be forgotten when an answer comes that does not take its place."""
    return [
        replace(one, sure=one.sure and is_surely_fresh(one, exchange.answered))
        if matches(one, exchange.request)
        else one
        for one in kept
    ]


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


def updates(kept: Kept, exchange: Exchange, index: int) -> list[Kept]:
    """As updated by an answer. Ours: without a ``Date`` of its own, the old one may go on."""
    assert exchange.response is not None
    new = freshened(kept, exchange, index)
    date = tuple(line for line in kept.response.fields if line[0].lower() == "date")
    if not date or lines(exchange.response.fields, "date"):
        return [new]
    response = replace(new.response, fields=(*new.response.fields, *date))
    dated = replace(new, response=response, headers=(*new.headers, *date))
    return [replace(new, sure=False), replace(dated, sure=False)]


def is_surely_held(kept: Kept, now: Moment) -> bool:
    """Ours: what has a validator is kept for an hour longer than it is fresh."""
    longer = HOUR if is_validated_with(kept) is not None else 0.0
    return age(kept, now)[1] < lifetime(kept) + longer


def updated_or_unsure(kept: Kept, exchange: Exchange, index: int) -> list[Kept]:
    """Updated, unless the update must not be stored: then as it was, if at all."""
    assert exchange.response is not None
    # Ours: what is for all says so itself, since a whole answer would have to. What does not
    # updates those fields only that a 304 is to have (RFC 9110 section 15.4.5).
    if not authorization_is_allowed_for(exchange.request, exchange.response):
        lines_for_all = [one for one in exchange.response.fields if one[0].lower() in TOLD_TO_ALL]
        response = replace(exchange.response, fields=tuple(lines_for_all))
        exchange = replace(exchange, response=response)
    new = updates(kept, exchange, index)
    if any(why_not_stored(exchange.request, one.response) for one in new):
        return [replace(kept, sure=False)]
    sure = is_surely_held(kept, exchange.asked)
    return [replace(one, sure=one.sure and sure and is_surely_stored(one)) for one in new]


def after_not_modified(exchange: Exchange, index: int, kept: list[Kept]) -> list[Kept]:
    """Section 4.3.4. Weak validators may fit several, or one that has only some of them.

    Ours: others that could be chosen are held for requests that differ in a field by which the URL
    has varied, and need not be found.
    """
    assert exchange.response is not None
    initial = choosable(kept, exchange.request)
    found = identified_by(exchange.response, initial)
    tag = told(exchange.response, "etag")
    strong = tag is not None and is_entity_tag(tag) and not is_weak(tag)
    after_it: list[Kept] = []
    for one in kept:
        if not any(one is other for other in found):
            after_it.append(one)
        elif (
            is_held_for(one, exchange.request, kept)
            and (strong or all(weak_validators_agree(one, exchange.response)))
            and not may_be_displaced(one, initial)
        ):
            after_it.extend(updated_or_unsure(one, exchange, index))
        else:
            both = [one, *updated_or_unsure(one, exchange, index)]
            after_it.extend(replace(each, sure=False) for each in both)
    return after_it


def may_be_displaced(one: Kept, chosen: list[Kept]) -> bool:
    """Ours: whether one that came later, and need not have been stored, has taken its place."""
    return any(later.requests[0].method == "GET" for later in chosen[chosen.index(one) + 1 :])


def says_nothing(answer: Response) -> bool:
    """Ours: without a validator, a HEAD need not be about what is stored."""
    return told(answer, "etag") is None and told(answer, "last-modified") is None


def after_head(exchange: Exchange, index: int, kept: list[Kept]) -> list[Kept]:
    """Section 4.3.5: each that could have been chosen is updated, or stale from now on."""
    assert exchange.response is not None
    found = [one for one in choosable(kept, exchange.request) if one.requests[0].method == "GET"]
    after_it: list[Kept] = []
    for one in kept:
        if not any(one is other for other in found):
            after_it.append(one)
        elif one.response.status != 200 and is_held_for(one, exchange.request, kept):
            after_it.append(replace(one, is_stale=True, sure=False))
        elif (
            not is_held_for(one, exchange.request, kept)
            or says_nothing(exchange.response)
            or may_be_displaced(one, found)
        ):
            both = [one, *updated_or_unsure(one, exchange, index)]
            after_it.extend(replace(each, sure=False) for each in both)
        elif not agrees_with(one, exchange.response):
            after_it.append(replace(one, is_stale=True, sure=False))
        elif not authorization_is_allowed_for(exchange.request, exchange.response):
            after_it.append(replace(one, sure=False))  # as one to GET, it is for this user
        else:
            after_it.extend(updated_or_unsure(one, exchange, index))
    return after_it
