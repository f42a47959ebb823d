"""Two users, and every way in which one could get to see the other's answer."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import (
    Flask,
    Response,
    abort,
    after_this_request,
    flash,
    g,
    make_response,
    render_template_string,
    request,
    session,
    stream_with_context,
)
from flask.sessions import SessionInterface, SessionMixin

from flask_larder import Cache
from tests.flask.answers import Counter, Get, is_hit, status_of

COOKIES = [{"Cookie": "user=ann"}, {"Cookie": "user=bob"}]
TOKENS = [{"Authorization": "Bearer ann"}, {"Authorization": "Bearer bob"}]


def read_cookie() -> str:
    return request.cookies.get("user", "nobody")


def read_session() -> str:
    return str(session.get("user", "nobody"))


@pytest.mark.parametrize(
    ("reason", "view"),
    [
        ("read-cookie", read_cookie),
        ("read-cookie", lambda: request.headers.get("Cookie", "nobody")),
        ("read-cookie", lambda: str("user" in request.cookies)),
        ("read-session", read_session),
        ("read-session", lambda: str("user" in session)),
        ("read-session", lambda: session.setdefault("user", "x")),
        ("read-session", lambda: flash("done") or "x"),
        ("read-session", lambda: render_template_string("{{ session['user'] }}")),
        ("read-authorization", lambda: str(request.authorization)),
        ("read-authorization", lambda: request.headers.get("authorization", "nobody")),
        ("read-headers", lambda: str(list(request.headers))),
        ("read-headers", lambda: str(request.headers)),
        ("read-cookie", lambda: (chunk for chunk in [read_cookie()])),
        ("read-cookie", lambda: Response(stream_with_context(read_cookie() for _ in range(1)))),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Cookie": "user=ann"}])
def test_view_that_looks_at_the_user(
    app: Flask,
    cache: Cache,
    get: Get,
    reason: str,
    view: Callable[[], object],
    headers: dict[str, str],
) -> None:
    """A view that looked at who asks, whether or not somebody did, is never stored."""
    app.add_url_rule("/", "view", cache.cached()(view))
    assert status_of(get("/", headers=headers)) == f"larder; fwd=uri-miss; detail={reason}"
    assert not is_hit(get("/", headers=headers))


def test_template_alone_reads_nothing(app: Flask, cache: Cache, get: Get) -> None:
    """Rendering a template is no reading of the session, which every template has at hand."""
    app.add_url_rule("/", "view", cache.cached()(lambda: render_template_string("{{ 1 + 1 }}")))
    get("/", headers=COOKIES[0])
    assert is_hit(get("/", headers=COOKIES[1]))


def test_cookie_that_nobody_reads(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """Cookies that the view does not look at do not keep it from being shared."""
    app.add_url_rule("/", "view", cache.cached()(lambda: str(count())))
    get("/", headers=COOKIES[0])
    assert is_hit(get("/", headers=COOKIES[1]))


@pytest.mark.parametrize("load", [read_cookie, read_session])
def test_hook_that_loads_the_user(
    app: Flask, cache: Cache, get: Get, load: Callable[[], str]
) -> None:
    """A user whom a hook put into flask.g is noticed, though the view itself reads nothing."""

    @app.before_request
    def before() -> None:
        g.user = load()

    app.add_url_rule("/", "view", cache.cached()(lambda: g.user))
    reason = "read-cookie" if load is read_cookie else "read-session"
    assert status_of(get("/", headers=COOKIES[0])).endswith(f"detail={reason}")
    assert not is_hit(get("/", headers=COOKIES[1]))


@pytest.mark.parametrize("outside", [True, False])
def test_login_required_in_both_orders(
    app: Flask, cache: Cache, get: Get, *, outside: bool
) -> None:
    """A login check, around the cache or within, never lets one user see another's page."""

    def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
        def checked() -> Any:
            g.user = read_cookie()
            return ("login", 302) if g.user == "nobody" else view()

        return checked

    def view() -> str:
        return f"hello {g.user}"

    cached = cache.cached()
    app.add_url_rule(
        "/", "view", login_required(cached(view)) if outside else cached(login_required(view))
    )
    for _ in range(2):
        assert get("/", headers=COOKIES[0]).data == b"hello ann"
        assert get("/", headers=COOKIES[1]).data == b"hello bob"
        assert get("/").status_code == 302


