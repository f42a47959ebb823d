"""What is sent without the engine is what it would send: many views, asked in many ways."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response, jsonify, make_response, redirect
from werkzeug.test import Client

from flask_larder import Cache
from tests.flask.before_flask.passing import Passing


def response(body: Any = b"page", status: int | str = 200, *fields: tuple[str, str]) -> Response:
    made = Response(body, status)
    for name, value in fields:
        made.headers.add(name, value)
    return made


def untyped(body: bytes) -> Response:
    made = Response(body)
    del made.headers["Content-Type"]
    return made


DAY = "Thu, 26 Nov 2020 00:00:00 GMT"

VIEWS: dict[str, Callable[[], Any]] = {
    "text": lambda: "page",
    "unicode": lambda: "päge ✓",
    "bytes": lambda: b"\x00\xff",
    "json": lambda: jsonify(a=1),
    "dict": lambda: {"a": [1, 2]},
    "empty": lambda: "",
    "stream": lambda: iter(["a", "b"]),
    "large": lambda: b"x" * 100_000,
    "no content": lambda: ("", 204),
    "no content with a body": lambda: ("text", 204),
    "no content with a length": lambda: response(b"", 204, ("Content-Length", "0")),
    "moved": lambda: redirect("/elsewhere?a=1", 301),
    "moved to an IRI": lambda: response(b"", 308, ("Location", "/übersicht?ä=ö#ß")),
    "moved to a host": lambda: response(b"", 301, ("Location", "http://bücher.example/a b")),
    "content location": lambda: response(b"a", 200, ("Content-Location", "/ä")),
    "missing": lambda: ("missing", 404),
    "teapot": lambda: ("teapot", 418),
    "unknown status": lambda: ("?", 299),
    "own reason": lambda: response(b"a", "200 Fine"),
    "not authoritative": lambda: ("page", 203),
    "vary twice": lambda: response(b"a", 200, ("Vary", "X-A"), ("Vary", "X-B, X-A")),
    "vary any case": lambda: response(b"a", 200, ("VARY", "x-a")),
    "statuses of others": lambda: response(
        b"a", 200, ("Cache-Status", "one; hit"), ("Cache-Status", "two; fwd=uri-miss")
    ),
    "fields twice": lambda: response(b"a", 200, ("Link", "</a>"), ("Link", "</b>"), ("X-A", "")),
    "case of names": lambda: response(b"a", 200, ("x-lower", "1"), ("X-UPPER", "2")),
    "latin": lambda: response(b"a", 200, ("X-Name", "é")),
    "own length": lambda: response(b"page", 200, ("Content-Length", "4")),
    "no type": lambda: untyped(b"a"),
    "own type": lambda: response(b"a", 200, ("Content-Language", "de")),
    "age of others": lambda: response(b"a", 200, ("Age", "5"), ("Server-Timing", "db;dur=1")),
    "tag": lambda: response(b"a", 200, ("ETag", '"one"')),
    "weak tag": lambda: response(b"a", 200, ("ETag", 'W/"one"')),
    "date": lambda: response(b"a", 200, ("Last-Modified", DAY), ("Date", DAY)),
    "expires": lambda: response(b"a", 200, ("Cache-Control", "max-age=60, public")),
    "downloads": lambda: response(b"a", 200, ("Content-Disposition", "attachment")),
    "encoded": lambda: response(b"a", 200, ("Content-Encoding", "x"), ("ETag", '"one"')),
    "ranges": lambda: response(b"page", 200, ("Accept-Ranges", "bytes")),
    "cookie": lambda: response(b"a", 200, ("Set-Cookie", "a=1")),
    "private": lambda: response(b"a", 200, ("Cache-Control", "private")),
}

STATUSES = (200, 203, 204, 299, 301, 308, 404, 418)
OPTIONS: dict[str, dict[str, Any]] = {
    "unchecked": {"statuses": STATUSES, "before_flask": True},
    "telling": {
        "statuses": STATUSES,
        "tags": ("a", "ü,b"),
        "response_hit_indication": True,
        "vary": ("X-A", "X-C"),
        "query_string": True,
    },
}

REQUESTS: dict[str, dict[str, Any]] = {
    "GET": {},
    "HEAD": {"method": "HEAD"},
    "cookie": {"headers": {"Cookie": "a=1"}},
    "session": {"headers": {"Cookie": "session=1"}},
    "query": {"query_string": "a=1"},
    "tag": {"headers": {"If-None-Match": '"one"'}},
    "any tag": {"headers": {"If-None-Match": "*"}},
    "another tag": {"headers": {"If-None-Match": '"two"'}},
    "HEAD and tag": {"method": "HEAD", "headers": {"If-None-Match": '"one"'}},
    "since": {"headers": {"If-Modified-Since": DAY}},
    "since later": {"headers": {"If-Modified-Since": "Thu, 26 Nov 2099 00:00:00 GMT"}},
    "since never": {"headers": {"If-Modified-Since": "yesterday"}},
    "range": {"headers": {"Range": "bytes=0-1"}},
    "if-match": {"headers": {"If-Match": '"one"'}},
    "authorization": {"headers": {"Authorization": "Bearer x"}},
    "no-cache": {"headers": {"Cache-Control": "no-cache"}},
    "selected": {"headers": {"X-A": "1", "X-B": "2", "X-C": "3"}},
    "body": {"method": "GET", "data": b"x"},
}


def client_of(view: Callable[[], Any], options: dict[str, Any], how: str) -> Client:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="tests", CACHE_TYPE="SimpleCache", CACHE_SEND_TAGS=True)
    cache = Cache(app, config={"CACHE_BEFORE_FLASK": how == "before Flask"})
    if how == "engine":  # which alone is asked where an option has a function
        options = {**options, "unless": lambda: False}
    app.add_url_rule("/", "view", cache.cached(**options)(lambda: make_response(view())))
    return Client(app, use_cookies=False)


_NUMBERS = {"Age": r"^\d+", "Server-Timing": r"\d+\.\d+", "Cache-Status": r"ttl=\d+"}


def sent(client: Client, **options: Any) -> tuple[str, list[tuple[str, str]], bytes]:
    """What does not depend on when it was sent."""
    answer = client.open("/", **{"method": "GET", **options})
    fields = [(n, re.sub(_NUMBERS.get(n, r"\Z\A"), "", value)) for n, value in answer.headers]
    return answer.status, sorted(fields), answer.data


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("view", VIEWS)
def test_the_same_is_sent(flask: Passing, engine: Passing, view: str, options: str) -> None:
    """Status, header fields and body, to each request, once and again."""
    ways = ("engine", "inside Flask", "before Flask")
    clients = {how: client_of(VIEWS[view], OPTIONS[options], how) for how in ways}
    passed = {how: Counter[str]() for how in ways}
    for name in [*REQUESTS, *reversed(REQUESTS)]:
        answers = []
        for how, client in clients.items():
            before = flask.count, engine.count
            answers.append(sent(client, **REQUESTS[name]))
            passed[how].update(flask=flask.count - before[0], engine=engine.count - before[1])
        assert answers[0] == answers[1] == answers[2], name
    by_engine, inside, before_flask = passed.values()
    if view not in {"cookie", "private"}:
        assert inside["flask"] == by_engine["flask"]
        assert inside["engine"] < by_engine["engine"] - 10
        assert before_flask["flask"] < inside["flask"] - 10
    else:
        assert by_engine == inside == before_flask
