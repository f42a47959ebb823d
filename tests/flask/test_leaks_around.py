"""Leaks by what stands around a request: another request, the session's cookie, odd URLs."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Request, Response, flash, g, get_flashed_messages, request, session
from flask.ctx import RequestContext
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask.typing import ResponseReturnValue
from flask.views import MethodView
from werkzeug.routing import MapAdapter, Rule

from flask_larder import Cache
from flask_larder.credentials import LONGEST_FIELD_NAME, _may_tell, may_tell_who_asks
from flask_larder.key import LONGEST_HOST, site_of
from tests.flask.answers import Counter, Get, is_hit, status_of

ANN, BOB = {"Cookie": "user=ann"}, {"Cookie": "user=bob"}


def user() -> str:
    """Who asks, found out once for each context, as extensions do it."""
    if "user" not in g:
        g.user = request.cookies.get("user", "nobody")
    return str(g.user)


def by_test_client(app: Flask) -> str:
    return app.test_client(use_cookies=False).get("/greeting").text


def by_context(app: Flask) -> str:
    with app.test_request_context("/greeting"):
        return str(app.full_dispatch_request().get_data(as_text=True))


def by_environ(app: Flask) -> str:
    with app.request_context({**request.environ, "PATH_INFO": "/greeting"}):
        return str(app.full_dispatch_request().get_data(as_text=True))


@pytest.mark.parametrize("ask", [by_test_client, by_context, by_environ])
@pytest.mark.parametrize("options", [{}, {"vary": "Cookie"}, {"vary": user}])
def test_a_request_inside_another_knows_who_asks_there(
    app: Flask, cache: Cache, get: Get, ask: Callable[[Flask], str], options: dict[str, Any]
) -> None:
    """Both have the same ``flask.g``, in which the user is; only a function tells who that is."""
    app.add_url_rule("/greeting", "greeting", cache.cached(**options)(lambda: f"hello {user()}"))
    app.add_url_rule("/batch", "batch", lambda: f"{user()}: {ask(app)}")
    for _ in range(2):
        # Stored for who shows no cookie, the answer to nobody does for a request without cookies.
        assert get("/batch", headers=ANN).text in {"ann: hello ann", "ann: hello nobody"}
        assert get("/greeting").text == "hello nobody"
        assert get("/greeting", headers=BOB).text == "hello bob"
        assert get("/batch", headers=BOB).text in {"bob: hello bob", "bob: hello nobody"}


def test_a_request_inside_another_is_cached_where_nobody_has_asked_for_users(
    app: Flask, cache: Cache, get: Get, count: Counter
) -> None:
    """As a page that is made of other pages."""
    app.add_url_rule("/greeting", "greeting", cache.cached()(lambda: f"hello {count()}"))
    app.add_url_rule("/page", "page", lambda: by_test_client(app))
    assert [get("/page").text for _ in range(3)] == ["hello 1"] * 3


@pytest.mark.parametrize("around", ["request", "command"])
def test_requests_that_share_their_globals_one_after_the_other(
    app: Flask, cache: Cache, get: Get, around: str
) -> None:
    """The first has told who asks, and what is around them has not."""
    app.add_url_rule("/me", "me", lambda: user())
    app.add_url_rule("/greeting", "greeting", cache.cached()(lambda: f"hello {user()}"))

    def batch() -> str:
        parts = app.test_client(use_cookies=False)
        asked = parts.get("/me", headers=ANN), parts.get("/quiet"), parts.get("/greeting")
        return " ".join(part.text for part in asked)

    app.add_url_rule("/quiet", "quiet", lambda: "quiet")
    app.add_url_rule("/batch", "batch", batch)
    if around == "command":
        with app.app_context():
            assert batch() == "ann quiet hello ann"
    else:
        assert get("/batch").text == "ann quiet hello ann"
    assert get("/greeting").text == "hello nobody"


def test_a_value_that_is_made_in_a_request_inside_another(
    app: Flask, cache: Cache, get: Get
) -> None:
    """The function would have read who asks for itself, had it not been there."""
    greeting = cache.cached(key_prefix="greeting", vary="Cookie")(lambda: f"hello {user()}")
    app.add_url_rule("/greeting", "greeting", lambda: greeting())
    app.add_url_rule("/batch", "batch", lambda: f"{user()} {by_test_client(app)}")
    assert get("/batch", headers=ANN).text == "ann hello ann"
    assert get("/greeting").text == "hello nobody"


def test_a_request_inside_another_with_globals_of_its_own_is_cached(
    app: Flask, cache: Cache, get: Get, count: Counter
) -> None:
    """As where an application context is pushed for it."""

    def page() -> str:
        with app.app_context():
            return f"{user()} {by_test_client(app)}"

    app.add_url_rule("/greeting", "greeting", cache.cached()(lambda: f"hello {count()}"))
    app.add_url_rule("/page", "page", page)
    assert [get("/page", headers=ANN).text for _ in range(2)] == ["ann hello 1"] * 2


def test_contexts_that_are_done_with_are_not_kept(app: Flask, cache: Cache) -> None:
    """By one of the app that many requests share, as in a command that fills the cache."""
    app.add_url_rule("/<int:number>", "page", cache.cached()(lambda number: str(number)))
    with app.app_context() as shared:
        for number in range(20):
            app.test_client().get(f"/{number}")
        assert len(vars(shared)["_flask_larder_requests"]) == 1


def test_a_request_inside_one_that_knows_the_language(app: Flask, cache: Cache, get: Get) -> None:
    """That, too, may be in ``flask.g``."""

    def language() -> str:
        if "language" not in g:
            g.language = request.accept_languages.best or "en"
        return str(g.language)

    app.add_url_rule("/greeting", "greeting", cache.cached()(language))
    app.add_url_rule("/page", "page", lambda: f"{language()} {by_test_client(app)}")
    assert get("/page", headers={"Accept-Language": "de"}).text == "de de"
    assert get("/greeting").text == "en"


@pytest.mark.parametrize(
    "options",
    [
        {"vary": lambda: session.get("user")},
        {"key_prefix": lambda: f"page for {session.get('user')}"},
    ],
)
def test_what_a_view_shows_of_a_session_once_is_shown_to_nobody_else(
    app: Flask, cache: Cache, get: Get, options: dict[str, Any]
) -> None:
    """A flashed message, of one of all who have the same key; and the cookie goes to that one."""

    @app.get("/order")
    def order() -> str:
        flash("thank you, ann")
        return "done"

    app.add_url_rule("/", "shop", cache.cached(**options)(lambda: str(get_flashed_messages())))
    ann = app.test_client()
    ann.get("/order")
    first = ann.get("/")
    assert first.text == "['thank you, ann']"
    assert first.headers["Set-Cookie"].startswith("session=")
    assert status_of(first) == "larder; fwd=uri-miss; detail=session-changed"
    assert get("/").text == ann.get("/").text == "[]"
    assert is_hit(get("/"))


@pytest.mark.parametrize("is_view", [True, False])
def test_what_changes_the_session_runs_each_time(
    app: Flask, cache: Cache, is_view: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever its key, be it a view or a function that a view calls."""

    @cache.cached(vary=lambda: session.get("user"))
    def visits() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    app.add_url_rule("/", "view", visits if is_view else lambda: visits())
    ann = app.test_client()
    assert [ann.get("/").text for _ in range(3)] == ["1", "2", "3"]
    assert ("it changes the session" in caplog.text) == (not is_view)


