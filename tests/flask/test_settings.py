"""The CACHE_* settings: what each takes, also as a text, and what an error says."""

import hashlib
import inspect
import re
import stat
import sys
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_larder import Cache, InvalidConfig
from flask_larder.flask.parsers import TYPES
from flask_larder.flask.settings import SETTINGS, Settings
from flask_larder.memory import MemoryStore, NullStore
from flask_larder.signed import SignedStore

TUTORIAL = {
    "CACHE_TYPE": "redis",
    "CACHE_REDIS_HOST": "redis",
    "CACHE_REDIS_PORT": "6379",
    "CACHE_REDIS_DB": "0",
    "CACHE_REDIS_URL": "redis://redis:6379/0",
    "CACHE_DEFAULT_TIMEOUT": "500",
}


def test_texts_from_env() -> None:
    """The tutorials' six settings work as the texts that they are in .env."""
    settings = Settings(TUTORIAL)
    assert settings["CACHE_TYPE"] == "redis"
    assert settings["CACHE_REDIS_PORT"] == 6379
    assert settings["CACHE_DEFAULT_TIMEOUT"] == 500.0


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("CACHE_TYPE", "RedisCache", "redis"),
        ("CACHE_TYPE", "flask_caching.backends.rediscache.RedisCache", "redis"),
        ("CACHE_TYPE", "SimpleCache", "simple"),
        ("CACHE_TYPE", "simple", "simple"),
        ("CACHE_TYPE", "null", "null"),
        ("CACHE_TYPE", "RedisSentinelCache", "redissentinel"),
        ("CACHE_TYPE", "flask_caching.backends.rediscluster", "rediscluster"),
        ("CACHE_REDIS_SENTINELS", [("a", 1), ["::1", "2"]], ("a:1", "[::1]:2")),
        (
            "CACHE_REDIS_SENTINELS",
            "a:1, b ,[::1]:2,[::1]",
            ("a:1", "b:26379", "[::1]:2", "[::1]:26379"),
        ),
        ("CACHE_REDIS_CLUSTER", "a,b:1", ("a:6379", "b:1")),
        ("CACHE_DEFAULT_TIMEOUT", timedelta(minutes=1), 60.0),
        ("CACHE_DEFAULT_TIMEOUT", "0", 31_536_000.0),
        ("CACHE_DEFAULT_TIMEOUT", -1, 31_536_000.0),
        ("CACHE_DEFAULT_TIMEOUT", 1e12, 31_536_000.0),
        ("CACHE_DEFAULT_TIMEOUT", "1.5", 1.5),
        ("CACHE_DEFAULT_TIMEOUT", "", 300.0),
        ("CACHE_REDIS_PASSWORD", "", None),
        ("CACHE_SEND_STATUS", "False", False),
        ("CACHE_SEND_STATUS", "on", True),
        ("CACHE_SEND_STATUS", 0, False),
        ("CACHE_HASH_METHOD", "md5", hashlib.md5),
        ("CACHE_HASH_METHOD", hashlib.sha512, hashlib.sha512),
        ("CACHE_ARGS", [], None),
        ("CACHE_SERIALIZER", None, None),
        ("CACHE_THRESHOLD", 7.0, 7),
        ("CACHE_MEMCACHED_SERVERS", None, ("127.0.0.1:11211",)),
        ("CACHE_MEMCACHED_SERVERS", "mc1, mc2:1234,", ("mc1:11211", "mc2:1234")),
        ("CACHE_MEMCACHED_SERVERS", ["[::1]", "[::1]:7"], ("[::1]:11211", "[::1]:7")),
        ("CACHE_MEMCACHED_SERVERS", (("::1", 5), ["mc", "5"]), ("[::1]:5", "mc:5")),
        ("CACHE_MEMCACHED_SERVERS", "/a/sock,unix:/b:1/sock", ("/a/sock", "unix:/b:1/sock")),
        ("CACHE_SIGNING_KEY", "k" * 16, (b"k" * 16,)),
        ("CACHE_SIGNING_KEY", b"k" * 15 + b",", (b"k" * 15 + b",",)),
        ("CACHE_SIGNING_KEY", f"{'n' * 16}, {'o' * 99},", (b"n" * 16, b"o" * 99)),
        ("CACHE_SIGNING_KEY", ("ü" * 8, b"\0" * 16), ("ü".encode() * 8, bytes(16))),
        ("CACHE_SIGNING_KEY", ["\ud800" * 16], (b"\xed\xa0\x80" * 16,)),
        ("CACHE_SIGNING_KEY", ["a,b" * 16], (b"a,b" * 16,)),
        ("CACHE_SIGNING_KEY", "", None),
    ],
)
def test_accepted(name: str, given: Any, expected: Any) -> None:
    """What is accepted, and what it becomes."""
    assert Settings({name: given})[name] == expected


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("CACHE_TYPE", "RedisCash", "one of RedisCache, redis, SimpleCache"),
        ("CACHE_TYPE", 3, "one of RedisCache"),
        ("CACHE_TYPE", "os.system", "one of RedisCache"),
        ("CACHE_DEFAULT_TIMEOUT", "soon", "seconds above 0"),
        ("CACHE_DEFAULT_TIMEOUT", "-5", "seconds above 0"),
        ("CACHE_DEFAULT_TIMEOUT", "nan", "seconds above 0"),
        ("CACHE_DEFAULT_TIMEOUT", float("inf"), "seconds above 0"),
        ("CACHE_DEFAULT_TIMEOUT", True, "seconds above 0"),
        ("CACHE_DEFAULT_TIMEOUT", [], "seconds above 0"),
        ("CACHE_REDIS_PORT", "http", "a port from 1 to 65535"),
        ("CACHE_REDIS_PORT", 65536, "a port from 1 to 65535"),
        ("CACHE_REDIS_DB", "1.5", "a whole number"),
        ("CACHE_REDIS_DB", -1, "a whole number"),
        ("CACHE_SEND_STATUS", "maybe", "true or false"),
        ("CACHE_REDIS_CONNECT_TIMEOUT", 1e300, "at most 60"),
        ("CACHE_KEY_PREFIX", "\ud800", "a text without"),
        ("CACHE_ARGS", [1], "use CACHE_OPTIONS"),
        ("CACHE_SERIALIZER", object(), "never pickled"),
        ("CACHE_KEY_PREFIX", "larder1:", "a text without 'larder1:'"),
        ("CACHE_HASH_METHOD", "sha0", "a constructor of hashlib"),
        ("CACHE_MEMORY_BYTES", 0, "a number of bytes"),
        ("CACHE_MEMCACHED_TIMEOUT", 0, "seconds above 0"),
        ("CACHE_MEMCACHED_USERNAME", "app", "SASL is not spoken"),
    ],
)
def test_refused_at_start(name: str, given: Any, says: str) -> None:
    """What cannot be used is an error at start-up that names the value and what is accepted."""
    app = Flask(__name__)
    app.config.update({"CACHE_TYPE": "simple", name: given})
    with pytest.raises(InvalidConfig) as error:
        Cache(app)
    assert name in str(error.value)
    assert repr(given) in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            {"CACHE_REDIS_URL": "http://localhost"},
            "begin it with one of redis://, rediss://, unix://",
        ),
        ({"CACHE_REDIS_URL": "redis://:secret@host:port"}, "is malformed"),
        ({"CACHE_REDIS_URL": "redis//:secret@host"}, "is malformed|has the scheme"),
        ({"CACHE_REDIS_HOST": "redis://localhost"}, "set CACHE_REDIS_URL"),
        ({"CACHE_REDIS_HOST": "user:secret@host"}, "set CACHE_REDIS_URL"),
        ({"CACHE_REDIS_HOST": "redis..svc"}, "set CACHE_REDIS_URL"),
        ({"CACHE_REDIS_SENTINELS": "a:b"}, "CACHE_REDIS_SENTINELS .* give a text host:port"),
        ({"CACHE_REDIS_SENTINELS": "user:secret@a:1"}, "give a text host:port"),
        ({"CACHE_REDIS_SENTINELS": []}, "give a text host:port"),
        ({"CACHE_REDIS_SENTINELS": [("", 1)]}, "give a text host:port"),
        ({"CACHE_REDIS_CLUSTER": "a:1,"}, "CACHE_REDIS_CLUSTER .* give a text host:port"),
        ({"CACHE_TYPE": "rediscluster"}, "CACHE_REDIS_CLUSTER is not set"),
        (
            {"CACHE_TYPE": "rediscluster", "CACHE_REDIS_CLUSTER": "a:1", "CACHE_REDIS_DB": 1},
            "remove it from CACHE_REDIS_DB",
        ),
        (
            {"CACHE_TYPE": "redissentinel", "CACHE_REDIS_URL": "redis://:secret@a"},
            "CACHE_REDIS_URL is set.* remove it",
        ),
        (
            {"CACHE_TYPE": "redissentinel", "CACHE_OPTIONS": {"sentinel_shoe_size": 43}},
            "shoe_size",
        ),
        (
            {"CACHE_TYPE": "redissentinel", "CACHE_OPTIONS": {"sentinel_ssl": 1}},
            "the option sentinel_ssl in CACHE_OPTIONS is 1",
        ),
        ({"CACHE_REDIS_URL": "redis://a", "CACHE_OPTIONS": {"ssl": True}}, "write rediss"),
        ({"CACHE_OPTIONS": {"ssl": "yes"}}, "give True or False"),
        ({"CACHE_OPTIONS": '{"password": "secret"'}, "a dict .* its JSON"),
        ({"CACHE_OPTIONS": '["secret"]'}, "a dict .* its JSON"),
        ({"CACHE_REDIS_HOST": "localhost:6379"}, "give a host name or an address"),
        ({"CACHE_LEASE_SECONDS": 0.4}, "give seconds from 0.5"),
        ({"CACHE_OPTIONS": {"socket_timeout": "3"}}, "not accepted"),
        ({"CACHE_OPTIONS": {"sockettimeout": 1}}, "not accepted: "),
        ({"CACHE_OPTIONS": {"decode_responses": True}}, "decode_responses cannot be used"),
        ({"CACHE_OPTIONS": {"key_prefix": "larder1:"}}, "a text without"),
    ],
)
def test_redis_refused_at_start(config: dict[str, Any], says: str) -> None:
    """An address or an option that cannot work is an error at start-up, without the password."""
    with pytest.raises(InvalidConfig) as error:
        Cache(Flask(__name__), config={"CACHE_TYPE": "redis", **config})
    assert re.search(says, str(error.value))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        "s3cret-of-15-by",
        b"s3cret-of-15-by",
        "s3cret",
        "a-long-s3cret-of-more-than-16,s3cret",
        ["a-long-s3cret-of-more-than-16", b"s3cret"],
        ["a-long-s3cret-of-more-than-16", None],
        [["a-long-s3cret-of-more-than-16"]],
        bytearray(b"a-long-s3cret-of-more-than-16"),
        {"a-long-s3cret-of-more-than-16"},
        {"a-long-s3cret-of-more-than-16": 1},
        ["s3cret\ud800"],
        12345678901234567890,
        b"",
        [],
        ",",
        [""],
    ],
)
def test_signing_keys_refused_at_start(given: Any) -> None:
    """A key that could be guessed, or is none, is an error, and nothing of it shows the key."""
    with pytest.raises(InvalidConfig) as error:
        Cache(Flask(__name__), config={"CACHE_TYPE": "simple", "CACHE_SIGNING_KEY": given})
    told = "".join(traceback.format_exception(error.value))
    assert "CACHE_SIGNING_KEY is not usable; give a random key of at least 16 bytes" in told
    assert "s3cret" not in told
    assert "1234567" not in told


