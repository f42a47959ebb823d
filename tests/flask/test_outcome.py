"""What each answer tells of the cache, to the client, to the log and to middleware."""

import functools
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, g, make_response, request
from werkzeug.datastructures import Headers

from flask_larder import Cache
from tests.flask.answers import Get, is_hit


def test_fields(app: Flask, cache: Cache, get: Get) -> None:
    """Cache-Status, Age and Server-Timing are there, beside those that the view has sent."""

    @app.get("/")
    @cache.cached(timeout=30)
    def view() -> Response:
        fields = {"Cache-Status": "Origin; hit", "Server-Timing": "db;dur=3", "Age": "7"}
        return Response("x", headers=fields)

    miss, hit = get("/"), get("/")
    assert miss.headers.getlist("Cache-Status") == [
        "Origin; hit",
        "larder; fwd=uri-miss; stored; ttl=30",
    ]
    assert hit.headers.getlist("Cache-Status") == ["Origin; hit", "larder; hit; ttl=30"]
    timing = r"cache;dur=\d+\.\d\d, view;dur=\d+\.\d\d"
    assert re.fullmatch(timing, miss.headers.getlist("Server-Timing")[1])
    assert re.fullmatch(r"cache;dur=\d+\.\d\d", hit.headers["Server-Timing"])
    assert hit.headers.getlist("Age") == ["7"]


def test_there_is_one_age(app: Flask, cache: Cache, get: Get) -> None:
    """Also where a decorator has set one."""

    @app.get("/")
    @add_age
    @cache.cached()
    def view() -> str:
        return "x"

    get("/")
    assert get("/").headers.getlist("Age") == ["0"]


def add_age(view: Callable[[], Any]) -> Callable[[], Response]:
    @functools.wraps(view)
    def outer() -> Response:
        response = make_response(view())
        response.headers["Age"] = "99"
        return response

    return outer


def test_a_class_of_its_own_is_told_of_fields(app: Flask, cache: Cache, get: Get) -> None:
    """A response may have one for its header fields, which does something when one is added."""

    class Loud(Headers):
        def add(self, key: str, value: Any, /, **options: Any) -> None:
            super().add(f"X-{key}", value, **options)

    @app.get("/")
    @cache.cached()
    def view() -> Response:
        response = Response("x")
        response.headers = Loud(response.headers)
        return response

    assert "fwd=uri-miss" in get("/").headers["X-Cache-Status"]


def test_times_add_up(app: Flask, cache: Cache, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the view took is told apart from what the cache took."""
    now = [0.0]
    for module in ("cached_view", "view_run"):
        monkeypatch.setattr(f"flask_larder.flask.{module}.perf_counter", lambda: now[0])

    @app.get("/")
    @cache.cached()
    def view() -> str:
        now[0] += 0.4
        return "x"

    assert get("/").headers["Server-Timing"] == "cache;dur=0.00, view;dur=400.00"


def test_status_can_be_kept_from_clients(
    app: Flask, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    """With CACHE_SEND_STATUS off the client sees the Age only; the log still has the status."""
    app.config["CACHE_SEND_STATUS"] = "false"
    app.add_url_rule("/", "view", Cache(app).cached()(lambda: "x"))
    with caplog.at_level(logging.DEBUG, "flask_larder"):
        get("/")
        hit = get("/")
    assert not {"Cache-Status", "Server-Timing"} & {name for name, _ in hit.headers}
    assert hit.headers["Age"] == "0"
    assert re.fullmatch(r"GET /: larder; hit; ttl=300 \(cache;dur=\d+\.\d\d\)", caplog.messages[-1])
    with caplog.at_level(logging.DEBUG, "flask_larder"):
        get("/", method="head")
    assert caplog.messages[-1].startswith("HEAD /: larder; hit; ttl=300 ")


def test_log_cannot_be_forged(
    app: Flask, cache: Cache, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    """A line feed in a path stays in its line."""
    app.add_url_rule("/<name>", "view", cache.cached()(lambda name: "x"))
    with caplog.at_level(logging.DEBUG, "flask_larder"):
        get("/a%0aGET%20admin:%20larder;%20hit")
    assert caplog.messages[-1].startswith("GET /a%0AGET%20admin")


def test_middleware_finds_the_status(app: Flask, cache: Cache, get: Get) -> None:
    """The environ holds the outcome, so that an access log can show it."""
    found: list[str] = []
    inner = app.wsgi_app

    def middleware(environ, start_response):  # type: ignore[no-untyped-def]
        answer = inner(environ, start_response)
        found.append(str(environ.get("flask_larder.status")))
        return answer

    app.wsgi_app = middleware  # type: ignore[method-assign]
    app.add_url_rule("/", "view", cache.cached()(lambda: "x"))
    app.add_url_rule("/plain", "plain", lambda: "x")
    get("/")
    get("/")
    get("/plain")
    assert found == ["larder; fwd=uri-miss; stored; ttl=300", "larder; hit; ttl=300", "None"]


def test_a_view_may_have_another_environ(app: Flask, cache: Cache, get: Get) -> None:
    """What is told of the answer is looked for in that."""

    @app.get("/")
    @cache.cached(vary="X-Region")
    def view() -> str:
        request.environ = dict(request.environ)
        return "x"

    answer = get("/")
    assert answer.headers["Cache-Status"] == "larder; fwd=uri-miss; stored; ttl=300"
    assert answer.headers["Vary"] == "X-Region"


def test_view_without_cache_has_no_fields(app: Flask, cache: Cache, get: Get) -> None:
    """Other views of the app are left as they are."""
    app.add_url_rule("/", "view", lambda: "x")
    assert not {"Cache-Status", "Server-Timing", "Age"} & {name for name, _ in get("/").headers}


def test_what_makes_the_key_is_told_to_caches_on_the_way(
    app: Flask, cache: Cache, get: Get
) -> None:
    """They select by what a function has read, as this one does."""

    def who() -> str:
        return request.headers.get("X-Who", "") + request.cookies.get("user", "") + request.host

    app.add_url_rule("/", "page", cache.cached(vary=who)(lambda: "x"))
    app.add_url_rule("/own", "own", cache.cached(make_cache_key=who)(lambda: "x"))
    for path in ("/", "/", "/own", "/own"):
        assert set(get(path).vary) == {"X-Who", "Cookie"}


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (lambda: request.headers.get("X-Api-Key"), {"X-Api-Key"}),
        (lambda: str(request.authorization), {"Authorization"}),
        (lambda: request.cookies.get("user"), {"Cookie"}),
        (lambda: dict(request.headers)["X-Api-Key"], {"X-Api-Key", "Cookie"}),
        (lambda: request.headers.get("X-Region"), set()),  # it names nobody
        (lambda: request.remote_user, set()),  # it is no field
    ],
)
def test_what_the_user_was_loaded_from_is_told_to_caches_on_the_way(
    app: Flask, cache: Cache, get: Get, load: Any, told: set[str]
) -> None:
    """They do not know the user whom ``vary=`` names, and would send one user's answer to all."""

    @app.before_request
    def load_user() -> None:
        g.user = load()

    app.add_url_rule("/", "page", cache.cached(vary=lambda: g.user)(lambda: "x"))
    fields = dict.fromkeys(told or {"X-Api-Key"}, "user=ann")
    answers = [get("/", headers=fields) for _ in range(3)]
    assert [set(each.vary) for each in answers] == [told] * 3
    assert is_hit(answers[-1])
