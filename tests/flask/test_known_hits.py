"""Hits inside Flask that need no engine, and what needs it all the same."""

import functools
import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Request, Response, after_this_request, request, session
from werkzeug.datastructures import Headers
from werkzeug.test import Client

from flask_larder import Cache, cache_view_hit
from flask_larder.testing import forbid_unkeyed_reads
from tests.flask.answers import Counter, Get, is_hit, status_of
from tests.flask.before_flask.passing import Passing
from tests.flask.before_flask.test_same import REQUESTS, STATUSES, VIEWS, sent


@pytest.fixture(autouse=True)
def hook(app: Flask) -> Counter:
    """Counts its runs: with it, hits are answered inside Flask."""
    runs = Counter()

    @app.before_request
    def count() -> None:
        runs()

    return runs


@pytest.fixture
def page(app: Flask, cache: Cache, count: Counter) -> str:
    app.add_url_rule("/page", "page", cache.cached(tags=["page"])(lambda: f"page {count()}"))
    return "/page"


def know(get: Get, engine: Passing, path: str, **options: Any) -> None:
    """A miss and a hit, for which the engine is asked; and no more for the next."""
    for _ in range(2):
        with engine.one():
            get(path, **options)
    with engine.none():
        assert is_hit(get(path, **options))


def test_hooks_run_and_the_engine_is_not_asked(
    app: Flask, get: Get, engine: Passing, hook: Counter, page: str
) -> None:
    """Also those that change the response, which is another one each time."""

    @app.after_request
    def mark(response: Response) -> Response:
        assert str(request.environ["flask_larder.status"]) == response.headers["Cache-Status"]
        assert "X-Mark" not in response.headers
        response.headers["X-Mark"] = "1"
        response.set_data(response.get_data() + b", marked")
        return response

    know(get, engine, page)
    answer = get(page)
    assert (answer.text, answer.headers["X-Mark"]) == ("page 1, marked", "1")
    assert status_of(answer) == "larder; hit; ttl=300"
    assert hook.runs == 4


def test_sessions_go_on(app: Flask, cache: Cache, engine: Passing, page: str) -> None:
    """Who has one gets what nobody's answer depends on, and a new cookie if Flask wants it so."""

    @app.get("/login")
    def login() -> str:
        session["user"] = "ann"
        session.permanent = True
        return "welcome"

    ann = app.test_client()
    ann.get("/login")
    know(ann.get, engine, page)
    assert "session=" in ann.get(page).headers["Set-Cookie"]


def test_functions_of_a_hook_come_before_what_is_told(
    app: Flask, cache: Cache, get: Get, engine: Passing
) -> None:
    """What they set must not take the place of the ``Vary`` that others select by."""

    @app.before_request
    def prepare() -> None:
        @after_this_request
        def finish(response: Response) -> Response:
            assert "Cache-Status" not in response.headers
            response.headers["Vary"] = "Origin"
            return response

    @app.get("/greeting")
    @cache.cached(vary=["X-Tenant"])
    def greeting() -> str:
        return request.headers.get("X-Tenant", "nobody")

    know(get, engine, "/greeting")
    assert get("/greeting").headers["Vary"].lower() == "origin, x-tenant"


def test_what_is_told_reaches_the_response_that_an_app_makes_of_it(engine: Passing) -> None:
    """Caches on the way would else not know by what it was selected."""

    class Wrapping(Flask):
        def process_response(self, response: Response) -> Response:  # type: ignore[override]
            return super().process_response(Response(f"<{response.get_data(as_text=True)}>"))

    app = Wrapping(__name__)
    cache, get = Cache(app, config={"CACHE_TYPE": "SimpleCache"}), app.test_client().get

    @app.get("/greeting")
    @cache.cached(vary=["Accept-Language"])
    def greeting() -> str:
        return "hello"

    know(get, engine, "/greeting")
    with engine.none():
        answer = get("/greeting")
    assert (answer.text, answer.headers["Age"]) == ("<hello>", "0")
    assert answer.headers["Vary"].lower() == "accept-language"