def test_only_what_others_can_write_to_is_signed(tmp_path: Path) -> None:
    """The memory of the process needs no signatures, and they would take time."""
    app = Flask(__name__)
    in_the_process = {"simple": MemoryStore, "null": NullStore}
    for kind in set(TYPES.values()):
        config = {
            "CACHE_TYPE": kind,
            "CACHE_DIR": tmp_path,
            "CACHE_SIGNING_KEY": "k" * 16,
        }
        if kind == "rediscluster":
            config["CACHE_REDIS_CLUSTER"] = "127.0.0.1:7000"
        cache = Cache(app, config=config)
        expected = in_the_process.get(kind, SignedStore)
        assert type(app.extensions["flask_larder"][cache].store) is expected


def test_options_may_be_a_text() -> None:
    """As environment variables are."""
    given = Settings({"CACHE_OPTIONS": '{"ssl": true, "threshold": 7}'})
    assert given["CACHE_OPTIONS"] == {"ssl": True}
    assert given["CACHE_THRESHOLD"] == 7


@pytest.mark.parametrize("name", ["CACHE_REDIS_SENTINELS", "CACHE_REDIS_CLUSTER"])
def test_where_others_are_is_not_ignored_in_silence(name: str) -> None:
    """The RedisCache would connect to localhost."""
    with pytest.warns(UserWarning, match=f"{name} has no effect .* set CACHE_TYPE to Redis"):
        Cache(Flask(__name__), config={"CACHE_TYPE": "redis", name: "a:1"})


