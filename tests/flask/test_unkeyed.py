"""In debug, the log tells what a view reads and its key ignores, by name."""

import copy
import json
import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import (
    Flask,
    Response,
    copy_current_request_context,
    g,
    render_template_string,
    request,
    session,
    stream_with_context,
)
from flask.sessions import SecureCookieSession, SessionInterface
from werkzeug.datastructures import EnvironHeaders, ImmutableMultiDict, MultiDict

from flask_larder import Cache
from flask_larder.flask.named_reads import NamedReads, NamingRequest, Read
from flask_larder.flask.read_log import ReadLog
from flask_larder.flask.tracked_fields import TrackedHeaders
from flask_larder.flask.tracking import caches_of
from tests.core.test_coalesce import until
from tests.flask.answers import Counter, Get, is_hit, status_of

Lines = Callable[[], list[str]]

IN_QUERY = "name it in query_string=, or in ignore_query= if it does not matter"
IN_FUNCTION = "let the function that makes its key, or vary=, read it"


@pytest.fixture
def lines(app: Flask, caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    """What the library has warned of, in debug mode."""
    app.debug = True
    with caplog.at_level(logging.WARNING, "flask_larder"):
        yield lambda: [r.getMessage() for r in caplog.records if r.name == "flask_larder"]


@pytest.fixture
def reads(lines: Lines) -> Lines:
    """What the lines say that the view has read."""
    return lambda: [
        line.partition(" reads ")[2].partition(", which")[0]
        for line in lines()
        if " reads " in line
    ]


def page() -> str:
    return request.args.get("page", "1")


def silently(*_: object) -> None:
    """Answer nothing, as a hook that lets the view go on."""


def test_line_names_the_view_and_the_parameter(
    app: Flask, cache: Cache, get: Get, lines: Lines
) -> None:
    """With what to do about it, and once for all requests."""
    app.add_url_rule("/", "view", cache.cached()(page))
    for number in range(3):
        get(f"/?page={number}")
        cache.clear()
    name = f"{page.__module__}.page"
    assert lines() == [f"{name} reads args['page'], which its key ignores: {IN_QUERY}"]


def test_each_view_and_each_name_has_a_line(
    app: Flask, cache: Cache, get: Get, lines: Lines
) -> None:
    """Another view, or another parameter, is told as well."""

    def other() -> str:
        return page() + request.args.get("size", "10")

    app.add_url_rule("/page", "page", cache.cached()(page))
    app.add_url_rule("/other", "other", cache.cached()(other))
    get("/page")
    get("/other")
    assert [line.partition(" reads ")[2][:12] for line in lines()] == [
        "args['page']",
        "args['page']",
        "args['size']",
    ]
    assert len(set(lines())) == 3


def test_hook_that_reads_a_key_of_its_own(app: Flask, cache: Cache, get: Get, lines: Lines) -> None:
    """The cache cannot know that it tells users apart; here is who says so."""

    @app.before_request
    def load_user() -> None:
        g.user = request.headers.get("X-Api-Key", "nobody")

    def own_page() -> str:
        return f"hello {g.user}"

    app.add_url_rule("/", "view", cache.cached()(own_page))
    get("/", headers={"X-Api-Key": "ann"})
    (line,) = lines()
    assert line.startswith(f"a hook or decorator before {own_page.__module__}.")
    assert line.endswith("reads headers['X-Api-Key'], which its key ignores: name it in vary=")


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (lambda: request.args.get("a", ""), ["args['a']"]),
        (lambda: request.args["a"], ["args['a']"]),
        (lambda: str("a" in request.args), ["args['a']"]),
        (lambda: str(request.args.getlist("a", type=int)), ["args['a']"]),
        (lambda: str(request.args.get(key="a", type=int)), ["args['a']"]),
        (lambda: request.values["a"], ["args['a']"]),
        (lambda: request.values.get("a"), ["args['a']"]),
        (lambda: str(list(request.args)), ["all of args"]),
        (lambda: str(dict(request.args)), ["all of args"]),
        (lambda: str({**request.args}), ["all of args"]),
        (lambda: json.dumps(request.args), ["all of args"]),
        (lambda: urlencode(request.args), ["all of args"]),
        (lambda: request.args.to_dict(), ["all of args"]),
        (lambda: str(list(request.args.items(multi=True))), ["all of args"]),
        (lambda: str(bool(request.args)), ["all of args"]),
        (lambda: str(request.args == {}), ["all of args"]),
        (lambda: str(list(request.values)), ["all of args"]),
        (lambda: str(MultiDict(request.args)), ["all of args"]),
        (lambda: request.query_string, ["the query in query_string"]),
        (lambda: request.full_path, ["the query in full_path"]),
        (lambda: request.url, ["the query in url"]),
        (lambda: render_template_string("{{ request.args.a }}"), ["args['a']"]),
        (lambda: request.headers.get("x_region", ""), ["headers['X-Region']"]),
        (lambda: str("X-REGION" in request.headers), ["headers['X-Region']"]),
        (lambda: str(request.user_agent), ["headers['User-Agent']"]),
        (lambda: str(request.access_route), ["headers['X-Forwarded-For']"]),
        (lambda: str(request.is_json), ["headers['Content-Type']"]),
    ],
)
def test_each_way_of_reading(
    app: Flask, cache: Cache, get: Get, reads: Lines, view: Callable[[], Any], expected: list[str]
) -> None:
    """However a view gets at it, what it got at is told, and nothing else is."""
    app.add_url_rule("/", "view", cache.cached()(view))
    assert status_of(get("/?a=1")).startswith("larder; fwd=uri-miss; stored")
    assert reads() == expected


