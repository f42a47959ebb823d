"""An app that does something of its own needs Flask; caches, apps and processes do not mix."""

import os
from typing import Any

import pytest
from flask import Flask, Request, Response, request
from flask.sessions import SecureCookieSessionInterface
from werkzeug.routing import BaseConverter

from flask_larder import Cache
from flask_larder.wsgi import BeforeFlask
from tests.flask.answers import Counter, Get
from tests.flask.before_flask.passing import Passing, learn, stays_inside


@pytest.mark.parametrize(
    "name",
    [
        *("wsgi_app", "request_context", "app_context", "create_url_adapter", "ensure_sync"),
        *("full_dispatch_request", "preprocess_request", "dispatch_request", "finalize_request"),
        *("make_response", "process_response", "do_teardown_request", "raise_routing_exception"),
    ],
)
def test_a_class_that_does_something_of_its_own(flask: Passing, name: str) -> None:
    """A method of the app is run for each request."""
    ran = Counter()

    def own(self: Flask, *args: Any) -> Any:
        ran()
        return getattr(Flask, name)(self, *args)

    app = type("Own", (Flask,), {name: own})(__name__)
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    for _ in range(3):
        with flask.one():
            app.test_client().get("/page")
    if name == "make_response":
        assert ran.runs == 1  # what it has made is stored
    elif name != "raise_routing_exception":  # which is for URLs without a route
        assert ran.runs >= 3


def test_a_class_that_adds_something(get: Get, flask: Passing) -> None:
    """It is no obstacle."""
    app = type("Own", (Flask,), {"another": lambda self: 1})(__name__)
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    learn(lambda path, **_: app.test_client().get(path), flask, "/page")


OWN_CLASSES = {
    "request": (True, "request_class", Request, {"on_json_loading_failed": lambda self, e: {}}),
    "limit": (False, "request_class", Request, {"max_form_parts": 10, "another": lambda self: 1}),
    "fields": (True, "response_class", Response, {"get_wsgi_headers": Response.get_wsgi_headers}),
    "property": (True, "response_class", Response, {"status_code": Response.status_code}),
    "type": (False, "response_class", Response, {"default_mimetype": "application/json"}),
}


@pytest.mark.parametrize("name", OWN_CLASSES)
def test_classes_for_requests_and_responses(
    app: Flask, get: Get, flask: Passing, name: str
) -> None:
    """Those with another method are asked each time; other data are no obstacle."""
    is_inside, attribute, base, own = OWN_CLASSES[name]
    setattr(app, attribute, type("Own", (base,), own))
    cache = Cache(app)
    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    (stays_inside if is_inside else learn)(get, flask, "/page")


def test_sessions_of_another_kind(app: Flask, get: Get, flask: Passing, page: str) -> None:
    """They may know a user by anything."""
    app.session_interface = type("Own", (SecureCookieSessionInterface,), {})()
    stays_inside(get, flask, page)


def test_a_converter_of_the_app(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """It may refuse tomorrow what it took today."""
    app.url_map.converters["own"] = type("Own", (BaseConverter,), {})
    app.add_url_rule("/own/<own:x>", "own", cache.cached()(lambda x: x))
    app.add_url_rule("/int/<int:x>/<path:y>", "int", cache.cached()(lambda x, y: y))
    stays_inside(get, flask, "/own/1")
    learn(get, flask, "/int/1/a/b")


def test_debug_mode(app: Flask, get: Get, flask: Passing, page: str) -> None:
    """It tells of each answer what it read."""
    app.debug = True
    stays_inside(get, flask, page)


def test_a_test_that_looks_at_the_context(app: Flask, get: Get, flask: Passing, page: str) -> None:
    """Has one, though others are answered before Flask."""
    learn(get, flask, page)
    with app.test_client() as client, flask.one():
        client.get(page)
        assert request.path == page


def test_two_caches_of_one_app(app: Flask, get: Get, flask: Passing) -> None:
    """Each answers with its own, from one place."""
    caches = [Cache(app, config={"CACHE_KEY_PREFIX": f"{n}_"}) for n in range(2)]
    for number, cache in enumerate(caches):
        app.add_url_rule(f"/{number}", str(number), cache.cached()(lambda n=number: str(n)))
    for number in range(2):
        assert learn(get, flask, f"/{number}").text == str(number)
    caches[0].clear()
    with flask.one():
        get("/0")
    with flask.none():
        get("/1")
    assert not isinstance(app.wsgi_app._flask, BeforeFlask)  # type: ignore[attr-defined]


def test_a_cache_within_a_cache(app: Flask, get: Get, flask: Passing, count: Counter) -> None:
    """What the outer one looked up is not taken for what the inner one has, and both have it."""
    inner, outer = (Cache(app, config={"CACHE_KEY_PREFIX": name}) for name in ("in_", "out_"))
    view = outer.cached()(inner.cached()(lambda: str(count())))
    app.add_url_rule("/page", "page", view)
    learn(get, flask, "/page")
    outer.clear()
    assert get("/page").text == "1"
    inner.clear()
    outer.clear()
    assert get("/page").text == "2"


def test_two_apps_with_one_cache(flask: Passing) -> None:
    """Each has what is its own."""
    cache = Cache(config={"CACHE_TYPE": "SimpleCache"})
    view = cache.cached()(lambda: request.environ["app"])
    for name in ("a", "b"):
        app = Flask(name)
        cache.init_app(app)
        app.add_url_rule("/", "page", view)
        get = lambda path, app=app, name=name: app.test_client().get(  # noqa: E731
            path, environ_overrides={"app": name}
        )
        assert learn(get, flask, "/").text == name


def test_an_app_that_is_initialised_again(
    app: Flask, cache: Cache, get: Get, flask: Passing
) -> None:
    """What was stored before is not sent any more, and nothing is placed twice."""
    texts = iter("ab")
    app.add_url_rule("/page", "page", cache.cached()(lambda: next(texts)))
    assert learn(get, flask, "/page").text == "a"
    cache.init_app(app)
    assert learn(get, flask, "/page").text == "b"
    assert not isinstance(app.wsgi_app._flask, BeforeFlask)  # type: ignore[attr-defined]


def test_a_child_learns_for_itself(get: Get, flask: Passing, page: str) -> None:
    """What its parent knew stays behind, with the locks of that."""
    learn(get, flask, page)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            learn(get, flask, page)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with flask.none():
        get(page)


def test_a_fault_of_the_cache_is_none_of_the_apps(
    app: Flask, cache: Cache, get: Get, flask: Passing, page: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Flask answers, and the log tells once."""
    learn(get, flask, page)
    app.view_functions = None  # type: ignore[assignment] # whatever it may be
    broken = app.test_client(use_cookies=False)
    for _ in range(2):
        with flask.one(), pytest.raises(TypeError):
            broken.get(page)
    told = [record for record in caplog.records if record.name == "flask_larder"]
    assert [record.getMessage() for record in told] == ["Hits are answered inside Flask"]
