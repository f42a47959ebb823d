"""A purge between the coming of a request and its view.

The answer is older than that where anything of the app's has run before the view, since that may
have read what was purged. Else it is not: who has waited for an answer that the purge has hit makes
a good one.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

import pytest
from blinker import Signal
from flask import Blueprint, Flask, Request, Response, g, request_started, session
from flask.json.tag import JSONTag, TaggedJSONSerializer
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask.signals import appcontext_pushed
from flask.views import MethodView
from werkzeug.routing import BaseConverter, Map, MapAdapter

from flask_larder import Cache
from flask_larder.engine import Engine
from tests.flask.answers import Counter, Get, is_hit, status_of

View = Callable[[], dict[str, int]]
Read = Callable[..., None]
Way = Callable[[Flask, Cache, View, Read], AbstractContextManager[Any] | None]


class Data:
    """What views are made of, in two versions."""

    def __init__(self) -> None:
        self.version = 1
        self.read: int | None = None

    def note(self, *_: Any, **__: Any) -> None:
        """Read it before the view."""
        self.read = self.version

    def view(self) -> dict[str, int]:
        """What was read before, else what is there now."""
        return {"version": self.read or self.version}


@pytest.fixture
def data(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Data:
    """Is changed, and purged, when a request has come as far as the engine for the first time."""
    data, answer = Data(), Engine.answer

    def overtaken(self: Engine, ask: Any, forward: Any) -> Any:
        if data.version == 1:
            data.version = 2
            cache.purge_tags("data")
        return answer(self, ask, forward)

    monkeypatch.setattr(Engine, "answer", overtaken)
    return data


def route(app: Flask | Blueprint, cache: Cache, view: View, **options: Any) -> None:
    app.add_url_rule("/", "page", cache.cached(tags=["data"], **options)(view))


def by_hook(name: str) -> Way:
    def register(app: Flask, cache: Cache, view: View, read: Read) -> None:
        getattr(app, name)(read)
        route(app, cache, view)

    return register


def by_hook_of_blueprint(name: str) -> Way:
    def register(app: Flask, cache: Cache, view: View, read: Read) -> None:
        outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
        getattr(outer, name)(read)
        route(inner, cache, view)
        outer.register_blueprint(inner)
        app.register_blueprint(outer)

    return register


def by_signal(signal: Signal) -> Way:
    def register(app: Flask, cache: Cache, view: View, read: Read) -> AbstractContextManager[Any]:
        route(app, cache, view)
        return signal.connected_to(read, app)

    return register


def by_converter(app: Flask, cache: Cache, view: View, read: Read) -> None:
    class Loading(BaseConverter):
        def to_python(self, value: str) -> str:
            read()
            return value

    app.url_map.converters["loading"] = Loading
    cached = cache.cached(tags=["data"])(lambda what: view())
    app.add_url_rule("/<loading:what>", "page", cached)


def by_session(app: Flask, cache: Cache, view: View, read: Read) -> None:
    class Sessions(SecureCookieSessionInterface):
        def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
            read()
            return super().open_session(app, request)

    app.session_interface = Sessions()
    route(app, cache, view)


def by_request_class(app: Flask, cache: Cache, view: View, read: Read) -> None:
    class Reading(app.request_class):  # type: ignore[name-defined]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            read()

    app.request_class = Reading
    route(app, cache, view)


def by_hook_that_removes_itself(app: Flask, cache: Cache, view: View, read: Read) -> None:
    def once() -> None:
        app.before_request_funcs[None].remove(once)
        read()
        g.is_loaded = True

    app.before_request(once)
    route(app, cache, view)


def by_globals(app: Flask, cache: Cache, view: View, read: Read) -> None:
    class Globals(app.app_ctx_globals_class):  # type: ignore[name-defined]
        def __init__(self) -> None:
            read()

    app.app_ctx_globals_class = Globals
    route(app, cache, view)


def by_url_map(app: Flask, cache: Cache, view: View, read: Read) -> None:
    class Loading(Map):
        def bind_to_environ(self, *args: Any, **kwargs: Any) -> MapAdapter:
            read()
            return super().bind_to_environ(*args, **kwargs)

    app.url_map.__class__ = Loading
    route(app, cache, view)


def by_open_session(app: Flask, cache: Cache, view: View, read: Read) -> None:
    app.session_interface = SecureCookieSessionInterface()  # all apps share one
    own = app.session_interface.open_session

    def opening(app: Flask, request: Request) -> Any:
        read()
        return own(app, request)

    app.session_interface.open_session = opening  # type: ignore[method-assign]
    route(app, cache, view)


def by_method_of_app(name: str) -> Way:
    def register(app: Flask, cache: Cache, view: View, read: Read) -> None:
        own = getattr(app, name)

        def reading(*args: Any, **kwargs: Any) -> Any:
            read()
            return own(*args, **kwargs)

        setattr(app, name, reading)
        route(app, cache, view)

    return register


def by_app_class(app: Flask, cache: Cache, view: View, read: Read) -> None:
    class Own(Flask):
        def dispatch_request(self) -> Any:
            read()
            return super().dispatch_request()

    app.__class__ = Own
    route(app, cache, view)


def by_decorator(app: Flask, cache: Cache, view: View, read: Read) -> None:
    cached = cache.cached(tags=["data"])(view)

    @app.get("/", endpoint="page")
    @wraps(cached)
    def outer() -> Any:
        read()
        return cached()


def by_view_class(app: Flask, cache: Cache, view: View, read: Read) -> None:
    class Page(MethodView):
        def __init__(self) -> None:
            read()

        @cache.cached(tags=["data"])
        def get(self) -> dict[str, int]:
            return view()

    app.add_url_rule("/", view_func=Page.as_view("page"))


def by_option(name: str, result: object) -> Way:
    def register(app: Flask, cache: Cache, view: View, read: Read) -> None:
        def function(*_: object, **__: object) -> object:
            read()
            return result

        route(app, cache, view, **{name: function})

    return register


WAYS: dict[str, Way] = {
    "before_request": by_hook("before_request"),
    "before_request of a blueprint": by_hook_of_blueprint("before_request"),
    "url_value_preprocessor": by_hook("url_value_preprocessor"),
    "url_value_preprocessor of a blueprint": by_hook_of_blueprint("url_value_preprocessor"),
    "request_started": by_signal(request_started),
    "appcontext_pushed": by_signal(appcontext_pushed),
    "a hook that removes itself": by_hook_that_removes_itself,
    "flask.g": by_globals,
    "the map of URLs": by_url_map,
    "a converter": by_converter,
    "the session interface": by_session,
    "a method of the session interface": by_open_session,
    "the request class": by_request_class,
    "create_url_adapter": by_method_of_app("create_url_adapter"),
    "preprocess_request": by_method_of_app("preprocess_request"),
    "dispatch_request": by_method_of_app("dispatch_request"),
    "the class of the app": by_app_class,
    "a decorator": by_decorator,
    "the class of the view": by_view_class,
    "make_cache_key": by_option("make_cache_key", "key"),
    "key_prefix": by_option("key_prefix", "key"),
    "vary": by_option("vary", "somebody"),
    "unless": by_option("unless", False),
    "forced_update": by_option("forced_update", False),
}


@pytest.mark.parametrize("name", WAYS)
def test_what_was_read_before_the_view_is_old(
    app: Flask, cache: Cache, get: Get, data: Data, name: str
) -> None:
    """Its caller gets it, and nobody after that."""
    path = "/x" if name == "a converter" else "/"
    with WAYS[name](app, cache, data.view, data.note) or nullcontext():
        first = get(path)
        assert first.json == {"version": 1}
        assert "stored" not in status_of(first)
        data.read = None
        assert get(path).json == {"version": 2}
        assert is_hit(get(path))


@pytest.fixture
def other_app() -> Iterator[None]:
    """Has a receiver of the signals of another app."""
    with request_started.connected_to(lambda *_, **__: None, Flask("other")):
        yield


def after_request(app: Flask) -> None:
    @app.after_request
    def after(response: Response) -> Response:
        return response


def response_class(app: Flask) -> None:
    class Own(Response):
        @classmethod
        def force_type(cls, *args: Any, **kwargs: Any) -> Any:
            return super().force_type(*args, **kwargs)

    app.response_class = Own


def converter(app: Flask) -> None:
    class Hex(BaseConverter):
        regex = "[0-9a-f]+"

    app.url_map.converters["hex"] = Hex


HARMLESS: dict[str, Callable[[Flask], object]] = {
    "nothing": lambda app: None,
    "after_request": after_request,
    "teardown_request": lambda app: app.teardown_request(lambda error: None),
    "a hook of another blueprint": lambda app: app.before_request_funcs.update(
        {"other": [lambda: None]}
    ),
    "the response class": response_class,
    "a converter that only matches": converter,
}


@pytest.mark.usefixtures("other_app")
@pytest.mark.parametrize("name", HARMLESS)
def test_what_the_view_itself_reads_is_not_old(
    app: Flask, cache: Cache, get: Get, data: Data, name: str
) -> None:
    """So it is kept."""
    HARMLESS[name](app)
    cached = cache.cached(tags=["data"])(lambda part="": data.view())
    app.add_url_rule("/", "page", cached)
    if "hex" in app.url_map.converters:
        app.add_url_rule("/<hex:part>", "page", cached)
    path = "/af" if "hex" in app.url_map.converters else "/"
    first = get(path)
    assert first.json == {"version": 2}
    assert status_of(first).endswith("fwd=uri-miss; stored; ttl=300")
    assert get(path).json == {"version": 2}
    assert is_hit(get(path))


# --- what is no request from outside, or no first call ---


def within_a_view(app: Flask, get: Get, data: Data) -> None:
    @app.get("/outer")
    def outer() -> str:
        data.note()
        return get("/").text

    get("/outer")


def within_a_context(app: Flask, get: Get, data: Data) -> None:
    with app.app_context():
        data.note()
        get("/")


def in_a_context_of_its_own(app: Flask, get: Get, data: Data) -> None:
    with app.test_request_context("/"):
        data.note()
        app.full_dispatch_request()


@pytest.mark.parametrize("ask", [within_a_view, within_a_context, in_a_context_of_its_own])
def test_what_was_read_around_a_request_is_old(
    app: Flask, cache: Cache, get: Get, data: Data, ask: Callable[[Flask, Get, Data], None]
) -> None:
    """Views may find it in the context that they share, as in ``flask.g``."""
    route(app, cache, data.view)
    ask(app, get, data)
    assert data.read == 1
    data.read = None
    assert get("/").json == {"version": 2}


@pytest.mark.parametrize("by", ["itself", "an error handler"])
def test_what_was_read_by_a_view_that_runs_again_is_old(
    app: Flask, cache: Cache, get: Get, by: str
) -> None:
    """It may leave things for its second run."""
    data = Data()

    @app.get("/")
    @cache.cached(tags=["data"])
    def page() -> Any:
        if data.read is not None or data.version == 2:
            return data.view()
        data.note()
        if by == "itself":
            return again()
        raise ConnectionError

    def again(*_: object) -> Any:
        data.version = 2
        cache.purge_tags("data")
        return page()

    app.register_error_handler(ConnectionError, again)
    assert get("/").json == {"version": 1}
    data.read = None
    assert get("/").json == {"version": 2}


def test_what_a_session_has_loaded_is_old(
    app: Flask, cache: Cache, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cookie may stand for something that is stored elsewhere."""

    class User(JSONTag):
        key = " user"

        def check(self, value: Any) -> bool:
            return isinstance(value, Data)

        def to_json(self, value: Any) -> int:
            return 1

        def to_python(self, value: Any) -> Data:
            data.note()
            return data

    serializer = TaggedJSONSerializer()
    serializer.register(User, index=0)
    monkeypatch.setattr(SecureCookieSessionInterface, "serializer", serializer)
    app.add_url_rule("/login", "login", lambda: session.update(user=data) or "")
    route(app, cache, data.view, vary="Cookie")
    client = app.test_client()
    client.get("/login")
    assert client.get("/").json == {"version": 1}
    data.read = None
    client = app.test_client()
    client.get("/login")
    data.read = None
    assert client.get("/").json == {"version": 2}


