"""What a request brings along, and what selects its answer."""

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, request, session
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client, run_wsgi_app

from flask_larder import Cache
from tests.flask.answers import Get, is_hit
from tests.flask.before_flask.passing import Passing, learn, stays_inside

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
    "websocket": (True, {"headers": {"Connection": "Upgrade", "Upgrade": "websocket"}}),
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
