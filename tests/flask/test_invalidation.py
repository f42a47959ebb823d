"""What an unsafe method has changed is forgotten (RFC 9111 section 4.4)."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Blueprint, Flask, Response, abort, redirect, request
from flask.views import MethodView
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.routing import BaseConverter
from werkzeug.test import Client, EnvironBuilder, run_wsgi_app

from flask_larder import Cache
from flask_larder.flask.invalidation import invalidate_unsafe
from flask_larder.flask.tracking import caches_of
from flask_larder.purges import PurgeLog
from flask_larder.redis.purge_log import NAME
from tests.conftest import MemcachedServer, RedisServer
from tests.flask.answers import Counter, Get, is_hit
from tests.redis_nodes import wait_until

LINE = " has changed is still stored, and may be sent: "
LOG = "flask_cache_" + NAME


def add_items(app: Flask, cache: Cache, **options: Any) -> Flask:
    """A collection and its members, each as it is now; to change one is not cached."""
    runs = Counter()

    @app.get("/items")
    @cache.cached(**options)
    def items() -> str:
        return f"items {runs()}"

    @app.get("/items/<path:name>")
    @cache.cached(**options)
    def item(name: str) -> str:
        return f"{name} {runs()}"

    @app.route("/items", methods=["POST", "FROB"])
    def add() -> Any:
        status = int(request.args.get("status", "201"))
        fields = {"Location": "location", "Content-Location": "content"}
        return "", status, [(f, request.args[n]) for f, n in fields.items() if n in request.args]

    @app.route("/items/<path:name>", methods=["PUT", "PATCH", "DELETE", "POST"])
    def change(name: str) -> tuple[str, int]:
        return "", 204

    @app.post("/search")
    def search() -> str:
        return "found"

    return app


@pytest.fixture
def shop(app: Flask, cache: Cache) -> Flask:
    return add_items(app, cache)


def log_of(app: Flask, cache: Cache) -> PurgeLog:
    log: PurgeLog = caches_of(app)[cache].purges
    return log


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What the library has warned of."""
    with caplog.at_level(logging.WARNING, "flask_larder"):
        yield lambda: [r.getMessage() for r in caplog.records if r.name == "flask_larder"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "POST"])
def test_a_change_is_seen_by_the_next_get(shop: Flask, get: Get, method: str) -> None:
    """Though another view makes it; and what is stored then stays."""
    get("/items/7"), get("/items/8")
    assert get("/items/7", method=method).status_code == 204
    assert not is_hit(get("/items/7"))
    assert is_hit(get("/items/7"))
    assert is_hit(get("/items/8"))


