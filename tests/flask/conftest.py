"""A Flask app with a cache in memory, and a client that shows what became of each request."""

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_larder import Cache
from flask_larder.engine import Engine
from tests.flask.answers import Counter, Get
from tests.flask.before_flask.passing import Passing


@pytest.fixture
def app() -> Flask:
    """An app with a secret key, so that it has sessions."""
    app = Flask(__name__)
    app.config.update(SECRET_KEY="tests", TESTING=True, CACHE_TYPE="SimpleCache")
    return app


@pytest.fixture
def cache(app: Flask) -> Cache:
    """A cache of its own for each test, in memory."""
    return Cache(app)


@pytest.fixture
def get(app: Flask) -> Get:
    """Send one request with a new client, so that no cookie survives."""

    def get(path: str, **options: Any) -> TestResponse:
        method = options.pop("method", "GET")
        return app.test_client(use_cookies=False).open(path, method=method, **options)

    return get


@pytest.fixture
def count() -> Counter:
    return Counter()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Passing:
    """Counts the requests for which the engine is asked."""
    passing, answer = Passing(), Engine.answer

    def counting(self: Engine, ask: Any, forward: Any) -> Any:
        passing.count += 1
        return answer(self, ask, forward)

    monkeypatch.setattr(Engine, "answer", counting)
    return passing
