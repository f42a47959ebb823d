"""Answers that are sent stale, and the request that is made for nobody to make them anew.

A soft purge makes stale without any time passing.
"""

import functools
import io
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, Response, abort, g, got_request_exception, jsonify, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface

from flask_larder import Cache, InvalidConfig, InvalidPolicy
from flask_larder.flask.call import Call
from flask_larder.flask.revalidation import REVALIDATION, replayed
from flask_larder.flask.tracking import caches_of
from tests.core.test_coalesce import until
from tests.flask.answers import Counter, Get, is_hit, status_of

Quiet = Callable[[], None]


@pytest.fixture
def quiet(app: Flask, cache: Cache) -> Quiet:
    """Wait until nothing is revalidated any more."""
    background = caches_of(app)[cache].background

    def quiet() -> None:
        until(lambda: not background._here()._threads)

    return quiet


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What the library has warned of."""
    with caplog.at_level(logging.WARNING, "flask_larder"):
        yield lambda: [r.getMessage() for r in caplog.records if r.name == "flask_larder"]


def test_the_old_answer_is_sent_and_then_the_new_one(
    app: Flask, cache: Cache, get: Get, count: Counter, quiet: Quiet
) -> None:
    """By a request that waits for nothing."""

    @app.get("/")
    @cache.cached(stale_while_revalidate=60)
    def page() -> str:
        return str(count())

    get("/")
    cache.clear(soft=True)
    old = get("/")
    assert (old.text, old.headers["Age"]) == ("1", "0")
    assert status_of(old) == "larder; hit; ttl=-1; detail=stale-while-revalidate"
    quiet()
    new = get("/")
    assert (new.text, status_of(new)) == ("2", "larder; hit; ttl=300")


def test_the_request_is_made_for_nobody(app: Flask, cache: Cache, get: Get, quiet: Quiet) -> None:
    """Without credentials, conditions and body; with what else selects, and what hooks load."""
    seen: list[dict[str, Any]] = []

    @app.before_request
    def load() -> None:
        g.loaded = request.headers.get("X-Region")

    @app.after_request
    def note_response(response: Response) -> Response:
        response.headers["X-After"] = "1"
        return response

    torn_down = Counter()

    @app.teardown_request
    def tear_down(_: BaseException | None) -> None:
        torn_down()

    @app.get("/shop/<int:number>")
    @cache.cached(query_string=True, stale_while_revalidate=60)
    def page(number: int) -> str:
        environ = request.environ  # of which no reading is noted
        body = environ["wsgi.input"].read()
        seen.append({**environ, "url": request.url, "loaded": g.loaded, "body": body})
        return "page"

    credentials = {
        "Cookie": "session=secret",
        "Authorization": "Bearer secret",
        "Proxy-Authorization": "Basic secret",
        "X-Forwarded-User": "ann",
        "If-None-Match": '"old"',
        "If-Modified-Since": "Thu, 26 Nov 2026 00:00:00 GMT",
        "Range": "bytes=0-1",
        "Cache-Control": "max-age=0",
    }
    harmless = {"X-Region": "key", "Accept": "text/plain", "User-Agent": "agent"}
    ask = {"base_url": "https://shop.example/mount", "headers": harmless}
    get("/shop/4?b=2&a=1", **ask)
    cache.clear(soft=True)
    stale = get(
        "/shop/4?b=2&a=1",
        base_url="https://shop.example/mount",
        headers=harmless | credentials,
        method="HEAD",
        environ_overrides={"REMOTE_USER": "ann", "REMOTE_ADDR": "192.0.2.7"},
    )
    assert "stale-while-revalidate" in status_of(stale)
    quiet()
    _, made = seen
    assert {name: value for name, value in made.items() if name.startswith("HTTP_")} == {
        "HTTP_HOST": "shop.example",
        "HTTP_X_REGION": "key",
        "HTTP_ACCEPT": "text/plain",
        "HTTP_USER_AGENT": "agent",
    }
    assert made["url"] == "https://shop.example/mount/shop/4?b=2&a=1"
    assert (made["REQUEST_METHOD"], made["loaded"], made["body"]) == ("GET", "key", b"")
    assert (made.get("REMOTE_USER"), made["REMOTE_ADDR"]) == (None, "192.0.2.7")
    assert torn_down.runs == 3
    assert get("/shop/4?b=2&a=1", **ask).headers["X-After"] == "1"


def test_what_middleware_has_put_there_comes_along_where_it_is_plain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No objects, which may belong to a request that has ended, and not the whole environment."""
    for name in ("PORT", "SERVER_PORT"):
        monkeypatch.setenv(name, "8000")
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "HTTP_HOST": "shop.example",
        "HTTP_COOKIE": "secret",
        "SERVER_PORT": "8000",
        "PORT": "8000",
        "SSL_CLIENT_S_DN": "ann",
        "CONTENT_LENGTH": "7",
        "PATH": os.environ["PATH"],
        "tenant": "blue",
        "tenant.number": 7,
        "tenant.object": object(),
        "werkzeug.request": object(),
        "wsgi.input": io.BytesIO(b"a body!"),
        "wsgi.url_scheme": "https",
    }
    made = replayed(environ)
    assert made.pop("wsgi.input").read() == b""
    assert {name: value for name, value in made.items() if not name.startswith("wsgi.")} == {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "HTTP_HOST": "shop.example",
        "SERVER_PORT": "8000",
        "tenant": "blue",
        "tenant.number": 7,
    }
    assert made["wsgi.url_scheme"] == "https"