def test_second_reading_counts_too(app: Flask, cache: Cache, get: Get, lines: Lines) -> None:
    """What Werkzeug computes once, for a hook, is noted again for the view."""
    app.before_request(lambda: silently(request.args, request.url, request.values))
    view = cache.cached(query_string=("a",))(lambda: request.values.get("b", "") + request.url)
    app.add_url_rule("/", "view", view)
    get("/?a=1")
    own = [line for line in lines() if not line.startswith("a hook")]
    assert [line.partition(" reads ")[2][:10] for line in own] == ["the query ", "args['b'],"]


@pytest.mark.parametrize(
    "view",
    [
        lambda: "x",
        lambda: request.path + request.base_url + request.host + request.method + request.scheme,
        lambda: render_template_string("{{ 1 + 1 }}"),
        lambda: {"a": 1},
        lambda: Response(stream_with_context(iter(["a", "b"]))),
        lambda: str(request.accept_mimetypes.best),
        lambda: request.headers.get("Accept-Datetime", ""),
        lambda: str((request.if_none_match, request.range, request.cache_control)),
        lambda: request.headers.get("If-Match", "") + request.headers.get("Connection", ""),
        lambda: str(request.content_length),
        lambda: request.environ["QUERY_STRING"],
    ],
)
def test_silence(app: Flask, cache: Cache, get: Get, lines: Lines, view: Callable[[], Any]) -> None:
    """What Flask reads by itself is not the view's doing, nor is what every key holds."""
    cached = cache.cached(stale_while_revalidate=60, tags=("a",))
    app.add_url_rule("/", "view", cached(view))
    for _ in range(2):
        get("/?a=1", headers={"Cookie": "session=x", "If-None-Match": '"x"'})
    cache.clear()
    get("/?a=1", method="HEAD")
    assert lines() == []


