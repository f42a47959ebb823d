"""What is sent before Flask, and what Flask is asked for."""

from collections.abc import Callable
from typing import Any

import pytest
import werkzeug
from flask import Flask, Response, abort, redirect, request

from flask_larder import Cache
from tests.flask.answers import Counter, Get, status_of
from tests.flask.before_flask.passing import Passing, learn


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
    monkeypatch.setattr("flask_larder.wsgi.learn", fail)
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


def test_a_response_that_names_what_it_gives_the_server(app: Flask, cache: Cache, get: Get) -> None:
    """As a class of the app's own may do."""

    class Naming(Response):
        def __call__(self, environ: Any, start_response: Any) -> Any:
            start_response(status="200 OK", fields=[], exc_info=None)
            return [b"named"]

    app.add_url_rule("/", "view", cache.cached()(lambda: Naming("x")))
    assert [get("/").text for _ in range(2)] == ["named"] * 2
