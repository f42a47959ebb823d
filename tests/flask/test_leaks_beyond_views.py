"""Leaks by way of hooks, helpers, threads, sessions of other kinds, and keys of one's own."""

import contextvars
import functools
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest
from flask import (
    Flask,
    Response,
    copy_current_request_context,
    current_app,
    g,
    request,
    session,
    stream_with_context,
    url_for,
)
from flask.sessions import SecureCookieSession, SessionInterface
from flask.views import MethodView
from werkzeug.datastructures import Headers

from flask_larder import Cache
from tests.flask.answers import Counter, Get, is_hit, status_of

COOKIES = [{"Cookie": "user=ann"}, {"Cookie": "user=bob"}]


def read_cookie() -> str:
    return request.cookies.get("user", "nobody")


def read_body() -> str:
    return request.get_data(as_text=True)


def each_sees_own(get: Get, url: str = "/", greeting: str = "hello ") -> None:
    """Two users ask in turn, and each gets the answer for themselves."""
    for _ in range(2):
        assert get(url, headers=COOKIES[0]).data == f"{greeting}ann".encode()
        assert get(url, headers=COOKIES[1]).data == f"{greeting}bob".encode()


class FromCookie(SessionInterface):
    """Sessions that hold the user of the cookie, as one that the server keeps would."""

    def open_session(self, app: Flask, request: Any) -> SecureCookieSession:
        return SecureCookieSession({"user": request.cookies.get("user", "nobody")})

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        if session.accessed:
            response.vary.add("Cookie")


def test_reading_before_a_stream_is_not_forgotten(app: Flask, cache: Cache, get: Get) -> None:
    """stream_with_context pushes the request again, which matches its URL again."""

    @app.get("/")
    @cache.cached()
    def view() -> Response:
        user = read_cookie()
        return Response(stream_with_context(iter([f"hello {user}"])))

    each_sees_own(get)


def test_reading_in_a_copied_context(app: Flask, cache: Cache, get: Get) -> None:
    """A thread with a copy of the context reads for the view that started it."""

    @app.get("/")
    @cache.cached()
    def view() -> str:
        names: list[str] = []
        thread = threading.Thread(
            target=copy_current_request_context(lambda: names.append(read_cookie()))
        )
        thread.start()
        thread.join()
        return f"hello {names[0]}"

    each_sees_own(get)


@pytest.mark.parametrize("kind", ["cookie", "session"])
def test_two_values_at_once_take_no_reading_from_each_other(
    app: Flask, cache: Cache, get: Get, kind: str
) -> None:
    """A value that another thread of the request makes meanwhile hides nothing."""
    inside, done = threading.Event(), threading.Event()

    def read() -> str:
        return read_cookie() if kind == "cookie" else str(session["user"])

    app.session_interface = FromCookie()

    @cache.cached(key_prefix="profile")
    def profile() -> str:
        user = read()
        inside.set()
        assert done.wait(10)
        return f"hello {user}"

    @cache.cached(key_prefix="other")
    def other() -> int:
        return 1

    @app.get("/")
    def view() -> str:
        result: list[str] = []
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(lambda: result.append(profile())))
        inside.clear()
        done.clear()
        thread.start()
        assert inside.wait(10)
        other()
        done.set()
        thread.join()
        return result[0]

    each_sees_own(get)


def load_user(app: Flask, read: Callable[[], str] = read_cookie) -> None:
    @app.before_request
    def before() -> None:
        g.user = read()


@pytest.mark.parametrize("option", ["make_cache_key", "key_prefix"])
def test_own_key_covers_only_what_it_read(app: Flask, cache: Cache, get: Get, option: str) -> None:
    """A key of the page number does not tell users apart that a hook has loaded."""
    load_user(app)
    options: dict[str, Any] = {option: lambda: "page-" + request.args.get("page", "1")}
    app.add_url_rule("/", "view", cache.cached(**options)(lambda: f"hello {g.user}"))
    each_sees_own(get)


def test_own_key_that_reads_the_user(app: Flask, cache: Cache, get: Get) -> None:
    """A key that was made of the cookie does tell them apart, and both are stored."""
    cached = cache.cached(make_cache_key=lambda: f"me-{read_cookie()}")
    app.add_url_rule("/", "view", cached(lambda: f"hello {read_cookie()}"))
    each_sees_own(get)
    assert is_hit(get("/", headers=COOKIES[0]))