def test_a_method_that_nobody_knows_may_change_anything(shop: Flask, get: Get) -> None:
    """RFC 9111 section 4.4: including methods whose safety is unknown."""
    get("/items")
    get("/items", method="FROB")
    assert not is_hit(get("/items"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_safe_methods_leave_what_is_stored(shop: Flask, get: Get, method: str) -> None:
    get("/items")
    get("/items", method=method)
    assert is_hit(get("/items"))


@pytest.mark.parametrize("status", [400, 401, 404, 405, 409, 429, 500, 503])
def test_an_error_invalidates_nothing(shop: Flask, get: Get, status: int) -> None:
    """Neither the target nor what it names."""
    get("/items"), get("/items/7")
    answer = get(f"/items?status={status}&location=/items/7", method="POST")
    assert answer.status_code == status
    assert is_hit(get("/items"))
    assert is_hit(get("/items/7"))


def test_what_raises_invalidates_nothing(app: Flask, cache: Cache, get: Get) -> None:
    """An abort and a bug; a bug that a handler makes a success of does."""
    app.config.update(TESTING=False)

    @app.route("/<how>", methods=["GET", "POST"])
    @cache.cached()
    def page(how: str) -> str:
        if request.method == "POST":
            abort(403) if how == "abort" else [][{"bug": 0, "handled": "x"}[how]]  # type: ignore[call-overload]
        return "page"

    @app.errorhandler(TypeError)
    def handle(error: TypeError) -> str:
        return "fine"

    for how, status in (("abort", 403), ("bug", 500), ("handled", 200)):
        get(f"/{how}")
        assert get(f"/{how}", method="POST").status_code == status
        assert is_hit(get(f"/{how}")) is (how != "handled")


def test_a_redirect_forgets_where_it_leads(shop: Flask, get: Get) -> None:
    """The usual answer to a form; and what 201 says it has made."""
    for status in (201, 302, 303, 307):
        get("/items"), get("/items/7"), get("/items/8")
        get(f"/items?status={status}&location=/items/7", method="POST")
        assert not is_hit(get("/items"))
        assert not is_hit(get("/items/7"))
        assert is_hit(get("/items/8"))


def test_both_fields_may_name_something(shop: Flask, get: Get) -> None:
    """Also relative to the target, and absolute."""
    get("/items/7"), get("/items/8")
    get("/items?location=items/7&content=http://localhost:80/items/8%23x", method="POST")
    assert not is_hit(get("/items/7"))
    assert not is_hit(get("/items/8"))


def test_what_a_hook_makes_of_the_answer_counts(shop: Flask, get: Get) -> None:
    """The functions that the app has registered run before, whether earlier or later."""

    @shop.after_request
    def finish(response: Response) -> Response:
        if request.args.get("fail"):
            response.status_code = 503
        elif request.method == "POST":
            response.location = "/items/7"
        return response

    get("/items"), get("/items/7")
    get("/items?fail=1", method="POST")
    assert is_hit(get("/items"))
    get("/items", method="POST")
    assert not is_hit(get("/items"))
    assert not is_hit(get("/items/7"))


@pytest.mark.parametrize(("name", "query"), [("none", False), ("some", ("page",)), ("all", True)])
def test_the_query(app: Flask, cache: Cache, get: Get, name: str, query: Any) -> None:
    """Where the key has no query, or not all of it, each; else the very query."""
    app.add_url_rule("/", "get", cache.cached(query_string=query)(lambda: "page"))
    app.add_url_rule("/", "post", lambda: "done", methods=["POST"])
    get("/"), get("/?page=2&x=1")
    get("/", method="POST")
    assert is_hit(get("/?page=2&x=1")) is (name == "all")
    assert is_hit(get("/")) is (name == "none")  # which has been stored just now
    get("/?x=1&page=2", method="POST")
    assert not is_hit(get("/?page=2&x=1"))
    assert is_hit(get("/")) is (name != "some")


@pytest.mark.parametrize(
    "options",
    [
        {"key_prefix": "name"},
        {"key_prefix": lambda: "name"},
        {"make_cache_key": lambda: "name"},
        {"make_cache_key": lambda: request.args["a"]},
        {"key_prefix": "mine/%s/more"},
        {"vary": "Accept-Language"},
        {"vary": lambda: request.headers.get("X-User")},
        {"source_check": True},
    ],
)
def test_the_key_does_not_matter(
    app: Flask, cache: Cache, get: Get, options: dict[str, Any]
) -> None:
    """What is stored remembers for which URL it was made, whatever its name is."""
    app.add_url_rule("/", "get", cache.cached(**options)(lambda: "page"))
    app.add_url_rule("/", "post", lambda: "done", methods=["POST"])
    users: list[dict[str, Any]] = [
        {"headers": {"X-User": user, "Accept-Language": user}} for user in "ab"
    ]
    for user in users:
        get("/?a=1", **user)
        assert is_hit(get("/?a=1", **user))
    get("/", method="POST")
    first, _ = get("/?a=1", **users[0]), get("/?a=1", **users[0])
    assert not is_hit(first)
    if "vary" in options:
        assert not is_hit(get("/?a=1", **users[1]))


def test_a_name_that_several_urls_share(app: Flask, cache: Cache, get: Get) -> None:
    """It is forgotten for the URL that was changed, whichever it was made for."""
    view = cache.cached(key_prefix="both")(lambda: "page")
    for path in ("/a", "/b"):
        app.add_url_rule(path, "get", view)
        app.add_url_rule(path, f"post{path}", lambda: "done", methods=["POST"])
    for made_for in ("/a", "/b"):
        cache.delete("both")
        get(made_for)
        assert is_hit(get("/a"))
        assert is_hit(get("/b"))
        get("/a", method="POST")
        assert not is_hit(get("/a"))


def test_all_variants_are_forgotten(app: Flask, cache: Cache, get: Get) -> None:
    """RFC 9111 section 4.4: all stored responses whose target URI matches."""

    @app.route("/", methods=["GET", "POST"])
    @cache.cached()
    def page() -> str:
        return str(request.accept_languages)

    languages: list[dict[str, Any]] = [
        {"headers": {"Accept-Language": name}} for name in ("de", "en")
    ]
    for language in languages:
        get("/", **language)
        assert is_hit(get("/", **language))
    get("/", method="POST")
    assert [is_hit(get("/", **language)) for language in languages] == [False, False]


def test_a_view_that_takes_both_methods(app: Flask, cache: Cache, get: Get) -> None:
    """What it answers to POST is not stored, and what it answered to GET is forgotten."""

    @app.route("/", methods=["GET", "POST"])
    @cache.cached()
    def page() -> str:
        return request.method

    assert [get("/", method=method).text for method in ("GET", "POST", "GET", "GET")] == [
        "GET",
        "POST",
        "GET",
        "GET",
    ]
    get("/", method="POST")
    assert not is_hit(get("/"))


def test_classes_and_decorators_around(app: Flask, cache: Cache, get: Get) -> None:
    """A view is found wherever the cache stands in it."""

    def around(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs)

        return inner

    class Method(MethodView):
        @around
        @cache.cached()
        def get(self) -> str:
            return "page"

        def post(self) -> str:
            return "done"

    class Decorated(MethodView):
        decorators = (cache.cached(), around)

        def get(self) -> str:
            return "page"

        post = get

    app.add_url_rule("/method", view_func=Method.as_view("method"))
    app.add_url_rule("/decorated", view_func=Decorated.as_view("decorated"))
    app.add_url_rule("/around", "around", around(cache.cached()(lambda: "page")))
    app.add_url_rule("/around", "post", lambda: "done", methods=["POST"])
    for path in ("/method", "/decorated", "/around"):
        get(path)
        assert is_hit(get(path))
        assert get(path, method="POST").status_code == 200
        assert not is_hit(get(path))


def test_a_blueprint(app: Flask, cache: Cache, get: Get) -> None:
    """With a prefix, and hooks of its own."""
    blueprint = Blueprint("shop", __name__, url_prefix="/shop")
    blueprint.add_url_rule("/<int:number>", "get", cache.cached()(lambda number: "page"))

    @blueprint.post("/<int:number>")
    def change(number: int) -> Any:
        return redirect("8")

    @blueprint.after_request
    def fail(response: Response) -> Response:
        if "fail" in request.args:
            response.status_code = 500
        return response

    app.register_blueprint(blueprint)
    get("/shop/7"), get("/shop/8"), get("/shop/9")
    get("/shop/7?fail=1", method="POST")
    assert is_hit(get("/shop/7"))
    get("/shop/7", method="POST")
    assert [is_hit(get(f"/shop/{number}")) for number in (7, 8, 9)] == [False, False, True]


@pytest.mark.parametrize(
    "path", ["/items/caf%C3%A9", "/items/%FF", "/items/a%2Fb%3Fc", "/items/%7E"]
)
def test_any_path(shop: Flask, get: Get, path: str) -> None:
    """Of whatever bytes, in whatever way of writing."""
    get(path)
    assert is_hit(get(path))
    get(path, method="PUT")
    assert not is_hit(get(path))


def test_a_route_in_other_letters(app: Flask, cache: Cache, get: Get) -> None:
    """The map of URLs has it in letters, and the request in bytes."""
    app.add_url_rule("/straße", "get", cache.cached()(lambda: "page"))
    app.add_url_rule("/straße", "post", lambda: "done", methods=["POST"])
    get("/straße")
    get("/stra%c3%9fe", method="POST")
    assert not is_hit(get("/straße"))


def test_a_location_in_other_letters(shop: Flask, get: Get) -> None:
    """Werkzeug encodes it for the client after all hooks."""
    get("/items/caf%C3%A9")
    get("/items?location=/items/café", method="POST")
    assert not is_hit(get("/items/caf%C3%A9"))


def test_a_mount(shop: Flask, get: Get) -> None:
    """The path begins with it, in ``Location`` too, and other mounts are others."""
    client = Client(DispatcherMiddleware(Flask("root"), {"/v1": shop, "/v2": shop}), Response)
    paths = ("/v1/items", "/v2/items", "/v1/items/7", "/v2/items/7")
    for path in paths:
        client.get(path)
    client.post("/v1/items?location=/v1/items/7&content=/v2/items/7")
    hits = [client.get(path).headers["Cache-Status"].startswith("larder; hit") for path in paths]
    assert hits == [False, True, False, True]


def test_host_matching(cache: Cache) -> None:
    """The views of a host are asked, and what is another's is left."""
    app = Flask(__name__, host_matching=True, static_host="a.example")
    app.config.update(CACHE_TYPE="SimpleCache")
    cache.init_app(app)
    for host in ("a.example", "b.example"):
        view = cache.cached()(lambda: "page")
        app.add_url_rule("/", f"get-{host}", view, host=host)
        app.add_url_rule("/", f"post-{host}", lambda: "done", host=host, methods=["POST"])
    app.add_url_rule("/", "post-c", lambda: "done", host="c.example", methods=["POST"])
    client = app.test_client()

    def status(host: str) -> bool:
        return is_hit(client.get("/", base_url=f"http://{host}"))

    assert [status(host) for host in ("a.example", "b.example") * 2] == [False, False, True, True]
    before = log_of(app, cache).position()
    client.post("/", base_url="http://c.example")
    assert log_of(app, cache).position() == before
    client.post("/", base_url="http://a.example")
    assert [status("a.example"), status("b.example")] == [False, True]


def test_a_render_that_runs_meanwhile_is_not_served_after_it(
    app: Flask, cache: Cache, get: Get
) -> None:
    """Its data may be older than the change. Its own caller came before that."""
    data, has_read, may_answer = {"version": 1}, threading.Event(), threading.Event()

    @app.get("/")
    @cache.cached()
    def page() -> str:
        version = data["version"]
        has_read.set()
        assert may_answer.wait(30)
        return str(version)

    @app.post("/")
    def change() -> str:
        data["version"] += 1
        return "changed"

    with ThreadPoolExecutor() as pool:
        early = pool.submit(get, "/")
        assert has_read.wait(30)
        get("/", method="POST")
        may_answer.set()
        assert early.result().text == "1"
    assert get("/").text == "2"
    assert is_hit(get("/"))


def test_each_cache_of_the_app(app: Flask, cache: Cache, get: Get) -> None:
    """Those that may have stored it; each has its own log."""
    other, off = Cache(app), Cache(app, config={"CACHE_INVALIDATE_UNSAFE": False})
    for name, each in (("one", cache), ("two", other), ("off", off)):
        app.add_url_rule(f"/{name}", f"get-{name}", each.cached()(lambda: "page"))
    app.add_url_rule("/<to>/<name>", "post", lambda name, to: redirect(f"/{to}"), methods=["POST"])
    before = [log_of(app, each).position() for each in (cache, other, off)]
    for name in ("one", "two", "off"):
        get(f"/{name}")
    get("/two/x", method="POST"), get("/off/x", method="POST")
    assert [is_hit(get(f"/{name}")) for name in ("one", "two", "off")] == [True, False, True]
    after = [log_of(app, each).position() for each in (cache, other, off)]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]


def test_one_app_of_several(cache: Cache, app: Flask, get: Get) -> None:
    """A cache that has several apps forgets for the one that was asked."""
    other = Flask("other")
    cache.init_app(other, {"CACHE_TYPE": "SimpleCache"})
    view = cache.cached()(lambda: "page")
    for each in (app, other):
        each.add_url_rule("/", "get", view)
        each.add_url_rule("/", "post", lambda: "done", methods=["POST"])
        each.test_client().get("/")
    get("/", method="POST")
    assert not is_hit(get("/"))
    assert is_hit(other.test_client().get("/"))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/search", 200),
        ("POST", "/items?status=400", 400),
        ("POST", "/nowhere", 404),
        ("DELETE", "/items", 405),
        ("POST", "/uncached", 200),
        ("POST", "/moved", 200),
        ("GET", "/search", 405),
    ],
)
def test_what_concerns_nothing_cached_is_not_noted(
    shop: Flask, cache: Cache, get: Get, method: str, path: str, status: int
) -> None:
    """It would push other purges out of the log."""
    shop.add_url_rule("/uncached", "uncached", lambda: "page", methods=["GET", "POST"])
    shop.add_url_rule("/moved/", "moved", cache.cached()(lambda: "page"))
    shop.add_url_rule("/moved", "move", lambda: "done", methods=["POST"], strict_slashes=True)
    before = log_of(shop, cache).position()
    assert get(path, method=method).status_code == status
    assert log_of(shop, cache).position() == before


