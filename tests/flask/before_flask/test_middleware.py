"""Middleware around the app does its work, also for hits."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import TestResponse

from flask_larder import Cache
from tests.flask.answers import Get
from tests.flask.before_flask.passing import Passing, counted, learn

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


class Middleware:
    """Shows what it wraps, in an attribute."""

    def __init__(self, inner: Application, around: Callable[..., Any]) -> None:
        self.inner = inner
        self.around = around

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        return self.around(self.inner, environ, start_response)


@pytest.fixture(
    params=[("class", "before"), ("class", "after"), ("closure", "before"), ("closure", "after")],
    ids=lambda param: " ".join(param),
)
def wrapped(
    request: pytest.FixtureRequest, app: Flask
) -> Callable[[Callable[..., Any]], tuple[Cache, bool]]:
    """Puts middleware around the app, and a cache; tells whether hits are before Flask then."""
    kind, when = request.param

    def wrap(around: Callable[..., Any]) -> tuple[Cache, bool]:
        cache = Cache(app) if when == "after" else None
        inner: Application = app.wsgi_app
        app.wsgi_app = (  # type: ignore[method-assign]
            Middleware(inner, around)
            if kind == "class"
            else lambda environ, start: around(inner, environ, start)
        )
        return cache or Cache(app), (kind, when) != ("closure", "before")

    return wrap


def check(get: Get, flask: Passing, *, is_before: bool, **options: Any) -> TestResponse:
    get("/page", **options)
    with counted(flask, is_known=is_before):
        return get("/page", **options)


def test_authentication_around_the_app(
    app: Flask, get: Get, flask: Passing, wrapped: Callable[..., tuple[Cache, bool]]
) -> None:
    """Nobody gets past it."""

    def around(inner: Application, environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("HTTP_X_USER") != "ann":
            start_response("401 UNAUTHORIZED", [])
            return []
        return inner({**environ, "REMOTE_USER": "ann"}, start_response)

    cache, is_before = wrapped(around)
    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    own = cache.cached()(lambda: f"hello {request.remote_user}")
    app.add_url_rule("/own", "own", own)
    assert check(get, flask, is_before=is_before, headers={"X-User": "ann"}).text == "page"
    assert get("/page").status_code == 401
    for _ in range(2):
        with flask.one():  # what was made for a user is not stored
            assert get("/own", headers={"X-User": "ann"}).text == "hello ann"


def test_method_override_around_the_app(
    app: Flask, get: Get, flask: Passing, wrapped: Callable[..., tuple[Cache, bool]]
) -> None:
    """The method is the one that it makes."""

    def around(inner: Application, environ: dict[str, Any], start_response: Any) -> Any:
        environ["REQUEST_METHOD"] = environ.get("HTTP_X_METHOD", environ["REQUEST_METHOD"])
        return inner(environ, start_response)

    cache, is_before = wrapped(around)
    view = cache.cached()(lambda: "page")
    app.add_url_rule("/page", "page", view, methods=["GET"])
    app.add_url_rule("/page", "delete", lambda: "deleted", methods=["DELETE"])
    assert check(get, flask, is_before=is_before).text == "page"
    assert get("/page", headers={"X-Method": "DELETE"}).text == "deleted"


def test_proxy_fix_around_the_app(
    app: Flask, get: Get, flask: Passing, wrapped: Callable[..., tuple[Cache, bool]]
) -> None:
    """The host is the one that it finds."""

    def around(inner: Application, environ: dict[str, Any], start_response: Any) -> Any:
        return ProxyFix(inner, x_host=1)(environ, start_response)

    cache, is_before = wrapped(around)
    app.add_url_rule("/page", "page", cache.cached()(lambda: request.host))
    for host in ("a.example", "b.example"):
        headers = {"X-Forwarded-Host": host}
        assert check(get, flask, is_before=is_before, headers=headers).text == host


def test_middleware_within_middleware(app: Flask, get: Get, flask: Passing) -> None:
    """The app is found at the bottom."""
    app.wsgi_app = ProxyFix(ProxyFix(app.wsgi_app, x_host=1))  # type: ignore[method-assign]
    cache = Cache(app)
    app.add_url_rule("/page", "page", cache.cached()(lambda: request.host))
    for host in ("a.example", "b.example"):
        assert learn(get, flask, "/page", headers={"X-Forwarded-Host": host}).text == host