@pytest.mark.parametrize("debug", [True, False])
def test_nothing_else_differs(app: Flask, cache: Cache, get: Get, *, debug: bool) -> None:
    """What is stored is the same with and without debug, and without it nothing is noted."""
    app.debug = debug
    seen: list[bool] = []

    def view() -> str:
        seen.append(isinstance(request, NamingRequest))
        seen.append(hasattr(type(request.args), "_noted_in"))
        return request.cookies.get("a", "") + page()

    unless = cache.cached(unless=lambda: "a" in session)
    app.add_url_rule("/", "view", unless(view))
    app.add_url_rule("/vary", "vary", cache.cached(vary=("Cookie",))(view))
    app.add_url_rule("/harmless", "harmless", unless(page))
    for _ in range(2):
        assert status_of(get("/")).endswith("detail=read-cookie")
    assert seen == [debug] * 4
    get("/vary", headers={"Cookie": "a=1"})
    assert not is_hit(get("/vary", headers={"Cookie": "a=2"}))
    assert is_hit(get("/vary", headers={"Cookie": "a=1"}))
    get("/harmless")
    assert is_hit(get("/harmless"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["args['page']"]),
        ({"query_string": True}, []),
        ({"query_string": ("page",)}, []),
        ({"query_string": ("size",)}, ["args['page']"]),
        ({"ignore_query": ("pa*",)}, []),
        ({"query_string": True, "ignore_query": ("page",)}, []),
        ({"query_string": ("size", "page"), "ignore_query": ("size",)}, []),
        ({"key_prefix": "named"}, ["args['page']"]),
        ({"key_prefix": "named", "query_string": True}, []),
        ({"key_prefix": lambda: "own"}, ["args['page']"]),
        ({"key_prefix": page}, []),
        ({"make_cache_key": lambda: "own"}, ["args['page']"]),
        ({"make_cache_key": lambda: "own", "query_string": True}, ["args['page']"]),
        ({"make_cache_key": lambda: "own", "ignore_query": ("page",)}, []),
        ({"make_cache_key": lambda: page()}, []),
        ({"make_cache_key": lambda: str(request.args.to_dict())}, []),
        ({"make_cache_key": lambda: request.full_path}, []),
        ({"make_cache_key": lambda: request.url}, []),
        ({"make_cache_key": lambda: request.query_string.decode()}, []),
        ({"make_cache_key": lambda: request.path}, ["args['page']"]),
        ({"make_cache_key": lambda: request.args.get("size", "")}, ["args['page']"]),
        ({"vary": page}, []),
        ({"vary": lambda: "ann"}, ["args['page']"]),
        ({"vary": ("X-Region",)}, ["args['page']"]),
    ],
)
def test_parameter(
    app: Flask, cache: Cache, get: Get, reads: Lines, options: dict[str, Any], expected: list[str]
) -> None:
    """A parameter is told unless it is in the key, or the developer has said that it is not."""
    app.add_url_rule("/", "view", cache.cached(**options)(page))
    assert "stored" in status_of(get("/?page=2"))
    assert reads() == expected


def test_what_to_do(app: Flask, cache: Cache, get: Get, lines: Lines) -> None:
    """The remedy is one that works with the options of the view."""

    def whole() -> dict[str, str]:
        return request.args.to_dict()

    app.add_url_rule("/whole", "whole", cache.cached()(whole))
    app.add_url_rule("/key", "key", cache.cached(make_cache_key=lambda: "key")(page))
    get("/whole")
    get("/key")
    assert [line.rpartition("ignores: ")[2] for line in lines()] == [
        "give query_string=True, and name in ignore_query= what does not matter",
        "let make_cache_key read it, or name it in ignore_query= if it does not matter",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["all of args"]),
        ({"query_string": True}, []),
        ({"query_string": True, "ignore_query": ("utm_*",)}, []),
        ({"query_string": ("page",)}, ["all of args"]),
        ({"ignore_query": ("utm_*",)}, ["all of args"]),
        ({"make_cache_key": page}, ["all of args"]),
        ({"make_cache_key": lambda: request.url}, []),
    ],
)
def test_whole_query(
    app: Flask, cache: Cache, get: Get, reads: Lines, options: dict[str, Any], expected: list[str]
) -> None:
    """Who goes through all parameters wants all of them in the key, but for the ignored ones."""
    view = cache.cached(**options)(lambda: request.args.to_dict())
    app.add_url_rule("/", "view", view)
    get("/?page=2")
    assert reads() == expected