def test_a_location_without_a_cached_view_is_not_noted(shop: Flask, cache: Cache, get: Get) -> None:
    """Nor one of another origin, or too long; the target is, once."""
    for location in ("/search", "/nowhere", "//evil.example/items/7", "/items/" + "x" * 100_000):
        get("/search", method="POST", query_string={"location": location})
        get("/items", method="POST", query_string={"location": location})
    table = log_of(shop, cache).known()
    assert table is not None
    assert {name.partition("?")[0] for _, name, _ in table._latest} == {"http://localhost/items"}
    assert max(len(name) for _, name, _ in table._latest) < 100


@pytest.mark.parametrize(
    "location",
    [
        "https://localhost/items/7",
        "http://localhost:8080/items/7",
        "http://other.example/items/7",
        "//other.example/items/7",
        "///items/7",
        "http://localhost@other.example/items/7",
        "ftp://localhost/items/7",
    ],
)
def test_another_origin_cannot_be_named(shop: Flask, get: Get, location: str) -> None:
    """Neither what is stored for that, nor the same path here, is forgotten."""
    get("/items/7")
    for origin in ("https://localhost", "http://localhost:8080", "http://other.example"):
        get("/items/7", base_url=origin)
    get("/items", method="POST", query_string={"location": location, "content": location})
    assert is_hit(get("/items/7"))
    for origin in ("https://localhost", "http://localhost:8080", "http://other.example"):
        assert is_hit(get("/items/7", base_url=origin))


