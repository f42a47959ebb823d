"""What may be answered from the cache, and what may be stored: one function for each rule.

A rule returns ``None`` where it does not object, and otherwise its reason: the word that
``Cache-Status`` shows as ``detail``.
"""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Final, TypeAlias

from msgspec import Struct

from flask_larder.conditional import has_condition_of_origin, own_validators
from flask_larder.credentials import is_credential_field, may_tell_who_asks
from flask_larder.entry import Reads, Request, Targets
from flask_larder.errors import InvalidPolicy
from flask_larder.freshness import HEURISTIC_STATUSES
from flask_larder.headers import (
    FOR_ALL,
    Fields,
    Head,
    are_well_formed,
    has_other_length,
    is_about_all,
    named_fields,
    parse_cache_control,
    parse_vary,
    values_of,
    without,
)
from flask_larder.targeted import targeted_directives

Reason: TypeAlias = str
Directives: TypeAlias = Mapping[str, str | None]

DEFAULT_STATUSES: Final = frozenset({200, 203, 204, 301, 308})
# 206 is a part of a response and 304 has no body of its own; both need more than storing
# (RFC 9111 sections 3.3 and 4.3). 1xx is not final (section 3).
_UNSTORABLE_STATUSES: Final = frozenset({206, 304})
_UNDERSTOOD: Final = frozenset(status.value for status in HTTPStatus)
_FOR_AUTHORIZED: Final = frozenset({"must-revalidate", "public", "s-maxage"})
MOST_TAGS: Final = 1000
"""What one stored response may have."""

LONGEST_TAG: Final = 250
"""In characters."""

SERVER_ERRORS: Final = 500
"""A status code from here on is that of an error which is not the client's."""

GET_AND_HEAD: Final = frozenset({"GET", "HEAD"})
"""The methods that retrieve something (RFC 9110 sections 9.3.1 and 9.3.2)."""


class Policy(Struct, frozen=True):
    """What the developer stated for one view.

    *timeout* is the freshness lifetime in seconds; ``None`` means that the response's own fields
    state it, as for a shared cache (RFC 9111), and that *statuses* do not count. Of the fields
    *targeted*, in lower case, the first that is usable takes the place of ``Cache-Control`` and
    ``Expires`` (RFC 9213). *covered* names what is part of the key of all that no key holds by
    itself (:class:`~flask_larder.entry.Reads`), so that an answer for one user is selected for that
    user only. *body_limit* is in bytes. *stale_while_revalidate* and *stale_if_error* are for how
    long a response that is no longer fresh may be sent (RFC 5861), and *keep* for how long one that
    has validators is kept to be validated. It *may_revalidate* in the background where a request
    that nobody has sent has the same key.
    *jitter*, from 0 to 1, is the part of its lifetime that chance may take away; *early_refresh* is
    the beta of :func:`~flask_larder.freshness.is_due_early`, ``None`` for never.
    """

    timeout: float | None
    statuses: frozenset[int] = DEFAULT_STATUSES
    covered: frozenset[str] = frozenset()
    body_limit: int = 1024 * 1024
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    keep: float = 0.0
    jitter: float = 0.0
    early_refresh: float | None = None
    may_revalidate: bool = True
    targeted: tuple[str, ...] = ()

    @property
    def by_response(self) -> bool:
        """Whether a response says itself for how long it is fresh."""
        return self.timeout is None

    def grants(self, own: float, given: float) -> float:
        """How much of a stored response's *own* window counts where the policy has *given* one."""
        return own if self.by_response else min(own, given)


def storable_statuses(statuses: Iterable[int]) -> frozenset[int]:
    """*statuses* as a policy takes them; raises ``InvalidPolicy`` for one that cannot be stored."""
    chosen = frozenset(statuses)
    for status in chosen:
        if not 200 <= status <= 599 or status in _UNSTORABLE_STATUSES:
            raise InvalidPolicy(
                f"status {status} cannot be stored; give final ones from 200 to 599, "
                f"but neither 206 nor 304"
            )
    return chosen