@pytest.mark.parametrize(
    ("options", "fields", "expected"),
    [
        ({}, {}, ["headers['X-Region']"]),
        ({"vary": ("x-region",)}, {}, []),
        ({}, {"Vary": "Origin, X-REGION"}, []),
        ({}, {"Vary": "Origin"}, ["headers['X-Region']"]),
        ({"vary": lambda: request.headers.get("X-Region")}, {}, []),
        ({"vary": lambda: 1}, {}, ["headers['X-Region']"]),
        ({"make_cache_key": lambda: request.headers.get("X-Region", "")}, {}, []),
        ({"make_cache_key": lambda: "own"}, {}, ["headers['X-Region']"]),
        ({"make_cache_key": lambda: "own", "vary": "X-Region"}, {}, []),
    ],
)
def test_field(
    app: Flask,
    cache: Cache,
    get: Get,
    reads: Lines,
    options: dict[str, Any],
    fields: dict[str, str],
    expected: list[str],
) -> None:
    """A header field is told unless the key or the response's Vary has it."""

    @app.get("/")
    @cache.cached(**options)
    def view() -> Response:
        return Response(request.headers.get("X-Region", ""), headers=fields)

    get("/")
    assert reads() == expected


def test_cookie_and_session_that_the_key_holds_in_part(
    app: Flask, cache: Cache, get: Get, lines: Lines
) -> None:
    """A key of the language covers, for storing, the user too; here that is told."""

    def view() -> str:
        return str((request.cookies.get("user"), session.get("user")))

    def language() -> str:
        return str((request.cookies.get("lang"), session.get("lang")))

    app.add_url_rule("/", "view", cache.cached(make_cache_key=language)(view))
    assert "stored" in status_of(get("/"))
    assert [line.partition(" reads ")[2] for line in lines()] == [
        f"cookies['user'], which its key ignores: {IN_FUNCTION}",
        f"session['user'], which its key ignores: {IN_FUNCTION}",
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"vary": "Cookie"},
        {"make_cache_key": lambda: str((request.cookies.get("user"), session.get("user")))},
        {"make_cache_key": lambda: str((dict(request.cookies), dict(session)))},
        {"vary": lambda: (request.cookies.get("user"), "user" in session)},
    ],
)
def test_cookie_and_session_that_the_key_holds(
    app: Flask, cache: Cache, get: Get, lines: Lines, options: dict[str, Any]
) -> None:
    """A key with the same cookie, the same part of the session, or with all, has all of it."""

    def view() -> str:
        return str((request.cookies.get("user"), session.get("user")))

    app.add_url_rule("/", "view", cache.cached(**options)(view))
    assert "stored" in status_of(get("/"))
    assert lines() == []


def test_all_cookies_by_their_header(app: Flask, cache: Cache, get: Get, reads: Lines) -> None:
    """The field Cookie is all cookies: in a key it holds each, and a key of one not all."""
    raw = lambda: request.headers.get("Cookie", "")  # noqa: E731
    one = lambda: request.cookies.get("a", "")  # noqa: E731
    app.add_url_rule("/held", "held", cache.cached(make_cache_key=raw)(one))
    app.add_url_rule("/not", "not", cache.cached(make_cache_key=one)(raw))
    get("/held", headers={"Cookie": "a=1"})
    assert reads() == []
    get("/not", headers={"Cookie": "a=1"})
    assert reads() == ["all of cookies"]


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (page, []),
        (lambda: request.url, []),
        (lambda: str(dict(request.headers)), []),
        (lambda: request.headers.get("X-Region", ""), ["headers['X-Region']"]),
        (lambda: request.headers.get("X-Origin", ""), []),
        (lambda: request.cookies.get("theme", ""), ["cookies['theme']"]),
    ],
)
def test_response_that_says_itself(
    app: Flask, cache: Cache, get: Get, reads: Lines, view: Callable[[], str], expected: list[str]
) -> None:
    """The whole query is in the key, and who reads all fields has its Vary from where they go."""
    fields = {"Cache-Control": "public, max-age=60", "Vary": "X-Origin"}
    app.add_url_rule("/", "view", cache.http_cached()(lambda: (view(), fields)))
    assert "stored" in status_of(get("/?page=2"))
    assert reads() == expected


def test_options_read_without_a_word(app: Flask, cache: Cache, get: Get, lines: Lines) -> None:
    """What decides over an answer is not what it is made of."""

    def reads(*_: Any) -> str:
        return request.args.get("a", "") + request.headers.get("X-Region", "")

    app.add_url_rule(
        "/",
        "view",
        cache.cached(
            unless=lambda: reads() == "no",
            forced_update=lambda: reads() == "no",
            is_stale=lambda _: reads() == "no",
            response_filter=lambda _: reads() != "no",
            tags=lambda: [reads() or "none"],
        )(lambda: "x"),
    )
    get("/")
    assert is_hit(get("/", headers={"X-Region": "a"}))
    assert lines() == []