def test_a_session_that_a_hook_changes_is_no_matter_of_the_view(
    app: Flask, cache: Cache, count: Counter
) -> None:
    """The hook runs for hits, too, and Flask sends the cookie."""

    @app.before_request
    def see() -> None:
        session["seen"] = session.get("seen", 0) + 1

    app.add_url_rule("/", "view", cache.cached(vary=lambda: "ann")(lambda: str(count())))
    ann = app.test_client()
    answers = [ann.get("/") for _ in range(3)]
    assert [answer.text for answer in answers] == ["1", "1", "1"]
    assert all("Set-Cookie" in answer.headers for answer in answers)


class Computed(SecureCookieSession):
    """Its class computes whether it was changed."""

    @property  # type: ignore[override]
    def modified(self) -> bool:
        return bool(self.get("visits"))

    @modified.setter
    def modified(self, modified: bool) -> None:
        """It is computed."""


class Slotted(SecureCookieSession):
    """It has a place of its own for that."""

    __slots__ = ("modified",)

    def __init__(self, initial: Any = None) -> None:
        self.modified = False
        super().__init__(initial)


class Setting(SecureCookieSession):
    """It sets attributes itself, and so cannot be told to note anything."""

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


@pytest.mark.parametrize("kind", [SecureCookieSession, Computed, Slotted, Setting])
def test_sessions_of_other_kinds_tell_of_changes_as_they_do(
    app: Flask, cache: Cache, kind: type[SecureCookieSession]
) -> None:
    """Also those of which nothing can be noted, and what they tell of it stays as it is."""

    class Sessions(SecureCookieSessionInterface):
        session_class = kind

    def visits() -> str:
        assert not session.modified
        session["visits"] = session.pop("visits", 0) + 1
        return str(session.modified)

    app.session_interface = Sessions()
    user_of_session = {"vary": lambda: session.get("user")}
    app.add_url_rule("/", "view", cache.cached(**user_of_session)(visits))
    app.add_url_rule("/quiet", "quiet", cache.cached(**user_of_session)(lambda: "quiet"))
    for _ in range(2):
        answer = app.test_client().get("/")
        assert answer.text == "True"
        assert "session-changed" in status_of(answer)
    quiet = [app.test_client().get("/quiet") for _ in range(2)]
    assert is_hit(quiet[1])
    assert not any("Set-Cookie" in each.headers for each in quiet)


