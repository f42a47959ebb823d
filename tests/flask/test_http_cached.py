"""``http_cached``: the responses' own fields say what is done with them, as for a shared cache."""

import functools
from typing import Any

import pytest
from flask import Flask, Response, abort, g, request, session
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from flask_larder import Cache, InvalidPolicy
from flask_larder.conditional import entity_tag_of
from tests.flask.answers import Counter, Get, is_hit, status_of

CHANGED = "Wed, 25 Nov 2026 10:00:00 GMT"
TAG = '"one"'


class Origin:
    """Answers what it is told to, and remembers with which header fields it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.answers: list[tuple[str, int, dict[str, str]]] = []

    def will_send(self, body: str = "x", status: int = 200, **fields: str) -> None:
        """One more answer; the last one goes on."""
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        self.answers.append((body, status, headers))

    def __call__(self) -> Response:
        self.asked.append(dict(request.headers))
        body, status, fields = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        response = Response(body, status)
        response.headers.update(fields)
        return response


@pytest.fixture
def origin(app: Flask, cache: Cache) -> Origin:
    """What a view hands on that asks another server, with all header fields of the request."""
    origin = Origin()
    cached = cache.http_cached()(lambda **_: origin())
    app.add_url_rule("/<path:path>", "proxy", cached, methods=["GET", "HEAD", "POST"])
    return origin


@pytest.mark.parametrize(
    ("fields", "ttl"),
    [
        ({"Cache_Control": "max-age=60"}, 60),
        ({"Cache_Control": "max-age=60, s-maxage=20"}, 20),
        ({"Cache_Control": 'MAX-AGE="60"'}, 60),
        ({"Cache_Control": "max-age=60", "Age": "20"}, 40),
        ({"Cache_Control": "max-age=99999999999"}, 31536000),
        ({"Expires": CHANGED, "Date": "Wed, 25 Nov 2026 09:59:00 GMT"}, None),  # long ago
        ({"Cache_Control": "max-age=60", "Expires": "0"}, 60),
        ({"Cache_Control": "public"}, None),
        ({}, None),
    ],
)
def test_a_response_says_for_how_long_it_is_fresh(
    origin: Origin, get: Get, fields: dict[str, str], ttl: int | None
) -> None:
    """RFC 9111 section 4.2; one that does not say so is not stored."""
    origin.will_send(**fields)
    stored = f"stored; ttl={ttl}" if ttl is not None else "detail=not-fresh"
    assert status_of(get("/a")) == f"larder; fwd=uri-miss; {stored}"
    assert is_hit(get("/a")) == (ttl is not None)


def test_what_has_not_changed_for_long_is_fresh(origin: Origin, get: Get) -> None:
    """RFC 9111 section 4.2.2: a tenth of the time, at most a day."""
    origin.will_send(Last_Modified="Sat, 26 Nov 2016 10:00:00 GMT")
    assert status_of(get("/a")) == "larder; fwd=uri-miss; stored; ttl=86400"


@pytest.mark.parametrize("status", [299, 302, 404, 499, 503, 599, 999])
def test_any_final_status_can_be_stored(origin: Origin, get: Get, status: int) -> None:
    """RFC 9111 section 3: it is as cacheable as its fields say, also one without a name."""
    origin.will_send("x", status, Cache_Control="max-age=60")
    get("/a")
    hit = get("/a")
    assert (hit.status_code, hit.data, is_hit(hit)) == (status, b"x", True)


def test_the_age_includes_that_with_which_it_came(origin: Origin, get: Get) -> None:
    """RFC 9111 section 4.2.3."""
    origin.will_send(Cache_Control="max-age=60", Age="20")
    assert get("/a").headers["Age"] == "20"
    assert get("/a").headers["Age"] == "20"


def test_some_fields_are_not_stored(origin: Origin, get: Get) -> None:
    """RFC 9111 sections 5.2.2.4 and 5.2.2.7: those that are named, the cookie among them."""
    control = 'max-age=60, no-cache="Set-Cookie", private="X-User"'
    origin.will_send(Cache_Control=control, Set_Cookie="a=b", X_User="ann", X_All="yes")
    assert get("/a").headers["X-User"] == "ann"
    hit = get("/a")
    assert is_hit(hit)
    assert hit.headers["X-All"] == "yes"
    assert not {"Set-Cookie", "X-User"} & set(hit.headers.keys())


def test_the_query_is_taken_as_it_is(origin: Origin, get: Get) -> None:
    """RFC 9111 section 4: only the same URI has the same response."""
    origin.will_send(Cache_Control="max-age=60")
    get("/a?x=1&y=2")
    assert is_hit(get("/a?x=1&y=2"))
    for other in ("/a?y=2&x=1", "/a?x=1&y=2&", "/a?x=%31&y=2", "/a", "/a?X=1&y=2"):
        assert not is_hit(get(other)), other


def test_a_part_of_the_query_may_be_left_out(app: Flask, cache: Cache, get: Get) -> None:
    """What campaigns add is no part of the key."""

    @app.get("/")
    @cache.http_cached(ignore_query=("utm_*",))
    def view() -> Response:
        return Response("x", headers={"Cache-Control": "max-age=60"})

    get("/?b=1&utm_source=mail&a=2")
    assert is_hit(get("/?utm_medium=x&b=1&a=2"))
    assert not is_hit(get("/?a=2&b=1"))


def test_a_targeted_field_stands_above(app: Flask, get: Get) -> None:
    """RFC 9213, where it is switched on."""
    cache = Cache(app, config={"CACHE_TARGETED_FIELDS": "CDN-Cache-Control"})

    @app.get("/")
    @cache.http_cached()
    def view() -> Response:
        fields = {"CDN-Cache-Control": "max-age=60", "Cache-Control": "no-store", "Expires": "0"}
        return Response("x", headers=fields)

    assert status_of(get("/")) == "larder; fwd=uri-miss; stored; ttl=60"


def test_the_clients_directives_count(origin: Origin, get: Get) -> None:
    """RFC 9111 section 5.2.1, as for any shared cache."""
    origin.will_send(Cache_Control="max-age=60")
    assert get("/a", headers={"Cache-Control": "only-if-cached"}).status_code == 504
    get("/a")
    again = get("/a", headers={"Cache-Control": "no-cache"})
    assert status_of(again) == "larder; fwd=request; stored; ttl=60; detail=no-cache"
    assert is_hit(get("/a", headers={"Cache-Control": "no-store, min-fresh=59"}))


def test_a_client_may_take_it_stale(origin: Origin, get: Get) -> None:
    """RFC 9111 section 5.2.1.2, unless the response forbids it."""
    origin.will_send("old", ETag=TAG, Cache_Control="max-age=60", Age="100")
    origin.will_send("new", ETag='"two"', Cache_Control="max-age=60, must-revalidate", Age="100")
    get("/a")
    taken = get("/a", headers={"Cache-Control": "max-stale=50"})
    assert (taken.text, status_of(taken)) == ("old", "larder; hit; ttl=-41; detail=max-stale")
    assert get("/a").text == "new"
    refused = get("/a", headers={"Cache-Control": "max-stale"})
    assert status_of(refused).startswith("larder; fwd=stale")


def test_a_response_says_for_how_long_it_may_be_sent_stale(origin: Origin, get: Get) -> None:
    """RFC 5861 section 4: in place of an error."""
    control = "max-age=60, stale-if-error=1000"
    origin.will_send("old", Cache_Control=control, Age="100")
    origin.will_send("broken", 503)
    get("/a")
    answer = get("/a")
    assert (answer.status_code, answer.text) == (200, "old")
    assert status_of(answer) == "larder; fwd=stale; ttl=-41; detail=stale-if-error"


@pytest.mark.parametrize("control", ["must-revalidate", "proxy-revalidate", "s-maxage=60"])
def test_a_response_may_forbid_to_send_it_stale(
    app: Flask, cache: Cache, get: Get, control: str
) -> None:
    """RFC 9111 section 4.2.4, whatever the developer gives to those that say nothing of it."""
    origin = Origin()
    cached = cache.http_cached(stale_if_error=1000)(lambda: origin())
    app.add_url_rule("/", "proxy", cached)
    origin.will_send("old", Cache_Control=f"max-age=60, {control}", Age="100", ETag=TAG)
    origin.will_send("broken", 503)
    get("/")
    assert get("/").status_code == 503


def test_the_developer_may_give_a_window_to_those_that_have_none(
    app: Flask, cache: Cache, get: Get
) -> None:
    """It counts where the response says nothing of it."""
    origin = Origin()
    cached = cache.http_cached(stale_if_error=1000)(lambda: origin())
    app.add_url_rule("/", "proxy", cached)
    origin.will_send("old", Cache_Control="max-age=60")
    origin.will_send("broken", 503)
    get("/")
    cache.clear(soft=True)
    assert get("/").text == "old"


def test_a_stale_response_is_validated(origin: Origin, get: Get) -> None:
    """RFC 9111 sections 4.3.1 and 4.3.4: asked for by what it came with, and freshened."""
    origin.will_send(
        "x", ETag=TAG, Last_Modified=CHANGED, X_A="old", X_B="old", Cache_Control="no-cache"
    )
    origin.will_send("", 304, ETag=TAG, X_A="new", Cache_Control="max-age=60", Content_Length="9")
    get("/a")
    answer = get("/a")
    asked = origin.asked[1]
    assert (asked["If-None-Match"], asked["If-Modified-Since"]) == (TAG, CHANGED)
    assert (answer.status_code, answer.text, answer.content_length) == (200, "x", 1)
    assert (answer.headers["X-A"], answer.headers["X-B"]) == ("new", "old")
    assert status_of(answer) == "larder; fwd=stale; fwd-status=304; stored; ttl=60"
    hit = get("/a")
    assert (hit.text, hit.headers["X-A"], is_hit(hit)) == ("x", "new", True)


def test_a_fresh_response_is_validated_where_the_client_wants_it(origin: Origin, get: Get) -> None:
    """RFC 9111 section 5.2.1.4."""
    origin.will_send("x", ETag=TAG, Cache_Control="max-age=60")
    origin.will_send("", 304)
    get("/a")
    answer = get("/a", headers={"Cache-Control": "no-cache"})
    assert (answer.status_code, answer.text) == (200, "x")
    assert status_of(answer) == (
        "larder; fwd=request; fwd-status=304; stored; ttl=60; detail=no-cache"
    )


def test_a_tag_of_the_caches_own_is_not_asked_for(origin: Origin, get: Get) -> None:
    """It would tell the origin nothing, and set its Last-Modified aside (RFC 9110 13.2.2)."""
    origin.will_send("x", Last_Modified=CHANGED, Cache_Control="no-cache")
    assert get("/a").headers["ETag"] == entity_tag_of(b"x")
    get("/a")
    assert origin.asked[1]["If-Modified-Since"] == CHANGED
    assert "If-None-Match" not in origin.asked[1]


def test_a_304_about_something_else_is_not_used(origin: Origin, get: Get) -> None:
    """RFC 9111 section 4.3.4: then the whole is asked for, without conditions."""
    origin.will_send("old", ETag=TAG, Cache_Control="no-cache")
    origin.will_send("", 304, ETag='"two"')
    origin.will_send("new", ETag='"two"', Cache_Control="max-age=60")
    get("/a")
    answer = get("/a")
    assert (answer.status_code, answer.text) == (200, "new")
    assert "If-None-Match" not in origin.asked[2]
    assert get("/a").text == "new"


def test_what_the_client_has_is_judged_after_the_validation(origin: Origin, get: Get) -> None:
    """RFC 9111 section 4.3.2: its conditions are not handed on, ours are."""
    origin.will_send("x", ETag=TAG, Cache_Control="no-cache")
    origin.will_send("", 304, ETag=TAG)
    get("/a")
    other = get("/a", headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.text) == (200, "x")
    same = get("/a", headers={"If-None-Match": f'"other", {TAG}', "If-Modified-Since": CHANGED})
    assert (same.status_code, same.data) == (304, b"")
    assert [asked.get("If-None-Match") for asked in origin.asked] == [None, TAG, TAG]
    assert "If-Modified-Since" not in origin.asked[2]


def test_a_cookie_that_comes_with_a_304_is_for_who_asked(origin: Origin, get: Get) -> None:
    """It is never stored; the one whose request it answers gets it."""
    origin.will_send("x", ETag=TAG, Cache_Control="no-cache")
    origin.will_send("", 304, ETag=TAG, Set_Cookie="user=ann", Cache_Control="max-age=60")
    origin.will_send("y", Cache_Control="max-age=60")
    get("/a")
    assert "user=ann" in get("/a").headers["Set-Cookie"]
    nobody = get("/a")
    assert "Set-Cookie" not in nobody.headers
    assert nobody.text == "y"


def test_a_304_that_nobody_asked_for_is_handed_on(origin: Origin, get: Get) -> None:
    """There is nothing that it could freshen, and it is not stored."""
    origin.will_send("", 304, Cache_Control="max-age=60")
    assert get("/a").status_code == 304
    assert status_of(get("/a")) == "larder; fwd=uri-miss; detail=status-304"


def test_head_is_validated_too(origin: Origin, get: Get) -> None:
    """A 304 to it freshens what GET is answered with."""
    origin.will_send("x", ETag=TAG, Cache_Control="no-cache")
    origin.will_send("", 304, ETag=TAG, Cache_Control="max-age=60")
    get("/a")
    head = get("/a", method="HEAD")
    assert (head.status_code, head.data, head.content_length) == (200, b"", 1)
    assert (get("/a").text, is_hit(get("/a"))) == ("x", True)


def test_a_200_to_head_freshens_what_it_confirms(origin: Origin, get: Get) -> None:
    """RFC 9111 section 4.3.5."""
    origin.will_send("x", ETag=TAG, Cache_Control="no-cache")
    origin.will_send("", 200, ETag=TAG, Cache_Control="max-age=60", X_A="new", Content_Length="1")
    get("/a")
    get("/a", method="HEAD")
    hit = get("/a")
    assert (hit.text, hit.headers["X-A"], is_hit(hit)) == ("x", "new", True)


@pytest.mark.parametrize(("told", "sent"), [("", None), ("s-maxage=60", "for ann")])
@pytest.mark.parametrize("name", ["Authorization", "Cookie"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("HEAD", 304), ("GET", 304)])
def test_what_confirms_tells_others_only_what_is_for_all(
    origin: Origin, get: Get, method: str, status: int, name: str, told: str, sent: str | None
) -> None:
    """It has to say so where it may be for one user, as a whole answer would (section 3.5)."""
    origin.will_send("x", ETag=TAG, Cache_Control="s-maxage=60, no-cache")
    fields = {"Cache_Control": told} if told else {}
    fields |= {"Content_Length": "1"} if status == 200 else {}
    origin.will_send("", status, ETag=TAG, X_Told="for ann", **fields)
    origin.will_send("", 304, ETag=TAG)
    get("/a")
    anns = get("/a", method=method, headers={name: "user=ann"})
    assert anns.headers["X-Told"] == "for ann"
    answer = get("/a")
    assert (answer.text, answer.headers.get("X-Told")) == ("x", sent)


@pytest.mark.parametrize("name", ["Authorization", "Cookie"])
def test_a_304_without_fields_freshens_what_is_for_all(origin: Origin, get: Get, name: str) -> None:
    """As many views answer, and all callers may have shown who they are."""
    origin.will_send("x", ETag=TAG, Cache_Control="public, max-age=60", Age="61", X_Told="to all")
    origin.will_send("", 304, X_Told="for ann")
    anns = {name: "user=ann"}
    get("/a", headers=anns)
    validated = get("/a", headers=anns)
    assert (validated.text, validated.headers["X-Told"]) == ("x", "for ann")
    hit = get("/a", headers=anns)
    assert (hit.text, hit.headers["X-Told"], is_hit(hit)) == ("x", "to all", True)


def test_a_304_for_one_user_may_end_what_is_for_all(app: Flask, get: Get) -> None:
    """A targeted field is about caching, too (RFC 9213), so it counts whoever has asked."""
    origin = Origin()
    cache = Cache(app, config={"CACHE_TARGETED_FIELDS": "CDN-Cache-Control"})
    app.add_url_rule("/a", "proxy", cache.http_cached()(origin))
    origin.will_send("x", ETag=TAG, CDN_Cache_Control="public, max-age=60", Age="61")
    origin.will_send("", 304, CDN_Cache_Control="no-store")
    origin.will_send("y")
    get("/a")
    anns = get("/a", headers={"Cookie": "user=ann"})
    assert (anns.text, anns.headers["CDN-Cache-Control"]) == ("x", "no-store")
    assert get("/a").text == "y"


def test_a_304_goes_on_to_be_for_those_whom_the_stored_response_is_for(
    origin: Origin, get: Get
) -> None:
    """A view that names what it varies by need not do so again, and freshens that variant alone."""
    origin.will_send("x", ETag=TAG, Vary="X-Api-Key", Cache_Control="max-age=60, no-cache")
    origin.will_send("", 304, ETag=TAG, Cache_Control="max-age=60", X_Told="for ann")
    origin.will_send("y")
    ann, bob = {"X-Api-Key": "ann"}, {"X-Api-Key": "bob"}
    get("/a", headers=ann)
    get("/a", headers=ann)
    hit = get("/a", headers=ann)
    assert (hit.text, hit.headers["X-Told"], is_hit(hit)) == ("x", "for ann", True)
    assert get("/a", headers=bob).text == "y"


@pytest.mark.parametrize("fields", [{"ETag": '"two"'}, {"ETag": TAG, "Content_Length": "7"}])
def test_a_200_to_head_forgets_what_it_contradicts(
    origin: Origin, get: Get, fields: dict[str, str]
) -> None:
    """RFC 9111 section 4.3.5: what is stored is not what GET would get."""
    origin.will_send("x", ETag=TAG, Cache_Control="max-age=60")
    origin.will_send("", 200, Cache_Control="max-age=60", **fields)
    origin.will_send("new", ETag='"two"', Cache_Control="max-age=60")
    get("/a")
    get("/a", method="HEAD", headers={"Cache-Control": "no-cache"})
    assert get("/a").text == "new"


@pytest.mark.parametrize("status", [404, 503])
def test_a_200_to_head_forgets_what_has_another_status(
    origin: Origin, get: Get, status: int
) -> None:
    """So GET would no longer get that, though its validator and its length be the same."""
    origin.will_send("gone", status, Cache_Control="max-age=60", ETag=TAG)
    origin.will_send("", 200, Cache_Control="max-age=60", ETag=TAG, Content_Length="4")
    origin.will_send("new", Cache_Control="max-age=60")
    get("/a")
    assert get("/a").text == "gone"
    get("/a", method="HEAD", headers={"Cache-Control": "no-cache"})
    assert get("/a").text == "new"


def test_a_cached_view_is_asked_too(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """A view under ``cached`` that gives its answers a tag can say that nothing has changed."""

    @app.get("/")
    @cache.cached(timeout=60)
    def view() -> Response:
        count()
        return Response("x", headers={"ETag": TAG}).make_conditional(request)

    get("/")
    cache.clear(soft=True)
    answer = get("/")
    assert (answer.status_code, answer.text, count.runs) == (200, "x", 2)
    assert "fwd-status=304" in status_of(answer)


def ask_as(get: Get, user: str, **fields: str) -> TestResponse:
    return get("/a", headers={"Cookie": f"user={user}", **fields})


def test_what_looked_at_a_cookie_is_not_stored(origin: Origin, get: Get) -> None:
    """It was handed on with all header fields, and the response does not say that it is for all."""
    origin.will_send("for ann", Cache_Control="max-age=60")
    origin.will_send("for bob", Cache_Control="max-age=60")
    assert status_of(ask_as(get, "ann")) == "larder; fwd=uri-miss; detail=read-cookie"
    assert ask_as(get, "bob").text == "for bob"


def test_what_looked_at_a_cookie_is_stored_where_it_says_so(origin: Origin, get: Get) -> None:
    """RFC 9111 section 5.2.2.9."""
    origin.will_send("for all", Cache_Control="public, max-age=60")
    ask_as(get, "ann")
    assert is_hit(ask_as(get, "bob"))


def test_what_varies_by_cookie_has_a_variant_for_each(origin: Origin, get: Get) -> None:
    """RFC 9111 section 4.1."""
    origin.will_send("for ann", Cache_Control="max-age=60", Vary="Cookie")
    origin.will_send("for bob", Cache_Control="max-age=60", Vary="Cookie")
    assert ask_as(get, "ann").text == "for ann"
    assert ask_as(get, "bob").text == "for bob"
    again = ask_as(get, "ann")
    assert (again.text, is_hit(again)) == ("for ann", True)


@pytest.mark.parametrize("control", ["max-age=60", "public, max-age=60", "s-maxage=60"])
def test_what_looked_at_the_session_is_never_for_all(
    app: Flask, cache: Cache, get: Get, control: str
) -> None:
    """Whatever its fields say: they may be the same for all pages of an app."""

    @app.get("/")
    @cache.http_cached()
    def view() -> Response:
        return Response(f"for {session.get('user')}", headers={"Cache-Control": control})

    assert status_of(get("/")) == "larder; fwd=uri-miss; detail=read-session"


@pytest.mark.parametrize(
    ("control", "is_stored"),
    [
        ("max-age=60", False),
        ("max-age=60, public", True),
        ("s-maxage=60", True),
        ("max-age=60, must-revalidate", False),
    ],
)
def test_what_is_authorized_is_for_all_only_by_its_word(
    origin: Origin, get: Get, control: str, *, is_stored: bool
) -> None:
    """RFC 9111 section 3.5."""
    origin.will_send("x", Cache_Control=control)
    get("/a", headers={"Authorization": "Bearer ann"})
    assert is_hit(get("/a", headers={"Authorization": "Bearer bob"})) == is_stored


def test_users_may_be_told_apart(app: Flask, cache: Cache, get: Get) -> None:
    """By a function, as for ``cached``."""

    @app.get("/")
    @cache.http_cached(vary=lambda: request.cookies.get("user"))
    def view() -> Response:
        return Response(request.cookies["user"], headers={"Cache-Control": "max-age=60"})

    for user in ("ann", "bob", "ann"):
        answer = get("/", headers={"Cookie": f"user={user}"})
        assert answer.text == user
    assert is_hit(answer)


def test_what_is_raised_may_be_stored(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """What the app makes of it has fields of its own."""

    @app.errorhandler(404)
    def not_found(_: Exception) -> Response:
        return Response("none", 404, headers={"Cache-Control": "max-age=60"})

    @app.get("/")
    @cache.http_cached()
    def view() -> Response:
        count()
        abort(404)

    get("/")
    hit = get("/")
    assert (hit.status_code, hit.text, count.runs) == (404, "none", 1)


def test_a_function_that_is_no_view_is_left_alone(
    app: Flask, cache: Cache, get: Get, count: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    """It has no response whose fields could be read; the log says so."""

    @cache.http_cached()
    def load() -> int:
        return count()

    @app.get("/")
    def view() -> dict[str, int]:
        return {"loaded": load()}

    assert (get("/").json, get("/").json) == ({"loaded": 1}, {"loaded": 2})
    assert "is not the view of the request" in caplog.text


@pytest.mark.parametrize(
    "options", [{"stale_if_error": -1}, {"vary": ()}, {"ignore_query": "utm_*"}, {"tags": 7}]
)
def test_options_are_checked(cache: Cache, options: dict[str, Any]) -> None:
    """Where they are written."""
    with pytest.raises(InvalidPolicy):
        cache.http_cached(**options)


@pytest.mark.parametrize("name", ["If-Match", "If-Unmodified-Since"])
@pytest.mark.parametrize("decorate", ["cached", "http_cached"])
def test_a_condition_of_one_client_shapes_nothing_for_others(
    app: Flask, cache: Cache, get: Get, name: str, decorate: str
) -> None:
    """Only the view can judge these (RFC 9111 section 4.3.2), and 412 is for who has asked."""

    def view() -> Response:
        is_met = name not in request.headers
        return Response("x", 200 if is_met else 412, headers={"Cache-Control": "max-age=60"})

    app.add_url_rule("/", "view", getattr(cache, decorate)()(view))
    failed = get("/", headers={name: '"other"'})
    assert (failed.status_code, status_of(failed)) == (
        412,
        "larder; fwd=bypass; detail=precondition",
    )
    assert get("/").status_code == 200
    assert get("/", headers={name: '"other"'}).status_code == 412  # also where it is stored


@pytest.mark.parametrize("decorate", ["cached", "http_cached"])
@pytest.mark.parametrize("control", ["max-age=60, must-revalidate", "max-age=60"])
def test_a_token_that_a_hook_has_read_is_not_for_all(
    app: Flask, cache: Cache, get: Get, decorate: str, control: str
) -> None:
    """Who says ``must-revalidate`` means to be careful, and not that it is for everybody."""

    @app.before_request
    def load() -> None:
        g.user = request.authorization.token if request.authorization else "nobody"

    def view() -> Response:
        return Response(g.user, headers={"Cache-Control": control})

    app.add_url_rule("/", "view", getattr(cache, decorate)()(view))
    for user in ("ann", "bob", "ann"):
        assert get("/", headers={"Authorization": f"Bearer {user}"}).text == user
    assert get("/").text == "nobody"


@pytest.mark.parametrize(
    "name",
    ["X-Api-Key", "X-Auth-Token", "X-Access-Token", "DPoP", "X-Session-Id", "X-WEBAUTH-USER"],
)
def test_a_credential_that_is_handed_on_is_not_for_all(origin: Origin, get: Get, name: str) -> None:
    """A view that hands on all fields hands on this one, too, unless it says otherwise."""
    origin.will_send("for ann", Cache_Control="max-age=60")
    origin.will_send("for bob", Cache_Control="max-age=60")
    origin.will_send("for all", Cache_Control="public, max-age=60")
    refused = get("/a", headers={name: "ann"})
    assert status_of(refused) == f"larder; fwd=uri-miss; detail=read-{name.lower()}"
    assert get("/a", headers={name: "bob"}).text == "for bob"
    get("/a", headers={name: "cid"})
    assert is_hit(get("/a", headers={name: "dot"}))


def test_a_credential_by_which_it_varies_may_be_handed_on(origin: Origin, get: Get) -> None:
    """Each value has a variant of its own then."""
    origin.will_send("for ann", Cache_Control="max-age=60", Vary="X-Api-Key")
    origin.will_send("for bob", Cache_Control="max-age=60", Vary="X-Api-Key")
    assert get("/a", headers={"X-Api-Key": "ann"}).text == "for ann"
    assert get("/a", headers={"X-Api-Key": "bob"}).text == "for bob"
    assert is_hit(get("/a", headers={"X-Api-Key": "ann"}))


@pytest.mark.parametrize("name", ["User-Agent", "Sec-Fetch-User", "Sec-WebSocket-Key"])
def test_what_every_browser_sends_is_no_credential(origin: Origin, get: Get, name: str) -> None:
    """Though its name looks like one."""
    origin.will_send(Cache_Control="max-age=60")
    get("/a", headers={name: "x"})
    assert is_hit(get("/a", headers={name: "y"}))


def test_an_unsafe_method_always_reaches_the_view(origin: Origin, get: Get) -> None:
    """RFC 9111 section 4, whatever its ``Cache-Control`` asks for."""
    origin.will_send()
    answer = get("/a", method="POST", headers={"Cache-Control": "only-if-cached"})
    assert (answer.status_code, len(origin.asked)) == (200, 1)


def test_what_a_decorator_makes_of_it_was_made_now(app: Flask, cache: Cache, get: Get) -> None:
    """A date of the stored response tells nothing of that."""
    cached = cache.http_cached()(lambda: Response("x", headers={"Cache-Control": "max-age=60"}))

    @app.get("/")
    @functools.wraps(cached)
    def view() -> str:
        return f"{cached().get_data(as_text=True)} for {request.args.get('user')}"

    get("/?user=ann")
    since = {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}
    answer = get("/?user=ann", headers=since)
    assert (answer.status_code, answer.text) == (200, "x for ann")


def test_what_is_raised_through_a_decorator_is_raised_again(
    app: Flask, cache: Cache, get: Get
) -> None:
    """So that it sees the same, whether that is stored or not."""

    @cache.http_cached()
    def gone() -> Response:
        abort(Response("gone", 410, headers={"Cache-Control": "max-age=60"}))

    @app.get("/")
    @functools.wraps(gone)
    def view() -> Response:
        try:
            return gone()
        except HTTPException:
            return Response("instead")

    assert (get("/").text, get("/").text) == ("instead", "instead")


def test_an_answer_that_nobody_gets_is_closed(app: Flask, cache: Cache, get: Get) -> None:
    """Such as a 304 about another tag, whose connection would stay in use otherwise."""
    closed: list[str | None] = []

    @app.get("/")
    @cache.http_cached()
    def view() -> Response:
        asked = request.headers.get("If-None-Match")
        fields = {"ETag": '"b"' if asked else TAG, "Cache-Control": "no-cache"}
        response = Response(iter([b"x"]), 304 if asked else 200, headers=fields)
        response.call_on_close(lambda: closed.append(asked))
        return response

    get("/").close()
    get("/").close()
    assert sorted(closed, key=str) == [TAG, None, None]
