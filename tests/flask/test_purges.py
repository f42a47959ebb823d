"""Purges: what they hit, what they leave, and that they are final."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Blueprint, Flask, Response, copy_current_request_context, request
from flask.views import MethodView
from werkzeug.routing import BaseConverter

from flask_larder import Cache, InvalidConfig, InvalidPolicy, InvalidPurge, StoreUnavailable
from flask_larder.flask.tracking import caches_of
from tests.flask.answers import Counter, Get, is_hit, status_of
from tests.redis_nodes import wait_until


@pytest.fixture
def shop(app: Flask, cache: Cache, count: Counter) -> Flask:
    """Views with tags, with and without a query."""

    @app.get("/user/<int:number>")
    @cache.cached(tags=lambda number: [f"user:{number}", "users"])
    def user(number: int) -> dict[str, int]:
        return {"user": number, "run": count()}

    @app.get("/search")
    @cache.cached(query_string=True, tags=("search",))
    def search() -> dict[str, int]:
        return {"run": count()}

    @app.get("/named")
    @cache.cached(query_string=("page",))
    def named() -> dict[str, int]:
        cache.tag("named", f"page:{request.args.get('page')}")
        return {"run": count()}

    return app


PAGES = ("/user/7", "/user/8", "/search?a=1&b=2", "/search?a=2", "/named?page=1", "/named?page=2")


def hits(get: Get, **options: Any) -> set[str]:
    """Which of the pages are still stored; asks for nothing that is not."""
    headers = {"Cache-Control": "max-age=0"}
    return {page for page in PAGES if is_hit(get(page, headers=headers, **options))}


def fill(get: Get) -> None:
    for page in PAGES:
        get(page)
    assert hits(get) == set(PAGES)


HOST = "http://localhost"
PURGES: dict[str, tuple[Any, set[str]]] = {
    "a tag": (lambda cache, view: cache.purge_tags("user:7"), {"/user/7"}),
    "several tags": (lambda cache, view: cache.purge_tags("user:7", "page:2"), {*PAGES[::5]}),
    "a tag of all": (lambda cache, view: cache.purge_tags("users"), {"/user/7", "/user/8"}),
    "no tag": (lambda cache, view: cache.purge_tags(), set()),
    "a tag of none": (lambda cache, view: cache.purge_tags("user"), set()),
    "a view": (lambda cache, view: view("user").purge(), {"/user/7", "/user/8"}),
    "one call of a view": (lambda cache, view: view("user").purge(number=7), {"/user/7"}),
    "one as a text": (lambda cache, view: view("user").purge(number="7"), {"/user/7"}),
    "a path": (lambda cache, view: cache.purge_path("/search"), {PAGES[2], PAGES[3]}),
    "a path of a host": (lambda cache, view: cache.purge_path(f"{HOST}/user/7"), {"/user/7"}),
    "a path of another": (lambda cache, view: cache.purge_path("http://other/user/7"), set()),
    "a URL": (lambda cache, view: cache.purge_url("/search?b=2&a=1"), {"/search?a=1&b=2"}),
    "a URL of a host": (
        lambda cache, view: cache.purge_url("HTTP://LocalHost:80/search?a=2#x"),
        {PAGES[3]},
    ),
    "a URL without its query": (lambda cache, view: cache.purge_url("/search"), set()),
    "a URL beyond its key": (lambda cache, view: cache.purge_url("/named?x=1"), {*PAGES[4:]}),
    "a prefix": (lambda cache, view: cache.purge_prefix("/us"), {"/user/7", "/user/8"}),
    "a prefix of one host": (lambda cache, view: cache.purge_prefix(f"{HOST}/"), set(PAGES)),
    "everything": (lambda cache, view: cache.clear(), set(PAGES)),
    "a call by its route": (
        lambda cache, view: cache.delete_cached(view("user"), number=8),
        {"/user/8"},
    ),
    "a call by its path": (
        lambda cache, view: cache.delete_cached(view("search"), "/search", {"b": 2, "a": 1}),
        {"/search?a=1&b=2"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PURGES)
def test_a_purge_hits_what_it_names_and_nothing_else(
    shop: Flask, cache: Cache, get: Get, name: str
) -> None:
    """And what is stored after it stays."""
    fill(get)
    purge, gone = PURGES[name]
    with shop.test_request_context():
        purge(cache, shop.view_functions.__getitem__)

    statuses = {page: status_of(get(page)) for page in PAGES}
    assert {page for page, status in statuses.items() if "hit" not in status} == gone
    assert all("fwd=uri-miss; stored" in statuses[page] for page in gone)
    assert hits(get) == set(PAGES)


def test_a_soft_purge_makes_stale(shop: Flask, cache: Cache, get: Get) -> None:
    """Nothing here allows the use of what is stale, so the view runs."""
    fill(get)
    cache.purge_tags("users", soft=True)
    assert "fwd=stale; stored" in status_of(get("/user/7"))
    assert is_hit(get("/user/7"))
    assert cache.clear(soft=True)
    assert all("fwd=stale" in status_of(get(page)) for page in PAGES)


def test_a_render_that_a_purge_overtakes_is_not_kept(app: Flask, cache: Cache, get: Get) -> None:
    """Its caller gets it, and nobody after that."""
    prices = {"tea": 1}

    @app.get("/price")
    @cache.cached()
    def price() -> dict[str, int]:
        seen = dict(prices)
        cache.tag("prices")
        if len(prices) == 1:
            prices["tea"], prices["coffee"] = 2, 3
            cache.purge_tags("prices")
        return seen

    assert get("/price").json == {"tea": 1}
    assert get("/price").json == {"tea": 2, "coffee": 3}
    assert is_hit(get("/price"))


def test_what_a_hook_has_read_before_counts(app: Flask, cache: Cache, get: Get) -> None:
    """A purge between the hook and the view makes the answer old before it is made."""
    data, seen = {"version": 1}, {}

    @app.before_request
    def load() -> None:
        seen["version"] = data["version"]
        if data["version"] == 1:
            data["version"] = 2
            cache.purge_tags("data")

    @app.get("/")
    @cache.cached(tags=["data"])
    def page() -> dict[str, int]:
        return dict(seen)

    assert get("/").json == {"version": 1}
    assert get("/").json == {"version": 2}
    assert is_hit(get("/"))


def test_who_waited_judges_the_answer_anew(app: Flask, cache: Cache, get: Get) -> None:
    """A purge while a leader renders: who came after it does not get the leader's answer."""
    entered, go = threading.Event(), threading.Event()
    data = {"version": 1}

    @app.get("/")
    @cache.cached(tags=["data"])
    def page() -> dict[str, int]:
        version = data["version"]
        if version == 1:
            entered.set()
            assert go.wait(10)
        return {"version": version}

    answers: list[Any] = []
    leader = threading.Thread(target=lambda: answers.append(get("/").json))
    leader.start()
    assert entered.wait(10)
    data["version"] = 2
    cache.purge_tags("data")
    follower = threading.Thread(target=lambda: answers.append(get("/").json))
    follower.start()
    go.set()
    leader.join(), follower.join()
    assert sorted(answer["version"] for answer in answers) == [1, 2]
    assert get("/").json == {"version": 2}