def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell has expanded what stands in a file of settings."""
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Settings({"CACHE_DIR": "~/cache"})["CACHE_DIR"] == Path("/home/somebody/cache")


def test_settings_are_not_shown() -> None:
    """What a debugger or a log shows of an app's extensions has no password."""
    app = Flask(__name__)
    url = "redis://:secret@localhost"
    key = "a secret of sixteen"
    Cache(app, config={"CACHE_TYPE": "redis", "CACHE_REDIS_URL": url, "CACHE_SIGNING_KEY": key})
    assert "secret" not in repr(app.extensions)


def test_unknown_setting_names_the_nearest() -> None:
    """A misspelt name is a warning that names the nearest one."""
    with pytest.warns(UserWarning, match="CACHE_REDIS_HOTS .* near to it: CACHE_REDIS_HOST$"):
        Settings({"CACHE_REDIS_HOTS": "x"})
    with pytest.warns(UserWarning, match="near to it: CACHE_REDIS_USERNAME$"):
        Settings({"CACHE_REDIS_USER": "x"})
    with pytest.warns(UserWarning, match="near to it: .*CACHE_DEFAULT_TIMEOUT"):
        Settings({"CACHE_TIMEOUT": 3})
    with pytest.warns(UserWarning, match=r"near to it: \w+, \w+, \w+$"):
        Settings({"CACHE_REDIS": "x"})
    with pytest.warns(UserWarning, match=r"CACHE_UWSGI_NAME .* has no effect$"):
        Settings({"CACHE_UWSGI_NAME": "x"})
    with pytest.warns(UserWarning, match="CACHE_ZZZ"):
        Settings({"CACHE_ZZZ": "x"})