def test_what_changes_a_session_that_a_hook_has_changed_before(app: Flask, cache: Cache) -> None:
    """That it was changed tells nothing then; each change is noted."""

    @app.before_request
    def see() -> None:
        session["seen"] = session.get("seen", 0) + 1

    def visits() -> str:
        session["visits"] = session.get("visits", 0) + 1
        return str(session["visits"])

    app.add_url_rule("/", "view", cache.cached(vary=lambda: session.get("user"))(visits))
    ann = app.test_client()
    assert [ann.get("/").text for _ in range(3)] == ["1", "2", "3"]


def test_messages_that_a_hook_takes_for_the_view(app: Flask, cache: Cache, get: Get) -> None:
    """The view changes nothing, and shows them; Flask has them until the request ends."""

    @app.before_request
    def take() -> None:
        g.messages = get_flashed_messages()

    @app.get("/order")
    def order() -> str:
        flash("thank you, ann")
        return "done"

    page = cache.cached(vary=lambda: session.get("user"))(lambda: str(g.messages))
    app.add_url_rule("/", "shop", page)
    ann = app.test_client()
    ann.get("/order")
    assert ann.get("/").text == "['thank you, ann']"
    assert get("/").text == ann.get("/").text == "[]"


@pytest.mark.parametrize("is_hidden", [True, False])
@pytest.mark.parametrize("options", [{}, {"key_prefix": "me"}])
def test_a_method_that_is_decorated_anew_for_each_request_is_a_view(
    app: Flask,
    cache: Cache,
    get: Get,
    options: dict[str, Any],
    is_hidden: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As by the ``method_decorators`` of extensions: who was loaded before it counts."""

    def checked(method: Callable[..., Any]) -> Callable[..., Any]:
        def check(*args: Any) -> Any:
            return method(*args) if user() != "nobody" else ("who?", 401)

        return check

    class Me(MethodView):
        def dispatch_request(self, **_: Any) -> ResponseReturnValue:
            inner = checked(self.get) if is_hidden else self.get
            method: Any = checked(cache.cached(**options)(inner))
            answer: ResponseReturnValue = method()
            return answer

        def get(self) -> str:
            return f"hello {g.user}"

    app.add_url_rule("/", view_func=Me.as_view("me"))
    for _ in range(2):
        assert get("/", headers=ANN).text == "hello ann"
        assert get("/", headers=BOB).text == "hello bob"
    assert "give key_prefix=" not in caplog.text


@pytest.mark.parametrize(
    "options", [{"make_cache_key": lambda: "price"}, {"key_prefix": lambda: "price"}]
)
def test_a_value_under_a_key_of_its_own_is_for_one_language(
    app: Flask, cache: Cache, get: Get, options: dict[str, Any]
) -> None:
    """A value has no ``Vary``, and neither has a page that finds it in the store."""
    best = lambda: str(request.accept_languages.best)  # noqa: E731
    price = cache.cached(**options)(best)
    app.add_url_rule("/price", "price", lambda: price())
    app.add_url_rule("/page", "page", cache.cached()(lambda: f"price: {price()}"))
    for language in ("de", "fr", "de"):
        asked = {"headers": {"Accept-Language": language}}
        assert get("/price", **asked).text == language
        assert get("/page", **asked).text == f"price: {language}"


@pytest.mark.parametrize(
    "options",
    [
        {"make_cache_key": lambda: str(request.accept_languages.best)},
        {"key_prefix": "price", "vary": lambda: str(request.accept_languages.best)},
        {"key_prefix": "price", "vary": lambda: g.language},
        {"key_prefix": "price", "vary": "Accept-Language"},
    ],
)
def test_a_value_is_kept_where_its_key_holds_the_language(
    app: Flask, cache: Cache, get: Get, count: Counter, options: dict[str, Any]
) -> None:
    """Also where that was found out before, by what the function of ``vary=`` returns."""

    @app.before_request
    def find() -> None:
        g.language = str(request.accept_languages.best)

    def made() -> str:
        return f"{request.accept_languages.best} {count()}"

    price = cache.cached(**options)(made)
    app.add_url_rule("/", "view", lambda: price())
    seen = [get("/", headers={"Accept-Language": each}).text for each in ("de", "fr", "de", "fr")]
    assert seen == ["de 1", "fr 2", "de 1", "fr 2"]


@pytest.mark.parametrize("has_hook", [True, False])
def test_hosts_that_are_none_share_nothing(
    app: Flask, cache: Cache, get: Get, has_hook: bool
) -> None:
    """For Werkzeug all of them are the empty one, while an app may tell them apart."""
    if has_hook:
        app.before_request(lambda: None)
    tenant = lambda: request.headers["Host"].partition("_")[0]  # noqa: E731
    app.add_url_rule("/", "orders", cache.cached()(lambda: f"orders of {tenant()}"))
    for _ in range(3):
        for name in ("acme", "globex"):
            answer = get("/", headers={"Host": f"{name}_eu.example"})
            assert answer.text == f"orders of {name}"


@pytest.mark.parametrize("options", [{"query_string": True}, {"query_string": ["q"]}])
@pytest.mark.parametrize("raw", ["\"><script>x='y'", "'onload='x", "a b", "caf\xe9", "\x7f"])
def test_a_query_that_no_browser_sends_so_is_for_who_has_sent_it(
    app: Flask, cache: Cache, get: Get, options: dict[str, Any], raw: str
) -> None:
    """Shown as it came, it may be markup; browsers encode that, and get what is encoded."""
    page = cache.cached(**options)(lambda: request.query_string.decode("latin-1"))
    app.add_url_rule("/", "page", page)
    encoded = "".join(c if c.isalnum() and c.isascii() else f"%{ord(c):02X}" for c in raw)
    sent = {"environ_overrides": {"QUERY_STRING": f"q={raw}"}}
    for _ in range(2):
        assert get("/", **sent).data.decode() == f"q={raw}"
        assert get(f"/?q={encoded}").text == f"q={encoded}"
    assert is_hit(get(f"/?q={encoded}"))
    assert is_hit(get("/", **sent))


def test_what_is_no_part_of_the_key_selects_nothing_beside_such_a_query(
    app: Flask, cache: Cache, get: Get
) -> None:
    """The parameters that are part of it stand there as they came, and no others."""
    app.add_url_rule("/", "page", cache.cached(query_string=["q"])(lambda: "page"))
    get("/", environ_overrides={"QUERY_STRING": "q=<b>&at=1"})
    assert is_hit(get("/", environ_overrides={"QUERY_STRING": "at=2&q=<b>"}))


def test_what_browsers_leave_as_it_is_has_one_key(app: Flask, cache: Cache, get: Get) -> None:
    """Encoded or not, and in whatever order."""
    app.add_url_rule("/", "page", cache.cached(query_string=True)(lambda: "page"))
    get("/", environ_overrides={"QUERY_STRING": "q={a|b}&p=(1)"})
    assert is_hit(get("/?p=%281%29&q=%7Ba%7Cb%7D"))


def test_a_purge_of_an_encoded_url_hits_what_came_as_no_browser_sends_it(
    app: Flask, cache: Cache, get: Get
) -> None:
    """It is the same URL."""
    app.add_url_rule("/", "page", cache.cached(query_string=True)(lambda: "page"))
    sent = {"environ_overrides": {"QUERY_STRING": "q=caf\xc3\xa9"}}
    get("/", **sent)
    assert is_hit(get("/", **sent))
    with app.app_context():
        cache.purge_url("/?q=caf%C3%A9")
    assert not is_hit(get("/", **sent))


def note_user(wanted: Any) -> None:
    if wanted is not None:
        wanted.user = wanted.cookies.get("user")


class NotesInContext(Flask):
    def request_context(self, environ: dict[str, Any]) -> RequestContext:
        context = super().request_context(environ)
        note_user(context.request)
        return context


@pytest.mark.parametrize("kind", [Flask, NotesInContext])
def test_what_an_app_reads_before_it_matches_the_url(kind: type[Flask]) -> None:
    """By a method of its class, or of this very app."""
    app = kind(__name__)
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    if kind is Flask:
        adapt = app.create_url_adapter

        def adapter(wanted: Any) -> MapAdapter | None:
            note_user(wanted)
            return adapt(wanted)

        app.create_url_adapter = adapter  # type: ignore[method-assign]
    app.add_url_rule("/", "view", cache.cached()(lambda: f"hello {vars(request)['user']}"))
    client = app.test_client(use_cookies=False)
    for _ in range(2):
        assert client.get("/", headers=ANN).text == "hello ann"
        assert client.get("/", headers=BOB).text == "hello bob"


class Prefixing(Request):
    """Makes the path of what a header says, before anything looks at it."""

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        environ["PATH_INFO"] = f"/{environ.get('HTTP_X_SHOP', 'none')}{environ['PATH_INFO']}"
        super().__init__(environ, *args, **kwargs)


class PrefixingToMatch(Flask):
    def create_url_adapter(self, request: Any) -> MapAdapter | None:
        if request is not None:
            shop = request.environ.get("HTTP_X_SHOP", "none")
            request.environ["PATH_INFO"] = f"/{shop}{request.environ['PATH_INFO']}"
        return super().create_url_adapter(request)


@pytest.mark.parametrize("by", ["request class", "adapter", "hook that matches again"])
def test_an_app_that_makes_the_path_before_it_matches_that(by: str) -> None:
    """Then that one counts."""
    app = (PrefixingToMatch if by == "adapter" else Flask)(__name__)
    if by == "request class":
        app.request_class = Prefixing
    cache = Cache(app, config={"CACHE_TYPE": "SimpleCache"})
    if by == "hook that matches again":

        @app.before_request
        def match() -> None:
            path = f"/{request.environ.get('HTTP_X_SHOP', 'none')}/orders"
            request.environ["PATH_INFO"] = path
            adapter = app.url_map.bind_to_environ(request.environ)
            request.url_rule, request.view_args = adapter.match(return_rule=True)  # type: ignore[assignment]

    orders = cache.cached()(lambda shop: f"orders of {shop}")
    app.add_url_rule("/<shop>/orders", "orders", orders)
    app.add_url_rule("/orders", "none", orders, defaults={"shop": "none"}, redirect_to=None)
    client = app.test_client()
    for _ in range(3):
        for shop in ("ann", "bob"):
            answer = client.get("/orders", headers={"X-Shop": shop})
            assert answer.text == f"orders of {shop}"


def test_a_page_for_a_host_that_is_not_trusted_may_be_made_of_values(
    app: Flask, cache: Cache, get: Get
) -> None:
    """Which are not cached for it."""
    app.config["TRUSTED_HOSTS"] = ["good.example"]
    menu = cache.cached(key_prefix="menu")(lambda: "menu")
    app.register_error_handler(400, lambda _: (menu(), 400))
    answer = get("/", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.text) == (400, "menu")


@pytest.mark.parametrize("before_flask", [True, False])
def test_the_path_is_that_by_which_the_view_was_found(
    app: Flask, cache: Cache, get: Get, before_flask: bool
) -> None:
    """Whatever a hook makes of the environ afterwards."""

    @app.before_request
    def strip() -> None:
        request.environ["PATH_INFO"] = "/orders"

    orders = cache.cached(before_flask=before_flask)(lambda tenant: f"orders of {tenant}")
    app.add_url_rule("/<tenant>/orders", "orders", orders)
    for _ in range(3):
        for tenant in ("ann", "bob"):
            assert get(f"/{tenant}/orders").text == f"orders of {tenant}"
    assert is_hit(get("/ann/orders"))


def test_the_view_of_a_websocket_is_not_that_of_a_page(app: Flask, cache: Cache, get: Get) -> None:
    """They may have one URL, and what a client says tells which it gets."""
    app.url_map.add(Rule("/", endpoint="socket", websocket=True))
    app.view_functions["socket"] = cache.cached()(lambda: "socket")
    app.add_url_rule("/", "page", cache.cached()(lambda: "page"))
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    socket = get("/", headers=upgrade)
    assert (socket.text, status_of(socket)) == ("socket", "larder; fwd=bypass; detail=websocket")
    assert get("/").text == get("/").text == "page"


@pytest.mark.parametrize("attribute", ["stream", "input_stream"])
def test_the_body_of_a_get_over_http2(app: Flask, cache: Cache, get: Get, attribute: str) -> None:
    """Nothing but reading it tells that there is one."""

    def body() -> Response:
        return Response(getattr(request, attribute).read())

    app.add_url_rule("/", "view", cache.cached()(body))
    for sent in (b"evil", b"", b"evil"):
        answer = get(
            "/",
            environ_overrides={
                "SERVER_PROTOCOL": "HTTP/2",
                "wsgi.input": io.BytesIO(sent),
                "wsgi.input_terminated": True,
            },
        )
        assert (answer.data, status_of(answer)) == (sent, "larder; fwd=uri-miss; detail=read-body")


@pytest.mark.parametrize("has_hook", [True, False])
def test_nothing_long_that_clients_send_is_remembered(
    app: Flask, cache: Cache, get: Get, has_hook: bool
) -> None:
    """Caches of what is asked for often count entries, and these may be as long as they like."""
    if has_hook:
        app.before_request(lambda: None)
    app.add_url_rule("/", "page", cache.cached()(lambda: "page"))
    names, hosts = _may_tell.cache_info().currsize, site_of.cache_info().currsize
    for number in range(10):
        assert may_tell_who_asks(f"{number}-token".rjust(LONGEST_FIELD_NAME + 1, "x"))
        for _ in range(3):
            host = f"{number}." + "label." * (LONGEST_HOST // len("label."))
            answer = get("/", headers={"Host": f"{host}example"})
            assert status_of(answer) == "larder; fwd=bypass; detail=untrusted-host"
    assert (_may_tell.cache_info().currsize, site_of.cache_info().currsize) == (names, hosts)


def test_one_origin_does_not_get_what_was_made_for_another(
    app: Flask, cache: Cache, get: Get
) -> None:
    """A decorator that allows some of them says nothing in ``Vary`` to those that it does not."""
    allowed = "http://shop.example"

    def view() -> Response:
        response = Response("prices")
        if request.headers.get("Origin") == allowed:
            response.headers["Access-Control-Allow-Origin"] = allowed
        return response

    app.add_url_rule("/", "prices", cache.cached()(view))
    for _ in range(3):
        other = get("/", headers={"Origin": "http://evil.example"})
        own = get("/", headers={"Origin": allowed})
        assert "Access-Control-Allow-Origin" not in other.headers
        assert own.headers["Access-Control-Allow-Origin"] == allowed
        assert own.headers["Vary"] == "Origin"
    assert is_hit(own)