@pytest.mark.parametrize("place", ["hook", "decorator", "abort"])
def test_what_answers_before_the_view_ends_it(
    app: Flask,
    cache: Cache,
    get: Get,
    count: Counter,
    quiet: Quiet,
    warnings: Callable[[], list[str]],
    place: str,
) -> None:
    """A login page takes nobody's place. That is told once, and then who asks waits."""

    def is_nobody() -> bool:
        return "user" not in request.cookies

    @app.before_request
    def check() -> str | None:
        if place == "abort" and is_nobody():
            abort(401)
        return "log in" if place == "hook" and is_nobody() else None

    def login_required(view: Callable[[], Any]) -> Callable[[], Any]:
        def guarded() -> Any:
            return "log in" if place == "decorator" and is_nobody() else view()

        guarded.__name__ = "page"
        guarded.__wrapped__ = view  # type: ignore[attr-defined]
        return guarded

    @app.get("/")
    @login_required
    @cache.cached(stale_while_revalidate=60, vary=lambda: "members")
    def page() -> str:
        return f"for members {count()}"

    member = {"headers": {"Cookie": "user=ann"}}
    assert get("/", **member).text == "for members 1"
    for run in (1, 2, 3):
        cache.clear(soft=True)
        assert get("/", **member).text == f"for members {run}"
        quiet()
    assert count.runs == 3
    (warning,) = warnings()
    assert "page is not revalidated in the background: " in warning


@pytest.mark.parametrize("vary", [lambda: session.get("user"), lambda: {"ann": 1}[session["user"]]])
def test_a_view_that_wants_to_know_who_asks_is_left_out(
    app: Flask,
    cache: Cache,
    get: Get,
    count: Counter,
    quiet: Quiet,
    warnings: Callable[[], list[str]],
    vary: Callable[[], Any],
) -> None:
    """Its answer for nobody is never stored for somebody; from then on, who asks waits."""

    @app.get("/")
    @cache.cached(stale_while_revalidate=60, vary=vary)
    def page() -> str:
        return f"{session.get('user')} {count()}"

    @app.get("/login")
    def login() -> str:
        session["user"] = "ann"
        return ""

    cookie = get("/login").headers["Set-Cookie"].partition(";")[0]
    ann = {"headers": {"Cookie": cookie}}
    app.testing = False  # an option that fails raises otherwise
    assert get("/", **ann).text == "ann 1"
    cache.clear(soft=True)
    assert is_hit(get("/", **ann))
    quiet()
    waited = get("/", **ann)
    assert waited.text == "ann 2"
    assert status_of(waited) == "larder; fwd=stale; stored; ttl=300; detail=purged"
    assert "is not revalidated in the background: without its user, it " in warnings()[-1]


def test_a_view_that_unless_keeps_away_does_not_run(
    app: Flask,
    cache: Cache,
    get: Get,
    count: Counter,
    quiet: Quiet,
    warnings: Callable[[], list[str]],
) -> None:
    """Its answer would not be stored."""

    @app.get("/")
    @cache.cached(stale_while_revalidate=60, unless=lambda: REVALIDATION in request.environ)
    def page() -> str:
        return str(count())

    get("/")
    cache.clear(soft=True)
    assert "stale-while-revalidate" in status_of(get("/"))
    quiet()
    assert count.runs == 1
    (warning,) = warnings()
    assert warning.endswith("without its user, it is not cached (unless)")


