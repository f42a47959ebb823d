"""Apps whose requests and responses are of their own classes, or are changed by hooks and views."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Request, Response, g, request, session, stream_with_context
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from werkzeug.test import Client

from flask_larder import Cache
from tests.flask.answers import Get, is_hit, status_of

ANN, BOB = {"Cookie": "who=ann; tenant=a"}, {"Cookie": "who=bob; tenant=a"}


class OfTenants(Request):
    """Its host is told by a cookie."""

    @property
    def host(self) -> str:  # type: ignore[override]
        return f"{self.cookies.get('tenant')}.example"

    @host.setter
    def host(self, host: str) -> None:
        pass


@pytest.mark.parametrize(
    "options", [{"make_cache_key": lambda: "key"}, {"key_prefix": lambda: "key"}]
)
def test_what_the_cache_reads_itself_is_not_what_the_key_holds(
    app: Flask, get: Get, options: dict[str, Any]
) -> None:
    """A function that makes the key covers what it has read, and not the cookie of the host."""
    app.request_class = OfTenants
    cache = Cache(app)
    view = cache.cached(**options)(lambda: request.cookies["who"])
    app.add_url_rule("/page", "page", view)
    answers = [get("/page", headers=who) for who in (ANN, BOB)]
    assert [answer.text for answer in answers] == ["ann", "bob"]
    assert status_of(answers[1]).endswith("fwd=uri-miss; detail=read-cookie")


def test_a_hook_that_sets_view_args_hides_nothing_that_was_read(
    app: Flask, cache: Cache, get: Get
) -> None:
    """Also where no rule has matched, so that nothing else sets them."""

    @app.before_request
    def load() -> None:
        g.who = request.cookies["who"]
        request.view_args = request.view_args or {}

    page = cache.cached()(lambda: f"nothing here, {g.who}")
    app.register_error_handler(404, lambda _: (page(), 404))
    app.add_url_rule("/page", "page", cache.cached()(lambda: g.who))
    assert [get("/none", headers=who).text for who in (ANN, BOB)] == [
        *("nothing here, ann", "nothing here, bob"),
    ]
    assert [get("/page", headers=who).text for who in (ANN, BOB)] == ["ann", "bob"]


def test_a_view_that_sets_view_args_hides_nothing_that_was_read(
    app: Flask, cache: Cache, get: Get
) -> None:
    """A body that streams pushes the context again, which is no new request."""

    @app.get("/page")
    @cache.cached()
    def page() -> Response:
        who = request.cookies["who"]
        request.view_args = None

        def body() -> Iterator[str]:
            yield who

        return Response(stream_with_context(body()))

    assert [get("/page", headers=who).text for who in (ANN, BOB)] == ["ann", "bob"]


def test_a_request_class_with_view_args_of_its_own(app: Flask, get: Get) -> None:
    """The view gets what that makes of them."""

    class Lower(Request):
        _parts: dict[str, Any]

        @property
        def view_args(self) -> dict[str, Any]:  # type: ignore[override]
            return {name: part.lower() for name, part in self._parts.items()}

        @view_args.setter
        def view_args(self, parts: dict[str, Any]) -> None:
            self._parts = parts

    app.request_class = Lower
    cache = Cache(app)
    app.add_url_rule("/<name>", "page", cache.cached()(lambda name: name))
    assert [get("/ABC").text for _ in range(3)] == ["abc"] * 3


class Telling(Request):
    """It looks for what Flask has made of its URL."""

    def __init__(self, environ: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(environ, **kwargs)
        self.rules = [self.url_rule, self.endpoint]


class TellingSessions(SecureCookieSessionInterface):
    """They do, too."""

    def open_session(self, app: Flask, request: Any) -> SecureCookieSession | None:
        request.rules += [request.url_rule, request.blueprint]
        return super().open_session(app, request)


def test_no_rule_is_there_before_the_url_is_matched(app: Flask, cache: Cache, get: Get) -> None:
    """As in Flask without a cache; and then it is, in each request."""
    app.request_class, app.session_interface = Telling, TellingSessions()

    @app.after_request
    def tell(response: Response) -> Response:
        rules = [*request.rules, request.url_rule, request.endpoint]  # type: ignore[attr-defined]
        response.headers["X-Rules"] = " ".join(map(str, rules))
        return response

    app.add_url_rule("/page/<int:number>", "page", cache.cached()(lambda number: f"{number}"))
    answers = [get("/page/1"), get("/page/1")]
    rules = "None None None None /page/<int:number> page"
    assert [answer.headers["X-Rules"] for answer in answers] == [rules, rules]
    assert get("/none").headers["X-Rules"] == "None None None None None None"


class Attributes(SecureCookieSession):
    """A session whose items are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        return self[name]  # raises KeyError


def test_a_session_class_with_attributes_of_its_own(app: Flask, cache: Cache, get: Get) -> None:
    """It is asked for none of ours."""
    app.session_interface = SecureCookieSessionInterface()
    app.session_interface.session_class = Attributes
    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    app.add_url_rule("/user", "user", cache.cached()(lambda: session.get("user", "nobody")))
    assert get("/page").text == "page"
    assert is_hit(get("/page"))
    assert status_of(get("/user")).endswith("detail=read-session")