def test_a_host_that_is_not_trusted_invalidates_nothing(
    shop: Flask, cache: Cache, get: Get
) -> None:
    """Also where the app makes a success of it, or has decided only after Flask looked."""
    shop.config["TRUSTED_HOSTS"] = ["localhost"]
    shop.register_error_handler(400, lambda error: "welcome")

    @shop.before_request
    def trust_nobody() -> str | None:
        if "late" not in request.args:
            return None
        shop.config["TRUSTED_HOSTS"] = ["other.example"]
        return "welcome"

    before = log_of(shop, cache).position()
    assert get("/items", method="POST", base_url="http://evil.example").text == "welcome"
    assert log_of(shop, cache).position() == before
    assert get("/items?late=1", method="POST").text == "welcome"
    assert log_of(shop, cache).position() == before


def test_a_cache_that_keeps_nothing_notes_nothing(app: Flask, get: Get) -> None:
    """There is nothing that could be out of date."""
    cache = Cache(app, config={"CACHE_TYPE": "NullCache"})
    add_items(app, cache)
    before = log_of(app, cache).position()
    assert get("/items", method="POST").status_code == 201
    assert log_of(app, cache).position() == before


def test_it_can_be_switched_off(app: Flask, get: Get) -> None:
    """Then no function is registered at all."""
    cache = Cache(app, config={"CACHE_INVALIDATE_UNSAFE": "false"})
    add_items(app, cache)
    assert not app.after_request_funcs
    get("/items")
    get("/items", method="POST")
    assert is_hit(get("/items"))