def may_reuse(request: Request) -> Reason | None:
    """Why this request goes past the cache, or ``None``."""
    return (
        method_is_not_cached(request) or safe_request_has_body(request) or has_precondition(request)
    )


def method_is_not_cached(request: Request) -> Reason | None:
    """Only what these retrieve is looked up and stored (RFC 9111 section 3)."""
    return None if request.method in GET_AND_HEAD else "method"


def safe_request_has_body(request: Request) -> Reason | None:
    """A body on GET or HEAD has no meaning that a key could hold (RFC 9110 section 9.3.1)."""
    return "request-body" if request.has_body and request.method in GET_AND_HEAD else None


def has_precondition(request: Request) -> Reason | None:
    """``If-Match`` and ``If-Unmodified-Since`` are for the view to judge (RFC 9111 section 4.3.2).

    What it then answers, perhaps 412, is for this request alone.
    """
    return "precondition" if has_condition_of_origin(request.fields) else None


class Exchange(Struct, frozen=True):
    """A request and the head of its response, with the ``Cache-Control`` read once.

    Where a targeted field stands above it, *fields* are without it, and without ``Expires``.
    """

    request: Request
    status: int
    fields: Head
    directives: Directives

    @classmethod
    def of(
        cls,
        request: Request,
        status: int,
        fields: Fields,
        targeted: tuple[str, ...] = (),
        unsaid: frozenset[str] = frozenset(),
    ) -> "Exchange":
        """The exchange whose directives are those in *fields*; see :class:`Policy`.

        Those that are *unsaid* in ``Cache-Control`` do not count.
        """
        head = Head(fields)
        directives = targeted_directives(head, targeted) if targeted else None
        if directives is None:
            said = parse_cache_control(head)
            if unsaid:
                said = {name: value for name, value in said.items() if name not in unsaid}
            return cls(request, status, head, said)
        return cls(request, status, Head(without(head, {"cache-control", "expires"})), directives)


def may_store(exchange: Exchange, policy: Policy) -> Reason | None:
    """Why the head of this response forbids storing it, or ``None``."""
    for rule in _STORING_RULES:
        if reason := rule(exchange, policy):
            return reason
    return None


def response_is_to_head(exchange: Exchange, _: Policy) -> Reason | None:
    """An answer to HEAD has no body to store. GET's entry answers HEAD, never the reverse."""
    return "head" if exchange.request.method == "HEAD" else None


def status_is_not_stored(exchange: Exchange, policy: Policy) -> Reason | None:
    """Errors and whatever else the policy does not name are not kept.

    Where the response speaks for itself, any that is whole and that it makes cacheable is (RFC 9111
    section 3).
    """
    if policy.timeout is not None:
        is_stored = exchange.status in policy.statuses
    else:
        is_stored = exchange.status not in _UNSTORABLE_STATUSES and is_cacheable(exchange)
    return None if is_stored else f"status-{exchange.status}"


def is_cacheable(exchange: Exchange) -> bool:
    """Whether a shared cache may store such a response at all (RFC 9111 section 3)."""
    is_explicit = exchange.directives.keys() & {"public", "max-age", "s-maxage"}
    has_expiry = bool(is_explicit or values_of(exchange.fields, "expires"))
    return has_expiry or exchange.status in HEURISTIC_STATUSES


def status_is_not_understood(exchange: Exchange, _: Policy) -> Reason | None:
    """RFC 9111 section 5.2.2.3."""
    is_needed = "must-understand" in exchange.directives
    return "must-understand" if is_needed and exchange.status not in _UNDERSTOOD else None


def sets_cookie(exchange: Exchange, _: Policy) -> Reason | None:
    """A cookie is for one user; replaying it hands a session to a stranger.

    Not so where the response has it left out of what is stored.
    """
    is_kept = "set-cookie" not in unstored_fields(exchange.directives)
    return "set-cookie" if is_kept and values_of(exchange.fields, "set-cookie") else None


