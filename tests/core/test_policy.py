"""Each rule by its name: what may be answered from the cache, and what may be stored."""

import pytest

from flask_larder.entry import Reads, Request
from flask_larder.errors import InvalidPolicy
from flask_larder.headers import Fields
from flask_larder.policy import (
    DEFAULT_STATUSES,
    LONGEST_TAG,
    MOST_TAGS,
    Exchange,
    Policy,
    body_is_incomplete,
    covered_by_response,
    did_what_copies_do_not,
    field_is_malformed,
    has_precondition,
    has_too_long_tag,
    has_too_many_tags,
    is_about_field,
    is_about_request,
    is_about_resource,
    is_cacheable,
    is_event_stream,
    is_no_cache,
    is_no_store,
    is_private,
    may_be_tagged,
    may_reuse,
    may_share,
    may_store,
    method_is_not_cached,
    read_what_key_lacks,
    request_is_authorized,
    response_is_to_head,
    safe_request_has_body,
    sets_cookie,
    status_is_not_stored,
    status_is_not_understood,
    storable_statuses,
    unstored_fields,
    varies_on_everything,
)
from tests.targets import targets

POLICY = Policy(timeout=50.0)
BY_RESPONSE = Policy(timeout=None)


def request(method: str = "GET", *, has_body: bool = False, **fields: str) -> Request:
    return Request(method, "http", "api.example", "", "/", b"", fields, has_body)


def exchange(*fields: tuple[str, str], status: int = 200, asked: Request | None = None) -> Exchange:
    return Exchange.of(asked or request(), status, fields)


def reading(*names: str) -> Reads:
    return Reads(unkeyed=frozenset(names))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_safe_methods_are_looked_up(method: str) -> None:
    """GET and HEAD are cached by default (RFC 9110 section 9.2.3)."""
    assert may_reuse(request(method)) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "get"])
def test_other_methods_are_not_cached(method: str) -> None:
    """RFC 9111 section 3: the method has to be one that the cache understands."""
    assert method_is_not_cached(request(method)) == "method"
    assert may_reuse(request(method)) == "method"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_safe_request_with_a_body_is_not_cached(method: str) -> None:
    """RFC 9110 section 9.3.1: content of GET has no defined meaning, so no key can hold it."""
    assert safe_request_has_body(request(method, has_body=True)) == "request-body"
    assert may_reuse(request(method, has_body=True)) == "request-body"


def test_an_ordinary_answer_is_stored() -> None:
    """Nothing objects to a 200 without a word about caching."""
    assert may_store(exchange(("Content-Type", "application/json")), POLICY) is None


def test_an_answer_to_head_is_not_stored() -> None:
    """RFC 9110 section 9.3.2: it has no content, and would answer GET with an empty body."""
    to_head = exchange(asked=request("HEAD"))

    assert response_is_to_head(to_head, POLICY) == "head"
    assert may_store(to_head, POLICY) == "head"


@pytest.mark.parametrize("status", sorted(DEFAULT_STATUSES))
def test_default_statuses_are_stored(status: int) -> None:
    """200, 203, 204, 301 and 308 are what nobody minds being kept."""
    assert status_is_not_stored(exchange(status=status), POLICY) is None


@pytest.mark.parametrize("status", [0, 100, 206, 302, 303, 304, 307, 400, 404, 410, 429, 500, 503])
def test_other_statuses_are_not_stored(status: int) -> None:
    """RFC 9111 section 3: errors, redirections for now, parts and 304 are not kept unasked."""
    assert status_is_not_stored(exchange(status=status), POLICY) == f"status-{status}"
    assert may_store(exchange(status=status), POLICY) == f"status-{status}"


def test_a_policy_may_name_other_statuses() -> None:
    """Only what the policy names is kept, and 200 is not among it by itself."""
    policy = Policy(timeout=50.0, statuses=frozenset({404}))

    assert may_store(exchange(status=404), policy) is None
    assert may_store(exchange(status=200), policy) == "status-200"


@pytest.mark.parametrize("status", [0, 99, 100, 199, 206, 304, 600, -1])
def test_statuses_that_cannot_be_stored_are_refused(status: int) -> None:
    """RFC 9111 sections 3, 3.3, 4.3: not 1xx, no part, no 304; the error names the range."""
    with pytest.raises(InvalidPolicy, match=rf"status {status} .* 200 to 599"):
        storable_statuses([200, status])