def test_one_function_is_registered_for_each_app(app: Flask, get: Get) -> None:
    """Before all others, so that it runs last, and also while the app serves."""
    others: list[Any] = [lambda response: response, lambda response: response]
    app.after_request(others[0])
    cache = Cache(app)
    cache.init_app(app)
    Cache(app)
    app.after_request(others[1])
    assert app.after_request_funcs == {None: [invalidate_unsafe, *others]}
    assert not any((app.before_request_funcs, app.teardown_request_funcs))

    late = Flask("late")
    late.test_client().get("/")
    cache.init_app(late, {"CACHE_TYPE": "SimpleCache"})
    assert late.after_request_funcs == {None: [invalidate_unsafe]}


class Broken(BaseConverter):
    """Raises whatever it is to convert."""

    def to_python(self, value: str) -> str:
        raise RuntimeError("broken")


@pytest.fixture
def broken(shop: Flask, cache: Cache) -> Flask:
    """The shop, in which nothing can be forgotten of ``/broken/1``."""
    shop.url_map.converters["broken"] = Broken
    shop.add_url_rule("/broken/<broken:it>", "broken", cache.cached()(lambda it: "page"))
    return shop


@pytest.mark.usefixtures("broken")
def test_an_app_that_is_broken_answers_all_the_same(
    get: Get, lines: Callable[[], list[str]]
) -> None:
    """With a converter that raises, for the path of ``Location``; told once, with a traceback."""
    for _ in range(3):
        assert get("/items?location=/broken/1", method="POST").status_code == 201
    assert lines() == [f"What POST /items{LINE}broken"]