def test_authorization(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """A request with Authorization leaves no entry, unless the response says that it may."""

    @app.get("/<directive>")
    @cache.cached()
    def view(directive: str) -> Response:
        return Response(str(count()), headers={"Cache-Control": directive})

    for directive in ("max-age=60", "no-transform"):
        answer = get(f"/{directive}", headers=TOKENS[0])
        assert status_of(answer) == "larder; fwd=uri-miss; detail=authorization"
    for directive in ("public", "s-maxage=60", "must-revalidate"):
        get(f"/{directive}", headers=TOKENS[0])
        assert is_hit(get(f"/{directive}", headers=TOKENS[1]))


def test_hook_that_checks_a_token(app: Flask, cache: Cache, get: Get) -> None:
    """It leaves a public response public; a view that looks at the token again does not."""

    @app.before_request
    def before() -> None:
        g.known = request.authorization is not None

    public = {"Cache-Control": "public"}
    app.add_url_rule("/all", "all", cache.cached()(lambda: ("x", public)))
    app.add_url_rule("/own", "own", cache.cached()(lambda: (str(request.authorization), public)))
    get("/all", headers=TOKENS[0])
    assert is_hit(get("/all", headers=TOKENS[1]))
    for token in TOKENS:
        answer = get("/own", headers=token)
        assert answer.text == token["Authorization"]
        assert status_of(answer).endswith("detail=read-authorization")


def test_set_cookie(app: Flask, cache: Cache, get: Get) -> None:
    """A response that sets a cookie is never stored."""

    @app.get("/")
    @cache.cached()
    def view() -> Response:
        response = make_response("x")
        response.set_cookie("session", "of-ann")
        return response

    assert status_of(get("/")) == "larder; fwd=uri-miss; detail=set-cookie"
    assert not is_hit(get("/"))


@pytest.mark.parametrize(
    ("directive", "reason"),
    [
        ("private", "private"),
        ("Private, max-age=60", "private"),
        ('private="X-User", private', "private"),
        ("no-store", "no-store"),
        ("public, NO-STORE", "no-store"),
        ("no-cache", "no-cache"),
    ],
)
def test_directives(app: Flask, cache: Cache, get: Get, directive: str, reason: str) -> None:
    """What the response's Cache-Control forbids is not stored."""

    @app.get("/")
    @cache.cached()
    def view() -> Response:
        return Response("x", headers={"Cache-Control": directive})

    assert status_of(get("/")) == f"larder; fwd=uri-miss; detail={reason}"
    assert not is_hit(get("/"))


def test_after_this_request(app: Flask, cache: Cache, get: Get) -> None:
    """A view that arranges something for its own response is not stored."""

    @app.get("/")
    @cache.cached()
    def view() -> str:
        @after_this_request
        def mark(response: Response) -> Response:
            response.headers["X-Mark"] = "1"
            return response

        return "x"

    first, second = get("/"), get("/")
    assert status_of(first) == "larder; fwd=uri-miss; detail=after-this-request"
    assert first.headers["X-Mark"] == second.headers["X-Mark"] == "1"


@pytest.mark.parametrize(
    ("vary", "headers"),
    [
        (("Cookie",), COOKIES),
        ("authorization", TOKENS),
        (read_cookie, COOKIES),
        (lambda: request.headers.get("Authorization"), TOKENS),
    ],
)
def test_vary_keeps_users_apart(
    app: Flask, cache: Cache, get: Get, vary: object, headers: list[dict[str, str]]
) -> None:
    """With vary= each user has an answer of their own, from the cache the second time."""
    view = read_cookie if headers is COOKIES else lambda: str(request.authorization)
    app.add_url_rule("/", "view", cache.cached(vary=vary)(view))  # type: ignore[arg-type]
    first = [get("/", headers=user).data for user in headers]
    second = [get("/", headers=user) for user in headers]
    assert first[0] != first[1]
    assert [answer.data for answer in second] == first
    assert all(is_hit(answer) for answer in second)


def test_vary_function_covers_a_user_that_was_loaded_before(
    app: Flask, cache: Cache, get: Get
) -> None:
    """A hook loads the user, vary= names them: stored for each, and never mixed."""

    @app.before_request
    def before() -> None:
        g.user = read_cookie()

    app.add_url_rule("/", "view", cache.cached(vary=lambda: g.user)(lambda: f"hello {g.user}"))
    for _ in range(2):
        assert get("/", headers=COOKIES[0]).data == b"hello ann"
        assert get("/", headers=COOKIES[1]).data == b"hello bob"
    assert is_hit(get("/", headers=COOKIES[0]))


def test_vary_function_covers_only_what_it_saw(app: Flask, cache: Cache, get: Get) -> None:
    """A function that tells languages apart does not cover the cookie that the view reads."""
    cached = cache.cached(vary=lambda: request.args.get("lang"))
    app.add_url_rule("/", "view", cached(read_cookie))
    assert get("/", headers=COOKIES[0]).data == b"ann"
    assert get("/", headers=COOKIES[1]).data == b"bob"


def test_vary_function_tells_types_apart(app: Flask, cache: Cache, get: Get) -> None:
    """The user 1 and the user "1" are two, and so are ("a", "bc") and ("ab", "c")."""
    users: list[object] = [1, "1", None, "None", ("a", "bc"), ("ab", "c"), True]
    cached = cache.cached(vary=lambda: users[int(request.args["as"])])
    app.add_url_rule("/", "view", cached(lambda: request.args["as"]))
    for number in range(len(users)):
        assert get(f"/?as={number}").data == str(number).encode()


def test_unless_that_asks_for_the_user(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """Unless may look at the session: what is made for the anonymous is shared by them only."""

    @app.get("/")
    @cache.cached(unless=lambda: read_cookie() == "ann")
    def view() -> str:
        return f"page {count()}"

    assert status_of(get("/", headers={"Cookie": "user=nobody"})).endswith("detail=read-cookie")
    assert status_of(get("/")).startswith("larder; fwd=uri-miss; stored")
    assert is_hit(get("/"))
    assert is_hit(get("/", headers=COOKIES[1]))
    assert status_of(get("/", headers=COOKIES[0])) == "larder; fwd=bypass; detail=unless"


def test_unless_that_loads_the_user(app: Flask, cache: Cache, get: Get) -> None:
    """What unless loaded into flask.g for a user with a cookie is not shown to others."""

    def is_admin() -> bool:
        g.user = read_cookie()
        return bool(g.user == "root")

    app.add_url_rule("/", "view", cache.cached(unless=is_admin)(lambda: f"hello {g.user}"))
    assert get("/", headers=COOKIES[0]).data == b"hello ann"
    assert get("/", headers=COOKIES[1]).data == b"hello bob"


@pytest.mark.parametrize("inner_is", ["by-policy", "by-vary", "value"])
def test_cached_view_that_calls_a_cached_one(
    app: Flask, cache: Cache, get: Get, inner_is: str
) -> None:
    """A view whose part comes from the cache depends on what selected that part."""
    if inner_is == "by-vary":

        @cache.cached(key_prefix="inner/%s")
        def inner() -> object:
            return Response(request.environ["HTTP_COOKIE"], headers={"Vary": "Cookie"})
    else:
        prefix = "inner/%s" if inner_is == "by-policy" else "inner"

        @cache.cached(key_prefix=prefix, vary=("Cookie",))
        def inner() -> object:
            return request.environ["HTTP_COOKIE"]

    app.add_url_rule("/inner", "inner", inner)
    app.add_url_rule("/", "outer", cache.cached()(lambda: [inner()][0]))
    for _ in range(3):
        for user in COOKIES:
            get("/inner", headers=user)
            assert get("/", headers=user).data == user["Cookie"].encode()


def test_custom_session_interface(app: Flask, get: Get) -> None:
    """A session that does not tell whether it was used counts as used."""

    class Silent(dict[str, Any], SessionMixin):
        modified = False
        accessed = property(lambda _: (_ for _ in ()).throw(AttributeError))  # type: ignore[assignment]

    class Interface(SessionInterface):
        def open_session(self, app: Flask, request: Any) -> Any:
            return Silent()

        def save_session(self, app: Flask, session: Any, response: Response) -> None:
            pass

    app.session_interface = Interface()
    app.add_url_rule("/", "view", Cache(app).cached()(lambda: "x"))
    assert status_of(get("/")).endswith("detail=read-session")


def test_request_class_that_is_set_later(app: Flask, cache: Cache, get: Get) -> None:
    """Where the app gets another request class after init_app, nothing unwatched is stored."""

    class Own(app.request_class.__mro__[2]):  # type: ignore[misc, name-defined]
        """An app's own request class."""

    app.request_class = Own
    app.add_url_rule("/", "view", cache.cached()(read_cookie))
    answer = get("/", headers=COOKIES[0])
    assert status_of(answer) == "larder; fwd=bypass; detail=untracked"
    assert status_of(get("/", headers=COOKIES[0])).endswith("detail=read-cookie")
    assert get("/", headers=COOKIES[1]).data == b"bob"


def test_forged_host(app: Flask, cache: Cache, get: Get) -> None:
    """A forged Host gets an answer of its own and changes nobody else's."""
    app.add_url_rule("/", "view", cache.cached()(lambda: request.url_root))
    assert get("/", headers={"Host": "evil.example"}).data == b"http://evil.example/"
    assert get("/").data == b"http://localhost/"
    assert is_hit(get("/", headers={"Host": "EVIL.example"}))
    assert get("/", base_url="https://localhost").data == b"https://localhost/"
    assert get("/", base_url="http://localhost:8080").data == b"http://localhost:8080/"
    assert get("/", base_url="http://localhost/mount").data == b"http://localhost/mount/"


def test_untrusted_host(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """With TRUSTED_HOSTS other hosts never reach the cache."""
    app.config["TRUSTED_HOSTS"] = ["localhost"]
    app.add_url_rule("/", "view", cache.cached()(lambda: str(count())))
    answer = get("/", headers={"Host": "evil.example"})
    assert answer.status_code == 400 or status_of(answer).endswith("detail=untrusted-host")
    assert status_of(get("/")).startswith("larder; fwd=uri-miss; stored")


def test_untrusted_host_where_the_app_does_not_check(count: Counter) -> None:
    """An app that binds URLs in its own way may not refuse the host; the cache still does."""

    class Lenient(Flask):
        def create_url_adapter(self, request: Any) -> Any:
            return self.url_map.bind_to_environ(request.environ) if request else None

    app = Lenient(__name__)
    app.config.update(CACHE_TYPE="simple", TRUSTED_HOSTS=["localhost"])
    cache = Cache(app)
    value = cache.cached(key_prefix="value", query_string=True)(lambda: count())
    app.add_url_rule("/", "view", cache.cached()(lambda: f"{value()}"))
    client = app.test_client()
    for _ in range(2):
        answer = client.get("/?x=1", headers={"Host": "evil.example"})
        assert status_of(answer) == "larder; fwd=bypass; detail=untrusted-host"
    assert count.runs == 2
    assert client.get("/").status_code == 200


def test_mount_and_path_do_not_run_together(app: Flask, cache: Cache, get: Get) -> None:
    """/a + /b/c and /a/b + /c are two apps' URLs, though they look alike."""
    app.add_url_rule("/<path:rest>", "view", cache.cached()(lambda rest: rest))
    assert get("/b/c", base_url="http://localhost/a").data == b"b/c"
    assert get("/c", base_url="http://localhost/a/b").data == b"c"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/a?b", "/a"),
        ("/a#b", "/a"),
        ("/a b", "/a+b"),
        ("/a|b", "/a"),
        ("/a%20b", "/a b"),
        ("/\xff", "/\xfe"),
        ("/\xff", "/\xef\xbf\xbd"),
        ("/" + "x" * 300, "/" + "x" * 299 + "y"),
    ],
)
@pytest.mark.parametrize("query", ["", "b"])
def test_paths_that_look_alike(
    app: Flask, cache: Cache, get: Get, one: str, other: str, query: str
) -> None:
    """Two paths never share an entry. Servers hand them over decoded, as bytes in latin-1."""

    @app.get("/<path:rest>")
    @cache.cached(query_string=True)
    def view(rest: str) -> str:
        return repr((request.environ["PATH_INFO"], request.query_string))

    answers = [
        get("/x", query_string=query, environ_overrides={"PATH_INFO": path})
        for path in (one, other)
    ]
    assert answers[0].data != answers[1].data


def test_accept_fields_select(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """A view that looks at Accept-Language has an answer for each, without saying so."""

    @app.get("/")
    @cache.cached()
    def view() -> str:
        return f"{request.accept_languages.best_match(['de', 'en'])} {count()}"

    german = get("/", headers={"Accept-Language": "de"})
    english = get("/", headers={"Accept-Language": "en"})
    assert (german.data, english.data) == (b"de 1", b"en 2")
    assert status_of(english).startswith("larder; fwd=vary-miss; stored")
    again = get("/", headers={"Accept-Language": "de"})
    assert again.data == german.data
    assert again.headers["Vary"] == german.headers["Vary"] == "Accept-Language"


def test_vary_of_the_response(app: Flask, cache: Cache, get: Get) -> None:
    """The response's own Vary is honoured; Vary: * is not stored."""

    @app.get("/<field>")
    @cache.cached()
    def view(field: str) -> Response:
        return Response(request.headers.get("X-Tenant", ""), headers={"Vary": field})

    for tenant in ("a", "b", "a"):
        assert get("/X-Tenant", headers={"X-Tenant": tenant}).data == tenant.encode()
    assert is_hit(get("/X-Tenant", headers={"X-Tenant": "b"}))
    assert status_of(get("/*")) == "larder; fwd=uri-miss; detail=vary-star"


@pytest.mark.parametrize("name", ["X-Forwarded-User", "Cf-Access-Jwt-Assertion", "X-Api-Key"])
@pytest.mark.parametrize("decorate", ["cached", "http_cached"])
def test_a_field_that_by_its_name_tells_who_asks(
    app: Flask, cache: Cache, get: Get, name: str, decorate: str
) -> None:
    """As gateways set it, or applications: it counts as a cookie does."""

    def view() -> Response:
        return Response(request.headers.get(name), headers={"Cache-Control": "max-age=60"})

    app.add_url_rule("/", "view", getattr(cache, decorate)()(view))
    app.add_url_rule("/vary", "vary", getattr(cache, decorate)(vary=name)(view))
    ann, bob = {"headers": {name: "ann"}}, {"headers": {name: "bob"}}
    assert status_of(get("/", **ann)) == f"larder; fwd=uri-miss; detail=read-{name.lower()}"
    assert get("/", **bob).text == "bob"
    for _ in range(2):
        assert (get("/vary", **ann).text, get("/vary", **bob).text) == ("ann", "bob")
    assert is_hit(get("/vary", **ann))


@pytest.mark.parametrize(
    "name",
    [
        "X-User\r\nSet-Cookie: a=b",
        "Accept\r\nSet-Cookie: a=b",
        'X-Token"; hit',
        "Accept-\u00e9",
        "X-User" * 20,
        "",
    ],
)
def test_a_field_name_that_a_client_makes_up(app: Flask, cache: Cache, get: Get, name: str) -> None:
    """A view that reads whichever field it is told to: what no field is called is told nowhere."""
    view = cache.cached()(lambda: request.headers.get(request.args["name"], "none"))
    app.add_url_rule("/", "view", view)
    for _ in range(2):
        response = get("/", query_string={"name": name})
        assert (response.status_code, response.text) == (200, "none")
        assert status_of(response) == "larder; fwd=uri-miss; detail=read-headers"
        assert {"Set-Cookie", "Vary"}.isdisjoint(response.headers.keys())


def test_a_key_that_a_hook_has_checked_does_not_void_the_responses_word(
    app: Flask, cache: Cache, get: Get
) -> None:
    """As for ``Authorization``: who may see it is one thing, and for whom it was made another."""

    @app.before_request
    def check() -> None:
        if "X-Api-Key" not in request.headers:
            abort(401)

    app.add_url_rule("/", "view", cache.cached()(lambda: "x"))
    app.add_url_rule(
        "/public", "public", cache.cached()(lambda: ("x", {"Cache-Control": "public"}))
    )
    key = {"headers": {"X-Api-Key": "ann"}}
    for path in ("/", "/public"):
        get(path, **key)
    assert not is_hit(get("/", **key))
    assert is_hit(get("/public", headers={"X-Api-Key": "bob"}))


@pytest.mark.parametrize("control", ["public", "s-maxage=60", "must-revalidate"])
def test_a_user_whom_a_hook_has_loaded_by_a_cookie_is_not_for_all(
    app: Flask, cache: Cache, get: Get, control: str
) -> None:
    """Whatever the response says: a cookie names a user, and does not only open the door."""

    @app.before_request
    def load() -> None:
        g.user = request.cookies.get("user")

    app.add_url_rule("/", "view", cache.cached()(lambda: (g.user, {"Cache-Control": control})))
    for user in ("ann", "bob"):
        answer = get("/", headers={"Cookie": f"user={user}"})
        assert (answer.text, status_of(answer)) == (
            user,
            "larder; fwd=uri-miss; detail=read-cookie",
        )


@pytest.mark.parametrize("name", ["Session", "Headers", "Body", "Remote-User"])
def test_a_vary_that_sounds_like_something_else_covers_nothing(
    app: Flask, cache: Cache, get: Get, name: str
) -> None:
    """A header field of that name is not what the view has looked at."""

    @app.get("/")
    @cache.cached()
    def view() -> Response:
        session.get("user")
        list(request.headers)
        return Response(str(request.remote_user), headers={"Vary": name})

    assert "detail=read-" in status_of(get("/"))
