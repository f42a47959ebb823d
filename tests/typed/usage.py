"""How the library is used, for the type checkers only; it is never run."""

from datetime import timedelta
from typing import assert_type

from flask import Flask, Response, request

from flask_larder import Cache, cache_view_hit
from flask_larder.testing import forbid_unkeyed_reads

app = Flask(__name__)
cache = Cache(app, config={"CACHE_TYPE": "RedisCache"}, name="main")
other = Cache()
other.init_app(app, {"CACHE_TYPE": "SimpleCache"})


@app.get("/square/<int:number>")
@cache.cached(timeout=timedelta(minutes=1), query_string=("page",), ignore_query=("utm_*",))
def square(number: int) -> dict[str, int]:
    return {"computed": number * number}


@app.get("/cube/<int:number>")
@cache.cached(
    30,
    stale_while_revalidate=timedelta(seconds=60),
    stale_if_error=3600,
    jitter=0.1,
    early_refresh=1.0,
    tags=lambda number: [f"number:{number}"],
)
def cube(number: int) -> dict[str, int]:
    cache.tag("cubes")
    return {"computed": number**3}


@app.get("/me")
@cache.cached(30, vary=lambda: request.headers.get("X-User"), statuses=(200, 404))
def me() -> tuple[Response, int]:
    return Response("x"), 200


@cache.cached(key_prefix="all", unless=lambda: False)
def everything() -> list[str]:
    return ["a"]


class Box:
    @cache.cached(key_prefix="box")
    def contents(self, name: str) -> int:
        return len(name)


assert_type(square(4), dict[str, int])
assert_type(square(number=4), dict[str, int])
assert_type(everything(), list[str])
assert_type(Box().contents("a"), int)
square.cache_timeout = 5
square.purge(number=4)
cube.purge(soft=True)
cache.purge_tags("cubes", "number:4", soft=True)
cache.purge_url("/cube/4")
cache.purge_path("/cube/4")
cache.purge_prefix("/cube/")
assert_type(cache.clear(soft=True), bool)
assert_type(cache.delete_cached(cube, number=4), bool)
square.uncached(4)
assert_type(cache.set("a", 1, timeout=5), bool)
assert_type(cache.delete_many("a", "b"), list[str])
cache_view_hit.connect(lambda sender: None)
square("4")  # type: ignore[arg-type]
with forbid_unkeyed_reads(app, ignore=["headers['X-Request-Id']"]) as found:
    assert_type(found.lines, list[str])