def test_a_view_that_an_error_of_its_guard_keeps_away_is_left_out(
    app: Flask,
    cache: Cache,
    get: Get,
    count: Counter,
    quiet: Quiet,
    warnings: Callable[[], list[str]],
) -> None:
    """An exception of which the app makes an answer is one, as those that token checks raise."""

    class NoToken(Exception):
        pass

    @app.errorhandler(NoToken)
    def refuse(_: NoToken) -> tuple[str, int]:
        return "no token", 401

    @app.before_request
    def check() -> None:
        if "HTTP_AUTHORIZATION" not in request.environ:
            raise NoToken

    @app.get("/")
    @cache.cached(stale_while_revalidate=60)
    def page() -> Response:
        return Response(str(count()), headers={"Cache-Control": "public"})

    ann = {"headers": {"Authorization": "Bearer ann"}}
    get("/", **ann)
    cache.clear(soft=True)
    assert "stale-while-revalidate" in status_of(get("/", **ann))
    quiet()
    assert get("/", **ann).text == "2"  # it waits, since nobody can do it in the background
    (warning,) = warnings()
    assert warning.endswith("a hook or a decorator has answered without its user")


@pytest.mark.parametrize("place", ["hook", "decorator", "session"])
def test_what_fails_without_its_user_is_not_tried_with_each_hit(
    app: Flask, cache: Cache, get: Get, count: Counter, quiet: Quiet, place: str
) -> None:
    """Once a minute is enough: in the log, too."""
    tries = Counter()

    def fail() -> None:
        if REVALIDATION in request.environ:
            tries()
            raise KeyError("user")

    class Interface(SecureCookieSessionInterface):
        def open_session(self, app: Flask, request: Any) -> SecureCookieSession | None:
            if place == "session":
                fail()
            return super().open_session(app, request)

    app.session_interface = Interface()
    if place == "hook":
        app.before_request(fail)
    view = cache.cached(stale_while_revalidate=60)(lambda: str(count()))

    @functools.wraps(view)
    def decorated() -> Any:
        if place == "decorator":
            fail()
        return view()

    app.add_url_rule("/", "view", decorated)
    get("/")
    cache.clear(soft=True)
    for _ in range(3):
        assert get("/").text in {"1", "2"}  # nobody does it in the background, so one may wait
        quiet()
    assert tries.runs == 1


def test_what_is_revalidated_has_the_tags_of_its_new_answer(
    app: Flask, cache: Cache, get: Get, count: Counter, quiet: Quiet
) -> None:
    """And is purged by them."""

    @app.get("/")
    @cache.cached(stale_while_revalidate=60)
    def page() -> str:
        run = count()
        cache.tag(f"run:{run}")
        return str(run)

    get("/")
    cache.purge_tags("run:1", soft=True)
    get("/")
    quiet()
    cache.purge_tags("run:1")
    assert get("/").text == "2"
    cache.purge_tags("run:2")
    assert get("/").text == "3"


def test_a_purge_while_it_is_revalidated_is_final(
    app: Flask, cache: Cache, get: Get, count: Counter, quiet: Quiet
) -> None:
    """What is made for nobody has its place among the purges, too."""

    @app.get("/")
    @cache.cached(stale_while_revalidate=60)
    def page() -> str:
        run = count()
        if run == 2:
            cache.purge_path("/")
        return str(run)

    get("/")
    cache.clear(soft=True)
    assert get("/").text == "1"
    quiet()
    assert get("/").text == "3"


def test_what_is_made_for_nobody_is_closed(
    app: Flask, cache: Cache, get: Get, count: Counter, quiet: Quiet
) -> None:
    """As a server would do with what it has sent."""
    closed = Counter()

    @app.get("/")
    @cache.cached(stale_while_revalidate=60)
    def page() -> Response:
        response = Response(str(count()))
        response.call_on_close(closed)
        return response

    get("/").close()
    cache.clear(soft=True)
    get("/")
    quiet()
    assert (count.runs, closed.runs) == (2, 2)


