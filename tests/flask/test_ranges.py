"""Clients that want a part of an answer: 206, 416, and the whole where that is right."""

import gzip
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from typing import Any
from wsgiref.util import FileWrapper

import pytest
from flask import Flask, Response, request, send_file
from werkzeug.test import EnvironBuilder, TestResponse, run_wsgi_app

from flask_larder import Cache
from flask_larder.conditional import entity_tag_of
from tests.core.test_coalesce import until, waiting
from tests.flask.answers import Counter, Get, is_hit, status_of

BODY = b"0123456789"
LARGE = bytes(range(256)) * 200  # more than is stored
LONG_AGO = "Thu, 26 Nov 2020 10:00:00 GMT"


@pytest.fixture
def cache(app: Flask) -> Cache:
    """A cache that takes bodies of up to 10,000 bytes."""
    return Cache(app, config={"CACHE_MAX_BODY_BYTES": "10000"})


@pytest.fixture
def page(app: Flask, cache: Cache, count: Counter) -> Counter:
    """A view that counts its runs, and would send a part itself."""

    @app.get("/")
    @cache.cached()
    def page() -> Response:
        count()
        response = Response(
            BODY, headers={"Cache-Control": "max-age=60", "Last-Modified": LONG_AGO}
        )
        return response.make_conditional(request, accept_ranges=True, complete_length=len(BODY))

    return count