def test_statuses_are_taken_from_any_iterable() -> None:
    """A list is as good as a set, and what is given once may be given twice."""
    assert storable_statuses([200, 404, 404]) == {200, 404}
    assert storable_statuses(iter((599,))) == {599}


@pytest.mark.parametrize("name", ["Set-Cookie", "set-cookie", "SET-COOKIE"])
def test_an_answer_that_sets_a_cookie_is_not_stored(name: str) -> None:
    """RFC 9111 section 7.3: a cookie that is replayed hands a session to a stranger."""
    with_cookie = exchange((name, "session=1"), ("Cache-Control", "public, max-age=60"))

    assert sets_cookie(with_cookie, POLICY) == "set-cookie"
    assert may_store(with_cookie, POLICY) == "set-cookie"


@pytest.mark.parametrize(
    "line", ["no-store", "max-age=60, No-Store", "no-store=x", 'a="b",no-store']
)
def test_no_store_is_not_stored(line: str) -> None:
    """RFC 9111 section 5.2.2.5."""
    marked = exchange(("Cache-Control", "public"), ("cache-control", line))

    assert is_no_store(marked, POLICY) == "no-store"
    assert may_store(marked, POLICY) == "no-store"


@pytest.mark.parametrize(
    "line", ["private", "PRIVATE, max-age=60", "private=", 'private="a b"', 'private="a", private']
)
def test_private_is_not_stored(line: str) -> None:
    """RFC 9111 section 5.2.2.7: not for a shared cache; what is no list of names names nothing."""
    marked = exchange(("Cache-Control", line))

    assert is_private(marked, POLICY) == "private"
    assert may_store(marked, POLICY) == "private"


@pytest.mark.parametrize("line", ["no-cache", 'no-cache=""', "public, no-cache"])
def test_no_cache_is_not_stored_without_a_validator(line: str) -> None:
    """RFC 9111 section 5.2.2.4: it has to be validated before each use, if it can be."""
    marked = exchange(("Cache-Control", line))

    assert is_no_cache(marked, POLICY) == "no-cache"
    assert may_store(marked, POLICY) == "no-cache"
    tagged = exchange(("Cache-Control", line), ("ETag", '"a"'))
    assert may_store(tagged, POLICY) == "no-cache"
    assert may_store(tagged, BY_RESPONSE) is None


@pytest.mark.parametrize(
    "line", ['private="X-User, set-cookie"', 'no-cache="Set-Cookie", private=x-user']
)
def test_some_fields_may_be_left_out(line: str) -> None:
    """RFC 9111 sections 5.2.2.4 and 5.2.2.7: the rest of the response is for all."""
    marked = exchange(("Cache-Control", line), ("Set-Cookie", "a=b"))

    assert unstored_fields(marked.directives) == {"x-user", "set-cookie"}
    assert may_store(marked, POLICY) is None


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("must-understand, no-store", 200, None),
        ("must-understand", 299, "must-understand"),
        ("must-understand, no-store", 299, "must-understand"),
        ("no-store", 299, "no-store"),
    ],
)
def test_what_must_be_understood_is(line: str, status: int, reason: str | None) -> None:
    """RFC 9111 section 5.2.2.3: ``no-store`` is for caches that do not know ``must-understand``."""
    marked = exchange(("Cache-Control", f"max-age=60, {line}"), status=status)

    assert may_store(marked, BY_RESPONSE) == reason


@pytest.mark.parametrize(
    ("status", "fields", "is_stored"),
    [
        (200, (), True),
        (404, (), True),
        (302, (), False),
        (302, (("Cache-Control", "max-age=1"),), True),
        (302, (("Cache-Control", "s-maxage=1"),), True),
        (302, (("Cache-Control", "public"),), True),
        (302, (("Expires", "0"),), True),
        (302, (("Cache-Control", "unknown"),), False),
        (503, (("Cache-Control", "max-age=1"),), True),
        (299, (("Cache-Control", "max-age=1"),), True),
        (999, (("Cache-Control", "max-age=1"),), True),
        (206, (("Cache-Control", "max-age=1"),), False),
        (304, (("Cache-Control", "max-age=1"),), False),
    ],
)
def test_a_response_may_make_itself_cacheable(status: int, fields: Fields, is_stored: bool) -> None:
    """RFC 9111 section 3: any final one whose fields say so, or whose status does."""
    reason = None if is_stored else f"status-{status}"
    assert status_is_not_stored(exchange(*fields, status=status), BY_RESPONSE) == reason


