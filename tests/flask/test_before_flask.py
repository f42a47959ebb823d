"""For what hits are answered before Flask: clause by clause, also where it changes afterwards.

Each test asks how often Flask answered. What is sent is compared in test_same_before_flask.
"""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytest
import werkzeug
from flask import (
    Blueprint,
    Flask,
    Request,
    Response,
    abort,
    redirect,
    request,
    request_finished,
    request_started,
    request_tearing_down,
    session,
)
from flask.sessions import SecureCookieSessionInterface
from flask.signals import appcontext_popped, appcontext_pushed, appcontext_tearing_down
from flask_login import LoginManager, UserMixin, login_required, login_user
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter
from werkzeug.test import Client, TestResponse, run_wsgi_app

from flask_larder import Cache
from flask_larder.flask import before_flask
from flask_larder.wsgi import BeforeFlask
from tests.flask.answers import Counter, Get, is_hit, status_of

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


class Passing:
    """How many requests Flask has answered."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def none(self) -> Iterator[None]:
        """What is answered in the block is answered before Flask."""
        yield from self._exactly(0)

    @contextmanager
    def one(self) -> Iterator[None]:
        """One request in the block reaches Flask."""
        yield from self._exactly(1)

    def _exactly(self, number: int) -> Iterator[None]:
        before = self.count
        yield
        assert self.count - before == number


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


def learn(get: Get, flask: Passing, path: str, **options: Any) -> TestResponse:
    """Have Flask answer once; then a hit is answered before it, which is returned."""
    with flask.one():
        get(path, **options)
    with flask.none():
        answer = get(path, **options)
    assert is_hit(answer)
    return answer


def stays_inside(get: Get, flask: Passing, path: str, **options: Any) -> None:
    """Flask answers each time, also where it is a hit."""
    for _ in range(3):
        with flask.one():
            answer = get(path, **options)
    assert is_hit(answer)


def test_the_second_request_is_answered_before(get: Get, flask: Passing, page: str) -> None:
    """One answer of Flask's is enough, also where that was a miss."""
    assert learn(get, flask, page).text == "page"


# --- functions that the app runs ---

HOOKS = ("before_request", "after_request", "teardown_request", "url_value_preprocessor")
SCOPES = {"app": None, "blueprint": "outer", "nested": "outer.inner"}


def registered(app: Flask, hook: str) -> dict[str | None, list[Any]]:
    name = "url_value_preprocessors" if hook == "url_value_preprocessor" else f"{hook}_funcs"
    functions: dict[str | None, list[Any]] = getattr(app, name)
    return functions


def function_of(hook: str, ran: Counter) -> Callable[..., Any]:
    def function(*arguments: Any) -> Any:
        ran()
        return arguments[0] if hook == "after_request" else None

    return function


def nested_page(app: Flask, cache: Cache, scope: str = "", hook: str = "", run: Any = None) -> None:
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    inner.add_url_rule("/nested", "page", cache.cached()(lambda: "nested"))
    scaffold = {"app": app, "blueprint": outer, "nested": inner}.get(scope)
    if scaffold is not None:
        getattr(scaffold, hook)(run)
    outer.register_blueprint(inner)
    app.register_blueprint(outer)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_function_of_the_app_or_the_blueprints_is_run(
    app: Flask, cache: Cache, get: Get, flask: Passing, count: Counter, hook: str, scope: str
) -> None:
    """Registered as one does."""
    nested_page(app, cache, scope, hook, function_of(hook, count))
    stays_inside(get, flask, "/nested")
    assert count.runs == 3


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_function_that_is_put_there_later_is_run(
    app: Flask, cache: Cache, get: Get, flask: Passing, count: Counter, hook: str, scope: str
) -> None:
    """Into the dictionary, when the URL is known already; and no more when it is gone."""
    nested_page(app, cache)
    learn(get, flask, "/nested")
    functions = registered(app, hook).setdefault(SCOPES[scope], [])
    functions.append(function_of(hook, count))
    with flask.one():
        get("/nested")
    assert count.runs == 1
    functions.pop()
    with flask.none():
        get("/nested")


