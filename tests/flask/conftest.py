"""A Flask app with a cache in memory, and a client that shows what became of each request."""

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from flask_larder import Cache
from tests.flask.answers import Counter, Get


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
