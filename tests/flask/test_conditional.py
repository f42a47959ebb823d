"""Clients that have the answer already: entity tags, and 304."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, abort, request

from flask_larder import Cache
from flask_larder.conditional import entity_tag_of
from tests.flask.answers import Counter, Get, status_of

MODIFIED = "Thu, 26 Nov 2026 10:00:00 GMT"
EARLIER = "Thu, 26 Nov 2026 09:59:59 GMT"


@pytest.fixture
def page(app: Flask, cache: Cache, count: Counter) -> Counter:
    """A view that counts its runs."""

    @app.get("/")
    @cache.cached()
    def page() -> dict[str, int]:
        return {"run": count()}

    return count


def having(tag: str, **fields: str) -> dict[str, Any]:
    return {"headers": {"If-None-Match": tag, **fields}}


def test_an_answer_has_a_tag_made_of_its_body(page: Counter, get: Get) -> None:
    """A stored one the same as the one that is stored."""
    made, hit = get("/"), get("/")
    assert made.headers["ETag"] == hit.headers["ETag"] == entity_tag_of(made.data)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_the_same_gets_304(page: Counter, get: Get, method: str) -> None:
    """Without a body and what describes it; with what a 200 would have said beside (15.4.5)."""
    full = get("/")
    answer = get("/", method=method, **having(full.headers["ETag"]))
    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == full.headers["ETag"]
    assert status_of(answer) == "larder; hit; ttl=300"
    assert answer.headers["Age"] == "0"
    assert not {"Content-Length", "Content-Type"} & set(answer.headers.keys())
    assert page.runs == 1


def test_who_has_another_gets_the_whole(page: Counter, get: Get) -> None:
    """Also where the request names a date, which counts for nothing then (13.2.2)."""
    get("/")
    answer = get("/", **having('"other"', **{"If-Modified-Since": MODIFIED}))
    assert (answer.status_code, answer.json) == (200, {"run": 1})


def test_what_is_just_made_may_be_what_the_client_has(
    app: Flask, cache: Cache, get: Get, count: Counter
) -> None:
    """The view makes the whole, which is stored, though the client does not need it."""

    @app.get("/")
    @cache.cached()
    def page() -> Response:
        count()
        response = Response("page")
        response.add_etag()
        return response.make_conditional(request)

    tag = get("/").headers["ETag"]
    cache.clear()
    made = get("/", **having(tag))
    assert (made.status_code, made.data) == (304, b"")
    assert status_of(made) == "larder; fwd=uri-miss; stored; ttl=300"
    assert get("/").text == "page"
    assert count.runs == 2


@pytest.mark.parametrize(("since", "code"), [(MODIFIED, 304), (EARLIER, 200), ("soon", 200)])
def test_a_date_of_the_view(app: Flask, cache: Cache, get: Get, since: str, code: int) -> None:
    """It gives its own validators, which stay."""

    @app.get("/")
    @cache.cached()
    def page() -> tuple[str, dict[str, str]]:
        return "page", {"Last-Modified": MODIFIED, "ETag": 'W/"mine"'}

    assert get("/").headers["ETag"] == 'W/"mine"'
    assert get("/", headers={"If-Modified-Since": since}).status_code == code
    assert get("/", **having('"mine"')).status_code == 304


def test_only_a_200_is_conditional(app: Flask, cache: Cache, get: Get) -> None:
    """An error is shown, also to a client that names any."""

    @app.get("/")
    @cache.cached(statuses=(200, 404))
    def page() -> str:
        abort(404)

    for _ in range(2):
        answer = get("/", **having("*"))
        assert answer.status_code == 404
        assert "ETag" not in answer.headers


def test_other_methods_are_not_conditional(app: Flask, cache: Cache, get: Get) -> None:
    """What POST does has been done."""

    @app.post("/")
    @cache.cached()
    def page() -> str:
        return "done"

    assert get("/", method="POST", **having("*")).text == "done"


def test_a_body_that_a_decorator_changes_has_no_tag(app: Flask, cache: Cache, get: Get) -> None:
    """It would be that of another body."""

    def doubled(view: Callable[[], dict[str, int]]) -> Callable[[], dict[str, int]]:
        def page() -> dict[str, int]:
            return {name: 2 * number for name, number in view().items()}

        page.__wrapped__ = view  # type: ignore[attr-defined]
        return page

    @app.get("/")
    @doubled
    @cache.cached()
    def page() -> dict[str, int]:
        return {"number": 4}

    for _ in range(2):
        assert "ETag" not in get("/").headers


def test_the_client_is_asked_about_again_after_the_view_has_failed(
    app: Flask, cache: Cache, get: Get
) -> None:
    """What was set aside is there again for who handles the error."""
    seen: list[str | None] = []

    @app.errorhandler(LookupError)
    def handle(_: LookupError) -> str:
        seen.append(request.headers.get("If-None-Match"))
        return ""

    @app.get("/")
    @cache.cached()
    def page() -> str:
        seen.append(request.headers.get("If-None-Match"))
        raise LookupError

    get("/", **having('"a"'))
    assert seen == [None, '"a"']


def test_a_tag_tells_nobody_of_another_users_answer(app: Flask, cache: Cache, get: Get) -> None:
    """What is not shared is judged by what this user gets."""

    @app.get("/")
    @cache.cached()
    def page() -> str:
        return request.cookies.get("user", "nobody")

    tag = get("/", headers={"Cookie": "user=ann"}).headers.get("ETag", entity_tag_of(b"ann"))
    answer = get("/", headers={"Cookie": "user=bob", "If-None-Match": tag})
    assert (answer.status_code, answer.text) == (200, "bob")


@pytest.mark.parametrize(
    ("name", "value", "status"), [("If-None-Match", '"a"', 304), ("Range", "bytes=0-0", 206)]
)
def test_a_condition_that_the_response_varies_by_selects_nothing(
    app: Flask, cache: Cache, get: Get, count: Counter, name: str, value: str, status: int
) -> None:
    """What is stored was made without it, and so it is looked for."""

    @app.get("/")
    @cache.cached()
    def page() -> Response:
        count()
        return Response("a page", headers={"Vary": name, "ETag": '"a"'})

    get("/")
    fields = {"headers": {name: '"a"' if name == "If-None-Match" else "bytes=0-0"}}
    assert [get("/", **fields).status_code for _ in range(2)] == [
        304 if name[0] == "I" else 206
    ] * 2
    assert count.runs == 1


def test_is_stale_sees_no_condition(app: Flask, cache: Cache, get: Get, count: Counter) -> None:
    """It is asked of what is stored, and not of what the client has."""

    def is_stale(stored: Response) -> bool:
        return stored.make_conditional(request).status_code != 200

    @app.get("/")
    @cache.cached(is_stale=is_stale)
    def page() -> Response:
        count()
        return Response("a page", headers={"ETag": '"a"'})

    get("/")
    assert [get("/", **having('"a"')).status_code for _ in range(2)] == [304, 304]
    assert count.runs == 1


def test_what_was_set_aside_is_there_again(app: Flask, cache: Cache, get: Get) -> None:
    """What surrounds the view is gone when it has answered, and is there once meanwhile."""
    seen = list[tuple[bool, int]]()

    def look(response: Response) -> Response:
        environ = request.environ
        seen.append(("HTTP_IF_NONE_MATCH" in environ, len(environ.get("flask_larder.tags", {}))))
        return response

    @app.get("/")
    @cache.cached()
    def view() -> str:
        look(Response())
        return "x"

    app.after_request(look)
    get("/", headers={"If-None-Match": '"a"'})
    assert seen == [(False, 1), (True, 0)]