@pytest.mark.parametrize("hook", HOOKS)
def test_functions_of_other_blueprints_are_none_of_its_business(
    app: Flask, cache: Cache, get: Get, flask: Passing, count: Counter, hook: str
) -> None:
    """Though they may come while it serves."""
    nested_page(app, cache)
    registered(app, hook)["other"] = [function_of(hook, count)]
    learn(get, flask, "/nested")
    assert count.runs == 0


def test_teardown_of_the_app_context_needs_a_context(
    app: Flask, get: Get, flask: Passing, page: str, count: Counter
) -> None:
    """Without one, there is nothing to tear down."""
    app.teardown_appcontext(lambda _: count())
    learn(get, flask, page)
    assert count.runs == 1


def test_cross_origin_fields_are_those_of_each_request(
    app: Flask, get: Get, flask: Passing, page: str
) -> None:
    """As Flask-CORS adds them, after each request."""

    @app.after_request
    def cors(response: Response) -> Response:
        response.headers["Access-Control-Allow-Origin"] = request.headers.get("Origin", "*")
        return response

    for origin in ("https://a.example", "https://b.example", "https://a.example"):
        with flask.one():
            answer = get(page, headers={"Origin": origin})
        assert answer.headers["Access-Control-Allow-Origin"] == origin


SIGNALS = {
    signal.name: signal
    for signal in (
        *(request_started, request_finished, request_tearing_down),
        *(appcontext_pushed, appcontext_tearing_down, appcontext_popped),
    )
}


@pytest.mark.parametrize("name", SIGNALS)
def test_who_listens_to_a_signal_hears_of_each_request(
    app: Flask, get: Get, flask: Passing, page: str, count: Counter, name: str
) -> None:
    """Also who began to when the URL was known already; and nobody stands in the way later."""

    def hear(_: Any, **__: Any) -> None:
        count()

    learn(get, flask, page)
    with SIGNALS[name].connected_to(hear, app), flask.one():
        get(page)
    assert count.runs == 1
    with flask.none():
        get(page)


def test_signals_of_the_cache(app: Flask, get: Get, flask: Passing) -> None:
    """They are sent for each hit."""
    cache = Cache(app, config={"CACHE_ENABLE_SIGNALS": True})
    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    stays_inside(get, flask, "/page")


# --- what stands around the view ---


def only_ann(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs) if request.environ.get("HTTP_X_USER") == "ann" else abort(401)

    return guarded


@pytest.mark.parametrize("before_flask", [None, True])
def test_a_decorator_above_is_run(
    app: Flask, cache: Cache, get: Get, flask: Passing, before_flask: bool | None
) -> None:
    """Nothing forces it away."""
    view = only_ann(cache.cached(before_flask=before_flask)(lambda: "page"))
    app.add_url_rule("/page", "page", view)
    stays_inside(get, flask, "/page", headers={"X-User": "ann"})
    assert get("/page").status_code == 401


@pytest.mark.parametrize("before_flask", [None, True])
def test_the_view_is_replaced(
    app: Flask, cache: Cache, get: Get, flask: Passing, before_flask: bool | None
) -> None:
    """When its URL is known already, by a decorator or by another view."""
    app.add_url_rule("/page", "page", cache.cached(before_flask=before_flask)(lambda: "page"))
    learn(get, flask, "/page")
    app.view_functions["page"] = only_ann(app.view_functions["page"])
    assert get("/page").status_code == 401
    app.view_functions["page"] = lambda: "another"
    assert get("/page").text == "another"


@pytest.mark.parametrize("before_flask", [None, True])
def test_nobody_gets_past_a_login(
    app: Flask, cache: Cache, flask: Passing, before_flask: bool | None
) -> None:
    """Of Flask-Login, above or below the cache, and whatever the view asks for."""
    LoginManager(app).user_loader(lambda name: None)
    cached = cache.cached(before_flask=before_flask)
    app.add_url_rule("/above", "above", login_required(cached(lambda: "secret")))
    app.add_url_rule("/below", "below", cached(login_required(lambda: "secret")))

    class User(UserMixin):  # type: ignore[misc] # it is not typed
        id = "ann"

    app.login_manager.user_loader(lambda name: User())  # type: ignore[attr-defined]

    @app.get("/login")
    def login() -> str:
        login_user(User())
        return "welcome"

    ann, nobody = app.test_client(), app.test_client()
    ann.get("/login")
    for path in ("/above", "/below", "/above", "/below"):
        with flask.one():
            assert ann.get(path).text == "secret"
        with flask.one():
            assert nobody.get(path).status_code == 401


