"""The service's settings, read from the environment and from ``.env``."""

import ipaddress
import math
import os
import re
from collections.abc import Mapping, MutableMapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NUMBER = "(?:[0-9]+|0x[0-9a-f]*)"  # no last label: the resolver takes 127.1 for an address
_host_name = re.compile(rf"(?:{_LABEL}\.)*(?!{_NUMBER}\Z){_LABEL}")


class ConfigError(Exception):
    """A setting that cannot be used, or that is missing; says what to do."""


BUNDLED_REDIS = "redis"  # the host that docker-compose.yml gives to its Redis


def load_env() -> None:
    """Read ``.env`` of the current directory, else of the repository, into the environment.

    What the environment has already stays as it is.
    """
    _read_env_file()
    use_bundled_password(os.environ)


def use_bundled_password(environ: MutableMapping[str, str]) -> None:
    """Take ``REDIS_PASSWORD`` for the Redis of the compose file, and show it to no other.

    The address of the tutorials, ``redis://redis:6379/0``, has no password.
    """
    password = environ.get("REDIS_PASSWORD")
    url, host = environ.get("CACHE_REDIS_URL"), environ.get("CACHE_REDIS_HOST")
    try:
        host = urlsplit(url).hostname if url else host
    except ValueError:
        return  # who uses the address says what is wrong with it
    if password and host == BUNDLED_REDIS and not environ.get("CACHE_REDIS_PASSWORD"):
        environ["CACHE_REDIS_PASSWORD"] = password


def _read_env_file() -> None:
    for directory in (Path.cwd(), ROOT):
        if (directory / ".env").is_file():
            from dotenv import load_dotenv  # noqa: PLC0415 - a container has no such file

            load_dotenv(directory / ".env", override=False)
            return


class BaseConfig:
    """The settings of the Flask application.

    Every ``CACHE_*`` variable is handed to the cache as it is; an empty one counts as absent.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self.CACHE_TYPE = "RedisCache"
        for name, value in environ.items():
            if name.startswith("CACHE_") and value:
                setattr(self, name, value)
        self.UNIVERSITIES_API_URL = _api_url(environ)
        self.UNIVERSITIES_CONNECT_TIMEOUT = seconds(environ, "UNIVERSITIES_CONNECT_TIMEOUT", 2.0)
        self.UNIVERSITIES_READ_TIMEOUT = seconds(environ, "UNIVERSITIES_READ_TIMEOUT", 5.0)
        self.UNIVERSITIES_TOTAL_TIMEOUT = seconds(environ, "UNIVERSITIES_TOTAL_TIMEOUT", 10.0)
        self.THREADS = threads(environ)
        self.TRUSTED_HOSTS = trusted_hosts(environ)
        self.TRUSTED_PROXIES = trusted_proxies(environ)


def read_port(environ: Mapping[str, str] = os.environ) -> int:
    """Read PORT, where the service listens."""
    return whole_number(environ, "PORT", "8000", most=65535)


def threads(environ: Mapping[str, str]) -> int:
    """Read how many requests a worker answers at a time.

    They wait for Redis and for another HTTP API most of the time, so that there may be many.
    """
    return whole_number(environ, "THREADS", "64", most=512)


def drain_seconds(environ: Mapping[str, str]) -> float:
    """Read how long requests that are under way may take once the service is told to stop."""
    return seconds(environ, "DRAIN_SECONDS", 3.0)


def trusted_hosts(environ: Mapping[str, str]) -> list[str] | None:
    """Read which hosts may be asked for, as Flask takes them; None for any."""
    return [_trusted_host(text) for text in _items(environ, "TRUSTED_HOSTS")] or None


def _trusted_host(text: str) -> str:
    try:
        name = text.removeprefix(".").encode("idna").decode().lower()
    except UnicodeError:
        name = ""
    is_address = _network(name) is not None and ":" not in name and "/" not in name
    if "_" not in name and (_host_name.fullmatch(name) or (is_address and text[0] != ".")):
        return f".{name}" if text.startswith(".") else name
    raise ConfigError(
        f"TRUSTED_HOSTS has {text!r}; give host names without scheme and port, separated by "
        "commas, such as example.org, or .example.org for its subdomains, too; nothing for any host"
    )


def trusted_proxies(environ: Mapping[str, str]) -> tuple[IPv4Network | IPv6Network | str, ...]:
    """Read whose forwarded header fields are believed: networks, and names of hosts."""
    return tuple(_trusted_proxy(text) for text in _items(environ, "TRUSTED_PROXIES"))


def _trusted_proxy(text: str) -> IPv4Network | IPv6Network | str:
    if network := _network(text):
        return network
    if len(text) <= 253 and _host_name.fullmatch(text.lower()):
        return text.lower()
    raise ConfigError(
        f"TRUSTED_PROXIES has {text!r}; give IP addresses, networks such as 10.0.0.0/8, and host "
        "names, separated by commas; nothing to trust nobody"
    )


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _items(environ: Mapping[str, str], name: str) -> list[str]:
    return [text.strip() for text in (environ.get(name) or "").split(",") if text.strip()]


def _api_url(environ: Mapping[str, str]) -> str:
    name = "UNIVERSITIES_API_URL"
    text = environ.get(name) or "http://universities.hipolabs.com"
    try:
        url = urlsplit(text)
        usable = (
            url.scheme in {"http", "https"}
            and bool(url.hostname)
            and url.port != 0
            and text.isascii()
            and text.isprintable()
            and not (url.query or url.fragment or "@" in url.netloc or " " in text)
        )
    except ValueError:  # not a port, not an IPv6 address
        usable = False
    if not usable:
        shown = repr(text) if "@" not in text else "an address with credentials or without a host"
        raise ConfigError(
            f"{name} is {shown}; give http:// or https://, a host and, if need be, a port and a "
            "path, for instance http://127.0.0.1:9009"
        )
    return text.rstrip("/")


def seconds(environ: Mapping[str, str], name: str, default: float) -> float:
    """Read a time."""
    text = environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 300:  # also false for NaN
        raise ConfigError(f"{name} is {text!r}; give seconds, more than 0 and at most 300")
    return value


def whole_number(environ: Mapping[str, str], name: str, default: str, *, most: int) -> int:
    """Read a number from 1 to ``most``."""
    text = environ.get(name) or default
    if text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= most:
        return int(text)
    raise ConfigError(f"{name} is {text!r}; give a whole number from 1 to {most}")
