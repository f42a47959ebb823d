"""Counts the requests that Flask answers."""

import pytest
from flask import Flask, Response

from flask_larder import Cache
from flask_larder.flask import before_flask
from tests.flask.before_flask.passing import Passing


@pytest.fixture(autouse=True)
def flask(monkeypatch: pytest.MonkeyPatch) -> Passing:
    """Counts in the class itself: an app with a method of its own would be another one."""
    passing, dispatch = Passing(), Flask.full_dispatch_request

    def counting(app: Flask) -> Response:
        passing.count += 1
        return dispatch(app)

    monkeypatch.setattr(Flask, "full_dispatch_request", counting)
    monkeypatch.setattr(before_flask, "_OF_FLASK", before_flask._methods_of(Flask))
    return passing


@pytest.fixture
def page(app: Flask, cache: Cache) -> str:
    """The URL of a view that is cached, and around which nothing is."""
    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    return "/page"
