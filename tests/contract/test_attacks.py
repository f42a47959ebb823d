"""What somebody who can write to a store achieves: misses, and with signing nothing else.

One table of places; each attack runs on each of them, through an app, with signing and without.
"""

import hashlib
import logging
import pickle
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask, request
from msgspec.structs import replace
from werkzeug.test import TestResponse

from flask_larder import Cache
from flask_larder.codec import (
    decode_entry,
    encode_response,
    encode_stored_value,
    encode_value,
    encode_variants,
)
from flask_larder.entry import Position, StoredResponse, StoredValue, Variants
from flask_larder.flask.tracking import caches_of
from flask_larder.signed import SignedStore
from flask_larder.signing import Signer
from tests.bomb import Bomb
from tests.conftest import MemcachedServer, RedisServer

SECRET = "a secret of ours that is random"
PREFIX = "shop_"
VALUE = "larder1:key=price"
THREADS = 50


@dataclass(frozen=True)
class Place:
    """Where entries are, and how an attacker reads and writes them there, past the store."""

    config: dict[str, Any]
    read: Callable[[str], bytes]
    write: Callable[[str, bytes], object]


@pytest.fixture
def redis_place(redis_server: RedisServer, redis_client: redis.Redis) -> Place:
    def read(key: str) -> bytes:
        found = redis_client.get(PREFIX + key)
        assert isinstance(found, bytes)
        return found

    config = {"CACHE_TYPE": "redis", "CACHE_REDIS_URL": redis_server.url, "CACHE_L1_BYTES": 0}
    return Place(
        {**config, "CACHE_REDIS_TIMEOUT": 20},
        read,
        lambda key, data: redis_client.set(PREFIX + key, data, keepttl=True),
    )


@pytest.fixture
def filesystem_place(tmp_path: Path) -> Place:
    def path(key: str) -> Path:
        (entries,) = tmp_path.glob("larder1-shop_-*/entries")
        return entries / hashlib.sha256(key.encode()).hexdigest()

    def write(key: str, data: bytes) -> None:
        before = path(key).read_bytes() if path(key).exists() else b"\xff" * 4
        path(key).write_bytes(before[:4] + data)  # the time when it expires stays

    return Place(
        {"CACHE_TYPE": "filesystem", "CACHE_DIR": tmp_path},
        lambda key: path(key).read_bytes()[4:],
        write,
    )


@pytest.fixture
def memcached_place(memcached: MemcachedServer) -> Place:
    def read(key: str) -> bytes:
        reply = memcached.ask(f"get {PREFIX}{key}\r\n".encode(), end=b"END\r\n")
        return reply.partition(b"\r\n")[2].removesuffix(b"\r\n")

    def write(key: str, data: bytes) -> None:
        # With flags of 1, many a client unpickles.
        head = f"set {PREFIX}{key} 1 600 {len(data)}\r\n".encode()
        assert memcached.ask(head + data + b"\r\n") == b"STORED"

    config = {"CACHE_TYPE": "memcached", "CACHE_MEMCACHED_SERVERS": [str(memcached.socket)]}
    return Place({**config, "CACHE_MEMCACHED_TIMEOUT": 20}, read, write)


PLACES = ["redis_place", "filesystem_place", "memcached_place"]