@pytest.mark.parametrize("vary", [None, ["Accept-Language"]])
@pytest.mark.parametrize("hits", [0, 1, 3])
def test_a_cache_around_selects_by_what_a_hit_was_selected_by(
    app: Flask, hits: int, vary: list[str] | None
) -> None:
    """What is answered from a cache reads nothing, also if it is known; the page differs by it."""
    pages = Cache(app, config={"CACHE_TYPE": "SimpleCache"}, name="pages")
    parts = Cache(app, config={"CACHE_TYPE": "SimpleCache"}, name="parts")

    @app.get("/greeting")
    @pages.cached()
    @parts.cached(vary=vary)
    def greeting() -> str:
        return request.headers.get("Accept-Language", "")

    def ask(language: str) -> str:
        return app.test_client().get("/greeting", headers={"Accept-Language": language}).text

    for _ in range(hits):
        assert ask("de") == "de"
        with app.app_context():
            pages.clear()
    assert (ask("de"), ask("fr")) == ("de", "fr")


def test_a_host_that_is_trusted_no_more(cache: Cache, engine: Passing) -> None:
    """Where the app does not refuse it by itself."""

    class Trusting(Flask):
        def create_url_adapter(self, request: Any) -> Any:
            return None if request is None else self.url_map.bind_to_environ(request.environ)

    app = Trusting(__name__)
    cache.init_app(app, config={"CACHE_TYPE": "SimpleCache"})
    get = app.test_client().get
    app.before_request(lambda: None)
    app.add_url_rule("/page", view_func=cache.cached()(lambda: "page"))
    know(get, engine, "/page")
    app.config["TRUSTED_HOSTS"] = ["other"]
    assert status_of(get("/page")) == "larder; fwd=bypass; detail=untrusted-host"


def test_a_hit_that_fails_to_become_a_response_is_recorded(
    app: Flask, get: Get, engine: Passing, page: str
) -> None:
    """Whoever looks at the end finds what became of it."""
    outcomes = list[str]()

    @app.teardown_request
    def look(_: BaseException | None) -> None:
        outcomes.append(str(request.environ["flask_larder.status"]))

    know(get, engine, page)

    class Failing(Response):
        def __init__(self, *_: object, **options: Any) -> None:
            if options.get("status") == 200:
                raise RuntimeError
            super().__init__(*_, **options)

    app.response_class = Failing
    app.config["PROPAGATE_EXCEPTIONS"] = False
    assert get(page).status_code == 500
    assert outcomes[-1] == "larder; hit; ttl=300"
    assert len(outcomes) == 4


@pytest.mark.parametrize("soft", [True, False])
def test_a_purge(
    cache: Cache, get: Get, app: Flask, engine: Passing, page: str, soft: bool
) -> None:
    """It holds for the next request."""
    know(get, engine, page)
    with app.app_context():
        cache.purge_tags("page", soft=soft)
    assert get(page).text == "page 2"