def wanting(part: str, **fields: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return {"headers": {"Range": part, **named}}


def content_range(answer: TestResponse) -> str | None:
    return answer.headers.get("Content-Range")


@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize(
    ("part", "said", "body"),
    [
        ("bytes=2-4", "bytes 2-4/10", b"234"),
        ("Bytes=7-", "bytes 7-9/10", b"789"),
        ("bytes=-1", "bytes 9-9/10", b"9"),
        ("bytes=0-", "bytes 0-9/10", BODY),
        ("bytes=4-" + "9" * 10_000, "bytes 4-9/10", b"456789"),
    ],
)
def test_a_part(
    page: Counter, get: Get, part: str, said: str, body: bytes, *, is_stored: bool
) -> None:
    """Of what is stored, and of what is just made, whose whole is stored (15.3.7)."""
    if is_stored:
        get("/")
    answer = get("/", **wanting(part))
    assert (answer.status_code, content_range(answer), answer.data) == (206, said, body)
    assert answer.headers["Content-Length"] == str(len(body))
    assert is_hit(answer) == is_stored
    whole = get("/")
    assert (whole.status_code, whole.data, is_hit(whole)) == (200, BODY, True)
    assert page.runs == 1


def test_a_part_has_the_fields_of_the_whole(page: Counter, get: Get) -> None:
    """Which tell what it is a part of, for how long, and what became of the request."""
    whole, part = get("/"), get("/", **wanting("bytes=2-4"))
    for name in ("ETag", "Last-Modified", "Cache-Control", "Content-Type", "Accept-Ranges"):
        assert part.headers[name] == whole.headers[name]
    assert part.headers["Age"] == "0"
    assert status_of(part) == "larder; hit; ttl=60"
    assert "Content-Range" not in whole.headers


def test_digests_of_the_content_are_not_those_of_a_part(app: Flask, cache: Cache, get: Get) -> None:
    """Those of the representation stay right (RFC 9530)."""
    digests = dict.fromkeys(("Content-Digest", "Content-MD5", "Repr-Digest"), "sha-256=:eA==:")
    app.add_url_rule("/", "page", cache.cached()(lambda: (BODY, digests)))
    assert digests.keys() <= set(get("/").headers.keys())
    answer = get("/", **wanting("bytes=2-4"))
    assert digests.keys() & set(answer.headers.keys()) == {"Repr-Digest"}


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_part_beyond_the_end(page: Counter, get: Get, *, is_stored: bool) -> None:
    """Is refused, with the length, and nothing that describes the whole (15.5.17)."""
    if is_stored:
        get("/")
    answer = get("/", **wanting("bytes=10-"))
    assert (answer.status_code, content_range(answer)) == (416, "bytes */10")
    assert (answer.data, answer.headers["Content-Length"]) == (b"", "0")
    about_the_whole = {"ETag", "Last-Modified", "Content-Type", "Age", "Expires"}
    assert not about_the_whole & set(answer.headers.keys())
    assert is_hit(answer) == is_stored
    assert get("/").data == BODY
    assert page.runs == 1


@pytest.mark.parametrize(
    "part", ["bytes=0-1,3-4", "items=0-1", "bytes=4-2", "bytes=-", "0-1", "", "bytes=0-0,10-"]
)
def test_what_is_not_answered_in_part(page: Counter, get: Get, part: str) -> None:
    """Several parts, other units, and what is malformed get the whole (14.2)."""
    for _ in range(2):
        answer = get("/", **wanting(part))
        assert (answer.status_code, content_range(answer), answer.data) == (200, None, BODY)


def test_only_get_has_parts(app: Flask, cache: Cache, get: Get) -> None:
    """HEAD tells of the whole, and for other methods there are none (14.2)."""

    @app.route("/", methods=["GET", "POST"])
    @cache.cached()
    def page() -> bytes:
        return BODY

    for method in ("HEAD", "POST", "GET", "HEAD"):
        answer = get("/", method=method, **wanting("bytes=0-" if method == "GET" else "bytes=2-4"))
        assert answer.status_code == (206 if method == "GET" else 200)
        assert answer.headers["Content-Length"] == "10"


def test_only_a_200_has_parts(app: Flask, cache: Cache, get: Get) -> None:
    """An error is shown whole; and a view's own part of something else is left as it is."""
    odd = {"Content-Range": "bytes 0-9/99"}
    app.add_url_rule("/error", "error", cache.cached(statuses=(404,))(lambda: (BODY, 404)))
    app.add_url_rule("/own", "own", cache.cached()(lambda: (BODY, 206, odd)))
    app.add_url_rule("/odd", "odd", cache.cached()(lambda: (BODY, odd)))
    for path, code in {"/error": 404, "/own": 206, "/odd": 200}.items():
        for _ in range(2):
            answer = get(path, **wanting("bytes=2-4"))
            assert (answer.status_code, answer.data) == (code, BODY)


def test_nothing_has_no_parts(app: Flask, cache: Cache, get: Get) -> None:
    """An empty body is sent as it is."""
    app.add_url_rule("/", "page", cache.cached()(lambda: b""))
    for _ in range(2):
        answer = get("/", **wanting("bytes=0-"))
        assert (answer.status_code, answer.data) == (200, b"")


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("the tag", 206),
        ("weak", 200),
        ('"other"', 200),
        (LONG_AGO, 206),
        ("Thu, 26 Nov 2020 10:00:01 GMT", 200),
        ("Thursday, 26-Nov-20 10:00:00 GMT", 200),
        ("soon", 200),
    ],
)
def test_a_part_of_what_the_client_has(page: Counter, get: Get, condition: str, code: int) -> None:
    """If-Range (13.1.5): the whole, where the client's part is one of another answer."""
    tag = get("/").headers["ETag"]
    condition = {"the tag": tag, "weak": f"W/{tag}"}.get(condition, condition)
    answer = get("/", **wanting("bytes=2-4", If_Range=condition))
    assert answer.status_code == code
    assert answer.data == (b"234" if code == 206 else BODY)
    beyond = get("/", **wanting("bytes=10-", If_Range=condition))
    assert beyond.status_code == (416 if code == 206 else 200)


def test_a_weak_tag_holds_no_part_together(app: Flask, cache: Cache, get: Get) -> None:
    """A view that says that its answers are only about the same gets no parts glued."""
    app.add_url_rule("/", "page", cache.cached()(lambda: (BODY, {"ETag": 'W/"1"'})))
    for condition in ('W/"1"', '"1"'):
        assert get("/", **wanting("bytes=2-4", If_Range=condition)).status_code == 200