def test_without_a_type_nothing_is_cached() -> None:
    """An app without CACHE_TYPE works uncached, with one warning that can be turned off."""
    app = Flask(__name__)
    with pytest.warns(UserWarning, match="CACHE_TYPE is not set") as caught:
        cache = Cache(app)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert cache.set("a", 1)
    assert cache.add("a", 1)
    assert cache.get("a") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Cache(Flask(__name__), config={"CACHE_NO_NULL_WARNING": "1"})
        Cache(Flask(__name__), config={"CACHE_TYPE": "NullCache"})


def test_config_stands_above_the_apps() -> None:
    """What is given to Cache and to init_app stands above app.config, the latter above all."""
    app = Flask(__name__)
    app.config.update(CACHE_TYPE="redis", CACHE_DEFAULT_TIMEOUT=1, CACHE_THRESHOLD=1)
    cache = Cache(config={"CACHE_TYPE": "simple", "CACHE_DEFAULT_TIMEOUT": 2})
    cache.init_app(app, config={"CACHE_DEFAULT_TIMEOUT": 3})
    settings = app.extensions["flask_larder"][cache].settings
    assert (settings["CACHE_TYPE"], settings["CACHE_DEFAULT_TIMEOUT"]) == ("simple", 3.0)
    with pytest.raises(InvalidConfig, match="give a mapping"):
        Cache(app, config="redis")  # type: ignore[arg-type]