@pytest.mark.parametrize("is_view", [True, False])
def test_a_purge_does_not_part_those_who_wait(
    app: Flask, cache: Cache, get: Get, is_view: bool
) -> None:
    """Those who came before it share what was being made then, and the others what is newer.

    They do not wait for what is older, where the option tells that the purge hits it.
    """
    runs, go = itertools.count(1), threading.Event()
    begun, is_again = threading.Event(), threading.Event()

    @cache.cached(key_prefix="view%s" if is_view else "run", tags=lambda: ["data"])
    def run() -> dict[str, int]:
        number = next(runs)
        (begun if number == 1 else is_again).set()
        assert go.wait(10)
        return {"run": number}

    app.add_url_rule("/", view_func=run if is_view else lambda: run())
    with ThreadPoolExecutor(16) as pool:
        before = [pool.submit(get, "/") for _ in range(8)]
        assert begun.wait(10)
        wait_until(lambda: waiting_in(app) == 7)
        cache.purge_tags("data")
        after = [pool.submit(get, "/") for _ in range(8)]
        assert is_again.wait(10)
        wait_until(lambda: waiting_in(app) == 7)  # behind the one that others may still join
        go.set()
    # Where they look once more, what is newer may be there.
    assert {each.result().json["run"] for each in before} <= ({1, 2} if is_view else {1})
    assert {each.result().json["run"] for each in after} == {2}
    assert next(runs) == 3
    assert get("/").json == {"run": 2}


@pytest.mark.parametrize("is_view", [True, False])
def test_what_is_made_late_does_not_take_the_place_of_what_is_newer(
    app: Flask, cache: Cache, get: Get, is_view: bool
) -> None:
    """Who began before a purge may end after who began later."""
    runs, old_goes, is_begun = itertools.count(1), threading.Event(), threading.Event()

    @cache.cached(key_prefix="view%s" if is_view else "run", tags=lambda: ["data"])
    def run() -> dict[str, int]:
        if (number := next(runs)) == 1:
            is_begun.set()
            assert old_goes.wait(10)
        return {"run": number}

    app.add_url_rule("/", view_func=run if is_view else lambda: run())
    with ThreadPoolExecutor(1) as pool:
        old = pool.submit(get, "/")
        assert is_begun.wait(10)
        cache.purge_tags("data")
        assert get("/").json == {"run": 2}
        old_goes.set()
        assert old.result().json == {"run": 1}
    assert get("/").json == {"run": 2}


@pytest.mark.parametrize("is_view", [True, False])
def test_who_purges_by_itself_waits_for_nothing_older(
    app: Flask, cache: Cache, get: Get, is_view: bool
) -> None:
    """It may not be given what it has just purged, though it came before that."""
    begun, goes = threading.Event(), threading.Event()
    data = {"version": 1}

    @app.before_request
    def change() -> None:
        if "X-Change" in request.headers:
            data["version"] = 2
            cache.purge_tags("data")

    @cache.cached(key_prefix="view%s" if is_view else "run")
    def run() -> dict[str, int]:
        cache.tag("data")
        version = data["version"]
        if version == 1:
            begun.set()
            assert goes.wait(10)
        return {"version": version}

    app.add_url_rule("/", view_func=run if is_view else lambda: run())
    with ThreadPoolExecutor(2) as pool:
        old = pool.submit(get, "/")
        assert begun.wait(10)
        new = pool.submit(get, "/", headers={"X-Change": "yes"})
        wait_until(lambda: new.done() or waiting_in(app))
        goes.set()
        assert old.result().json == {"version": 1}
        assert new.result().json == {"version": 2}


