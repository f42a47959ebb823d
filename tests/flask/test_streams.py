"""Streamed responses: small ones are stored, large ones pass through and still stream."""

import io
from collections.abc import Iterator

import pytest
from flask import Flask, Response, send_file
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_larder import Cache
from tests.flask.answers import Get, is_hit, status_of


class Source:
    """An iterable body that notes how far it was read, and that it was closed."""

    def __init__(self, chunks: int, size: int = 1000) -> None:
        self.chunks, self.size = chunks, size
        self.read = 0
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self.chunks):
            self.read += 1
            yield b"x" * self.size

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def cache(app: Flask) -> Cache:
    """A cache that takes bodies of up to 10,000 bytes."""
    return Cache(app, config={"CACHE_MAX_BODY_BYTES": "10000"})


@pytest.mark.parametrize(("chunks", "kept"), [(0, True), (10, True), (11, False)])
def test_limit(app: Flask, cache: Cache, get: Get, chunks: int, *, kept: bool) -> None:
    """Up to the limit a stream is stored, above it every byte still arrives."""
    source = Source(chunks)
    app.add_url_rule("/", "view", cache.cached()(lambda: Response(source)))
    first = get("/")
    assert len(first.data) == chunks * 1000
    first.close()
    assert source.closed
    assert status_of(first).endswith("stored; ttl=300" if kept else "detail=body-too-large")
    assert is_hit(get("/")) == kept


def test_large_one_still_streams(app: Flask, cache: Cache) -> None:
    """Beyond the limit the rest is made while it is sent, and closed when the client leaves."""
    source = Source(1000)
    app.add_url_rule("/", "view", cache.cached()(lambda: Response(source)))
    body, _, _ = run_wsgi_app(app, EnvironBuilder("/").get_environ(), buffered=False)
    iterator = iter(body)
    next(iterator)
    assert source.read < 20
    body.close()  # type: ignore[attr-defined]
    assert source.closed


def test_declared_length_above_the_limit_is_not_read(app: Flask, cache: Cache) -> None:
    """A response that says that it is too large is handed on untouched."""
    source = Source(11)
    app.add_url_rule(
        "/", "view", cache.cached()(lambda: Response(source, headers={"Content-Length": "11000"}))
    )
    body, _, _ = run_wsgi_app(app, EnvironBuilder("/").get_environ(), buffered=False)
    assert source.read <= 1
    body.close()  # type: ignore[attr-defined]


def test_short_body_is_incomplete(app: Flask, cache: Cache, get: Get) -> None:
    """A body shorter than its Content-Length is not stored."""
    app.add_url_rule(
        "/", "view", cache.cached()(lambda: Response(Source(1), headers={"Content-Length": "5000"}))
    )
    assert status_of(get("/")).endswith("detail=incomplete")


def test_file(app: Flask, cache: Cache, get: Get) -> None:
    """A file that send_file passes to the server directly is stored as any other."""
    app.add_url_rule(
        "/", "view", cache.cached()(lambda: send_file(io.BytesIO(b"abc"), "text/plain", max_age=60))
    )
    assert get("/").data == b"abc"
    assert is_hit(again := get("/"))
    assert again.data == b"abc"


def test_event_stream_is_left_alone(app: Flask, cache: Cache) -> None:
    """A stream of events has no end, so nothing of it is read in advance."""
    source = Source(10**9)
    app.add_url_rule(
        "/", "view", cache.cached()(lambda: Response(source, mimetype="text/event-stream"))
    )
    body, _, fields = run_wsgi_app(app, EnvironBuilder("/").get_environ(), buffered=False)
    assert source.read <= 1
    assert fields["Cache-Status"].endswith("detail=event-stream")
    body.close()  # type: ignore[attr-defined]


def test_stream_that_breaks(app: Flask, cache: Cache, get: Get) -> None:
    """A stream that raises is an error before the first byte, is closed, and leaves no entry."""

    class Broken(Source):
        def __iter__(self) -> Iterator[bytes]:
            yield b"x"
            raise RuntimeError("the source is gone")

    source = Broken(1)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.testing = False
    app.add_url_rule("/", "view", cache.cached()(lambda: Response(source)))
    assert get("/").status_code == 500
    assert source.closed
    assert not is_hit(get("/"))


def test_a_stream_without_an_end_is_left_alone(app: Flask, cache: Cache) -> None:
    """As of cameras, of which each part takes the place of the one before."""
    source = Source(10**9)
    kind = "multipart/x-mixed-replace; boundary=frame"
    app.add_url_rule("/", "view", cache.cached()(lambda: Response(source, content_type=kind)))
    body, _, fields = run_wsgi_app(app, EnvironBuilder("/").get_environ(), buffered=False)
    assert source.read <= 1
    assert fields["Cache-Status"].endswith("detail=event-stream")
    body.close()  # type: ignore[attr-defined]


def test_a_response_whose_stream_breaks_is_closed(app: Flask, cache: Cache, get: Get) -> None:
    """What is given back then, such as a connection, would be lost."""
    closed: list[bool] = []

    def view() -> Response:
        response = Response(iter(()))
        response.response = (1 // zero for zero in (0,))
        response.call_on_close(lambda: closed.append(True))
        return response

    app.config["TESTING"] = False
    app.add_url_rule("/", "view", cache.cached()(view))
    assert get("/").status_code == 500
    assert closed == [True]


def test_a_body_that_nobody_may_make_a_list_of(app: Flask, cache: Cache, get: Get) -> None:
    """It has a length, and is read as a stream all the same."""

    class Strict(Response):
        implicit_sequence_conversion = False

    class Sized(Source):
        def __len__(self) -> int:
            return self.chunks

    app.add_url_rule("/", "view", cache.cached()(lambda: Strict(Sized(2))))
    assert len(get("/").data) == 2000
    assert is_hit(again := get("/"))
    assert len(again.data) == 2000


def test_a_wsgi_application_that_fails_runs_once(app: Flask, cache: Cache, get: Get) -> None:
    """As without the cache."""
    runs: list[int] = []

    def application(environ: object, start_response: object) -> list[bytes]:
        runs.append(1)
        raise RuntimeError(f"run {len(runs)}")

    app.register_error_handler(RuntimeError, lambda error: (str(error), 500))
    app.add_url_rule("/", "view", cache.cached()(lambda: application))
    assert get("/").text == "run 1"
    assert len(runs) == 1


def test_a_stream_that_fails_is_closed_once(app: Flask, cache: Cache, get: Get) -> None:
    """What happens when it is closed does not hide what has happened before."""

    class Broken(Source):
        def __iter__(self) -> Iterator[bytes]:
            yield b"x"
            raise RuntimeError("the source is gone")

        def close(self) -> None:
            assert not self.closed
            super().close()

    source = Broken(1)
    app.register_error_handler(RuntimeError, lambda error: (str(error), 500))
    app.add_url_rule("/", "view", cache.cached()(lambda: Response(source)))
    assert get("/").text == "the source is gone"
    assert source.closed