def test_options_of_flask_caching() -> None:
    """CACHE_OPTIONS may hold what has a setting of its own, as with Flask-Caching."""
    app = Flask(__name__)
    options = {"threshold": 1, "default_timeout": 5}
    cache = Cache(app, config={"CACHE_TYPE": "simple", "CACHE_OPTIONS": options})
    cache.set("a", 1)
    cache.set("b", 1)
    assert cache.get_many("a", "b") == [None, 1]
    with pytest.raises(InvalidConfig, match="the SimpleCache does not take"):
        Cache(app, config={"CACHE_TYPE": "simple", "CACHE_OPTIONS": {"host": "x"}})


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "CACHE_DIR is not set"),
        ({"CACHE_DIR": ""}, "CACHE_DIR is not set"),
        ({"CACHE_DIR": 3}, "give the path of a directory"),
        ({"CACHE_DIR": b"/tmp"}, "give the path of a directory"),
        ({"CACHE_DIR": "a\0b"}, "give the path of a directory"),
        ({"CACHE_DIR": __file__}, "give the path of a directory"),
        ({"CACHE_DIR": "d", "CACHE_OPTIONS": {"mode": 0o400}}, "the mode 256; give permissions"),
        ({"CACHE_DIR": "d", "CACHE_OPTIONS": {"mode": 0o700}}, "the mode 448; give permissions"),
        ({"CACHE_DIR": "d", "CACHE_OPTIONS": {"mode": "600"}}, "the mode '600'; give permissions"),
        ({"CACHE_DIR": "d", "CACHE_OPTIONS": {"hash_method": 1}}, "has hash_method, which the"),
        ({"CACHE_DIR": "d", "CACHE_FILE_HASH_METHOD": hashlib.md5}, "give nothing: names of files"),
    ],
)
def test_filesystem_refused_at_start(config: dict[str, Any], says: str) -> None:
    """What cannot work in a directory is an error at start-up."""
    with pytest.raises(InvalidConfig, match=says):
        Cache(Flask(__name__), config={"CACHE_TYPE": "filesystem", **config})


@pytest.mark.parametrize(
    "given",
    [
        [],
        ",",
        ("mc", 11211),
        "mc:0",
        "mc:port",
        ":11211",
        "[]:1",
        "::1",
        "memcached://mc",
        "user:s3cret@mc",
        "user-s3cret@mc",
        [("mc", 1, 2)],
        [("", 1)],
        object(),
    ],
)
def test_addresses_of_memcached_refused_at_start(given: Any) -> None:
    """What is no address is an error that says what one looks like, and shows no password."""
    with pytest.raises(InvalidConfig, match=r"give addresses like 127\.0\.0\.1:11211") as error:
        Settings({"CACHE_MEMCACHED_SERVERS": given})
    assert "s3cret" not in str(error.value)


