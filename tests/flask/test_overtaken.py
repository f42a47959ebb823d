"""A purge between the coming of a request and its view, which may have what was read before it."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flask import Flask, g, request
from werkzeug.routing import BaseConverter

from flask_larder import Cache
from flask_larder.engine import Engine
from tests.flask.answers import Get, is_hit, status_of


class Data:
    """What a view is made of, in two versions."""

    version = 1


@pytest.fixture
def data(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Data:
    """Is changed, and purged, when a request has come as far as the engine for the first time."""
    data, answer = Data(), Engine.answer

    def overtaken(self: Engine, ask: Any, forward: Any) -> Any:
        if data.version == 1:
            data.version = 2
            cache.purge_tags("data")
        return answer(self, ask, forward)

    monkeypatch.setattr(Engine, "answer", overtaken)
    return data


def by_hook(app: Flask, data: Data) -> Callable[[], int]:
    @app.before_request
    def load() -> None:
        g.version = data.version

    return lambda: int(g.version)


def by_hook_that_goes(app: Flask, data: Data) -> Callable[[], int]:
    def load() -> None:
        app.before_request_funcs[None].remove(load)
        g.version = data.version

    app.before_request(load)
    return lambda: int(g.get("version", data.version))


def by_middleware(app: Flask, data: Data) -> Callable[[], int]:
    inner = app.wsgi_app

    def middleware(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["shop.version"] = data.version
        return inner(environ, start_response)

    app.wsgi_app = middleware  # type: ignore[method-assign]
    return lambda: int(request.environ["shop.version"])


def by_converter(app: Flask, data: Data) -> Callable[[], int]:
    class Loading(BaseConverter):
        def to_python(self, value: str) -> int:
            return data.version

    app.url_map.converters["default"] = Loading
    return lambda: int((request.view_args or {})["what"])


@pytest.mark.parametrize("read", [by_hook, by_hook_that_goes, by_middleware, by_converter])
def test_what_was_read_before_a_purge_is_not_kept(
    app: Flask, cache: Cache, get: Get, data: Data, read: Callable[[Flask, Data], Callable[[], int]]
) -> None:
    """Not even where nobody can see that anything was read: a request is as old as its coming."""
    version = read(app, data)

    @app.get("/<what>")
    @cache.cached(tags=["data"])
    def page(what: object) -> dict[str, int]:
        return {"version": version()}

    overtaken, new, hit = get("/a"), get("/a"), get("/a")
    assert (overtaken.json, status_of(overtaken)) == (
        *({"version": 1}, "larder; fwd=uri-miss; detail=purged"),
    )
    assert (new.json, hit.json, is_hit(hit)) == ({"version": 2}, {"version": 2}, True)