def test_who_waits_asks_no_function_for_tags(app: Flask, cache: Cache, get: Get) -> None:
    """What the leader has said is known, and what fails is no affair of others."""
    app.debug = True
    asked, begun, goes = list[int](), threading.Event(), threading.Event()

    def tags() -> list[str]:
        asked.append(1)
        return ["data"]

    @app.get("/")
    @cache.cached(tags=tags)
    def view() -> str:
        begun.set()
        assert goes.wait(10)
        return "x"

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(get, "/")
        assert begun.wait(10)
        cache.purge_tags("another")
        others = [pool.submit(get, "/") for _ in range(7)]
        wait_until(lambda: waiting_in(app) == 7)
        goes.set()
        assert {each.result().text for each in (first, *others)} == {"x"}
    assert len(asked) == 1


def test_who_was_gone_past_does_not_wait_for_who_waits_for_it(
    app: Flask, cache: Cache, get: Get
) -> None:
    """Where what it runs asks for itself once more."""
    begun, goes = threading.Event(), threading.Event()

    @cache.cached(key_prefix="run", tags=["data"])
    def run() -> str:
        if not begun.is_set():
            begun.set()
            assert goes.wait(10)
            return f"outer {run()}"
        return "inner"

    app.add_url_rule("/", "view", lambda: run())
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(get, "/")
        assert begun.wait(10)
        cache.purge_tags("data")
        second = pool.submit(get, "/")
        wait_until(second.done)
        goes.set()
        assert first.result(5).text == "outer inner"
        assert second.result().text == "inner"


def waiting_in(app: Flask) -> int:
    """How many callers wait for what others make."""
    (wiring,) = caches_of(app).values()
    found = 0
    for each in (wiring.engine._coalescer, wiring.coalescer_of_values):
        for flight in list(each._flights()._under_way.values()):
            found += len(flight.landing._cond._waiters) if flight.landing else 0
    return found


