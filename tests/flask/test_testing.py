"""flask_larder.testing turns what debug mode logs into a failure."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, abort, g, request

from flask_larder import Cache, NotInitialised
from flask_larder.testing import forbid_unkeyed_reads
from tests.flask.answers import Get, status_of


def page() -> str:
    return request.args.get("page", "1") + request.headers.get("X-Request-Id", "")


@pytest.fixture
def url(app: Flask, cache: Cache) -> str:
    """Of a view that reads a parameter and a header field, and whose key has neither."""
    app.add_url_rule("/page", "page", cache.cached()(page))
    return "/page?page=2"


def failing(app: Flask, work: Callable[[], object], **options: Any) -> list[str]:
    """What the block fails with where it does *work*."""
    with pytest.raises(AssertionError) as failure, forbid_unkeyed_reads(app, **options):
        work()
    return [line.partition(", which")[0] for line in str(failure.value).splitlines()]


def test_all_are_listed_once(
    app: Flask, get: Get, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At the end, and without debug: nothing is logged."""
    lines = failing(app, lambda: [get(url), get(url), get("/page"), get(url, method="HEAD")])
    name = f"{page.__module__}.page reads "
    assert lines == [f"{name}args['page']", f"{name}headers['X-Request-Id']"]
    assert not caplog.records


def test_view_that_reads_what_its_key_holds(app: Flask, cache: Cache, get: Get) -> None:
    """Nothing is raised, and nothing is found."""
    options: dict[str, Any] = {"query_string": ("page",), "vary": "X-Request-Id"}
    app.add_url_rule("/", "view", cache.cached(**options)(page))
    with forbid_unkeyed_reads(app) as found:
        get("/?page=2")
    assert found.lines == []


@pytest.mark.parametrize("name", ["headers['X-Request-Id']", 'headers["x-request-id"]'])
def test_what_does_no_harm(app: Flask, cache: Cache, get: Get, url: str, name: str) -> None:
    """It is named as in the lines, with quotes of either kind."""
    assert len(failing(app, lambda: get(url), ignore=[name])) == 1
    cache.clear()
    assert len(failing(app, lambda: get(url), ignore=[name, "args['Page']"])) == 1


def test_text_for_a_sequence(app: Flask, url: str) -> None:
    """A single name is no sequence of names, and is not taken for one of letters."""
    with pytest.raises(TypeError, match="give a sequence"), forbid_unkeyed_reads(app, ignore="a"):
        pass


def test_after_debug_has_told(app: Flask, cache: Cache, get: Get, url: str) -> None:
    """What the log has told once already is a failure all the same, in each block."""
    app.debug = True
    get(url)
    for _ in range(2):
        cache.clear()
        assert len(failing(app, lambda: get(url))) == 2


def test_handlers_that_swallow_everything(app: Flask, get: Get, url: str) -> None:
    """Nothing is raised within the app, where a handler would take it for an error of the view."""
    app.register_error_handler(Exception, lambda _: ("sorry", 200))
    seen: list[str] = []
    assert len(failing(app, lambda: seen.append(get(url).text))) == 2
    assert seen == ["2"]


def test_block_that_raises(app: Flask, get: Get, url: str) -> None:
    """Its own exception goes on, with what was found beside it."""

    def work() -> None:
        get(url)
        raise LookupError

    with pytest.raises(LookupError) as failure, forbid_unkeyed_reads(app):
        work()
    (note,) = failure.value.__notes__
    assert "args['page']" in note


def test_only_within_the_block_and_of_that_app(app: Flask, get: Get, url: str) -> None:
    """Requests before and after it, and to other apps, are not looked at."""
    other = Flask("other")
    other.config["CACHE_TYPE"] = "simple"
    other.add_url_rule("/", "page", Cache(other).cached()(page))
    get(url)
    with forbid_unkeyed_reads(app) as found:
        other.test_client().get("/")
    get("/page?other")
    assert found.lines == []
    assert len(failing(other, lambda: other.test_client().get("http://new.example/"))) == 2


def test_blocks_within_each_other(app: Flask, get: Get, url: str) -> None:
    """Each finds for itself."""
    inner: list[str] = []
    outer = failing(app, lambda: inner.extend(failing(app, lambda: get(url))))
    assert outer == inner
    assert len(outer) == 2


def test_several_threads(app: Flask, cache: Cache, url: str) -> None:
    """What each of them finds is found."""
    names = [f"v{number}" for number in range(8)]
    for name in names:
        view = cache.cached()(lambda name=name: request.args.get(name, ""))
        app.add_url_rule(f"/{name}", name, view)
    barrier = threading.Barrier(len(names))

    def ask(name: str) -> None:
        barrier.wait(10)
        app.test_client().get(f"/{name}")

    def ask_all() -> None:
        threads = [threading.Thread(target=ask, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    found = {line.partition(" reads ")[2] for line in failing(app, ask_all)}
    assert found == {f"args['{name}']" for name in names}


@pytest.mark.parametrize("kind", [None, "null"])
def test_app_that_stores_nothing(kind: str | None) -> None:
    """Nothing could be found out, and so a test would pass that says nothing."""
    app = Flask("nothing")
    if kind:
        Cache(app, config={"CACHE_TYPE": kind})
    with pytest.raises(NotInitialised, match="SimpleCache"), forbid_unkeyed_reads(app):
        pass


def test_answer_that_is_refused_for_another_reason(app: Flask, cache: Cache, get: Get) -> None:
    """It is shown to nobody else."""

    @app.get("/")
    @cache.cached()
    def view() -> str:
        g.page = page()
        abort(404)

    with forbid_unkeyed_reads(app):
        assert status_of(get("/")).endswith("detail=status-404")
