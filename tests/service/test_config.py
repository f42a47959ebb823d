"""Settings: what is read, from where, and what is refused."""

import re
from pathlib import Path

import pytest

from service import config
from service.config import ROOT, BaseConfig, ConfigError, use_bundled_password
from service.launch import Address, read_address, read_launch
from tests.redis_nodes import free_port
from tests.service.processes import Sandbox

# The settings of the service, without those of the cache.
OWN = set(vars(BaseConfig({}))) - {"CACHE_TYPE"}
OWN |= {"HOST", "PORT", "WORKERS", "SERVER", "DRAIN_SECONDS"}


def test_defaults() -> None:
    """Nothing has to be set."""
    assert vars(BaseConfig({})) == {
        "CACHE_TYPE": "RedisCache",
        "UNIVERSITIES_API_URL": "http://universities.hipolabs.com",
        "UNIVERSITIES_CONNECT_TIMEOUT": 2.0,
        "UNIVERSITIES_READ_TIMEOUT": 5.0,
        "UNIVERSITIES_TOTAL_TIMEOUT": 10.0,
        "THREADS": 64,
        "TRUSTED_HOSTS": None,
        "TRUSTED_PROXIES": (),
    }
    port = free_port()
    launch = read_launch({"PORT": str(port)})
    assert launch.address == Address("127.0.0.1", port)
    assert (launch.workers, launch.threads, launch.server) == (2, 64, "granian")
    assert launch.drain_seconds == 3.0


def test_cache_settings_are_handed_on() -> None:
    """All of them, as they are; empty ones are absent."""
    read = BaseConfig(
        {"CACHE_TYPE": "simple", "CACHE_THRESHOLD": "7", "CACHE_REDIS_URL": "", "X": "y"}
    )
    cache = {name: value for name, value in vars(read).items() if name.startswith("CACHE_")}
    assert cache == {"CACHE_TYPE": "simple", "CACHE_THRESHOLD": "7"}
    assert not hasattr(read, "X")


@pytest.mark.parametrize(
    "url",
    [
        "universities.hipolabs.com",
        "ftp://example.org",
        "http://",
        "http:///search",
        "http://example.org:port",
        "http://example.org:99999",
        "http://[::1",
        "http://example.org/?key=1",
        "http://exam ple.org",
        "http://example.org/\n",
        "http://user:secret@example.org",
    ],
)
def test_api_url_is_checked(url: str) -> None:
    """What cannot be an address is refused at the start; a password is not shown."""
    with pytest.raises(ConfigError, match="UNIVERSITIES_API_URL is") as caught:
        BaseConfig({"UNIVERSITIES_API_URL": url})
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf", "301", "1,5"])
def test_timeouts_are_checked(text: str) -> None:
    """They are seconds, more than none."""
    with pytest.raises(ConfigError, match="UNIVERSITIES_READ_TIMEOUT is"):
        BaseConfig({"UNIVERSITIES_READ_TIMEOUT": text})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("PORT", text) for text in ("abc", "0", "-1", "65536", "8000.5", "٤٤٤", "9" * 5000)),
        *(("WORKERS", text) for text in ("none", "0", "-2", "257", "1e3")),
        *(("THREADS", text) for text in ("none", "0", "-2", "513", "6.4")),
        *(("DRAIN_SECONDS", text) for text in ("soon", "0", "-1", "nan", "inf", "300.1")),
        *(("HOST", text) for text in ("nowhere.invalid", "300.1.1.1", "192.0.2.1", "a" * 70)),
        *(("SERVER", text) for text in ("uwsgi", "Granian")),
    ],
)
def test_launch_settings_are_checked(name: str, text: str) -> None:
    """Each is refused in words that name it."""
    with pytest.raises(ConfigError, match=name):
        read_launch({"PORT": str(free_port()), name: text})


def test_drain_seconds_may_be_a_fraction() -> None:
    """Both servers take it as it is."""
    port = str(free_port())
    assert read_launch({"PORT": port, "DRAIN_SECONDS": "0.5"}).drain_seconds == 0.5
    assert read_launch({"PORT": port, "DRAIN_SECONDS": "300"}).drain_seconds == 300


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("example.org", ["example.org"]),
        (" Example.org, .example.net ,", ["example.org", ".example.net"]),
        ("bücher.example,127.0.0.1", ["xn--bcher-kva.example", "127.0.0.1"]),
        ("", None),
        (",", None),
    ],
)
def test_trusted_hosts(text: str, hosts: list[str] | None) -> None:
    """As Flask takes them; None is any host."""
    assert hosts == BaseConfig({"TRUSTED_HOSTS": text}).TRUSTED_HOSTS


