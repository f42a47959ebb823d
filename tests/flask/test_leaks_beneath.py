"""What the app does beneath or around a view, by which one user could get another's answer."""

import functools
import gc
import io
import pickle
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import (
    Flask,
    Response,
    abort,
    after_this_request,
    g,
    jsonify,
    request,
    send_file,
    send_from_directory,
    session,
)
from flask.sessions import (
    SecureCookieSession,
    SecureCookieSessionInterface,
    SessionInterface,
    SessionMixin,
)
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter

from flask_larder import Cache
from flask_larder.errors import InvalidPolicy
from flask_larder.flask.responses import copied
from flask_larder.flights import Flights
from tests.flask.answers import Get, is_hit, status_of

ANN, BOB = {"X-Api-Key": "ann"}, {"X-Api-Key": "bob"}
TOKENS = [{"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}]


def found_among_fields() -> str:
    """Who asks, by a key that is looked for among all header fields."""
    fields = {name.lower(): value for name, value in request.headers.items()}
    return fields.get("x-api-key", "nobody")


def by_hook(app: Flask, view: Callable[[], str]) -> Callable[[], str]:
    """A hook looks for the user."""

    @app.before_request
    def load() -> None:
        g.user = found_among_fields()

    return view


@pytest.mark.parametrize("decorator", ["cached", "http_cached"])
@pytest.mark.parametrize("first", [{}, ANN])
def test_a_hook_that_goes_through_all_fields(
    app: Flask, cache: Cache, get: Get, decorator: str, first: dict[str, str]
) -> None:
    """Whether or not the request carries a cookie: a key is a credential as well."""

    def view() -> Any:
        return g.user, 200, {"Cache-Control": "max-age=60"}

    app.add_url_rule("/", "view", getattr(cache, decorator)()(by_hook(app, view)))
    for headers in (first, BOB, {}, ANN, {}, BOB):
        assert get("/", headers=headers).text == headers.get("X-Api-Key", "nobody")


def test_a_function_beneath_such_a_hook(app: Flask, cache: Cache, get: Get) -> None:
    """It may be a view that was not recognised as one."""
    helper = cache.cached()(lambda: str(g.user))
    app.add_url_rule("/", "view", by_hook(app, lambda: helper()))
    for headers in (ANN, BOB, {}):
        assert get("/", headers=headers).text == headers.get("X-Api-Key", "nobody")


SHOWN = [
    {"Cookie": "user=ann"},
    {"Authorization": "Bearer ann"},
    {"X-Api-Key": "ann"},
    {"Client-Cert": ":ann:"},
]


def upstream() -> Any:
    """Hand all header fields on, and answer for whoever they show."""
    shown = dict(request.headers)
    names = ("Cookie", "Authorization", "X-Api-Key", "Client-Cert")
    who = next((shown[name] for name in names if name in shown), "nobody")
    return who, 200, {"Cache-Control": "max-age=60"}


@pytest.mark.parametrize("headers", SHOWN)
def test_what_was_handed_on_for_nobody_is_for_nobody(
    app: Flask, cache: Cache, get: Get, headers: dict[str, str]
) -> None:
    """Who shows a credential has an answer of their own each time, and spoils nobody else's."""
    app.add_url_rule("/", "view", cache.http_cached()(upstream))
    assert "stored" in status_of(get("/"))
    for _ in range(3):
        answer = get("/", headers=headers)
        assert answer.text == next(iter(headers.values()))
        assert not is_hit(answer)
        answer = get("/")
        assert answer.text == "nobody"
        assert is_hit(answer)


def test_what_says_that_it_is_for_all_is_for_all(app: Flask, cache: Cache, get: Get) -> None:
    """Also if all header fields were handed on."""
    fields = {"Cache-Control": "public, max-age=60"}
    view = cache.http_cached()(lambda: (str(dict(request.headers)) and "x", 200, fields))
    app.add_url_rule("/", "view", view)
    get("/")
    assert is_hit(get("/", headers=ANN))


def test_what_a_key_holds_shows_nobody_else(app: Flask, cache: Cache, get: Get) -> None:
    """Whoever shows just that has hits of their own."""
    app.add_url_rule("/", "view", cache.http_cached(vary=("X-Api-Key",))(upstream))
    for headers in (ANN, BOB):
        assert get("/", headers=headers).text == headers["X-Api-Key"]
        assert is_hit(get("/", headers=headers))
        both = {**headers, "Cookie": "user=eve"}
        assert get("/", headers=both).text == "user=eve"


@pytest.mark.parametrize("looks_first", [False, True])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_confirms_it_does_not_make_it_for_all(
    app: Flask, cache: Cache, get: Get, method: str, looks_first: bool
) -> None:
    """Not by the ``public`` that Flask has said of the file, nor since less is looked at now."""

    def view() -> Response:
        if looks_first and request.if_none_match.contains("nobody"):
            return Response(status=304, headers={"ETag": '"nobody"'})
        who = found_among_fields()
        if request.if_none_match.contains(who):
            return Response(status=304, headers={"ETag": f'"{who}"'})
        response = send_file(io.BytesIO(who.encode()), "text/plain", max_age=1, etag=False)
        response.set_etag(who)
        return response

    app.add_url_rule("/", "view", cache.http_cached()(view))
    with get("/"), get("/", headers={"Cache-Control": "max-age=0"}, method=method) as answer:
        assert answer.status_code == 200
    with get("/", headers=ANN) as answer:
        assert answer.text == "ann"


def test_who_shows_somebody_gets_nothing_from_who_leads(
    app: Flask, cache: Cache, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is stored as yet, and they ask for the same URL."""
    is_running, may_end, waits = threading.Event(), threading.Event(), threading.Event()
    join = Flights.join

    def joining(self: Any, key: str, own: Any, **options: Any) -> Any:
        flight = join(self, key, own, **options)
        if flight is not own:
            waits.set()
        return flight

    monkeypatch.setattr(Flights, "join", joining)

    def view() -> Any:
        if found_among_fields() == "nobody":
            is_running.set()
            assert may_end.wait(10)
        return upstream()

    app.add_url_rule("/", "view", cache.http_cached()(view))
    with ThreadPoolExecutor(2) as threads:
        nobody = threads.submit(get, "/")
        assert is_running.wait(10)
        ann = threads.submit(get, "/", headers=ANN)
        assert waits.wait(10)
        may_end.set()
        assert nobody.result().text == "nobody"
        assert ann.result().text == "ann"


def test_who_shows_somebody_waits_for_nobody(app: Flask, cache: Cache, get: Get) -> None:
    """Their answers are of no use to each other."""
    barrier = threading.Barrier(3, timeout=10)

    def view() -> Any:
        if found_among_fields() != "nobody":
            barrier.wait()
        return upstream()

    app.add_url_rule("/", "view", cache.http_cached()(view))
    get("/")
    with ThreadPoolExecutor(3) as threads:
        shown = [{"X-Api-Key": user} for user in ("ann", "bob", "eve")]
        answers = list(threads.map(lambda headers: get("/", headers=headers), shown))
    assert [answer.text for answer in answers] == ["ann", "bob", "eve"]


@pytest.mark.parametrize("decorator", ["cached", "http_cached"])
def test_a_vary_function_beneath_such_a_hook(
    app: Flask, cache: Cache, get: Get, decorator: str
) -> None:
    """It says who asks, whatever else the request shows."""

    def view() -> Any:
        return g.user, 200, {"Cache-Control": "max-age=60"}

    cached = getattr(cache, decorator)(vary=lambda: g.user)
    app.add_url_rule("/", "view", cached(by_hook(app, view)))
    for headers in (ANN, BOB):
        for shown in (headers, {**headers, "X-Csrf-Token": "1", "Cookie": "a=1"}):
            assert get("/", headers=shown).text == headers["X-Api-Key"]
            assert is_hit(get("/", headers=shown))


@pytest.mark.parametrize("decorator", ["cached", "http_cached"])
def test_files_do_not_say_that_they_are_for_all(
    app: Flask, cache: Cache, get: Get, tmp_path: Path, decorator: str
) -> None:
    """Flask says ``public`` of each that has a max-age, and knows nothing of who asks."""
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 60
    for user in ("ann", "bob"):
        (tmp_path / user).write_text(f"invoice of {user}")

    @app.before_request
    def load() -> None:
        g.user = (request.authorization and request.authorization.token) or "nobody"

    def view() -> Response:
        return send_from_directory(tmp_path, g.user) if g.user != "nobody" else abort(401)

    app.add_url_rule("/", "view", getattr(cache, decorator)()(view))
    for headers, user in zip(TOKENS, ("ann", "bob"), strict=True):
        with get("/", headers=headers) as answer:
            assert answer.text == f"invoice of {user}"
    assert get("/").status_code == 401


def test_a_file_that_two_caches_have_seen(app: Flask, cache: Cache, get: Get) -> None:
    """The inner one has read it, and it is a file all the same."""

    def view() -> Response:
        user = request.cookies.get("user", "nobody")
        return send_file(io.BytesIO(user.encode()), "text/plain", max_age=60)

    app.add_url_rule("/", "view", cache.http_cached()(cache.http_cached()(view)))
    for user in ("ann", "bob"):
        with get("/", headers={"Cookie": f"user={user}"}) as answer:
            assert answer.text == user


def test_a_file_for_all_is_cached(app: Flask, cache: Cache, get: Get) -> None:
    """What it says of itself is sent as it is."""
    view = cache.cached()(lambda: send_file(io.BytesIO(b"abc"), "text/plain", max_age=60))
    app.add_url_rule("/", "view", view)
    for _ in range(2):
        answer = get("/")
        assert "public" in answer.headers["Cache-Control"]
    assert is_hit(answer)


class Own(BaseConverter):
    """Puts who asks in the place of ``me``."""

    def to_python(self, value: str) -> str:
        return request.cookies.get("user", "nobody") if value == "me" else value


class ByKey(BaseConverter):
    """As :class:`Own`, by a key."""

    def to_python(self, value: str) -> str:
        return request.headers.get("X-Api-Key", "nobody") if value == "me" else value


class Opened(SecureCookieSessionInterface):
    """Opens sessions in its own way, by a cookie."""

    def open_session(self, app: Flask, request: Any) -> SecureCookieSession | None:
        request.cookies.get("token")
        return super().open_session(app, request)


class NoneOpened(SecureCookieSessionInterface):
    """Has no sessions for some of its URLs."""

    def get_signing_serializer(self, app: Flask) -> None:
        return None


@pytest.mark.parametrize("secret_key", [None, "secret"])
@pytest.mark.parametrize("interface", [SecureCookieSessionInterface, Opened, NoneOpened])
@pytest.mark.parametrize(
    ("converter", "headers"),
    [(Own, [{"Cookie": "user=ann"}, {"Cookie": "user=bob"}]), (ByKey, [ANN, BOB])],
)
def test_converters_that_know_who_asks(
    app: Flask,
    cache: Cache,
    get: Get,
    secret_key: str | None,
    interface: type[SessionInterface],
    converter: type[BaseConverter],
    headers: list[dict[str, str]],
) -> None:
    """They run before any hook, and the session is opened before them."""
    app.secret_key, app.session_interface = secret_key, interface()
    app.url_map.converters["own"] = converter
    app.add_url_rule("/<own:user>", "view", cache.cached()(lambda user: user))
    for sent, user in zip(headers, ("ann", "bob"), strict=True):
        assert get("/me", headers=sent).text == user
    get("/eve")
    assert get("/eve").text == "eve"


def test_an_adapter_that_knows_who_asks() -> None:
    """The app makes it before the session is opened."""

    class Shops(Flask):
        def create_url_adapter(self, request: Any) -> Any:
            if request is not None:
                request.shop = request.headers.get("X-Tenant-Token", "none")
            return super().create_url_adapter(request)

    app = Shops(__name__)
    app.secret_key = "secret"
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    app.add_url_rule("/", "view", cache.cached()(lambda: request.shop))  # type: ignore[attr-defined]
    client = app.test_client()
    for shop in ("a", "b"):
        assert client.get("/", headers={"X-Tenant-Token": shop}).text == shop


@pytest.mark.parametrize("interface", [SecureCookieSessionInterface, Opened])
def test_urls_without_converters_of_ones_own(
    app: Flask, cache: Cache, get: Get, interface: type[SessionInterface]
) -> None:
    """They are as if there were none, however the session is opened."""
    app.session_interface = interface()
    app.url_map.converters["own"] = Own
    app.add_url_rule("/users/<own:user>", "user", lambda user: user)
    app.add_url_rule("/", "view", cache.cached()(lambda: "x"))
    get("/")
    assert is_hit(get("/"))


def test_other_converters_of_ones_own(app: Flask, cache: Cache, get: Get) -> None:
    """Nothing is against them, also where the session is opened."""
    app.secret_key = "secret"
    app.url_map.converters["other"] = type("Other", (BaseConverter,), {})
    app.add_url_rule("/<other:name>", "view", cache.cached()(lambda name: name))
    get("/x")
    assert is_hit(get("/x"))


runs_of_helper: list[int] = []


def test_a_function_where_there_is_no_such_url(app: Flask, cache: Cache, get: Get) -> None:
    """That the session was opened says nothing there, either."""
    app.secret_key = "secret"
    runs_of_helper.clear()

    @cache.cached()
    def helper() -> int:
        runs_of_helper.append(1)
        return len(runs_of_helper)

    app.register_error_handler(404, lambda _: (str(helper()), 404))
    assert [get("/").text, get("/").text] == ["1", "1"]
    with app.test_request_context("/nowhere"):
        assert helper() == helper()


@pytest.mark.parametrize(
    "name",
    [
        *("Client-Cert", "X-Client-Cert", "X-SSL-Client-Verify", "X-SSL-Client-S-DN"),
        *("X-Forwarded-Tls-Client-Cert", "X-Amzn-Mtls-Clientcert-Subject", "X-ARR-ClientCert"),
        *("Remote-Email", "Remote-Groups", "Remote-Name", "X-Pomerium-Claim-Email", "From"),
        *("X-Msisdn", "X-Ticket", "X-Bearer", "eppn", "X-Device-Id", "X-Subscriber-Id", "X-Otp"),
        *("X-Email", "X-Account-Id", "X-Customer", "X-Org-Id", "X-Role", "X-Uid", "X-Sid"),
    ],
)
def test_names_that_tell_who_asks(app: Flask, cache: Cache, get: Get, name: str) -> None:
    """Of certificates, and of what gateways and apps call their users."""
    app.add_url_rule("/", "view", cache.cached()(lambda: request.headers.get(name, "nobody")))
    assert [get("/", headers={name: user}).text for user in ("ann", "bob")] == ["ann", "bob"]
    assert get("/").text == "nobody"


@pytest.mark.parametrize(
    "name",
    [
        *("X-Forwarded-For", "X-Forwarded-Proto", "X-Real-Ip", "X-Request-Id", "Remote-Addr"),
        *("X-Region", "Referer", "Origin", "X-Requested-With", "X-Client-Version", "Sec-CH-UA"),
        *("X-Amz-User-Agent", "X-Appengine-User-Ip", "X-Cache-Group", "Surrogate-Key", "Authority"),
    ],
)
def test_names_that_tell_nobody(app: Flask, cache: Cache, get: Get, name: str) -> None:
    """What differs by them is for the developer to say; debug mode tells."""
    app.add_url_rule("/", "view", cache.cached()(lambda: request.headers.get(name, "x") and "x"))
    get("/")
    assert is_hit(get("/"))


def test_forced_update_that_looks_at_the_user(app: Flask, cache: Cache, get: Get) -> None:
    """Unlike ``unless``, it keeps nobody away from what was made for others."""

    def user() -> str:
        g.user = g.get("user") or request.cookies.get("user", "guest")
        return str(g.user)

    view = cache.cached(forced_update=lambda: user() == "root")(lambda: f"hello {user()}")
    app.add_url_rule("/", "view", view)
    assert get("/").text == "hello guest"
    assert get("/", headers={"Cookie": "user=bob"}).text == "hello bob"


@pytest.mark.parametrize(
    "options",
    [
        {"make_cache_key": lambda: f"page {g.user}"},
        {"key_prefix": lambda: f"page {g.user}"},
        {"unless": lambda: g.user != "nobody"},
    ],
)
def test_a_key_of_whom_a_hook_has_found(
    app: Flask,
    cache: Cache,
    get: Get,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
) -> None:
    """It is meant to be enough, and is not; so it is told, once, with what is."""

    @app.before_request
    def load() -> None:
        g.user = request.cookies.get("user", "nobody")

    app.add_url_rule("/", "view", cache.cached(**options)(lambda: str(g.user)))
    for _ in range(2):
        assert not is_hit(get("/"))
    (line,) = caplog.messages
    assert "is not cached: cookie was read, which its key does not hold; give vary=" in line


def decorated(view: Callable[..., Any]) -> Callable[..., Any]:
    """*view* beneath a decorator that changes nothing."""

    @functools.wraps(view)
    def wrapper() -> Any:
        return view()

    return wrapper


@pytest.mark.parametrize("is_debugged", [False, True])
@pytest.mark.parametrize("headers", [{"If-None-Match": "*"}, {"Range": "bytes=0-1"}])
@pytest.mark.parametrize("kind", ["view", "beneath", "uncached"])
def test_a_response_that_the_app_keeps(
    app: Flask, cache: Cache, get: Get, headers: dict[str, str], kind: str, is_debugged: bool
) -> None:
    """What one client asks for changes what nobody else gets."""
    app.debug = is_debugged
    page = Response("0123456789")
    page.set_etag("1")
    view: Any = cache.cached(unless=(lambda: True) if kind == "uncached" else None)(lambda: page)
    app.add_url_rule("/", "view", decorated(view) if kind == "beneath" else view)
    get("/", headers=headers)
    assert (page.status_code, page.get_data()) == (200, b"0123456789")
    assert "Content-Range" not in page.headers
    for _ in range(2):
        cache.clear()
        answer = get("/")
        assert (answer.status_code, answer.text) == (200, "0123456789")
        assert len(answer.headers.getlist("Cache-Status")) <= 1
        assert len(answer.headers.getlist("Server-Timing")) <= 1


def test_what_is_told_of_a_response_that_the_app_keeps(app: Flask) -> None:
    """It is told of each answer anew, tags as well."""
    cache = Cache(app, config={"CACHE_SEND_TAGS": True})
    page = Response("page", headers={"Server-Timing": "db;dur=1"})
    app.add_url_rule("/", "view", cache.cached(tags=("tag",))(lambda: page))
    for _ in range(3):
        cache.clear()
        answer = app.test_client().get("/")
        assert answer.headers.getlist("Cache-Tag") == ["tag"]
        assert len(answer.headers.getlist("Cache-Status")) == 1
        own, ours = answer.headers.getlist("Server-Timing")
        assert (own, ours[:9]) == ("db;dur=1", "cache;dur")


def test_a_response_that_functions_of_the_view_hold(app: Flask, cache: Cache, get: Get) -> None:
    """What they put into it, or return, is sent."""

    def streamed() -> Response:
        response = Response(iter(["a", "b", "c"]))

        @after_this_request
        def sign(_: Response) -> Response:
            response.set_cookie("x", "1")
            return response

        return response

    app.add_url_rule("/", "view", cache.cached()(streamed))
    app.add_url_rule("/past", "past", cache.cached(unless=lambda: True)(streamed))
    for path in ("/", "/past"):
        answer = get(path)
        assert answer.text == "abc"
        assert "x=1" in answer.headers["Set-Cookie"]
        assert "Cache-Status" in answer.headers


class Uncopied(Response):
    """There is no copy of it."""

    def __copy__(self) -> None:
        raise TypeError


def test_a_response_that_cannot_be_copied(app: Flask, cache: Cache, get: Get) -> None:
    """It is sent as it is."""
    app.add_url_rule("/", "view", cache.cached()(lambda: Uncopied("x")))
    assert get("/", headers={"If-None-Match": '"1"'}).text == "x"


def test_a_response_that_holds_its_request(app: Flask, cache: Cache, get: Get) -> None:
    """Both are gone when it is sent, and not when garbage is collected."""
    requests: list[weakref.ref[Any]] = []

    def view() -> str:
        return "x"

    @app.after_request
    def hold(response: Response) -> Response:
        held = request._get_current_object()  # type: ignore[attr-defined]
        requests.append(weakref.ref(held))
        response.call_on_close(lambda: held)
        return response

    app.add_url_rule("/", "view", cache.cached()(view))
    gc.disable()
    try:
        for _ in range(3):
            get("/").close()
        assert [request() for request in requests] == [None] * 3
    finally:
        gc.enable()


@pytest.mark.parametrize("is_replaced", [False, True])
def test_an_app_that_makes_responses_in_its_own_way(is_replaced: bool) -> None:
    """It does so once for each answer, as without the cache."""

    class Wrapping(Flask):
        def make_response(self, rv: Any) -> Response:
            response = super().make_response(rv)
            response.set_data(f"<{response.get_data(as_text=True)}>")
            return response

    app = Wrapping(__name__)
    if is_replaced:
        app = Flask(__name__)
        app.make_response = Wrapping(__name__).make_response  # type: ignore[method-assign]
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    cache.init_app(app, {"CACHE_TYPE": "SimpleCache"})
    app.add_url_rule("/", "view", cache.cached()(lambda: "x"))
    app.add_url_rule("/made", "made", cache.cached()(lambda: app.response_class("x")))
    app.add_url_rule("/plain", "plain", lambda: "x")
    client = app.test_client()
    for path in ("/", "/", "/made", "/made", "/plain"):
        assert client.get(path).text == "<x>"


def test_a_response_class_that_shapes_its_body() -> None:
    """What is stored has been shaped."""

    class Envelope(Response):
        def __init__(self, response: Any = None, *args: Any, **kwargs: Any) -> None:
            text = response.decode() if isinstance(response, bytes) else response
            shaped = f"<{text}>" if isinstance(text, str) else response
            super().__init__(shaped, *args, **kwargs)

    app = Flask(__name__)
    app.response_class = Envelope
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    app.add_url_rule("/", "view", cache.cached()(lambda: "x"))
    client = app.test_client()
    assert [client.get("/").text for _ in range(3)] == ["<x>"] * 3


def test_an_abort_with_a_body_that_can_be_read_once(app: Flask, cache: Cache, get: Get) -> None:
    """All of it is sent, also beneath a decorator."""

    def view() -> None:
        abort(Response(letter for letter in "abc"))

    cached = cache.cached()(view)
    app.add_url_rule("/", "view", decorated(cached))
    app.add_url_rule("/bare", "bare", cache.cached()(view))
    for path in ("/", "/", "/bare", "/bare"):
        assert get(path).text == "abc"


class Pickled(dict[str, Any], SessionMixin):
    """A session that its interface pickles."""


class Attributes(SessionMixin, dict[str, Any]):  # type: ignore[misc]
    """A session whose attributes are what it holds."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


@pytest.mark.parametrize("is_debugged", [False, True])
def test_a_session_that_is_pickled(app: Flask, cache: Cache, get: Get, is_debugged: bool) -> None:
    """As what it was, with what it held."""
    app.debug = is_debugged
    kept: list[bytes] = []

    class Interface(SessionInterface):
        def open_session(self, app: Flask, request: Any) -> Pickled:
            return pickle.loads(kept[-1]) if kept else Pickled(user="ann")

        def save_session(self, app: Flask, session: Any, response: Response) -> None:
            kept.append(pickle.dumps(session))

    app.session_interface = Interface()
    app.add_url_rule("/", "view", cache.cached()(lambda: "x"))
    for _ in range(3):
        assert get("/").text == "x"
    session = pickle.loads(kept[-1])
    assert type(session) is Pickled
    assert session == {"user": "ann"}
    assert "_reads" not in vars(session)


@pytest.mark.parametrize("is_debugged", [False, True])
def test_a_session_of_attributes(app: Flask, cache: Cache, get: Get, is_debugged: bool) -> None:
    """Nothing of ours is put into it, and it counts as read."""
    app.debug = is_debugged
    saved: list[dict[str, Any]] = []

    class Interface(SessionInterface):
        def open_session(self, app: Flask, request: Any) -> Attributes:
            return Attributes(user="ann")

        def save_session(self, app: Flask, session: Any, response: Response) -> None:
            saved.append(dict(session))

    app.session_interface = Interface()
    app.add_url_rule("/", "view", cache.cached()(lambda: jsonify(1)))
    assert "detail=read-session" in status_of(get("/"))
    assert set(saved[-1]) <= {"user", "accessed"}


def test_what_an_app_puts_onto_its_request(app: Flask, cache: Cache, get: Get) -> None:
    """Its names and ours do not meet."""
    names = ("position", "reads", "named_reads", "is_watched", "begin", "caches", "is_first")

    @app.before_request
    def put() -> None:
        for name in names:
            assert not hasattr(request, name)
            setattr(request, name, (1, 2))

    app.add_url_rule("/", "view", cache.cached()(lambda: "x"))
    get("/")
    assert is_hit(get("/"))


@pytest.mark.parametrize("given", ["view", None, 7, classmethod(lambda cls: 1), Flask])
def test_what_is_no_function(cache: Cache, given: Any) -> None:
    """It is told where the decorator stands, and not when a request comes."""
    with pytest.raises(InvalidPolicy, match="cannot be cached; put the decorator on a function"):
        cache.cached()(given)


def test_what_only_flask_caching_has(cache: Cache) -> None:
    """The error tells what does the same."""
    with pytest.raises(AttributeError, match=r"a Cache has no memoize; give cached\(\) make_cache"):
        cache.memoize(50)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"a Cache has no memoise$"):
        cache.memoise(50)  # type: ignore[attr-defined]
    assert not hasattr(cache, "unlink")


def test_http_cached_without_parentheses(cache: Cache) -> None:
    """The remedy is told."""
    with pytest.raises(InvalidPolicy, match=r"needs its parentheses: @cache.http_cached\(\)"):
        cache.http_cached(lambda: "x")  # type: ignore[arg-type]


def test_a_timeout_that_was_set_later_and_is_none(
    app: Flask, cache: Cache, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    """The one that was given holds, and that is told once."""
    view = cache.cached(timeout=7)(lambda: "x")
    app.add_url_rule("/", "view", view)
    view.cache_timeout = -12
    for _ in range(2):
        assert get("/").status_code == 200
    assert "ttl=7" in status_of(get("/"))
    (line,) = [each for each in caplog.messages if "cache_timeout does not count" in each]
    assert "-12" in line


def test_the_names_of_pages_in_flask_caching(
    app: Flask, cache: Cache, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing has them here, which is told once."""
    app.add_url_rule("/", "view", cache.cached()(lambda: "x"))
    get("/")
    with app.app_context():
        assert not cache.delete("view//")
        cache.delete_many("view//", "view//n")
        (line,) = caplog.messages
        assert "use purge_path, or delete_cached" in line
        cache.set("view//mine", 1)
        assert cache.delete("view//mine")


def ask_as(app: Flask, who: str, path: str = "/", **options: Any) -> Any:
    client = app.test_client()
    client.set_cookie("user", who)
    with client.session_transaction() as session_:
        session_["user"] = who
    return client.get(path, **options)


def of_another_app() -> Any:
    inner = Flask("inner")
    inner.add_url_rule("/", "hello", lambda: request.cookies["user"])
    return inner


def of_a_function() -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["HTTP_COOKIE"].partition("user=")[2].partition(";")[0].encode()]

    return application


@pytest.mark.parametrize("by_response", [False, True])
@pytest.mark.parametrize("with_fields", [False, True])
@pytest.mark.parametrize("application", [of_another_app, of_a_function])
def test_a_view_that_returns_a_wsgi_application(
    app: Flask, cache: Cache, application: Callable[[], Any], with_fields: bool, by_response: bool
) -> None:
    """Flask runs it with the request, and nobody sees what it looks at."""
    fields = {"Cache-Control": "public, max-age=60"}

    def view() -> Any:
        return (application(), 200, fields) if with_fields else application()

    app.add_url_rule("/", "view", (cache.http_cached() if by_response else cache.cached())(view))
    assert [ask_as(app, who).text for who in ("ann", "bob")] == ["ann", "bob"]


@pytest.mark.parametrize("name", ["get_body", "get_headers", "get_response", "get_description"])
def test_an_error_that_answers_by_the_request(app: Flask, cache: Cache, name: str) -> None:
    """It is given the environ, and what it looks at there is not seen."""

    def own(self: Any, environ: Any = None, scope: Any = None) -> Any:
        who = environ["HTTP_COOKIE"].partition("user=")[2].partition(";")[0]
        text = [("X-Who", who)] if name == "get_headers" else f"no such page, {who}"
        return Response(text, 404) if name == "get_response" else text

    error = type("OwnError", (NotFound,), {name: own})

    @app.get("/")
    @cache.cached(statuses=(200, 404))
    def view() -> Any:
        raise error

    for who in ("ann", "bob"):
        answer = ask_as(app, who)
        assert who in answer.text + answer.headers.get("X-Who", "")


def dispatched(app: Flask) -> str:
    with app.request_context({**request.environ, "PATH_INFO": "/me"}):
        return app.full_dispatch_request().get_data(as_text=True)


def asked_of_the_app(app: Flask) -> str:
    return Response.from_app(app, {**request.environ, "PATH_INFO": "/me"}).get_data(as_text=True)


@pytest.mark.parametrize("reads", ["cookie", "session"])
@pytest.mark.parametrize("ask", [dispatched, asked_of_the_app])
def test_a_view_that_has_another_one_answer_for_the_same_request(
    app: Flask, cache: Cache, ask: Callable[[Flask], str], reads: str
) -> None:
    """What that one looks at counts for the view."""
    of = {"cookie": lambda: request.cookies["user"], "session": lambda: session["user"]}
    app.add_url_rule("/me", "me", of[reads])
    app.add_url_rule("/", "view", cache.cached()(lambda: f"for {ask(app)}"))
    assert [ask_as(app, who).text for who in ("ann", "bob")] == ["for ann", "for bob"]


def test_what_matches_a_url_for_the_same_request(app: Flask, cache: Cache) -> None:
    """A converter may look at who asks, too, before that view is found."""

    class OfUser(BaseConverter):
        def to_python(self, value: str) -> str:
            return f"{value} of {request.cookies['user']}"

    app.url_map.converters["of_user"] = OfUser
    app.add_url_rule("/<of_user:what>", "what", lambda what: what)
    app.add_url_rule("/", "view", cache.cached()(lambda: asked_of_the_app(app)))
    assert [ask_as(app, who).text for who in ("ann", "bob")] == ["me of ann", "me of bob"]


def test_a_request_of_the_views_own_tells_nothing(app: Flask, cache: Cache, get: Get) -> None:
    """It has an environ of its own, and no user."""
    app.add_url_rule("/me", "me", lambda: str(session.get("user")))
    app.add_url_rule("/", "view", cache.cached()(lambda: app.test_client().get("/me").text))
    get("/")
    assert is_hit(get("/"))


@pytest.mark.parametrize(
    "tell",
    [
        lambda headers: headers.add("Set-Cookie", "sid=ann"),
        lambda headers: headers.add("Cache-Control", "private"),
        lambda headers: headers.set("Cache-Tier", "ann's"),
    ],
)
def test_what_is_told_while_a_body_streams_is_not_stored(
    app: Flask, cache: Cache, get: Get, tell: Callable[[Any], None]
) -> None:
    """No rule has looked at it."""

    def view() -> Response:
        response = Response(headers={"Cache-Tier": "all"})

        def body() -> Any:
            yield "a"
            tell(response.headers)

        response.response = body()
        return response

    app.add_url_rule("/", "view", cache.cached()(view))
    for _ in range(2):
        answer = get("/")
        assert status_of(answer) == "larder; fwd=uri-miss; detail=fields-changed"


def test_a_response_that_the_app_keeps_has_its_own_fields(app: Flask) -> None:
    """What is told of one answer is in no other one, cached or not."""
    cache, page = Cache(app, config={"CACHE_SEND_TAGS": True}), Response("page")

    def by_language() -> Response:
        assert request.accept_languages is not None
        return page

    views = {
        "/all": cache.cached(tags=("all",))(lambda: page),
        "/language": cache.cached()(by_language),
        "/user": cache.cached(vary="Authorization", response_filter=lambda _: False)(lambda: page),
    }
    for path, view in {**views, "/plain": lambda: page}.items():
        app.add_url_rule(path, path, view)
    for path in (*views, *reversed(views), "/plain"):
        cache.clear()
        app.test_client().get(path)
    assert set(page.headers.keys()) == {"Content-Type", "Content-Length"}
    assert "Vary" not in app.test_client().get("/all").headers


def test_a_response_that_the_app_changes_gets_another_tag(
    app: Flask, cache: Cache, get: Get
) -> None:
    """Else who has the old body would be told that it is still the same."""
    page = Response("one")
    app.add_url_rule("/", "view", cache.cached()(lambda: page))
    old = get("/").headers["ETag"]
    page.set_data("two")
    cache.clear()
    for _ in range(2):
        answer = get("/", headers={"If-None-Match": old})
        assert (answer.status_code, answer.text) == (200, "two")
        assert answer.headers["ETag"] != old


@pytest.mark.parametrize("of_instance", [False, True])
def test_an_error_that_a_handler_returns(app: Flask, cache: Cache, of_instance: bool) -> None:
    """It may answer by the request as one that the view raises, be it by its own method alone."""

    def body(environ: Any = None, scope: Any = None) -> str:
        return str(environ["HTTP_COOKIE"].partition("user=")[2].partition(";")[0])

    class Own(NotFound):
        def get_body(self, environ: Any = None, scope: Any = None) -> str:
            return body(environ)

    def handle(_: Any) -> Any:
        error = NotFound() if of_instance else Own()
        error.get_body = body  # type: ignore[method-assign, assignment]
        return error

    app.register_error_handler(NotFound, handle)
    app.add_url_rule("/", "view", cache.cached(statuses=(200, 404))(lambda: abort(404)))
    assert [ask_as(app, who).text for who in ("ann", "bob")] == ["ann", "bob"]


@pytest.mark.parametrize("read", ["get", "in", "pop", "items", "dict", "jwt"])
def test_what_an_error_reads_of_the_request(app: Flask, cache: Cache, get: Get, read: str) -> None:
    """Whichever way it looks, it is noted; and one that looks at the URL only is stored."""
    ways: dict[str, Callable[[Any], Any]] = {
        "get": lambda environ: environ.get("HTTP_X_USER"),
        "in": lambda environ: "HTTP_X_USER" in environ,
        "pop": lambda environ: environ.pop("HTTP_X_USER", None),
        "items": lambda environ: [value for name, value in environ.items() if "USER" in name],
        "dict": lambda environ: dict(environ).get("HTTP_X_USER"),
        "jwt": lambda environ: environ.get("middleware.user"),
    }

    class Own(NotFound):
        def get_body(self, environ: Any = None, scope: Any = None) -> str:
            looks = environ["PATH_INFO"] == "/looks"
            return str(ways[read](environ)) if looks else environ["PATH_INFO"]

    def view() -> Any:
        raise Own

    for path in ("/looks", "/other"):
        app.add_url_rule(path, path, cache.cached(statuses=(404,))(view))
    for _ in range(2):
        assert "detail=read-" in status_of(get("/looks"))
    get("/other")
    assert is_hit(get("/other"))


def test_a_request_that_the_view_makes_of_its_environ(app: Flask, cache: Cache) -> None:
    """What it reads of that is read of its own."""

    def view() -> str:
        return str(app.request_class(request.environ).cookies["user"])

    app.add_url_rule("/", "view", cache.cached()(view))
    assert [ask_as(app, who).text for who in ("ann", "bob")] == ["ann", "bob"]


def test_another_response_than_the_views(app: Flask, cache: Cache, get: Get) -> None:
    """What was made for the view's is not told of it, so that no client takes one for the other."""
    is_closed: list[bool] = []

    @app.before_request
    def register() -> None:
        @after_this_request
        def replace(response: Response) -> Response:
            return Response("closed for today") if is_closed else response

    app.add_url_rule("/", "view", cache.cached(response_filter=lambda _: False)(lambda: "page"))
    app.add_url_rule("/open", "open", cache.cached()(lambda: "page"))
    tag = get("/open").headers["ETag"]
    is_closed.append(True)
    for path in ("/", "/open"):
        answer = get(path, headers={"If-None-Match": tag})
        assert (answer.status_code, answer.text) == (200, "closed for today")


def test_a_response_that_hooks_hold(app: Flask, cache: Cache, get: Get) -> None:
    """What they put into it is sent, also where the cache stores nothing."""

    @app.after_request
    def sign(response: Response) -> Response:
        g.response.headers["X-Signed"] = "yes"
        return response

    def view() -> Response:
        g.response = Response("page")
        return g.response

    app.add_url_rule("/", "view", cache.cached()(view), methods=["GET", "POST"])
    for method in ("POST", "GET"):
        assert get("/", method=method).headers["X-Signed"] == "yes"


def test_a_copy_of_a_response_holds_it() -> None:
    """Something may wait for its end, as to close a file."""
    gone: list[bool] = []
    response = Response("x")
    weakref.finalize(response, gone.append, True)
    its_copy = copied(response)
    del response
    gc.collect()
    assert (its_copy.get_data(), gone) == (b"x", [])


def test_a_hook_that_calls_the_view(app: Flask, cache: Cache, get: Get) -> None:
    """With other arguments, its answer is none to the URL."""

    @cache.cached()
    def page(number: int) -> str:
        return f"page {number}"

    app.add_url_rule("/<int:number>", "page", page)
    app.before_request(lambda: page(number=0) and None)
    for number in (5, 6, 5):
        answer = get(f"/{number}")
        assert answer.text == f"page {number}"
        assert status_of(answer) == "larder; fwd=bypass; detail=other-arguments"
        assert "ETag" not in answer.headers
