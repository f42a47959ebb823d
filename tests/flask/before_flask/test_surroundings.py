"""What the app runs around a view needs Flask, also where it is put there after the first hit."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    request,
    request_finished,
    request_started,
    request_tearing_down,
)
from flask.signals import appcontext_popped, appcontext_pushed, appcontext_tearing_down
from flask_login import LoginManager, UserMixin, login_required, login_user

from flask_larder import Cache
from tests.flask.answers import Counter, Get
from tests.flask.before_flask.passing import Passing, learn, stays_inside


def test_the_second_request_is_answered_before(get: Get, flask: Passing, page: str) -> None:
    """One answer of Flask's is enough, also where that was a miss."""
    assert learn(get, flask, page).text == "page"


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


def test_what_is_made_of_an_answer_gets_its_tags(
    app: Flask, cache: Cache, get: Get, flask: Passing
) -> None:
    """Though it was asked for as by any client, by the app itself."""
    count = Counter()
    app.add_url_rule("/page", "page", cache.cached(tags=["page"])(lambda: f"page {count()}"))
    asked = cache.cached(key_prefix="asked")(lambda: f"asked {get('/page').text}")
    learn(get, flask, "/page")
    with app.app_context():
        assert [asked(), asked()] == ["asked page 1"] * 2
        cache.purge_tags("page")
        assert asked() == "asked page 2"
    with flask.none():
        get("/page")