def test_what_was_changed_just_now_may_change_again(app: Flask, cache: Cache, get: Get) -> None:
    """Its date does not tell it from another answer of the same second (8.8.2.2)."""

    @app.get("/")
    @cache.cached()
    def page() -> Response:
        response = Response(BODY)
        response.last_modified = int(time())
        return response

    modified = get("/").headers["Last-Modified"]
    assert get("/", **wanting("bytes=2-4", If_Range=modified)).status_code == 200


@pytest.mark.parametrize(("changed", "code"), [(250, 206), (150, 200)])
def test_a_stored_answer_is_dated_by_when_it_was_made(
    app: Flask, cache: Cache, get: Get, changed: int, code: int
) -> None:
    """A hundred seconds ago, when that change was a while ago, or had just been made."""

    @app.get("/")
    @cache.http_cached()
    def page() -> Response:
        response = Response(BODY, headers={"Cache-Control": "max-age=600", "Age": "100"})
        response.last_modified = int(time()) - changed
        return response

    modified = get("/").headers["Last-Modified"]
    answer = get("/", **wanting("bytes=2-4", If_Range=modified))
    assert (answer.status_code, is_hit(answer)) == (code, True)


def test_who_has_the_whole_gets_304(page: Counter, get: Get) -> None:
    """Before any range is looked at (13.2.2)."""
    tag = get("/").headers["ETag"]
    for part in ("bytes=2-4", "bytes=10-"):
        answer = get("/", **wanting(part, If_None_Match=tag, If_Range=tag))
        assert (answer.status_code, answer.data, content_range(answer)) == (304, b"", None)
    other = get("/", **wanting("bytes=2-4", If_None_Match='"other"', If_Range=tag))
    assert (other.status_code, other.data) == (206, b"234")
    dated = get("/", **wanting("bytes=2-4", If_Modified_Since=LONG_AGO))
    assert dated.status_code == 304


@pytest.mark.parametrize("name", ["If_Match", "If_Unmodified_Since"])
def test_a_part_on_a_condition_that_only_the_view_judges(
    page: Counter, get: Get, name: str
) -> None:
    """Is not what the client has agreed to, where the view is not asked: it gets the whole."""
    get("/")
    condition = '"other"' if name == "If_Match" else "Thu, 26 Nov 2015 10:00:00 GMT"
    assert get("/", **wanting("bytes=2-4", **{name: condition})).status_code == 200


class Source:
    """An iterable body that notes how far it was read, and that it was closed."""

    def __init__(self, size: int = 1000) -> None:
        self.size = size
        self.read = 0
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(LARGE), self.size):
            chunk = LARGE[start : start + self.size]
            self.read += len(chunk)
            yield b""
            yield chunk

    def close(self) -> None:
        self.closed += 1


def test_a_part_of_a_stream_that_is_stored(app: Flask, cache: Cache, get: Get) -> None:
    """Its whole is read, and kept, and closed."""
    closed: list[bool] = []

    def stream() -> Iterator[bytes]:
        try:
            yield from (BODY[:3], BODY[3:])
        finally:
            closed.append(True)

    app.add_url_rule("/", "page", cache.cached()(lambda: Response(stream())))
    for _ in range(2):
        answer = get("/", **wanting("bytes=2-4"))
        assert (answer.status_code, answer.data) == (206, b"234")
    assert is_hit(answer)
    assert closed == [True]


@pytest.mark.parametrize("chunk", [1, 7, 1000, 99_999])
@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("bytes=0-0", LARGE[:1]),
        ("bytes=999-1000", LARGE[999:1001]),
        ("bytes=1000-2999", LARGE[1000:3000]),
        ("bytes=-1", LARGE[-1:]),
        ("bytes=3-", LARGE[3:]),
    ],
)
def test_a_part_of_a_stream_that_is_too_large(
    app: Flask, cache: Cache, get: Get, chunk: int, part: str, expected: bytes
) -> None:
    """It is cut out as it passes, and no more is read than that takes."""
    source = Source(chunk)
    length = {"Content-Length": str(len(LARGE))}
    app.add_url_rule("/", "page", cache.cached()(lambda: Response(source, headers=length)))
    answer = get("/", **wanting(part))
    assert (answer.status_code, answer.data) == (206, expected)
    assert answer.headers["Content-Length"] == str(len(expected))
    assert status_of(answer) == "larder; fwd=uri-miss; detail=body-too-large"
    last = int(str(content_range(answer)).split("-")[1].split("/")[0])
    assert source.read < last + 1 + chunk
    answer.close()
    assert source.closed == 1