def test_a_targeted_field_takes_the_place_of_the_others() -> None:
    """RFC 9213 section 2.2: the first usable one of the list; else it is as if there were none."""
    fields = (("CDN-Cache-Control", "max-age=60"), ("Cache-Control", "no-store"), ("Expires", "0"))
    targeted = Exchange.of(request(), 200, fields, ("cdn-cache-control",))

    assert targeted.directives == {"max-age": "60"}
    assert targeted.fields == fields[:1]
    assert Exchange.of(request(), 200, fields).directives == {"no-store": None}
    malformed = (("CDN-Cache-Control", "max-age="), *fields[1:])
    assert Exchange.of(request(), 200, malformed, ("cdn-cache-control",)).directives == {
        "no-store": None
    }


def test_a_quoted_directive_is_no_directive() -> None:
    """``no-store`` inside of an argument's quotes is part of that argument."""
    assert may_store(exchange(("Cache-Control", 'ext="no-store, private"')), POLICY) is None


def test_an_authorized_request_is_not_stored() -> None:
    """RFC 9111 section 3.5: what is answered to credentials is for whoever has them."""
    authorized = exchange(asked=request(authorization="Bearer x"))

    assert request_is_authorized(authorized, POLICY) == "authorization"
    assert may_store(authorized, POLICY) == "authorization"


def test_empty_credentials_are_credentials() -> None:
    """An ``Authorization`` field without a value is still one."""
    assert may_store(exchange(asked=request(authorization="")), POLICY) == "authorization"


@pytest.mark.parametrize("line", ["public", "s-maxage=60", "must-revalidate"])
def test_an_authorized_answer_is_stored_if_it_says_so(line: str) -> None:
    """RFC 9111 section 3.5 names exactly these three directives."""
    allowed = exchange(("Cache-Control", line), asked=request(authorization="Bearer x"))

    assert may_store(allowed, POLICY) is None


@pytest.mark.parametrize("line", ["max-age=60", "proxy-revalidate", "immutable"])
def test_an_authorized_answer_is_not_stored_for_less(line: str) -> None:
    """RFC 9111 section 3.5: other directives are no permission."""
    asked = request(authorization="Bearer x")

    assert may_store(exchange(("Cache-Control", line), asked=asked), POLICY) == "authorization"


def test_an_authorized_answer_is_stored_if_the_key_tells_users_apart() -> None:
    """Where ``Authorization`` is part of the key, nobody else is answered with it."""
    policy = Policy(timeout=50.0, covered=frozenset({"authorization"}))

    assert may_store(exchange(asked=request(authorization="Bearer x")), policy) is None


@pytest.mark.parametrize("line", ["*", "Accept, *"])
def test_what_varies_on_everything_is_not_stored(line: str) -> None:
    """RFC 9111 section 4.1: ``Vary: *`` never matches a later request."""
    varying = exchange(("Vary", line))

    assert varies_on_everything(varying, POLICY) == "vary-star"
    assert may_store(varying, POLICY) == "vary-star"


@pytest.mark.parametrize(
    "kind",
    ["text/event-stream", " Text/Event-Stream; charset=utf-8", "multipart/x-mixed-replace;b=c"],
)
def test_an_event_stream_is_not_stored(kind: str) -> None:
    """To store it would mean to wait for an end that never comes."""
    stream = exchange(("Content-Type", kind))

    assert is_event_stream(stream, POLICY) == "event-stream"
    assert may_store(stream, POLICY) == "event-stream"


@pytest.mark.parametrize("credential", ["cookie", "session", "authorization"])
def test_a_view_that_read_who_is_asking_is_not_shared(credential: str) -> None:
    """What a view looked at is what its answer may depend on."""
    reads = Reads(unkeyed=frozenset({credential}))

    assert read_what_key_lacks(reads, exchange(), POLICY) == f"read-{credential}"
    assert may_share(reads, exchange(), POLICY) == f"read-{credential}"