def test_hook_that_goes_through_all_fields(app: Flask, cache: Cache, get: Get) -> None:
    """A hook that reads every field may have found the user; for the anonymous it found none."""
    load_user(app, lambda: dict(request.headers).get("Cookie", "user=nobody").partition("=")[2])
    app.add_url_rule("/", "view", cache.cached()(lambda: f"hello {g.user}"))
    each_sees_own(get)


def test_token_that_is_optional(app: Flask, cache: Cache, get: Get) -> None:
    """A page for nobody, made by looking for a token, is not shown to who has one."""

    @app.before_request
    def before() -> None:
        g.user = (request.headers.get("Authorization") or "Bearer nobody").partition(" ")[2]

    app.add_url_rule("/", "view", cache.cached()(lambda: f"hello {g.user}"))
    assert get("/").data == b"hello nobody"
    assert get("/", headers={"Authorization": "Bearer ann"}).data == b"hello ann"
    assert get("/").data == b"hello nobody"


def test_unless_does_not_excuse_what_a_hook_read(app: Flask, cache: Cache, get: Get) -> None:
    """The hook looked for a user in the session, and then elsewhere; unless looks there too."""
    load_user(app, lambda: session.get("user") or request.headers.get("X-Api-Key", "nobody"))
    app.session_interface = FromCookie()
    cached = cache.cached(unless=lambda: "preview" in session)
    app.add_url_rule("/", "view", cached(lambda: f"hello {g.user}"))
    assert not is_hit(get("/"))
    assert not is_hit(get("/"))