def test_what_expires(
    app: Flask, get: Get, engine: Passing, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for anew."""
    import time

    know(get, engine, page)
    now = time.time()
    for wiring in app.extensions["flask_larder"].values():
        object.__setattr__(wiring.tier, "clock", lambda: now + 301)
        monkeypatch.setattr(wiring.engine.updates, "_clock", lambda: now + 301)
        monkeypatch.setattr(wiring.engine.lookups, "_clock", lambda: now + 301)
    with engine.one():
        assert get(page).text == "page 2"


ENGINES: dict[str, dict[str, Any]] = {
    "authorization": {"headers": {"Authorization": "Bearer x"}},
    "range": {"headers": {"Range": "bytes=0-1"}},
    "if-match": {"headers": {"If-Match": "*"}},
    "body": {"data": b"x"},
    "host": {"base_url": "http://other"},
    "scheme": {"base_url": "https://localhost"},
    "HEAD": {"method": "HEAD"},
}


@pytest.mark.parametrize("name", ENGINES)
def test_what_the_engine_is_asked_for(get: Get, engine: Passing, page: str, name: str) -> None:
    """Each time, or the first time that it is."""
    know(get, engine, page)
    with engine.one():
        get(page, **ENGINES[name])
    with engine.none():
        assert get(page).text == "page 1"


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "unless": lambda: "no" in request.headers,
    "vary": lambda: request.headers.get("no"),
    "make_cache_key": lambda: request.headers.get("no", "none"),
    "key_prefix": lambda: request.headers.get("no", "none"),
    "forced_update": lambda: "no" in request.headers,
    "is_stale": lambda stored: "no" in request.headers,
}


@pytest.mark.parametrize("option", FUNCTIONS)
def test_functions_are_asked_each_time(
    app: Flask, cache: Cache, get: Get, count: Counter, option: str
) -> None:
    """Whatever they say counts."""
    cached = cache.cached(**{option: FUNCTIONS[option]})
    app.add_url_rule("/", "view", cached(lambda: str(count())))
    for _ in range(3):
        assert get("/").text == "1"
    assert get("/", headers={"No": "1"}).text == "2"


def test_each_query_and_each_field(
    app: Flask, cache: Cache, get: Get, engine: Passing, count: Counter
) -> None:
    """What selects is known apart."""

    @app.get("/")
    @cache.cached(query_string=True, vary="X-A")
    def view() -> str:
        return f"{request.args.get('a')} {request.headers.get('X-A')} {count()}"

    asked = [{"query_string": f"a={a}", "headers": {"X-A": b}} for a in "12" for b in "34"]
    for each in asked:
        know(get, engine, "/", **each)
    with engine.none():
        answers = [get("/", **each).text for each in asked]
    assert answers == ["1 3 1", "1 4 2", "2 3 3", "2 4 4"]


def test_a_hook_that_changes_what_is_asked_for(
    app: Flask, cache: Cache, get: Get, count: Counter
) -> None:
    """By the environ alone, while Flask has the query as it came."""

    @app.before_request
    def change() -> None:
        request.environ.update(request.args.get("change", type=json.loads) or {})

    @app.get("/")
    @cache.cached(query_string=True)
    def view() -> str:
        return f"{request.host} {len(request.args)} {count()}"

    changes = [{}, {"QUERY_STRING": ""}, {"HTTP_HOST": "one"}, {"wsgi.url_scheme": "https"}]
    for host in ("one", "two"):
        for change in changes * 2:
            query = {"change": json.dumps(change)} if change else {}
            for _ in range(3):
                answer = get("/", base_url=f"http://{host}", query_string=query)
                assert answer.text.startswith(f"{host} {len(query)} ")
    assert count.runs == 8


def test_a_request_class_that_tells_another_host(cache: Cache) -> None:
    """Than the environ has."""

    class Overriding(Request):
        @property
        def host(self) -> str:
            return str(self.environ["HTTP_X_TENANT"])

        @host.setter
        def host(self, host: str) -> None:
            """Flask sets it, too."""

    app = Flask(__name__)
    app.request_class = Overriding
    app.config.update(CACHE_TYPE="SimpleCache")
    cache.init_app(app)
    app.add_url_rule("/", "view", cache.cached()(lambda: request.environ["HTTP_X_TENANT"]))
    for tenant in ("ann", "bob", "ann", "bob", "ann", "bob"):
        assert app.test_client().get("/", headers={"X-Tenant": tenant}).text == tenant


def test_a_decorator_that_comes_later(app: Flask, get: Get, engine: Passing, page: str) -> None:
    """It is called, and gets what is stored."""
    know(get, engine, page)
    view = app.view_functions["page"]

    @functools.wraps(view)
    def decorated() -> bytes:
        return app.make_response(view()).get_data() + b"!"

    app.view_functions["page"] = decorated
    assert get(page).text == "page 1!"


def test_what_is_made_of_an_answer_depends_on_it(
    app: Flask, cache: Cache, get: Get, engine: Passing, page: str, count: Counter
) -> None:
    """By its tags, be it called in the same request or asked for in another one."""
    know(get, engine, page)

    @cache.cached(key_prefix="asked")
    def asked() -> str:
        return f"{get(page).text}, {count()}"

    @cache.cached(key_prefix="called")
    def called() -> str:
        view: Any = app.view_functions["page"]
        return f"{app.make_response(view()).get_data(as_text=True)}, {count()}"

    with app.app_context():
        assert [asked(), asked()] == ["page 1, 2"] * 2
    with app.test_request_context(page):
        assert [called(), called()] == ["page 1, 3"] * 2
    with app.app_context():
        cache.purge_tags("page")
        assert asked() == "page 4, 5"
    with app.test_request_context(page):
        assert called() == "page 4, 6"


def test_the_log_has_a_line_for_each(
    get: Get, engine: Passing, page: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where its level is such."""
    know(get, engine, page)
    with caplog.at_level(logging.DEBUG, "flask_larder"):
        get(page)
    assert "GET /page: larder; hit" in caplog.text


def test_what_is_looked_at_here_is_no_reading(
    app: Flask, cache: Cache, get: Get, engine: Passing, page: str
) -> None:
    """Of the app's."""
    know(get, engine, page)
    with forbid_unkeyed_reads(app):
        get(page)
        with app.app_context():
            cache.purge_tags("page")
        get(page)


@pytest.mark.parametrize("view", VIEWS)
def test_hooks_see_the_same(engine: Passing, view: str) -> None:
    """As by the engine, to each request, with their own fields; so does the client."""
    clients = {
        how: _client_of(VIEWS[view], by_engine=how == "engine") for how in ("engine", "known")
    }
    asked = dict.fromkeys(clients, 0)
    for name in [*REQUESTS, *reversed(REQUESTS)]:
        answers = []
        for how, client in clients.items():
            before = engine.count
            answers.append(sent(client, **REQUESTS[name]))
            asked[how] += engine.count - before
        assert answers[0] == answers[1], name
    assert (asked["known"] < asked["engine"] - 10) == (view not in {"cookie", "private"})


def _client_of(view: Callable[[], Any], *, by_engine: bool) -> Client:
    app = Flask(__name__)
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})

    @app.before_request
    def prepare() -> None:
        after_this_request(see)

    @app.after_request
    def see(response: Response) -> Response:
        data = b"" if response.direct_passthrough else response.get_data()
        reads = sorted(getattr(request, "reads").since())  # noqa: B009 - it is of a class of ours
        seen = (
            response.status_code,
            response.content_type,
            data,
            sorted(dict(response.headers)),
            reads,
        )
        response.headers.add("X-Seen", hashlib.md5(repr(seen).encode()).hexdigest())
        return response

    def page() -> Response:
        request.headers.get("Accept-Language")  # by which it varies
        return app.make_response(view())

    unless = (lambda: False) if by_engine else None
    cached = cache.cached(statuses=STATUSES, vary="X-A", unless=unless)
    app.add_url_rule("/", "view", cached(page))
    return Client(app, use_cookies=False)