def test_memcached_refused_at_start() -> None:
    """What pymemcache could not do is an error, and a password is not shown."""
    for config, says in (
        ({"CACHE_MEMCACHED_PASSWORD": "s3cret"}, "CACHE_MEMCACHED_PASSWORD is not usable"),
        ({"CACHE_OPTIONS": {"serde": 1}}, "has serde, which the MemcachedCache does not take"),
        ({"CACHE_TYPE": "SASLMemcachedCache"}, "give one of RedisCache"),
    ):
        with pytest.raises(InvalidConfig, match=says) as error:
            Cache(Flask(__name__), config={"CACHE_TYPE": "MemcachedCache", **config})
        assert "s3cret" not in str(error.value)


def test_files_are_waited_for_as_long_as_a_request_may_be_held_up(tmp_path: Path) -> None:
    """Who finds others writing goes on without, but not before that."""
    app = Flask(__name__)
    hasty, patient = (
        Cache(app, config={"CACHE_TYPE": "filesystem", "CACHE_DIR": tmp_path, **budget})
        for budget in ({"CACHE_BUDGET_SECONDS": 0.01}, {"CACHE_BUDGET_SECONDS": 60})
    )
    lock = app.extensions["flask_larder"][hasty].store._locked(60.0)
    with ThreadPoolExecutor(1) as thread:
        with lock:
            assert hasty.set("a", 1) is False
            waiting = thread.submit(patient.set, "a", 2)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
        assert waiting.result() is True
    assert hasty.get("a") == 2


def test_filesystem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names and options of Flask-Caching; a relative path is that of where the app began."""
    monkeypatch.chdir(tmp_path)
    options = {"threshold": 2, "mode": 0o640}
    config = {"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": "here", "CACHE_OPTIONS": options}
    app = Flask(__name__)
    cache = Cache(app, config=config)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for number in range(9):
        cache.set(str(number), number)

    assert cache.get("8") == 8
    entries = list(tmp_path.glob("here/larder1-flask_cache_-*/entries/*"))
    assert len(entries) <= 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in entries} == {0o640}


OPTIONAL = {"filesystem": "cachelib", "memcached": "pymemcache"}


@pytest.mark.parametrize("kind", OPTIONAL)
def test_a_store_whose_package_is_missing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install; the other stores need it not."""
    for name in list(sys.modules):
        if name.startswith((OPTIONAL[kind], f"flask_larder.{kind}")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, OPTIONAL[kind], None)
    app = Flask(__name__)
    with pytest.raises(InvalidConfig, match=f"pip install {OPTIONAL[kind]}$"):
        Cache(app, config={"CACHE_TYPE": kind})
    Cache(app, config={"CACHE_TYPE": "redis"})


def test_every_option_and_method_is_in_the_reference() -> None:
    """The reference of Cache names each option of cached, and each method."""
    text = (Path(__file__).parents[2] / "docs" / "reference" / "cache.md").read_text("utf-8")
    options = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    parameters = list(inspect.signature(Cache.cached).parameters)[1:]
    assert options[: len(parameters)] == parameters
    methods = {name for name in vars(Cache) if not name.startswith("_")}
    assert {name for name in methods if f"`{name}(" not in text} <= {"cached"}


def test_every_setting_is_in_the_reference() -> None:
    """The table of settings in the documentation is complete and names nothing else."""
    text = (Path(__file__).parents[2] / "docs" / "reference" / "settings.md").read_text("utf-8")
    rows = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `CACHE_")]
    assert sorted(rows) == sorted(SETTINGS)


@pytest.mark.parametrize("kind", ["filesystem", "memcached"])
@pytest.mark.parametrize("name", ["CACHE_LEASE_SECONDS", "CACHE_LEASE_MAX_SECONDS"])
def test_leases_where_there_are_none_are_an_error(tmp_path: Path, kind: str, name: str) -> None:
    """Processes that share files, or memcached, do not know of each other."""
    config = {"CACHE_TYPE": kind, "CACHE_DIR": tmp_path, name: 3}
    with pytest.raises(InvalidConfig, match=f"{name} is set, but leases"):
        Cache(Flask(__name__), config=config)