def test_a_credential_in_the_key_may_be_read() -> None:
    """Covered by the key it selects; what else was read still forbids."""
    policy = Policy(timeout=50.0, covered=frozenset({"cookie", "session"}))

    reads = Reads(unkeyed=frozenset({"cookie", "session"}))
    assert may_share(reads, exchange(), policy) is None
    both = Reads(unkeyed=frozenset({"cookie", "authorization"}))
    assert may_share(both, exchange(), policy) == "read-authorization"


def test_selecting_fields_are_no_obstacle() -> None:
    """``Accept*`` fields select variants, and identify nobody."""
    reads = Reads(selecting=frozenset({"accept-language"}))
    assert may_share(reads, exchange(), POLICY) is None


@pytest.mark.parametrize("policy", [POLICY, BY_RESPONSE])
def test_what_a_response_varies_by_may_be_read(policy: Policy) -> None:
    """Each cookie has a variant then. What a session holds may change without the cookie."""
    varied = exchange(("Vary", "Cookie, Authorization"))

    assert may_share(reading("cookie", "authorization"), varied, policy) is None
    assert may_share(reading("cookie", "session"), varied, policy) == "read-session"
    assert may_share(reading("headers"), varied, policy) == "read-headers"


@pytest.mark.parametrize(
    ("control", "read", "reason"),
    [
        ("max-age=60", "cookie", "read-cookie"),
        ("public", "cookie", None),
        ("s-maxage=60", "headers", None),
        ("public", "authorization", None),
        ("must-revalidate", "authorization", "read-authorization"),
        ("must-revalidate", "cookie", "read-cookie"),
        ("public", "session", "read-session"),
        ("public", "remote-user", "read-remote-user"),
        ("public", "body", "read-body"),
    ],
)
def test_a_response_may_be_for_all_by_its_own_word(
    control: str, read: str, reason: str | None
) -> None:
    """RFC 9111 sections 3.5, 5.2.2.9 and 5.2.2.10; where the developer stated it, it has none."""
    said = exchange(("Cache-Control", control))

    assert may_share(reading(read), said, BY_RESPONSE) == reason
    assert may_share(reading(read), said, POLICY) == f"read-{read}"


def test_a_view_with_a_function_for_its_own_response_is_not_shared() -> None:
    """``after_this_request`` runs for the first caller, and would be skipped for all others."""
    reads = Reads(after_this_request=True)

    assert did_what_copies_do_not(reads) == "after-this-request"
    assert may_share(reads, exchange(), POLICY) == "after-this-request"


@pytest.mark.parametrize("length", ["4", "6", "-5", "five", "", "5, 5"])
def test_a_body_that_is_not_as_long_as_announced_is_incomplete(length: str) -> None:
    """RFC 9111 section 3.3: an incomplete response is not stored as a complete one."""
    assert body_is_incomplete([("content-LENGTH", length)], b"12345") == "incomplete"


def test_conflicting_lengths_are_incomplete() -> None:
    """RFC 9112 section 6.3: of two lengths at least one is wrong."""
    lengths = [("Content-Length", "5"), ("Content-Length", "6")]

    assert body_is_incomplete(lengths, b"12345") == "incomplete"


def test_a_whole_body_is_complete() -> None:
    """As long as announced, or not announced at all."""
    assert body_is_incomplete([("Content-Length", " 5 ")], b"12345") is None
    assert body_is_incomplete([], b"12345") is None
    assert body_is_incomplete([("Content-Length", "0")], b"") is None


@pytest.mark.parametrize("name", ["if-match", "if-unmodified-since"])
def test_a_precondition_is_for_the_view(name: str) -> None:
    """RFC 9111 section 4.3.2: a cache must not judge it."""
    asked = Request("GET", "http", "api.example", "", "/", b"", {name: '"a"'})

    assert has_precondition(asked) == "precondition"
    assert may_reuse(asked) == "precondition"
    assert has_precondition(request()) is None