@pytest.mark.parametrize("takes_some", [True, False])
def test_a_client_that_leaves_closes_the_stream(
    app: Flask, cache: Cache, *, takes_some: bool
) -> None:
    """Also one that has not got all of its part, or none."""
    source, length = Source(100), {"Content-Length": str(len(LARGE))}
    app.add_url_rule("/", "page", cache.cached()(lambda: Response(source, headers=length)))
    environ = EnvironBuilder("/", headers={"Range": "bytes=50-20000"}).get_environ()
    body, status, _ = run_wsgi_app(app, environ, buffered=False)
    assert status == "206 PARTIAL CONTENT"
    if takes_some:
        assert next(iter(body))
    assert source.read <= 200
    body.close()  # type: ignore[attr-defined]
    assert source.closed == 1


def test_a_part_beyond_a_stream(app: Flask, cache: Cache, get: Get) -> None:
    """It is closed unread."""
    source = Source()
    length = {"Content-Length": str(len(LARGE))}
    app.add_url_rule("/", "page", cache.cached()(lambda: Response(source, headers=length)))
    answer = get("/", **wanting(f"bytes={len(LARGE)}-"))
    assert (answer.status_code, answer.data) == (416, b"")
    assert content_range(answer) == f"bytes */{len(LARGE)}"
    answer.close()
    assert (source.read, source.closed) == (0, 1)


def test_a_stream_of_unknown_length_is_whole(app: Flask, cache: Cache, get: Get) -> None:
    """Where it is too large to be kept, nobody knows its end."""
    app.add_url_rule("/", "page", cache.cached()(lambda: Response(Source())))
    answer = get("/", **wanting("bytes=2-4"))
    assert (answer.status_code, answer.data, content_range(answer)) == (200, LARGE, None)


def test_a_stream_that_breaks_off(app: Flask, cache: Cache, get: Get) -> None:
    """The part ends where the stream does; the length tells the client that more was to come."""
    headers = {"Content-Length": str(2 * len(LARGE))}
    app.add_url_rule("/", "page", cache.cached()(lambda: Response(Source(), headers=headers)))
    answer = get("/", **wanting(f"bytes={len(LARGE) - 3}-"))
    assert (answer.status_code, answer.data) == (206, LARGE[-3:])
    assert answer.headers["Content-Length"] == str(len(LARGE) + 3)


class Counted(io.FileIO):
    """A file that counts the bytes that are read of it."""

    total = 0

    def read(self, size: int | None = -1, /) -> bytes:  # type: ignore[override]
        data = super().read(size) or b""
        Counted.total += len(data)
        return data


@pytest.mark.parametrize("wrapper", [None, FileWrapper])
def test_a_part_of_a_large_file(
    app: Flask, cache: Cache, get: Get, tmp_path: Path, wrapper: Callable[..., Any] | None
) -> None:
    """Is read from where it begins, also in the wrapper of a server."""
    (tmp_path / "large").write_bytes(LARGE * 10)
    files: list[Counted] = []
    Counted.total = 0

    @app.get("/")
    @cache.cached()
    def page() -> Response:
        file = Counted(tmp_path / "large")
        files.append(file)
        response = send_file(file, mimetype="application/octet-stream", max_age=60)
        response.content_length = len(LARGE) * 10
        return response

    options = wanting(f"bytes={len(LARGE) * 9}-")
    if wrapper is not None:
        options["environ_overrides"] = {"wsgi.file_wrapper": wrapper}
    answer = get("/", **options)
    assert (answer.status_code, answer.data) == (206, LARGE)
    answer.close()
    assert Counted.total == len(LARGE)
    assert files[0].closed


