"""What is cached above its route, where Flask never calls it, is told in the log."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView

from flask_larder import Cache


def page() -> str:
    """A view."""
    return "x"


def above(cache: Cache, shop: Blueprint) -> Any:
    """As a newcomer may write it; the module has what comes of it."""
    return cache.cached()(shop.get("/")(page))


def below(cache: Cache, shop: Blueprint) -> None:
    """As it is meant."""
    shop.get("/")(cache.cached()(page))


def beside(cache: Cache, shop: Blueprint) -> None:
    """One route is cached, and one is not."""
    shop.get("/raw", endpoint="raw")(page)
    below(cache, shop)


def of_class(cache: Cache, shop: Blueprint) -> None:
    """Flask puts the decorators of a view's class around it."""

    class Page(MethodView):
        decorators = (cache.cached(),)

        def get(self) -> str:
            return "x"

    shop.add_url_rule("/", view_func=Page.as_view("page"))


@pytest.mark.parametrize(
    ("register", "is_told"), [(above, True), (below, False), (beside, False), (of_class, False)]
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_cache_above_the_route_is_told(
    caplog: pytest.LogCaptureFixture,
    register: Callable[[Cache, Blueprint], Any],
    is_told: bool,
    is_first: bool,
) -> None:
    """Once, whether the app is told of the cache before its views or after them."""
    app, cache = Flask(__name__), Cache(config={"CACHE_TYPE": "SimpleCache"})
    shop = Blueprint("shop", __name__)
    if is_first:
        cache.init_app(app)
    page = register(cache, shop)
    app.register_blueprint(shop)
    if not is_first:
        cache.init_app(app)
    answers = [app.test_client().get("/") for _ in range(2)]
    assert ("Cache-Status" in answers[1].headers) is not is_told
    said = "test_endpoints.page is not cached: the cache stands above its route; put it below"
    assert [said in line for line in caplog.messages] == [True] * is_told
    del page


def test_each_app_is_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    """Also one whose requests are of the class that another app has made."""
    cache, shop = Cache(config={"CACHE_TYPE": "SimpleCache"}), Blueprint("shop", __name__)
    page = above(cache, shop)
    apps = [Flask(__name__), Flask(__name__)]
    cache.init_app(apps[0])
    apps[0].add_url_rule("/", view_func=str)
    apps[0].test_client().get("/")
    apps[1].request_class = apps[0].request_class
    cache.init_app(apps[1])
    assert caplog.messages == []
    apps[1].register_blueprint(shop)
    apps[1].test_client().get("/")
    assert len(caplog.messages) == 1
    del page


def test_a_line_that_cannot_be_written_spoils_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as where a disk is full."""

    def fail(_: logging.LogRecord) -> bool:
        raise OSError("no space left on device")

    app, shop = Flask(__name__), Blueprint("shop", __name__)
    page = above(Cache(app, config={"CACHE_TYPE": "SimpleCache"}), shop)
    app.register_blueprint(shop)
    monkeypatch.setattr(logging.getLogger("flask_larder"), "filters", [fail])
    assert app.test_client().get("/").status_code == 200
    del page