def test_a_response_class_that_makes_json_of_lists(app: Flask, cache: Cache, get: Get) -> None:
    """A stored body is bytes, and given to it as such."""

    class Json(Response):
        def __init__(self, response: Any = None, *args: Any, **kwargs: Any) -> None:
            if isinstance(response, list):
                response = json.dumps(response)
            super().__init__(response, *args, **kwargs)

    app.response_class = Json
    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    answers = [get("/page") for _ in range(3)]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "page")] * 3
    assert is_hit(answers[2])


def test_a_response_class_that_needs_a_body(app: Flask, cache: Cache) -> None:
    """It is given what is stored, as it was by the view."""

    class Measured(Response):
        def __init__(self, response: Any, *args: Any, **kwargs: Any) -> None:
            self.size = len(response)
            super().__init__(response, *args, **kwargs)

    check_size(app, cache, Measured)


def test_a_response_class_that_notes_its_body(app: Flask, cache: Cache) -> None:
    """Where it is set."""

    class Measured(Response):
        def set_data(self, value: Any) -> None:
            self.size = len(value)
            super().set_data(value)

    check_size(app, cache, Measured)


def check_size(app: Flask, cache: Cache, kind: type[Response]) -> None:
    app.response_class = kind
    app.after_request(tell_size)
    app.add_url_rule("/page", "page", cache.cached()(lambda: "page"))
    client = Client(app)  # whose own responses are of another class
    answers = [client.get("/page") for _ in range(4)]
    assert [(each.status_code, each.headers["X-Size"]) for each in answers] == [(200, "4")] * 4
    assert is_hit(answers[3])


def tell_size(response: Any) -> Any:
    response.headers["X-Size"] = str(response.size)
    return response


@pytest.mark.parametrize("kind", [dict, list, tuple])
def test_fields_that_are_no_headers(
    app: Flask, cache: Cache, get: Get, kind: Callable[[Any], Any]
) -> None:
    """What a view puts in the place of ``response.headers`` is sent without the cache, too."""

    @app.get("/page")
    @cache.cached()
    def page() -> Response:
        response = Response("text")
        response.headers = kind([("X-Own", "1"), ("Vary", "X-Team")])
        return response

    miss, hit, part = get("/page"), get("/page"), get("/page", headers={"Range": "bytes=0-0"})
    assert [each.headers["X-Own"] for each in (miss, hit, part)] == ["1", "1", "1"]
    assert (is_hit(miss), is_hit(hit), hit.text, part.text) == (False, True, "text", "t")
    assert get("/page", headers={"If-None-Match": hit.headers["ETag"]}).status_code == 304


def test_fields_that_are_no_headers_past_the_cache(app: Flask, cache: Cache, get: Get) -> None:
    """What became of the request is told in these, too."""

    @app.get("/page")
    @cache.cached(unless=lambda: True)
    def page() -> Response:
        response = Response("text")
        response.headers = {"X-Own": "1"}  # type: ignore[assignment]
        return response

    answer = get("/page")
    assert (answer.headers["X-Own"], status_of(answer)) == (
        "1",
        "larder; fwd=bypass; detail=unless",
    )


def test_fields_that_are_no_headers_of_what_invalidates(app: Flask, cache: Cache, get: Get) -> None:
    """The page that they name is made anew."""
    runs = iter("12")
    app.add_url_rule("/page", "page", cache.cached()(lambda: next(runs)))

    @app.post("/change")
    def change() -> Response:
        response = Response(status=201)
        response.headers = {"Location": "/page"}  # type: ignore[assignment]
        return response

    answers = [get("/page").text, get("/change", method="POST").status_code, get("/page").text]
    assert answers == ["1", 201, "2"]


def test_a_response_that_is_changed_when_it_is_sent(app: Flask, cache: Cache, get: Get) -> None:
    """One of a class of its own is not stored, since a hit would be sent without that."""

    class Secure(Response):
        def get_wsgi_headers(self, environ: Any) -> Any:
            fields = super().get_wsgi_headers(environ)
            fields["Content-Security-Policy"] = f"report-uri {environ['PATH_INFO']}"
            return fields

    app.add_url_rule("/", "view", cache.cached()(lambda: Secure("x")))
    for _ in range(2):
        answer = get("/")
        assert status_of(answer) == "larder; fwd=uri-miss; detail=response-class"
        assert answer.headers["Content-Security-Policy"] == "report-uri /"
    app.response_class = Secure
    get("/")
    assert is_hit(again := get("/"))
    assert again.headers["Content-Security-Policy"] == "report-uri /"


def test_a_class_of_responses_beneath_the_apps_own(app: Flask, cache: Cache, get: Get) -> None:
    """It is sent as hits are, which are of the app's class."""

    class Secure(Response):
        def get_wsgi_headers(self, environ: Any) -> Any:
            fields = super().get_wsgi_headers(environ)
            fields["Content-Security-Policy"] = "default-src 'none'"
            return fields

    class Xml(Secure):
        default_mimetype = "text/xml"

    app.response_class = Secure
    app.add_url_rule("/", "view", cache.cached()(lambda: Xml("<a/>")))
    for hit in (False, True):
        answer = get("/")
        assert is_hit(answer) == hit
        assert answer.mimetype == "text/xml"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'"