def test_a_file_that_is_sent_from_its_middle_on(app: Flask, cache: Cache, get: Get) -> None:
    """Its part counts from where the body begins."""

    @app.get("/")
    @cache.cached()
    def page() -> Response:
        file = io.BytesIO(b"head" + LARGE)
        file.seek(4)
        response = send_file(file, mimetype="application/octet-stream", max_age=60)
        response.content_length = len(LARGE)
        return response

    assert get("/", **wanting("bytes=300-303")).data == LARGE[300:304]


def test_a_file_by_its_path(app: Flask, cache: Cache, get: Get, tmp_path: Path) -> None:
    """send_file makes the whole, with validators of its own, which hold parts together."""
    (tmp_path / "small").write_bytes(BODY)
    path = tmp_path / "small"
    app.add_url_rule("/", "page", cache.cached()(lambda: send_file(path, max_age=60)))
    for _ in range(2):
        answer = get("/", **wanting("bytes=2-4"))
        assert (answer.status_code, answer.data) == (206, b"234")
        assert content_range(answer) == "bytes 2-4/10"
    assert is_hit(answer)
    tag = answer.headers["ETag"]
    assert get("/", **wanting("bytes=5-", If_Range=tag)).data == b"56789"


def test_what_a_server_puts_in_place_is_left_to_it(
    app: Flask, cache: Cache, get: Get, tmp_path: Path
) -> None:
    """With X-Sendfile there is no body to cut, and the server sees the range itself."""
    path = tmp_path / "small"
    path.write_bytes(BODY)
    app.config["USE_X_SENDFILE"] = True
    app.add_url_rule("/", "page", cache.cached()(lambda: send_file(path, max_age=60)))
    answer = get("/", **wanting("bytes=2-4"))
    assert (answer.status_code, answer.headers["X-Sendfile"]) == (200, str(path))
    assert content_range(answer) is None


def test_the_view_sees_no_range(app: Flask, cache: Cache, get: Get) -> None:
    """Neither in the fields nor in what a hook has made Werkzeug parse before; afterwards again."""
    parsed = ("range", "if_range", "if_none_match", "if_modified_since")
    conditions = {
        "Range": "bytes=2-4",
        "If-Range": '"a"',
        "If-None-Match": '"b"',
        "If-Modified-Since": LONG_AGO,
    }

    def shown() -> list[str]:
        own = [name for name in conditions if name in request.headers]
        return own + [name for name in parsed if str(getattr(request, name) or "")]

    seen: list[list[str]] = []

    @app.before_request
    def look() -> None:
        seen.append(shown())

    @app.after_request
    def look_again(response: Response) -> Response:
        seen.append(shown())
        return response

    @app.get("/")
    @cache.cached()
    def page() -> bytes:
        seen.append(shown())
        return BODY

    get("/", headers=conditions)
    everything = [*conditions, *parsed]
    assert seen == [everything, [], everything]


def test_other_methods_keep_their_conditions(app: Flask, cache: Cache, get: Get) -> None:
    """What PUT does if there is nothing yet is for the view to judge (13.1.2)."""
    seen: list[str | None] = []

    @app.put("/")
    @cache.cached()
    def page() -> str:
        seen.append(request.headers.get("If-None-Match"))
        return "done"

    get("/", method="PUT", headers={"If-None-Match": "*"})
    assert seen == ["*"]


def test_where_the_cache_is_not_asked_the_view_sends_parts(
    app: Flask, cache: Cache, get: Get
) -> None:
    """And what it sends is not cut again."""

    def past() -> bool:
        return "Range" in request.headers

    @app.get("/own")
    @cache.cached(unless=past)
    def own() -> Response:
        response = Response(BODY)
        return response.make_conditional(request, accept_ranges=True, complete_length=len(BODY))

    app.add_url_rule("/whole", "whole", cache.cached(unless=past)(lambda: BODY))
    assert get("/own", **wanting("bytes=2-4")).data == b"234"
    assert get("/whole", **wanting("bytes=2-4")).data == BODY


