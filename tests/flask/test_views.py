"""A cached view: what is stored, what comes back, and what the options mean."""

import functools
import gc
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    jsonify,
    make_response,
    request,
)
from flask.views import MethodView
from werkzeug.exceptions import HTTPException
from werkzeug.test import EnvironBuilder, run_wsgi_app
from werkzeug.wrappers import Response as WerkzeugResponse

from flask_larder import Cache, InvalidPolicy
from tests.flask.answers import Counter, Get, is_hit, status_of


def test_second_answer_is_stored_one(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """The view runs once; status, fields and body come back as they were."""

    @app.get("/square/<int:number>")
    @cache.cached(timeout=50)
    def square(number: int) -> tuple[dict[str, int], int, dict[str, str]]:
        count()
        return {"computed": number * number}, 203, {"X-Own": "ü"}

    first, second = get("/square/4"), get("/square/4")
    assert status_of(first) == "larder; fwd=uri-miss; stored; ttl=50"
    assert status_of(second) == "larder; hit; ttl=50"
    assert "Age" not in first.headers
    assert second.headers["Age"] == "0"
    assert second.status_code == first.status_code == 203
    assert second.data == first.data == b'{"computed":16}\n'
    changing = {"Cache-Status", "Server-Timing", "Age"}
    assert [field for field in second.headers if field[0] not in changing] == [
        field for field in first.headers if field[0] not in changing
    ]
    assert count.runs == 1


@pytest.mark.parametrize(
    "returned",
    [
        "text",
        b"bytes",
        {"a": 1},
        [1, 2],
        ("text", 203),
        ("text", {"X-Own": "1"}),
        ("text", 200, [("X-Own", "1"), ("X-Own", "2")]),
        pytest.param(lambda: jsonify(a=1), id="response"),
        pytest.param(lambda: (chunk for chunk in ("a", "b")), id="generator"),
        pytest.param(lambda: Response(iter([b"a", b"b"])), id="streamed"),
        pytest.param(lambda: (Response("x"), 203), id="tuple-of-response"),
        pytest.param(lambda: make_response(b"", 204), id="empty"),
    ],
)
def test_whatever_a_view_returns(
    app: Flask, cache: Cache, get: Get, count: Counter, returned: object
) -> None:
    """Each thing that Flask takes as a response is stored, and comes back alike."""

    @app.get("/")
    @cache.cached()
    def view() -> object:
        count()
        return returned() if callable(returned) else returned

    @app.get("/plain")
    def plain() -> object:
        return returned() if callable(returned) else returned

    expected, first, second = get("/plain"), get("/"), get("/")
    assert expected.data == first.data == second.data
    assert expected.status_code == first.status_code == second.status_code
    assert expected.content_type == second.content_type
    assert expected.headers.getlist("X-Own") == second.headers.getlist("X-Own")
    assert is_hit(second)
    assert count.runs == 1


def test_response_without_content_type_stays_so(app: Flask, cache: Cache, get: Get) -> None:
    """A hit adds no field that the view's answer did not have."""

    @app.get("/")
    @cache.cached()
    def view() -> Response:
        response = Response("x")
        del response.headers["Content-Type"]
        return response

    assert "Content-Type" not in get("/").headers
    assert "Content-Type" not in get("/").headers


def test_async_view(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """A coroutine function is run as Flask runs it."""
    pytest.importorskip("asgiref")

    @app.get("/")
    @cache.cached()
    async def view() -> str:
        return str(count())

    assert get("/").data == get("/").data == b"1"


def test_methods_of_a_class(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """The decorator works on a method, and on the view that a class makes."""

    class Item(MethodView):
        @cache.cached()
        def get(self, name: str) -> str:
            return f"{name} {count()}"

    class Other(MethodView):
        decorators = (cache.cached(),)

        def get(self) -> str:
            return str(count())

    app.add_url_rule("/item/<name>", view_func=Item.as_view("item"))
    app.add_url_rule("/other", view_func=Other.as_view("other"))
    assert get("/item/a").data == get("/item/a").data == b"a 1"
    assert get("/other").data == get("/other").data == b"2"


def test_expires(app: Flask, get: Get, count: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once its lifetime is over, the response is made again."""
    now = [1000.0]
    monkeypatch.setattr("flask_larder.flask.wiring.time.time", lambda: now[0])
    monkeypatch.setattr("flask_larder.flask.wiring.time.monotonic", lambda: now[0])
    cache = Cache(app)

    @app.get("/")
    @cache.cached(timeout=timedelta(seconds=30))
    def view() -> str:
        return str(count())

    get("/")
    now[0] += 29.5
    late = get("/")
    assert status_of(late) == "larder; hit; ttl=1"
    assert late.headers["Age"] == "29"
    now[0] += 0.5
    assert status_of(get("/")) == "larder; fwd=uri-miss; stored; ttl=30"
    assert count.runs == 2


def test_max_age_shortens(app: Flask, cache: Cache, get: Get) -> None:
    """The response's own max-age is kept to, and cannot lengthen the timeout."""

    @app.get("/<int:age>")
    @cache.cached(timeout=30)
    def view(age: int) -> Response:
        return Response("x", headers={"Cache-Control": f"max-age={age}"})

    assert status_of(get("/5")).endswith("ttl=5")
    assert status_of(get("/500")).endswith("ttl=30")
    assert status_of(get("/0")) == "larder; fwd=uri-miss; detail=not-fresh"


def test_timeouts(app: Flask, cache: Cache, get: Get) -> None:
    """None is the default, 0 a year; what is no timeout is an error where it is written."""

    @app.get("/default")
    @cache.cached()
    def default() -> str:
        return ""

    @app.get("/ever")
    @cache.cached(timeout=0)
    def ever() -> str:
        return ""

    assert status_of(get("/default")).endswith("ttl=300")
    assert status_of(get("/ever")).endswith("ttl=31536000")
    with pytest.raises(InvalidPolicy, match=r"timeout is -3\.0 s; give seconds above 0"):
        cache.cached(timeout=-3.0)
    with pytest.raises(InvalidPolicy, match="timeout is 'soon'"):
        cache.cached(timeout="soon")  # type: ignore[arg-type]
    default.cache_timeout = 7
    ever.cache_timeout = timedelta(seconds=8)
    assert status_of(get("/default")).startswith("larder; hit")
    cache.clear()
    assert status_of(get("/default")).endswith("ttl=7")
    assert status_of(get("/ever")).endswith("ttl=8")


@pytest.mark.parametrize("raises", [True, False])
def test_errors_are_not_stored(
    app: Flask, cache: Cache, get: Get, count: Counter, *, raises: bool
) -> None:
    """An error by abort(), or by a status, is made anew each time, and the status says why."""

    @app.get("/")
    @cache.cached()
    def view() -> tuple[str, int]:
        count()
        if raises:
            abort(503)
        return "oops", 503

    assert status_of(get("/")) == "larder; fwd=uri-miss; detail=status-503"
    assert get("/").status_code == 503
    assert count.runs == 2


def test_exception_passes_through(app: Flask, cache: Cache, get: Get) -> None:
    """An exception reaches Flask as it is, and the answer still has its status."""

    @app.get("/")
    @cache.cached()
    def view() -> str:
        raise LookupError("gone")

    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.testing = False
    assert get("/").status_code == 500
    assert status_of(get("/")) == "larder; fwd=uri-miss; detail=error"


def test_statuses_that_are_asked_for(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """With statuses=(404,) what the error handler answers is stored; 206 cannot be asked for."""

    @app.errorhandler(404)
    def not_found(_: Exception) -> tuple[str, int]:
        return "handled", 404

    @app.get("/")
    @cache.cached(statuses=(200, 404))
    def view() -> str:
        count()
        abort(404)

    assert get("/").data == b"handled"
    assert is_hit(get("/"))
    assert get("/").data == b"handled"
    assert get("/").status_code == 404
    assert count.runs == 1
    with pytest.raises(InvalidPolicy, match="status 206 cannot be stored"):
        cache.cached(statuses=(200, 206))


def test_only_get_and_head(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """HEAD is answered from GET and never the other way round; POST goes past the cache."""

    @app.route("/", methods=["GET", "POST"])
    @cache.cached()
    def view() -> str:
        return f"{request.method} {count()}"

    assert status_of(get("/", method="HEAD")) == "larder; fwd=uri-miss; detail=head"
    assert get("/").data == b"GET 2"
    head = get("/", method="HEAD")
    assert is_hit(head)
    assert head.data == b""
    assert head.content_length == len(b"GET 2")
    assert get("/").data == b"GET 2"
    assert status_of(get("/", method="POST")) == "larder; fwd=method"
    assert get("/", method="POST").data == b"POST 4"


def test_get_with_body_bypasses(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """A body on GET could select anything, so such a request neither gets nor leaves an entry."""

    @app.get("/")
    @cache.cached()
    def view() -> bytes:
        count()
        return request.get_data()

    assert get("/", data=b"one").data == b"one"
    assert get("/").data == b""
    assert status_of(get("/", data=b"two")) == "larder; fwd=bypass; detail=request-body"
    assert get("/").data == b""
    assert count.runs == 3


def test_query_rules(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """The query is no part of the key, or all of it in any order, or some names, less patterns."""

    def view() -> str:
        return str(count())

    for rule, options in {
        "none": {},
        "all": {"query_string": True},
        "some": {"query_string": ("page",)},
        "less": {"query_string": True, "ignore_query": ("utm_*", "fbclid")},
    }.items():
        app.add_url_rule(f"/{rule}", rule, cache.cached(**options)(view))  # type: ignore[arg-type]

    assert get("/none?a=1").data == get("/none?a=2").data
    assert get("/all?a=1&b=2").data == get("/all?b=2&a=1").data
    assert get("/all?a=1&a=2").data != get("/all?a=2&a=1").data
    assert get("/all?a=1%262").data != get("/all?a=1&2").data
    assert get("/some?page=1&x=1").data == get("/some?x=2&page=1").data
    assert get("/some?page=1").data != get("/some?page=2").data
    assert get("/less?a=1&utm_source=x&fbclid=3").data == get("/less?a=1").data
    for mistake in ({"query_string": "page"}, {"query_string": True, "ignore_query": "utm_*"}):
        with pytest.raises(InvalidPolicy, match=r"give .*a sequence of names"):
            cache.cached(**mistake)  # type: ignore[arg-type]


def test_unless_and_forced_update(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """Unless leaves the cache alone; forced_update replaces what is stored."""

    @app.get("/")
    @cache.cached(
        unless=lambda: "skip" in request.args, forced_update=lambda: "fresh" in request.args
    )
    def view() -> str:
        return str(count())

    assert get("/").data == b"1"
    assert status_of(skipped := get("/?skip")) == "larder; fwd=bypass; detail=unless"
    assert skipped.data == b"2"
    assert get("/").data == b"1"
    forced = get("/?fresh")
    assert status_of(forced) == "larder; fwd=request; stored; ttl=300; detail=forced-update"
    assert get("/").data == forced.data == b"3"


def test_options_that_take_the_call(app: Flask, cache: Cache, get: Get) -> None:
    """Unless gets the view and its arguments, the others the arguments, if they take any."""
    seen: list[object] = []

    @app.get("/<name>")
    @cache.cached(
        unless=lambda view, name: seen.append(("unless", view.__name__, name)),
        forced_update=lambda name: seen.append(("forced", name)),
        is_stale=lambda stored, name: seen.append(("stale", stored.get_data(), name)),
        response_filter=lambda returned: seen.append(("filter", returned)) or True,
    )
    def view(name: str) -> str:
        return name

    get("/a")
    get("/a")
    assert seen == [
        ("unless", "view", "a"),
        ("forced", "a"),
        ("filter", "a"),
        ("unless", "view", "a"),
        ("forced", "a"),
        ("stale", b"a", "a"),
    ]


def test_is_stale_and_response_filter(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """A stored response that is_stale rejects is made again; what is filtered is not stored."""

    @app.get("/stale")
    @cache.cached(is_stale=lambda response: response.get_data() == b"1")
    def stale() -> str:
        return str(count())

    @app.get("/filtered")
    @cache.cached(response_filter=lambda returned: "error" not in returned)
    def filtered() -> dict[str, str]:
        return {"error": "quota"}

    get("/stale")
    assert status_of(get("/stale")) == "larder; fwd=stale; stored; ttl=300; detail=is-stale"
    assert is_hit(get("/stale"))
    assert status_of(get("/filtered")) == "larder; fwd=uri-miss; detail=response-filter"


def test_a_response_filter_that_raises(app: Flask, cache: Cache, get: Get) -> None:
    """It is told as any option that fails."""

    @app.get("/")
    @cache.cached(response_filter=lambda returned: returned["error"])
    def view() -> str:
        return "x"

    assert get("/").text == "x"
    assert status_of(get("/")) == "larder; fwd=uri-miss; detail=option-failed"


def test_own_keys(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """make_cache_key and a callable key_prefix return the whole key; delete() takes it."""

    @app.get("/by/<name>")
    @cache.cached(make_cache_key=lambda name: f"by-{name.lower()}")
    def by(name: str) -> str:
        return f"{name} {count()}"

    @app.get("/prefix")
    @cache.cached(key_prefix=lambda: "mine")
    def prefix() -> str:
        return str(count())

    assert get("/by/A").data == get("/by/a").data == b"A 1"
    assert cache.delete("by-a")
    assert get("/by/a").data == b"a 2"
    assert get("/prefix").data == get("/prefix?x=1").data == b"3"
    assert cache.has("mine")


@pytest.mark.parametrize("key", [None, 7, b"x"])
def test_key_that_is_no_text(
    app: Flask, cache: Cache, get: Get, caplog: pytest.LogCaptureFixture, key: object
) -> None:
    """A key function that returns no text, or raises, leaves the view uncached and says so."""

    @app.get("/")
    @cache.cached(make_cache_key=lambda: key)  # type: ignore[arg-type, return-value]
    def view() -> str:
        return "x"

    assert get("/").data == b"x"
    assert status_of(get("/")) == "larder; fwd=bypass; detail=option-failed"
    assert "it must return a text" in caplog.text


def test_key_prefixes_separate(app: Flask, cache: Cache, count: Counter) -> None:
    """Functions with other prefixes do not share an entry of one URL."""
    app.extensions["count"] = count

    def view() -> str:
        return str(current_app.extensions["count"]())

    views = [
        cache.cached(key_prefix=prefix)(view)
        for prefix in ("view/%s", "api/%s", "%s/api", "%sapi", "a#b%s")
    ]
    app.add_url_rule("/same", "same", lambda: "")
    with app.test_request_context("/same"):
        first = [each() for each in views]
        assert first == ["1", "2", "3", "4", "5"]
        assert [each() for each in views] == first


def test_source_check(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """With source_check another version of the function has another key."""

    def first() -> str:
        return f"first {count()}"

    def second() -> str:
        return f"second {count()}"

    cached = cache.cached(source_check=True)
    app.add_url_rule("/", "view", cached(first))
    assert get("/").data == get("/").data == b"first 1"
    app.view_functions["view"] = cached(second)
    assert get("/").data == get("/").data == b"second 2"


def test_hit_indication_and_attributes(app: Flask, cache: Cache, get: Get) -> None:
    """response_hit_indication marks hits; uncached is the function itself."""

    @app.get("/")
    @cache.cached(response_hit_indication=True)
    def view() -> str:
        return "x"

    assert "hit_cache" not in get("/").headers
    assert get("/").headers["hit_cache"] == "True"
    assert view.uncached() == "x"
    assert view.__name__ == "view"


def test_outer_decorator_sees_the_views_own_value(app: Flask, cache: Cache, get: Get) -> None:
    """A decorator around the cache gets what the view returned, on a miss and on a hit."""
    seen: list[object] = []

    def outer(view: Callable[[], Any]) -> Callable[[], Any]:
        @functools.wraps(view)
        def wrapper() -> Any:
            seen.append(view())
            return seen[-1]

        return wrapper

    @cache.cached()
    def view() -> dict[str, int]:
        return {"a": 1}

    app.add_url_rule("/", "view", outer(view))
    get("/")
    assert seen == [{"a": 1}]
    assert is_hit(get("/"))
    assert get("/").json == {"a": 1}
    assert seen == [{"a": 1}] * 3


def test_what_is_no_response(app: Flask, cache: Cache) -> None:
    """A value of which Flask makes no response is handed on and not stored."""

    @cache.cached()
    def view() -> object:
        return {1, 2}

    with app.test_request_context("/"):
        assert view() == view() == {1, 2}


def test_view_called_without_request_runs(cache: Cache, count: Counter) -> None:
    """Outside a request a view is called as if it were not cached."""

    @cache.cached()
    def view() -> int:
        return count()

    assert (view(), view()) == (1, 2)


def test_nested_views(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """A cached view that returns another one's answer has one status, its own."""

    @app.get("/inner")
    @cache.cached()
    def inner() -> str:
        return str(count())

    @app.get("/outer")
    @cache.cached(timeout=7, key_prefix="outer/%s")
    def outer() -> object:
        return inner()

    get("/outer")
    hit = get("/outer")
    assert hit.headers.getlist("Cache-Status") == ["larder; hit; ttl=7"]
    assert len(hit.headers.getlist("Age")) == 1
    assert count.runs == 1


def test_blueprint(app: Flask, get: Get, count: Counter) -> None:
    """A cache made before the app serves a blueprint, whose views know no app."""
    cache = Cache()
    blueprint = Blueprint("api", __name__, url_prefix="/api")

    @blueprint.get("/x")
    @cache.cached()
    def view() -> str:
        return str(count())

    cache.init_app(app)
    app.register_blueprint(blueprint)
    assert get("/api/x").data == get("/api/x").data == b"1"


def test_signals(app: Flask, get: Get) -> None:
    """With CACHE_ENABLE_SIGNALS a miss and a hit are told to whoever listens."""
    from flask_larder import cache_view_hit, cache_view_miss

    app.config["CACHE_ENABLE_SIGNALS"] = True
    cache = Cache(app)
    app.add_url_rule("/<name>", "view", cache.cached()(lambda name: name))
    told: list[object] = []

    def listen(sender: object, *, cache_key: str, args: object, kwargs: object) -> None:
        told.append((sender, cache_key, args, kwargs))

    with cache_view_miss.connected_to(listen), cache_view_hit.connected_to(listen):
        get("/a")
        get("/a")
    assert told == [(cache, "view/http://localhost/a", (), {"name": "a"})] * 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"unless": True}, "unless is True; give a plain function"),
        ({"forced_update": 1}, "forced_update is 1"),
        ({"is_stale": "x"}, "is_stale is 'x'"),
        ({"response_filter": 5}, "response_filter is 5"),
        ({"make_cache_key": "x"}, "make_cache_key is 'x'"),
        ({"key_prefix": 5}, "key_prefix is 5; give a function, or a text"),
        ({"key_prefix": ""}, "key_prefix is ''; give .* a text that is not empty"),
        ({"cache_none": "yes"}, "cache_none is 'yes'; give True or False"),
        ({"source_check": []}, r"source_check is \[\]; give True or False"),
        ({"before_flask": "no"}, "before_flask is 'no'; give True or False"),
        ({"response_hit_indication": 1}, "response_hit_indication is 1; give True or False"),
        ({"vary": "Bad Header"}, "give names of header fields"),
        ({"vary": "*"}, "give names of header fields"),
        ({"vary": ()}, "give names of header fields"),
        ({"vary": 5}, "give names of header fields"),
        ({"vary": ("Cookie", len)}, "give names of header fields"),
        ({"query_string": 1}, "give True, False, or a sequence of names"),
        ({"ignore_query": None}, "give a sequence of names"),
        ({"statuses": 200}, "give a sequence of codes"),
        ({"statuses": ("200",)}, "give a sequence of codes"),
        ({"statuses": (99,)}, "status 99 cannot be stored"),
        ({"hash_method": 1}, "give a constructor of hashlib"),
        ({"timeout": True}, "timeout is True; give seconds"),
        ({"timeout": len}, r"write @cache.cached\(\), with parentheses"),
        ({"timeout": float("nan")}, "timeout is nan s"),
    ],
)
def test_option_that_cannot_be_used(cache: Cache, options: dict[str, Any], says: str) -> None:
    """A mistake in an option is an error where it is written, with the value and the remedy."""
    with pytest.raises(InvalidPolicy, match=says):
        cache.cached(**options)


@pytest.mark.parametrize(
    ("returned", "kept"),
    [
        ({"b": 1, "a": (1, 2)}, True),
        (("text", 203, {"X-Own": "1"}), True),
        ("text", True),
        (object(), False),
        ((Response("x"), 200), False),
        (WerkzeugResponse("x"), True),
        (iter(["a", "b"]), False),
    ],
)
def test_hit_beneath_a_decorator(
    app: Flask, cache: Cache, get: Get, returned: Any, *, kept: bool
) -> None:
    """What cannot be given to the decorator again as it was is not stored."""
    seen: list[Any] = []

    def outer(view: Callable[[], Any]) -> Callable[[], Any]:
        @functools.wraps(view)
        def wrapper() -> str:
            seen.append(view())
            return "made by the decorator"

        return wrapper

    app.add_url_rule("/", "view", outer(cache.cached()(lambda: returned)))
    for _ in range(2):
        assert get("/").data == b"made by the decorator"
    assert is_hit(get("/")) == kept
    if isinstance(returned, WerkzeugResponse):
        assert [value.get_data() for value in seen] == [b"x"] * 3
    elif kept:
        assert seen == [returned] * 3
    else:
        assert all(value is returned for value in seen)


def test_error_beneath_a_decorator(app: Flask, cache: Cache, get: Get) -> None:
    """Its status is why it is not stored."""

    @cache.cached()
    def view() -> str:
        abort(503)

    app.add_url_rule("/", "view", functools.wraps(view)(lambda: view()))
    assert status_of(get("/")) == "larder; fwd=uri-miss; detail=status-503"


def test_async_function_that_is_no_view(app: Flask, cache: Cache, get: Get) -> None:
    """It is left as it is, to be awaited; an async option is refused."""
    pytest.importorskip("asgiref")

    @cache.cached(key_prefix="number")
    async def number() -> int:
        return 7

    @app.get("/")
    async def view() -> str:
        return str(await number())

    assert get("/").data == get("/").data == b"7"

    async def unless() -> bool:
        return False

    with pytest.raises(InvalidPolicy, match="give a plain function"):
        cache.cached(unless=unless)


def test_function_without_a_name(app: Flask, cache: Cache, count: Counter) -> None:
    """A partial can be cached too."""
    value = cache.cached(key_prefix="partial")(functools.partial(int, "7"))
    assert value() == value() == 7
    with app.test_request_context("/"):
        assert value() == 7


def test_error_that_needs_the_environ(app: Flask, cache: Cache, get: Get) -> None:
    """An HTTP error of the app's own making answers as it does without the cache."""

    class Teapot(HTTPException):
        code = 418

        def get_response(self, environ: Any, scope: Any = None) -> Any:  # type: ignore[override]
            return Response(environ["REQUEST_METHOD"], 418)

    @app.get("/")
    @cache.cached()
    def view() -> str:
        raise Teapot

    assert get("/").status_code == 418
    assert get("/").data == b"GET"


@pytest.mark.parametrize(
    "show",
    [
        *(repr, str, lambda environ: f"{environ}", lambda environ: str(environ | {})),
        lambda environ: str({**environ}),
        lambda environ: str([environ.popitem() for _ in range(len(environ))]),
        lambda environ: "".join(
            dict.__getitem__(environ, "HTTP_COOKIE") for _ in reversed(environ)
        ),
    ],
)
def test_error_that_shows_the_environ(
    app: Flask, cache: Cache, get: Get, show: Callable[[dict[str, Any]], str]
) -> None:
    """It is made for one client, in whatever way it looks at all that this has sent."""

    class Missing(HTTPException):
        code = 404

        def get_response(self, environ: Any, scope: Any = None) -> Any:  # type: ignore[override]
            return Response(show(environ), 404)

    @app.get("/")
    @cache.cached(statuses=[404])
    def view() -> str:
        raise Missing

    for user in ("ann", "bob"):
        assert user in get("/", headers={"Cookie": f"user={user}"}).text


def test_nothing_of_a_miss_is_left_to_the_garbage_collector(app: Flask, cache: Cache) -> None:
    """What holds the request and the response goes when they have gone."""
    made: list[weakref.ref[Response]] = []

    @app.get("/page")
    @cache.cached()
    def page() -> Response:
        response = Response("page")
        made.append(weakref.ref(response))
        return response

    environ = EnvironBuilder("/page").get_environ()
    gc.disable()
    try:
        body, status, headers = run_wsgi_app(app, environ)
        assert (b"".join(body), status) == (b"page", "200 OK")
        assert "stored" in headers["Cache-Status"]
        del body, environ
        assert [each() for each in made] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("options", [{}, {"make_cache_key": lambda number: str(number)}])
def test_a_view_that_calls_itself(
    app: Flask, cache: Cache, get: Get, options: dict[str, Any]
) -> None:
    """Its answer to the URL is that of the first call; the others run, and return what they do."""

    @app.get("/sum/<int:number>")
    @cache.cached(**options)
    def total(number: int) -> dict[str, int]:
        return {"sum": number + (total(number - 1)["sum"] if number else 0)}

    for _ in range(2):
        assert get("/sum/3").json == {"sum": 6}
    assert is_hit(get("/sum/3"))
    assert get("/sum/2").json == {"sum": 3}


def test_a_view_that_a_decorator_calls_twice(app: Flask, cache: Cache, get: Get) -> None:
    """With other arguments it is another answer than that to the URL."""

    @cache.cached()
    def page(word: str, language: str = "de") -> str | None:
        return None if word == "none" else f"{word} {language}"

    @app.get("/both/<word>", endpoint="both")
    @functools.wraps(page)
    def both(word: str) -> str:
        return f"{page(word)}, {page(word, language='en')}, {page(word)}"

    @app.get("/or/<word>", endpoint="or")
    @functools.wraps(page)
    def fallback(word: str) -> str:
        return page(word=word) or page(word="default") or ""

    for _ in range(2):
        assert get("/both/x").text == "x de, x en, x de"
        assert get("/or/none").text == "default de"


@pytest.mark.parametrize(
    ("options", "runs"),
    [({}, (2, 3)), ({"make_cache_key": lambda word, language: f"{word} {language}"}, (2, 2))],
)
def test_a_view_that_a_decorator_calls_again(
    app: Flask, cache: Cache, get: Get, options: dict[str, Any], runs: tuple[int, int]
) -> None:
    """With the same arguments, or with a key of its own for each, it is answered from the cache."""
    german, english = object(), object()
    ran: list[object] = []

    @cache.cached(**options)
    def page(word: str, language: object) -> str:
        ran.append(language)
        return word

    @app.get("/<word>")
    @functools.wraps(page)
    def both(word: str) -> str:
        return "".join(page(word, language) for language in (german, english, german))

    for count in runs:
        assert get("/x").text == "xxx"
        assert len(ran) == count


def test_options_are_not_asked_about_a_method_that_is_not_cached(
    app: Flask, cache: Cache, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    """They may be made for GET only."""

    def fail(*_: Any) -> Any:
        raise LookupError

    options: dict[str, Any] = {"make_cache_key": fail, "unless": fail, "tags": fail, "vary": fail}
    app.add_url_rule("/", "view", cache.cached(**options)(lambda: "x"), methods=["POST"])
    assert status_of(get("/", method="POST")) == "larder; fwd=method"
    assert not caplog.messages


def test_a_function_that_is_decorated_in_a_request_goes_with_it(
    app: Flask, cache: Cache, get: Get
) -> None:
    """And with it what it holds, which may be all that the request has read."""
    held: list[weakref.ref[Any]] = []

    class Rows(list[int]):
        pass

    @app.get("/")
    def view() -> str:
        rows = Rows(range(10))
        held.append(weakref.ref(rows))

        @cache.cached(key_prefix="total", tags=["rows"], source_check=True)
        def total(start: int = 0) -> int:
            return sum(rows, start)

        return str(total())

    assert get("/").text == "45"
    gc.collect()
    assert held[0]() is None


@pytest.mark.parametrize("is_stale", [bool, dict, max])
def test_is_stale_without_a_signature(
    app: Flask, cache: Cache, get: Get, is_stale: Callable[..., Any]
) -> None:
    """It fails or not, as any function; and what is stored is made anew where it does."""
    app.add_url_rule("/", "view", cache.cached(is_stale=is_stale)(lambda: "x"))
    assert [get("/").text for _ in range(2)] == ["x", "x"]