def test_a_hook_that_personalises(app: Flask, cache: Cache, get: Get, engine: Passing) -> None:
    """By a function for this very response, which is what the client's conditions are about."""

    @app.before_request
    def who() -> None:
        if user := request.headers.get("X-Who"):
            after_this_request(lambda response: personal(response, user))

    def personal(response: Response, user: str) -> Response:
        response.set_data(response.get_data(as_text=True) + user)
        response.headers["ETag"] = f'"{user}"'
        return response

    view = cache.cached()(lambda: Response("page of ", headers={"ETag": '"nobody"'}))
    app.add_url_rule("/", "view", view)
    know(get, engine, "/")
    ann = {"X-Who": "ann"}
    assert get("/", headers={**ann, "If-None-Match": '"nobody"'}).text == "page of ann"
    assert get("/", headers={**ann, "If-None-Match": '"ann"'}).status_code == 304
    assert get("/", headers={"If-None-Match": '"nobody"'}).status_code == 304


@pytest.mark.parametrize("where", ["request", "environ"])
def test_a_hook_that_changes_the_method(app: Flask, cache: Cache, get: Get, where: str) -> None:
    """What is stored for GET has its body for all others."""

    @app.before_request
    def override() -> None:
        if method := request.headers.get("X-Method"):
            if where == "request":
                request.method = method
            else:
                request.environ["REQUEST_METHOD"] = method

    app.add_url_rule("/", "view", cache.cached()(lambda: "page"))
    get("/")
    for other in ("GET", "HEAD"):
        for _ in range(3):
            get("/", method=other, headers={"X-Method": "HEAD" if other == "GET" else "GET"})
        assert get("/").text == "page"