def test_a_part_of_what_a_decorator_makes(app: Flask, cache: Cache, get: Get) -> None:
    """What the client gets is what counts, and the decorator sees the whole."""
    seen: list[dict[str, str]] = []

    def doubled(view: Callable[[], dict[str, str]]) -> Callable[[], str]:
        def page() -> str:
            value = view()
            seen.append(value)
            return value["text"] * 2

        page.__wrapped__ = view  # type: ignore[attr-defined]
        return page

    @app.get("/")
    @doubled
    @cache.cached()
    def page() -> dict[str, str]:
        return {"text": "abc"}

    for _ in range(2):
        answer = get("/", **wanting("bytes=2-3"))
        assert (answer.data, content_range(answer)) == (b"ca", "bytes 2-3/6")
    assert is_hit(answer)
    assert seen == [{"text": "abc"}] * 2


@pytest.mark.parametrize("is_parsed", [True, False])
def test_a_function_that_compresses_leaves_parts_alone(
    app: Flask, cache: Cache, get: Get, *, is_parsed: bool
) -> None:
    """It runs later than the cache. A part that is encoded by itself would fit no other."""

    @app.after_request
    def compress(response: Response) -> Response:
        if request.accept_encodings["gzip"]:
            response.set_data(gzip.compress(response.get_data()))
            response.headers["Content-Encoding"] = "gzip"
        return response

    @app.before_request
    def negotiate() -> None:
        if is_parsed:
            assert request.accept_encodings["gzip"]

    app.add_url_rule("/", "page", cache.cached()(lambda: BODY * 100))
    for _ in range(2):
        answer = get("/", **wanting("bytes=2-4", Accept_Encoding="gzip"))
        assert (answer.status_code, answer.data) == (206, b"234")
        assert "Content-Encoding" not in answer.headers
    whole = get("/", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(whole.data) == BODY * 100


def test_a_part_is_not_cut_again(app: Flask, cache: Cache, get: Get) -> None:
    """By a function that answers ranges for the whole app, and runs later than the cache."""

    @app.after_request
    def cut(response: Response) -> Response:
        length = len(response.get_data())
        return response.make_conditional(request, accept_ranges=True, complete_length=length)

    app.add_url_rule("/", "page", cache.cached()(lambda: BODY))
    for _ in range(2):
        answer = get("/", **wanting("bytes=2-5"))
        assert (answer.status_code, answer.data) == (206, BODY[2:6])
        assert content_range(answer) == f"bytes 2-5/{len(BODY)}"


def test_parts_count_the_bytes_of_what_a_view_has_encoded(
    app: Flask, cache: Cache, get: Get
) -> None:
    """RFC 9110 section 14.1.2."""
    encoded = gzip.compress(BODY, mtime=0)
    headers = {"Content-Encoding": "gzip"}
    app.add_url_rule("/", "page", cache.cached()(lambda: Response(encoded, headers=headers)))
    for _ in range(2):
        answer = get("/", **wanting("bytes=5-"))
        assert answer.data == encoded[5:]
        assert answer.headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize("leader_wants_part", [True, False])
def test_collapsed_requests_get_what_each_of_them_wants(
    app: Flask, cache: Cache, get: Get, *, leader_wants_part: bool
) -> None:
    """The view makes one whole, for who wants a part and for who does not."""
    entered, done = threading.Event(), threading.Event()
    runs = Counter()

    @app.get("/")
    @cache.cached()
    def page() -> Iterator[bytes]:
        runs()
        entered.set()
        assert done.wait(10)
        return iter((BODY[:3], BODY[3:]))

    answers: dict[bool, TestResponse] = {}

    def ask(*, part: bool) -> None:
        answers[part] = get("/", **(wanting("bytes=2-4") if part else {}))

    leader = threading.Thread(target=ask, kwargs={"part": leader_wants_part})
    leader.start()
    assert entered.wait(10)
    follower = threading.Thread(target=ask, kwargs={"part": not leader_wants_part})
    follower.start()
    coalescer = cache._wiring().engine._coalescer
    until(lambda: any(waiting(coalescer, key) for key in list(coalescer._flights()._under_way)))
    done.set()
    leader.join()
    follower.join()
    assert "collapsed" in status_of(answers[not leader_wants_part])
    assert (answers[True].status_code, answers[True].data) == (206, b"234")
    assert (answers[False].status_code, answers[False].data) == (200, BODY)
    assert runs.runs == 1


def test_a_part_is_never_what_others_get(app: Flask, cache: Cache, get: Get) -> None:
    """A view that looks at the range, at once or while it streams, cannot be made to store it."""

    def slice_of(body: bytes) -> bytes:
        value = request.environ.get("HTTP_RANGE", "bytes=0-")
        first, _, last = value.removeprefix("bytes=").partition("-")
        return body[int(first) : int(last) + 1 if last else None]

    def stream() -> Iterator[bytes]:
        yield slice_of(BODY)

    app.add_url_rule("/now", "now", cache.cached()(lambda: slice_of(BODY)))
    app.add_url_rule("/later", "later", cache.cached()(lambda: Response(stream())))
    app.add_url_rule("/http", "http", cache.http_cached()(lambda: (slice_of(BODY), FRESH)))
    for path in ("/now", "/later", "/http"):
        attack = get(path, **wanting("bytes=2-4"))
        assert (attack.status_code, attack.data) == (206, b"234")
        victim = get(path)
        assert (victim.status_code, victim.data, is_hit(victim)) == (200, BODY, True)


FRESH = {"Cache-Control": "max-age=60"}


def test_a_condition_does_not_empty_what_streams(app: Flask, cache: Cache, get: Get) -> None:
    """A body that would be left out for who has it is not stored empty."""

    def stream() -> Iterator[bytes]:
        yield b"" if "HTTP_IF_NONE_MATCH" in request.environ else BODY

    app.add_url_rule("/", "page", cache.cached()(lambda: Response(stream())))
    get("/", headers={"If-None-Match": '"x"'})
    victim = get("/")
    assert (victim.data, is_hit(victim)) == (BODY, True)


def test_a_refusal_is_for_nobody_else(app: Flask, cache: Cache, get: Get) -> None:
    """A cache on the way that takes any status that says for how long keeps it for all.

    So whoever asks for what is beyond the end would have a page go for everybody.
    """
    lasting = {
        "Cache-Control": "public, max-age=600",
        "CDN-Cache-Control": "max-age=600",
        "Surrogate-Control": "max-age=600",
        "X-Accel-Expires": "600",
        "Expires": "Thu, 26 Nov 2099 10:00:00 GMT",
        "X-Frame-Options": "DENY",
    }
    app.add_url_rule("/", "page", cache.cached()(lambda: (BODY, lasting)))
    for _ in range(2):
        answer = get("/", **wanting("bytes=10-"))
        assert answer.status_code == 416
        assert answer.headers.getlist("Cache-Control") == ["no-store"]
        assert lasting.keys() & set(answer.headers.keys()) == {"Cache-Control", "X-Frame-Options"}
    assert get("/").headers["Cache-Control"] == "public, max-age=600"


@pytest.mark.parametrize(
    "part", ["bytes=" + ",".join(["0-9"] * 10_000), "bytes=0-" + "9" * 10_000, "bytes=-" * 5_000]
)
def test_no_range_makes_an_answer_longer(page: Counter, get: Get, part: str) -> None:
    """Thousands of parts that overlap get the whole, once, and no number is too long."""
    for _ in range(2):
        answer = get("/", **wanting(part))
        assert answer.status_code in {200, 206}
        assert answer.data == BODY


def test_a_part_tells_nobody_of_another_users_answer(app: Flask, cache: Cache, get: Get) -> None:
    """What is not shared is cut from what this user gets."""

    @app.get("/")
    @cache.cached()
    def page() -> str:
        return request.cookies.get("user", "nobody")

    tag = entity_tag_of(b"ann")
    get("/", headers={"Cookie": "user=ann"})
    answer = get("/", **wanting("bytes=1-", Cookie="user=bob"))
    assert (answer.status_code, answer.text) == (206, "ob")
    guess = get("/", **wanting("bytes=1-", Cookie="user=bob", If_Range=tag))
    assert (guess.status_code, guess.text) == (200, "bob")