def test_a_line_tells_no_more_of_a_path_than_is_of_use(
    broken: Flask, get: Get, lines: Callable[[], list[str]]
) -> None:
    """Clients choose it, and a line feed in it would forge a line."""

    @broken.before_request
    def create() -> Any:
        return "", 201, {"Location": "/broken/1"}

    assert get("/at/" + "a%0A" * 1000, method="POST").status_code == 201
    (line,) = lines()
    assert "\n" not in line
    assert line.startswith("What POST /at/a%0Aa%0A")
    assert len(line) < 300


def test_what_writes_lines_may_raise(
    shop: Flask, cache: Cache, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as where a disk is full. The other cache is told nevertheless."""
    other = Cache(shop)
    shop.add_url_rule("/other", "other", other.cached()(lambda: "page"))
    get("/other")

    def fail(record: object) -> bool:
        raise OSError("no space left")

    def refuse(*purges: object, **options: object) -> None:
        raise RuntimeError("refused")

    monkeypatch.setattr(log_of(shop, cache), "add", refuse)
    monkeypatch.setattr(logging.getLogger("flask_larder"), "filters", [fail])
    assert get("/items?location=/other", method="POST").status_code == 201
    assert not is_hit(get("/other"))


@pytest.mark.parametrize("host", ["", "a b", "[", "x" * 60, "localhost:99999", "é"])
def test_an_odd_host(shop: Flask, get: Get, host: str) -> None:
    """The response goes out."""
    environ = {"HTTP_HOST": host.encode().decode("latin-1")}
    answer = get("/items?location=http:///items/7", method="POST", environ_overrides=environ)
    assert answer.status_code == 201


def test_an_async_view(app: Flask, cache: Cache, get: Get) -> None:
    """It is as any other."""

    @app.route("/", methods=["GET", "POST"])
    @cache.cached()
    async def page() -> str:
        return "page"

    get("/")
    get("/", method="POST")
    assert not is_hit(get("/"))


def redis_app(url: str, **config: Any) -> Flask:
    """A process of its own, as far as Redis knows."""
    app = Flask(__name__)
    app.config.update(CACHE_TYPE="RedisCache", CACHE_REDIS_URL=url, **config)
    return add_items(app, Cache(app))


def length_of_log(client: redis.Redis) -> int:
    """How many records it has, with the one that names the server, which a follower adds."""
    wait_until(lambda: any(b"server" in fields for _, fields in client.xrange(LOG)), 5)
    return client.xlen(LOG)


def test_all_processes_see_the_change(redis_url: str, redis_client: redis.Redis) -> None:
    """One record for what one request has changed, however much that is."""
    one, two = (redis_app(redis_url, CACHE_REDIS_TIMEOUT=5, CACHE_BUDGET_SECONDS=5) for _ in "12")
    for path in ("/items", "/items/7", "/items/8"):
        one.test_client().get(path)
        assert is_hit(two.test_client().get(path))
    length = length_of_log(redis_client)
    one.test_client().post("/items?location=/items/7")
    for path in ("/items", "/items/7"):
        wait_until(lambda path=path: not is_hit(two.test_client().get(path)), 5)  # type: ignore[misc]
    assert is_hit(two.test_client().get("/items/8"))
    assert redis_client.xlen(LOG) == length + 1
    ((_, fields),) = redis_client.xrevrange(LOG, count=1)
    assert fields[b"url"] == b"http://localhost/items/7"


def test_a_flood_does_not_fill_the_log(redis_url: str, redis_client: redis.Redis) -> None:
    """Of requests that concern nothing cached."""
    app = redis_app(redis_url, CACHE_REDIS_TIMEOUT=5, CACHE_BUDGET_SECONDS=5)
    client = app.test_client()
    client.get("/items")
    length = length_of_log(redis_client)
    for number in range(50):
        client.post(f"/search?q={number}")
        client.post(f"/nowhere/{number}")
        client.post(f"/items?status=400&location=/items/{number}")
        client.delete("/items")
    assert redis_client.xlen(LOG) == length
    assert is_hit(client.get("/items"))
    client.post("/items")
    assert redis_client.xlen(LOG) == length + 1


def test_a_store_that_is_gone(
    start_redis: Callable[[], RedisServer], lines: Callable[[], list[str]]
) -> None:
    """The response goes out; one line tells of Redis, and one of what is still stored."""
    server = start_redis()
    client = redis_app(server.url, CACHE_REDIS_TIMEOUT=5, CACHE_BUDGET_SECONDS=5).test_client()
    client.get("/items")
    server.kill()
    for _ in range(5):
        assert client.post("/items?location=/items/7").status_code == 201
    assert len([line for line in lines() if LINE in line]) == 1
    assert len([line for line in lines() if line.startswith(f"Redis at {server.url} is away")]) == 1


def test_a_store_that_hangs(
    start_redis: Callable[[], RedisServer], lines: Callable[[], list[str]]
) -> None:
    """A request waits no longer than its budget, which the view may have used already."""
    server = start_redis()
    app = redis_app(server.url, CACHE_REDIS_TIMEOUT=5, CACHE_BUDGET_SECONDS=0.5)
    (cache,) = caches_of(app)

    @app.put("/items")
    def put() -> str:
        cache.get("key")
        return "done"

    client = app.test_client()
    client.get("/items")
    wait_until(lambda: log_of(app, cache).known() is not None)
    server.suspend()
    try:
        for method in ("POST", "PUT"):
            started = time.monotonic()
            assert client.open("/items", method=method).status_code in {200, 201}
            assert time.monotonic() - started < 2.0
    finally:
        server.resume()
    assert len([line for line in lines() if LINE in line]) == 1


def fill_and_change(app: Flask, **changed: Any) -> tuple[bool, bool]:
    """Whether what was stored at ``/`` is there after a change by the same client, or another."""
    client = app.test_client(use_cookies=False)
    app.add_url_rule("/", "post", lambda: "done", methods=["POST"])
    users = [{"X-User": user, "Accept-Language": user} for user in "ab"]
    for user in users:
        client.get("/?a=1", headers=user)
        assert is_hit(client.get("/?a=1", headers=user))
    assert client.post("/?a=1", headers=users[0]).status_code == 200
    same, other = (is_hit(client.get("/?a=1", headers=user)) for user in users)
    return same, other


@pytest.mark.parametrize(
    ("options", "is_stored"),
    [
        ({}, (False, True)),  # and what the first of the two has stored then, the other finds
        ({"query_string": True}, (False, True)),
        ({"key_prefix": "name"}, (False, True)),
        ({"key_prefix": "mine/%s"}, (False, True)),
        ({"source_check": True}, (False, True)),
        ({"hash_method": "md5", "key_prefix": "x" * 300}, (False, True)),
        ({"vary": "Accept-Language"}, (False, True)),
        ({"make_cache_key": lambda: "name"}, (True, True)),
        ({"vary": lambda: request.headers["X-User"]}, (True, True)),
    ],
)
def test_files_are_deleted_where_their_key_is_known(
    tmp_path: Path, options: dict[str, Any], is_stored: tuple[bool, bool]
) -> None:
    """A function that makes a key would look at the request that changes, and is not asked."""
    app = Flask(__name__)
    app.config.update(CACHE_TYPE="filesystem", CACHE_DIR=tmp_path, CACHE_BUDGET_SECONDS=5)
    cache = Cache(app)
    app.add_url_rule("/", "get", cache.cached(**options)(lambda: "page"))
    assert fill_and_change(app) == is_stored


def test_memcached(memcached: MemcachedServer) -> None:
    """As files."""
    app = Flask(__name__)
    app.config.update(CACHE_TYPE="memcached", CACHE_MEMCACHED_SERVERS=[str(memcached.socket)])
    app.config.update(CACHE_MEMCACHED_TIMEOUT=5, CACHE_BUDGET_SECONDS=5)
    add_items(app, Cache(app))
    client = app.test_client()
    client.get("/items"), client.get("/items/7"), client.get("/items/8")
    client.post("/items?location=/items/7")
    hits = [is_hit(client.get(path)) for path in ("/items", "/items/7", "/items/8")]
    assert hits == [False, False, True]


def test_a_memcached_that_is_gone(
    start_memcached: Callable[..., MemcachedServer], lines: Callable[[], list[str]]
) -> None:
    """The response goes out."""
    server = start_memcached()
    app = Flask(__name__)
    app.config.update(CACHE_TYPE="memcached", CACHE_MEMCACHED_SERVERS=[str(server.socket)])
    client = add_items(app, Cache(app)).test_client()
    client.get("/items")
    server.kill()
    for _ in range(3):
        assert client.post("/items").status_code == 201
    assert len([line for line in lines() if LINE in line]) == 1


@pytest.mark.parametrize("slashes", ["//", "///"])
def test_slashes_at_the_beginning_of_a_path(app: Flask, cache: Cache, slashes: str) -> None:
    """Werkzeug takes several for one, and so do keys and purges."""
    runs = itertools.count(1)

    @app.get("/notes/<int:number>")
    @cache.cached()
    def note(number: int) -> str:
        return f"{number} {next(runs)}"

    app.add_url_rule("/notes/<int:number>", "post", lambda number: "done", methods=["POST"])

    def ask(path: str, method: str = "GET") -> str:
        environ = EnvironBuilder("/", method=method).get_environ()
        environ["PATH_INFO"] = path
        return b"".join(run_wsgi_app(app, environ)[0]).decode()

    for path in (f"{slashes}notes/1", "/notes/1"):
        assert ask(path) == "1 1"
    ask("/notes/1", "POST")
    assert ask(f"{slashes}notes/1") == "1 2"
    cache.purge_path("/notes/1")
    assert ask(f"{slashes}notes/1") == "1 3"