@pytest.mark.parametrize(
    "text",
    [
        *("*", "*.example.org", "example.org:8000", "http://example.org", "a b", "a_b", "."),
        *("..a", "::1", "[::1]", ".127.0.0.1", "10.0.0.0/8", "1.2.3", "a" * 64, "a\nb"),
    ],
)
def test_trusted_hosts_are_checked(text: str) -> None:
    """The error names the value, and what may stand there."""
    with pytest.raises(ConfigError, match="TRUSTED_HOSTS has") as caught:
        BaseConfig({"TRUSTED_HOSTS": f"example.org,{text}"})
    assert repr(text) in str(caught.value)
    assert "such as example.org, or .example.org for its subdomains" in str(caught.value)


def test_host_may_be_a_name() -> None:
    """The servers are given its address."""
    address = read_address({"HOST": "localhost", "PORT": str(free_port())})
    assert address.ip in {"127.0.0.1", "::1"}


def test_address_as_url() -> None:
    """It is one that a client on this machine can use."""
    assert Address("0.0.0.0", 80).url == "http://127.0.0.1:80"
    assert Address("::", 80).url == "http://[::1]:80"
    assert str(Address("::1", 80)) == "[::1]:80"


def test_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That of the current directory is read; the environment wins."""
    (tmp_path / ".env").write_text("CACHE_TYPE=redis\nCACHE_REDIS_PORT='6380'\n# a comment\n")
    monkeypatch.chdir(tmp_path)
    environ = {"CACHE_TYPE": "simple"}
    monkeypatch.setattr(config.os, "environ", environ)
    config.load_env()
    assert environ == {"CACHE_TYPE": "simple", "CACHE_REDIS_PORT": "6380"}


def test_example_explains_each_setting() -> None:
    """`.env.example` changes nothing as it is, and names everything that can be set."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert all(line.startswith("#") or not line for line in lines)
    names = {line[1:].partition("=")[0] for line in lines if line[1:2].isupper() and "=" in line}
    tutorials = {"TYPE", "REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_URL", "DEFAULT_TIMEOUT"}
    assert names >= {f"CACHE_{name}" for name in tutorials}
    assert names >= OWN


def test_reference_has_each_setting() -> None:
    """With the default that `.env.example` has."""
    example = (ROOT / ".env.example").read_text().splitlines()
    defaults = dict(line[1:].split("=", 1) for line in example if line[1:2].isupper())
    page = (ROOT / "docs/reference/service.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", page.partition("## ")[0], re.MULTILINE))
    assert set(rows) == OWN
    shown = {name: text.strip("`") for name, text in rows.items() if text.startswith("`")}
    assert shown == {name: defaults[name] for name in shown}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"PORT": "abc"}, "PORT is 'abc'"),
        ({"SERVER": "uwsgi"}, "give granian or gunicorn"),
        ({"UNIVERSITIES_API_URL": "nowhere"}, "UNIVERSITIES_API_URL is 'nowhere'"),
        ({"CACHE_TYPE": "NoSuchCache"}, "NoSuchCache"),
        ({"CACHE_REDIS_URL": "http://localhost"}, "CACHE_REDIS_URL"),
        ({"CACHE_DEFAULT_TIMEOUT": "soon"}, "CACHE_DEFAULT_TIMEOUT"),
    ],
)
def test_wrong_setting_ends_the_launcher(
    sandbox: Sandbox, settings: dict[str, str], says: str
) -> None:
    """With a line that names it, and an exit code, before anything was started."""
    sandbox.environ |= settings
    code, output = sandbox.run("service")
    assert code == 2
    assert says in output
    assert len(output.splitlines()) <= 2
    assert output.startswith("error: ")
    assert sandbox.is_empty()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"CACHE_REDIS_HOST": "redis"}, "bundled"),
        ({"CACHE_REDIS_URL": "redis://redis:6379/0"}, "bundled"),
        ({"CACHE_REDIS_URL": "redis://redis:6379/0", "CACHE_REDIS_HOST": "other"}, "bundled"),
        ({"CACHE_REDIS_HOST": "redis", "CACHE_REDIS_PASSWORD": "own"}, "own"),
        ({"CACHE_REDIS_HOST": "redis", "CACHE_REDIS_PASSWORD": ""}, "bundled"),
        ({"CACHE_REDIS_HOST": "redis.example"}, None),
        ({"CACHE_REDIS_URL": "redis://other:6379/0", "CACHE_REDIS_HOST": "redis"}, None),
        ({"CACHE_REDIS_URL": "redis://[redis"}, None),
        ({}, None),
    ],
)
def test_password_of_the_bundled_redis_is_shown_to_no_other(
    given: dict[str, str], expected: str | None
) -> None:
    """It is for the host that the compose file starts."""
    environ = {"REDIS_PASSWORD": "bundled", **given}
    use_bundled_password(environ)
    assert environ.get("CACHE_REDIS_PASSWORD") == expected