def test_unless_as_flask_login_asks(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """Flask-Login reads cookies, the session, and the client's address and agent."""

    def is_authenticated() -> bool:
        user = session.get("_user_id") or request.cookies.get("remember_token")
        return bool((request.headers.get("X-Forwarded-For"), request.user_agent.string) and user)

    app.add_url_rule("/", "view", cache.cached(unless=is_authenticated)(lambda: f"{count()}"))
    get("/")
    assert is_hit(get("/"))


def test_session_that_cannot_tell_when_it_is_used(app: Flask, get: Get) -> None:
    """One whose class cannot be extended counts as used, and does no harm."""

    class Fixed(SecureCookieSession):
        __slots__ = ("weight",)
        accessed = property(lambda _: False)  # type: ignore[assignment]

    class Interface(FromCookie):
        def open_session(self, app: Flask, request: Any) -> SecureCookieSession:
            return Fixed({"user": request.cookies.get("user")})

    app.session_interface = Interface()
    app.add_url_rule("/", "view", Cache(app).cached()(lambda: f"hello {session['user']}"))
    each_sees_own(get)


def test_session_object_that_several_requests_share(app: Flask, get: Get) -> None:
    """An interface may keep sessions in memory and hand out the same object again."""
    sessions: dict[str, SecureCookieSession] = {}

    class Interface(FromCookie):
        def open_session(self, app: Flask, request: Any) -> SecureCookieSession:
            user = request.cookies.get("user", "nobody")
            return sessions.setdefault(user, SecureCookieSession({"user": user}))

    app.session_interface = Interface()
    cache = Cache(app)
    value = cache.cached(key_prefix="value")(lambda: f"hello {session['user']}")
    app.add_url_rule("/", "view", cache.cached()(lambda: f"hello {session['user']}"))
    app.add_url_rule("/value", "value", lambda: value())
    app.add_url_rule("/silent", "silent", cache.cached()(lambda: "x"))
    for user in COOKIES:
        get("/silent", headers=user)
    each_sees_own(get)
    each_sees_own(get, "/value")


def test_remote_user(app: Flask, cache: Cache, get: Get) -> None:
    """Whom the server has authenticated is a user like any other."""
    app.add_url_rule("/", "view", cache.cached()(lambda: f"hello {request.remote_user}"))
    for user in ("ann", "bob"):
        answer = get("/", environ_overrides={"REMOTE_USER": user})
        assert answer.data == f"hello {user}".encode()
    assert status_of(answer).endswith("detail=read-remote-user")


def test_unless_that_finds_a_user_by_other_means(app: Flask, cache: Cache, get: Get) -> None:
    """Who has neither cookie nor Authorization may still be somebody, by a header or the query."""

    def is_admin() -> bool:
        session.get("user")
        g.user = request.headers.get("X-Api-Key") or request.args.get("key", "nobody")
        return bool(g.user == "root")

    app.add_url_rule("/", "view", cache.cached(unless=is_admin)(lambda: f"hello {g.user}"))
    for user in ("ann", "bob"):
        assert get("/", headers={"X-Api-Key": user}).data == f"hello {user}".encode()
        assert get(f"/?key={user}").data == f"hello {user}".encode()


def test_request_class_that_reads_when_it_is_made(app: Flask, get: Get) -> None:
    """What the app's own request class takes from cookies and fields is noted too."""

    class Own(app.request_class):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.user = self.cookies.get("user") or self.headers.get("Cookie")

    app.request_class = Own
    app.add_url_rule("/", "view", Cache(app).cached()(lambda: f"hello {request.user}"))  # type: ignore[attr-defined]
    each_sees_own(get)


def test_request_class_with_fields_of_its_own(app: Flask, get: Get) -> None:
    """Where the app puts in other header fields, nothing is stored, and nothing breaks."""

    class Own(app.request_class):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.headers = Headers(self.headers.to_wsgi_list())

    app.request_class = Own
    cache = Cache(app)
    app.add_url_rule("/", "view", cache.cached()(lambda: f"hello {read_cookie()}"))
    each_sees_own(get)


def test_value_while_requests_are_not_watched(app: Flask, cache: Cache, get: Get) -> None:
    """Where the request class was replaced, values are not kept either."""
    app.request_class = Flask.request_class
    value = cache.cached(key_prefix="value")(lambda: f"hello {read_cookie()}")
    app.add_url_rule("/", "view", lambda: value())
    each_sees_own(get)


@pytest.mark.parametrize(
    "options",
    [{"key_prefix": "fixed"}, {"key_prefix": lambda: "own"}, {"make_cache_key": lambda: "own"}, {}],
)
def test_every_kind_of_key_keeps_the_rules(
    app: Flask, cache: Cache, get: Get, count: Counter, options: dict[str, Any]
) -> None:
    """Whatever names the key of a view, cookies and errors are not stored, nor POST cached."""

    @app.route("/cookie", methods=["GET", "POST"])
    @cache.cached(**options)
    def cookie() -> tuple[str, int, dict[str, str]]:
        return "x", 200, {"Set-Cookie": f"sid={count()}"}

    @app.get("/error")
    @cache.cached(**options)
    def error() -> tuple[str, int]:
        return "oops", 500

    @app.route("/plain", methods=["GET", "POST"])
    @cache.cached(**options)
    def plain() -> Response:
        return Response(f"{request.method} {count()}")

    assert get("/cookie").headers["Set-Cookie"] != get("/cookie").headers["Set-Cookie"]
    assert status_of(get("/error")).endswith("detail=status-500")
    assert status_of(get("/plain")).endswith("stored; ttl=300")
    assert is_hit(get("/plain"))
    assert get("/plain", method="POST").data.startswith(b"POST")


@pytest.mark.parametrize(
    "options",
    [{"key_prefix": "fixed"}, {"key_prefix": lambda: "own"}, {"make_cache_key": lambda: "own"}, {}],
)
def test_view_beneath_a_decorator_that_hides_it(
    app: Flask, cache: Cache, get: Get, count: Counter, options: dict[str, Any]
) -> None:
    """A view that cannot be recognised is at most a value: no status, no cookie comes back."""

    def hides(view: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: view()

    @cache.cached(**options)
    def view() -> tuple[str, int, dict[str, str]]:
        return "x", 500, {"Set-Cookie": f"sid={count()}"}

    app.add_url_rule("/", "view", hides(view))
    assert get("/").headers["Set-Cookie"] != get("/").headers["Set-Cookie"]


def test_hidden_view_of_a_user_that_was_loaded_before(app: Flask, cache: Cache, get: Get) -> None:
    """Under the key of a URL what was read before counts, though it is kept as a value."""

    def login(view: Callable[[], Any]) -> Callable[[], Any]:
        def checked() -> Any:
            g.user = read_cookie()
            return view()

        return checked

    app.add_url_rule("/", "view", login(cache.cached()(lambda: f"hello {g.user}")))
    each_sees_own(get)


@pytest.mark.parametrize("option", [{"key_prefix": "page"}, {"make_cache_key": lambda: "page"}])
@pytest.mark.parametrize("is_class", [True, False])
def test_hidden_view_under_a_name_of_its_own(
    app: Flask, cache: Cache, get: Get, option: dict[str, Any], *, is_class: bool
) -> None:
    """A decorator that takes anything, and says not what it decorates, may have loaded the user."""

    def login(view: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            g.user = read_cookie()
            return view(*args, **kwargs)

        return checked

    @login
    @cache.cached(**option)
    def view(*_: object) -> str:
        return f"hello {g.user}"

    class Page(MethodView):
        get = view

    app.add_url_rule("/", "view", Page.as_view("page") if is_class else view)
    each_sees_own(get)


def test_helper_that_such_a_decorator_calls(
    app: Flask, cache: Cache, get: Get, count: Counter
) -> None:
    """It is kept where nobody was looked for before, and is not taken for the view."""
    countries = cache.cached(key_prefix="countries")(lambda: [count()])
    empty: Any

    def counted(view: Callable[..., Any]) -> Callable[..., Any]:
        def checked(**kwargs: Any) -> Any:
            return f"{countries()} {view(**kwargs)}{empty if kwargs else ''}"

        return checked

    app.add_url_rule("/", "view", counted(lambda: read_cookie()))
    each_sees_own(get, greeting="[1] ")
    empty = ""


def test_helper_does_not_take_the_place_of_the_page(
    app: Flask, cache: Cache, get: Get, count: Counter
) -> None:
    """A function with the default prefix that a view calls is a value with a key of its own."""
    app.extensions["count"] = count

    @cache.cached()
    def secret() -> dict[str, str]:
        return {"secret": str(current_app.extensions["count"]())}

    @cache.cached()
    def number() -> int:
        return 7

    @app.get("/")
    @cache.cached()
    def view() -> dict[str, Any]:
        parts = {"from": secret()["secret"], "number": number()}
        session.get("user")
        return parts

    for _ in range(3):
        assert get("/").json == {"from": "1", "number": 7}
        assert status_of(get("/")).endswith("detail=read-session")


def test_hidden_view_is_asked_for_each_post(app: Flask, cache: Cache, get: Get) -> None:
    """A POST is never answered from the cache, whatever stands around the view."""
    cached = cache.cached()(read_body)
    app.add_url_rule("/", "view", lambda: cached(), methods=["GET", "POST"])
    for body in (b"apple", b"pear"):
        assert get("/", method="POST", data=body).data == body
        assert get("/", data=body).data == body


def test_closures_do_not_share(app: Flask, cache: Cache, get: Get) -> None:
    """Functions that one factory made have one name, and may differ."""

    def make(number: int) -> Callable[[], int]:
        return cache.cached()(lambda: number)

    parts = [make(1), make(2)]
    app.add_url_rule("/", "view", lambda: " ".join(str(part()) for part in parts))
    assert get("/").data == get("/").data == b"1 2"


def test_method_that_calls_its_parents(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """A cached method that a subclass extends is still the view's."""

    class Parent(MethodView):
        @cache.cached(make_cache_key=lambda *_: "parent")
        def get(self) -> Any:
            return "parent", 200, {"Set-Cookie": f"sid={count()}"}

    class Child(Parent):
        def get(self) -> Any:
            return super().get()

    class Plain(MethodView):
        @cache.cached()
        def get(self) -> Response:
            return Response(str(count()))

    class Extended(Plain):
        def get(self) -> Response:
            return super().get()

    app.add_url_rule("/", view_func=Child.as_view("child"))
    app.add_url_rule("/plain", view_func=Extended.as_view("extended"))
    assert get("/").headers["Set-Cookie"] != get("/").headers["Set-Cookie"]
    assert get("/plain").data == get("/plain").data
    assert is_hit(get("/plain"))


def test_value_that_reads_the_language(app: Flask, cache: Cache, get: Get) -> None:
    """A value made by looking at Accept-Language is not kept for all languages."""

    @cache.cached(key_prefix="greeting")
    def greeting() -> str:
        return str(request.accept_languages.best_match(["de", "fr"]))

    app.add_url_rule("/", "view", lambda: greeting())
    app.before_request(lambda: request.accept_languages and None)
    for language in ("de", "fr"):
        assert get("/", headers={"Accept-Language": language}).data == language.encode()


def test_own_key_does_not_carry_a_forged_host(app: Flask, cache: Cache, get: Get) -> None:
    """A key without the host is no way to have links to evil.example shown to others."""

    @app.get("/")
    @cache.cached(make_cache_key=lambda: "home")
    def view() -> str:
        return url_for("view", _external=True)

    assert get("/", headers={"Host": "evil.example"}).data == b"http://evil.example/"
    assert get("/").data == b"http://localhost/"
    assert is_hit(get("/"))


def test_own_key_does_not_reach_values(app: Flask, cache: Cache, get: Get) -> None:
    """A key made from the request cannot be made to overwrite what cache.set has kept."""
    cache.set("counter:1.2.3.4", 99)
    cached = cache.cached(make_cache_key=lambda: request.args["id"])
    app.add_url_rule("/", "view", cached(lambda: "x"))
    assert is_hit(get("/?id=counter:1.2.3.4")) is False
    assert cache.get("counter:1.2.3.4") == 99


def test_body_of_a_get_over_http2(app: Flask, cache: Cache, get: Get) -> None:
    """There neither Content-Length nor Transfer-Encoding tells that a GET has a body."""
    app.add_url_rule("/", "view", cache.cached()(lambda: request.get_data() or b"nothing"))
    http2 = {"SERVER_PROTOCOL": "HTTP/2.0", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    answer = get("/", data=b"evil", environ_overrides=http2)
    assert answer.data == b"evil"
    assert status_of(answer).endswith("detail=read-body")
    assert get("/").data == b"nothing"


@pytest.mark.parametrize("option", ["unless", "forced_update", "is_stale", "response_filter"])
def test_option_that_raises(
    app: Flask, cache: Cache, get: Get, caplog: pytest.LogCaptureFixture, option: str
) -> None:
    """A function among the options that fails never spoils the answer, and is logged once."""

    def fails(*_: object) -> bool:
        raise LookupError("no such thing")

    app.add_url_rule("/", "view", cache.cached(**{option: fails})(lambda: "x"))  # type: ignore[arg-type]
    for _ in range(3):
        assert get("/").data == b"x"
    assert len(caplog.records) == 1
    assert "no such thing" in caplog.text
    app.debug = True
    if option != "is_stale":  # asked only where something is stored
        cache.clear()
    with pytest.raises(LookupError):
        get("/")


def test_parameter_that_the_key_lacks(
    app: Flask, cache: Cache, get: Get, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that leaves out what the key is made of gets the view's answer, without a word."""
    cached = cache.cached(make_cache_key=lambda: request.args["id"])
    app.add_url_rule("/", "view", cached(lambda: "x"))
    assert status_of(get("/")) == "larder; fwd=bypass; detail=option-failed"
    assert not caplog.records


class Login:
    """A decorator that is a class, and says nothing of what it decorates."""

    def __init__(self, view: Callable[..., Any]) -> None:
        self.view = view
        self.__name__ = "login"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return as_user(self.view, *args, **kwargs)


class SlottedLogin:
    __slots__ = ("__name__", "_view")

    def __init__(self, view: Callable[..., Any]) -> None:
        self._view = [view]
        self.__name__ = "login"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return as_user(self._view[0], *args, **kwargs)


def as_user(view: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    g.user = session.get("user", "nobody")
    return view(*args, **kwargs)


def by_default(view: Callable[..., Any]) -> Callable[..., Any]:
    def login(*args: Any, _view: Callable[..., Any] = view, **kwargs: Any) -> Any:
        return as_user(_view, *args, **kwargs)

    return login


def named_partial(view: Callable[..., Any]) -> Callable[..., Any]:
    login: Any = functools.partial(as_user, view)
    login.__name__ = "login"
    return cast("Callable[..., Any]", login)


@pytest.mark.parametrize(
    "login",
    [Login, SlottedLogin, by_default, named_partial, lambda view: Login(view).__call__],
    ids=["class", "slots", "default", "partial", "method"],
)
def test_a_view_under_a_name_beneath_any_decorator_that_hides_it(
    app: Flask, cache: Cache, login: Callable[..., Any]
) -> None:
    """It counts as a view, since that is what the decorator holds: the user was loaded for it."""
    view = cache.cached(key_prefix="page")(lambda: f"hello {g.user}")
    app.add_url_rule("/", "page", login(view))

    @app.get("/login/<user>")
    def log_in(user: str) -> str:
        session["user"] = user
        return ""

    for user in ("ann", "bob"):
        client = app.test_client()
        client.get(f"/login/{user}")
        assert client.get("/").text == f"hello {user}"
