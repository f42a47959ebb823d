"""The CACHE_* settings: what each takes, also as a text, and what an error says."""

import hashlib
import inspect
import re
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_larder import Cache, InvalidConfig
from flask_larder.flask.settings import SETTINGS, Settings

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
        ({"CACHE_REDIS_URL": "http://localhost"}, "give one of redis://, rediss://, unix://"),
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
        ({"CACHE_REDIS_URL": "redis://a", "CACHE_OPTIONS": {"ssl": True}}, "write rediss"),
        ({"CACHE_OPTIONS": {"ssl": "yes"}}, "give True or False"),
        ({"CACHE_OPTIONS": '{"password": "secret"}'}, "a dict"),
        ({"CACHE_OPTIONS": {"socket_timeout": "3"}}, "are not accepted"),
        ({"CACHE_OPTIONS": {"sockettimeout": 1}}, "are not accepted: "),
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


def test_settings_are_not_shown() -> None:
    """What a debugger or a log shows of an app's extensions has no password."""
    app = Flask(__name__)
    url = "redis://:secret@localhost"
    Cache(app, config={"CACHE_TYPE": "redis", "CACHE_REDIS_URL": url})
    assert "secret" not in repr(app.extensions)


def test_unknown_setting_names_the_nearest() -> None:
    """A misspelt name is a warning that names the nearest one."""
    with pytest.warns(UserWarning, match="CACHE_REDIS_HOTS .* the nearest is CACHE_REDIS_HOST"):
        Settings({"CACHE_REDIS_HOTS": "x"})
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