@pytest.fixture(params=PLACES, ids=[name.removesuffix("_place") for name in PLACES])
def place(request: pytest.FixtureRequest) -> Place:
    """Each kind of place in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Place)
    return found


class Shop:
    """An app with a cache in a place. Its pages tell which run of the view made them."""

    def __init__(self, place: Place, secret: object) -> None:
        self.runs = 0
        self.place = place
        app = Flask("shop")
        config = {**place.config, "CACHE_KEY_PREFIX": PREFIX, "CACHE_SIGNING_KEY": secret}
        config["CACHE_BUDGET_SECONDS"] = 20  # a busy machine is no outage
        self.cache = Cache(app, config=config)
        self.client = app.test_client()

        @app.get("/<page>")
        @self.cache.cached(timeout=600)
        def view(page: str) -> dict[str, object]:
            self.runs += 1
            return {"page": page, "run": self.runs}

        @app.get("/language")
        @self.cache.cached(timeout=600)
        def language() -> dict[str, object]:
            self.runs += 1
            return {"page": request.headers["Accept-Language"], "run": self.runs}

    def get(self, path: str) -> TestResponse:
        answer = self.client.get(path, headers={"Accept-Language": "en"})
        assert answer.status_code == 200
        return answer

    def is_hit(self, path: str) -> bool:
        return self.get(path).headers["Cache-Status"].startswith("larder; hit")

    def read(self, path: str) -> bytes:
        return self.place.read(key_of(path))

    def write(self, path: str, data: bytes) -> None:
        self.place.write(key_of(path), data)


def key_of(path: str) -> str:
    return f"larder1:view/http://localhost{path}"


@pytest.fixture
def shop(place: Place) -> Shop:
    """A shop whose entries are signed."""
    return Shop(place, SECRET)


@pytest.fixture
def open_shop(place: Place) -> Shop:
    """A shop in the same place whose entries are not signed."""
    return Shop(place, None)


def test_the_bomb_goes_off_where_it_is_unpickled() -> None:
    """The tests below fail for what they say, and not for a dud."""
    before = Bomb.exploded
    pickle.loads(pickle.dumps(Bomb()))
    assert Bomb.exploded == before + 1


NOISE = hashlib.shake_128(b"noise").digest(10 * 1024 * 1024)

PLANTED = {
    "nothing": lambda entry: b"",
    "pickle": lambda entry: pickle.dumps(Bomb()),
    "pickle of old": lambda entry: pickle.dumps(Bomb(), 0),
    "marked pickle": lambda entry: b"!" + pickle.dumps(Bomb()),
    "pickle behind ours": lambda entry: entry[:8] + pickle.dumps(Bomb()),
    "half": lambda entry: entry[: len(entry) // 2],
    "one byte less": lambda entry: entry[:-1],
    "one byte more": lambda entry: entry + b"\0",
    "noise": lambda entry: NOISE,
    "noise behind ours": lambda entry: entry[:8] + NOISE,
    "another format": lambda entry: entry.replace(b"larder1", b"larder2"),
    "another kind": lambda entry: encode_value({"page": "a"}),
}


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("secret", [None, SECRET], ids=["unsigned", "signed"])
def test_what_is_no_entry_is_a_miss_and_is_replaced(
    place: Place, secret: str | None, planted: str
) -> None:
    """Nothing is executed, the view answers, and what it answers is there for the next."""
    shop, before = Shop(place, secret), Bomb.exploded
    shop.get("/a")
    shop.write("/a", PLANTED[planted](shop.read("/a")))

    assert shop.get("/a").json == {"page": "a", "run": 2}
    assert shop.get("/a").json == {"page": "a", "run": 2}
    assert Bomb.exploded == before


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("secret", [None, SECRET], ids=["unsigned", "signed"])
def test_what_is_no_value_is_none_and_is_replaced(
    place: Place, secret: str | None, planted: str
) -> None:
    """The same for a value of the application. Unsigned, another value is taken for ours."""
    shop, before = Shop(place, secret), Bomb.exploded
    shop.cache.set("price", {"eur": 1})
    place.write(VALUE, PLANTED[planted](place.read(VALUE)))

    if planted != "another kind" or secret:
        assert shop.cache.get("price") is None
    assert shop.cache.set("price", {"eur": 2})
    assert shop.cache.get("price") == {"eur": 2}
    assert Bomb.exploded == before


def forged(shop: Shop) -> bytes:
    """An entry that anybody can make who knows the format, and can read the log of purges."""
    return encode_response(
        StoredResponse(
            "http://localhost",
            *(200, (), b'{"page": "forged"}'),
            stored_at=time.time(),
            lifetime=60.0,
            position=latest_purge(shop),
        )
    )


def latest_purge(shop: Shop) -> Position:
    (app,) = shop.cache._apps
    purges = caches_of(app)[shop.cache].purges
    purges.load()
    position: Position | None = purges.position()
    assert position is not None
    return position


def test_a_forged_response_is_a_miss(shop: Shop, open_shop: Shop) -> None:
    """Who writes an entry of their own is believed only where nothing is signed."""
    shop.get("/other")
    shop.write("/a", forged(shop))
    assert shop.get("/a").json == {"page": "a", "run": 2}
    assert shop.is_hit("/a")

    open_shop.write("/a", forged(open_shop))
    assert open_shop.is_hit("/a")


def test_what_nobody_could_purge_is_a_miss(open_shop: Shop) -> None:
    """An entry from behind the end of the log would outlive each purge."""
    open_shop.get("/other")
    entry = decode_entry(forged(open_shop))
    assert isinstance(entry, StoredResponse)
    open_shop.write("/a", encode_response(replace(entry, position=(2**60, 0))))
    assert open_shop.get("/a").json == {"page": "a", "run": 2}


def test_responses_that_were_swapped_are_misses(shop: Shop, open_shop: Shop) -> None:
    """One page is not shown for another, though both were signed by us."""
    for each in (open_shop, shop):
        each.get("/a"), each.get("/b")
        a, b = each.read("/a"), each.read("/b")
        each.write("/a", b)
        each.write("/b", a)
        shown = [each.client.get(path).json["page"] for path in ("/a", "/b")]
        assert shown == (["a", "b"] if each is shop else ["b", "a"])


def test_values_that_were_swapped_are_none(shop: Shop) -> None:
    """Nor is one value taken for another."""
    shop.cache.set("price", 1)
    shop.cache.set("discount", 99)
    shop.place.write(VALUE, shop.place.read("larder1:key=discount"))

    assert shop.cache.get_many("price", "discount") == [None, 99]


def test_the_list_of_selecting_fields_is_signed(shop: Shop, open_shop: Shop) -> None:
    """Who writes a list of their own is believed only where nothing is signed."""
    forged = encode_variants(Variants(("x-chosen-by-the-attacker",)))
    for each, reason in ((open_shop, "vary-miss"), (shop, "uri-miss")):
        each.get("/language")
        assert each.is_hit("/language")

        each.write("/language", forged)
        assert f"fwd={reason}" in each.get("/language").headers["Cache-Status"]
        assert each.is_hit("/language")


def test_another_secret_does_not_do(place: Place, shop: Shop) -> None:
    """What another app has signed is as foreign as what nobody has."""
    other = Shop(place, "a secret of another app")
    other.get("/a")
    assert shop.get("/a").json == {"page": "a", "run": 1}
    other.cache.set("price", 1)
    assert shop.cache.get("price") is None
    assert not shop.cache.has("price")


def test_another_prefix_is_another_place(place: Place) -> None:
    """With one secret for two caches of a store, what the one has signed is no use in the other."""
    shop = Shop(place, SECRET)
    for prefix, found in (("staging_", None), (PREFIX, 1)):
        value = encode_stored_value(StoredValue(encode_value(1), latest_purge(shop)))
        signed = Signer([SECRET.encode()], prefix).sign(VALUE, value)
        shop.cache.set("price", 2)
        place.write(VALUE, signed)
        assert shop.cache.get("price") == found


def test_signing_that_is_turned_on_or_off_misses_what_was_there(
    shop: Shop, open_shop: Shop
) -> None:
    """Neither side reads what the other has written; each replaces it."""
    for first, second in ((open_shop, shop), (shop, open_shop)):
        first.get("/a")
        first.cache.set("price", 1)
        assert not second.is_hit("/a")
        assert second.is_hit("/a")
        assert second.cache.get("price") is None
        second.cache.set("price", 2)
        assert second.cache.get("price") == 2


def test_a_secret_is_rotated_without_a_miss(place: Place) -> None:
    """Made known first, then the one that signs, then alone: all is found at each step."""
    new = b"a new secret, as random as the old"
    for first, second in [
        (SECRET, [SECRET, new]),
        ([SECRET, new], [new, SECRET]),
        ([new, SECRET], [SECRET, new]),  # the hosts that are not there yet
        ([new, SECRET], new),
    ]:
        Shop(place, first).cache.set("price", 1)
        assert Shop(place, second).cache.get("price") == 1
    Shop(place, SECRET).cache.set("price", 1)
    assert Shop(place, new).cache.get("price") is None


def test_add_takes_the_place_of_what_is_not_ours(shop: Shop, open_shop: Shop) -> None:
    """For get there is nothing, so there is nothing for add either; what is ours stays."""
    open_shop.cache.set("price", 1)

    assert shop.cache.add("price", 2)
    assert not shop.cache.add("price", 3)
    assert shop.cache.get("price") == 2


def test_what_is_stored_can_still_be_looked_at(shop: Shop) -> None:
    """A header, and then the body as it is."""
    answer = shop.get("/a")

    assert shop.read("/a").startswith(b"larder1s")
    assert shop.read("/a").endswith(answer.data)


def lines_about_signatures(caplog: pytest.LogCaptureFixture) -> Sequence[str]:
    return [line for line in caplog.messages if "CACHE_SIGNING_KEY" in line]


def test_refusals_are_counted_in_one_line(
    place: Place, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """However many requests meet such a value, also in threads; misses are none of them."""
    for number in range(THREADS):
        shop.cache.set(f"a{number}", 1)
        place.write(f"larder1:key=a{number}", b"larder1d\x02")
    clock = store_of(shop)._clock = Clock()
    barrier = threading.Barrier(THREADS, timeout=30)

    def ask(number: int) -> None:
        barrier.wait()
        assert shop.cache.get_many(f"a{number}", "missing") == [None, None]

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(ask, range(THREADS)))
    assert len(lines_about_signatures(caplog)) == 1

    clock.now += 60.0
    shop.cache.get("a0")
    first, second = lines_about_signatures(caplog)
    assert first.endswith(": 1 since the last such line")
    assert second.endswith(f": {THREADS} since the last such line")
    assert {record.levelname for record in caplog.records} == {"WARNING"}


class Clock:
    """Shows what it was set to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def store_of(shop: Shop) -> SignedStore:
    (app,) = shop.cache._apps
    store = app.extensions["flask_larder"][shop.cache].store
    assert isinstance(store, SignedStore)
    return store


def test_the_secret_is_never_told(
    place: Place, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in any line of the log, nor in what shows the app's extensions."""
    caplog.set_level(logging.DEBUG)
    shop.get("/a")
    shop.write("/a", forged(shop))
    shop.get("/a")
    (app,) = shop.cache._apps

    assert lines_about_signatures(caplog)
    for text in (*caplog.messages, repr(app.extensions), repr(vars(store_of(shop)))):
        assert SECRET not in text