# --- those who wait ---


def test_a_purge_does_not_part_those_who_wait(app: Flask, cache: Cache, get: Get) -> None:
    """One of them makes it again, for all: the view runs twice, and not once for each caller."""
    callers, data, count = 40, Data(), Counter()
    came, all_came, entered, go = 0, threading.Event(), threading.Event(), threading.Event()
    lock, inner = threading.Lock(), app.wsgi_app

    def counting(environ: Any, start_response: Any) -> Any:
        nonlocal came
        with lock:
            came += 1
            if came == callers:
                all_came.set()
        return inner(environ, start_response)

    @app.get("/")
    @cache.cached(tags=["data"])
    def page() -> dict[str, int]:
        count()
        version = data.version
        entered.set()
        assert go.wait(10)
        return {"version": version}

    app.wsgi_app = counting  # type: ignore[method-assign]
    with ThreadPoolExecutor(callers) as pool:
        answers = [pool.submit(get, "/") for _ in range(callers)]
        assert entered.wait(10)
        assert all_came.wait(10)
        data.version = 2
        cache.purge_tags("data")
        go.set()
    assert count.runs == 2
    assert sorted(answer.result().json["version"] for answer in answers) == [1] + [2] * 39
    assert get("/").json == {"version": 2}
    assert count.runs == 2
