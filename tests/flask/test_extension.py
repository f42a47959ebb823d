"""Several caches in an app, several apps for a cache, and which one is meant."""

import gc
import weakref
from typing import Any

import pytest
from flask import Flask, current_app

from flask_larder import Cache, InvalidConfig, NotInitialised
from tests.flask.answers import Counter


def new_app(name: str = "app") -> Flask:
    app = Flask(name, root_path=".")
    app.config["CACHE_TYPE"] = "simple"
    return app


def test_several_caches_in_one_app(count: Counter) -> None:
    """Caches of different types live side by side, each with what it keeps."""
    app = new_app()
    memory = Cache(app)
    nothing = Cache(app, config={"CACHE_TYPE": "null"}, name="nothing")
    app.add_url_rule("/memory", "memory", memory.cached()(lambda: str(count())))
    app.add_url_rule("/nothing", "nothing", nothing.cached()(lambda: str(count())))
    client = app.test_client()
    assert client.get("/memory").data == client.get("/memory").data
    assert client.get("/nothing").data != (last := client.get("/nothing")).data
    assert last.headers["Cache-Status"] == "larder; fwd=bypass; detail=null-cache"
    memory.set("a", 1)
    assert nothing.get("a") is None


def test_several_apps_for_one_cache() -> None:
    """One cache serves several apps, which share nothing; outside of them it asks which."""
    cache = Cache()
    first, second = new_app("first"), new_app("second")
    with pytest.raises(
        NotInitialised, match="has no app, or none that is left; call init_app first"
    ):
        cache.get("a")
    cache.init_app(first)
    cache.set("a", "the only app")
    cache.init_app(second)
    with pytest.raises(NotInitialised, match="since 2 use it"):
        cache.get("a")
    with second.app_context():
        assert cache.get("a") is None
        cache.set("a", "second")
    with first.app_context():
        assert cache.get("a") == "the only app"


@pytest.mark.parametrize("app", ["app", Flask, object()])
def test_what_is_no_app(app: Any) -> None:
    """Such as its class, or its name."""
    with pytest.raises(InvalidConfig, match="give the application, an instance of Flask"):
        Cache(app)
    with pytest.raises(InvalidConfig, match="app is None; give the application"):
        Cache().init_app(None)  # type: ignore[arg-type]


def test_the_current_app_is_an_app() -> None:
    """A proxy stands for the app itself, also after its context."""
    app, cache = new_app(), Cache()
    with app.app_context():
        cache.init_app(current_app)
    assert cache.set("key", 1)


def test_app_that_the_cache_does_not_know() -> None:
    """In the context of another app an error names both."""
    cache = Cache(new_app(), name="mine")
    with new_app("other").app_context(), pytest.raises(NotInitialised) as error:
        cache.get("a")
    assert (
        str(error.value)
        == "<Cache 'mine'> does not know <Flask 'other'>; call init_app with it first"
    )


def test_app_is_not_kept_alive() -> None:
    """A cache that outlives an app, as in tests, does not hold on to it."""
    cache = Cache()
    app = new_app()
    cache.init_app(app)
    known = weakref.ref(app)
    del app
    gc.collect()
    assert known() is None
    with pytest.raises(NotInitialised):
        cache.get("a")