def unstored_fields(directives: Directives) -> frozenset[str]:
    """The fields that are not stored with the response (RFC 9111 sections 5.2.2.4 and 5.2.2.7)."""
    if not directives:  # as of most responses
        return frozenset()
    return named_fields(directives, "no-cache") | named_fields(directives, "private")


def is_no_store(exchange: Exchange, _: Policy) -> Reason | None:
    """RFC 9111 section 5.2.2.5; ``must-understand`` stands above it (section 5.2.2.3)."""
    is_said = "no-store" in exchange.directives and "must-understand" not in exchange.directives
    return "no-store" if is_said else None


def is_private(exchange: Exchange, _: Policy) -> Reason | None:
    """RFC 9111 section 5.2.2.7."""
    said = exchange.directives
    return "private" if said and is_about_all(said, "private") else None


def is_no_cache(exchange: Exchange, policy: Policy) -> Reason | None:
    """RFC 9111 section 5.2.2.4: not to be reused unvalidated, for which it needs a validator.

    To ask a view each time whether a timeout counts would make that pointless.
    """
    if not (exchange.directives and is_about_all(exchange.directives, "no-cache")):
        return None
    return None if policy.by_response and own_validators(exchange.fields) else "no-cache"


def request_is_authorized(exchange: Exchange, policy: Policy) -> Reason | None:
    """RFC 9111 section 3.5, unless the key tells one ``Authorization`` from another."""
    if "authorization" in policy.covered or exchange.request.fields.get("authorization") is None:
        return None
    return None if exchange.directives.keys() & _FOR_AUTHORIZED else "authorization"


def field_is_malformed(exchange: Exchange, _: Policy) -> Reason | None:
    """A field that is none (RFC 9110 section 5) could not be read back, or become two."""
    return None if are_well_formed(exchange.fields) else "malformed-field"


def varies_on_everything(exchange: Exchange, _: Policy) -> Reason | None:
    """``Vary: *`` matches no later request (RFC 9111 section 4.1)."""
    return "vary-star" if "*" in parse_vary(exchange.fields) else None


_ENDLESS: Final = ("text/event-stream", "multipart/x-mixed-replace")


def is_event_stream(exchange: Exchange, _: Policy) -> Reason | None:
    """A stream of events has no end that one could wait for."""
    kinds = values_of(exchange.fields, "content-type")
    is_stream = any(kind.strip().lower().startswith(_ENDLESS) for kind in kinds)
    return "event-stream" if is_stream else None


_STORING_RULES: Final[tuple[Callable[[Exchange, Policy], Reason | None], ...]] = (
    response_is_to_head,
    status_is_not_stored,
    status_is_not_understood,
    sets_cookie,
    is_no_store,
    is_private,
    is_no_cache,
    request_is_authorized,
    field_is_malformed,
    varies_on_everything,
    is_event_stream,
)


def is_about_resource(status: int) -> bool:
    """Whether it tells of the resource, for all, and not of who asks, or how, or of a failure.

    A 404 or 410 (RFC 9110 sections 15.5.5 and 15.5.11) does, and a 401 or 429 does not.
    """
    return status < 400 or status in {404, 410}


def is_about_request(reason: Reason) -> bool:
    """Whether it forbids to store the answer to one request, and tells nothing of the resource."""
    return reason in {"authorization", "request-no-store"} or reason.startswith("read-")


_SURE_TO_TELL: Final = frozenset(
    {"authorization", "body", "cookie", "headers", "outer-request", "remote-user", "session", ""}
)

NEVER_FOR_ALL: Final = frozenset({"body", "outer-request", "remote-user", "session"})
"""What a view may have read that is no header field, and that no response can vary by."""


def may_share(reads: Reads, exchange: Exchange, policy: Policy) -> Reason | None:
    """Why what the view looked at forbids answering others with its response, or ``None``."""
    return read_what_key_lacks(reads, exchange, policy) or did_what_copies_do_not(reads)


ABOUT_CACHING: Final = frozenset(
    {"age", "cache-control", "date", "etag", "expires", "last-modified", "vary"}
)
"""The fields of an answer that tell of nothing but how it is cached."""