def test_a_hook_that_replaces_the_fields(app: Flask, cache: Cache, get: Get) -> None:
    """Then nobody knows what is read, and nothing is answered from the cache."""

    @app.before_request
    def speak() -> None:
        if language := request.args.get("language"):
            request.headers = Headers({"Accept-Language": language})

    @app.get("/")
    @cache.cached(vary="Accept-Language")
    def view() -> str:
        return request.headers.get("Accept-Language", "none")

    for language in (None, None, None, "de", "fr", "de", None):
        assert get("/", query_string={"language": language or ""}).text == (language or "none")


def test_another_cache_of_the_same_url(app: Flask, count: Counter, get: Get) -> None:
    """It is not given what the first one has found, if it is asked in the same request."""
    outer, inner = (
        Cache(app, config={"CACHE_KEY_PREFIX": prefix, "CACHE_TYPE": "SimpleCache"})
        for prefix in ("outer", "inner")
    )
    told: list[Any] = []
    within = inner.cached(unless=lambda: False)(lambda: f"{count()}")

    @functools.wraps(within)
    def around() -> str:
        return "outer"

    app.add_url_rule("/", "view", outer.cached()(around))

    @app.after_request
    def ask(response: Response) -> Response:
        told.append(app.make_response(within()).get_data(as_text=True))
        return response

    for _ in range(4):
        assert get("/").text == "outer"
    assert told == ["1"] * 4


def test_a_fault_is_told_once(
    get: Get,
    engine: Passing,
    page: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And the engine answers."""
    know(get, engine, page)
    monkeypatch.setattr("flask_larder.learned.Learned.hit", lambda *_: 1 / 0)
    for _ in range(2):
        with engine.one():
            assert get(page).text == "page 1"
    assert caplog.messages == ["Hits inside Flask are left to the engine"]


def test_hosts_that_are_refused(
    app: Flask, get: Get, engine: Passing, page: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They are none that could be known, and no fault."""

    @app.before_request
    def distrust() -> None:
        del request.host
        request.trusted_hosts = ["localhost"]

    know(get, engine, page)
    assert get(page, base_url="http://evil").status_code == 400
    assert get(page).text == "page 1"
    assert not caplog.messages


def test_signals_are_sent_each_time(app: Flask, count: Counter, get: Get) -> None:
    """Where they are switched on."""
    cache, heard = Cache(app, config={"CACHE_ENABLE_SIGNALS": True}), Counter()
    app.add_url_rule("/", "view", cache.cached()(lambda: str(count())))

    def hear(_: Any, **told: Any) -> None:
        heard()

    with cache_view_hit.connected_to(hear, cache):
        for _ in range(4):
            get("/")
    assert heard.runs == 3
