"""What the log says of why hits are answered inside Flask, for who has asked for that."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, request_started

from flask_larder import Cache

WHY = "hits of tests.flask.test_inside_flask.page are answered inside Flask: "


def page() -> str:
    return "page"


def guard(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return guarded


def note() -> None:
    pass


def passed(response: Response) -> Response:
    return response


def add(app: Flask, cache: Cache) -> None:
    app.add_url_rule("/page", "page", cache.cached()(page))


def with_decorator(app: Flask, cache: Cache) -> None:
    app.add_url_rule("/page", "page", guard(cache.cached()(page)))


def with_hook(app: Flask, cache: Cache) -> None:
    add(app, cache)
    app.before_request(note)


def with_hook_of_blueprint(app: Flask, cache: Cache) -> None:
    blueprint = Blueprint("shop", __name__)
    blueprint.add_url_rule("/page", "page", cache.cached()(page))
    blueprint.after_request(passed)
    app.register_blueprint(blueprint)


def with_signal(app: Flask, cache: Cache) -> None:
    add(app, cache)
    request_started.connect(_hear, app)


def _hear(*_: Any, **__: Any) -> None:
    pass


def switched_off(app: Flask, cache: Cache) -> None:
    app.add_url_rule("/page", "page", cache.cached(before_flask=False)(page))


@pytest.mark.parametrize(
    ("arrange", "reason"),
    [
        (with_decorator, "a decorator is around it, or its endpoint has another view"),
        (with_hook, "before_request has tests.flask.test_inside_flask.note"),
        (with_hook_of_blueprint, "after_request has tests.flask.test_inside_flask.passed"),
        (with_signal, "a signal of requests or contexts has a receiver"),
        (switched_off, "it is switched off"),
        (add, "the log has a line for each answer"),
    ],
)
def test_the_log_says_why(
    arrange: Callable[[Flask, Cache], None], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and by name where something of the app is the reason."""
    app = Flask(__name__)
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    try:
        arrange(app, cache)
        client = app.test_client(use_cookies=False)
        with caplog.at_level(logging.DEBUG, "flask_larder"):
            for _ in range(3):
                assert client.get("/page").text == "page"
    finally:
        request_started.disconnect(_hear)
    told = [record.getMessage() for record in caplog.records]
    assert [line for line in told if line.startswith("hits of")] == [WHY + reason]