def test_unless_that_loads_a_user_by_a_field(
    app: Flask, cache: Cache, get: Get, lines: Lines
) -> None:
    """Where the request has the field, and the answer is stored all the same, it is told."""

    def is_admin() -> bool:
        g.user = request.headers.get("X-Api-Key", "nobody")
        return bool(g.user == "root")

    app.add_url_rule("/", "view", cache.cached(unless=is_admin)(lambda: f"hello {g.user}"))
    get("/", headers={"X-Api-Key": "root", "User-Agent": "x"})
    assert lines() == []
    get("/")
    (why,) = lines()
    assert "is not cached: x-api-key was read, which its key does not hold; give vary=" in why
    cache.clear()
    get("/", headers={"X-Api-Key": "ann"})
    _, line = lines()
    assert line.startswith("unless= of ")
    assert "headers['X-Api-Key']" in line


@pytest.mark.parametrize(
    "fields", [{"Content-Type": "text/plain"}, {"X-Kind": "a"}], ids=["its own name", "as HTTP_"]
)
def test_what_unless_reads_is_told_whatever_the_environ_calls_it(
    app: Flask, cache: Cache, get: Get, lines: Lines, fields: dict[str, str]
) -> None:
    """An environ has the type of a body under a name of its own."""
    (name,) = fields

    def is_odd() -> bool:
        g.kind = request.headers.get(name)
        return False

    app.add_url_rule("/", "view", cache.cached(unless=is_odd)(lambda: f"kind {g.kind}"))
    get("/", headers=fields)
    (line,) = lines()
    assert line.startswith("unless= of ")
    assert f"headers['{name}']" in line


def test_vary_function_covers_what_was_read_before(
    app: Flask, cache: Cache, get: Get, reads: Lines
) -> None:
    """It says who asks, who may have been loaded before; of the query it covers what it reads."""

    @app.before_request
    def before() -> None:
        g.user = request.headers.get("X-Api-Key", "nobody") + str(session.get("user"))
        g.page = page()

    def silent() -> str:
        return f"{g.user} {request.headers.get('X-Api-Key')} {session.get('user')}"

    cached = cache.cached(vary=lambda: g.user)
    app.add_url_rule("/silent", "silent", cached(silent))
    app.add_url_rule("/page", "page", cached(page))
    get("/silent")
    assert reads() == []
    get("/page")
    assert reads() == ["args['page']"]


def test_hook_that_only_looks_for_json(app: Flask, cache: Cache, get: Get, lines: Lines) -> None:
    """Hooks do so for each request; a GET has no body, and nothing comes of it."""
    app.before_request(lambda: silently(request.is_json))
    app.add_url_rule("/", "view", cache.cached()(lambda: "x"))
    get("/")
    assert lines() == []


def test_hook_that_goes_through_all_fields(
    app: Flask, cache: Cache, get: Get, reads: Lines
) -> None:
    """It may have found a user there; a vary= function says that it has not."""
    app.before_request(lambda: silently(dict(request.headers)))
    app.add_url_rule("/", "view", cache.cached()(lambda: "x"))
    app.add_url_rule("/told", "told", cache.cached(vary=lambda: "")(lambda: "x"))
    assert "detail=read-headers" in status_of(get("/"))
    assert "stored" in status_of(get("/told"))
    assert reads() == []


def test_own_reading_stands_above_that_of_a_hook(
    app: Flask, cache: Cache, get: Get, lines: Lines
) -> None:
    """What both read is told of the view."""
    app.before_request(lambda: silently(page()))
    app.add_url_rule("/", "view", cache.cached()(page))
    get("/")
    (line,) = lines()
    assert line.startswith(f"{page.__module__}.page reads")