def test_flask_login_looks_at_each_answer(app: Flask, get: Get, flask: Passing, page: str) -> None:
    """It renews its cookie then, so views without ``login_required`` are inside, too."""
    LoginManager(app).user_loader(lambda name: None)
    stays_inside(get, flask, page)


def test_a_view_may_do_without_hooks(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """Where it says so; what carries credentials still goes to Flask, and the hooks run."""
    ran = Counter()
    app.before_request(function_of("before_request", ran))
    app.add_url_rule("/page", "page", cache.cached(before_flask=True)(lambda: "page"))
    learn(get, flask, "/page")
    assert ran.runs == 1
    for headers in ({"Authorization": "Bearer x"}, {"Cookie": "session=x"}):
        with flask.one():
            get("/page", headers=headers)
    assert ran.runs == 3


def test_a_view_may_forbid_it(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """And stands above the setting."""
    app.add_url_rule("/page", "page", cache.cached(before_flask=False)(lambda: "page"))
    stays_inside(get, flask, "/page")


@pytest.mark.parametrize("before_flask", [None, True])
def test_the_setting_forbids_it(
    app: Flask, get: Get, flask: Passing, before_flask: bool | None
) -> None:
    """For all views, also where another cache of the app allows it."""
    cache, other = Cache(app, config={"CACHE_BEFORE_FLASK": False}), Cache(app)
    app.add_url_rule("/page", "page", cache.cached(before_flask=before_flask)(lambda: "page"))
    app.add_url_rule("/other", "other", other.cached()(lambda: "other"))
    stays_inside(get, flask, "/page")
    learn(get, flask, "/other")


# --- the app itself ---


@pytest.mark.parametrize(
    "name", ["wsgi_app", "process_response", "dispatch_request", "make_response"]
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


# --- options ---

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "unless": lambda: False,
    "vary": lambda: 1,
    "make_cache_key": lambda: "key",
    "key_prefix": lambda: "key",
    "forced_update": lambda: False,
    "is_stale": lambda stored: False,
}


@pytest.mark.parametrize("option", FUNCTIONS)
def test_functions_that_look_at_the_request(
    app: Flask, cache: Cache, get: Get, flask: Passing, option: str
) -> None:
    """They need Flask, also where the view does without hooks."""
    cached = cache.cached(before_flask=True, **{option: FUNCTIONS[option]})
    app.add_url_rule("/page", "page", cached(lambda: "page"))
    stays_inside(get, flask, "/page")


HARMLESS: dict[str, dict[str, Any]] = {
    "tags": {"tags": lambda: ["page"]},
    "response_filter": {"response_filter": lambda value: True},
    "key_prefix": {"key_prefix": "page"},
    "query": {"query_string": True},
    "early": {"early_refresh": 1.0},
    "stale": {"stale_while_revalidate": 60},
    "source": {"source_check": True},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_options_that_are_no_obstacle(
    app: Flask, cache: Cache, get: Get, flask: Passing, name: str
) -> None:
    """What they need to know of a request is known."""
    app.add_url_rule("/page", "page", cache.cached(**HARMLESS[name])(lambda: "page"))
    learn(get, flask, "/page")


def test_what_may_be_due_goes_to_flask(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """Chance decides there; far from its end, a response is not due."""
    app.add_url_rule("/page", "page", cache.cached(early_refresh=100.0)(lambda: "page"))
    stored = iter([0.0, 1.0])
    app.add_url_rule(
        "/slow", "slow", cache.cached(timeout=1, early_refresh=100.0)(lambda: slow(next(stored)))
    )

    def slow(seconds: float) -> str:
        import time

        time.sleep(0.001)
        return "slow"

    learn(get, flask, "/page")
    get("/slow")
    with flask.one():  # 2,100 times its cost of 1 ms is more than its lifetime
        get("/slow")


# --- what a request brings along ---

BROUGHT: dict[str, tuple[bool, dict[str, Any]]] = {
    "authorization": (True, {"headers": {"Authorization": "Bearer x"}}),
    "session": (True, {"headers": {"Cookie": "a=1; session=x"}}),
    "range": (True, {"headers": {"Range": "bytes=0-1"}}),
    "if-match": (True, {"headers": {"If-Match": "*"}}),
    "if-unmodified": (
        True,
        {"headers": {"If-Unmodified-Since": "Thu, 26 Nov 2099 00:00:00 GMT"}},
    ),
    "body": (True, {"data": b"x"}),
    "chunked": (True, {"headers": {"Transfer-Encoding": "chunked"}}),
    "cookie": (False, {"headers": {"Cookie": "a=1"}}),
    "no body": (False, {"headers": {"Content-Length": "0"}}),
    "directives": (False, {"headers": {"Cache-Control": "no-cache", "Pragma": "no-cache"}}),
    "accept": (False, {"headers": {"Accept": "text/plain", "User-Agent": "agent"}}),
    "query": (False, {"query_string": "a=1"}),
    "port": (False, {"environ_overrides": {"REMOTE_ADDR": "192.0.2.1"}}),
}


@pytest.mark.parametrize("name", BROUGHT)
def test_what_a_request_brings_along(get: Get, flask: Passing, page: str, name: str) -> None:
    """Flask looks at it where it matters; the URL stays known for the others."""
    is_inside, options = BROUGHT[name]
    learn(get, flask, page)
    with flask.one() if is_inside else flask.none():
        get(page, **options)
    with flask.none():
        get(page)


def test_names_that_only_servers_give(get: Get, flask: Passing, page: str) -> None:
    """A client's fields begin with ``HTTP_``, so none of them looks like a test's wish."""
    learn(get, flask, page)
    with flask.none():
        get(page, headers={"werkzeug.debug.preserve_context": "1", "flask_larder.lesson": "1"})


@pytest.mark.parametrize("name", ["other", "séance"])
def test_the_session_has_another_name(
    app: Flask, get: Get, flask: Passing, page: str, name: str
) -> None:
    """As the server gives it, which reads all as Latin-1."""
    app.config["SESSION_COOKIE_NAME"] = name
    learn(get, flask, page)
    with flask.one():
        get(page, headers={"Cookie": f"{name.encode().decode('latin-1')}=x"})
    with flask.none():
        get(page, headers={"Cookie": "session=x"})


def test_sessions_that_are_renewed_with_each_response(
    app: Flask, cache: Cache, flask: Passing, page: str
) -> None:
    """Who has one gets a new cookie each time, from Flask; which nobody else has to wait for."""

    @app.get("/login")
    def login() -> str:
        session["user"] = "ann"
        session.permanent = True
        return "welcome"

    ann, nobody = app.test_client(), app.test_client()
    ann.get("/login")
    learn(nobody.get, flask, page)
    for _ in range(3):
        with flask.one():
            assert "session=" in ann.get(page).headers["Set-Cookie"]
        with flask.none():
            assert "Set-Cookie" not in nobody.get(page).headers


@pytest.mark.parametrize("how", ["option", "response"])
def test_any_cookie_where_it_selects(
    app: Flask, cache: Cache, get: Get, flask: Passing, how: str
) -> None:
    """Flask finds the right one."""
    options, fields = ({"vary": "Cookie"}, {}) if how == "option" else ({}, {"Vary": "Cookie"})
    app.add_url_rule("/page", "page", cache.cached(**options)(lambda: ("page", fields)))
    learn(get, flask, "/page")
    for _ in range(2):
        with flask.one():
            get("/page", headers={"Cookie": "a=1"})


@pytest.mark.parametrize("name", ["Cache-Control", "Pragma"])
@pytest.mark.parametrize("how", ["setting", "http_cached"])
def test_directives_of_the_request_where_they_count(
    app: Flask, get: Get, flask: Passing, how: str, name: str
) -> None:
    """Flask obeys them."""
    cache = Cache(app, config={"CACHE_REQUEST_DIRECTIVES": how == "setting"})
    decorated = cache.cached() if how == "setting" else cache.http_cached()
    view = decorated(lambda: ("page", {"Cache-Control": "max-age=60"}))
    app.add_url_rule("/page", "page", view)
    learn(get, flask, "/page")
    with flask.one():
        assert not is_hit(get("/page", headers={name: "no-cache"}))


def test_a_client_that_has_the_same(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """It is told so before Flask, by tag and by date; who has another one gets the whole."""

    @app.get("/page")
    @cache.cached()
    def page() -> Response:
        response = Response("page")
        response.set_etag("one")
        response.headers["Last-Modified"] = "Thu, 26 Nov 2020 00:00:00 GMT"
        return response

    learn(get, flask, "/page")
    same = {
        "If-None-Match": ['"one"', 'W/"one"', '"two", "one"', "*"],
        "If-Modified-Since": ["Thu, 26 Nov 2020 00:00:00 GMT", "Thu, 26 Nov 2026 00:00:00 GMT"],
    }
    for field, values in same.items():
        for value in values:
            with flask.none():
                answer = get("/page", headers={field: value})
            assert (answer.status_code, answer.data) == (304, b"")
    for headers in (
        {"If-None-Match": '"two"'},
        {"If-Modified-Since": "Thu, 26 Nov 2019 00:00:00 GMT"},
        {"If-None-Match": '"two"', "If-Modified-Since": "Thu, 26 Nov 2020 00:00:00 GMT"},
    ):
        with flask.none():
            assert get("/page", headers=headers).text == "page"


def test_a_conditional_request_teaches_nothing(get: Get, flask: Passing, page: str) -> None:
    """What it is sent is not what others are."""
    for _ in range(2):
        with flask.one():
            get(page, headers={"If-None-Match": '"x"'})
    learn(get, flask, page)


def test_head_is_learned_by_itself(get: Get, flask: Passing, page: str) -> None:
    """It is answered from what GET was, without the body."""
    learn(get, flask, page)
    head = learn(get, flask, page, method="HEAD")
    assert (head.data, head.headers["Content-Length"]) == (b"", "4")


# --- what selects ---


@contextmanager
def counted(flask: Passing, *, is_known: bool) -> Iterator[None]:
    with flask.none() if is_known else flask.one():
        yield


def test_the_query(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """In the key as a whole, in part, or not; each spelling of it is learned by itself."""

    def view() -> str:
        return request.args.get("a", "")

    for name, selected in {"whole": True, "part": ("a",), "none": False}.items():
        app.add_url_rule(f"/{name}", name, cache.cached(query_string=selected)(view))
    for path, other in (("/whole?a=1&b=2", "/whole?b=2&a=1"), ("/part?a=1&b=2", "/part?a=1&b=3")):
        assert learn(get, flask, path).text == "1"
        assert learn(get, flask, other).text == "1"
        assert get(path.replace("a=1", "a=2")).text == "2"
        assert learn(get, flask, path.partition("?")[0]).text == ""
    learn(get, flask, "/none?a=1")
    with flask.none():
        assert get("/none?a=2").text == "1"


@pytest.mark.parametrize("how", ["option", "response", "read"])
def test_fields_that_select(app: Flask, cache: Cache, get: Get, flask: Passing, how: str) -> None:
    """By ``vary=``, by ``Vary``, or since the view read them."""

    @app.get("/page")
    @cache.cached(vary="Accept-Language" if how == "option" else None)
    def page() -> tuple[str, dict[str, str]]:
        language = request.environ.get("HTTP_ACCEPT_LANGUAGE", "")
        if how == "read":
            language = request.headers.get("Accept-Language", "")
        return language, {"Vary": "Accept-Language"} if how == "response" else {}

    for language in ("en", "fr"):
        answer = learn(get, flask, "/page", headers={"Accept-Language": language})
        assert (answer.text, answer.headers["Vary"]) == (language, "Accept-Language")
    for language in ("en", "fr", "en"):
        with flask.none():
            assert get("/page", headers={"Accept-Language": language}).text == language
    assert get("/page").text == ""
    assert get("/page", headers={"Accept-Language": "de"}).text == "de"


def test_one_more_field_selects_later(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """Whoever asks from then on is answered by both."""
    vary = ["Accept-Language"]

    @app.get("/page")
    @cache.cached()
    def page() -> tuple[str, dict[str, str]]:
        environ = request.environ
        text = f"{environ.get('HTTP_ACCEPT_LANGUAGE')} {environ.get('HTTP_X_TIER')}"
        return text, {"Vary": ", ".join(vary)}

    learn(get, flask, "/page", headers={"Accept-Language": "en"})
    vary.append("X-Tier")
    get("/page", headers={"Accept-Language": "fr"})
    for tier in ("gold", "lead", "gold", "lead"):
        headers = {"Accept-Language": "en", "X-Tier": tier}
        assert get("/page", headers=headers).text == f"en {tier}"


ORIGINS = ("http://a.example", "http://b.example", "https://a.example", "http://a.example:8080")


def test_scheme_host_and_port(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """One path, and each gets its own, whichever was learned before."""
    app.add_url_rule("/page", "page", cache.cached()(lambda: request.host_url))
    for origin in ORIGINS:
        assert learn(get, flask, "/page", base_url=origin).text == f"{origin}/"
    for origin in ORIGINS:
        with flask.none():
            assert get("/page", base_url=origin).text == f"{origin}/"


def test_one_name_for_all_hosts_is_poisoned_by_none(
    app: Flask, cache: Cache, get: Get, flask: Passing
) -> None:
    """What was made for a forged host is for that alone, though the key lacks it."""
    view = cache.cached(key_prefix="page")(lambda: request.host_url)
    app.add_url_rule("/page", "page", view)
    learn(get, flask, "/page", base_url="http://good.example")
    get("/page", base_url="http://evil.example")  # takes its place
    for _ in range(2):
        assert get("/page", base_url="http://good.example").text == "http://good.example/"


def test_hosts_that_look_alike(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """Odd ones are never answered with what is another's, and without a host Flask answers."""
    view = cache.cached()(lambda: request.environ.get("HTTP_HOST", "none"))
    app.add_url_rule("/page", "page", view)
    learn(get, flask, "/page", base_url="http://a.example")
    for host in ("a.example.", "a.example:80", "A.EXAMPLE", "a.example@b.example", " a.example"):
        with flask.one():
            get("/page", environ_overrides={"HTTP_HOST": host})
    for _ in range(2):
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/page", "SERVER_NAME": "a.example"}
        rest = {"SERVER_PORT": "80", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO()}
        with flask.one():
            run_wsgi_app(app, {**environ, **rest, "wsgi.errors": sys.stderr})


def test_a_host_that_is_not_trusted(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """It is refused each time."""
    app.config["TRUSTED_HOSTS"] = ["good.example"]
    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    learn(get, flask, "/page", base_url="http://good.example")
    for _ in range(2):
        assert get("/page", base_url="http://evil.example").status_code == 400


def test_hosts_and_subdomains_that_route(flask: Passing) -> None:
    """Each has its own view."""
    by_host = Flask(__name__, host_matching=True, static_host="static.example")
    by_subdomain = Flask(__name__, subdomain_matching=True)
    by_subdomain.config["SERVER_NAME"] = "example"
    for app, option in ((by_host, "host"), (by_subdomain, "subdomain")):
        cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
        for name in ("a", "b"):
            where = {option: f"{name}.example" if option == "host" else name}
            view = cache.cached()(lambda name=name: name)
            app.add_url_rule("/", name, view, **where)
        client = Client(app)
        for name in ("a", "b"):
            assert learn(client.get, flask, "/", base_url=f"http://{name}.example").text == name
        for name in ("a", "b"):
            with flask.none():
                assert client.get("/", base_url=f"http://{name}.example").text == name


def test_two_mounts_of_one_app(app: Flask, cache: Cache, flask: Passing) -> None:
    """And paths that are the same only when they are joined."""
    app.add_url_rule("/page", "page", cache.cached()(lambda: request.script_root))
    app.add_url_rule("/b/page", "deep", cache.cached()(lambda: f"deep {request.script_root}"))
    client = Client(DispatcherMiddleware(app, {"/a": app, "/a/b": app}))
    answers = {"/a/page": "/a", "/a/b/page": "/a/b", "/page": "", "/b/page": "deep "}
    for path, text in answers.items():
        assert learn(client.get, flask, path).text == text
    environ = {"SCRIPT_NAME": "/a", "PATH_INFO": "/b/page"}
    assert client.get("/", environ_overrides=environ).text != "/a/b"


def test_paths_that_look_alike(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """The bytes count, and not what they may be read as."""
    view = cache.cached()(lambda x: request.environ["PATH_INFO"])
    app.add_url_rule("/<path:x>", "page", view)
    paths = ["/a", "/A", "/a/", "/a%2fb", "/a/b", "/%C3%A9", "/%E9", "/a%00", "/a%3Fb", "/a;b"]
    answers = {path: get(path).text for path in paths}
    for path in paths:
        assert get(path).text == answers[path]


# --- middleware ---


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


# --- what is answered ---


def test_answers_of_other_kinds(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """Errors that are stored when asked for, none at all, and redirections."""
    views: dict[str, Callable[[], Any]] = {
        "missing": lambda: abort(404),
        "empty": lambda: ("", 204),
        "moved": lambda: redirect("/elsewhere", 301),
        "failed": lambda: abort(503),
    }
    for name, view in views.items():
        app.add_url_rule(f"/{name}", name, cache.cached(statuses=(204, 301, 404))(view))
    assert learn(get, flask, "/missing").status_code == 404
    assert "Content-Length" not in learn(get, flask, "/empty").headers
    assert learn(get, flask, "/moved").location == "/elsewhere"
    for _ in range(2):
        with flask.one():
            assert get("/failed").status_code == 503


def test_what_the_client_sees(app: Flask, get: Get, flask: Passing) -> None:
    """As much as Flask would tell."""
    silent = Cache(app, config={"CACHE_SEND_STATUS": False})
    telling = Cache(app, config={"CACHE_SEND_TAGS": True})
    app.add_url_rule("/silent", "silent", silent.cached()(lambda: "page"))
    view = telling.cached(tags=("a", "b c"), response_hit_indication=True)(lambda: "page")
    app.add_url_rule("/telling", "telling", view)
    get("/silent")
    with flask.none():
        assert {"Cache-Status", "Server-Timing"}.isdisjoint(get("/silent").headers.keys())
    with flask.one():
        get("/telling")  # a miss tells no hit
    answer = learn(get, flask, "/telling")
    assert (answer.headers["Cache-Tag"], answer.headers["hit_cache"]) == ("a,b%20c", "True")


def test_what_is_stale_goes_to_flask(app: Flask, cache: Cache, get: Get, flask: Passing) -> None:
    """It may be sent there, while it is made anew."""
    view = cache.cached(stale_while_revalidate=60, tags=("page",))(lambda: "page")
    app.add_url_rule("/page", "page", view)
    learn(get, flask, "/page")
    cache.purge_tags("page", soft=True)
    before = flask.count
    assert "stale-while-revalidate" in status_of(get("/page"))
    assert flask.count > before


PURGES: dict[str, Callable[[Cache, Any], Any]] = {
    "tag": lambda cache, view: cache.purge_tags("page"),
    "soft": lambda cache, view: cache.purge_tags("page", soft=True),
    "url": lambda cache, view: cache.purge_url("/page"),
    "path": lambda cache, view: cache.purge_path("/page"),
    "prefix": lambda cache, view: cache.purge_prefix("/pa"),
    "view": lambda cache, view: cache.purge_view(view),
    "of view": lambda cache, view: view.purge(),
    "all": lambda cache, view: cache.clear(),
    "soft all": lambda cache, view: cache.clear(soft=True),
}


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("name", PURGES)
def test_a_purge_is_seen_by_the_next_request(
    app: Flask, cache: Cache, get: Get, flask: Passing, count: Counter, name: str, head: bool
) -> None:
    """Whatever it names."""
    view = cache.cached(tags=("page",))(lambda: str(count()))
    app.add_url_rule("/page", "page", view)
    method = "HEAD" if head else "GET"
    get("/page")
    learn(get, flask, "/page", method=method) if head else get("/page")
    with app.test_request_context():
        PURGES[name](cache, view)
    with flask.one():
        get("/page", method=method)
    assert count.runs == 2


@pytest.mark.parametrize("vary", ["", "Accept-Language"])
def test_a_name_is_deleted(
    app: Flask, cache: Cache, get: Get, flask: Passing, count: Counter, vary: str
) -> None:
    """As inside Flask: the next request runs the view, also where answers vary."""
    fields = {"Vary": vary} if vary else {}
    view = cache.cached(key_prefix="page")(lambda: (str(count()), fields))
    app.add_url_rule("/page", "page", view)
    learn(get, flask, "/page")
    assert cache.delete("page")
    assert get("/page").text == "2"


# --- caches, apps, processes ---


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


# --- what is held of URLs is bounded ---


def sizes(app: Flask) -> tuple[int, int]:
    recent = app.wsgi_app._learned  # type: ignore[attr-defined]
    return len(recent), recent.size_bytes


def test_a_long_url_counts_by_its_length(
    app: Flask, cache: Cache, get: Get, flask: Passing
) -> None:
    """With its query and whatever else selects."""
    view = cache.cached(query_string=True, vary="X-Any")(lambda x: "page")
    app.add_url_rule("/<path:x>", "page", view)
    learn(get, flask, "/a")
    first = sizes(app)[1]
    path, query, field = "/" + "a" * 20_000, "q=" + "b" * 20_000, "c" * 20_000
    learn(get, flask, f"{path}?{query}", headers={"X-Any": field})
    assert sizes(app)[1] - first > 110_000


def test_a_flood_of_urls_is_bounded(
    app: Flask, cache: Cache, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of queries and values of header fields that nobody has used before."""
    monkeypatch.setattr("flask_larder.wsgi.LEARNED_BYTES", 50_000)
    view = cache.cached(query_string=True, vary="X-Any")(lambda: "page")
    app.add_url_rule("/page", "page", view)
    for number in range(100):
        get(f"/page?q={number}", headers={"X-Any": f"{number}" * 100})
    count, size_bytes = sizes(app)
    assert 10 < count < 80
    assert size_bytes <= 50_000


def test_a_url_that_cannot_be_learned_is_answered_all_the_same(
    app: Flask, cache: Cache, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails there is told once, and reaches no client."""

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    monkeypatch.setattr("flask_larder.wsgi.BeforeFlask._learn", fail)
    assert [get("/page").text for _ in range(3)] == ["page"] * 3


def test_a_page_that_another_view_dispatches_is_not_learned_for_that_view(
    app: Flask, cache: Cache, get: Get
) -> None:
    """Else its check would be skipped: it may have changed the environ for the time being."""

    @app.get("/gate")
    def gate() -> Any:
        if request.headers.get("X-Key") != "right":
            abort(403)
        environ = request.environ
        path, environ["PATH_INFO"] = environ["PATH_INFO"], "/page"
        with app.request_context(environ):
            answer = app.full_dispatch_request()
        environ["PATH_INFO"] = path
        return answer

    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    for _ in range(3):
        assert get("/gate", headers={"X-Key": "right"}).text == "page"
        assert get("/gate").status_code == 403


def test_what_another_app_answers_is_not_learned_for_the_app_that_asks_it(
    app: Flask, get: Get
) -> None:
    """Though both have the same URL."""
    inner = Flask("inner")
    cache = Cache(inner, config={"CACHE_TYPE": "SimpleCache"})
    inner.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    Cache(app)

    @app.get("/page")
    def gate() -> Any:
        if request.headers.get("X-Key") != "right":
            abort(403)
        with inner.request_context(request.environ):
            return inner.full_dispatch_request()

    for _ in range(3):
        assert get("/page", headers={"X-Key": "right"}).text == "page"
        assert get("/page").status_code == 403


def test_a_response_class_that_is_not_flasks_spoils_no_answer(
    app: Flask, cache: Cache, get: Get
) -> None:
    """Hits are answered inside Flask then."""

    class Own(werkzeug.Response):
        default_mimetype = "text/html"
        json_module = app.json

    app.response_class = Own  # type: ignore[assignment]
    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    assert [get("/page").status_code for _ in range(3)] == [200] * 3


def test_a_method_of_flask_itself_that_is_patched_runs(
    app: Flask, flask: Passing, get: Get, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by what watches all apps of a process."""
    own, seen = Flask.process_response, Counter()

    def patched(app: Flask, response: Response) -> Response:
        seen()
        return own(app, response)

    monkeypatch.setattr(Flask, "process_response", patched)
    for _ in range(3):
        get(page)
    assert seen.runs == 3


def test_a_wsgi_app_of_flask_itself_that_is_patched_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For hits, too."""
    own, seen = Flask.wsgi_app, Counter()

    def patched(app: Flask, environ: Any, start_response: Any) -> Any:
        seen()
        return own(app, environ, start_response)

    monkeypatch.setattr(Flask, "wsgi_app", patched)
    app = Flask(__name__)
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    for _ in range(3):
        app.test_client().get("/page")
    assert seen.runs == 3