def test_values_and_pages_made_of_them(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """A page has the tags of the cached functions that it was made from, also on their hits."""

    @cache.cached(key_prefix="names", tags=["names"])
    def names() -> list[int]:
        return [count()]

    @app.get("/<page>")
    @cache.cached()
    def show(page: str) -> dict[str, list[int]]:
        return {"names": names()}

    assert get("/a").json == get("/b").json == {"names": [1]}
    assert is_hit(get("/a"))
    assert is_hit(get("/b"))
    cache.purge_tags("names")
    assert get("/a").json == get("/b").json == {"names": [2]}
    names.purge()
    assert names() == [3]
    assert get("/a").json == {"names": [2]}  # only tags are handed on


def test_clear_hits_values(cache: Cache) -> None:
    """They are not there, can be added, and are set again."""
    assert cache.set("a", 1)
    assert cache.add("b", 1)
    assert cache.clear()
    assert cache.get_dict("a", "b") == {"a": None, "b": None}
    assert not cache.has("a")
    assert not cache.delete("a")
    assert cache.add("b", 2)
    assert not cache.add("b", 3)
    assert cache.set("a", 2)
    assert cache.get_dict("a", "b") == {"a": 2, "b": 2}


def test_delete_cached_of_keys_with_a_name(app: Flask, cache: Cache, get: Get) -> None:
    """The function that makes the key is given the arguments."""
    runs: list[str] = []

    @app.get("/item/<name>")
    @cache.cached(make_cache_key=lambda name: f"item-{name}")
    def item(name: str) -> dict[str, str]:
        runs.append(name)
        return {"name": name}

    @app.get("/fixed")
    @cache.cached(key_prefix="fixed")
    def fixed() -> dict[str, str]:
        runs.append("fixed")
        return {}

    for _ in range(2):
        get("/item/a"), get("/item/b"), get("/fixed")
    assert runs == ["a", "b", "fixed"]
    assert cache.delete_cached(item, name="a")
    assert not cache.delete_cached(item, name="c")
    assert cache.delete_cached(fixed)
    get("/item/a"), get("/item/b"), get("/fixed")
    assert runs == ["a", "b", "fixed", "a", "fixed"]


def test_delete_cached_names_the_key_as_a_call_does(app: Flask, cache: Cache, get: Get) -> None:
    """A function that makes no text has nothing cached, and it says so rather than ``False``."""
    page = cache.cached(make_cache_key=lambda number: number)(lambda number: "page")
    app.add_url_rule("/page/<int:number>", "page", page)
    assert status_of(get("/page/4")) == "larder; fwd=bypass; detail=option-failed"
    with pytest.raises(InvalidPolicy, match="make_cache_key returned 4; it must return a text"):
        cache.delete_cached(page, number=4)


@pytest.mark.parametrize(
    ("given", "named"), [(((1, 3), {}), {"path", "query_args"}), (((), {"x": 1}), {"x"})]
)
def test_delete_cached_with_arguments_that_the_key_is_not_made_of(
    cache: Cache, given: Any, named: set[str]
) -> None:
    """It says so, and how to give them."""
    add = cache.cached(make_cache_key=lambda a, b=2: f"{a} {b}")(lambda a, b=2: a + b)
    args, arguments = given
    with pytest.raises(InvalidPurge, match=r"delete_cached\(view, number=7\)") as raised:
        cache.delete_cached(add, *args, **arguments)
    assert str(sorted(named)) in str(raised.value)


def test_delete_cached_of_a_method_with_a_key_of_its_own(cache: Cache) -> None:
    """The function that makes the key is given the object, too, as when it is called."""
    runs: list[str] = []

    class Shop:
        def __init__(self, city: str) -> None:
            self.city = city

        @cache.cached(make_cache_key=lambda shop, item: f"{shop.city} {item}")
        def price(self, item: str) -> int:
            runs.append(f"{self.city} {item}")
            return len(runs)

    rome, oslo = Shop("Rome"), Shop("Oslo")
    assert [rome.price("tea"), oslo.price("tea"), rome.price("tea")] == [1, 2, 1]
    assert cache.delete_cached(rome.price, item="tea")
    assert [rome.price("tea"), oslo.price("tea")] == [3, 2]


def test_delete_cached_of_a_name_is_final(app: Flask, cache: Cache, get: Get) -> None:
    """Variants do not come back with their list, and what is made meanwhile is not kept."""
    data = {"version": 1}

    @app.get("/")
    @cache.cached(key_prefix="page", query_string=True)
    def page() -> dict[str, Any]:
        seen = {**data, "language": request.accept_languages.best_match(["en", "de"])}
        if request.args.get("overtaken"):
            data["version"] += 1
            cache.delete_cached(page)
        return seen

    def ask(language: str, path: str = "/") -> Any:
        return get(path, headers={"Accept-Language": language}).json["version"]

    assert [ask("en"), ask("de"), ask("en", "/?a=1")] == [1, 1, 1]
    data["version"] = 2
    assert cache.delete_cached(page)
    assert [ask("de"), ask("en"), ask("en", "/?a=1")] == [2, 2, 2]
    assert [ask("en", "/?overtaken=1"), ask("en"), ask("en", "/?overtaken=1")] == [2, 3, 3]


def test_delete_cached_of_a_value_is_final(cache: Cache) -> None:
    """As of a page; what has another name, or is set later, stays."""
    data = {"version": 1}

    @cache.cached(key_prefix="value")
    def value() -> int:
        seen = data["version"]
        if seen == 1:
            data["version"] = 2
            cache.delete_cached(value)
        return seen

    cache.set("values", 1)
    assert [value(), value(), cache.get("value")] == [1, 2, 2]
    cache.delete_cached(value)
    assert cache.set("value", 3)
    assert [cache.get("value"), cache.get("values")] == [3, 1]


def test_delete_cached_in_the_request_itself(app: Flask, cache: Cache, get: Get) -> None:
    """Without anything, the URL of the current request is meant, as in Flask-Caching."""

    @app.get("/<int:number>")
    @cache.cached(query_string=True, unless=lambda: "drop" in request.headers)
    def page(number: int) -> dict[str, str]:
        if "drop" in request.headers:
            assert cache.delete_cached(page)
        return {"query": request.query_string.decode()}

    for path in ("/1?a=1", "/1?a=2", "/2?a=1"):
        get(path)
    get("/1?a=1", headers={"drop": "yes"})
    assert not is_hit(get("/1?a=1"))
    assert is_hit(get("/1?a=2"))
    assert is_hit(get("/2?a=1"))


@pytest.mark.parametrize("path", ["/a", "/50%2525", "/a%3Fb", "/a%2520b", "/%FF", "/a%23b?c=%FF"])
def test_delete_cached_in_a_request_with_an_encoded_path(
    app: Flask, cache: Cache, get: Get, path: str
) -> None:
    """What is decoded once must not be decoded twice."""

    @app.get("/<name>")
    @cache.cached(query_string=True, unless=lambda: "drop" in request.headers)
    def page(name: str) -> str:
        return str(cache.delete_cached(page)) if "drop" in request.headers else "page"

    get(path)
    assert is_hit(get(path))
    assert get(path, headers={"drop": "yes"}).text == "True"
    assert not is_hit(get(path))


def test_delete_cached_of_all_routes(app: Flask, cache: Cache, get: Get) -> None:
    """In a script, and in a request for something else."""

    @app.get("/one/<int:number>")
    @app.get("/two/<int:number>")
    @cache.cached(query_string=True)
    def page(number: int) -> str:
        return str(number)

    pages = ("/one/1?a=1", "/two/1", "/one/2")
    for context in (app.app_context(), app.test_request_context("/other")):
        for path in pages:
            get(path)
        with context:
            assert cache.delete_cached(page, number=1)
        assert [is_hit(get(path)) for path in pages] == [False, False, True]
        with context:
            assert cache.delete_cached(page, number="1", query_args="a=1")
        assert [is_hit(get(path)) for path in pages] == [False, True, True]
    with pytest.raises(InvalidPurge, match=r"\['number'\].*\[\]"):
        cache.delete_cached(page)
    with app.app_context(), pytest.raises(InvalidPurge, match="no route in this app for"):
        cache.delete_cached(page, number="x", query_args="a=1")


def test_delete_cached_needs_no_app_context(app: Flask, cache: Cache, get: Get) -> None:
    """Nor does the view need an argument."""

    @app.get("/")
    @cache.cached()
    def page() -> str:
        return "page"

    get("/")
    cache.delete_cached(page)
    assert not is_hit(get("/"))


def test_delete_cached_of_what_a_converter_makes(app: Flask, cache: Cache, get: Get) -> None:
    """No purge can name a model, but the path can be made of it, or of its number."""

    class User:
        def __init__(self, number: int) -> None:
            self.number = number

    class UserConverter(BaseConverter):
        def to_python(self, value: str) -> User:
            return User(int(value))

        def to_url(self, value: Any) -> str:
            return str(value.number if isinstance(value, User) else value)

    app.url_map.converters["user"] = UserConverter

    @app.get("/user/<user:user>")
    @cache.cached()
    def page(user: User) -> str:
        return str(user.number)

    for user in (User(7), 7):
        get("/user/7"), get("/user/8")
        with app.app_context():
            cache.delete_cached(page, user=user)
        assert not is_hit(get("/user/7"))
        assert is_hit(get("/user/8"))
    with pytest.raises(InvalidPurge, match="'user': 'User'"):
        page.purge(user=User(7))


def test_a_mount_is_part_of_the_path(app: Flask, cache: Cache, get: Get) -> None:
    """As it is of the URL."""

    @app.get("/page")
    @cache.cached()
    def page() -> dict[str, str]:
        return {}

    mounted = {"environ_overrides": {"SCRIPT_NAME": "/shop"}}
    get("/page"), get("/page", **mounted)
    cache.purge_path("/shop/page")
    assert is_hit(get("/page"))
    assert not is_hit(get("/page", **mounted))


def test_paths_in_any_spelling(app: Flask, cache: Cache, get: Get) -> None:
    """Encoded or not, what is purged is what is asked for."""

    @app.get("/<path:path>")
    @cache.cached()
    def page(path: str) -> dict[str, str]:
        return {"path": path}

    for purge in ("/caf%C3%A9 x", "/café%20x", "/caf%c3%a9%20x"):
        get("/caf%C3%A9%20x")
        assert is_hit(get("/caf%C3%A9%20x"))
        cache.purge_path(purge)
        assert not is_hit(get("/caf%C3%A9%20x"))


def test_methods_of_view_classes(app: Flask, cache: Cache, get: Get) -> None:
    """The object is no argument of a purge."""

    class Square(MethodView):
        @cache.cached()
        def get(self, number: int, power: int = 2) -> dict[str, int]:
            return {"computed": number**power}

    app.add_url_rule("/square/<int:number>", view_func=Square.as_view("square"))
    get("/square/4"), get("/square/5")
    Square.get.purge(number=4)
    assert not is_hit(get("/square/4"))
    assert is_hit(get("/square/5"))


def test_any_key_of_a_page_is_hit_by_the_url_that_is_asked_for(
    app: Flask, cache: Cache, get: Get
) -> None:
    """One response that answers several URLs, by a key of its own."""

    @app.get("/a", endpoint="a")
    @app.get("/b", endpoint="b")
    @cache.cached(make_cache_key=lambda: "both")
    def both() -> dict[str, str]:
        return {}

    get("/a")
    assert is_hit(get("/b"))
    cache.purge_path("/b")
    assert is_hit(get("/a"))
    assert not is_hit(get("/b"))


RUNS = itertools.count()


def run_number() -> str:
    """No closure, which would not be kept where it is not known to be a view."""
    return str(next(RUNS))


def test_a_view_beneath_another_decorator(app: Flask, cache: Cache, get: Get) -> None:
    """Without ``functools.wraps`` it is taken for a function, and hit by its URL all the same."""
    page = cache.cached(query_string=True)(run_number)
    app.add_url_rule("/page", view_func=lambda: page())
    for purge in (
        lambda: cache.purge_path("/page"),
        lambda: cache.purge_url("http://localhost/page?a=1"),
        lambda: cache.purge_prefix("/p"),
    ):
        stored = get("/page?a=1").text
        cache.purge_url("/page?a=2")
        assert get("/page?a=1").text == stored
        purge()
        assert get("/page?a=1").text != stored


def test_tags_of_what_runs_in_threads(app: Flask, cache: Cache, get: Get) -> None:
    """They are those of whatever the request makes meanwhile, at any depth."""

    @cache.cached(key_prefix="inner", tags=["inner"])
    def inner() -> int:
        cache.tag("within")
        return next(RUNS)

    @cache.cached(key_prefix="outer")
    def outer() -> int:
        return in_thread(inner) + next(RUNS)

    def in_thread(function: Callable[[], int]) -> int:
        with ThreadPoolExecutor() as pool:
            return pool.submit(copy_current_request_context(function)).result()

    @app.get("/<page>")
    @cache.cached()
    def show(page: str) -> str:
        return str(in_thread(outer) if page == "deep" else in_thread(inner))

    get("/deep"), get("/flat")
    for tag in ("inner", "within"):
        assert is_hit(get("/deep"))
        assert is_hit(get("/flat"))
        cache.purge_tags(tag)
        assert cache.get("outer") is None
        assert not is_hit(get("/deep"))
        assert not is_hit(get("/flat"))


def test_tags_stay_with_their_request(app: Flask, cache: Cache, get: Get) -> None:
    """A thread without the request gives none, and neither does what another request makes."""

    @app.get("/<page>")
    @cache.cached()
    def show(page: str) -> str:
        if page == "outer":
            with ThreadPoolExecutor() as pool:
                pool.submit(lambda: cache.tag("thread")).result()
                pool.submit(lambda: get("/inner")).result()
        else:
            cache.tag("inner")
        return page

    get("/outer")
    cache.purge_tags("thread", "inner")
    assert is_hit(get("/outer"))
    assert not is_hit(get("/inner"))


def test_arguments_of_any_name(app: Flask, cache: Cache, get: Get) -> None:
    """They are not taken for those of the purge."""

    @app.get("/a/<function>/<path:path>")
    @cache.cached()
    def page(function: str, path: str) -> str:
        return function + path

    purges: tuple[Callable[[], object], ...] = (
        lambda: page.purge(function="x", path="y/z"),
        lambda: cache.purge_view(page, function="x", path="y/z"),
        lambda: cache.delete_cached(page, "/a/x/y/z"),
        lambda: cache.delete_cached(page, path="/a/x/y/z"),
    )
    for purge in purges:
        get("/a/x/y/z"), get("/a/x/y")
        purge()
        assert is_hit(get("/a/x/y"))
        assert not is_hit(get("/a/x/y/z"))


def test_a_name_may_be_made_of_a_path(app: Flask, cache: Cache, get: Get) -> None:
    """Such a key has no URL that could be meant."""

    @app.get("/<path:path>")
    @cache.cached(make_cache_key=lambda path: f"file {path}")
    def page(path: str) -> str:
        return path

    get("/a/b"), get("/a/c")
    assert cache.delete_cached(page, path="a/b")
    assert not is_hit(get("/a/b"))
    assert is_hit(get("/a/c"))


class Bomb:
    """What must never be asked for its text, such as a query that has not run."""

    def __str__(self) -> str:
        raise AssertionError

    __repr__ = __str__


class Hours(tzinfo):
    """A time zone that fails, with which a time is plain all the same."""

    def utcoffset(self, at: datetime | None) -> timedelta:
        raise LookupError


NOT_PLAIN = {
    "an object": Bomb(),
    "a list": [1],
    "a long tuple": (1,) * 11,
    "a tuple of objects": (1, Bomb()),
    "more digits than Python writes": 10**5000,
    "a time that fails": datetime(2026, 1, 1, tzinfo=Hours()),
}


@pytest.mark.parametrize("argument", NOT_PLAIN.values(), ids=NOT_PLAIN.keys())
def test_arguments_that_no_purge_can_name(cache: Cache, argument: Any) -> None:
    """The function's result is kept, and hit by a purge of the whole function only."""

    @cache.cached(key_prefix="value")
    def value(given: Any) -> int:
        return next(RUNS)

    stored = value(argument)
    value.purge(given="")
    assert value(argument) == stored
    with pytest.raises(InvalidPurge, match="give texts, numbers"):
        value.purge(given=argument)
    assert value(argument) == stored
    value.purge()
    assert value(argument) != stored


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        *((each, each) for each in (None, True, 4, 1.5, Decimal("1.5"), "é\ud800", b"x", date.max)),
        (UUID(int=7), str(UUID(int=7))),
        ((1, "a"), ("1", "a")),
    ],
)  # fmt: skip
def test_arguments_that_a_purge_can_name(cache: Cache, argument: Any, named: Any) -> None:
    """They are compared as texts."""

    @cache.cached(key_prefix="value")
    def value(given: Any, *rest: int) -> int:
        return next(RUNS)

    stored = value(argument)
    value.purge(given="another")
    assert value(argument) == stored
    value.purge(given=named)
    assert value(argument) != stored