def test_request_class_that_reads_when_it_is_made(app: Flask, get: Get, lines: Lines) -> None:
    """What the app's own request class takes is told, less exactly."""

    class Own(app.request_class):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.key = self.headers.get("X-Api-Key") or self.args.get("key")

    app.request_class = Own
    app.add_url_rule("/", "view", Cache(app).cached()(lambda: f"hello {request.key}"))  # type: ignore[attr-defined]
    get("/")
    assert [line.partition(" reads ")[2].partition(",")[0] for line in lines()] == [
        "all of args",
        "headers['X-Api-Key']",
    ]


def test_reading_in_a_stream_and_in_a_thread(
    app: Flask, cache: Cache, get: Get, reads: Lines
) -> None:
    """The body is made by the view, too, and so is what a thread of it reads."""

    @app.get("/")
    @cache.cached()
    def view() -> Response:
        found: list[str] = []
        thread = threading.Thread(
            target=copy_current_request_context(lambda: found.append(request.args.get("a", "")))
        )
        thread.start()
        thread.join()
        return Response(stream_with_context(request.args.get(name, "") for name in "b"))

    get("/")
    assert reads() == ["args['a']", "args['b']"]


@pytest.mark.parametrize(
    "view",
    [
        lambda: (page(), 500),
        lambda: (page(), {"Cache-Control": "no-store"}),
        lambda: (page(), {"Set-Cookie": "a=1"}),
        lambda: (page(), {"Vary": "*"}),
        lambda: page() + request.cookies.get("a", ""),
        lambda: page() + str(session.get("a", "")),
        lambda: page() + str(request.authorization),
    ],
)
def test_answer_that_is_not_stored(
    app: Flask, cache: Cache, get: Get, lines: Lines, view: Callable[[], Any]
) -> None:
    """What is refused for another reason is shown to nobody else."""
    app.add_url_rule("/", "view", cache.cached()(view), methods=["GET", "POST"])
    assert "stored" not in status_of(get("/"))
    get("/", method="POST")
    get("/", method="HEAD")
    assert lines() == []


def test_answer_that_was_only_lost_on_the_way(
    app: Flask, cache: Cache, get: Get, reads: Lines
) -> None:
    """One that a purge has hit meanwhile would have been stored."""

    @app.get("/")
    @cache.cached()
    def view() -> str:
        cache.clear()
        return page()

    assert status_of(get("/")).endswith("detail=purged")
    assert reads() == ["args['page']"]


def test_answer_that_is_revalidated(app: Flask, cache: Cache, get: Get, lines: Lines) -> None:
    """The request that is made for nobody tells as well."""
    app.debug = True
    app.add_url_rule("/", "view", cache.cached(stale_while_revalidate=60)(page))
    get("/")
    cache.clear(soft=True)
    app.debug = True
    get("/")
    background = caches_of(app)[cache].background
    until(lambda: not background._here()._threads)
    assert len(lines()) == 1


def test_value(app: Flask, cache: Cache, get: Get, lines: Lines) -> None:
    """A function that reads what its key ignores gives one caller's result to the next."""

    @cache.cached(key_prefix="total")
    def total() -> str:
        return page() + request.headers.get("X-Region", "")

    app.before_request(lambda: silently(request.headers.get("X-Hook")))
    app.add_url_rule("/", "view", lambda: total())
    get("/?page=2")
    name = f"{total.__module__}.{total.__qualname__}"
    assert lines() == [
        f"{name} reads args['page'], which its key ignores: {IN_QUERY}",
        f"{name} reads headers['X-Region'], which its key ignores: name it in vary=",
    ]


@pytest.mark.parametrize(
    "function",
    [
        lambda: page() + str(session.get("a", "")),
        lambda: page() + request.cookies.get("a", ""),
        lambda: [page(), object()],
    ],
    ids=["session", "cookie", "no plain data"],
)
def test_value_that_is_not_stored(
    app: Flask, cache: Cache, get: Get, lines: Lines, function: Callable[[], Any]
) -> None:
    """It is shown to nobody else; that it is not cached is told all the same."""
    total = cache.cached(key_prefix="total")(function)
    app.add_url_rule("/", "view", lambda: str(total()))
    get("/?page=2")
    (line,) = lines()
    assert " is not cached: " in line