def is_for_all(confirmation: Exchange, reads: Reads, policy: Policy) -> bool:
    """Whether all that an answer without a body tells of a stored one may be told to others.

    It has to say so by itself, as a whole answer would (RFC 9111 section 3.5): a 304 has the
    ``Cache-Control`` and ``Vary`` of a 200 (RFC 9110 section 15.4.5). Else what is not
    :data:`ABOUT_CACHING` may be for who asks.
    """
    refusal = request_is_authorized(confirmation, policy)
    return (refusal or may_share(reads, confirmation, policy)) is None


def read_what_key_lacks(reads: Reads, exchange: Exchange, policy: Policy) -> Reason | None:
    """A view that looked at who is asking made an answer for that user."""
    if not reads.unkeyed:
        return None
    uncovered = reads.unkeyed - policy.covered - covered_by_response(reads, exchange, policy)
    return f"read-{min(uncovered)}" if uncovered else None


def covered_by_response(reads: Reads, exchange: Exchange, policy: Policy) -> frozenset[str]:
    """What a view may have read since its response varies by it, or says that it is for all.

    The latter only where the response speaks for itself: though the request had cookies or
    ``Authorization`` (RFC 9111 sections 3.5, 5.2.2.9 and 5.2.2.10). Otherwise a hook that only
    checks a token or a key does not void that word; one that has found a user does.
    ``must-revalidate`` is no such word: who says it means to be careful. A session, which is read
    to know who asks, is never for all.
    """
    covered = parse_vary(exchange.fields) - {"headers"}
    if exchange.directives.keys() & FOR_ALL:
        covered |= reads.unkeyed if policy.by_response else _checked(reads.before, exchange)
    return covered - NEVER_FOR_ALL


def is_for_nobody(reads: Reads, exchange: Exchange, policy: Policy) -> bool:
    """Whether a response is only for requests that show nobody, since all fields went into it.

    So it is where a view hands all of them on to another server: what that makes of credentials is
    not known from an answer to who has shown none. See :class:`~flask_larder.entry.StoredResponse`.
    """
    is_told_apart = not reads.all_fields or "headers" in policy.covered
    return not is_told_apart and exchange.directives.keys().isdisjoint(FOR_ALL)


def _checked(before: frozenset[str], exchange: Exchange) -> frozenset[str]:
    """The tokens and keys that the request has shown: no cookie, and no user of a gateway's."""
    shown = {name for name in before if exchange.request.fields.get(name) is not None}
    keys = {n for n in shown if may_tell_who_asks(n) and not is_credential_field(n)}
    return frozenset(keys | (shown & {"authorization"}))


def is_about_field(reason: Reason | None) -> bool:
    """Whether it is that a header field was read that only by its name may tell who asks."""
    name = (reason or "").removeprefix("read-")
    return name != reason and name not in _SURE_TO_TELL


def did_what_copies_do_not(reads: Reads) -> Reason | None:
    """What the view has done beside its answer would be done for the first caller only."""
    if reads.changes_session:  # a message was shown, or a token made, for this one
        return "session-changed"
    return "after-this-request" if reads.after_this_request else None


def may_be_tagged(targets: Targets) -> Reason | None:
    """Why the tags forbid storing, or ``None``: what cannot keep them all cannot be purged."""
    if not targets.tags:  # as most have none
        return None
    return has_too_many_tags(targets) or has_too_long_tag(targets)


def has_too_many_tags(targets: Targets) -> Reason | None:
    """Each hit carries them, and looks them all up."""
    return "too-many-tags" if len(targets.tags) > MOST_TAGS else None


def has_too_long_tag(targets: Targets) -> Reason | None:
    """Each process keeps those that were purged in its memory."""
    return "tag-too-long" if any(len(tag) > LONGEST_TAG for tag in targets.tags) else None


def body_is_incomplete(fields: Fields, body: bytes) -> Reason | None:
    """A body that differs from ``Content-Length`` is not the whole (RFC 9111 section 3.3)."""
    return "incomplete" if has_other_length(fields, body) else None