@pytest.mark.parametrize("keeps_hash", [True, False])
def test_arguments_of_what_may_be_unhashable(cache: Cache, *, keeps_hash: bool) -> None:
    """Its parameters are known by name, with their defaults, though it cannot be remembered."""

    class Adding:
        if not keeps_hash:
            __hash__ = None  # type: ignore[assignment]

        def __call__(self, first: int, *, second: int = 2) -> int:
            return next(RUNS)

    adding = Adding()
    adding.__module__, adding.__qualname__ = __name__, "adding"  # type: ignore[attr-defined]
    value = cache.cached(key_prefix="value")(adding)
    for call in (lambda: value(4), lambda: value(first=4), lambda: value(4, second=2)):
        stored = call()
        value.purge(first=4, second=3)
        assert call() == stored
        value.purge(first=4)
        assert call() != stored
        value.purge()


def test_the_module_that_was_started_has_its_name(tmp_path: Path) -> None:
    """Started as ``python shop.py``, a view is the one that ``import shop`` finds in a job."""
    (tmp_path / "shop.py").write_text(
        "from flask_larder.flask.purging import name_of\ndef view(): pass\nprint(name_of(view))\n"
    )
    for arguments in (["shop.py"], ["-m", "shop"], ["-c", "import shop"]):
        command = [sys.executable, *arguments]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert run.stdout == "shop.view\n"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda cache, view: cache.purge_tags(""), "a tag is ''"),
        (lambda cache, view: cache.purge_tags(7), "a tag is 7"),
        (lambda cache, view: cache.purge_tags("\ud800"), "a tag is"),
        (lambda cache, view: cache.purge_url("search"), "url is 'search'; give what begins with /"),
        (lambda cache, view: cache.purge_url("ftp://host/a"), "http://"),
        (lambda cache, view: cache.purge_url("http://me@host/a"), "http://"),
        (lambda cache, view: cache.purge_url("http://host:99999/a"), "http://"),
        (lambda cache, view: cache.purge_url("http://[::1/a"), "http://"),
        (lambda cache, view: cache.purge_url(None), "give a text"),
        (lambda cache, view: cache.purge_url("/\ud800"), "give what begins"),
        (lambda cache, view: cache.purge_path("/a?b"), "purge_url"),
        (lambda cache, view: cache.purge_prefix("/a?b"), "without a query"),
        (lambda cache, view: view("user").purge(num=7), r"\['number'\].*\['num'\]"),
        (lambda cache, view: view("search").purge(number=7), r"\[\].*\['number'\]"),
        (lambda cache, view: view("user").purge(7), r"user has the arguments \(7,\) without names"),
        (lambda cache, view: cache.delete_cached(len), "is not cached by"),
        (lambda cache, view: cache.delete_cached("user"), "'user' is not cached by"),
        (lambda cache, view: cache.delete_cached(view("user"), path="a"), "give what begins"),
        (lambda cache, view: cache.purge_view(len), "is not cached by"),
        (lambda cache, view: Cache().purge_view(view("user")), "is not cached by"),
        (lambda cache, view: view("user").purge(soft="a"), "soft is 'a'; give True or False"),
        (lambda cache, view: cache.purge_tags(soft=1), "soft is 1"),
        (lambda cache, view: cache.clear(soft=0), "soft is 0"),
        (lambda cache, view: cache.purge_url("/" + "x" * 8000), "url has 8001 bytes; give 8000"),
        (lambda cache, view: cache.purge_url("/?" + "é" * 1334), "url has 8007 bytes"),
        (lambda cache, view: cache.purge_path("/" + "é" * 1334), "path has 8005 bytes"),
        (lambda cache, view: cache.purge_prefix("x" * 9000), "prefix has 9000 bytes"),
        (lambda cache, view: cache.purge_tags("t" * 251), "a tag has 251 characters"),
    ],
)
def test_a_purge_that_cannot_be_meant(
    shop: Flask, cache: Cache, get: Get, call: Any, said: str
) -> None:
    """It raises, says what was given, and nothing is purged."""
    fill(get)
    with shop.test_request_context(), pytest.raises(InvalidPurge, match=said):
        call(cache, shop.view_functions.__getitem__)
    assert hits(get) == set(PAGES)