def test_a_view_is_left_out_for_a_while(
    app: Flask, cache: Cache, get: Get, count: Counter, quiet: Quiet
) -> None:
    """What a hook has answered once, it may not answer again."""
    is_shut = [True]

    @app.before_request
    def shut() -> str | None:
        return "too many" if is_shut[0] and REVALIDATION in request.environ else None

    @app.get("/")
    @cache.cached(stale_while_revalidate=60)
    def page() -> str:
        return str(count())

    get("/")
    cache.clear(soft=True)
    get("/")
    quiet()
    cache.clear(soft=True)
    assert get("/").text == "2"
    is_shut[0] = False
    cache.clear(soft=True)
    left_out = caches_of(app)[cache].left_out
    assert 50 < left_out[next(iter(left_out))] - time.monotonic() <= 60
    left_out.update(dict.fromkeys(left_out, time.monotonic()))
    assert get("/").text == "2"
    quiet()
    assert get("/").text == "3"


def test_who_is_told_that_a_view_is_left_out_finds_nobody_at_work(
    app: Flask,
    cache: Cache,
    get: Get,
    count: Counter,
    quiet: Quiet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the next request would wait for what does not come, and get what is stale."""
    leave_out, answers = Call.leave_out, list[str]()

    def left_out(call: Call, why: str, seconds: float) -> None:
        leave_out(call, why, seconds)
        other = threading.Thread(target=lambda: answers.append(get("/").text), daemon=True)
        other.start()
        other.join(5.0)

    monkeypatch.setattr(Call, "leave_out", left_out)

    @app.before_request
    def shut() -> str | None:
        return "too many" if REVALIDATION in request.environ else None

    @app.get("/")
    @cache.cached(stale_while_revalidate=60, stale_if_error=60)
    def page() -> str:
        return str(count())

    get("/")
    cache.clear(soft=True)
    assert get("/").text == "1"
    quiet()
    assert answers == ["2"]


def test_an_early_refresh(
    app: Flask,
    cache: Cache,
    get: Get,
    count: Counter,
    quiet: Quiet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When chance says so."""

    @app.get("/")
    @cache.cached(early_refresh=1.0, before_flask=False)
    def page() -> str:
        return str(count())

    get("/")
    monkeypatch.setattr("flask_larder.freshness.math.log", lambda chance: -1e9)
    early = get("/")
    monkeypatch.undo()
    assert (early.text, status_of(early)) == ("1", "larder; hit; ttl=300; detail=early-refresh")
    quiet()
    assert get("/").text == "2"


class ItemNotFound(Exception):
    """What an app may raise for a 404."""


class Upstream(Exception):
    """What an app may raise for a 502."""


@pytest.fixture
def failing(app: Flask, cache: Cache, get: Get) -> Callable[[Exception], Any]:
    """Has the page of an app fail after it was stored. Returns what is sent then."""
    app.testing = False
    fails: list[Exception] = []
    handled = Counter()

    @app.errorhandler(ItemNotFound)
    def not_found(_: ItemNotFound) -> tuple[Response, int]:
        handled()
        return jsonify(error="not found"), 404

    @app.errorhandler(Upstream)
    def bad_gateway(_: Upstream) -> tuple[str, int]:
        return "bad gateway", 502

    @app.get("/")
    @cache.cached(stale_if_error=60)
    def page() -> str:
        if fails:
            raise fails[0]
        return "old"

    @app.get("/stream")
    @cache.cached(stale_if_error=60)
    def stream() -> Iterator[str]:
        def parts() -> Iterator[str]:
            yield "old"
            if fails:
                raise fails[0]

        return parts()

    def fail(error: Exception, path: str = "/") -> Any:
        assert get(path).text == "old"
        cache.clear(soft=True)
        fails.append(error)
        return get(path)

    return fail


SENT = "larder; fwd=stale; ttl=-1; detail=stale-if-error"


@pytest.mark.parametrize("path", ["/", "/stream"])
def test_an_exception_is_not_shown_but_told(
    app: Flask, failing: Callable[..., Any], caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """To the log, and to who listens for exceptions, as if the client had seen it."""
    told: list[Exception] = []

    def hear(sender: Flask, exception: Exception, **_: Any) -> None:
        told.append(exception)

    error = LookupError("no such row")
    with got_request_exception.connected_to(hear, app):
        answer = failing(error, path)
    assert (answer.status_code, answer.text, status_of(answer)) == (200, "old", SENT)
    assert told == [error]
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == f"Exception on {path} [GET]"
    assert "no such row" in caplog.text


def test_an_exception_that_the_app_makes_an_error_of(
    failing: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It is one, and the app has told of it as it likes."""
    assert status_of(failing(Upstream())) == SENT
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_an_exception_that_the_app_makes_no_error_of(get: Get, failing: Callable[..., Any]) -> None:
    """A 404 is an answer, and what was stored is out of date."""
    for answer in (failing(ItemNotFound()), get("/")):
        assert (answer.status_code, answer.json) == (404, {"error": "not found"})


def test_what_the_app_makes_of_an_exception_is_not_stored(
    app: Flask, cache: Cache, get: Get
) -> None:
    """Not even where it looks like an answer: the view has made none."""

    @app.errorhandler(Upstream)
    def degraded(_: Upstream) -> str:
        return "come back later"

    @app.get("/")
    @cache.cached(stale_if_error=60)
    def page() -> str:
        raise Upstream

    for _ in range(2):
        answer = get("/")
        assert answer.text == "come back later"
        assert status_of(answer) == "larder; fwd=uri-miss; detail=error"


@pytest.mark.parametrize("code", [500, 503])
def test_an_http_error_is_an_error(app: Flask, cache: Cache, get: Get, code: int) -> None:
    """Raised or returned."""
    fails: list[str] = []

    @app.get("/")
    @cache.cached(stale_if_error=timedelta(minutes=1))
    def page() -> Any:
        if "raise" in fails:
            abort(code)
        return ("busy", code) if fails else "old"

    get("/")
    cache.clear(soft=True)
    for how in ("return", "raise"):
        fails[:] = [how]
        answer = get("/")
        assert (answer.status_code, answer.text) == (200, "old")
        assert "stale-if-error" in status_of(answer)


def test_an_error_that_is_not_shown_is_told_once_a_minute(
    app: Flask, cache: Cache, get: Get, warnings: Callable[[], list[str]]
) -> None:
    """And what was made of it is closed."""
    fails, closed = [False], Counter()

    @app.get("/")
    @cache.cached(stale_if_error=60)
    def page() -> Response:
        response = Response("page", status=502 if fails[0] else 200)
        response.call_on_close(closed)
        return response

    get("/").close()
    cache.clear(soft=True)
    fails[0] = True
    for _ in range(3):
        assert get("/").status_code == 200
    assert closed.runs == 4
    (warning,) = warnings()
    assert warning.endswith("page fails, and what was stored is sent: 502")


def test_an_error_that_cannot_be_told_is_hidden_all_the_same(
    app: Flask, cache: Cache, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What writes lines may raise, such as where a disk is full."""
    status = [200]

    def fail(_: logging.LogRecord) -> bool:
        raise OSError("no space left on device")

    @app.get("/")
    @cache.cached(stale_if_error=60)
    def page() -> tuple[str, int]:
        return "page", status[0]

    get("/")
    cache.clear(soft=True)
    status[0] = 502
    monkeypatch.setattr(logging.getLogger("flask_larder"), "filters", [fail])
    assert (get("/").status_code, get("/").text) == (200, "page")


def test_an_error_handler_is_asked_once_where_nothing_is_stored(
    app: Flask, cache: Cache, get: Get
) -> None:
    """By Flask."""
    handled = Counter()

    @app.errorhandler(Upstream)
    def bad_gateway(_: Upstream) -> tuple[str, int]:
        handled()
        return "bad gateway", 502

    @app.get("/")
    @cache.cached(stale_if_error=60)
    def page() -> str:
        raise Upstream

    assert get("/").status_code == 502
    assert handled.runs == 1


def test_what_makes_no_response_is_an_error(app: Flask, cache: Cache, get: Get) -> None:
    """Flask would raise for it."""
    fails: list[None] = []

    @app.get("/")
    @cache.cached(stale_if_error=60)
    def page() -> Any:
        return object() if fails else "old"

    get("/")
    cache.clear(soft=True)
    fails.append(None)
    assert status_of(get("/")) == SENT


def test_a_decorator_gets_what_the_view_had_returned(app: Flask, cache: Cache, get: Get) -> None:
    """Not the response made of it."""
    fails: list[None] = []

    def doubled(view: Callable[[], dict[str, int]]) -> Callable[[], dict[str, int]]:
        def page() -> dict[str, int]:
            return {name: 2 * number for name, number in view().items()}

        page.__wrapped__ = view  # type: ignore[attr-defined]
        return page

    @app.get("/")
    @doubled
    @cache.cached(stale_if_error=60)
    def page() -> dict[str, int]:
        return {"number": 4 // (not fails)}

    assert get("/").json == {"number": 8}
    cache.clear(soft=True)
    fails.append(None)
    assert get("/").json == {"number": 8}


def test_without_a_window_the_error_is_the_answer(app: Flask, cache: Cache, get: Get) -> None:
    """As before."""
    fails: list[None] = []

    @app.get("/")
    @cache.cached()
    def page() -> Any:
        return ("oops", 500) if fails else "old"

    get("/")
    cache.clear(soft=True)
    fails.append(None)
    answer = get("/")
    assert (answer.status_code, status_of(answer)) == (
        500,
        "larder; fwd=stale; detail=status-500",
    )


def test_settings_are_for_views_that_say_nothing(app: Flask, get: Get, count: Counter) -> None:
    """A view that is for one user has no part in it, and neither have values."""
    app.config |= {"CACHE_STALE_WHILE_REVALIDATE": "60", "CACHE_STALE_IF_ERROR": timedelta(hours=1)}
    cache = Cache(app)

    @cache.cached(key_prefix="rates", tags=["rates"])
    def rates() -> int:
        return count()

    @app.get("/")
    @cache.cached()
    def page() -> str:
        return str(rates())

    @app.get("/strict")
    @cache.cached(stale_while_revalidate=0)
    def strict() -> str:
        return ""

    @app.get("/mine")
    @cache.cached(vary="Cookie")
    def mine() -> str:
        return ""

    for path in ("/", "/strict", "/mine"):
        get(path)
    cache.clear(soft=True)
    assert "stale-while-revalidate" in status_of(get("/"))
    for path in ("/strict", "/mine"):
        assert status_of(get(path)) == "larder; fwd=stale; stored; ttl=300; detail=purged"
    with app.app_context():
        assert rates() == rates() == 2


def test_jitter_is_for_values_too(
    app: Flask, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chance takes a part of their lifetime."""
    kept: list[float] = []
    values = caches_of(app)[cache].values
    monkeypatch.setattr(values, "keep", lambda key, value, timeout: kept.append(timeout))

    @cache.cached(timeout=100, key_prefix="rates", jitter=0.5)
    def rates() -> int:
        return 7

    with app.app_context():
        assert {rates() for _ in range(20)} == {7}
    assert all(50 < timeout <= 100 for timeout in kept)
    assert len(set(kept)) > 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"stale_while_revalidate": -1}, r"stale_while_revalidate is -1 s; give seconds from 0"),
        ({"stale_if_error": "soon"}, r"stale_if_error is 'soon'; .* CACHE_STALE_IF_ERROR"),
        ({"stale_if_error": float("nan")}, r"stale_if_error is nan s"),
        ({"stale_if_error": True}, r"stale_if_error is True"),
        ({"jitter": 1}, r"jitter is 1; give a fraction from 0 to 0\.9"),
        ({"jitter": -0.1}, r"jitter is -0\.1"),
        ({"jitter": "a"}, r"jitter is 'a'"),
        ({"early_refresh": -1}, r"early_refresh is -1; give a number from 0 to 100"),
        ({"early_refresh": "a"}, r"early_refresh is 'a'"),
        ({"vary": "Cookie", "stale_while_revalidate": 9}, r"vary is \('cookie',\), and what is"),
        ({"vary": ("Authorization",), "early_refresh": 1}, r"give neither stale_while_revalidate"),
    ],
)
def test_an_option_that_cannot_be_meant(cache: Cache, options: dict[str, Any], says: str) -> None:
    """It is an error where it is written."""
    with pytest.raises(InvalidPolicy, match=says):
        cache.cached(**options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CACHE_STALE_WHILE_REVALIDATE", -1),
        ("CACHE_STALE_IF_ERROR", "x"),
        ("CACHE_JITTER", 1.5),
    ],
)
def test_a_setting_that_cannot_be_meant(name: str, value: object) -> None:
    """It is an error at start-up."""
    config = {"CACHE_TYPE": "simple", name: value}
    with pytest.raises(InvalidConfig, match=f"{name} is {value!r}"):
        Cache(Flask(__name__), config=config)