@pytest.mark.parametrize(
    ("status", "line", "can_be"),
    [
        (200, "", True),
        (302, "", False),
        (302, "public", True),
        (302, "no-transform", False),
        (999, "s-maxage=0", True),
    ],
)
def test_a_response_is_cacheable_by_its_status_or_its_word(
    status: int, line: str, *, can_be: bool
) -> None:
    """RFC 9111 section 3, and RFC 9110 section 15.1."""
    assert is_cacheable(exchange(("Cache-Control", line), status=status)) == can_be


def test_a_status_that_has_to_be_understood_is_a_registered_one() -> None:
    """RFC 9111 section 5.2.2.3."""
    needed = ("Cache-Control", "must-understand")

    assert status_is_not_understood(exchange(needed, status=299), POLICY) == "must-understand"
    assert status_is_not_understood(exchange(needed, status=404), POLICY) is None
    assert status_is_not_understood(exchange(status=299), POLICY) is None


@pytest.mark.parametrize(
    ("before", "shown", "control", "is_covered"),
    [
        ("authorization", True, "public", True),
        ("authorization", True, "s-maxage=1", True),
        ("authorization", True, "must-revalidate", False),
        ("authorization", True, "max-age=1", False),
        ("authorization", False, "public", False),
        ("x-api-key", True, "public", True),
        ("cookie", True, "public", False),
        ("x-forwarded-user", True, "public", False),
        ("session", True, "public", False),
        ("headers", True, "public", False),
    ],
)
def test_a_token_that_was_only_checked_does_not_void_the_responses_word(
    before: str, control: str, *, shown: bool, is_covered: bool
) -> None:
    """RFC 9111 section 3.5, where a hook has read what the request has; a user is no token."""
    asked = Request("GET", "http", "a", "", "/", b"", {before: "x"} if shown else {})
    made = exchange(("Cache-Control", control), asked=asked)
    reads = Reads(unkeyed=frozenset({before}), before=frozenset({before}))

    assert (before in covered_by_response(reads, made, POLICY)) == is_covered
    own = Reads(unkeyed=frozenset({before}))
    assert before not in covered_by_response(own, made, POLICY)


@pytest.mark.parametrize(
    ("reason", "is_so"),
    [
        ("authorization", True),
        ("request-no-store", True),
        ("read-cookie", True),
        ("no-store", False),
        ("private", False),
        ("status-404", False),
    ],
)
def test_some_reasons_are_about_one_request(reason: str, *, is_so: bool) -> None:
    """They tell nothing of what is stored."""
    assert is_about_request(reason) == is_so


@pytest.mark.parametrize(
    ("reason", "is_so"),
    [
        ("read-x-api-key", True),
        ("read-session", False),
        ("read-cookie", False),
        ("read-", False),
        ("set-cookie", False),
        (None, False),
    ],
)
def test_a_field_may_be_a_credential_by_its_name_only(reason: str | None, *, is_so: bool) -> None:
    """Which debug mode tells, since it may be wrong."""
    assert is_about_field(reason) == is_so


@pytest.mark.parametrize(
    ("status", "is_so"),
    [(200, True), (302, True), (404, True), (410, True), (401, False), (503, False)],
)
def test_some_statuses_are_about_the_resource(status: int, *, is_so: bool) -> None:
    """RFC 9110 sections 15.5.5 and 15.5.11; the others are about who asks, or how, or a failure."""
    assert is_about_resource(status) == is_so


def test_a_malformed_field_is_not_stored() -> None:
    """RFC 9110 section 5: it could become two."""
    assert field_is_malformed(exchange(("X-A", "a\r\nSet-Cookie: b")), POLICY) == "malformed-field"
    assert field_is_malformed(exchange(("X-A", "a")), POLICY) is None


def test_what_cannot_keep_its_tags_is_not_stored() -> None:
    """A purge of any of them has to hit it."""
    many, long = targets(*["t"] * (MOST_TAGS + 1)), targets("t" * (LONGEST_TAG + 1))

    assert has_too_many_tags(many) == may_be_tagged(many) == "too-many-tags"
    assert has_too_long_tag(long) == may_be_tagged(long) == "tag-too-long"
    assert may_be_tagged(targets(*["t" * LONGEST_TAG] * MOST_TAGS)) is None