@pytest.mark.parametrize("tags", ["user", [""], [7], 7, b"user"])
def test_tags_that_are_none(cache: Cache, tags: Any) -> None:
    """They are refused where they are written."""
    with pytest.raises(InvalidPolicy, match="tags is"):
        cache.cached(tags=tags)
    with pytest.raises(InvalidPolicy, match="tags is"):
        cache.tag("", tags)


@pytest.mark.parametrize("tags", [None, lambda: None, ()])
def test_no_tags(app: Flask, cache: Cache, get: Get, tags: Any) -> None:
    """What says none is stored without."""

    @app.get("/")
    @cache.cached(tags=tags)
    def page() -> str:
        return ""

    get("/")
    assert is_hit(get("/"))


def test_tags_that_fail_later_cost_the_entry_only(
    app: Flask, cache: Cache, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that raises, or returns a text: the view answers, and nothing is stored."""
    app.testing = False

    @app.get("/<kind>")
    @cache.cached(tags=lambda kind: {"text": "text"}[kind])
    def page(kind: str) -> dict[str, str]:
        return {"kind": kind}

    for kind in ("text", "raises"):
        for _ in range(2):
            response = get(f"/{kind}")
            assert response.json == {"kind": kind}
            assert status_of(response) == "larder; fwd=uri-miss; detail=option-failed"
    assert [record.message.partition(": ")[2] for record in caplog.records] == ["its tags raised"]


@pytest.mark.parametrize(
    ("tags", "detail"),
    [(["t" * 251], "tag-too-long"), (list(map(str, range(1001))), "too-many-tags")],
)
def test_more_tags_than_can_be_kept(
    app: Flask, cache: Cache, get: Get, tags: list[str], detail: str
) -> None:
    """What cannot be purged by each of its tags is not stored."""

    @app.get("/")
    @cache.cached()
    def page() -> dict[str, str]:
        cache.tag(*tags)
        return {}

    assert status_of(get("/")) == f"larder; fwd=uri-miss; detail={detail}"
    assert status_of(get("/")) == f"larder; fwd=uri-miss; detail={detail}"


def test_tags_of_a_streamed_body(app: Flask, cache: Cache, get: Get) -> None:
    """They are given while it is read."""

    @app.get("/")
    @cache.cached()
    def page() -> Response:
        def rows() -> Any:
            for number in range(3):
                cache.tag(f"row:{number}")
                yield str(number)

        return Response(rows())

    get("/")
    assert is_hit(get("/"))
    cache.purge_tags("row:2")
    assert not is_hit(get("/"))


def test_tagging_outside_does_nothing(app: Flask, cache: Cache) -> None:
    """Neither outside of a request nor in a view that is not cached."""
    cache.tag("a")
    with app.test_request_context():
        cache.tag("a")


def test_tags_are_sent_only_if_asked_for(app: Flask, get: Get) -> None:
    """They name what the app is made of, which is nobody's business."""
    sending = Cache(app, config={"CACHE_SEND_TAGS": "true"})
    silent = Cache(app)
    for name, cache in (("sending", sending), ("silent", silent)):

        @app.get(f"/{name}", endpoint=name)
        @cache.cached(tags=["user:7", "a,b c%é"])
        def page() -> dict[str, str]:
            return {}

    for _ in range(2):
        assert get("/sending").headers["Cache-Tag"] == "user:7,a%2Cb%20c%25%C3%A9"
        assert "Cache-Tag" not in get("/silent").headers


def test_tags_that_make_too_long_a_field(app: Flask, cache: Cache, get: Get) -> None:
    """A proxy would refuse the answer, so the field is left out."""
    sending = Cache(app, config={"CACHE_SEND_TAGS": True})

    @app.get("/<int:count>")
    @sending.cached()
    def page(count: int) -> str:
        sending.tag(*(f"{number:020}é" for number in range(count)))
        return "page"

    assert len(get("/148").headers["Cache-Tag"]) == 148 * 27 - 1
    assert "Cache-Tag" not in get("/149").headers
    assert is_hit(get("/149"))


@pytest.mark.parametrize("kind", ["filesystem", "memcached"])
def test_tags_need_a_log(tmp_path: Path, kind: str) -> None:
    """Whichever comes first, the app or the view: it is an error at start-up."""
    config = {"CACHE_TYPE": kind, "CACHE_DIR": tmp_path}

    def decorate(cache: Cache) -> None:
        @cache.cached(tags=["a"])
        def page() -> None:
            pass

    app = Flask(__name__)
    with pytest.raises(InvalidConfig, match="page has tags"):
        decorate(Cache(app, config=config))
    late = Cache(config=config)
    decorate(late)
    with pytest.raises(InvalidConfig, match="page has tags"):
        late.init_app(app)


def test_delete_cached_of_a_name_needs_no_log(tmp_path: Path) -> None:
    """It deletes what is there."""
    app = Flask(__name__)
    cache = Cache(app, config={"CACHE_TYPE": "filesystem", "CACHE_DIR": tmp_path})

    @cache.cached(key_prefix="value")
    def value() -> int:
        return 1

    value()
    assert cache.delete_cached(value)
    assert not cache.delete_cached(value)


def test_a_purge_without_a_log_does_not_pretend(tmp_path: Path) -> None:
    """It raises; to clear files is possible all the same."""
    app = Flask(__name__)
    cache = Cache(app, config={"CACHE_TYPE": "filesystem", "CACHE_DIR": tmp_path})
    cache.set("a", 1)
    for purge in (lambda: cache.purge_path("/"), lambda: cache.clear(soft=True)):
        with pytest.raises(StoreUnavailable, match="no log of purges"):
            purge()
    assert cache.get("a") == 1
    assert cache.clear()
    assert cache.get("a") is None


def test_blueprints_and_several_caches(app: Flask, cache: Cache, get: Get) -> None:
    """A purge is one cache's; a blueprint's views are like any other."""
    other = Cache(app)
    blueprint = Blueprint("shop", __name__, url_prefix="/shop")

    @blueprint.get("/<int:number>")
    @cache.cached(tags=["shop"])
    def item(number: int) -> dict[str, int]:
        return {"number": number}

    app.register_blueprint(blueprint)
    get("/shop/1"), get("/shop/2")
    other.purge_tags("shop")
    other.clear()
    assert is_hit(get("/shop/1"))
    with app.test_request_context():
        cache.delete_cached(item, number=1)
    assert not is_hit(get("/shop/1"))
    assert is_hit(get("/shop/2"))


def test_a_tag_that_is_stale_has_looked_at(app: Flask, cache: Cache, get: Get) -> None:
    """What is made since it said so depends on what it has looked at."""
    says = {"stale": False}

    @cache.cached(key_prefix="version")
    def version() -> str:
        cache.tag("version")
        return "1"

    def is_stale(_: Response) -> bool:
        version()
        return says["stale"]

    app.add_url_rule("/page", "page", cache.cached(is_stale=is_stale)(lambda: "page"))
    get("/page")
    says["stale"] = True
    get("/page")
    says["stale"] = False
    assert is_hit(get("/page"))
    cache.purge_tags("version")
    assert not is_hit(get("/page"))


def test_what_is_made_of_a_hit_has_its_tags(app: Flask, cache: Cache, get: Get) -> None:
    """A page in two caches, of which the inner one still has it."""
    outer = Cache(app, name="outer")
    view = outer.cached()(cache.cached(tags=("cat",))(lambda: "page"))
    app.add_url_rule("/page", "page", view)
    get("/page")
    outer.clear()
    assert not is_hit(get("/page"))
    assert is_hit(get("/page"))
    outer.purge_tags("cat")
    assert not is_hit(get("/page"))
