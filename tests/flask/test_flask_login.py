"""The recipes of docs/how-to/users.md with Flask-Login itself, in every order of decorators."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user

from flask_larder import Cache
from tests.flask.answers import is_hit


class User(UserMixin):  # type: ignore[misc] # it is not typed
    def __init__(self, name: str) -> None:
        self.id = name


@pytest.fixture
def logged_in(app: Flask) -> Callable[[str], FlaskClient]:
    """Log a user in, with a cookie that remembers them."""
    LoginManager(app).user_loader(User)

    @app.get("/login/<name>")
    def login(name: str) -> str:
        login_user(User(name), remember=True)
        return name

    def logged_in(name: str) -> FlaskClient:
        client = app.test_client()
        client.get(f"/login/{name}")
        return client

    return logged_in


def page() -> str:
    return f"hello {current_user.get_id()}"


def test_each_order(app: Flask, cache: Cache, logged_in: Callable[[str], FlaskClient]) -> None:
    """Whichever stands outside, and whatever makes the key, each user gets their own page."""
    own = cache.cached(make_cache_key=lambda: f"me-{current_user.get_id()}")
    views = {
        "outside": login_required(cache.cached()(page)),
        "inside": cache.cached()(login_required(page)),
        "own-key": login_required(own(page)),
        "vary": login_required(cache.cached(vary=lambda: current_user.get_id())(page)),
    }
    for name, view in views.items():
        app.add_url_rule(f"/{name}", name, view)
    clients = {name: logged_in(name) for name in ("ann", "bob")}
    for name in [*views, *views]:
        for user, client in clients.items():
            assert client.get(f"/{name}").text == f"hello {user}"
        assert app.test_client().get(f"/{name}").status_code == 401
    assert is_hit(clients["ann"].get("/vary"))


def test_unless_authenticated(
    app: Flask, cache: Cache, logged_in: Callable[[str], FlaskClient]
) -> None:
    """Those who are not logged in share a page; the others have their own, uncached."""
    cached = cache.cached(unless=lambda: current_user.is_authenticated)
    app.add_url_rule("/", "view", cached(page))
    assert app.test_client().get("/").text == "hello None"
    assert logged_in("ann").get("/").text == "hello ann"
    assert is_hit(again := app.test_client().get("/"))
    assert again.text == "hello None"