@pytest.mark.parametrize(
    "options",
    [
        {"key_prefix": "total", "query_string": ("page",)},
        {"key_prefix": lambda: f"total {page()}"},
        {"make_cache_key": page},
        {"key_prefix": "total", "vary": page},
    ],
)
def test_value_whose_key_holds_it(
    app: Flask, cache: Cache, get: Get, lines: Lines, options: dict[str, Any]
) -> None:
    """The view that asks for it is not cached, and so nothing is told."""
    total = cache.cached(**options)(page)
    app.add_url_rule("/", "view", lambda: total())
    assert get("/?page=2").text == "2"
    assert get("/?page=3").text == "3"
    assert lines() == []


def test_value_with_a_key_of_its_own_that_reads_the_language(
    app: Flask, cache: Cache, get: Get, reads: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    """A value has no Vary, so that what selects responses does not select it: it is not kept."""
    greeting = cache.cached(make_cache_key=lambda: "greeting")(
        lambda: str(request.accept_languages.best)
    )
    app.add_url_rule("/", "view", lambda: greeting())
    get("/", headers={"Accept-Language": "de"})
    assert reads() == []
    assert "accept-language was read, which its key does not hold" in caplog.text


def test_hidden_view_of_a_user_that_was_loaded_before(
    app: Flask, cache: Cache, get: Get, lines: Lines
) -> None:
    """Under the key of a URL what was read before counts, though it is kept as a value."""

    def login(view: Callable[[], Any]) -> Callable[[], Any]:
        def checked() -> Any:
            g.user = request.headers.get("X-Who", "nobody")
            return view()

        return checked

    def own() -> str:
        return f"hello {g.user}"

    app.add_url_rule("/", "view", login(cache.cached()(own)))
    get("/")
    (line,) = lines()
    assert line.startswith("a hook or decorator before ")
    assert "headers['X-Who']" in line


@pytest.mark.parametrize("first", ["/inner", "/"])
def test_view_that_gets_a_part_from_the_cache(
    app: Flask, cache: Cache, get: Get, lines: Lines, first: str
) -> None:
    """It depends on what the part was made of, also where that was found and not made."""

    @cache.cached(key_prefix="inner", query_string=True)
    def inner() -> str:
        return page()

    def outer() -> str:
        return inner()

    app.add_url_rule("/inner", "inner", lambda: inner())
    app.add_url_rule("/", "outer", cache.cached()(outer))
    get(f"{first}?page=2")
    get("/?page=2")
    (line,) = lines()
    assert "outer reads args['page']" in line


def test_purging_reads_nothing(app: Flask, cache: Cache, get: Get, lines: Lines) -> None:
    """What the cache looks up for itself, also when the view asks it to, is not told."""

    @cache.cached()
    def part() -> int:
        return 1

    @app.get("/")
    @cache.cached(tags=("a",))
    def view() -> str:
        cache.purge_url("/other?a=1")
        part()
        return "x"

    get("/?a=1")
    get("/?a=1")
    assert lines() == []


def test_args_stay_what_they_are(app: Flask, cache: Cache, get: Get) -> None:
    """Of the class that they have, copied and pickled as ever."""
    app.debug = True
    made: list[Any] = []

    @app.get("/")
    def view() -> str:
        args = request.args
        assert request.args is args
        made.extend([pickle.loads(pickle.dumps(args)), copy.deepcopy(args), args.copy()])
        made.extend([copy.copy(args), MultiDict(args), args])
        assert isinstance(args, ImmutableMultiDict)
        assert hash(args) == hash(ImmutableMultiDict([("a", "1"), ("a", "2"), ("b", "3")]))
        return "x"

    get("/?a=1&a=2&b=3")
    plain = MultiDict([("a", "1"), ("a", "2"), ("b", "3")])
    assert [MultiDict(each) == plain for each in made] == [True] * 6
    assert type(made[0]) is ImmutableMultiDict
    assert (
        repr(made[0]) == repr(made[5]) == "ImmutableMultiDict([('a', '1'), ('a', '2'), ('b', '3')])"
    )
    assert [each.get("a") for each in made] == ["1"] * 6


class Mutable(MultiDict[str, str]):
    """As an app may have it, with something of its own."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.extra = 7


@pytest.mark.parametrize(("kind", "expected"), [(Mutable, "args['a']"), (dict, "all of args")])
def test_own_storage_class(
    app: Flask, get: Get, reads: Lines, kind: type[Any], expected: str
) -> None:
    """An app's own class for parameters works, and one that cannot note counts as read, all."""

    class Own(Flask.request_class):
        parameter_storage_class = kind

    app.request_class = Own
    app.add_url_rule("/", "view", Cache(app).cached()(lambda: str(request.args.get("a"))))
    assert get("/?a=1").text == "1"
    assert reads() == [expected]


def test_own_storage_class_that_can_be_changed(app: Flask, cache: Cache, get: Get) -> None:
    """It can be, and is copied and pickled with what it has."""
    app.debug = True
    app.request_class = type("Own", (app.request_class,), {"parameter_storage_class": Mutable})

    @app.get("/")
    def view() -> str:
        args = request.args
        assert isinstance(args, Mutable)
        args.setdefault("b", "2")
        pickled = pickle.loads(pickle.dumps(args))
        assert type(pickled) is Mutable
        assert (args.extra, args.copy().extra, copy.deepcopy(args).extra) == (7, 7, 7)
        for made in (args.copy(), copy.deepcopy(args), pickled, args):
            assert (made["a"], made.pop("b")) == ("1", "2")
        return "x"

    assert get("/?a=1").text == "x"


def test_attributes_that_the_app_sets(app: Flask, cache: Cache, get: Get) -> None:
    """A hook may put other parameters, or another query, into the request."""
    app.debug = True

    @app.before_request
    def before() -> None:
        request.args = ImmutableMultiDict({"page": "7"})
        request.query_string = b"page=8"

    app.add_url_rule("/", "view", lambda: page() + request.query_string.decode() + request.url)
    assert get("/?page=1").text == "7page=8http://localhost/?page=8"


def test_session_that_cannot_note(app: Flask, get: Get, reads: Lines) -> None:
    """It counts as read, all of it and always, as for storing."""

    class Fixed(SecureCookieSession):
        accessed = property(lambda _: False)  # type: ignore[assignment]
        __slots__ = ("weight",)

    class Interface(SessionInterface):
        def open_session(self, app: Flask, request: Any) -> SecureCookieSession:
            return Fixed({"user": "ann"})

        def save_session(self, app: Flask, session: Any, response: Response) -> None:
            pass

    app.session_interface = Interface()
    cache = Cache(app)
    app.add_url_rule("/", "view", cache.cached()(lambda: session["user"]))
    app.add_url_rule("/vary", "vary", cache.cached(vary=lambda: 1)(lambda: session["user"]))
    assert status_of(get("/")).endswith("detail=read-session")
    assert status_of(get("/vary")).endswith("detail=read-session")
    assert reads() == []


def test_unless_that_finds_a_user_in_values_that_a_hook_has_read(
    app: Flask, cache: Cache, get: Get
) -> None:
    """Who has neither cookie nor Authorization may be somebody by request.values, too."""

    def is_admin() -> bool:
        session.get("user")
        g.user = request.values.get("key", "nobody")
        return bool(g.user == "root")

    app.before_request(lambda: silently(request.values))
    app.add_url_rule("/", "view", cache.cached(unless=is_admin)(lambda: f"hello {g.user}"))
    for user in ("ann", "bob"):
        assert get(f"/?key={user}").text == f"hello {user}"


def test_app_that_is_debugged_beside_one_that_is_not(lines: Lines, count: Counter) -> None:
    """Each app is asked for itself, also where they share a request class."""
    first, second = Flask("first"), Flask("second")
    first.debug = True
    for app in (first, second):
        app.config["CACHE_TYPE"] = "simple"
        second.request_class = first.request_class
        app.add_url_rule("/", "view", Cache(app).cached()(page))
        app.test_client().get("/")
        count()
    assert count.runs == 2
    assert len(lines()) == 1


def test_what_no_field_is_called_counts_as_all_of_them() -> None:
    """A client may have made it up, so that its name is told nowhere."""
    headers = TrackedHeaders(EnvironHeaders({}), ReadLog())
    headers.named_reads = NamedReads()
    headers.get("no such field")
    assert headers.named_reads.since() == {Read("headers")}
